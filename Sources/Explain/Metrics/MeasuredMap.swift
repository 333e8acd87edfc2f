// A picture and its maps, as measures see them.

import Imaging
import Inference
import Kernels

/// A picture whose maps are measured. What several measures need is made once.
package final class MeasuredPicture {
    package let name: String
    /// What the network was fed, [C, H, W] row by row.
    package let input: [Float]
    package let questions: Questions
    /// What people see of that; nil for a raw array.
    package let view: RGBImage?
    /// Where the objects are; nil if nobody says.
    package var objects: PictureObjects?
    /// Is told of a mask that was found by the picture's bare name, and may refuse it.
    package var takesMask: (String) throws -> Void = { _ in }
    private var masks: [Int: Result<ObjectMask, NoObject>] = [:]
    /// The class that is measured where a method knows none: the first of those that were asked for.
    package let classIndex: Int
    package let seed: UInt64
    private let session: ExplanationSession
    private var baselines: [Baseline: [Float]] = [:]
    private var explanations: [String: [Explanation]] = [:]

    package var height: Int { questions.height }
    package var width: Int { questions.width }
    package var cells: Int { questions.cells }

    /// - Parameter classIndex: of methods that know none.
    package init(
        _ image: ImageExplanation, _ session: ExplanationSession, _ questions: Questions, classIndex: Int
    ) {
        guard let input = image.input else {
            preconditionFailure("The session did not keep what the network was fed.")
        }
        (name, self.input, self.questions, self.session) = (image.name, input, questions, session)
        (view, self.classIndex, seed) = (image.view?.image, classIndex, session.options.seed)
    }

    /// The picture's numbers with what stands for nothing in it.
    func baseline(_ baseline: Baseline) throws -> [Float] {
        if let known = baselines[baseline] { return known }
        let subject = ExplainedNetwork(
            session.model.network, layers: [],
            input: Shape([1, questions.channels, height, width]),
            preprocessing: session.model.preprocessing)
        let numbers = try baseline.ready(for: subject).numbers(for: input)
        baselines[baseline] = numbers
        return numbers
    }

    /// Reads where the object of a class is.
    /// - Throws: `ExplainError` of kind `input`.
    package func findObject(ofClass index: Int) throws {
        guard let objects, masks[index] == nil else { return }
        masks[index] = try objects.mask(ofClass: index, taking: takesMask)
    }

    /// Where the object of a class is, [H, W] of what the network sees, once it was found.
    func object(ofClass index: Int) -> Result<ObjectMask, NoObject> {
        masks[index] ?? .failure(NoObject("nobody says where the object is (--masks, --boxes)"))
    }

    /// The numbers that the network is fed of a picture that is what it saw, changed.
    func numbers(of view: RGBImage) -> [Float] {
        session.model.preprocessing.numbers(of: view, channels: questions.channels)
    }

    /// The map of a changed picture by the same method, of the same class.
    /// - Parameters:
    ///   - key: what was changed. All methods' maps of it are made at once and kept; nil if only this map is concerned.
    ///   - change: makes the picture, [C, H, W].
    func explained(
        _ map: MeasuredMap, _ key: String?, _ change: () throws -> [Float]
    ) throws -> Explanation {
        if let key, let known = explanations[key], let found = known.first(where: map.isOfTheSame) {
            return found
        }
        session.onlyMethods = key == nil ? [map.explanation.method] : nil
        defer { session.onlyMethods = nil }
        var classes = key == nil ? [map.target.classIndex] : measuredClasses
        if classes.isEmpty { classes = [classIndex] }
        let request = PictureRequest(
            .array(try change(), name: name), classChoice: .list(classes.map(ClassChoice.index)))
        let found = try session.explain(request).explanations
        if let key { explanations[key] = found }
        guard let own = found.first(where: map.isOfTheSame) else {
            preconditionFailure("A method gave no map of a class that it was asked for.")
        }
        return own
    }

    /// The classes of all maps of the picture that are measured.
    package var measuredClasses: [Int] = []
}

