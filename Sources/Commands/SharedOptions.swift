// Options that several commands share.

import ArgumentParser
import Explain
import Files
import Glibc
import Kernels
import Logging
import Text

package struct ModelOptions: ParsableArguments {
    package init() {}

    @Option(
        name: .shortAndLong,
        help: ArgumentHelp(
            "The network, an ONNX file; if left out, $WHITEBOX_MODEL, else models/efficientnet-lite0.onnx.",
            valueName: "model"), completion: .file(extensions: ["onnx"]))
    package var model: String?

    @Option(
        help: ArgumentHelp(
            "How pictures are prepared: imagenet, lite, caffe, tf, kinetics (videos), none, or a JSON file (timm's config.json and Hugging Face's preprocessor_config.json too); if left out, as the model says, else imagenet, of videos kinetics.",
            valueName: "preset|file"), completion: .file())
    var preprocess: String?

    @Option(
        parsing: .unconditional,
        help: ArgumentHelp(
            "The size that pictures get, of a network that leaves it open: 384, or a height and a width such as 256x384; if left out, the preprocessing's.",
            valueName: "n|HxW"))
    var size: String?

    @Option(
        help: ArgumentHelp(
            "Class names, one per line or as JSON; if left out, those that the model carries.",
            valueName: "file"), completion: .file())
    var labels: String?

    @Option(
        help: ArgumentHelp(
            "The output that has the scores, of a network with several; if left out, the first.",
            valueName: "name"))
    var scoreOutput: String?

    @Option(
        parsing: .unconditional,
        help: ArgumentHelp(
            "How many frames a video has, of a network of videos that leaves it open; if left out, 16.",
            valueName: "n"))
    var frames: Int?

    @Flag(help: "Name every node where a message would only count them.")
    package var verbose = false

    @Option(
        parsing: .unconditional,
        help: ArgumentHelp(
            "Memory that may be used, such as 8GiB or 500MiB; if left out, half of the machine's.",
            valueName: "size"))
    var memoryLimit: String?

    @Option(
        parsing: .unconditional,
        help: ArgumentHelp(
            "Operations that may be spent on a picture, in units of 10^9; if left out, 10000.", valueName: "n"
        ))
    var workLimit: Double?

    package func validate() throws {
        guard memoryLimit.map({ ModelOptions.bytes($0) != nil }) ?? true else {
            throw ValidationError(
                "--memory-limit must be a size such as 8GiB or 500MiB, and is “\(memoryLimit!)”.")
        }
        guard size.map({ ModelOptions.sides($0) != nil }) ?? true else {
            throw ValidationError(
                "--size must be one number, such as 384, or a height and a width, such as 256x384, and is “\(size!)”."
            )
        }
        guard workLimit.map({ $0 > 0 }) ?? true else {
            throw ValidationError("--work-limit must be above 0, and is \(workLimit!).")
        }
    }

    /// One number, or a height and a width.
    private static func sides(_ text: String) -> (height: Int, width: Int)? {
        let parts = text.lowercased().split(omittingEmptySubsequences: false) { "x×".contains($0) }
        let sides = parts.compactMap { Int($0) }.filter { (1...16384).contains($0) }
        guard sides.count == parts.count, (1...2).contains(sides.count) else { return nil }
        return (sides[0], sides[sides.count - 1])
    }

    /// A number of bytes, KiB, MiB or GiB.
    private static func bytes(_ text: String) -> Int? {
        let digits = text.prefix { "0123456789.".contains($0) }
        let unit = text.dropFirst(digits.count).trimmed.uppercased()
        let units = [
            "": 0, "B": 0, "K": 10, "KIB": 10, "M": 20, "MIB": 20, "G": 30, "GIB": 30, "T": 40, "TIB": 40,
        ]
        guard let number = Double(digits), let shift = units[unit], number > 0 else { return nil }
        return Int(exactly: (number * Double(1 << shift)).rounded())
    }

    /// The model's file.
    var path: String { get throws { try model ?? ModelOptions.standardModel() } }

    /// The same as `open`, for the program.
    func load(inputs: [String] = []) throws -> Model {
        Terminal.isVerbose = verbose
        return try open(inputs: inputs)
    }

    /// - Parameter inputs: `NAME` of the picture, and `NAME=FILE.npy` of the others.
    package func open(inputs: [String] = []) throws -> Model {
        let parts = inputs.map { $0.split(separator: "=", maxSplits: 1).map(String.init) }
        return try Model(
            path: try path, preprocessing: preprocess, labels: labels,
            size: size.flatMap(ModelOptions.sides), memoryLimit: memoryLimit.flatMap(ModelOptions.bytes),
            workLimit: workLimit.map { $0 * 1e9 },
            input: parts.first { $0.count == 1 }?[0],
            otherInputs: Dictionary(parts.filter { $0.count == 2 }.map { ($0[0], $0[1]) }) { $1 },
            scoreOutput: scoreOutput, frames: frames)
    }

    /// The model that the environment names, else the default in the working directory, else beside or above the program.
    private static func standardModel() throws -> String {
        if let named = FileName.environment("WHITEBOX_MODEL") { return named }
        let name = "models/efficientnet-lite0.onnx"
        if FileKind(name) != .missing { return name }
        if let program = FileName.resolved("/proc/self/exe") {
            var folder = Paths.parent(program)
            // From .build/PLATFORM/release up to the project.
            for _ in 0..<5 {
                let path = Paths.join(folder, name)
                if FileKind(path) != .missing { return path }
                folder = Paths.parent(folder)
            }
        }
        throw ExplainError(
            .model,
            "No model was named, and there is no \(name) in the working directory or near the program; name an ONNX file with --model or in WHITEBOX_MODEL (`make models` in Whitebox's sources gets two)."
        )
    }
}

