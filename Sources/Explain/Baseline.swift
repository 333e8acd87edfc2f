// What stands for “nothing to see here”, for methods that compare a picture with that.

import CMicrokernels
import Imaging
import Inference
import Kernels
import Text

/// A picture without what is to be explained, which a method compares a picture with.
package enum Baseline: SettingValue {
    /// The network's own zero: with most preprocessings the mean colour of what it was trained on.
    case zero
    /// Pictures of one colour, prepared like any other.
    case black, grey, white
    /// The picture's own mean colour, everywhere.
    case mean
    /// The picture blurred by a Gaussian; its standard deviation in pixels is a twentieth of the longer side unless it is said, and
    /// at least 1.
    case blur(sigma: Float?)
    /// A picture from a file, prepared like any other.
    case file(String)

    package static var expected: String {
        "zero, black, grey, white, mean, blur, blur:SIGMA (in pixels, from 0.5 to 100) or file:PATH"
    }

    package init?(setting text: String) {
        let plain: [String: Baseline] = [
            "zero": .zero, "black": .black, "grey": .grey, "white": .white, "mean": .mean,
            "blur": .blur(sigma: nil),
        ]
        let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
        let word = parts.first.map { $0.lowercased() } ?? ""
        switch (word, parts.count > 1 ? String(parts[1]) : nil) {
        case (let word, nil):
            guard let baseline = plain[word] else { return nil }
            self = baseline
        case ("blur", let number?):
            guard let sigma = Float(number), (0.5...100).contains(sigma) else { return nil }
            self = .blur(sigma: sigma)
        case ("file", let path?) where !path.isEmpty: self = .file(path)
        default: return nil
        }
    }

    package var setting: JSON { .string(description) }

    private var description: String {
        switch self {
        case .zero: "zero"
        case .black: "black"
        case .grey: "grey"
        case .white: "white"
        case .mean: "mean"
        case .blur(nil): "blur"
        case .blur(let sigma?): "blur:\(sigma)"
        case .file(let path): "file:\(path)"
        }
    }

    /// The brightness, 0 … 255, of a baseline of one grey.
    private var level: Float? {
        switch self {
        case .black: 0
        case .grey: 128
        case .white: 255
        default: nil
        }
    }

    /// Makes it ready for a network, before there is any picture: a file is read.
    /// - Throws: `ExplainError` of kind `input` if the file is no picture that the network takes, of kind `method` if the network takes
    ///   no pictures and so knows no colours.
    package func ready(for subject: ExplainedNetwork) throws -> ReadyBaseline {
        if self == .zero { return ReadyBaseline(.fixed([Float](repeating: 0, count: subject.input.count))) }
        let (dims, preprocessing) = (subject.input.dims, subject.preprocessing)
        guard dims.count == 4, [1, 3, 4].contains(dims[1]) else {
            throw ExplainError(
                .method,
                "The baseline “\(description)” is a picture, and the network's input for one picture is \(subject.input); take the "
                    + "baseline zero.")
        }
        let channels = (count: dims[1], height: dims[2], width: dims[3])
        let cells = channels.height * channels.width
        switch self {
        case .zero, .black, .grey, .white:
            return ReadyBaseline(
                .fixed(
                    (0..<channels.count).flatMap {
                        Array(
                            // No colour is transparent.
                            repeating: preprocessing.number(
                                $0 == 3 ? 255 : level!, channel: $0, of: channels.count),
                            count: cells)
                    }))
        case .mean: return ReadyBaseline(.mean(cells: cells))
        case .blur(let sigma):
            return ReadyBaseline(
                .blur(
                    GaussianBlur(sigma: sigma ?? max(1, Float(max(channels.height, channels.width)) / 20)),
                    height: channels.height, width: channels.width))
        case .file(let path):
            return ReadyBaseline(.fixed(try Baseline.numbers(ofFile: path, for: subject)))
        }
    }

    /// The network's numbers of a picture in a file, [C, H, W] row by row.
    /// - Throws: `ExplainError` of kind `input`.
    package static func numbers(ofFile path: String, for subject: ExplainedNetwork) throws -> [Float] {
        let (dims, memory) = (subject.input.dims, subject.network.limits.memory)
        do {
            // Counted while it is decoded.
            var share: MemoryBudget.Share?
            defer { withExtendedLifetime(share) {} }
            let image = try RGBImage.load(path: path) { bytes throws(ImageError) in
                share = memory.tryReserve(bytes)
                guard share != nil else {
                    throw .overLimit(
                        file: path,
                        reason: "needs \(MemoryBudget.mebibytes(bytes)) of memory, which \(memory.exceeded); "
                            + "--memory-limit raises it")
                }
            }
            let prepared = try subject.preprocessing.apply(image, channels: dims[1])
            guard prepared.height == dims[2], prepared.width == dims[3] else {
                throw ExplainError(
                    .input,
                    "\(path): The baseline is \(prepared.width)×\(prepared.height) after preprocessing, and the network takes "
                        + "\(dims[3])×\(dims[2]); take a picture of that size.")
            }
            return prepared.tensor
        } catch {
            throw ExplainError(error, .input)
        }
    }
}

