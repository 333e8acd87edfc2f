// The commands that check: `check`, `run`, `verify`.

import ArgumentParser
import Explain
import Files
import Glibc

struct CheckCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "check", abstract: "Say everything about a network in one go, and what is in its way.",
        discussion: """
            What the file is, its inputs and outputs, where the scores are, which layer is explained and why, how pictures are prepared, \
            memory, and which methods can be applied. With photographs it also says what the network sees in them, how fast, and whether that \
            looks as if the pictures were prepared in another way than the network learnt. Ends with 0 if all is well, with 1 if there is \
            something to look at, and with the code of what stands in the way.
            """)

    @Argument(
        help: ArgumentHelp(
            "The network, an ONNX file, and photographs to try: picture files, folders, or patterns.",
            valueName: "model|image"),
        completion: .file())
    var files: [String] = []
    @OptionGroup var model: ModelOptions
    @OptionGroup var inputs: InputOptions
    @OptionGroup var device: DeviceOptions

    @Flag(help: "Print JSON instead of text.")
    var json = false

    /// Whether a name is that of a network, of another format too: then it is complained of as one.
    private static func isModel(_ name: String) -> Bool {
        [
            "ckpt", "h5", "hdf5", "keras", "mlmodel", "onnx", "pb", "pkl", "pt", "pt2", "pth", "safetensors",
            "tflite",
        ].contains(Paths.fileExtension(name))
    }

    func run() throws {
        // The model may stand first, as people write it.
        var (options, images) = (model, files)
        if options.model == nil, let first = files.first, CheckCommand.isModel(first) {
            options.model = first
            images.removeFirst()
        }
        if let second = images.first(where: CheckCommand.isModel) {
            throw ValidationError("“\(second)” is a second model; check one at a time.")
        }
        let pictures = images.isEmpty ? [] : try Pictures.find(images)
        var settings = Options()
        try device.apply(to: &settings)
        let path = try options.path
        let check = ModelCheck(path: path, pictures: pictures, options: settings) {
            try options.load(inputs: inputs.input)
        }
        if json {
            printLines(
                JSON.object([
                    ("whitebox", .string(Whitebox.version)), ("model", .string(path)),
                    ("well", .bool(check.isWell)),
                    (
                        "findings",
                        .array(
                            check.findings.map {
                                .object([
                                    ("topic", .string($0.topic)), ("level", .string($0.level.rawValue)),
                                    ("text", .string($0.text)),
                                ])
                            })
                    ),
                ]).text)
        } else {
            print(path)
            var last = ""
            let width = check.findings.map(\.topic.count).max() ?? 0
            for finding in check.findings {
                let topic = finding.topic == last ? "" : finding.topic
                last = finding.topic
                let mark = finding.level == .fact ? "" : "\(finding.level.rawValue): "
                print(
                    "  \(Report.pad(topic, width))  \(mark)\(finding.text)"
                )
            }
            print(
                check.error != nil
                    ? "Nothing can be explained before that is mended."
                    : check.isWell ? "All is well." : "There is something to look at.")
        }
        if let error = check.error { throw ExitCode(error.kind.rawValue) }
        if !check.isWell { throw ExitCode(1) }
    }
}

struct RunCommand: FileWriter {
    static let configuration = CommandConfiguration(
        commandName: "run",
        abstract: "Feed a network a raw array and write what it computes, to compare it with anything.",
        discussion:
            "Each value is written as NAME.npy (binary32), what cannot stand in a file name replaced by _.")

    @OptionGroup var model: ModelOptions
    @OptionGroup var device: DeviceOptions

    @Option(
        name: .shortAndLong, parsing: .unconditionalSingleValue,
        help: ArgumentHelp(
            "The network's input, [N, C, H, W], a .npy file; of a network with several inputs NAME=FILE for each.",
            valueName: "file"),
        completion: .file(extensions: ["npy"]))
    var input: [String]

    @Option(
        name: .shortAndLong, help: ArgumentHelp("The folder to write into.", valueName: "folder"),
        completion: .directory)
    var output: String

    @Option(
        help: ArgumentHelp(
            "Values, by their names or their nodes', separated by commas, or all; if left out, the network's output.",
            valueName: "names"))
    var outputs: String?

    @Option(
        parsing: .unconditional,
        help: ArgumentHelp(
            "Also write gradient.npy: the gradient of this class's logit (see --wrt).",
            valueName: "class"))
    var gradient: String?

    @Option(help: ArgumentHelp("The value with respect to which; if left out, the input.", valueName: "name"))
    var wrt: String?

    func validate() throws {
        if let outputs, list(outputs).isEmpty {
            throw ValidationError(
                "--outputs names no value; give names with commas between them, or all, or leave it out.")
        }
        if wrt != nil && gradient == nil {
            throw ValidationError(
                "--wrt says what a gradient is taken with respect to; name its class with --gradient.")
        }
    }

    @Flag(help: "Replace files that are there already.")
    var force = false

    @Flag(help: "Print JSON instead of text.")
    var json = false

