import Files
import Glibc

/// Built programs on disk, one file each.
///
/// It only saves time, so nothing that goes wrong with it is an error: an entry that is damaged, truncated or of another
/// format counts as absent and is written anew, and a directory that cannot be written means no cache. Any number of
/// processes may share a directory: a file appears complete, by renaming, or not at all.
package struct CLProgramCache: Sendable, Hashable {
    /// Where the entries are, or nil: no cache.
    package let directory: String?

    package init(directory: String?) { self.directory = directory }

    /// Neither reads nor writes.
    package static let off = CLProgramCache(directory: nil)

    /// The cache that the environment asks for: none if `WHITEBOX_CACHE` is `off`; else `$WHITEBOX_CACHE_DIR`,
    /// `$XDG_CACHE_HOME/whitebox` or `~/.cache/whitebox`, whichever is set first.
    package static var standard: CLProgramCache {
        CLProgramCache(environment: FileName.environment)
    }

    package init(environment: (String) -> String?) {
        func value(_ name: String) -> String? { environment(name).flatMap { $0.isEmpty ? nil : $0 } }
        if value("WHITEBOX_CACHE")?.lowercased() == "off" {
            directory = nil
        } else if let named = value("WHITEBOX_CACHE_DIR") {
            directory = named + "/programs"
        } else if let caches = value("XDG_CACHE_HOME"), caches.hasPrefix("/") {
            // The XDG specification says to ignore a relative path.
            directory = caches + "/whitebox/programs"
        } else if let home = value("HOME"), home.hasPrefix("/") {
            directory = home + "/.cache/whitebox/programs"
        } else {
            directory = nil
        }
    }

    // MARK: Entries

    package struct Key: Hashable {
        let hash: UInt128
        package init(hash: UInt128) { self.hash = hash }
    }

    /// The key of everything that decides what a program becomes.
    package static func key(_ parts: [String]) -> Key {
        var hash = FNV1a()
        // Each part follows its length, so that no two lists of parts read the same.
        for part in parts {
            hash.add(number: UInt64(part.utf8.count))
            for byte in part.utf8 { hash.add(byte) }
        }
        return Key(hash: hash.value)
    }

    package func path(_ key: Key) -> String? {
        let digits = String(key.hash, radix: 16)
        return directory.map {
            $0 + "/" + String(repeating: "0", count: 32 - digits.count) + digits + ".clbin"
        }
    }

    // An entry: these 8 bytes, the key (16), the hash of the binary (16), then the binary. Little endian.
    private static let magic: [UInt8] = Array("WBCLBIN1".utf8)
    private static let headerSize = 8 + 16 + 16

    private static func header(_ key: Key, _ binary: some Sequence<UInt8>) -> [UInt8] {
        var hash = FNV1a()
        for byte in binary { hash.add(byte) }
        var header = magic
        for number in [key.hash, hash.value] {
            withUnsafeBytes(of: number.littleEndian) { header.append(contentsOf: $0) }
        }
        return header
    }

    /// The binary, or nil if there is none that is whole.
    package func load(_ key: Key) -> [UInt8]? {
        guard let path = path(key), let bytes = try? InputFile.contents(path),
            bytes.count > CLProgramCache.headerSize
        else {
            return nil
        }
        let binary = bytes[CLProgramCache.headerSize...]
        guard bytes.prefix(CLProgramCache.headerSize).elementsEqual(CLProgramCache.header(key, binary)) else {
            return nil
        }
        return Array(binary)
    }

    /// Writes an entry; returns what went wrong as one full sentence, or nil.
    package func store(_ binary: [UInt8], _ key: Key) -> String? {
        guard let directory, let path = path(key) else { return nil }
        func problem(_ step: String, _ error: FileError) -> String {
            "The program cache cannot be used: \(step) failed with “\(error.systemMessage)”."
        }
        do { try Folder.make(directory, mode: 0o700) } catch {
            return problem("making the directory “\(directory)”", error)
        }
        do {
            try AtomicFile.write(
                CLProgramCache.header(key, binary) + binary, to: path, overwrite: true, mode: 0o600)
        } catch {
            return problem("writing to “\(directory)”", error)
        }
        tidy(directory)
        return nil
    }

    /// The most entries that are kept. Kernels change rarely, and drivers more rarely still.
    private static let capacity = 256

    /// Removes what crashed writers left behind and, if there are too many entries, the oldest.
    private func tidy(_ directory: String) {
        AtomicFile.sweep(directory)
        var entries: [(modified: Int, path: String)] = []
        for name in Folder.names(directory) ?? [] where name.hasSuffix(".clbin") {
            let path = directory + "/" + name
            var status = stat()
            guard FileName.withPath(path, { lstat($0, &status) }) == 0 else { continue }
            entries.append((status.st_mtim.tv_sec, path))
        }
        guard entries.count > CLProgramCache.capacity else { return }
        entries.sort { $0.modified < $1.modified }
        for entry in entries.prefix(entries.count - CLProgramCache.capacity) { FileName.remove(entry.path) }
    }
}

/// The 128-bit Fowler–Noll–Vo hash (FNV-1a): small, and good enough to tell programs apart. Not a defence against malice.
package struct FNV1a {
    package private(set) var value: UInt128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d

    package init() {}

    package mutating func add(_ byte: UInt8) {
        value = (value ^ UInt128(byte)) &* 0x0000_0000_0100_0000_0000_0000_0000_013b
    }

    package mutating func add(number: UInt64) {
        for shift in stride(from: 0, to: 64, by: 8) {
            add(UInt8(truncatingIfNeeded: number >> UInt64(shift)))
        }
    }
}
