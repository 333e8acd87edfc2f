// Videos: which networks take them, and which of their frames the network sees.

import Files
import Imaging
import Inference
import Kernels
import Text

extension Network {
    /// The most frames that a network's file may leave open and be told.
    static let mostFrames = 4096

    /// How many frames a video has, where the file leaves it open.
    /// - Throws: `ExplainError` of kind `settings` where it does not.
    mutating func setFrames(_ count: Int) throws {
        guard takesVideos else {
            throw ExplainError(
                .settings,
                "\(model.path): The input is \(describedInput), which is no video whose frames could be counted (--frames)."
            )
        }
        guard (1...Self.mostFrames).contains(count) else {
            throw ExplainError(
                .settings, "--frames must be between 1 and \(Self.mostFrames), and is \(count).")
        }
        guard inputDims[2] ?? count == count else {
            throw ExplainError(
                .settings,
                "\(model.path): The file fixes the input to \(describedInput), so videos cannot have \(count) frames (--frames); export the network "
                    + "with that number, or leave it open there.")
        }
        frames = count
    }
}

extension Model {
    /// Refuses a network that takes anything but videos [N, 3, T, H, W].
    func checkTakesVideos() throws {
        if let reason = Model.whyNoVideos(network) {
            throw ExplainError(.unsupportedModel, "\(path): \(reason)")
        }
    }

    static func whyNoVideos(_ network: Network) -> String? {
        let (dims, name) = (network.inputDims, shortened(network.inputName))
        guard network.takesVideos else {
            return
                "The input “\(name)” is \(network.describedInput), and videos are N×3×frames×height×width; it takes pictures, which are named without --video."
        }
        func isColours(_ extent: Int?) -> Bool { extent == 3 || extent == 1 }
        guard isColours(dims[1]) || dims[1] == nil && !isColours(dims[2]) && !isColours(dims[4]) else {
            return
                "The input “\(name)” is \(network.describedInput), and videos are given as N×3×frames×height×width, the channels before the frames; "
                + "export the network with a transposed input. As it is, only `app run` can feed it."
        }
        return nil
    }
}

extension Picture {
    /// A video whose frames are the pictures in a folder, by name, where numbers are counted and not spelled: `frame2.png` comes before `frame10.png`.
    /// - Throws: `ExplainError` of kind `input`.
    public static func video(folder: String) throws -> Picture {
        guard let all = Folder.names(folder) else {
            throw ExplainError(.input, "The folder '\(folder)' cannot be read.")
        }
        // Overlays of an earlier run are no frames.
        let results = Set(ResultDocument.files(in: folder).map(FileName.bytes))
        let names = all.filter {
            $0.unicodeScalars.first != "." && RGBImage.fileExtensions.contains(Paths.fileExtension($0))
                && !results.contains(FileName.bytes($0))
        }
        guard !names.isEmpty else {
            throw ExplainError(
                .input,
                "The folder '\(folder)' holds no picture (\(RGBImage.formats)), so there are no frames of a video."
            )
        }
        return .video(names.sorted(by: counted).map { Paths.join(folder, $0) }, name: folder)
    }

    /// A video whose frames a text file names in their order, one on a line, by paths from where that file is.
    /// - Throws: `ExplainError` of kind `input`.
    public static func video(list path: String) throws -> Picture {
        let bytes: [UInt8]
        do { bytes = try InputFile.contents(path) } catch { throw ExplainError(error, .input) }
        guard bytes.count <= 1 << 24, let text = String(validating: bytes, as: UTF8.self),
            !text.unicodeScalars.contains("\0")
        else {
            throw ExplainError(
                .input,
                "'\(path)' is neither a folder of frames, nor an animated PNG, nor a text file that names frames; of a film, "
                    + "`ffmpeg -i FILM FOLDER/%05d.png` makes a folder of frames.")
        }
        let lines = text.split(whereSeparator: \.isNewline).map { $0.trimmed }
            .filter { !$0.isEmpty }
        guard !lines.isEmpty else { throw ExplainError(.input, "The list '\(path)' names no frame.") }
        let folder = Paths.parent(path)
        return .video(lines.map { $0.hasPrefix("/") ? $0 : Paths.join(folder, $0) }, name: path)
    }

