// Raw arrays in, raw arrays out, as files.

import Files
import Imaging
import Inference
import Kernels

extension Model {
    /// What `runFile` wrote.
    package struct RawResult: Sendable {
        package let name: String, file: String
        package let shape: [Int]
    }

    /// Feeds the network the array in a .npy file and writes values of it as .npy files.
    /// - Parameters:
    ///   - names: values of the network, or nodes for what they make; `all` for each value; nil for its output.
    ///   - gradient: a class, by index or name: the gradient of its logit is written as gradient.npy.
    ///   - source: the value with respect to which; the input if nil.
    /// - Returns: the device, and what was written.
    package func runFile(
        _ input: String, outputs names: [String]?, gradient: String?, of source: String? = nil,
        device: DeviceChoice, threads: Int?,
        shape: KernelShape?,
        directory: String, overwrite: Bool
    ) throws -> (device: String, note: String?, files: [RawResult]) {
        try ResultWriter.checkWritable(directory)
        // A file with class names was given for this, so it must fit.
        if gradient == nil, hasOwnLabels { try checkLabels(try scores()) }
        let target = try gradient.map { text in
            let choice = ClassChoice(text)
            let scores = try scores()
            try checkLabels(scores)
            let targets = try choice.targets(in: self, classes: scores.classes)
            guard targets.count == 1, case .fixed(let index) = targets[0] else {
                throw ExplainError(
                    .classChoice,
                    "A gradient needs one class, an index or a name; “\(text)” "
                        + (targets.count == 1 ? "depends on the picture." : "is several."))
            }
            return index
        }
        let file = try Model.arrayFile(input)
        do {
            try network.checkInput(file.shape)
        } catch let error as NetworkError {
            throw ExplainError(.input, "\(input): \(error.description)")
        }
        let isAll =
            names?.count == 1 && names![0].lowercased() == "all" && !network.valueNames.contains(names![0])
        let wanted = isAll ? network.valueNames : names
        if !overwrite {
            // What will be written is known before anything is computed.
            let all = (wanted ?? [network.outputName]) + (target == nil ? [] : ["gradient"])
            let present = Model.fileNames(all).filter { FileKind(Paths.join(directory, $0)) != .missing }
            if let first = present.first {
                let others = present.count == 1 ? "" : " and \(present.count - 1) more"
                throw ExplainError(
                    .output,
                    "The directory '\(directory)' already holds results (\(first)\(others)); choose another --output, "
                        + "or replace them with --force.")
            }
        }
        let opened = try device.open(threads: threads, shape: shape)
        let values: [Float]
        do { values = try file.values() } catch { throw ExplainError(error, .input) }
        let tensors: [NamedTensor]
        do {
            tensors = try network.run(
                values, dims: file.shape, outputs: wanted, gradient: target, target: source,
                on: opened.device)
        } catch let error as NetworkError where error.kind == .input {
            throw ExplainError(.input, "\(input): \(error.description)")
        } catch {
            throw ExplainError(error, .device)
        }
        try ResultWriter.makeDirectory(directory)
        var results: [RawResult] = []
        for (tensor, file) in zip(tensors, Model.fileNames(tensors.map(\.name))) {
            let path = Paths.join(directory, file)
            do {
                try NPYArray(shape: tensor.shape.dims, values: tensor.values).write(
                    to: path, overwrite: overwrite)
            } catch {
                throw ExplainError(error, .output)
            }
            results.append(RawResult(name: tensor.name, file: file, shape: tensor.shape.dims))
        }
        return (opened.device.description, opened.note, results)
    }

    /// A file name for each value, all different.
    private static func fileNames(_ names: [String]) -> [String] {
        var taken: Set<String> = []
        return names.map { value in
            let base = ResultWriter.fileName(value, fallback: "value")
            var name = base
            var number = 1
            while !taken.insert(name).inserted {
                number += 1
                name = "\(base)-\(number)"
            }
            return name + ".npy"
        }
    }

    private static func arrayFile(_ path: String) throws -> NPYFile {
        do { return try NPYFile(path: path) } catch { throw ExplainError(error, .input) }
    }

    /// The pictures of a batch [N, C, H, W] in a .npy file, normalised already.
    package func pictures(inFile path: String) throws -> [Picture] {
        let file = try Model.arrayFile(path)
        let shape = file.shape
        let one = Shape([1, channels, inputHeight, inputWidth])
        let expected = network.asInFile(one.dims).dropFirst()
        guard shape.first ?? 0 > 0, shape.dropFirst() == expected else {
            throw ExplainError(
                .input,
                "\(path): The array has the shape \(Shape(shape)); the network takes N×\(Shape(Array(expected)))."
            )
        }
        do {
            return try file.slices().enumerated().map {
                .array(network.channelsFirst($1, one), name: "\(path), picture \($0 + 1)")
            }
        } catch {
            throw ExplainError(error, .input)
        }
    }

    /// The classes that the network tells apart, by its scores for one picture.
    func scores() throws -> ClassScores {
        // A network that only ends has its input for scores.
        guard let layer = try layers().first(where: { $0.output == network.logitsName }) else {
            return ClassScores(scores: try inputShape().reduce(1, *))
        }
        guard let rows = layer.shape.dims.first else {
            throw ExplainError(
                .unsupportedModel,
                "\(path): The scores are a single number; a classifier has one row of scores for each picture."
            )
        }
        return ClassScores(scores: layer.shape.count / max(1, rows))
    }

    /// What the network takes for a picture, in row-major order [C, H, W].
    package func tensor(_ picture: Picture) throws -> [Float] {
        switch picture {
        case .array(let values, _): return values
        case .video(_, let name):
            throw ExplainError(.input, "\(name): This is a video, and the network takes pictures.")
        case .file, .encoded, .pixels:
            do {
                let photo = try picture.decoded()
                return try preprocessing.apply(photo, channels: channels).tensor
            } catch {
                throw ExplainError(error, .input)
            }
        }
    }

    var channels: Int {
        (try? network.inputShape(batch: 1, height: inputHeight, width: inputWidth)).flatMap {
            $0.rank == 4 ? $0.dims[1] : nil
        } ?? 1
    }

    /// Reproducible noise in place of pictures: numbers from −2 to 2, about where normalised pixels lie.
    package func noise(_ count: Int) -> [Picture] {
        let size = (try? inputShape().reduce(1, *)) ?? channels * inputHeight * inputWidth
        return (0..<count).map { picture in
            .array(
                (0..<size).map { i in
                    // SplitMix64 of the position.
                    var z =
                        (UInt64(picture) << 32 | UInt64(i)) &* 0x9E37_79B9_7F4A_7C15 &+ 0x9E37_79B9_7F4A_7C15
                    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
                    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
                    z ^= z >> 31
                    return Float(z >> 40) / 4_194_304 - 2
                }, name: "noise \(picture + 1)")
        }
    }
}