    func run() throws {
        // A name with a file behind it, unless all of it is a file's name.
        let others = input.filter { $0.contains("=") && FileKind($0) == .missing }
        let files = input.filter { !others.contains($0) }
        guard files.count == 1 else {
            throw ValidationError(
                files.isEmpty
                    ? "--input names no file for the picture; give it without a name, --input FILE.npy."
                    : "--input gives \(files.count) files without a name; the picture is one, and others are NAME=FILE.npy."
            )
        }
        let model = try model.load(inputs: others)
        let result = try model.runFile(
            files[0], outputs: outputs.map(list), gradient: gradient, of: wrt, device: try device.choice,
            threads: device.threads,
            shape: device.shape, directory: output, overwrite: force)
        if let note = result.note { NoteHandler.logger.notice("\(note)") }
        if json {
            let files = result.files.map {
                JSON.object([
                    ("name", .string($0.name)), ("shape", JSON($0.shape)), ("file", .string($0.file)),
                ])
            }
            printLines(
                JSON.object([
                    ("whitebox", .string(Whitebox.version)), ("numerics", .int(Whitebox.numerics)),
                    ("device", .string(result.device)),
                    ("model", .string(model.path)),
                    ("outputs", .array(files)),
                ]).text)
            return
        }
        Report.table(
            result.files.map {
                [
                    $0.name, $0.shape.map(String.init).joined(separator: "×"),
                    Paths.join(output, $0.file),
                ]
            })
    }
}

struct VerifyCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "verify", abstract: "Check that every device computes the same bits.",
        discussion: """
            Runs every layer forward and backward, and then whole explanations in batches of 1 and 3, on the CPU (each instruction set, one \
            and many threads) and on each OpenCL device (kernels made for CPUs and for GPUs), and compares bit patterns. Without images, \
            noise is used. Ends with 1 if there is a difference, with 8 if there is no OpenCL device and `--device cpu` was not asked for.
            """)

    @Argument(
        help: ArgumentHelp("Picture files, folders of them, or patterns.", valueName: "image"),
        completion: .file())
    var images: [String] = []
    @OptionGroup var model: ModelOptions
    @OptionGroup var inputs: InputOptions

    @Option(
        name: .shortAndLong,
        help: ArgumentHelp(
            "auto (everything), cpu (only that), or opencl:N (that, against the CPU).", valueName: "device"),
        completion: .list(["auto", "cpu", "opencl"]))
    var device = "auto"

    @Option(
        parsing: .unconditional,
        help: ArgumentHelp("CPU threads; if left out, one for each core.", valueName: "n"))
    var threads: Int?

    @Option(
        help: ArgumentHelp(
            "Methods to explain by, separated by commas; if left out, all that the network allows.",
            valueName: "names"),
        completion: .list(Options.methods))
    var method: String?

    @Flag(help: "Print JSON instead of text.")
    var json = false

    func validate() throws {
        guard DeviceChoice(device) != nil else {
            throw ValidationError("There is no device “\(device)”; choose auto, cpu, opencl or opencl:N.")
        }
        guard threads.map({ (1...1024).contains($0) }) ?? true else {
            throw ValidationError("--threads must be between 1 and 1024, and is \(threads!).")
        }
    }

    func run() throws {
        let choice = DeviceChoice(device)!
        let cpus = DeviceVariant.cpu(threads: threads)
        var others = Array(cpus.dropFirst())
        var leftOut: [String] = []
        switch choice {
        case .cpu: break
        case .auto:
            let found = try DeviceVariant.openCL()
            (others, leftOut) = (others + found.variants, found.leftOut)
            guard !found.variants.isEmpty else {
                throw ExplainError(
                    .device,
                    leftOut.map { $0.hasSuffix(".") ? $0 : $0 + "." }.joined(separator: " ")
                        + " To check the CPU alone, add `--device cpu`.")
            }
        case .openCL(let n):
            let found = try DeviceVariant.openCL(only: n)
            (others, leftOut) = (found.variants, found.leftOut)
            guard !found.variants.isEmpty else {
                throw ExplainError(.device, leftOut.joined(separator: " ") + ".")
            }
        }
        let model = try model.load(inputs: inputs.input)
        let pictures = images.isEmpty ? model.noise(3) : try Pictures.find(images)
        let start = Benchmark.now()
        let check = try DeviceCheck(
            model, pictures: pictures, reference: cpus[0],
            methods: method.map(MethodOptions.names) ?? Options.methods)
        if !json {
            print("Model      \(model.path)")
            print("Pictures   \(images.isEmpty ? "noise" : pictures.map(\.name).joined(separator: ", "))")
            print("Reference  \(cpus[0].title)")
        }
        var records: [JSON] = []
        var differs = false
        var numbers = 0
        let progress = ProgressBar(total: others.count)
        var done = 0
        do {
            progress.show(0)
            defer { progress.hide() }
            try check.check(others) { variant, outcome in
                progress.hide()
                differs = differs || outcome.difference != nil
                numbers += outcome.numbers
                if json {
                    records.append(
                        .object([
                            ("device", .string(variant.title)), ("values", .int(outcome.values)),
                            ("numbers", .int(outcome.numbers)),
                            ("maps", .int(outcome.maps)), ("difference", JSON(outcome.difference)),
                        ]))
                } else if let difference = outcome.difference {
                    print("  ✗ \(variant.title): \(difference)")
                } else {
                    print("  ✓ \(variant.title): \(outcome.values) values, \(outcome.maps) maps")
                }
                fflush(nil)
                done += 1
                progress.show(done)
            }
        }
        for reason in leftOut { NoteHandler.logger.warning("Not checked: \(reason)") }
        if json {
            printLines(
                JSON.object([
                    ("whitebox", .string(Whitebox.version)), ("numerics", .int(Whitebox.numerics)),
                    ("model", .string(model.path)),
                    ("reference", .string(cpus[0].title)),
                    ("same", .bool(!differs)), ("devices", .array(records)), ("leftOut", JSON(leftOut)),
                ]).text)
        } else if differs {
            print("The bits differ.")
        } else {
            print("All bits are the same: \(numbers) numbers in \(Report.time(Benchmark.now() - start)).")
        }
        if differs { throw ExitCode(1) }
    }
}
