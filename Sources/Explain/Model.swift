// A model: the network with what is needed to feed it pictures and to name what it says.

import Files
import Glibc
import Imaging
import Inference
import Kernels
import ONNX
import Text

/// A trained image classifier, read from an ONNX file.
///
/// One of its inputs is the picture, and one of its outputs, the first unless another is named, is one row of scores per picture. To take pictures, the input must be
/// [N, C, H, W] or [N, H, W, C], where C is 3, 1 (greys) or 4 (with opacity), and hold binary32 numbers (half and double precision are
/// converted) or bytes. Height and width that the
/// file leaves open are those of the preprocessing's crop, else 224. A value of this type can be used by any
/// number of sessions and threads.
///
/// ```swift
/// let model = try Model(path: "models/efficientnet-lite0.onnx")
/// ```
public struct Model: Sendable {
    package private(set) var network: Network
    package let preprocessing: Preprocessing
    /// For pictures that are decoded, and for results that wait to be written.
    package let decoding: PictureMemory, writing: PictureMemory
    private let digest: FileDigest
    private let externalDigests: [(location: String, digest: FileDigest)]
    /// Where the preprocessing came from, in words: "carried by the model", "the default, imagenet", or "as
    /// asked: …"; for a preset that followed the network to another size, with ", fitted to 32×32" (width × height).
    public let preprocessingSource: String
    /// Whether neither the model nor anybody else says how its pictures are prepared.
    package let preprocessingIsAssumed: Bool
    /// What people should know of it: what was assumed, and why, or what speaks against what was asked for; nil if nothing.
    package let preprocessingNote: String?
    /// Whether the network's first nodes speak against the preprocessing that is assumed.
    package let preprocessingIsDoubtful: Bool
    /// The outputs that are not taken for the scores, for sentences.
    let otherOutputs: String
    private let scoresAreNamed: Bool
    /// The names of the classes, in the order of the logits; empty if neither the model nor a file names
    /// them. Those of a binary classifier, which has one score, are two: first what it does not look for. A session checks
    /// that there is one for each class.
    public var labels: [String] { classNames.names }
    private let classNames: ClassNames
    /// The class of a WordNet number, such as n02504458, where the labels have those in front of names.
    func classIndex(wordNet number: String) -> Int? {
        classNames.numbers[number].flatMap { $0 < 0 ? nil : $0 }
    }
    /// Whether they are in a file that was given for them.
    let hasOwnLabels: Bool
    /// What the model says of its own origin and licence (metadata `whitebox.source` and `whitebox.license`);
    /// nil if nothing.
    public let source: String?, license: String?

    /// The path of the file, as it was given.
    public var path: String { network.model.path }
    /// Height and width of the network's input, in pixels.
    public let inputHeight: Int, inputWidth: Int
    /// How many frames a video has for the network; nil for a network of pictures.
    public let inputFrames: Int?

    /// Reads a model.
    /// - Parameters:
    ///   - path: an ONNX file (operator sets 7 to 24).
    ///   - preprocessing: a preset (`imagenet`, `lite`, `caffe`, `tf`, `kinetics`, `none`) or a JSON file (ours, timm's `config.json`, or Hugging Face's
    ///     `preprocessor_config.json`); nil for what the model carries with it, else `imagenet`, without what the network's first nodes do
    ///     themselves.
    ///   - size: height and width that pictures are to have, of a network that leaves them open; nil for those of the preprocessing.
    ///   - labels: a file, UTF-8, with one class name per line in the order of the logits (WordNet numbers in front are
    ///     dropped), or a JSON list of them, or a JSON object with the classes' indices for keys; nil for what the model
    ///     carries. Without either, classes have no names: that a network has 1000 classes does not make them ImageNet's.
    ///   - memoryLimit: bytes that the model, and all sessions that use this value, may take together; nil for half of what the
    ///     machine, or the process's control group, has.
    ///   - workLimit: operations for each picture, products of matrices counted once and slower steps more; nil for 10^13.
    ///   - input: the input that is the picture, of a network with several; nil for the only one that can be.
    ///   - otherInputs: `.npy` files for the other inputs that the scores depend on, by the inputs' names; they serve every picture.
    ///   - scoreOutput: the output that has the scores; nil for the first.
    ///   - frames: how many frames a video has, of a network of videos that leaves it open; nil for 16.
    /// - Throws: `ExplainError` of kind `model` (missing, broken or contradictory file), `unsupportedModel`
    ///   (the sentence lists every node that is not supported) or `settings` (preprocessing or labels).
    public init(
        path: String, preprocessing: String? = nil, labels: String? = nil,
        size: (height: Int, width: Int)? = nil, memoryLimit: Int? = nil, workLimit: Double? = nil,
        input: String? = nil, otherInputs: [String: String] = [:],
        scoreOutput: String? = nil, frames: Int? = nil
    ) throws {
        var network: Network
        do {
            let limits = Limits(
                memory: memoryLimit ?? Limits.standardMemory, work: workLimit ?? Limits.standardWork)
            let given = try otherInputs.mapValues { file in
                let array = try NPYArray.load(path: file)
                return HostTensor(Shape(array.shape), .floats(array.values))
            }
            network = try Network(
                ONNXModel(path: path, memory: limits.memory.left), limits: limits,
                interface: NetworkInterface(input: input, given: given, scoreOutput: scoreOutput))
        } catch {
            throw ExplainError(error, .model)
        }
        if let frames { try network.setFrames(frames) }
        try self.init(
            network, preprocessing: preprocessing, labels: labels, size: size, scoreOutput: scoreOutput)
    }

