// Explains one picture with Grad-CAM and FEM and prints what was found.
//
//     explain-image MODEL.onnx PICTURE.jpg [DIRECTORY]
//     explain-image MODEL.onnx NUMBERS.f32 [DIRECTORY]
//
// NUMBERS.f32 is the network's input itself: little-endian binary32, [C, H, W], already normalised. With a directory the results
// are written there too.

import Explain
import Foundation

func run(_ arguments: [String]) throws {
    guard (2...3).contains(arguments.count) else {
        throw ExplainError(.input, "usage: explain-image MODEL.onnx (PICTURE.jpg | NUMBERS.f32) [DIRECTORY]")
    }
    let model = try Model(path: arguments[0])
    var options = Options()
    options.methods = ["gradcam", "fem"]
    options.batch = 1
    let picture = arguments[1].hasSuffix(".f32") ? try numbers(arguments[1]) : .file(arguments[1])

    // Whether the results can be written is checked before anything is computed.
    let writer = try arguments.dropFirst(2).first.map {
        try ResultWriter(directory: $0, pictures: [picture], options: options, overwrite: true)
    }
    let session = try ExplanationSession(model, options: options)
    let result = try session.explain(picture)

    print("\(result.name), computed on \(session.device)")
    for prediction in result.predictions {
        print(
            String(format: "  %5.1f %%  ", 100 * prediction.probability)
                + "\(prediction.index) \(prediction.label)")
    }
    for layer in session.layers { print("layer \(layer.name): \(layer.reason)") }
    for explanation in result.explanations {
        print("\n\(explanation.title)" + (explanation.label.map { " of “\($0)”" } ?? ""))
        if let reason = explanation.blank { print("The map is blank: \(reason).") }
        draw(explanation.map)
    }

    if let writer {
        try writer.begin(session)
        try writer.write(0, .success(result))
        try writer.finish(session)
        print("\nThe results are in \(writer.directory).")
    }
}

/// The network's input from a file of numbers.
func numbers(_ path: String) throws -> Picture {
    guard let data = FileManager.default.contents(atPath: path), data.count % 4 == 0 else {
        throw ExplainError(.input, "\(path): This is no file of binary32 numbers.")
    }
    let values = stride(from: 0, to: data.count, by: 4).map { start in
        Float(bitPattern: (0..<4).reduce(0) { $0 | UInt32(data[start + $1]) << (8 * $1) })
    }
    return .array(values, name: path)
}

/// A map in ten shades, from its smallest number to its largest.
func draw(_ map: Grid2D) {
    let shades = Array(" .:-=+*#%@")
    let finite = map.values.filter(\.isFinite)
    let low = finite.min() ?? 0
    let range = (finite.max() ?? 0) - low
    for row in 0..<map.height {
        let line = (0..<map.width).map { column -> String in
            let share = range > 0 ? (map[row, column] - low) / range : 0
            let shade = share.isFinite ? shades[Int(share * 9)] : "?"
            return "\(shade)\(shade)"
        }
        print("  |" + line.joined() + "|")
    }
}

do {
    try run(Array(CommandLine.arguments.dropFirst()))
} catch let error as ExplainError {
    FileHandle.standardError.write(Data("explain-image: \(error)\n".utf8))
    exit(error.kind.rawValue)
}
