// Steps that follow each other on the CPU: computed in bands of rows, so that what passes between them stays in the cache.

import CMicrokernels
import Dispatch

/// A step that computes rows of an image from rows of an image.
protocol Banded: Step {
    /// Whether it can.
    var isBanded: Bool { get }
    var x: Value { get }
    var y: Value { get }
    /// The extents [N, C, H, W] of both.
    var from: [Int] { get }
    var to: [Int] { get }
    /// Which input rows an output row reads.
    var window: BandWindow { get }
    /// Floats that every band reads besides.
    var weightCount: Int { get }

    /// Computes output rows of one image.
    /// - Parameters:
    ///   - held: the input rows of this image that are at `input`, all that are needed.
    ///   - output: where the rows are written; nil for their place in `y`.
    func compute(
        _ rows: Range<Int>, of image: Int, from input: UnsafePointer<Float>, holding held: Range<Int>,
        to output: UnsafeMutablePointer<Float>?, _ cpu: CPUFrame, _ scratch: UnsafeMutablePointer<wb_scratch>)
}

/// Rows of a step's windows.
struct BandWindow {
    let kernel: Int, stride: Int, pad: Int, dilation: Int

    /// How many input rows `count` output rows need, if none of them is padding.
    func rows(_ count: Int) -> Int { (count - 1) * stride + (kernel - 1) * dilation + 1 }

    /// The input rows that output rows need, of those that there are.
    func rows(_ rows: Range<Int>, of height: Int) -> Range<Int> {
        let top = rows.lowerBound * stride - pad
        let first = min(max(0, top), height)
        return first..<max(first, min(height, top + self.rows(rows.count)))
    }
}

