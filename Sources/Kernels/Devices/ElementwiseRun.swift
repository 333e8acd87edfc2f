// Element-wise steps that follow each other on the CPU: computed block by block, so that what passes between them stays in the first-level
// cache.
//
// Activations that a graph spells out, such as x · σ(x) or the five nodes of a GELU, are such steps. One after the other they wait for memory.
// Who computes a number, and when, changes no bit of it.

import CMicrokernels
import Dispatch

/// Steps over the same number of neighbours, of which all but the last write what only the others read.
package struct ElementwiseRun: StepRun {
    package let steps: Range<Int>
    private let links: [Elementwise]
    /// For each link the places in a thread's memory where its operands and its result are; nil for those in the tape's memory.
    private let places: [(x: Int?, z: Int?, y: Int?)]
    /// How many places there are.
    private let room: Int

    /// The elements that are computed at a time.
    private static let block = 1024
    /// Of fewer, steps find what they read in a cache anyway.
    package static let least = 8192

    /// The runs of a tape.
    package static func all(in tape: Tape, keeping kept: [Value]) -> [ElementwiseRun] {
        let readers = tape.readers(keeping: kept)
        let ends = Set(tape.stages)
        var all: [ElementwiseRun] = []
        var first = 0
        while first < tape.steps.count {
            var links: [Elementwise] = []
            var longest = 0  // of which nothing but the last output is read by others
            var open: [Int: Int] = [:]  // how often what is made will still be read, by storage
            while first + links.count < tape.steps.count,
                links.isEmpty || !ends.contains(first + links.count),
                let next = tape.steps[first + links.count] as? Elementwise, next.isRow,
                next.grid.count >= least, next.grid.count == links.first?.grid.count ?? next.grid.count
            {
                // What is made within is read from its beginning on.
                func fits(_ value: Value?, _ stride: Int, _ start: Int32) -> Bool {
                    value.map { open[tape.storage($0)] == nil || (stride == 1 && start == 0) } ?? true
                }
                let grid = next.grid
                guard fits(next.x, grid.strides.x, grid.raw.x0), fits(next.z, grid.strides.z, grid.raw.z0),
                    links.isEmpty || next.reads.contains(where: { open[tape.storage($0)] != nil })
                else { break }
                for value in next.reads { open[tape.storage(value)]? -= 1 }
                let isClosed = open.values.allSatisfy { $0 == 0 }
                links.append(next)
                // One that writes to a part of something, or again, ends the run.
                let storage = tape.storage(next.y)
                if isClosed { longest = links.count }
                guard grid.raw.y0 == 0, tape.sizes[storage] == grid.count, open[storage] == nil,
                    !next.reads.contains(where: { tape.storage($0) == storage })
                else { break }
                open[storage] = readers[storage] ?? 0
            }
            if longest > 1 {
                all.append(ElementwiseRun(first..<first + longest, Array(links.prefix(longest)), tape))
            }
            first += max(1, longest)
        }
        return all
    }

    private init(_ steps: Range<Int>, _ links: [Elementwise], _ tape: Tape) {
        (self.steps, self.links) = (steps, links)
        var last: [Int: Int] = [:]  // the last link that reads a storage
        for (i, link) in links.enumerated() { for value in link.reads { last[tape.storage(value)] = i } }
        var taken: [Int: Int] = [:]  // places, by storage
        var free: [Int] = []
        var room = 0
        places = links.enumerated().map { i, link in
            let x = taken[tape.storage(link.x)]
            let z = link.z.flatMap { taken[tape.storage($0)] }
            if i == links.count - 1 { return (x, z, nil) }
            // Loops are fast where they write to another place than they read.
            let y = free.popLast() ?? room
            room = max(room, y + 1)
            taken[tape.storage(link.y)] = y
            for (storage, place) in taken where last[storage] == i { free.append(place) }
            taken = taken.filter { last[$0.key] != i }
            return (x, z, y)
        }
        self.room = room
    }

    /// - Parameter clocks: for each thread and link, where the seconds that it takes are added.
    func run(_ cpu: CPUFrame, clocks: UnsafeMutablePointer<Double>? = nil) {
        let count = links[0].grid.count
        let map = cpu.functions.map!
        cpu.split(count, grain: 16, minimum: 16384 / links.count) { begin, end, scratch in
            let clock = clocks.map { $0 + cpu.thread(of: scratch) * links.count }
            let size = ElementwiseRun.block
            let memory = wb_scratch_get(cpu.bands(beside: scratch), max(1, room) * size * 4)!.bindMemory(
                to: Float.self, capacity: max(1, room) * size)
            var at = begin
            while at < end {
                let next = min(at + size, end)
                // As if the place were the whole value.
                func pointer(_ value: Value, _ place: Int?) -> UnsafeMutablePointer<Float> {
                    place.map { memory + ($0 * size - at) } ?? cpu.pointer(value)
                }
                for (i, (link, place)) in zip(links, places).enumerated() {
                    let start = clock == nil ? 0 : DispatchTime.now().uptimeNanoseconds
                    let x = pointer(link.x, place.x)
                    withUnsafePointer(to: link.grid.innerPart(at..<next)) {
                        map(
                            Int32(link.operation.rawValue), $0, x, link.z.map { pointer($0, place.z) } ?? x,
                            pointer(link.y, place.y), link.a, link.b, 0, 1)
                    }
                    if let clock {
                        clock[i] += Double(DispatchTime.now().uptimeNanoseconds - start) * 1e-9
                    }
                }
                at = next
            }
        }
    }
}

extension Elementwise {
    /// Whether it goes through its operands and its result number by number, or has one number for an operand.
    fileprivate var isRow: Bool {
        let (x, z, y) = grid.strides
        return grid.count > 0 && grid.outer == 1 && y == 1 && (0...1).contains(x) && (0...1).contains(z)
    }
}