/// Inputs of a network that has several.
package struct InputOptions: ParsableArguments {
    package init() {}

    @Option(
        parsing: .unconditionalSingleValue,
        help: ArgumentHelp(
            "Of a network with several inputs: NAME of the picture, or NAME=FILE.npy with the numbers of another; give it once for each.",
            valueName: "name[=file]"))
    package var input: [String] = []

    package func validate() throws {
        guard input.count(where: { !$0.contains("=") }) <= 1 else {
            throw ValidationError(
                "--input names several pictures; the others need a file each, NAME=FILE.npy.")
        }
    }
}

/// Videos in place of pictures.
struct VideoOptions: ParsableArguments {
    @Option(
        name: .customLong("video"), parsing: .unconditionalSingleValue,
        help: ArgumentHelp(
            "A video, for a network of videos: a folder of frames, an animated PNG, or a text file that names frames, one on a line; give it once for each.",
            valueName: "path"), completion: .file())
    var videos: [String] = []
}

/// Where pictures come from, if they are many, and their classes.
struct PictureOptions: ParsableArguments {
    @Flag(
        help:
            "Take the pictures in folders of folders too; files of results lie in folders of the same names.")
    var recursive = false

    @Option(
        name: .customLong("list"),
        help: ArgumentHelp(
            "A file, or - for stdin, with a picture on each line: its path, or JSON such as {\"image\": \"cat.jpg\", \"id\": \"cats/1\", \"class\": 281}.",
            valueName: "file"), completion: .file())
    var listFile: String?

    @Option(
        help: ArgumentHelp(
            "A file that says which class is explained of each picture: CSV (picture, class) or JSON on each line.",
            valueName: "file"), completion: .file())
    var targets: String?

    /// The pictures that were named.
    func queue(_ images: [String], videos: [String], shard: ShardChoice? = nil) throws -> PictureQueue {
        if let listFile {
            guard images.isEmpty, videos.isEmpty else {
                throw ValidationError(
                    "The pictures are named by --list, so no others can be named beside it.")
            }
            return try PictureQueue(list: listFile, shard: shard?.shard())
        }
        if let archive = images.first(where: PictureQueue.isArchive) {
            guard images.allSatisfy(PictureQueue.isArchive), videos.isEmpty else {
                throw ValidationError(
                    "“\(archive)” is an archive, and other pictures are named beside it; explain archives in a run of their own."
                )
            }
            return try PictureQueue(archives: images, shard: shard?.shard()) {
                NoteHandler.logger.notice("\($0)")
            }
        }
        guard recursive, !images.isEmpty else {
            return PictureQueue(try Pictures.find(images, videos: videos), shard: try shard?.shard())
        }
        guard videos.isEmpty else { throw ValidationError("--recursive is for pictures, not for --video.") }
        return PictureQueue(folders: try Pictures.below(images), shard: try shard?.shard())
    }

    /// The classes of pictures that have some of their own.
    /// - Parameter images: that were named.
    func classes(_ session: ExplanationSession, _ images: [String], isOfFolders: Bool) throws
        -> PictureClasses
    {
        let resolver = PictureClasses.Resolver(session)
        if let targets {
            guard !isOfFolders else {
                throw ValidationError(
                    "Classes are those of --targets or those of folders (--class folder), not both.")
            }
            return .table(try ClassTable(path: targets), resolver)
        }
        // Archives may say what is true, too.
        let saysMore = listFile != nil || images.contains(where: PictureQueue.isArchive)
        return isOfFolders ? .folders(resolver) : saysMore ? .listed(resolver) : .none
    }
}

