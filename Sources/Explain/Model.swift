// A model: the network with what is needed to feed it pictures and to name what it says.

import Foundation
import Imaging
import Inference
import ONNX

/// A trained image classifier, read from an ONNX file.
///
/// It has one input, and its first output is one row of scores per picture. To take pictures, the input must be
/// [N, 3, H, W] or [N, 1, H, W] (binary32; half and double precision are converted). Height and width that the
/// file leaves open are those of the preprocessing's crop, else 224. A value of this type can be used by any
/// number of sessions and threads.
///
/// ```swift
/// let model = try Model(path: "models/efficientnet-lite0.onnx")
/// ```
public struct Model: Sendable {
    package let network: Network
    package let preprocessing: Preprocessing
    package let digest: FileDigest
    /// Where the preprocessing came from, in words: "carried by the model", "the default, imagenet", or "as
    /// asked: …".
    public let preprocessingSource: String
    /// The names of the classes, in the order of the logits; empty if neither the model nor a file names
    /// them.
    public let labels: [String]
    /// What the model says of its own origin and licence (metadata `whitebox.source` and `whitebox.license`);
    /// nil if nothing.
    public let source: String?, license: String?

    /// The path of the file, as it was given.
    public var path: String { network.model.path }
    /// Height and width of the network's input, in pixels.
    public let inputHeight: Int, inputWidth: Int

    /// Reads a model.
    /// - Parameters:
    ///   - path: an ONNX file (operator sets 7 to 22).
    ///   - preprocessing: a preset (`imagenet`, `lite`, `caffe`, `tf`, `none`) or a JSON file; nil for what the model carries
    ///     with it, else `imagenet`.
    ///   - labels: a text file, UTF-8, with one class name per line in the order of the logits (WordNet
    ///     numbers in front are dropped); nil for what the model carries. Without either, classes have no
    ///     names: that a network has 1000 classes does not make them ImageNet's.
    /// - Throws: `ExplainError` of kind `model` (missing, broken or contradictory file), `unsupportedModel`
    ///   (the sentence lists every node that is not supported) or `settings` (preprocessing or labels).
    public init(path: String, preprocessing: String? = nil, labels: String? = nil) throws {
        let network: Network
        do {
            network = try Network(ONNXModel(path: path))
        } catch {
            throw ExplainError(error, .model)
        }
        try self.init(network, preprocessing: preprocessing, labels: labels)
    }

    package init(_ network: Network, preprocessing: String? = nil, labels: String? = nil) throws {
        self.network = network
        digest = FileDigest(path: network.model.path)
        let metadata = network.model.metadata
        source = metadata["whitebox.source"]
        license = metadata["whitebox.license"]

        var chosen: Preprocessing
        do {
            if let name = preprocessing {
                if let preset = Preprocessing.preset(named: name) {
                    chosen = preset
                } else if FileManager.default.fileExists(atPath: name) {
                    chosen = try Preprocessing.load(path: name)
                } else {
                    let presets = Preprocessing.presets.map(\.name).joined(separator: ", ")
                    throw ExplainError(
                        .settings, "“\(name)” is neither a preprocessing preset (\(presets)) nor a file.")
                }
                preprocessingSource = "as asked: \(name)"
            } else if let carried = metadata[Preprocessing.metadataKey] {
                chosen = try Preprocessing(
                    json: Array(carried.utf8), name: "the preprocessing that \(network.model.path) carries")
                preprocessingSource = "carried by the model"
            } else {
                chosen = .imagenet
                preprocessingSource = "the default, imagenet"
            }
        } catch {
            throw ExplainError(error, .settings)
        }
        do {
            let shape = try network.inputShape(
                batch: 1, height: chosen.crop?.height, width: chosen.crop?.width)
            if shape.rank == 4 {
                (inputHeight, inputWidth) = (shape.dims[2], shape.dims[3])
            } else {
                (inputHeight, inputWidth) = (1, shape.dims.last ?? 1)
            }
        } catch {
            throw ExplainError(error, .model)
        }
        if chosen.crop != Preprocessing.Size(width: inputWidth, height: inputHeight) {
            chosen = chosen.fitting(width: inputWidth, height: inputHeight)
        }
        self.preprocessing = chosen
        self.labels = try Model.labels(labels, carried: metadata["whitebox.labels"], path: network.model.path)
    }

