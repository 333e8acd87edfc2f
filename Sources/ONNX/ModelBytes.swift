// Where the bytes of a model are, and how its parts are read.

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif
#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#elseif canImport(Darwin)
    import Darwin
#endif

/// The bytes of a model.
package enum ModelBytes: Sendable {
    case file(ModelFile)
    case memory(Data)

    package var count: Int {
        switch self {
        case .file(let file): file.count
        case .memory(let data): data.count
        }
    }

    /// Fills memory with the bytes from `offset` on, which must be there.
    /// - Throws: `changed` if another program has written to the file since it was opened.
    package func read(_ target: UnsafeMutableRawBufferPointer, from offset: Int) throws(ONNXError) {
        switch self {
        case .file(let file): try file.read(target, from: offset)
        case .memory(let data):
            let start = data.startIndex + offset
            data.copyBytes(to: target, from: start..<start + target.count)
        }
    }

    /// Some of the bytes: a copy of a file's, a slice of what is in memory.
    func data(_ range: Range<Int>) throws(ONNXError) -> Data {
        if case .memory(let data) = self {
            return data[data.startIndex + range.lowerBound..<data.startIndex + range.upperBound]
        }
        guard !range.isEmpty else { return Data() }
        guard let memory = malloc(range.count) else {
            preconditionFailure("There is no memory left: \(range.count) bytes were asked for.")
        }
        do {
            try read(UnsafeMutableRawBufferPointer(start: memory, count: range.count), from: range.lowerBound)
        } catch {
            free(memory)
            throw error
        }
        // Filled before: of few bytes a copy is made at once, and the memory is gone.
        return Data(bytesNoCopy: memory, count: range.count, deallocator: .free)
    }
}

/// Reads a model from front to back through a window, so that its many small parts are not read one by one.
final class ByteReader {
    private let bytes: ModelBytes
    private let window = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 16, alignment: 16)
    /// What the window shows.
    private var shown = 0..<0

    init(_ bytes: ModelBytes) { self.bytes = bytes }
    deinit { window.deallocate() }

    var count: Int { bytes.count }

    private func show(from position: Int) throws(ONNXError) {
        let end = min(bytes.count, position + window.count)
        shown = 0..<0
        try bytes.read(UnsafeMutableRawBufferPointer(rebasing: window[..<(end - position)]), from: position)
        shown = position..<end
    }

    func byte(at position: Int) throws(ONNXError) -> UInt8 {
        if !shown.contains(position) { try show(from: position) }
        return window[position - shown.lowerBound]
    }

    func data(_ range: Range<Int>) throws(ONNXError) -> Data {
        guard case .file = bytes, range.count <= window.count, !range.isEmpty else {
            return try bytes.data(range)
        }
        if range.lowerBound < shown.lowerBound || range.upperBound > shown.upperBound {
            try show(from: range.lowerBound)
        }
        return Data(bytes: window.baseAddress! + (range.lowerBound - shown.lowerBound), count: range.count)
    }
}
