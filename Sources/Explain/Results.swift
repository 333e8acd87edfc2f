// What comes out of an explanation.

import Imaging
import Inference

/// Numbers over a grid, row by row.
public struct Grid2D: Sendable, Equatable {
    public let width: Int, height: Int
    public let values: [Float]
    public init(width: Int, height: Int, values: [Float]) {
        (self.width, self.height, self.values) = (width, height, values)
    }
    public subscript(row: Int, column: Int) -> Float { values[row * width + column] }
}

/// A class and how sure the network is of it.
public struct Prediction: Sendable, Equatable {
    public let index: Int
    public let label: String
    /// The network's score, before any softmax.
    public let logit: Float
    /// 0 … 1
    public let probability: Float
}

/// One map of one picture.
public struct Explanation: Sendable {
    /// The method's name, such as `gradcam`.
    public let method: String
    /// What people read, such as Grad-CAM.
    public let title: String
    /// The class that is explained; nil for a method that knows no class.
    public let classIndex: Int?
    public let label: String?
    /// How sure the network is of that class; nil for a method that knows no class.
    public let probability: Float?
    /// The layer's name and operator.
    public let layer: String
    /// The method's own numbers, at the layer's resolution, unscaled.
    public let map: Grid2D
    /// The map scaled from its minimum … maximum to 0 … 1 and then enlarged to the network's input, bilinearly with
    /// half-pixel centres. All 0 if the map is constant.
    public let heatmap: Grid2D
    /// Why the map shows nothing, or nil.
    public let blank: String?
}

/// Everything about one picture.
public struct ImageExplanation: Sendable {
    /// The path, or the name that the raw array was given.
    public let name: String
    /// Width and height of the picture, upright.
    public let size: (width: Int, height: Int)?
    /// The five classes with the highest logits, best first.
    public let predictions: [Prediction]
    public let explanations: [Explanation]
    /// Seconds for decoding and preparing this picture, and its share of the batch's computation.
    public let seconds: (prepare: Double, compute: Double)
    /// The picture and the part of it that the network saw; nil for a raw array.
    package let photo: RGBImage?, view: PreparedView?
}

/// What is explained.
public enum Picture: Sendable {
    /// A PNG or JPEG file.
    case file(String)
    /// The network's input itself, planar [C, H, W], already normalised.
    case array([Float], name: String)

    public var name: String {
        switch self {
        case .file(let path): path
        case .array(_, let name): name
        }
    }
}
