// Convolutions that follow each other on the CPU: computed in bands of rows, so that what passes between them stays in the cache.

import CMicrokernels
import Dispatch

/// Convolutions of which each reads what the one before it writes, and nobody else does.
///
/// Step by step, the first would write the whole of its output before the second reads any of it; where that is more than a
/// cache holds, both wait for memory. A cascade computes the last one's output in bands of rows, and of each output before that
/// only the rows that the band needs and that the band before did not leave, in memory that is used again and again. Who computes a number,
/// and when, changes no bit of it.
package struct Cascade: Sendable {
    /// The steps of the tape that this replaces.
    package let steps: Range<Int>
    private let links: [Convolution]
    /// Output rows of the last link in a band.
    private let band: Int
    /// Rows that each place between two links has room for, and the floats of a row.
    private let places: [(rows: Int, row: Int)]

    /// The cascades of a tape: wherever the threads' second-level caches do not hold what passes from a convolution to the next,
    /// but do hold the weights of both.
    /// - Parameter cache: bytes of such a cache.
    package static func all(in tape: Tape, keeping kept: [Value], threads: Int, cache: Int) -> [Cascade] {
        var readers: [Int: Int] = [:]
        for step in tape.steps { for value in step.reads { readers[tape.storage(value), default: 0] += 1 } }
        for value in kept { readers[tape.storage(value), default: 0] += 1 }
        let ends = Set(tape.stages)

        func links(_ i: Int) -> Bool {
            guard i + 1 < tape.steps.count, !ends.contains(i + 1), let from = tape.steps[i] as? Convolution,
                let to = tape.steps[i + 1] as? Convolution
            else { return false }
            let storage = tape.storage(from.y)
            return tape.storage(to.x) == storage && to.shape.input == from.shape.output
                && readers[storage] == 1 && 4 * from.shape.output.count > threads * cache / 2
                && [from, to].allSatisfy { 4 * tape.shape($0.weights).count <= cache / 4 }
        }

        var all: [Cascade] = []
        var first = 0
        while first < tape.steps.count {
            var last = first
            while links(last) { last += 1 }
            if last > first {
                all.append(
                    Cascade(first..<last + 1, tape.steps[first...last].map { $0 as! Convolution }, cache))
            }
            first = last + 1
        }
        return all
    }

    private init(_ steps: Range<Int>, _ links: [Convolution], _ cache: Int) {
        (self.steps, self.links) = (steps, links)
        /// Room for what a band of so many rows needs at once.
        func places(_ band: Int) -> [(rows: Int, row: Int)] {
            var rows = band
            return links.dropFirst().reversed().map { link in
                let dims = link.shape.input.dims
                rows = min(dims[2], link.inputRows(rows))
                return (rows, dims[1] * dims[3])
            }.reversed()
        }
        var band = 1
        while band < links.last!.shape.output.dims[2],
            places(band + 1).reduce(0, { $0 + 4 * $1.rows * $1.row }) <= cache / 2
        {
            band += 1
        }
        (self.band, self.places) = (band, places(band))
    }

    /// - Parameter clocks: for each thread and link, where the seconds that it takes are added.
    func run(_ cpu: CPUFrame, clocks: UnsafeMutablePointer<Double>? = nil) {
        let dims = links.last!.shape.output.dims
        let height = dims[2]
        cpu.split(dims[0] * height, whole: height) { begin, end, scratch in
            let clock = clocks.map { $0 + cpu.thread(of: scratch) * links.count }
            var row = begin
            while row < end {
                let (image, top) = (row / height, row % height)
                let bottom = min(height, top + end - row)
                compute(top..<bottom, of: image, cpu, scratch, clock)
                row += bottom - top
            }
        }
    }

    /// Rows of one image.
    private func compute(
        _ rows: Range<Int>, of image: Int, _ cpu: CPUFrame, _ scratch: UnsafeMutablePointer<wb_scratch>,
        _ clock: UnsafeMutablePointer<Double>?
    ) {
        let last = links.count - 1
        let floats = places.reduce(0) { $0 + $1.rows * $1.row }
        var free = wb_scratch_get(cpu.bands(beside: scratch), floats * 4)!.bindMemory(
            to: Float.self, capacity: floats)
        let memory = places.map { place in
            defer { free += place.rows * place.row }
            return free
        }
        var present = [Range<Int>](repeating: 0..<0, count: last)  // rows of the image in each place
        var added = [Range<Int>](repeating: 0..<0, count: last + 1)  // rows that each link computes for a band
        let bands = (rows.count + band - 1) / band
        for b in 0..<bands {
            added[last] =
                rows.lowerBound + rows.count * b / bands..<rows.lowerBound + rows.count * (b + 1) / bands
            for i in (0..<last).reversed() {
                let needed = links[i + 1].inputRows(added[i + 1])
                let (had, size) = (present[i], places[i].row)
                let begin = max(needed.lowerBound, min(had.upperBound, needed.upperBound))
                if had.upperBound > needed.lowerBound, had.lowerBound < needed.lowerBound {
                    (memory[i]).update(
                        from: memory[i] + (needed.lowerBound - had.lowerBound) * size,
                        count: (had.upperBound - needed.lowerBound) * size)
                }
                added[i] = begin..<needed.upperBound
                present[i] = needed
            }
            for (i, link) in links.enumerated() where !added[i].isEmpty {
                let start = clock == nil ? 0 : DispatchTime.now().uptimeNanoseconds
                let window = i == 0 ? link.inputRows(added[0]) : present[i - 1]
                let dims = link.shape.input.dims
                let x =
                    i == 0
                    ? cpu.pointer(link.x) + (image * dims[2] + window.lowerBound) * dims[1] * dims[3]
                    : memory[i - 1]
                let y =
                    i == last
                    ? nil : memory[i] + (added[i].lowerBound - present[i].lowerBound) * places[i].row
                link.compute(added[i], of: image, from: x, with: window, to: y, cpu, scratch)
                if let clock {
                    clock[i] += Double(DispatchTime.now().uptimeNanoseconds - start) * 1e-9
                }
            }
        }
    }

    /// Runs, and tells how many seconds each step took: of the whole time, its share in the threads' time.
    func time(_ cpu: CPUFrame) -> [Double] {
        var clocks = [Double](repeating: 0, count: cpu.threads * links.count)
        let start = DispatchTime.now().uptimeNanoseconds
        clocks.withUnsafeMutableBufferPointer { run(cpu, clocks: $0.baseAddress!) }
        let whole = Double(DispatchTime.now().uptimeNanoseconds - start) * 1e-9
        let all = clocks.reduce(0, +)
        return links.indices.map { i in
            (0..<cpu.threads).reduce(0) { $0 + clocks[$1 * links.count + i] } / all * whole
        }
    }
}

