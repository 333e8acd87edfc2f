import CLRuntime
import Testing

@Suite struct BufferTests {
    @Test func roundTrip() throws {
        let bench = try Bench()
        let values = (0..<1000).map { Float($0) * 0.5 }
        let buffer = try bench.buffer(floats: 1000)
        try bench.queue.write(values, to: buffer)
        #expect(try bench.queue.read(Float.self, from: buffer) == values)
        #expect(try bench.queue.read(Float.self, from: buffer, offset: 40, count: 3) == [5, 5.5, 6])
        try bench.queue.write([Float(-1), -2], to: buffer, offset: 8)
        #expect(try bench.queue.read(Float.self, from: buffer, count: 5) == [0, 0.5, -1, -2, 2])
        #expect(try bench.queue.read(Float.self, from: bench.buffer(values)) == values)
        #expect(try bench.queue.read(Float.self, from: buffer, count: 0) == [])
    }

    @Test func withoutWaiting() throws {
        let bench = try Bench()
        let buffer = try bench.buffer(floats: 4096)
        let source = UnsafeMutableBufferPointer<Float>.allocate(capacity: 4096)
        let target = UnsafeMutableBufferPointer<Float>.allocate(capacity: 4096)
        defer {
            source.deallocate()
            target.deallocate()
        }
        for i in 0..<4096 { source[i] = Float(i) }
        let written = try bench.queue.startWriting(UnsafeRawBufferPointer(source), to: buffer)
        try bench.queue.read(buffer, into: UnsafeMutableRawBufferPointer(target))
        #expect(try written.isComplete)
        #expect(target.elementsEqual(source))
    }

    @Test func fillAndCopy() throws {
        let bench = try Bench()
        let a = try bench.buffer(floats: 64)
        let b = try bench.buffer(floats: 64)
        try bench.queue.fill(a, with: Float(3))
        try bench.queue.fill(a, with: UInt32(0), offset: 16, byteCount: 16)
        try bench.queue.fill(b, with: Float(7))
        try bench.queue.copy(from: a, offset: 8, to: b, offset: 128, byteCount: 16)
        #expect(
            try bench.queue.read(Float.self, from: b)
                == Array(repeating: 7, count: 32) + [3, 3, 0, 0] + Array(repeating: 7, count: 28))
    }

    @Test func parts() throws {
        let bench = try Bench()
        let step = bench.device.baseAddressAlignment
        let whole = try CLBuffer(context: bench.context, byteCount: 4 * step)
        try bench.queue.fill(whole, with: UInt8(1))
        let part = try whole.part(offset: step, byteCount: 2 * step)
        try bench.queue.fill(part, with: UInt8(2))
        let partOfPart = try part.part(offset: step, byteCount: step)
        #expect(partOfPart.parent === whole && partOfPart.offset == 2 * step)
        try bench.queue.fill(partOfPart, with: UInt8(3))
        let expected = [1, 2, 3, 1].flatMap { [UInt8](repeating: $0, count: step) }
        #expect(try bench.queue.read(UInt8.self, from: whole) == expected)

        if step > 1 {
            let error = #expect(throws: CLError.self) { try whole.part(offset: 1, byteCount: 1) }
            #expect(error?.symbol == "CL_MISALIGNED_SUB_BUFFER_OFFSET")
            #expect(error?.message.contains("multiple of \(step) bytes") == true)
        }
        #expect(throws: CLError.self) { try whole.part(offset: 3 * step, byteCount: 2 * step) }
    }

    @Test func mapping() throws {
        let bench = try Bench()
        let buffer = try bench.buffer(floats: 100)
        let written = try bench.queue.map(buffer, for: .overwrite)
        #expect(written.count == 400)
        for (i, _) in written.bindMemory(to: Float.self).enumerated() {
            written.storeBytes(of: Float(i), toByteOffset: 4 * i, as: Float.self)
        }
        try bench.queue.unmap(buffer, written)
        #expect(try bench.queue.read(Float.self, from: buffer) == (0..<100).map(Float.init))
        let seen = try bench.queue.map(buffer, for: .read, offset: 40, byteCount: 8)
        #expect(Array(seen.bindMemory(to: Float.self)) == [10, 11])
        try bench.queue.unmap(buffer, seen)
    }

    @Test func hostMemory() throws {
        let bench = try Bench()
        let staging = try CLHostMemory(queue: bench.queue, byteCount: 256)
        for i in 0..<256 { staging.bytes[i] = UInt8(i) }
        let buffer = try CLBuffer(context: bench.context, byteCount: 256)
        try bench.queue.write(UnsafeRawBufferPointer(staging.bytes), to: buffer)
        try bench.queue.fill(buffer, with: UInt8(9), byteCount: 1)
        try bench.queue.read(buffer, into: staging.bytes)
        #expect(staging.bytes[0] == 9 && staging.bytes[255] == 255)
    }

    @Test func borrowedMemory() throws {
        let bench = try Bench()
        final class Page: Sendable {
            nonisolated(unsafe) let memory = UnsafeMutableRawBufferPointer.allocate(
                byteCount: 4096, alignment: 4096)
            deinit { memory.deallocate() }
        }
        var page: Page? = Page()
        weak let left = page
        page!.memory.initializeMemory(as: UInt8.self, repeating: 5)
        var buffer: CLBuffer? = try CLBuffer(context: bench.context, borrowing: page!.memory, of: page!)
        page = nil
        #expect(left != nil, "The buffer keeps what it borrows.")
        #expect(try bench.queue.read(UInt8.self, from: buffer!).allSatisfy { $0 == 5 })
        buffer = nil
        #expect(left == nil)
    }

    @Test func refusalsSayWhatIsPossible() throws {
        let bench = try Bench()
        let buffer = try bench.buffer(floats: 4)
        let beyond = #expect(throws: CLError.self) {
            try bench.queue.read(Float.self, from: buffer, count: 5)
        }
        #expect(beyond?.message.contains("0 to 16") == true)
        #expect(throws: CLError.self) {
            try bench.queue.write([Float](repeating: 0, count: 2), to: buffer, offset: 12)
        }
        #expect(throws: CLError.self) { try bench.queue.read(Float.self, from: buffer, offset: -4, count: 1) }
        #expect(throws: CLError.self) { try CLBuffer(context: bench.context, byteCount: 0) }

        let tooMuch = #expect(throws: CLError.self) {
            try CLBuffer(context: bench.context, byteCount: 1 << 50)
        }
        #expect(tooMuch?.kind == .outOfMemory)
        #expect(tooMuch?.message.contains("1048576 GiB") == true)
        #expect(tooMuch?.message.contains("at most") == true)
    }
}