/// A map that is measured.
package final class MeasuredMap {
    package let picture: MeasuredPicture
    package let explanation: Explanation
    /// The probability of the class that is explained.
    package let target: Target
    /// The network's answer to the picture itself.
    package let probability: Float

    /// - Parameter probability: of the class that is measured, as the network says of the picture.
    package init(_ explanation: Explanation, of picture: MeasuredPicture, probability: Float) {
        (self.picture, self.explanation, self.probability) = (picture, explanation, probability)
        target = Target(explanation.classIndex ?? picture.classIndex, scale: .probability)
    }

    /// The map's own numbers, enlarged to what the network sees, [H, W].
    package private(set) lazy var values: [Float] = MeasuredMap.values(explanation, picture.questions)

    static func values(_ explanation: Explanation, _ questions: Questions) -> [Float] {
        let map = explanation.map
        return Plane(width: map.width, height: map.height, values: map.values)
            .resized(width: questions.width, height: questions.height).values
    }

    /// The heat map, 0 … 1, [H, W].
    package var heat: [Float] { explanation.heatmap.values }

    /// The pixels by falling value; of equals the first in reading order, and what is no number last.
    package private(set) lazy var ranking: [Int32] = {
        let values = values
        // A stable order by bits that ascend with falling values: as a key, so that no comparison takes long.
        let keys = values.indices.map { i -> UInt64 in
            let value = values[i]
            guard !value.isNaN else { return UInt64(UInt32.max) << 32 | UInt64(UInt32(i)) }
            // −0 counts as 0.
            let bits = (value == 0 ? Float(0) : value).bitPattern
            let ascending = bits >> 31 == 0 ? bits | 0x8000_0000 : ~bits
            return UInt64(~ascending) << 32 | UInt64(UInt32(i))
        }
        return keys.sorted().map { Int32(truncatingIfNeeded: $0 & 0xFFFF_FFFF) }
    }()

    /// The place of each pixel in the ranking.
    package private(set) lazy var places: [Int32] = {
        var places = [Int32](repeating: 0, count: ranking.count)
        for (place, pixel) in ranking.enumerated() { places[Int(pixel)] = Int32(place) }
        return places
    }()

    /// Whether another is of the same method and class.
    func isOfTheSame(_ other: Explanation) -> Bool {
        other.method == explanation.method
            && (explanation.classIndex == nil || other.classIndex == explanation.classIndex)
    }

    private var highlightedProbability: Float?
    /// The probability of the picture times its heat map, x ⊙ H: what of it is not explained becomes the network's zero.
    func probabilityOfHighlighted() throws -> Float {
        if let known = highlightedProbability { return known }
        let heat = heat
        let found = try picture.questions.values(of: target, picture.input, count: 1) { _, mask in
            _ = mask.update(from: heat)
        }[0]
        highlightedProbability = found
        return found
    }

    /// x ⊙ H.
    func highlighted() -> [Float] {
        let (heat, cells) = (heat, picture.cells)
        return picture.input.indices.map { picture.input[$0] * heat[$0 % cells] }
    }

    private var highlightedExplanation: Explanation?
    /// The map of that by the same method.
    func explanationOfHighlighted() throws -> Explanation {
        if let known = highlightedExplanation { return known }
        let found = try picture.explained(self, nil) { highlighted() }
        highlightedExplanation = found
        return found
    }

    /// What ROAD's probabilities depend on. Each of its measures has a noise of its own.
    private struct Removal: Hashable {
        let most: Bool, noise: Float
    }
    private var removal: [Removal: [Float]] = [:]
    /// ROAD's probabilities, of the picture without its most, or its least, important pixels.
    func probabilitiesWithout(
        most: Bool, noise: Float, _ compute: () throws -> [Float]
    ) throws -> [Float] {
        let key = Removal(most: most, noise: noise)
        if let known = removal[key] { return known }
        let found = try compute()
        removal[key] = found
        return found
    }
}
