// What is attacked: for each kind of file that strangers make, one function that takes any bytes, and does with them what the
// program does. The fuzzer (`make fuzz`) and the tests that replay its findings call the same functions.

import Explain
import Files
import Foundation
import Glibc
import Imaging
import TestSupport
import Text

/// A kind of file under attack.
package enum FuzzTarget: String, CaseIterable, Sendable {
    case onnx, png, jpeg, webp, tiff, gif, bmp, tar, exif, npy, json, coco, voc, mask

    /// Reads `bytes` as such a file. A trap is a fault; so is what is returned.
    /// - Returns: what should not have happened, nil if all is well.
    package func fault(_ bytes: [UInt8]) -> String? {
        switch self {
        case .onnx: ModelAttack.explain(Data(bytes)).fault
        case .png, .jpeg, .webp, .tiff, .gif, .bmp: FuzzTarget.picture(bytes)
        case .tar: FuzzTarget.archive(bytes)
        case .exif:
            (1...8).contains(EXIF.orientation(of: bytes[...])) ? nil : "an orientation that there is not"
        case .npy: FuzzTarget.array(bytes)
        case .json: FuzzTarget.json(bytes)
        case .coco: FuzzTarget.boxes(.coco, bytes)
        case .voc: FuzzTarget.boxes(.voc, bytes)
        case .mask: FuzzTarget.mask(bytes)
        }
    }

    /// Other bytes that are like `bytes` and get further than bytes changed blindly do: checksums hold, fields have values at which
    /// arithmetic breaks.
    /// - Parameter blindly: changes a few bytes at random.
    package func changed(
        _ bytes: [UInt8], _ random: inout SeededRandom, blindly: ([UInt8]) -> [UInt8]
    ) -> [UInt8] {
        switch self {
        case .onnx: ModelAttack.changed(bytes, &random, blindly: blindly)
        case .png, .mask: PNGAttack.changed(bytes, &random, blindly: blindly)
        case .jpeg: JPEGAttack.changed(bytes, &random, blindly: blindly)
        case .tar: TarAttack.changed(bytes, &random, blindly: blindly)
        case .webp, .tiff, .gif, .bmp, .exif, .npy, .json, .coco, .voc: blindly(bytes)
        }
    }

    /// A sentence that people can read: on one line, with a full stop.
    private static func check(_ error: some Error & CustomStringConvertible) -> String? {
        let text = error.description
        return text.hasSuffix(".") && printable(text) == text ? nil : "no sentence: \(text)"
    }

    /// Where objects are: each box has finite sides in their order.
    private static func boxes(_ format: BoxFile.Format, _ bytes: [UInt8]) -> String? {
        do {
            let boxes = try BoxFile(format, bytes, name: "boxes").boxes
            let areWhole = boxes.allSatisfy { box in
                box.left <= box.right && box.top <= box.bottom
                    && [box.left, box.top, box.right, box.bottom].allSatisfy(\.isFinite)
            }
            return areWhole ? nil : "a box has no sides"
        } catch let error as ExplainError {
            return check(error)
        } catch {
            return "\(type(of: error)) \(error)"
        }
    }

    private static func mask(_ bytes: [UInt8]) -> String? {
        do {
            let mask = try DrawnMask(decoding: bytes, name: "mask") { memory throws(ImageError) in
                guard memory < 1 << 28 else { throw .overLimit(file: "mask", reason: "is large") }
            }
            return mask.isObject.count == mask.width * mask.height ? nil : "pixels are missing"
        } catch {
            return check(error)
        }
    }

    private static func picture(_ bytes: [UInt8]) -> String? {
        do {
            // What is merely large takes its time.
            let image = try RGBImage(decoding: bytes, name: "picture") { memory throws(ImageError) in
                guard memory < 1 << 28 else { throw .overLimit(file: "picture", reason: "is large") }
            }
            guard image.pixels.count == image.width * image.height * 3 else { return "pixels are missing" }
            // Not only decoded, but looked at, every pixel of it.
            let view = try Preprocessing(
                resize: .shortSide(8), interpolation: .box, crop: .init(width: 8, height: 8)
            ).view(of: image)
            return view.image.pixels.count == 192 ? nil : "the view has another size"
        } catch {
            return check(error)
        }
    }

    /// Walked through, every file of it read.
    private static func archive(_ bytes: [UInt8]) -> String? {
        guard let temporary = tmpfile() else { return "there is no room for it" }
        defer { fclose(temporary) }
        let file = fileno(temporary)
        guard bytes.withUnsafeBytes({ pwrite(file, $0.baseAddress, $0.count, 0) }) == bytes.count else {
            return "it cannot be written"
        }
        do {
            var reader = try TarReader(descriptor: file, name: "archive")
            while let entry = try reader.next() {
                guard entry.size < 1 << 24 else { continue }
                guard try reader.content().count == entry.size else { return "bytes are missing" }
            }
            return nil
        } catch {
            let text = "\(error)"
            return error is FileError && text.hasSuffix(".") && printable(text) == text
                ? nil : "no sentence: \(text)"
        }
    }

    private static func array(_ bytes: [UInt8]) -> String? {
        do {
            let array = try NPYArray(decoding: bytes, name: "array")
            guard array.shape.reduce(1, *) == array.values.count else { return "values are missing" }
            let again = try NPYArray(decoding: array.npyData, name: "again")
            let isSame =
                again.shape == array.shape
                && again.values.map(\.bitPattern) == array.values.map(\.bitPattern)
            return isSame ? nil : "written and read again it differs"
        } catch {
            return check(error)
        }
    }

    /// As a preprocessing, and as any JSON, which class names are.
    private static func json(_ bytes: [UInt8]) -> String? {
        if let value = try? JSON(reading: bytes) {
            guard let again = try? JSON(reading: Array(value.text.utf8)), again.text == value.text else {
                return "written and read again it differs"
            }
        }
        do {
            let preprocessing = try Preprocessing(json: bytes, name: "preprocessing")
            let text = JSON.object(preprocessing.entries).text
            guard try Preprocessing(json: Array(text.utf8), name: "again") == preprocessing
            else { return "written and read again it differs" }
            _ = preprocessing.fitting(width: 11, height: 6)
            let image = RGBImage(width: 9, height: 7, colour: (1, 2, 3))
            let sides =
                switch preprocessing.resize {
                case .shortSide(let side): side * side
                case .exact(let width, let height), .fit(let width, let height),
                    .cover(let width, let height):
                    width * height
                case .none: 63
                }
            // What is merely large takes its time.
            guard sides <= 1 << 12, preprocessing.crop.map({ $0.width * $0.height <= 1 << 12 }) ?? true
            else { return nil }
            let prepared = try preprocessing.apply(image)
            return prepared.tensor.count == preprocessing.mean.count * prepared.width * prepared.height
                ? nil : "numbers are missing"
        } catch {
            return check(error)
        }
    }
}
