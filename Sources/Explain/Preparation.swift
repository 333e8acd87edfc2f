// From pictures to the numbers of a batch: decoding, resizing, normalising. While one batch is computed the next is prepared.

import Dispatch
import Files
import Imaging
import Inference
import Kernels
import Text

/// A picture whose numbers are in place.
struct PreparedPicture: Sendable {
    /// The size of the picture; nil for a raw array.
    var size: (width: Int, height: Int)?
    /// Reads the picture again, if it is still the same.
    var photo: (@Sendable () throws -> RGBImage)?
    var view: PreparedView?
    /// The frames of a video, as the network sees them, and the names of those; none of anything else.
    var frames: [RGBImage] = [], frameNames: [String] = []
    /// What people should know of the picture.
    var note: String?
    /// What was read; nil for a raw array.
    var source: PictureSource?
    var seconds = 0.0
}

/// Prepares batches for a network's input.
struct Preparation: Sendable {
    let model: Model
    /// The input's shape, with the batch.
    let shape: Shape

    /// A batch on its way.
    final class Batch: Sendable {
        let requests: [PictureRequest]
        /// The network's input; zeros where a picture failed.
        let slot: any InputSlot
        // Written by `done`'s group, read after it.
        fileprivate nonisolated(unsafe) var results: [Result<PreparedPicture, ExplainError>?]
        private let done = DispatchGroup()

        /// Waits until all pictures are prepared.
        func wait() -> [Result<PreparedPicture, ExplainError>] {
            done.wait()
            return results.map { $0! }
        }

        /// Whether any picture could be read; waits.
        var hasPictures: Bool { wait().contains { if case .success = $0 { true } else { false } } }

        /// Whether `wait` would return at once.
        var isReady: Bool { done.wait(timeout: .now()) == .success }

        fileprivate init(_ requests: [PictureRequest], _ preparation: Preparation, _ slot: any InputSlot) {
            (self.requests, self.slot) = (requests, slot)
            let pictures = requests.map(\.picture)
            results = Array(repeating: nil, count: pictures.count)
            DispatchQueue.global().async(group: done) { self.prepare(pictures, preparation) }
        }

        private func prepare(_ pictures: [Picture], _ preparation: Preparation) {
            let size = preparation.shape.count / preparation.shape.dims[0]
            results.withUnsafeMutableBufferPointer { results in
                // Each picture writes its own part of both.
                nonisolated(unsafe) let results = results
                DispatchQueue.concurrentPerform(iterations: pictures.count) { i in
                    let room = UnsafeMutableBufferPointer(start: slot.numbers.pointer + i * size, count: size)
                    let start = DispatchTime.now().uptimeNanoseconds
                    do {
                        var picture = try preparation.prepare(pictures[i], into: room)
                        picture.seconds = Double(DispatchTime.now().uptimeNanoseconds - start) * 1e-9
                        results[i] = .success(picture)
                    } catch {
                        room.update(repeating: 0)
                        results[i] = .failure(ExplainError(error, .input))
                    }
                }
            }
            // If this fails, so does taking the slot.
            try? slot.send()
        }
    }

    /// Begins to prepare pictures, several at a time, on other threads.
    /// - Parameter slot: is used by nobody else until the batch is done with.
    func begin(_ requests: [PictureRequest], in slot: any InputSlot) -> Batch { Batch(requests, self, slot) }

    private func prepare(_ picture: Picture, into room: UnsafeMutableBufferPointer<Float>) throws
        -> PreparedPicture
    {
        switch picture {
        case .array(let values, let name):
            let single = Shape([1] + shape.dims.dropFirst())
            guard values.count == room.count else {
                throw ExplainError(
                    .input,
                    "\(name): The array has \(values.count) numbers; the network takes \(single), which is \(room.count)."
                )
            }
            single.writeMemoryOrder(values, to: room.baseAddress!)
            return PreparedPicture()
        // A network that takes none refuses it there.
        case .video: return try prepareVideo(picture, into: room)
        case .file, .encoded:
            return try model.network.takesVideos
                ? prepareVideo(picture, into: room) : preparePhoto(picture, into: room)
        }
    }

    private func preparePhoto(_ picture: Picture, into room: UnsafeMutableBufferPointer<Float>) throws
        -> PreparedPicture
    {
        let name = picture.name
        let stamp: FileStamp? = if case .file(let path) = picture { FileStamp(path) } else { nil }
        // Held until the view is there, which is all that stays.
        var held: PictureMemory.Room?
        defer { withExtendedLifetime(held) {} }
        var needed = 0
        let bytes = try picture.content()
        let photo = try RGBImage(decoding: bytes, name: name) { bytes throws(ImageError) in
            needed = bytes
            held = try model.room(bytes, toDecode: name)
        }
        let (view, seen) = try write(photo, path: name, into: room)
        return PreparedPicture(
            size: (photo.width, photo.height),
            photo: { [model, needed] in
                // Counted by who asks, as what it took the first time; another that needs more is not even decoded.
                let again = try RGBImage(decoding: picture.content(), name: name) {
                    bytes throws(ImageError) in
                    guard bytes <= needed else {
                        throw .overLimit(file: name, reason: "was changed while it was explained")
                    }
                }
                guard try model.preprocessing.view(of: again) == seen else {
                    throw ExplainError(
                        .input, "\(name): The picture was changed while it was explained.")
                }
                return again
            }, view: view,
            note: photo.isTransparent && !model.preprocessing.hasOpacity ? Self.transparencyNote : nil,
            source: PictureSource(sha256: SHA256.digits(of: bytes), stamp: stamp))
    }

    private static let transparencyNote =
        "the picture has transparent pixels, and the network sees the colours that are stored under them"

    /// - Returns: what the network sees, as people should see it, and in the colours of the picture.
    private func write(
        _ photo: RGBImage, path: String, into room: UnsafeMutableBufferPointer<Float>
    ) throws -> (shown: PreparedView, seen: PreparedView) {
        try model.checkTakesPictures()
        let seen = try model.preprocessing.view(of: photo)
        var view = seen
        guard (view.image.width, view.image.height) == (model.inputWidth, model.inputHeight) else {
            throw ExplainError(
                .input,
                "\(path): The picture is \(view.image.width)×\(view.image.height) after preprocessing, and the network takes "
                    + "\(model.inputWidth)×\(model.inputHeight); choose a preprocessing that makes it so (--preprocess), by its crop or the size that it resizes to."
            )
        }
        model.preprocessing.write(view, into: room, order: .channelsLast)
        if room.count == model.inputWidth * model.inputHeight {
            view.image = model.preprocessing.grey(view.image)
        }
        return (view, seen)
    }
}

extension Model {
    /// Waits for room in memory for a picture that is decoded; an error that names it where the limit allows none.
    func room(_ bytes: Int, toDecode name: String) throws(ImageError) -> PictureMemory.Room {
        guard let room = decoding.room(bytes) else {
            throw .overLimit(
                file: name,
                reason: "needs \(MemoryBudget.mebibytes(bytes)) of memory, which "
                    + "\(network.limits.memory.exceeded); --memory-limit raises it")
        }
        return room
    }
}