/// How many pictures are computed at a time.
package struct BatchOptions: ParsableArguments {
    package init() {}

    @Option(
        parsing: .unconditional, help: ArgumentHelp("How many images are computed at a time.", valueName: "n")
    )
    package var batch = 8

    package func validate() throws {
        guard (1...1024).contains(batch) else {
            throw ValidationError("--batch must be between 1 and 1024, and is \(batch).")
        }
    }

    /// A batch is computed whole, so the batches are made equal: ten images at most eight at a time are five and five.
    /// - Parameter count: of pictures; nil if nobody knows.
    func size(of count: Int?) -> Int {
        guard let count, count > 0 else { return batch }
        let batches = (count + batch - 1) / batch
        return (count + batches - 1) / batches
    }
}

/// Which part of the pictures is taken, of a command whose results can be joined.
struct ShardOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Take only one part of the pictures, of those that several programs share: 3/40, or auto as Slurm and Kubernetes say it.",
            valueName: "i/n|auto"))
    var shard: ShardChoice?
}

/// What several layers become, of a command that gives a map for each.
package struct LayerOptions: ParsableArguments {
    package init() {}

    @Flag(help: "Make a map of each of several layers, in place of one that is fused of all.")
    package var eachLayer = false
}

/// One of several programs that share the pictures of a run.
enum ShardChoice: ExpressibleByArgument, Equatable {
    case named(Shard)
    /// As the scheduler that started the program says.
    case auto

    init?(argument: String) {
        if argument.lowercased() == "auto" {
            self = .auto
            return
        }
        let parts = argument.split(separator: "/", omittingEmptySubsequences: false).map { Int($0) }
        guard parts.count == 2, let number = parts[0], let count = parts[1], count >= 1,
            (1...count).contains(number)
        else { return nil }
        self = .named(Shard(number: number, of: count))
    }

    /// Variables that say which of how many tasks this is, and where the first is not 0.
    private static let schedulers = [
        (index: "SLURM_ARRAY_TASK_ID", count: "SLURM_ARRAY_TASK_COUNT", first: "SLURM_ARRAY_TASK_MIN"),
        (index: "SLURM_PROCID", count: "SLURM_NTASKS", first: ""),
        (index: "JOB_COMPLETION_INDEX", count: "JOB_COMPLETIONS", first: ""),
        (index: "OMPI_COMM_WORLD_RANK", count: "OMPI_COMM_WORLD_SIZE", first: ""),
    ]

    func shard() throws -> Shard {
        guard self == .auto else {
            guard case .named(let shard) = self else { preconditionFailure() }
            return shard
        }
        func number(_ variable: String) -> Int? { FileName.environment(variable).flatMap { Int($0) } }
        for scheduler in ShardChoice.schedulers {
            guard let index = number(scheduler.index) else { continue }
            guard let count = number(scheduler.count) else {
                throw ValidationError(
                    "--shard auto reads \(scheduler.index), which is \(index), and \(scheduler.count), which is not set; set it to the number of tasks, or name the shard, such as --shard 3/40."
                )
            }
            let step = scheduler.first.isEmpty ? 1 : number("SLURM_ARRAY_TASK_STEP") ?? 1
            let place = (index - (number(scheduler.first) ?? 0)) / max(1, step)
            guard count >= 1, (0..<count).contains(place) else {
                throw ValidationError(
                    "--shard auto makes of \(scheduler.index) = \(index) and \(scheduler.count) = \(count) the part \(place + 1) of \(count), which there is not."
                )
            }
            return Shard(number: place + 1, of: count)
        }
        throw ValidationError(
            "--shard auto finds none of \(ShardChoice.schedulers.map(\.index).joined(separator: ", ")) in the environment; name the shard, such as --shard 3/40."
        )
    }
}