    private static func labels(_ file: String?, carried: String?, path: String) throws -> [String] {
        if let file {
            guard let data = FileManager.default.contents(atPath: file),
                let text = String(data: data, encoding: .utf8)
            else {
                throw ExplainError(
                    .settings,
                    "\(file): The labels cannot be read; a text file with one class name per line is needed.")
            }
            let lines = text.split(separator: "\n", omittingEmptySubsequences: false).map {
                $0.trimmingCharacters(in: .whitespacesAndNewlines)
            }
            let names = lines.last == "" ? Array(lines.dropLast()) : lines
            guard !names.isEmpty else {
                throw ExplainError(.settings, "\(file): The file of labels is empty.")
            }
            // Lines such as "n02504458 African elephant" carry a WordNet number first.
            return names.map { line in
                let parts = line.split(separator: " ", maxSplits: 1)
                guard parts.count == 2, parts[0].count == 9, parts[0].first == "n",
                    parts[0].dropFirst().allSatisfy(\.isNumber)
                else { return printable(line) }
                return printable(String(parts[1]))
            }
        }
        guard let carried else { return [] }
        guard let names = try? JSONDecoder().decode([String].self, from: Data(carried.utf8)) else {
            throw ExplainError(
                .settings, "\(path): The labels that the model carries are not a JSON list of strings.")
        }
        return names.map(printable)
    }

    /// A name without the control characters that a terminal would obey.
    private static func printable(_ name: String) -> String {
        String(
            String.UnicodeScalarView(
                name.unicodeScalars.map { $0.properties.generalCategory == .control ? " " : $0 }))
    }

    /// The name of a class, or "class 386" if there is none.
    public func label(_ index: Int) -> String {
        labels.indices.contains(index) ? labels[index] : "class \(index)"
    }

    /// SHA-256 of the file, 64 hexadecimal digits. It reads the whole file, once.
    /// - Throws: `ExplainError` of kind `model` if the file is no longer there.
    public func sha256() throws -> String {
        guard let digits = digest.digits else {
            throw ExplainError(.model, "\(path): The file can no longer be read.")
        }
        return digits
    }

    /// A layer of the network.
    public struct LayerInfo: Sendable, Equatable {
        /// Its place in the order in which layers run.
        public let index: Int
        /// Its name in the file, and its operator.
        public let name: String, type: String
        /// The shape of its output for one picture, such as [1, 2048, 7, 7].
        public let shape: [Int]
        /// Numbers that were trained.
        public let parameters: Int
    }

    /// The layers in the order in which they run. A layer of rank 4 with more than one cell can be explained: `Options.layer`.
    /// - Throws: `ExplainError` of kind `model`.
    public func layerList() throws -> [LayerInfo] {
        try layers().map {
            LayerInfo(
                index: $0.index, name: $0.name, type: $0.type, shape: $0.shape.dims, parameters: $0.parameters
            )
        }
    }

    /// The shape of one input without the batch, such as [3, 224, 224]: what `Picture.array` holds, row by row.
    /// - Throws: `ExplainError` of kind `model`.
    public func inputShape() throws -> [Int] {
        do {
            return Array(
                try network.inputShape(batch: 1, height: inputHeight, width: inputWidth).dims.dropFirst())
        } catch {
            throw ExplainError(error, .model)
        }
    }

    /// All layers, with what the methods need to know of them.
    package func layers() throws -> [Layer] {
        do {
            return try network.layers(height: inputHeight, width: inputWidth)
        } catch {
            throw ExplainError(error, .model)
        }
    }

    /// Refuses a network that takes anything but pictures.
    func checkTakesPictures() throws {
        let dims = network.inputDims
        guard dims.count == 4 else {
            throw ExplainError(
                .unsupportedModel,
                "\(path): The input “\(network.inputName)” is \(network.describedInput), and pictures are N×3×height×width; only `app run` can feed it."
            )
        }
        guard dims[1] ?? 3 == 3 || dims[1] == 1 else {
            throw ExplainError(
                .unsupportedModel,
                "\(path): The input “\(network.inputName)” has \(dims[1]!) channels, and pictures have 3 (or 1, if grey); only `app run` can feed it."
            )
        }
    }

    /// The layer that a person names: `auto`, an index, a layer's name, or the name of the value that it makes.
    package func layer(_ text: String) throws -> LayerChoice {
        do {
            return try network.layer(named: text, of: layers())
        } catch {
            throw ExplainError(error, .layer)
        }
    }
}
