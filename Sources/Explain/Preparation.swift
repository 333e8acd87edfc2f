// From pictures to the numbers of a batch: decoding, resizing, normalising. While one batch is computed the next is prepared.

import Dispatch
import Imaging
import Inference
import Kernels

/// A picture whose numbers are in place.
struct PreparedPicture: Sendable {
    /// The size of the picture; nil for a raw array.
    var size: (width: Int, height: Int)?
    var photo: RGBImage?
    var view: PreparedView?
    /// What people should know of the picture.
    var note: String?
    var seconds = 0.0
}

/// Prepares batches for a network's input.
struct Preparation: Sendable {
    let model: Model
    /// The input's shape, with the batch.
    let shape: Shape
    /// Whether whole pictures are kept, beside what the network sees of them.
    let keepsPhotos: Bool

    /// A batch on its way.
    final class Batch: Sendable {
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

        /// Whether `wait` would return at once.
        var isReady: Bool { done.wait(timeout: .now()) == .success }

        fileprivate init(_ pictures: [Picture], _ preparation: Preparation, _ slot: any InputSlot) {
            self.slot = slot
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
    func begin(_ pictures: [Picture], in slot: any InputSlot) -> Batch { Batch(pictures, self, slot) }

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
        case .file(let path):
            let photo = try RGBImage.load(path: path)
            let view = try write(photo, path: path, into: room)
            return PreparedPicture(
                size: (photo.width, photo.height), photo: keepsPhotos ? photo : nil, view: view,
                note: photo.isTransparent ? Self.transparencyNote : nil)
        }
    }

    private static let transparencyNote =
        "the picture has transparent pixels, and the network sees the colours that are stored under them"

    private func write(
        _ photo: RGBImage, path: String, into room: UnsafeMutableBufferPointer<Float>
    ) throws -> PreparedView {
        try model.checkTakesPictures()
        var view = try model.preprocessing.view(of: photo)
        guard (view.image.width, view.image.height) == (model.inputWidth, model.inputHeight) else {
            throw ExplainError(
                .input,
                "\(path): The picture is \(view.image.width)×\(view.image.height) after preprocessing, and the network takes "
                    + "\(model.inputWidth)×\(model.inputHeight); choose a preprocessing that makes it so (--preprocess), by its crop or the size that it resizes to."
            )
        }
        if room.count == 3 * model.inputWidth * model.inputHeight {
            model.preprocessing.write(view, into: room, order: .channelsLast)
            return view
        }
        // One channel: the mean of what three would be.
        var colours = [Float](repeating: 0, count: room.count * 3)
        colours.withUnsafeMutableBufferPointer {
            model.preprocessing.write(view, into: $0, order: .channelsLast)
        }
        for i in 0..<room.count { room[i] = (colours[3 * i] + colours[3 * i + 1] + colours[3 * i + 2]) / 3 }
        view.image = model.preprocessing.grey(view.image)
        return view
    }
}