    /// A video as people name it: a folder of frames, an animated PNG file, or a text file that names frames.
    /// - Throws: `ExplainError` of kind `input`.
    public static func video(path: String) throws -> Picture {
        if FileKind(path) == .folder { return try video(folder: path) }
        // What a PNG file holds is told when it is its turn, and what is missing.
        if FileKind(path) == .missing || RGBImage.fileExtensions.contains(Paths.fileExtension(path))
            || Paths.fileExtension(path) == "apng"
        {
            return .file(path)
        }
        return try video(list: path)
    }

    /// Whether a name comes before another, if numbers in them are counted.
    package static func counted(_ a: String, _ b: String) -> Bool {
        let (first, second) = (runs(a), runs(b))
        for (x, y) in zip(first, second) where x != y {
            guard let p = x.first, let q = y.first, isDigit(p), isDigit(q) else {
                return x.lexicographicallyPrecedes(y)
            }
            let (m, n) = (x.drop { $0 == UInt8(ascii: "0") }, y.drop { $0 == UInt8(ascii: "0") })
            if m.count != n.count { return m.count < n.count }
            if !m.elementsEqual(n) { return m.lexicographicallyPrecedes(n) }
        }
        if first.count != second.count { return first.count < second.count }
        return a.utf8.lexicographicallyPrecedes(b.utf8)
    }