extension Convolution {
    /// How many input rows `count` output rows need, if none of them is padding.
    fileprivate func inputRows(_ count: Int) -> Int {
        (count - 1) * shape.strides[0] + (shape.kernel[0] - 1) * shape.dilations[0] + 1
    }

    /// The input rows that output rows need.
    fileprivate func inputRows(_ rows: Range<Int>) -> Range<Int> {
        let height = shape.input.dims[2]
        let top = rows.lowerBound * shape.strides[0] - shape.pads[0]
        let first = min(max(0, top), height)
        return first..<max(first, min(height, top + inputRows(rows.count)))
    }

    /// Computes output rows of one image.
    /// - Parameters:
    ///   - x: input rows `window` of this image.
    ///   - y: where the rows are written; nil for their place in the output.
    fileprivate func compute(
        _ rows: Range<Int>, of image: Int, from x: UnsafePointer<Float>, with window: Range<Int>,
        to y: UnsafeMutablePointer<Float>?, _ cpu: CPUFrame, _ scratch: UnsafeMutablePointer<wb_scratch>
    ) {
        let dims = shape.output.dims
        let at = (image * dims[2] + rows.lowerBound) * dims[1] * dims[3]
        var raw = raw
        (raw.n, raw.h, raw.oh) = (1, Int32(window.count), Int32(rows.count))
        raw.pad_h += Int32(window.lowerBound - rows.lowerBound * shape.strides[0])
        let operands = wb_conv_operands(
            x: x, weights: cpu.pointer(weights), bias: bias.map { UnsafePointer(cpu.pointer($0)) },
            residual: residual.map { UnsafePointer(cpu.pointer($0) + at) }, zeros: cpu.pointer(zeros),
            y: y ?? cpu.pointer(self.y) + at)
        compute(rows: 0..<rows.count * dims[3], raw, operands, cpu, scratch)
    }
}
