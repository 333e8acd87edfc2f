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
    /// What was read; nil for what is no file.
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
        // Changed by `replace` alone, when nothing is on its way.
        private(set) nonisolated(unsafe) var requests: [PictureRequest]
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

        /// The places of pictures that could not be read; waits.
        var failures: [Int] { wait().indices.filter { results[$0].isFailure } }

        /// Whether `wait` would return at once.
        var isReady: Bool { done.wait(timeout: .now()) == .success }

        fileprivate init(_ requests: [PictureRequest], _ preparation: Preparation, _ slot: any InputSlot) {
            (self.requests, self.slot) = (requests, slot)
            results = Array(repeating: nil, count: requests.count)
            let pictures = Array(requests.map(\.picture).enumerated())
            DispatchQueue.global().async(group: done) {
                self.prepare(pictures, preparation)
                // If this fails, so does taking the slot. With places that others may get, it is sent when it is taken.
                if !self.results.contains(where: \.isFailure) { try? slot.send() }
            }
        }

        /// Gives places of the batch to other pictures, and waits until these are prepared.
        func replace(_ places: [Int], by others: [PictureRequest], _ preparation: Preparation) {
            for (place, request) in zip(places, others) { requests[place] = request }
            prepare(zip(places, others.map(\.picture)).map { (offset: $0, element: $1) }, preparation)
        }

        /// - Parameter pictures: with their places.
        private func prepare(_ pictures: [(offset: Int, element: Picture)], _ preparation: Preparation) {
            let size = preparation.shape.count / preparation.shape.dims[0]
            results.withUnsafeMutableBufferPointer { results in
                // Each picture writes its own part of both.
                nonisolated(unsafe) let results = results
                DispatchQueue.concurrentPerform(iterations: pictures.count) { number in
                    let (i, picture) = pictures[number]
                    let room = UnsafeMutableBufferPointer(start: slot.numbers.pointer + i * size, count: size)
                    let start = DispatchTime.now().uptimeNanoseconds
                    do {
                        var ready = try preparation.prepare(picture, into: room)
                        ready.seconds = Double(DispatchTime.now().uptimeNanoseconds - start) * 1e-9
                        results[i] = .success(ready)
                    } catch {
                        room.update(repeating: 0)
                        results[i] = .failure(ExplainError(error, .input))
                    }
                }
            }
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
        case .file, .encoded, .pixels:
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
        let bytes = if case .pixels = picture { [UInt8]?.none } else { try picture.content() }
        let photo = try picture.decoded(bytes) { bytes throws(ImageError) in
            needed = bytes
            held = try model.room(bytes, toDecode: name)
        }
        let (view, seen) = try write(photo, path: name, into: room)
        return PreparedPicture(
            size: (photo.width, photo.height),
            photo: { [model, needed] in
                // Counted by who asks, as what it took the first time; another that needs more is not even decoded.
                let again = try picture.decoded { bytes throws(ImageError) in
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
            source: bytes.map { PictureSource(sha256: SHA256.digits(of: $0), stamp: stamp) })
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

extension Result<PreparedPicture, ExplainError>? {
    fileprivate var isFailure: Bool { if case .failure? = self { true } else { false } }
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
