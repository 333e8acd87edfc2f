// The commands that list what there is: `layers`, `devices`, `methods`, `operators`.

import ArgumentParser
import CLRuntime
import Explain
import Glibc
import Inference
import Kernels

struct LayersCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "layers", abstract: "List a network's layers, and the one that is explained by default.")

    @OptionGroup var model: ModelOptions
    @OptionGroup var inputs: InputOptions
    @Flag(help: "Group the layers by the modules that the exporter named.")
    var tree = false

    @Flag(help: "Print JSON instead of text.")
    var json = false

    /// The layers below their modules, each module once where it begins.
    private func printTree(_ layers: [Layer], automatic: Int?) {
        var open: [String] = []
        for layer in layers {
            let common = zip(open, layer.modules).prefix { $0 == $1 }.count
            for (depth, module) in layer.modules.enumerated().dropFirst(common) {
                let inside = layers.filter { $0.modules.contains(module) }
                let parameters = inside.reduce(0) { $0 + $1.parameters }
                print(
                    String(repeating: "  ", count: depth) + module
                        + "  (\(inside.count) layer\(inside.count == 1 ? "" : "s")\(parameters == 0 ? "" : ", \(parameters) parameters"))"
                )
            }
            open = layer.modules
            let grid =
                layer.cells > 1 && layer.tokens != nil
                ? ", a grid of \(layer.shape.dims[2])×\(layer.shape.dims[3])" : ""
            print(
                String(repeating: "  ", count: layer.modules.count)
                    + "\(layer.index == automatic ? "* " : "")\(layer.index) \(layer.name.split(separator: "/").last.map(String.init) ?? layer.name)"
                    + " (\(layer.type)) \(layer.valueShape)\(grid)")
        }
    }

    func run() throws {
        let model = try model.load(inputs: inputs.input)
        let automatic = Result { try model.layer("auto") }
        let index = (try? automatic.get())?.layer.index
        if json {
            printLines(try model.layersDocument().text)
            return
        }
        if tree {
            printTree(try model.layers(), automatic: index)
        }
        let rows =
            try tree
            ? []
            : model.layers().map {
                [
                    $0.index == index ? "*" : "", "\($0.index)", $0.name, $0.type, $0.value,
                    $0.valueShape.description,
                    $0.parameters == 0 ? "" : "\($0.parameters)",
                ]
            }
        if !tree {
            Report.table(
                [["", "index", "name", "operator", "value", "shape", "parameters"]] + rows, right: [1, 6])
        }
        switch automatic {
        case .success(let choice):
            print("* “\(choice.layer.name)” is explained by default: \(choice.reason).")
        case .failure(let error): print("No layer is explained by default. \(error)")
        }
    }
}

struct DevicesCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "devices", abstract: "List the devices that can compute.",
        discussion: """
            A device can be used if it keeps the promise of equal bits, which is measured when it is first opened: arithmetic, \
            conversions and functions, compared with the processor's. `auto` takes the first usable GPU, else the CPU.
            """)

    @Flag(help: "Print JSON instead of text.")
    var json = false

    func run() throws {
        let inventory = CLInventory.discover()
        let sets = CPU.instructionSets
        if json {
            let devices = inventory.devices.map { device in
                let fitness = OpenCL.fitness(of: device)
                return JSON.object([
                    ("name", .string("opencl:\(device.index)")), ("device", .string(device.name)),
                    ("platform", .string(device.platform.name)), ("vendor", .string(device.vendor)),
                    ("driver", .string(device.driverVersion)), ("version", .string(device.version)),
                    ("type", .string(device.kind.rawValue)), ("units", .int(device.computeUnits)),
                    ("memory", .int(device.globalMemory)), ("largestBuffer", .int(device.maxAllocation)),
                    ("declared", .string(device.floatConfiguration.description)),
                    ("measured", JSON(fitness.measured?.description)),
                    ("usable", .bool(fitness.problem == nil)), ("problem", JSON(fitness.problem)),
                ])
            }
            printLines(
                JSON.object([
                    (
                        "cpu",
                        .object([("instructionSets", JSON(sets)), ("threads", .int(CPU.cores))])
                    ),
                    ("opencl", .array(devices)), ("library", JSON(inventory.library)),
                    ("unavailable", JSON(inventory.unavailableReason)),
                    ("problems", JSON(inventory.problems.map(\.message))),
                ]).text)
            return
        }
        print("cpu")
        print(
            "  instruction set  \(sets[0])"
                + (sets.count > 1 ? " (also \(sets.dropFirst().joined(separator: ", ")))" : ""))
        print("  threads          \(CPU.cores)")
        for device in inventory.devices {
            let fitness = OpenCL.fitness(of: device)
            print("opencl:\(device.index)  \(device.name)")
            print("  platform         \(device.platform.name), \(device.platform.version)")
            print("  driver           \(device.driverVersion), \(device.version)")
            print("  type             \(device.kind.rawValue)")
            print("  units            \(device.computeUnits), \(device.clockMHz) MHz")
            print(
                "  memory           \(mebibytes(device.globalMemory)), \(mebibytes(device.maxAllocation)) in one buffer"
            )
            print("  declared         \(device.floatConfiguration)")
            print("  measured         \(fitness.measured?.description ?? "nothing")")
            print("  same bits        \(fitness.problem.map { "no: the device \($0)" } ?? "yes")")
        }
        if let reason = inventory.unavailableReason {
            print("opencl")
            print("  none             \(reason)")
        }
        for problem in inventory.problems { NoteHandler.logger.warning("\(problem.message)") }
    }

    private func mebibytes(_ bytes: Int) -> String { "\(bytes >> 20) MiB" }
}