    package init(
        _ network: Network, preprocessing: String? = nil, labels: String? = nil,
        size: (height: Int, width: Int)? = nil, scoreOutput: String? = nil
    ) throws {
        self.network = network
        decoding = PictureMemory(network.limits.memory)
        writing = PictureMemory(network.limits.memory)
        digest = FileDigest(network.model.bytes)
        externalDigests = network.model.externalFiles.map { ($0.location, FileDigest(.file($0.file))) }
        let metadata = network.model.metadata
        source = metadata["whitebox.source"]
        license = metadata["whitebox.license"]

        preprocessingIsAssumed = preprocessing == nil && metadata[Preprocessing.metadataKey] == nil
        var (chosen, origin, isPreset): (Preprocessing, String, Bool)
        // How sentences call a preprocessing that is somebody's own.
        var whose = ""
        // What pictures are to become, if that is known before a preprocessing is.
        let target = try Model.target(of: network, asked: size)
        do {
            if let name = preprocessing {
                origin = "as asked: \(name)"
                if let preset = Preprocessing.preset(named: name) {
                    (chosen, isPreset) = (preset, true)
                } else if FileKind(name) != .missing {
                    (chosen, isPreset, whose) = (
                        try Preprocessing.load(path: name, size: target), false, "\(name): The preprocessing"
                    )
                } else if let preset = Preprocessing.preset(named: name.lowercased()) {
                    (chosen, isPreset, origin) = (preset, true, "as asked: \(name.lowercased())")
                } else {
                    let presets = Preprocessing.presets.map(\.name).joined(separator: ", ")
                    throw ExplainError(
                        .settings, "“\(name)” is neither a preprocessing preset (\(presets)) nor a file.")
                }
            } else if let carried = metadata[Preprocessing.metadataKey] {
                chosen = try Preprocessing(
                    json: Array(carried.utf8), name: "the preprocessing that \(network.model.path) carries",
                    size: target)
                origin = "carried by the model"
                (isPreset, whose) = (false, "\(network.model.path): The preprocessing that the model carries")
            } else {
                (chosen, origin) = Model.standard(network)
                isPreset = true
            }
        } catch {
            throw ExplainError(error, .settings)
        }
        chosen = chosen.fitting(channels: network.inputDims.count == 4 ? network.inputDims[1] ?? 3 : 3)
        if size != nil, let target, chosen.outputSize.map({ $0 != target }) ?? false {
            chosen = chosen.fitting(width: target.width, height: target.height)
            origin += ", fitted to \(target.width)×\(target.height)"
        }
        let shape: Shape
        do {
            let size = target ?? chosen.outputSize
            shape = try network.inputShape(batch: 1, height: size?.height, width: size?.width)
        } catch {
            throw ExplainError(error, .model)
        }
        inputFrames = network.takesVideos ? shape.dims[2] : nil
        if shape.rank == 4 || network.takesVideos {
            (inputHeight, inputWidth) = (shape.dims[shape.rank - 2], shape.dims[shape.rank - 1])
            let wanted = Preprocessing.Size(width: inputWidth, height: inputHeight)
            if Model.whyNoPictures(network) != nil, Model.whyNoVideos(network) != nil {
                // Whoever brings pictures hears of it.
            } else if isPreset {
                // A preset stands for a way of preparing pictures, not for a size.
                let fitted = chosen.fitting(width: inputWidth, height: inputHeight)
                if fitted != chosen {
                    (chosen, origin) = (fitted, origin + ", fitted to \(inputWidth)×\(inputHeight)")
                }
            } else if let size = chosen.outputSize, size != wanted {
                throw ExplainError(
                    .settings,
                    "\(whose) makes pictures of \(size.width)×\(size.height) (width × height), and the network takes "
                        + "\(wanted.width)×\(wanted.height); "
                        + (preprocessing == nil
                            ? "give another with --preprocess."
                            : "set its crop, or the size that it resizes to, to that."))
            }
        } else {
            (inputHeight, inputWidth) = (1, shape.dims.last ?? 1)
        }
        if network.takesBytes, !chosen.givesBytes, Model.whyNoPictures(network) == nil {
            throw ExplainError(
                .settings,
                "\(network.model.path): The network takes bytes, 0 to 255, and the preprocessing that is \(origin) makes other numbers; take one without "
                    + "a divisor, mean and std, such as --preprocess none.")
        }
        preprocessingNote = Model.note(
            network, chosen, isAssumed: preprocessingIsAssumed, source: origin)
        preprocessingIsDoubtful = network.inputNormalisation?.range == .unknown
        let others = network.model.graph.outputs.map(\.name).filter { $0 != network.outputName }
        otherOutputs = shortened(others.prefix(8).map { "“\($0)”" }.joined(separator: ", "))
        scoresAreNamed = scoreOutput != nil
        self.preprocessing = chosen
        preprocessingSource = origin
        hasOwnLabels = labels != nil
        classNames =
            try labels.map(ClassNames.init(file:))
            ?? metadata["whitebox.labels"].map { try ClassNames(carried: $0, by: network.model.path) }
            ?? ClassNames()
    }

