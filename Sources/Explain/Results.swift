// What comes out of an explanation.

import Imaging
import Inference

/// Numbers over a grid, row by row from the top, each from left to right; of a video, frame by frame.
public struct Grid2D: Sendable, Equatable {
    public let width: Int, height: Int
    /// How many frames there are, of what is made of a video; nil for a picture.
    public let frames: Int?
    /// `width * height` numbers, of each frame; the one at (row, column) is `values[row * width + column]`, of frame t
    /// `values[(t * height + row) * width + column]`.
    public let values: [Float]
    /// `values` must hold `width * height` numbers of each frame.
    public init(width: Int, height: Int, frames: Int? = nil, values: [Float]) {
        (self.width, self.height, self.frames, self.values) = (width, height, frames, values)
    }
    /// [height, width], or [frames, height, width].
    var shape: [Int] { (frames.map { [$0] } ?? []) + [height, width] }
    public subscript(row: Int, column: Int) -> Float { values[row * width + column] }
}

/// A class and how sure the network is of it.
public struct Prediction: Sendable, Equatable {
    /// The class, counted from 0 in the order of the logits.
    public let index: Int
    /// Its name, or "class 386" if it has none.
    public let label: String
    /// The network's score before a final softmax or sigmoid.
    public let logit: Float
    /// 0 … 1: the softmax of the logits over all classes, or the sigmoid of this one if that is how the
    /// network ends.
    public let probability: Float

    package init(index: Int, label: String, logit: Float, probability: Float) {
        (self.index, self.label, self.logit, self.probability) = (index, label, logit, probability)
    }
}

/// One map of one picture.
public struct Explanation: Sendable {
    /// The method's name, such as `gradcam`.
    public let method: String
    /// What people read, such as Grad-CAM.
    public let title: String
    /// The class that is explained; nil for a method that knows no class.
    public let classIndex: Int?
    /// Its name, or "class 386" if it has none; nil for a method that knows no class.
    public let label: String?
    /// How sure the network is of that class, 0 … 1; nil for a method that knows no class.
    public let probability: Float?
    /// The number that is explained; nil for a method that knows no class.
    public let target: Target?
    /// The name of the class that it is compared with, if it is.
    public let againstLabel: String?
    /// The layer's name, or those of several with commas between them, or “the input”.
    public let layer: String
    /// Its index among the layers, where several have a map each (`Options.layersApart`); else nil.
    public let layerIndex: Int?
    /// The method's own numbers, one for each cell of the layer or pixel of the input, not scaled for display: `app methods`
    /// has their formulas.
    public let map: Grid2D
    /// Whether numbers of the map above 0 speak for what is explained and those below 0 against it; else they are magnitudes.
    public let isSigned: Bool
    /// The map scaled from its minimum … maximum to 0 … 1, or from 0 … maximum if it is signed, and then enlarged to the height
    /// and width of the network's input, and of a video to its frames, bilinearly (trilinearly) with half-pixel centres. Of gradients with respect to pixels, what is above
    /// the 99th percentile counts as the maximum. It covers what the network saw: the crop, not the
    /// whole picture. All 0 if the map is constant.
    public let heatmap: Grid2D
    /// Why the map shows nothing, as a clause such as “no channel of the layer exceeds its threshold
    /// anywhere”; nil if it shows something.
    public let blank: String?
    /// How far each number of the map may be off, if it was estimated from samples: its standard error.
    public let sampleError: Grid2D?
    /// How many samples that were.
    public let samples: Int?
    /// What the map adds up to and what it should, of a method that promises it.
    public let completeness: Completeness?
    /// What one should know of this map, as a clause; nil if nothing.
    public let note: String?
}

/// Everything about one picture.
public struct ImageExplanation: Sendable {
    /// The path, or the name that the raw array was given.
    public let name: String
    /// Width and height of the picture in pixels, upright (its EXIF orientation applied); nil for a raw
    /// array.
    public let size: (width: Int, height: Int)?
    /// The five classes with the highest logits, best first.
    public let predictions: [Prediction]
    /// What one should know of the picture, as a clause such as “the picture has transparent pixels, and …”; nil if nothing.
    public let note: String?
    /// By method in the order of `Options.methods`, and within a method by class, best first.
    public let explanations: [Explanation]
    /// Seconds for decoding and preparing this picture, and its share of the batch's computation.
    public let seconds: (prepare: Double, compute: Double)
    /// Seconds of each method, by its name: its share of the batch, without the pass forward that all methods share.
    package var methodSeconds: [String: Double] = [:]
    /// The part of the picture that the network saw; nil for a raw array.
    package let view: PreparedView?
    /// The frames of a video that the network saw, and the names of those; none of anything else.
    package var frames: [RGBImage] = [], frameNames: [String] = []
    /// The network's scores of all classes, before a final softmax or sigmoid, and what these make of them.
    package var logits: [Float] = [], probabilities: [Float] = []
    /// What the network was fed, [C, H, W] row by row, if the session keeps it.
    package var input: [Float]?
    /// The classes that were asked for, one for each map that a method that knows classes has where maps are packed: one that was asked for in two
    /// ways, such as by its name and as the best, is there twice.
    package var asked: [Int] = []
    /// Reads the whole picture again, which would take much memory if it were kept, and makes sure that it is still the one that was
    /// explained; nil for a raw array.
    package let photo: (@Sendable () throws -> RGBImage)?
    /// What was read; nil for what is no file.
    package let source: PictureSource?
    /// Where it is counted while it waits to be written.
    package let memory: PictureMemory

    /// The explanations as packed maps have them: as many of each picture.
    var packed: [Explanation] {
        var methods: [String] = []
        for explanation in explanations where methods.last != explanation.method {
            methods.append(explanation.method)
        }
        return methods.flatMap { method in
            let own = explanations.filter { $0.method == method }
            guard own.first?.classIndex != nil else { return own }
            return asked.compactMap { index in own.first { $0.classIndex == index } }
        }
    }
}

/// What is explained.
public enum Picture: Sendable {
    /// The path of a PNG, JPEG, WebP, TIFF, GIF or BMP file, whose content tells which it is. At most 200 million pixels.
    case file(String)
    /// The network's input itself for one picture: C × H × W numbers, planar (row-major [C, H, W]), already
    /// normalised. The name is used in results and sentences.
    case array([Float], name: String)
    /// The bytes of a picture file, such as one in an archive. The name is used in results and sentences.
    case encoded([UInt8], name: String)
    /// Colours that are there already: red, green and blue bytes, [height, width, 3]. At most 200 million pixels. The name is used in results and
    /// sentences.
    case pixels([UInt8], height: Int, width: Int, name: String)
    /// For a network of videos: the paths of frames, picture files of one size. As many as the network takes are seen, which lie evenly: the
    /// middle ones of as many equal parts. (An animated PNG is a `file`.)
    case video([String], name: String)

    /// The path, or the name of the array.
    public var name: String {
        switch self {
        case .file(let path): path
        case .array(_, let name), .encoded(_, let name), .pixels(_, _, _, let name), .video(_, let name): name
        }
    }
}
