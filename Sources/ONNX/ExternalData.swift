import Files
import Text

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

/// The files beside a model that hold tensors which are not in the model itself.
///
/// A model may come from anywhere, so it can only reach files of its own folder and of folders in it.
struct ExternalData {
    /// The model, for sentences.
    let file: String
    /// The model's folder; nil for a model that did not come from a file.
    let folder: String?
    /// Those that are open, by the bytes of their places: Swift holds names for equal that file systems don't.
    private var opened: [[UInt8]: ModelFile] = [:]
    /// Those that are open, with their places.
    var files: [(location: String, file: ModelFile)] {
        opened.sorted { $0.key.lexicographicallyPrecedes($1.key) }.map { (FileName.text($0.key), $0.value) }
    }

    init(file: String, folder: String?) {
        self.file = file
        self.folder = folder
    }

    /// The `byteCount` bytes of a tensor.
    mutating func bytes(
        of tensor: WireTensor, named label: String, byteCount: Int
    ) throws(ONNXError) -> ONNXTensor.Raw {
        let model = file
        func failure(_ reason: String) -> ONNXError {
            ONNXError(.externalData, file: model, "The external data of \(label) \(reason)")
        }
        var location: String?
        var offset = 0
        var length: Int?
        for entry in tensor.externalData {
            switch entry.key {
            case "location": location = entry.value
            case "offset", "length":
                guard let number = Int(entry.value), number >= 0 else {
                    throw failure("has the \(entry.key) \(quoted(entry.value)), which is not a byte count.")
                }
                if entry.key == "offset" { offset = number } else { length = number }
            default: break
            }
        }
        guard let location, !location.isEmpty else { throw failure("names no file (the key 'location').") }
        let data = try open(location, failure)
        if let length, length != byteCount {
            throw ONNXError(
                .invalidTensor, file: file,
                "The external data of \(label) has \(length) bytes, where its shape and type ask for \(byteCount)."
            )
        }
        guard offset <= data.count, byteCount <= data.count - offset else {
            throw failure(
                "lies at byte \(offset) of \(quoted(location)) and has \(byteCount) bytes, but that file has only "
                    + "\(data.count) bytes.")
        }
        return ONNXTensor.Raw(.file(data), offset..<offset + byteCount)
    }

    private mutating func open(
        _ location: String, _ failure: (String) -> ONNXError
    ) throws(ONNXError) -> ModelFile {
        let name = Array(location.utf8)
        if let open = opened[name] { return open }
        guard let folder else {
            throw failure("is in the file \(quoted(location)), but this model was not read from a folder.")
        }
        guard name.first != UInt8(ascii: "/"), !name.contains(0) else {
            throw failure("is at \(quoted(location)), but only a path relative to the model is allowed.")
        }
        guard !name.split(separator: UInt8(ascii: "/")).contains(Array("..".utf8)[...]) else {
            throw failure("is at \(quoted(location)), but a path with '..' is not allowed.")
        }
        guard let root = FileName.resolved(folder),
            let path = FileName.resolved(folder + "/" + FileName.text(name))
        else {
            throw failure(
                "should be in \(quoted(location)), which is missing; put that file beside the model.")
        }
        guard FileName.isBelow(path, folder: root) else {
            throw failure(
                "is at \(quoted(location)), a link that leaves the model's folder, which is not allowed.")
        }
        do {
            let file = try ModelFile(path)
            opened[name] = file
            return file
        } catch {
            throw failure("cannot be read. \(error)")
        }
    }
}
