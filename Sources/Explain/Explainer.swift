// What a method is, and the one list of them.

import Imaging
import Inference
import Kernels
import Text

/// A method of explanation, with its settings, for a network and, if it has any, for layers of it.
///
/// It asks for what it reads of the pass that all methods share, and later makes its maps of a batch: from that pass, and from any
/// passes of its own that it has the engine run. A map of one layer takes less: see `LayerMethod` and `ClassActivationMap`.
package protocol Explainer: Sendable {
    associatedtype Settings: MethodSettings = NoSettings

    /// What people type.
    static var name: String { get }
    /// What people read.
    static var title: String { get }
    static var family: MethodFamily { get }
    /// One line: the formula.
    static var formula: String { get }
    /// A sentence on how its map is read, and when it is not to be.
    static var reading: String { get }
    /// Where it was published.
    static var source: String { get }
    /// What it does with the layers that are chosen.
    static var layers: LayerUse { get }
    /// Whether its map depends on a class.
    static var isClassSpecific: Bool { get }
    /// What its numbers mean.
    static var sign: MapSign { get }
    /// What of a class its paper explains.
    static var scale: Target.Scale { get }
    /// The passes through the network that a map takes with the defaults, in words.
    static var cost: String { get }
    /// The same with other settings.
    /// - Parameter subject: what is explained; nil where that is not known.
    static func passes(_ settings: Settings, of subject: ExplainedNetwork?) -> String
    /// Whether those are many.
    static var asksManyTimes: Bool { get }
    /// The quantile of a map's numbers that its heat map shows as strongly as anything above it; 1 where only the largest is shown so.
    static var brightestQuantile: Double { get }

    /// - Throws: `ExplainError` of kind `method` for layers or settings with which every map would be blank.
    init(_ settings: Settings, explaining subject: ExplainedNetwork) throws
    /// What its maps lie on.
    var grid: Attribution.Grid { get }
    /// Adds what it reads to the pass that all methods share.
    func request(_ spec: inout PassSpec)
    /// The maps of a batch: of each picture one for each of its targets, or one if the method knows no class.
    /// - Parameter targets: of each picture, each once, in the scale that is asked for.
    func explain(_ batch: ExplainedBatch, _ targets: [[Target]], _ engine: Engine) throws -> [Attribution]
}

extension Explainer {
    package static var layers: LayerUse { family == .activation || family == .features ? .each : .none }
    package static var asksManyTimes: Bool { family == .perturbation }
    package static func passes(_ settings: Settings, of subject: ExplainedNetwork?) -> String { cost }
    package static var isClassSpecific: Bool { true }
    package static var scale: Target.Scale { .logit }
    /// Of what comes back to the pixels, a few have many times what others have, beside which those would not be seen (Smilkov et al. 2017,
    /// section 3.1).
    package static var brightestQuantile: Double { family == .gradient || family == .propagation ? 0.99 : 1 }
    package func request(_ spec: inout PassSpec) {}
}

/// Methods that work alike.
package enum MethodFamily: String, Sendable, CaseIterable {
    /// Weighs the channels of a layer.
    case activation = "class activation maps"
    /// Where channels fire, whatever the class.
    case features = "features"
    /// The gradient with respect to the pixels, as it is or averaged.
    case gradient = "gradients"
    /// What was explained goes back to the pixels by rules other than the derivative's.
    case propagation
    /// What tokens take from each other, from the one that is read back to the patches of the picture.
    case attention
    /// Pixels in and scores out, nothing else.
    case perturbation = "black box"

    /// As a heading.
    package var title: String { rawValue.prefix(1).uppercased() + rawValue.dropFirst() }
}

/// What a method does with layers.
package enum LayerUse: Sendable {
    /// It knows none, and works with networks in which no map could lie on any.
    case none
    /// Its map is one of a layer: of several layers there is one method for each, and their maps are fused.
    case each
    /// It is given all that were chosen.
    case together
}

/// What the numbers of a map mean.
package enum MapSign: String, Sendable {
    /// The more, the more it matters: at least 0 where what is explained is. The heat map goes from the least to the largest.
    case magnitude
    /// Above 0 speaks for what is explained, below 0 against it. The heat map shows what is above 0.
    case evidence
}

extension ExplainedNetwork? {
    /// The channels of the layer, in words.
    var eachChannel: String {
        self?.layers.first.map { "each of \($0.shape.dims[1]) channels" } ?? "each channel"
    }
}

/// What is explained: a network, and the layers that were chosen of it.
package struct ExplainedNetwork: Sendable {
    package let network: Network
    /// At least one for a method that uses any.
    package let layers: [Layer]
    /// Of one picture, [1, C, H, W].
    package let input: Shape
    /// How pictures are prepared; what the network's numbers mean as colours.
    package let preprocessing: Preprocessing
    /// Of samples.
    package let seed: UInt64
    /// Variants of a picture that are computed at a time. No bit depends on it.
    package let samplesAtATime: Int
    /// The most variants of a picture that a method asks for, if devices are only compared; what is left of its map means nothing.
    package let mostVariants: Int?

    package init(
        _ network: Network, layers: [Layer], input: Shape, preprocessing: Preprocessing = .none,
        seed: UInt64 = 0,
        samplesAtATime: Int = 8, mostVariants: Int? = nil
    ) {
        (self.network, self.layers, self.input) = (network, layers, input)
        (self.preprocessing, self.seed) = (preprocessing, seed)
        (self.samplesAtATime, self.mostVariants) = (samplesAtATime, mostVariants)
    }
}