    /// The size that is asked for, or else that of the file; nil if neither says it.
    private static func target(of network: Network, asked: (height: Int, width: Int)?) throws
        -> Preprocessing.Size?
    {
        let dims = network.inputDims
        let isSized = dims.count == 4 || network.takesVideos
        let (height, width) = isSized ? (dims[dims.count - 2], dims[dims.count - 1]) : (nil, nil)
        guard let asked else {
            guard let height, let width else { return nil }
            return Preprocessing.Size(width: width, height: height)
        }
        func fail(_ reason: String) -> ExplainError {
            ExplainError(.settings, "\(network.model.path): \(reason)")
        }
        guard isSized else {
            throw fail(
                "The input is \(network.describedInput), which is no picture whose size could be chosen (--size)."
            )
        }
        guard (1...16384).contains(asked.height), (1...16384).contains(asked.width) else {
            throw fail("A height and a width (--size) must be between 1 and 16384.")
        }
        guard height ?? asked.height == asked.height, width ?? asked.width == asked.width else {
            throw fail(
                "The file fixes the input to \(network.describedInput), so pictures cannot be \(asked.width)×\(asked.height) (--size; width × height); "
                    + "export the network with an open height and width.")
        }
        return Preprocessing.Size(width: asked.width, height: asked.height)
    }

    /// How pictures are prepared if nobody says it.
    private static func standard(_ network: Network) -> (Preprocessing, source: String) {
        if network.takesVideos { return (.kinetics, "the default, kinetics") }
        let imagenet = Preprocessing.imagenet
        func sized(_ divisor: Float, _ colours: Preprocessing.ColourOrder = .rgb) -> Preprocessing {
            Preprocessing(
                resize: imagenet.resize, interpolation: imagenet.interpolation, crop: imagenet.crop,
                colours: colours, divisor: divisor)
        }
        let normalisation = network.inputNormalisation
        let first = normalisation.map { "its first nodes are \($0.description)" } ?? ""
        if network.takesBytes {
            let blueFirst = normalisation?.range == .bytesBlueFirst
            return (
                sized(1, blueFirst ? .bgr : .rgb),
                "the default, imagenet's sizes with pixels 0…255\(blueFirst ? " in the order B, G, R" : ""), as the network takes bytes"
            )
        }
        switch normalisation?.range {
        case .bytes:
            return (
                sized(1),
                "the default, imagenet's sizes with pixels 0…255, as the network normalises them itself (\(first))"
            )
        case .bytesBlueFirst:
            return (
                sized(1, .bgr),
                "the default, imagenet's sizes with pixels 0…255 in the order B, G, R, as the network normalises them itself (\(first))"
            )
        case .unit:
            return (
                sized(255),
                "the default, imagenet's sizes with pixels 0…1, as the network normalises them itself (\(first))"
            )
        case .normalised, .unknown, nil: return (imagenet, "the default, imagenet")
        }
    }