package struct DeviceOptions: ParsableArguments {
    package init() {}

    @Option(
        name: .shortAndLong,
        help: ArgumentHelp(
            "auto (a GPU if there is one, else the CPU), cpu, or opencl:N (see `app devices`); of explain and classify also several with commas between them, or all (every GPU).",
            valueName: "device"), completion: .list(["auto", "cpu", "opencl", "all"]))
    var device = "auto"

    @Option(
        parsing: .unconditional,
        help: ArgumentHelp("CPU threads; if left out, one for each core.", valueName: "n"))
    var threads: Int?

    @Option(
        help: ArgumentHelp(
            "For tests: the OpenCL kernels' shape, cpu or gpu; if left out, what suits the device.",
            valueName: "shape"), completion: .list(["cpu", "gpu"]))
    var kernels: String?

    package func validate() throws {
        for name in names where DeviceChoice(name) == nil {
            throw ValidationError("There is no device “\(name)”; choose auto, cpu, opencl or opencl:N.")
        }
        guard !names.isEmpty || isAll else { throw ValidationError("--device names no device.") }
        guard threads.map({ (1...1024).contains($0) }) ?? true else {
            throw ValidationError("--threads must be between 1 and 1024, and is \(threads!).")
        }
        guard kernels.map({ KernelShape(rawValue: $0.lowercased()) != nil }) ?? true else {
            throw ValidationError("--kernels must be cpu or gpu, and is “\(kernels!)”.")
        }
    }

    private var isAll: Bool { device.lowercased() == "all" }
    private var names: [String] { isAll ? [] : list(device) }

    /// The devices that were named, of which the same may be there twice.
    package var choices: [DeviceChoice] { isAll ? DeviceChoice.all() : names.map { DeviceChoice($0)! } }

    /// The device, for a command that takes one.
    var choice: DeviceChoice {
        get throws {
            guard names.count == 1 else {
                throw ValidationError("This command takes one device (--device), and not “\(device)”.")
            }
            return choices[0]
        }
    }
    var shape: KernelShape? { kernels.flatMap { KernelShape(rawValue: $0.lowercased()) } }

    package func apply(to options: inout Options, takesSeveral: Bool = false) throws {
        options.device = takesSeveral ? choices[0] : try choice
        options.threads = threads
        options.kernelShape = shape
    }
}

package struct MethodOptions: ParsableArguments {
    package init() {}

    @Option(
        name: [.long, .customLong("methods")],
        help: ArgumentHelp(
            "Methods, separated by commas, or all, white (those that look inside the network), black (those that only ask it); if left out, gradcam: \(Options.methods.joined(separator: ", ")).",
            valueName: "names"),
        completion: .list(groups.keys.sorted() + Options.methods))
    var method: [String] = []

    @Option(
        name: .customLong("class"), parsing: .unconditionalSingleValue,
        help: ArgumentHelp(
            "The class to explain: top1, top3, an index, or a name; several with commas between them; or folder: the name of the folder that each picture lies in, which is then taken for true as well.",
            valueName: "class"))
    var classChoice = ["top1"]

    @Option(
        parsing: .unconditional,
        help: ArgumentHelp(
            "Explain the difference to this class: an index, a name, or top2 for the second best.",
            valueName: "class"))
    var against: String?

    @Flag(help: "Explain what speaks against the class.")
    var negative = false

    @Option(
        help: ArgumentHelp(
            "What of a class is explained: logit or probability; if left out, what each method's paper takes.",
            valueName: "what"), completion: .list(Target.Scale.allCases.map(\.rawValue)))
    var score: String?

    @Option(
        parsing: .unconditional,
        help: ArgumentHelp(
            "The layer to map: auto, an index, or a name (see `app layers`); several with commas between them, or a pattern such as 'layer4*', are fused.",
            valueName: "layer"))
    var layer = "auto"

    @Option(
        name: .customLong("set"), parsing: .unconditionalSingleValue,
        help: ArgumentHelp(
            "A setting of a method, such as fem.k=1 (see `app methods NAME`); give it once for each.",
            valueName: "method.setting=value"))
    var settings: [String] = []

    @Option(
        help: ArgumentHelp(
            "Average each map over versions of the picture: flip, brightness, or both with a comma.",
            valueName: "what"), completion: .list(Augmentation.allCases.map(\.rawValue)))
    var augment: String?

    @Option(
        parsing: .unconditional,
        help: ArgumentHelp("Of the random samples that some methods draw.", valueName: "n"))
    var seed: UInt64 = 0

    package func validate() throws {
        guard score.map({ Target.Scale(rawValue: $0.lowercased()) != nil }) ?? true else {
            throw ValidationError("--score must be logit or probability, and is “\(score!)”.")
        }
    }

    /// Words for many methods, of which those that cannot explain a network are left out.
    private static let groups: [String: @Sendable (any Explainer.Type) -> Bool] = [
        "all": { _ in true }, "white": { $0.family != .perturbation },
        "black": { $0.family == .perturbation },
    ]

    /// Whether a list with commas asks for many methods at once.
    private static func hasGroup(_ text: String) -> Bool {
        list(text.lowercased()).contains { groups[$0] != nil }
    }

    /// The methods of a list with commas.
    static func names(_ text: String) throws -> [String] {
        let names = list(text.lowercased())
        guard !names.isEmpty else {
            throw ExplainError(
                .method, "--method names no method; there are \(Options.methods.joined(separator: ", ")).")
        }
        return try names.flatMap { name in
            guard let group = groups[name] else { return [try ExplainerList.named(name).name] }
            return ExplainerList.all.filter(group).map { $0.name }
        }
    }

    /// Whether the class of a picture is the name of its folder.
    var isOfFolders: Bool { classChoice.map { $0.lowercased() } == ["folder"] }

    /// - Parameter takesFolders: whether `--class folder` means something here.
    package func apply(to options: inout Options, takesFolders: Bool = false) throws {
        // Given twice, they add up.
        let methods = method.isEmpty ? "gradcam" : method.joined(separator: ",")
        options.methods = try MethodOptions.names(methods)
        options.leavesOutInapplicable = MethodOptions.hasGroup(methods)
        if takesFolders, isOfFolders {
            options.ownClasses = "folder"
        } else {
            options.classChoice = ClassChoice(classChoice.joined(separator: ","))
        }
        options.layer = layer
        options.against = against
        options.isNegative = negative
        options.scale = score.flatMap { Target.Scale(rawValue: $0.lowercased()) }
        options.augmentations = try augment.map(Augmentation.list) ?? []
        options.seed = seed
        for setting in settings { try options.set(setting) }
        if let unused = options.settings.keys.sorted().first(where: { !options.methods.contains($0) }) {
            throw ExplainError(
                .method, "--set names a setting of \(unused), which is not among the methods (--method).")
        }
    }
}

