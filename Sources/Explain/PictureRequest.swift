// A picture of a run, and what is asked of it.

import Files
import Text

/// A picture and what is explained of it.
package struct PictureRequest: Sendable {
    package var picture: Picture
    /// The classes that are explained; nil for those of the session's options.
    package var classChoice: ClassChoice?
    /// The class that it is known to be of; nil if nobody knows.
    package var trueClass: TrueClass?

    package init(_ picture: Picture, classChoice: ClassChoice? = nil, trueClass: TrueClass? = nil) {
        (self.picture, self.classChoice, self.trueClass) = (picture, classChoice, trueClass)
    }
}

/// The class that a picture is known to be of.
package struct TrueClass: Hashable, Sendable {
    /// As it was given.
    package let given: String
    /// Among the network's classes; nil where it is none.
    package let index: Int?
    package let label: String?
}

/// What was read of a picture, so that it is known whether another time it is the same.
package struct PictureSource: Hashable, Sendable {
    /// Of the file's bytes.
    package let sha256: String
    /// Of the file; nil if it lay in none of its own.
    package let stamp: FileStamp?
}

extension Picture {
    /// Whether it is still what was read once: by its file's time and size, or if those are others or not known, by its bytes.
    func isStill(_ source: PictureSource) -> Bool {
        if case .file(let path) = self, let stamp = source.stamp, FileStamp(path) == stamp { return true }
        switch self {
        case .file, .encoded:
            guard let bytes = try? content() else { return false }
            return SHA256.digits(of: bytes) == source.sha256
        case .array, .pixels, .video: return false
        }
    }
}

/// Names of pictures' files, without what distinguishes methods.
package struct Stems {
    /// Hashes of those that are taken. Of a million names a hundred or so have the same one, and then a number that they would not have needed.
    private var taken: Set<UInt32> = []

    package init() {}

    /// A name of its own for a path: with its folders, but without what would lead out of a folder of results.
    package mutating func stem(ofPath path: String) -> String {
        let folders = Paths.split(path).folder.split(separator: "/").filter { $0 != "." && $0 != ".." }
        return free(Stems.front(folders) + Stems.base(Paths.stem(path)))
    }

    private mutating func free(_ stem: String) -> String {
        var (name, number) = (stem, 1)
        while !taken.insert(UInt32(truncatingIfNeeded: Journal.hash(name) >> 17)).inserted {
            number += 1
            name = "\(stem)-\(number)"
        }
        return name
    }

    /// Folders' names, each with a slash behind it. None is one that a file of results may have; and where they are so long that the path of a file
    /// could be longer than a path may be, a number stands in their place.
    private static func front(_ folders: [Substring]) -> String {
        let front = folders.map { folder in
            let name = shortened(ResultWriter.fileName(String(folder), fallback: "folder"), 240)
            let isLikeOurs = ["png", "apng", "npy", "json", "jsonl", "rows"].contains {
                Paths.fileExtension(name) == $0
            }
            return name + (isLikeOurs ? "_/" : "/")
        }.joined()
        return front.utf8.count <= 1024 ? front : "long-\(String(Journal.hash(front), radix: 16))/"
    }

    private static func base(_ name: String) -> String {
        // File systems allow 255 bytes, and something follows.
        shortened(ResultWriter.fileName(name, fallback: "image"), 180)
    }

    private static func shortened(_ name: String, _ bytes: Int) -> String {
        guard name.utf8.count > bytes else { return name }
        // By scalars: a single character may be as long as it likes.
        var scalars = name.unicodeScalars
        var count = name.utf8.count
        while count > bytes, let last = scalars.popLast() { count -= UTF8.width(last) }
        return String(scalars)
    }

    /// The names of some pictures: those of their files, and if pictures of several folders have the same one, with their folders, as far as these
    /// are not the same for all.
    package static func of(_ pictures: [Picture]) -> [String] {
        let plain = pictures.map { picture in
            switch picture {
            case .file, .encoded, .pixels: base(Paths.stem(picture.name))
            case .video where Paths.fileExtension(picture.name) == "txt": base(Paths.stem(picture.name))
            case .video, .array: base(Paths.name(picture.name))
            }
        }
        var stems = Stems()
        guard Set(plain).count < plain.count else { return plain.map { stems.free($0) } }
        let folders = pictures.map { picture -> [Substring] in
            guard case .file = picture else { return [] }
            return Paths.split(picture.name).folder.split(separator: "/", omittingEmptySubsequences: false)
                .filter { $0 != "." }
        }
        var shared = folders[0].count
        for folder in folders { shared = min(shared, zip(folder, folders[0]).prefix { $0 == $1 }.count) }
        return zip(plain, folders).map { name, folder in
            let front = folder.dropFirst(shared).filter { !$0.isEmpty && $0 != ".." }
            return stems.free(Stems.front(Array(front)) + name)
        }
    }
}