/// A map of one picture, as a method gives it.
package struct Attribution: Sendable {
    /// What a map lies on.
    package enum Grid: Hashable, Sendable {
        /// The cells of a layer, or of several that were fused. Of a volume the frames lie below each other, and the height is that of all.
        case layers([String], frames: Int? = nil, height: Int, width: Int)
        /// The pixels that the network takes.
        case pixels(height: Int, width: Int)

        package var size: (height: Int, width: Int) {
            switch self {
            case .layers(_, _, let height, let width), .pixels(let height, let width): (height, width)
            }
        }
        /// How many frames there are, of a volume; nil for an image.
        package var frames: Int? { if case .layers(_, let frames, _, _) = self { frames } else { nil } }
        package var cells: Int { size.height * size.width }
        /// The layer, or layers, in words.
        package var title: String {
            switch self {
            case .layers(let names, _, _, _): names.joined(separator: ", ")
            case .pixels: "the input"
            }
        }
    }
    /// The picture's place in the batch.
    package let picture: Int
    /// nil for a method that knows no class.
    package let target: Target?
    package let grid: Grid
    /// Row by row, in the method's own units.
    package let values: [Float]
    /// Why the map is 0 everywhere, if it is.
    package let blankReason: String
    /// How far the values may be off, of a map that was estimated from samples: the standard error of each.
    package var sampleError: [Float]?
    /// How many samples that were.
    package var samples: Int?
    /// Of a method that promises it: what the values add up to, and what they should.
    package var completeness: Completeness?
    /// What a person should know of this map, as a clause; nil if nothing.
    package var note: String?

    package init(picture: Int, target: Target?, grid: Grid, values: [Float], blankReason: String) {
        precondition(values.count == grid.cells)
        (self.picture, self.target, self.grid) = (picture, target, grid)
        (self.values, self.blankReason) = (values, blankReason)
    }
}

/// Whether the numbers of a map add up to what was to be explained.
public struct Completeness: Sendable, Equatable {
    /// Σ map.
    public let sum: Float
    /// s(x) − s(baseline), or s(x) where there is no baseline.
    public let expected: Float
    /// What took the rest, where that is no fault: biases, say; nil where nothing should, or where there is no rest.
    public let absorbedBy: String?
    /// Whether the sum has each segment of the picture once, and not each pixel.
    public let isOfSegments: Bool
    /// What would bring the two nearer to each other, as an imperative; nil if nothing is known to.
    public let remedy: String?
    public init(
        sum: Float, expected: Float, absorbedBy: String? = nil, isOfSegments: Bool = false,
        remedy: String? = nil
    ) {
        (self.sum, self.expected) = (sum, expected)
        // What takes a part leaves no more than there was, and nothing of the other sign.
        let share = sum / expected
        self.absorbedBy = share >= 0 && share < 1 - Completeness.worrying ? absorbedBy : nil
        (self.isOfSegments, self.remedy) = (isOfSegments, remedy)
    }
    /// |sum − expected| / |expected|; nil if nothing was to be explained.
    public var error: Float? { expected == 0 ? nil : abs(sum - expected) / abs(expected) }
    /// The error from which people are warned.
    public static let worrying: Float = 0.05
}

// MARK: - The list

/// The methods: `--method`, its help, the README and the tests read this list.
package enum ExplainerList {
    package static let all: [any Explainer.Type] = [
        GradCAM.self, GradCAMPlusPlus.self, SmoothGradCAMPlusPlus.self, XGradCAM.self, HiResCAM.self,
        ElementwiseGradCAM.self,
        LayerCAM.self,
        EigenCAM.self, EigenGradCAM.self, KPCACAM.self, AblationCAM.self, ReciproCAM.self, ScoreCAM.self,
        SSCAM.self,
        ISCAM.self, ShapleyCAM.self, FinerCAM.self, CAM.self, RandomCAM.self,
        FEM.self, MultiLayerFEM.self,
        // Gradients with respect to the pixels.
        Saliency.self, InputXGradient.self, IntegratedGradients.self, ExpectedGradients.self, SmoothGrad.self,
        SmoothGradSquared.self, VarGrad.self, FullGrad.self,
        GuidedBackpropagation.self, Deconvnet.self, GuidedGradCAM.self,
        // Rules of the way back.
        LRP.self, DeepLIFT.self,
        // Of transformers.
        AttentionRollout.self, GradientRollout.self,
        Occlusion.self, RISE.self,
        LIME.self, KernelSHAP.self,
    ]

    package static func named(_ name: String) throws -> any Explainer.Type {
        if let method = all.first(where: { $0.name == name }) { return method }
        let names = all.map { $0.name }
        throw ExplainError(
            .method,
            "There is no method “\(shortened(name))”; there are \(names.joined(separator: ", "))."
                + didYouMean(name, among: names))
    }
}

extension Explainer {
    /// - Parameter texts: by the names of settings.
    static func make(
        _ texts: [String: String], explaining subject: ExplainedNetwork
    ) throws -> (method: any Explainer, settings: [(String, JSON)], passes: String) {
        let settings = try Settings(texts, of: name)
        return (
            try Self(settings, explaining: subject), settings.entries,
            passes(settings, of: subject)
        )
    }

    package static var settingsTable: [(name: String, value: JSON, expected: String, help: String)] {
        Settings.table
    }
}