/// The parts of a list with commas.
func list(_ text: String) -> [String] {
    text.split(separator: ",").map { $0.trimmed }.filter { !$0.isEmpty }
}

/// Notes on stderr.
struct NoteHandler: LogHandler {
    var metadata: Logger.Metadata = [:]
    var logLevel = Logger.Level.notice
    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        guard !NoteHandler.isQuiet || event.level > .notice else { return }
        Terminal.complain("\(event.message)", level: "\(event.level)")
    }

    /// With --quiet, notes are not printed; warnings are. Set once, before anything is said.
    nonisolated(unsafe) static var isQuiet = false

    static let logger = Logger(label: "app") { _ in NoteHandler() }
}

/// What is said of a run while it goes on.
struct LogOptions: ParsableArguments {
    @Flag(
        name: .customLong("log-json"),
        help: "Write notes, errors and, every ten seconds, how far it is to stderr as JSON, a line each.")
    var json = false

    @Option(
        help: ArgumentHelp(
            "A file in Prometheus' text format that says how far the run is, for a node exporter; written anew every five seconds.",
            valueName: "file"), completion: .file())
    var metrics: String?

    /// Refuses to replace a file that is none of this kind.
    func check() throws {
        guard let metrics, FileKind(metrics) != .missing else { return }
        guard let bytes = try? InputFile.contents(metrics), bytes.starts(with: "# HELP whitebox_".utf8) else {
            throw ExplainError(
                .output,
                "'\(metrics)' is there already and is no file of metrics, so it is not replaced (--metrics).")
        }
    }
}

/// A bar on stderr, if that is a terminal and there is something to wait for.
struct ProgressBar {
    /// Nil where nobody knows.
    private let total: Int?
    private let isTerminal: Bool
    private let start = Benchmark.now()

    init(total: Int?) {
        self.total = total
        isTerminal = isatty(STDERR_FILENO) == 1 && !Terminal.isJSON
    }

    /// Of one thing there is nothing to show, unless it takes long.
    private var isShown: Bool { isTerminal && (total != 1 || Benchmark.now() - start > 1) }

    /// - Parameter done: may be a part of one.
    func show(_ done: Double) {
        guard isShown else { return }
        guard let total, total > 0 else {
            Terminal.control("\r\(Int(done))\u{1B}[K")
            return
        }
        let filled = min(30, max(0, Int(30 * done / Double(total))))
        let bar = String(repeating: "█", count: filled) + String(repeating: "░", count: 30 - filled)
        let seconds = Benchmark.now() - start
        // Of the first moments nobody can tell.
        let left = done / Double(total) > 0.02 && seconds > 2 ? (Double(total) - done) * seconds / done : 0
        Terminal.control(
            "\r\(bar) \(Int(done))/\(total)" + (left > 1 ? ", \(Report.time(left)) left" : "") + "\u{1B}[K")
    }

    func show(_ done: Int) { show(Double(done)) }

    /// Makes room for a line of text.
    func hide() {
        guard isShown else { return }
        Terminal.control("\r\u{1B}[K")
    }
}
