// The command that measures: `bench`.

import ArgumentParser
import Explain
import Glibc

struct BenchCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bench", abstract: "Measure how fast explanations are computed.",
        discussion:
            "Times are medians over rounds. Without images, noise in the network's input format is used, and nothing is decoded."
    )

    @Argument(
        help: ArgumentHelp("Picture files, folders of them, or patterns.", valueName: "image"),
        completion: .file())
    var images: [String] = []
    @OptionGroup var model: ModelOptions
    @OptionGroup var method: MethodOptions
    @OptionGroup var layerUse: LayerOptions
    @OptionGroup var device: DeviceOptions

    @Option(
        help: ArgumentHelp(
            "What is timed: explain, or input-gradient (of the largest logit with respect to the input).",
            valueName: "work"), completion: .list(Benchmark.Work.allCases.map(\.rawValue)))
    var work = Benchmark.Work.explain.rawValue

    @Option(
        help: ArgumentHelp("Batch sizes, separated by commas; if left out, 1,8,32.", valueName: "n,…"))
    var batch: String?

    @Option(help: ArgumentHelp("How often each batch is repeated.", valueName: "n"))
    var rounds = 5

    @Flag(help: "Print the roofline: a table of all steps, for each batch size.")
    var layers = false

    @Option(
        name: .shortAndLong,
        help: ArgumentHelp(
            "A batch in place of images: the network's input, [N, C, H, W], a .npy file.", valueName: "file"),
        completion: .file(extensions: ["npy"]))
    var input: String?

    @Option(
        name: .shortAndLong,
        help: ArgumentHelp("Also write what is computed, a .npy file.", valueName: "file"),
        completion: .file(extensions: ["npy"]))
    var output: String?

    @Flag(
        help: ArgumentHelp(
            "To time beside another program: for each line on stdin, compute one batch and print its milliseconds."
        ))
    var onRequest = false

    @Flag(help: "Replace a file that is there already.")
    var force = false

    @Flag(help: "Print JSON instead of text.")
    var json = false

    private var batches: [Int] { list(batch ?? "1,8,32").compactMap(Int.init) }

    func validate() throws {
        guard Benchmark.Work(rawValue: work.lowercased()) != nil else {
            throw ValidationError(
                "--work must be \(Benchmark.Work.allCases.map(\.rawValue).joined(separator: " or ")), and is “\(work)”."
            )
        }
        if let batch {
            guard !batches.isEmpty, batches.count == list(batch).count,
                batches.allSatisfy({ (1...1024).contains($0) })
            else {
                throw ValidationError(
                    "--batch must be numbers between 1 and 1024 with commas between them, such as 1,8,32, and is “\(batch)”."
                )
            }
        }
        guard (1...1000).contains(rounds) else {
            throw ValidationError("--rounds must be between 1 and 1000, and is \(rounds).")
        }
        guard input == nil || (images.isEmpty && batch == nil) else {
            throw ValidationError("--input is the whole batch; leave out --batch and the images.")
        }
        guard input != nil || batches.count == 1 || !(onRequest || output != nil) else {
            throw ValidationError("--on-request and --output are for one batch size; name it with --batch.")
        }
    }

    func run() throws {
        var options = Options()
        try method.apply(to: &options)
        options.layersApart = layerUse.eachLayer
        try device.apply(to: &options)
        let start = Benchmark.now()
        let model = try model.load()
        let benchmark = Benchmark(
            options: options, work: Benchmark.Work(rawValue: work.lowercased())!, rounds: rounds,
            loading: Benchmark.now() - start)
        let pictures =
            try input.map(model.pictures(inFile:))
            ?? (images.isEmpty ? model.noise(8) : try Pictures.find(images))
        let batches = input == nil ? batches : [pictures.count]
        if onRequest || output != nil {
            let subject = try benchmark.subject(model, pictures: pictures, batch: batches[0])
            if let output { try subject.write(to: output, overwrite: force) }
            if onRequest {
                _ = try subject.time()
                print("ready")
                fflush(nil)
                while readLine() != nil {
                    print(try subject.time().seconds * 1e3)
                    fflush(nil)
                }
                return
            }
        }
        if !json { print("Model    \(model.path), read in \(Report.time(benchmark.loading))") }
        var rows: [Benchmark.Row] = []
        for batch in batches {
            let row = try benchmark.run(model, pictures: pictures, batch: batch, steps: layers)
            rows.append(row)
            if let roofline = row.roofline, !json { show(roofline, batch: batch) }
        }
        if json {
            printLines(
                JSON.object([
                    ("whitebox", .string(Whitebox.version)), ("model", .string(model.path)),
                    ("device", .string(rows[0].device)), ("work", .string(work)),
                    ("methods", JSON(options.methods)),
                    ("loadMilliseconds", .double(benchmark.loading * 1e3)), ("rounds", .int(rounds)),
                    ("batches", .array(rows.map(record))),
                ]).text)
            return
        }
        print("Device   \(rows[0].device)")
        print(
            benchmark.work == .explain
                ? "Methods  \(options.methods.joined(separator: ", "))" : "Work     \(work)")
        print(
            "Milliseconds; decode for one image, the others for a batch; peak is the process's memory in MiB."
        )
        let head = [
            "batch", "images/s", "plan", "first", "whole", "decode", "forward", "gradient", "maps", "peak",
        ]
        Report.table(
            [head]
                + rows.map { row in
                    ["\(row.batch)", Report.number(row.imagesPerSecond, digits: 1)]
                        + [
                            row.plan, row.firstRun, row.batchTime, row.decode, row.forward, row.gradient,
                            row.maps,
                        ]
                        .map { Report.number($0, digits: 2) } + [row.peakMemory.map { "\($0 >> 20)" } ?? "?"]
                }, right: Set(head.indices))
    }

    private func record(_ row: Benchmark.Row) -> JSON {
        var entries: [(String, JSON)] = [
            ("batch", .int(row.batch)), ("imagesPerSecond", .double(row.imagesPerSecond)),
            (
                "milliseconds",
                .object([
                    ("plan", .double(row.plan)), ("firstRun", .double(row.firstRun)),
                    ("whole", .double(row.batchTime)),
                    ("decode", .double(row.decode)), ("forward", .double(row.forward)),
                    ("gradient", .double(row.gradient)),
                    ("maps", .double(row.maps)),
                ])
            ),
            ("peakMemory", JSON(row.peakMemory)), ("workingMemory", .int(row.workingMemory)),
        ]
        if let roofline = row.roofline {
            func part(_ part: Roofline.Part, _ names: [(String, JSON)]) -> JSON {
                .object(
                    names + [
                        ("milliseconds", .double(part.milliseconds)),
                        ("share", .double(part.milliseconds / roofline.total.milliseconds)),
                        ("operations", .int(part.operations)), ("bytes", .int(part.bytes)),
                        ("gflops", .double(part.gflops)),
                        ("shareOfPeak", .double(part.gflops / roofline.peak.gflops)),
                        ("gigabytesPerSecond", .double(part.gigabytesPerSecond)),
                    ])
            }
            entries += [
                (
                    "peak",
                    .object([
                        ("gflops", .double(roofline.peak.gflops)),
                        ("gigabytesPerSecond", .double(roofline.peak.gigabytesPerSecond)),
                    ])
                ),
                (
                    "steps",
                    .array(
                        roofline.steps.map {
                            part($0, [("label", .string($0.label)), ("kernel", .string($0.kernel))])
                        })
                ),
                ("kernels", .array(roofline.kernels.map { part($0, [("kernel", .string($0.kernel))]) })),
                ("total", part(roofline.total, [])),
            ]
        }
        return .object(entries)
    }

    private func show(_ roofline: Roofline, batch: Int) {
        let peak = roofline.peak
        print(
            "Batch \(batch), each step waited for. Measured on this device: \(Report.number(peak.gflops, digits: 0)) GFLOP/s (fp32, peak), "
                + "\(Report.number(peak.gigabytesPerSecond, digits: 1)) GB/s (memory).")
        func row(_ first: String, _ second: String, _ part: Roofline.Part) -> [String] {
            [
                first, second, Report.number(part.milliseconds, digits: 3),
                Report.number(part.milliseconds / roofline.total.milliseconds * 100, digits: 1) + " %",
                part.operations == 0 ? "" : Report.number(part.gflops, digits: 1),
                part.operations == 0 ? "" : Report.number(part.gflops / peak.gflops * 100, digits: 1) + " %",
                Report.number(Double(part.bytes) * 1e-6, digits: 2),
                Report.number(part.gigabytesPerSecond, digits: 1),
            ]
        }
        let head = ["kernel", "ms", "share", "GFLOP/s", "of peak", "MB", "GB/s"]
        let numbers = Set(2...7)
        Report.table(
            [["step"] + head] + roofline.steps.map { row($0.label, $0.kernel, $0) }, right: numbers)
        print("")
        Report.table(
            [["steps"] + head]
                + roofline.kernels.map { row("\($0.count)", $0.kernel, $0) }
                + [row("\(roofline.total.count)", "all", roofline.total)], right: numbers.union([0]))
    }
}