struct MethodsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "methods",
        abstract: "List the methods of explanation, or describe some: formulas, papers, settings.")

    @Argument(
        help: ArgumentHelp(
            "Methods to describe, with their settings; if left out, all are listed.", valueName: "name"),
        completion: .list(Options.methods))
    var names: [String] = []

    @Flag(help: "Print JSON instead of text.")
    var json = false

    func run() throws {
        let methods =
            try names.isEmpty ? ExplainerList.all : names.map { try ExplainerList.named($0.lowercased()) }
        if json {
            printLines(JSON.array(methods.map(record)).text)
        } else if names.isEmpty {
            let rows = methods.map {
                [
                    $0.name, $0.title, $0.family.rawValue, $0.isClassSpecific ? "yes" : "no", $0.cost,
                    found($0.name), $0.source,
                ]
            }
            Report.table(
                [["name", "title", "family", "class", "passes", "finds", "source"]] + rows, right: [5])
            print("")
            print(
                "finds: in how many of \(Finding.edges.scenes) scenes (of fewer where that is said) the map's largest number lies on the object (pointing game, \(Finding.network)); the picture's own edges alone do in \(Finding.edges.percent). See Documentation/Comparison.md."
            )
        } else {
            for (i, method) in methods.enumerated() {
                if i > 0 { print("") }
                describe(method)
            }
        }
    }

    private func found(_ method: String) -> String {
        guard let finding = Finding.pointing[method] else { return "–" }
        let isOfAll = finding.scenes == Finding.edges.scenes
        return isOfAll ? finding.percent : "of \(finding.scenes): \(finding.percent)"
    }

    private func record(_ method: any Explainer.Type) -> JSON {
        .object([
            ("name", .string(method.name)), ("title", .string(method.title)),
            ("family", .string(method.family.rawValue)), ("formula", .string(method.formula)),
            ("reading", .string(method.reading)),
            ("source", .string(method.source)), ("classSpecific", .bool(method.isClassSpecific)),
            ("signed", .bool(method.sign == .evidence)), ("score", .string(method.scale.rawValue)),
            ("passes", .string(method.cost)),
            (
                "pointingGame",
                Finding.pointing[method.name].map { .double(Double($0.thousandths) / 1000) } ?? .null
            ),
            ("scenes", Finding.pointing[method.name].map { .int($0.scenes) } ?? .null),
            ("settings", settingsRecord(method.settingsTable)),
        ])
    }

    private func describe(_ method: any Explainer.Type) {
        print("\(method.name)  \(method.title), \(method.source)")
        print("  formula   \(method.formula)")
        print("  reading   \(method.reading)")
        print(
            "  explains  "
                + (method.isClassSpecific ? "a class, by its \(method.scale.rawValue)" : "whatever the class")
        )
        let top = method.brightestQuantile < 1 ? ", up to their 99th percentile" : ""
        print(
            "  numbers   "
                + (method.sign == .evidence
                    ? "above 0 speak for it, below 0 against it; the heat map shows those above 0\(top)"
                    : "magnitudes; the heat map goes from the least to the largest\(top)"))
        let grid =
            switch (method.layers, method.family) {
            case (.each, _): "the cells of a layer (--layer)"
            case (.together, .features): "the cells of the largest of its layers (--layer)"
            default: "the pixels of the input"
            }
        print("  lies on   \(grid)")
        print("  passes    \(method.cost)")
        if let found = Finding.sentence(method.name) { print("  found     \(found)") }
        let settings = method.settingsTable
        print("  settings  " + (settings.isEmpty ? "none" : ""))
        Report.table(
            settings.map {
                ["    --set \(method.name).\($0.name)=\(value($0.value))", $0.help + "; " + $0.expected]
            })
    }

    private func value(_ json: JSON) -> String {
        if case .string(let text) = json { return text }
        if case .null = json { return "none" }
        return json.text.trimmed
    }
}

struct OperatorsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "operators", abstract: "List the ONNX operators that networks may use.")

    @Flag(help: "Print JSON instead of text.")
    var json = false

    func run() throws {
        let all = OperatorList.all.sorted { $0.fullName < $1.fullName }
        if json {
            let operators = all.map {
                JSON.object([
                    ("name", .string($0.fullName)), ("forward", .bool(true)),
                    ("gradient", .bool($0.hasGradient)),
                    ("opsets", JSON([$0.opsets.lowerBound, $0.opsets.upperBound])),
                    ("formula", .string($0.formula)),
                ])
            }
            printLines(JSON.array(operators).text)
            return
        }
        let rows = all.map {
            [
                $0.fullName, "yes", $0.hasGradient ? "yes" : "no",
                "\($0.opsets.lowerBound)–\($0.opsets.upperBound)", $0.formula,
            ]
        }
        Report.table([["operator", "forward", "gradient", "opsets", "formula"]] + rows)
    }
}

extension Model {
    /// What `app layers --json` prints.
    package func layersDocument() throws -> JSON {
        // A network without a grid has layers all the same.
        let automatic = Result { try layer("auto") }
        let layers = try layers().map {
            JSON.object([
                ("index", .int($0.index)), ("name", .string($0.name)), ("operator", .string($0.type)),
                ("output", .string($0.value)), ("shape", JSON($0.valueShape.dims)),
                ("grid", $0.cells > 1 ? JSON(Array($0.shape.dims[2...])) : .null),
                ("module", .string($0.module)),
                ("parameters", .int($0.parameters)),
            ])
        }
        let reason =
            switch automatic {
            case .success(let choice): choice.reason
            case .failure(let error): "\(error)"
            }
        return .object([
            ("model", .string(path)), ("automatic", JSON((try? automatic.get())?.layer.index)),
            ("reason", .string(reason)), ("layers", .array(layers)),
        ])
    }
}
