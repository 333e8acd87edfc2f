// Expected gradients.

import Files
import Imaging
import Inference
import Kernels
import Text

/// Expected gradients.
///
/// Erion, Janizek, Sturmfels, Lundberg, Lee, “Improving performance of deep learning models with axiomatic attribution priors and expected gradients”,
/// Nature Machine Intelligence 2021, equation 3: the map is Σ_c E[(x − b)_c ∂s/∂x_c at b + α (x − b)] over baselines b and α uniform in 0 … 1. It adds
/// up to s(x) − E[s(b)], but for the error of the samples.
///
/// The paper draws baselines from the training set. Here they are drawn from a folder of pictures, or, where there is none, are pictures of one colour,
/// each of whose channels is uniform in 0 … 255. Sample i is the same for every picture.
package struct ExpectedGradients: Explainer {
    package static let name = "expected-gradients"
    package static let title = "Expected gradients"
    package static let family = MethodFamily.gradient
    package static let formula =
        "sum over colours of the mean of (x - b) times the gradient at a random point between a random baseline b and x"
    package static let reading =
        "As integrated gradients, averaged over many baselines; do not trust faint parts of few samples, and know the baselines, because other ones give other maps."
    package static let source = "Erion et al. 2021, equation 3"
    package static let sign = MapSign.evidence
    package static let asksManyTimes = true
    package static let cost = passes(Settings(), of: nil)
    package static func passes(_ settings: Settings, of subject: ExplainedNetwork?) -> String {
        "\(2 * settings.samples) forward, \(settings.samples) back to the pixels (samples, and their baselines)"
    }

    package struct Settings: MethodSettings {
        package var samples = 200
        package var baselines = BaselineSet.colours
        package var precision: Float?
        package init() {}
        package static let list = [
            MethodSetting<Settings>(
                "samples", \.samples, "how many baselines and points are drawn, at most", 2...100_000),
            MethodSetting<Settings>("baselines", \.baselines, "what the picture is compared with"),
            MethodSetting<Settings>("precision", \.precision, precisionHelp, where: precisionBounds),
        ]
    }

    /// What baselines are drawn from.
    package enum BaselineSet: SettingValue {
        /// Pictures of one colour.
        case colours
        /// The pictures in a folder.
        case folder(String)

        package static var expected: String { "colours, or a folder of picture files" }
        package init?(setting text: String) {
            if text.isEmpty { return nil }
            self = text.lowercased() == "colours" ? .colours : .folder(text)
        }
        package var setting: JSON {
            switch self {
            case .colours: .string("colours")
            case .folder(let path): .string(path)
            }
        }
    }

    private let subject: ExplainedNetwork
    private let input: PixelInput
    private let count: SampleCount
    /// By which picture they were drawn; none for colours.
    private let pictures: [Int: [Float]]
    /// Of the folder; 0 for colours.
    private let pictureCount: Int
    /// The memory of the pictures.
    private let share: MemoryBudget.Share?

    package init(_ settings: Settings, explaining subject: ExplainedNetwork) throws {
        self.subject = subject
        input = try PixelInput(subject, for: Self.title)
        guard [1, 3, 4].contains(input.channels) else {
            throw ExplainError(
                .method,
                "\(Self.title) compares a picture with other pictures, and the network's input has \(input.channels) channels, "
                    + "which are no colours; take integrated-gradients with the baseline zero.")
        }
        count = SampleCount(most: settings.samples, precision: settings.precision)
        switch settings.baselines {
        case .colours: (pictures, pictureCount, share) = ([:], 0, nil)
        case .folder(let path):
            let files = (Folder.names(path) ?? []).filter {
                RGBImage.fileExtensions.contains(Paths.fileExtension($0))
            }
            guard !files.isEmpty else {
                throw ExplainError(
                    .input,
                    "\(path): \(FileKind(path) == .folder ? "The folder has no picture files" : "There is no such folder"), from "
                        + "which \(Self.name).baselines are drawn.")
            }
            // Those that will be drawn, and no others.
            let drawn = Set((0..<count.most).map { Draw($0, of: files.count, seed: subject.seed).picture })
            do {
                share = try subject.network.limits.memory.reserve(4 * input.count * drawn.count)
            } catch {
                throw ExplainError(
                    .limit, "\(path): Of the pictures \(drawn.count) are drawn as baselines, which \(error).")
            }
            pictureCount = files.count
            pictures = Dictionary(
                uniqueKeysWithValues: try drawn.sorted().map {
                    ($0, try Baseline.numbers(ofFile: Paths.join(path, files[$0]), for: subject))
                })
        }
    }

    package var grid: Attribution.Grid { input.grid }

    /// What is drawn for a sample.
    struct Draw {
        /// The share of the way from the baseline to the picture.
        let share: Float
        /// Which picture of the folder is the baseline.
        let picture: Int
        /// The brightness of a colour's channels, 0 … 255, in the network's order.
        let levels: [Float]

        init(_ sample: Int, of pictures: Int, seed: UInt64) {
            let random = CounterRandom(seed: seed, stream: CounterRandom.Stream.expectedGradients)
            let (first, second) = (
                random.words(sample: sample, place: 0), random.words(sample: sample, place: 1)
            )
            share = CounterRandom.uniform(first[0])
            picture = CounterRandom.index(first[1], below: max(1, pictures))
            levels = (0..<3).map { 255 * CounterRandom.uniform(second[$0]) }
        }
    }

    /// The baseline of a draw: [C, H, W], or [C, 1, 1] if it is of one colour.
    private func baseline(_ draw: Draw) -> [Float] {
        pictureCount > 0
            ? pictures[draw.picture]!
            : (0..<input.channels).map {
                // No colour is transparent.
                subject.preprocessing.number(
                    $0 < 3 ? draw.levels[$0] : 255, channel: $0, of: input.channels)
            }
    }

    package func explain(_ batch: ExplainedBatch, _ targets: [[Target]], _ engine: Engine) throws
        -> [Attribution]
    {
        let shape =
            pictureCount > 0 ? [input.channels, input.height, input.width] : [input.channels, 1, 1]
        let variants = try GradientVariants(
            batch, engine, of: subject, value: input.name,
            source: Interpolation(baseline: shape, hasOwnBaselines: true),
            most: count.parts[0].count)
        let (pictureCount, seed) = (pictureCount, subject.seed)
        /// - Parameter isBaseline: whether the variant is the baseline itself.
        func write(isBaseline: Bool) -> GradientVariants.Write {
            { [self] sample, parts in
                let draw = Draw(sample, of: pictureCount, seed: seed)
                parts[0][0] = isBaseline ? 0 : draw.share
                _ = parts[1].update(fromContentsOf: baseline(draw))
            }
        }
        return try batch.pictures.flatMap { picture in
            let x = batch.input(picture)
            try variants.take(x)
            let estimates = try variants.estimate(
                targets[picture], count,
                empty: Estimate(input, x) { baseline(Draw($0, of: pictureCount, seed: seed)) },
                write: write(isBaseline: false)
            ) {
                try batch.advance(picture, done: $0, of: count.most)
            }
            // The baselines' scores.
            var logits: [[Float]] = []
            try variants.run(
                0..<(estimates.map(\.count).max() ?? 0), targets: [], write: write(isBaseline: true),
                logits: { logits.append($1) }, gradient: { _, _, _ in })
            return zip(targets[picture], estimates).map { target, estimate in
                let map = estimate.map()
                var attribution = Attribution(
                    picture: picture, target: target, grid: grid, values: map.values,
                    blankReason:
                        "at every pixel each sample's gradient is zero, or the picture is the baseline")
                attribution.sampleError = map.sampleError
                attribution.samples = estimate.count
                let baselines = logits[..<estimate.count].reduce(0.0) {
                    $0 + Double(batch.scoring.value(target, $1))
                }
                attribution.completeness = Completeness(
                    sum: Float(map.values.reduce(0.0) { $0 + Double($1) }),
                    expected: Float(
                        Double(batch.value(target, picture: picture)) - baselines / Double(estimate.count)),
                    remedy: "take more samples (--set expected-gradients.samples)")
                return attribution
            }
        }
    }

    /// The mean over samples of Σ_c (x − b)_c ∂s/∂x_c, each sum in double precision in the order of the channels.
    struct Estimate: GradientEstimate {
        private let input: PixelInput
        private let x: [Float]
        private let baseline: (_ sample: Int) -> [Float]
        private var mean: SampleMean
        var count: Int { mean.count }

        init(_ input: PixelInput, _ x: [Float], baseline: @escaping (_ sample: Int) -> [Float]) {
            (self.input, self.x, self.baseline) = (input, x, baseline)
            mean = SampleMean(input.cells)
        }

        mutating func add(_ gradient: UnsafeBufferPointer<Float>, of sample: Int) {
            let b = baseline(sample)
            var sums = [Double](repeating: 0, count: input.cells)
            let step = b.count == input.channels ? 0 : 1
            for channel in 0..<input.channels {
                let start = channel * input.cells
                let from = step == 0 ? channel : start
                for i in 0..<input.cells {
                    sums[i] +=
                        (Double(x[start + i]) - Double(b[from + i * step])) * Double(gradient[start + i])
                }
            }
            mean.add(sums.map { Float($0) })
        }

        func map() -> (values: [Float], sampleError: [Float]) { (mean.values, mean.sampleError) }
    }
}