/// A baseline that is ready for the pictures of a network.
package struct ReadyBaseline: Sendable {
    fileprivate enum Source {
        case fixed([Float])
        case mean(cells: Int)
        case blur(GaussianBlur, height: Int, width: Int)
    }
    private let source: Source

    fileprivate init(_ source: Source) { self.source = source }

    /// Its numbers for a picture.
    /// - Parameter picture: what the network is fed, [C, H, W] row by row.
    /// - Returns: as many, in the same order.
    package func numbers(for picture: [Float]) -> [Float] {
        switch source {
        case .fixed(let numbers): return numbers
        case .mean(let cells):
            return stride(from: 0, to: picture.count, by: cells).flatMap { begin in
                // In the order of the pixels.
                let sum = picture[begin..<begin + cells].reduce(0.0) { $0 + Double($1) }
                return Array(repeating: Float(sum / Double(cells)), count: cells)
            }
        case .blur(let blur, let height, let width):
            return stride(from: 0, to: picture.count, by: height * width).flatMap {
                blur.applied(to: Array(picture[$0..<$0 + height * width]), height: height, width: width)
            }
        }
    }
}

/// A Gaussian blur: first along rows, then along columns; edges held. Each sum runs in double precision from the first pixel that it
/// reaches, ⌈3σ⌉ away unless it is said, to the last, and is rounded once.
package struct GaussianBlur: Sendable {
    /// Of the pixels from −reach to reach; they add up to 1.
    private let weights: [Double]

    /// - Parameters:
    ///   - sigma: the standard deviation, in pixels; above 0.
    ///   - reach: how far it reaches, in pixels; nil for ⌈3σ⌉.
    package init(sigma: Float, reach: Int? = nil) {
        let reach = reach ?? Int((3 * sigma).rounded(.up))
        let weights = (-reach...reach).map { Double(wb_host_exp(-Float($0 * $0) / (2 * sigma * sigma))) }
        let sum = weights.reduce(0, +)
        self.weights = weights.map { $0 / sum }
    }

    /// - Parameter plane: `height` rows of `width` numbers.
    package func applied(to plane: [Float], height: Int, width: Int) -> [Float] {
        let rows = along(plane, lines: height, step: width, count: width, stride: 1)
        return along(rows, lines: width, step: 1, count: height, stride: width)
    }

    /// - Parameters:
    ///   - step: from one line to the next.
    ///   - stride: from one number of a line to the next.
    private func along(_ plane: [Float], lines: Int, step: Int, count: Int, stride: Int) -> [Float] {
        let reach = weights.count / 2
        var result = plane
        plane.withUnsafeBufferPointer { plane in
            weights.withUnsafeBufferPointer { weights in
                for line in 0..<lines {
                    for i in 0..<count {
                        var sum = 0.0
                        for k in weights.indices {
                            let j = min(max(i + k - reach, 0), count - 1)
                            sum += weights[k] * Double(plane[line * step + j * stride])
                        }
                        result[line * step + i * stride] = Float(sum)
                    }
                }
            }
        }
        return result
    }
}