    /// What people should know of how pictures are prepared.
    private static func note(
        _ network: Network, _ chosen: Preprocessing, isAssumed: Bool, source: String
    ) -> String? {
        let normalisation = network.inputNormalisation
        if isAssumed {
            let doubt =
                normalisation?.range == .unknown
                ? "; its first nodes (\(normalisation!.description)) fit neither that, nor pixels 0…255, nor 0…1, so this is probably wrong"
                : ""
            // Not taken by itself, so that a map does not depend on what lies beside a file.
            let beside = "preprocessor_config.json"
            let folder = network.model.path.split(separator: "/", omittingEmptySubsequences: false).dropLast()
            let place = (folder + [Substring(beside)]).joined(separator: "/")
            if (try? InputFile(place, isBounded: true)) != nil {
                return
                    "the model does not say how its pictures are prepared, so it is \(source); beside it lies \(shortened(place)): --preprocess \(shortened(place)) takes that"
            }
            return source == "the default, imagenet" || source.hasPrefix("the default, imagenet, ")
                ? "the model does not say how its pictures are prepared, so imagenet is assumed\(doubt); --preprocess names another way"
                : "the model does not say how its pictures are prepared, so it is \(source); --preprocess names another way"
        }
        guard let normalisation, whyNoPictures(network) == nil else { return nil }
        let most: ClosedRange<Float>
        switch normalisation.range {
        case .bytes, .bytesBlueFirst: most = 32...1024
        case .unit: most = 0.5...1.5
        case .normalised, .unknown: return nil
        }
        let largest = max(
            abs(chosen.number(0, channel: 0, of: 3)), abs(chosen.number(255, channel: 0, of: 3)))
        guard !most.contains(largest) else { return nil }
        return
            "the network normalises its input itself (\(normalisation.description)), and is fed numbers up to \(largest), as if it did not; "
            + "--preprocess names another way"
    }

    /// What the scores of so many pictures say, by their shape.
    func scores(_ shape: Shape, batch: Int) throws -> ClassScores {
        // [N], [N, C], [N, C, 1, 1] or [N, 1, 1, C].
        guard shape.dims.first == batch, shape.dims.dropFirst().count(where: { $0 > 1 }) <= 1 else {
            throw ExplainError(
                .unsupportedModel,
                "\(path): The output “\(shortened(network.outputName))” has the shape \(shape); a classifier has one row of scores for each picture."
                    + (otherOutputs.isEmpty
                        ? ""
                        : " The network also has the outputs \(otherOutputs): name the one with the scores with --score-output.")
            )
        }
        return ClassScores(scores: shape.count / batch)
    }

    /// That one of several outputs is taken for the scores, where nobody said which.
    package var outputNote: String? {
        otherOutputs.isEmpty || scoresAreNamed
            ? nil
            : "the output “\(shortened(network.outputName))” is taken for the scores; --score-output names another: \(otherOutputs)"
    }

    /// Refuses class names that are not one for each class.
    func checkLabels(_ scores: ClassScores) throws {
        try classNames.check(classes: scores.classes, isBinary: scores.isBinary, beside: otherOutputs)
    }

    /// The name of a class, or "class 386" if there is none.
    public func label(_ index: Int) -> String {
        labels.indices.contains(index) ? labels[index] : "class \(index)"
    }

    /// SHA-256 of the file that the network was read from, 64 hexadecimal digits. It reads the whole file, once, and not by its path: a
    /// file that took the place of this one meanwhile changes nothing.
    /// - Throws: `ExplainError` of kind `model` if another program has written to the file since it was opened.
    public func sha256() throws -> String { try digest.digits() }