    private static func isDigit(_ byte: UInt8) -> Bool {
        (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
    }

    /// A name's digits and other bytes by turns.
    private static func runs(_ name: String) -> [[UInt8]] {
        var runs: [[UInt8]] = []
        for byte in FileName.bytes(name) {
            if let last = runs.last?.last, isDigit(last) == isDigit(byte) {
                runs[runs.count - 1].append(byte)
            } else {
                runs.append([byte])
            }
        }
        return runs
    }

    /// The files that it is read from.
    var files: [String] {
        switch self {
        case .file(let path): [path]
        case .video(let paths, _): paths
        case .array, .encoded, .pixels: []
        }
    }

    /// Why its one file cannot be read, where nothing of it needs to be read to know; else nil.
    package var whyUnreadable: ExplainError? {
        guard case .file(let path) = self else { return nil }
        do throws(FileError) {
            _ = try InputFile(path, isBounded: true)
            return nil
        } catch {
            return ExplainError(ImageError.file(error), .input)
        }
    }

    /// The bytes of its one file.
    func content() throws(ImageError) -> [UInt8] {
        switch self {
        case .file(let path):
            do { return try InputFile.contents(path) } catch { throw .file(error) }
        case .encoded(let bytes, _): return bytes
        case .array, .pixels, .video: preconditionFailure("It is no single file.")
        }
    }

    /// Its colours, decoded if it is a file.
    /// - Parameter admission: is asked before that takes memory.
    func decoded(
        _ content: [UInt8]? = nil, admission: RGBImage.Admission = { _ throws(ImageError) in }
    ) throws -> RGBImage {
        guard case .pixels(let bytes, let height, let width, let name) = self else {
            return try RGBImage(decoding: content ?? self.content(), name: name, admission: admission)
        }
        let (area, overflow) = max(0, width).multipliedReportingOverflow(by: max(0, height))
        guard height > 0, width > 0, !overflow, area <= RGBImage.pixelLimit, bytes.count == 3 * area else {
            throw ExplainError(
                .input,
                "\(name): The pixels must be [height, width, 3] bytes, at most \(RGBImage.pixelLimit) pixels, and are said to be [\(height), \(width), 3]."
            )
        }
        return RGBImage(width: width, height: height, pixels: bytes)
    }
}

extension Preparation {
    /// A video's frames, their numbers in place [C, T, H, W].
    func prepareVideo(_ picture: Picture, into room: UnsafeMutableBufferPointer<Float>) throws
        -> PreparedPicture
    {
        try model.checkTakesVideos()
        let wanted = model.inputFrames!
        var prepared = PreparedPicture()
        var (frames, names): ([RGBImage], [String]) = ([], [])
        // Held until the frames are there as the network sees them, which is all that stays.
        var held: PictureMemory.Room?
        defer { withExtendedLifetime(held) {} }
        func admit(_ bytes: Int, _ path: String) throws(ImageError) {
            held = nil
            held = try model.room(bytes, toDecode: path)
        }
        func chosen(of count: Int, _ name: String) throws -> [Int] {
            guard count >= wanted else {
                throw ExplainError(
                    .input,
                    "\(name): The video has \(count) frame\(count == 1 ? "" : "s"), and the network takes \(wanted); name one with at least as many"
                        + (model.network.inputDims[2] == nil
                            ? ", or have the network take fewer (--frames)." : "."))
            }
            return Filmstrip.even(wanted, of: count)
        }
        func take(_ photo: RGBImage, _ name: String) throws {
            let size = (photo.width, photo.height)
            if let first = prepared.size, first != size {
                throw ExplainError(
                    .input,
                    "\(name): The frame is \(size.0)×\(size.1), and the first is \(first.width)×\(first.height); frames of a video have one size."
                )
            }
            prepared.size = size
            if photo.isTransparent {
                prepared.note =
                    "frames have transparent pixels, and the network sees the colours that are stored under them"
            }
            frames.append(try write(photo, frame: frames.count, of: wanted, path: name, into: room))
            names.append(name)
        }
        switch picture {
        case .video(let paths, let name):
            for i in try chosen(of: paths.count, name) {
                let path = paths[i]
                try take(
                    try RGBImage.load(path: path) { bytes throws(ImageError) in try admit(bytes, path) }, path
                )
            }
        case .pixels(_, _, _, let name):
            throw ExplainError(
                .input, "\(name): This is one picture, and the network takes videos of \(wanted) frames.")
        case .file, .encoded:
            let (bytes, path) = (try picture.content(), picture.name)
            guard let animation = try Animation(bytes, name: path) else {
                // What is no picture at all is told as such.
                _ = try RGBImage(decoding: bytes, name: path)
                throw ExplainError(
                    .input,
                    "\(path): This is one picture, and the network takes videos of \(wanted) frames; name a folder of frames, an animated PNG, or a "
                        + "list of frames with --video.")
            }
            try admit(animation.decodingMemory + bytes.count, path)
            try animation.decode(try chosen(of: animation.count, path)) { frame, photo in
                try take(photo, "\(path), frame \(frame + 1)")
            }
        case .array: preconditionFailure("An array needs no preparation.")
        }
        (prepared.frames, prepared.frameNames) = (frames, names)
        return prepared
    }

    /// Writes a frame's numbers where they belong.
    /// - Returns: what the network sees, as people should see it.
    private func write(
        _ photo: RGBImage, frame: Int, of count: Int, path: String,
        into room: UnsafeMutableBufferPointer<Float>
    ) throws -> RGBImage {
        var view = try model.preprocessing.view(of: photo)
        guard (view.image.width, view.image.height) == (model.inputWidth, model.inputHeight) else {
            throw ExplainError(
                .input,
                "\(path): The frame is \(view.image.width)×\(view.image.height) after preprocessing, and the network takes "
                    + "\(model.inputWidth)×\(model.inputHeight); choose a preprocessing that makes it so (--preprocess), by its crop or the size that it resizes to."
            )
        }
        let pixels = model.inputWidth * model.inputHeight
        let channels = room.count / (pixels * count)
        var planar = [Float](repeating: 0, count: channels * pixels)
        planar.withUnsafeMutableBufferPointer { model.preprocessing.write(view, into: $0, order: .planar) }
        for channel in 0..<channels {
            let place = (channel * count + frame) * pixels
            _ = UnsafeMutableBufferPointer(rebasing: room[place..<place + pixels])
                .update(fromContentsOf: planar[channel * pixels..<(channel + 1) * pixels])
        }
        if channels == 1 { view.image = model.preprocessing.grey(view.image) }
        return view.image
    }
}