/// Convolutions and pools of which each reads what the one before it writes, and nobody else does.
///
/// Step by step, the first would write the whole of its output before the second reads any of it; where that is more than a
/// cache holds, both wait for memory. A cascade computes the last one's output in bands of rows, and of each output before that
/// only the rows that the band needs and that the band before did not leave, in memory that is used again and again. Who
/// computes a number, and when, changes no bit of it.
package struct Cascade: StepRun {
    package let steps: Range<Int>
    private let links: [any Banded]
    /// Output rows of the last link in a band.
    private let band: Int
    /// Rows that each place between two links has room for, and the floats of a row.
    private let places: [(rows: Int, row: Int)]

    /// The cascades of a tape: wherever the threads' second-level caches do not hold what passes from a step to the next, but do
    /// hold the weights of both.
    /// - Parameter cache: bytes of such a cache.
    package static func all(in tape: Tape, keeping kept: [Value], threads: Int, cache: Int) -> [Cascade] {
        let readers = tape.readers(keeping: kept)
        let ends = Set(tape.stages)

        func links(_ i: Int) -> Bool {
            guard i + 1 < tape.steps.count, !ends.contains(i + 1), let first = tape.steps[i] as? any Banded,
                let second = tape.steps[i + 1] as? any Banded
            else { return false }
            let storage = tape.storage(first.y)
            return first.isBanded && second.isBanded && tape.storage(second.x) == storage
                && second.from == first.to && readers[storage] == 1
                && 4 * first.to.reduce(1, *) > threads * cache / 2
                && [first, second].allSatisfy { 4 * $0.weightCount <= cache / 4 }
        }

        var all: [Cascade] = []
        var first = 0
        while first < tape.steps.count {
            var last = first
            while links(last) { last += 1 }
            if last > first {
                all.append(
                    Cascade(first..<last + 1, tape.steps[first...last].map { $0 as! any Banded }, cache))
            }
            first = last + 1
        }
        return all
    }

    private init(_ steps: Range<Int>, _ links: [any Banded], _ cache: Int) {
        (self.steps, self.links) = (steps, links)
        /// Room for what a band of so many rows needs at once.
        func places(_ band: Int) -> [(rows: Int, row: Int)] {
            var rows = band
            return links.dropFirst().reversed().map { link in
                rows = min(link.from[2], link.window.rows(rows))
                return (rows, link.from[1] * link.from[3])
            }.reversed()
        }
        var band = 1
        while band < links.last!.to[2],
            places(band + 1).reduce(0, { $0 + 4 * $1.rows * $1.row }) <= cache / 2
        {
            band += 1
        }
        (self.band, self.places) = (band, places(band))
    }

    /// - Parameter clocks: for each thread and link, where the seconds that it takes are added.
    func run(_ cpu: CPUFrame, clocks: UnsafeMutablePointer<Double>? = nil) {
        let (images, height) = (links.last!.to[0], links.last!.to[2])
        cpu.split(images * height, whole: height) { begin, end, scratch in
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
        // Rows of the image that are in each place, and those that each link computes for a band.
        var present = [Range<Int>](repeating: 0..<0, count: last)
        var added = [Range<Int>](repeating: 0..<0, count: last + 1)
        let bands = (rows.count + band - 1) / band
        for b in 0..<bands {
            added[last] =
                rows.lowerBound + rows.count * b / bands..<rows.lowerBound + rows.count * (b + 1) / bands
            for i in (0..<last).reversed() {
                let needed = links[i + 1].window.rows(added[i + 1], of: links[i + 1].from[2])
                let (had, size) = (present[i], places[i].row)
                let begin = max(needed.lowerBound, min(had.upperBound, needed.upperBound))
                if had.upperBound > needed.lowerBound, had.lowerBound < needed.lowerBound {
                    memory[i].update(
                        from: memory[i] + (needed.lowerBound - had.lowerBound) * size,
                        count: (had.upperBound - needed.lowerBound) * size)
                }
                added[i] = begin..<needed.upperBound
                present[i] = needed
            }
            for (i, link) in links.enumerated() where !added[i].isEmpty {
                let start = clock == nil ? 0 : DispatchTime.now().uptimeNanoseconds
                let (held, x): (Range<Int>, UnsafePointer<Float>)
                if i == 0 {
                    let height = link.from[2]
                    let row = link.from[1] * link.from[3]
                    let image = cpu.pointer(link.x) + image * height * row
                    held = link.window.rows(added[0], of: height)
                    x = UnsafePointer(image + held.lowerBound * row)
                } else {
                    (held, x) = (present[i - 1], UnsafePointer(memory[i - 1]))
                }
                let y =
                    i == last
                    ? nil : memory[i] + (added[i].lowerBound - present[i].lowerBound) * places[i].row
                link.compute(added[i], of: image, from: x, holding: held, to: y, cpu, scratch)
                if let clock {
                    clock[i] += Double(DispatchTime.now().uptimeNanoseconds - start) * 1e-9
                }
            }
        }
    }
}

extension Convolution: Banded {
    // Bands are rows of images.
    var isBanded: Bool { shape.axes.count == 2 }
    var from: [Int] { shape.input.dims }
    var to: [Int] { shape.output.dims }
    var window: BandWindow {
        BandWindow(
            kernel: shape.axes[0].kernel, stride: shape.axes[0].stride, pad: shape.axes[0].pad,
            dilation: shape.axes[0].dilation)
    }
    var weightCount: Int { shape.outputChannels * shape.terms }

    func compute(
        _ rows: Range<Int>, of image: Int, from input: UnsafePointer<Float>, holding held: Range<Int>,
        to output: UnsafeMutablePointer<Float>?, _ cpu: CPUFrame, _ scratch: UnsafeMutablePointer<wb_scratch>
    ) {
        let at = (image * to[2] + rows.lowerBound) * to[1] * to[3]
        var raw = raw
        (raw.n, raw.h, raw.oh) = (1, Int32(held.count), Int32(rows.count))
        raw.pad_h += Int32(held.lowerBound - rows.lowerBound * shape.axes[0].stride)
        let operands = wb_conv_operands(
            x: input, weights: cpu.pointer(weights), bias: bias.map { UnsafePointer(cpu.pointer($0)) },
            residual: residual.map { UnsafePointer(cpu.pointer($0) + at) }, zeros: cpu.pointer(zeros),
            y: output ?? cpu.pointer(y) + at)
        compute(rows: 0..<rows.count * to[3], raw, operands, cpu, scratch)
    }
}

extension Pool: Banded {
    // An average would have to know how much of its window lies on padding.
    var isBanded: Bool { kind == .maxPool && isFlat }
    var x: Value { inputs[0] }
    var y: Value { output }
    var from: [Int] { [pooling.n, pooling.c, pooling.h, pooling.w].map(Int.init) }
    var to: [Int] { [pooling.n, pooling.c, pooling.oh, pooling.ow].map(Int.init) }
    var window: BandWindow {
        BandWindow(
            kernel: Int(pooling.kh), stride: Int(pooling.stride_h), pad: Int(pooling.pad_h),
            dilation: Int(pooling.dilation_h))
    }
    var weightCount: Int { 0 }

    func compute(
        _ rows: Range<Int>, of image: Int, from input: UnsafePointer<Float>, holding held: Range<Int>,
        to output: UnsafeMutablePointer<Float>?, _ cpu: CPUFrame, _ scratch: UnsafeMutablePointer<wb_scratch>
    ) {
        var raw = pooling
        (raw.n, raw.h, raw.oh) = (1, Int32(held.count), Int32(rows.count))
        raw.pad_h += Int32(held.lowerBound - rows.lowerBound * window.stride)
        cpu.functions.max_pool(
            &raw, input, output ?? cpu.pointer(y) + (image * to[2] + rows.lowerBound) * to[1] * to[3], 0,
            Int64(rows.count * to[3]))
    }
}