    /// The same of each file beside the model that holds weights of it, with its place as the model says it.
    public func externalSHA256() throws -> [(file: String, sha256: String)] {
        try externalDigests.map { ($0.location, try $0.digest.digits()) }
    }

    /// Begins with those numbers, on other threads.
    package func beginDigests() {
        digest.begin()
        for (_, digest) in externalDigests { digest.begin() }
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
                index: $0.index, name: $0.name, type: $0.type, shape: $0.valueShape.dims,
                parameters: $0.parameters
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

    /// The layers that methods of several take if one is chosen.
    package func stages() throws -> [Layer] {
        do {
            return try network.stages(height: inputHeight, width: inputWidth)
        } catch {
            throw ExplainError(error, .model)
        }
    }

    /// Refuses a network that takes anything but pictures, or, if they are meant too, videos.
    package func checkTakesPictures(orVideos: Bool = false) throws {
        if orVideos, network.takesVideos { return try checkTakesVideos() }
        if let reason = Model.whyNoPictures(network) {
            throw ExplainError(.unsupportedModel, "\(path): \(reason)")
        }
    }

    private static func whyNoPictures(_ network: Network) -> String? {
        let (dims, name) = (network.inputDims, shortened(network.inputName))
        guard !network.takesVideos else {
            return
                "The input “\(name)” is \(network.describedInput), videos, and not pictures; --video names some."
        }
        guard dims.count == 4 else {
            return
                "The input “\(name)” is \(network.describedInput), and pictures are N×3×height×width; only `app run` can feed it."
        }
        guard dims[1].map([1, 3, 4].contains) ?? true else {
            return
                "The input “\(name)” is \(network.describedInput), with \(dims[1]!) channels, and pictures have 3 (or 1, if grey, or 4, with opacity); "
                + "only `app run` can feed it."
        }
        return nil
    }

    /// The same model, in which layers of tokens are there as grids: those that were chosen, and those that methods of several layers take
    /// beside a single one.
    func showing(_ layers: [Layer], for methods: [any Explainer.Type]) throws -> Model {
        let others = try layers.count == 1 && methods.contains { $0.layers == .together } ? stages() : []
        var model = self
        model.network = network.showing(layers + others)
        return model
    }

    /// The same model with other weights.
    func with(_ network: Network) -> Model {
        var model = self
        model.network = network
        return model
    }

    /// The layer that a person names: `auto`, an index, a layer's name, or the name of the value that it makes.
    package func layer(_ text: String) throws -> LayerChoice { try layer(text, of: layers()) }

    private func layer(_ text: String, of all: [Layer]) throws -> LayerChoice {
        do {
            return try network.layer(named: text, of: all)
        } catch {
            throw ExplainError(error, .layer)
        }
    }

    /// The layers that a person names: one, as above, or several with commas between them, where `*` and `?` stand for any
    /// characters of a name, and then for every layer so named that has a grid of more than one cell; in the order in which they run.
    package func layers(named text: String) throws -> [LayerChoice] {
        let parts = text.split(separator: ",").map { $0.trimmed }
        let all = try layers()
        if all.contains(where: { $0.name == text || $0.value == text })
            || parts.count == 1 && !text.contains(where: "*?".contains)
        {
            return [try layer(text, of: all)]
        }
        var chosen: [Int: LayerChoice] = [:]
        for part in parts {
            guard part.contains(where: "*?".contains), !all.contains(where: { $0.name == part }) else {
                let choice = try layer(part, of: all)
                chosen[choice.layer.index] = choice
                continue
            }
            let found = all.filter {
                $0.cells > 1
                    && (fnmatch(part, $0.name, 0) == 0
                        || $0.modules.last.map { fnmatch(part, $0, 0) == 0 } ?? false)
            }
            guard !found.isEmpty else {
                throw ExplainError(
                    .layer,
                    "\(path): The pattern “\(shortened(part))” fits no layer with a grid of cells; `app layers` lists them."
                )
            }
            for layer in found {
                chosen[layer.index] = LayerChoice(layer: layer, reason: "as asked: \(part)")
            }
        }
        guard !chosen.isEmpty else { throw ExplainError(.layer, "--layer names no layer.") }
        return chosen.keys.sorted().map { chosen[$0]! }
    }
}
