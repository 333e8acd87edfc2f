// A tape: the values of a computation and the steps that make them, before any device is chosen.

/// A tensor that steps read and write. Which memory it gets is decided when a tape is loaded on a device.
///
/// It is dense, in the memory order of its shape, or a view: other strides into the same memory.
package struct Value: Hashable, Sendable {
    package let id: Int
}

/// What a tensor's elements are.
package enum Element: Sendable, Hashable {
    case float32, int32, int8, uint8
    package var bytes: Int {
        switch self {
        case .float32, .int32: 4
        case .int8, .uint8: 1
        }
    }
}

/// One launch of a kernel, on any device.
///
/// A step says what is computed, exactly; the device decides who computes it. `run` and `launches` give the same bits.
package protocol Step: Sendable {
    /// The kernel's name, for tables.
    var kernel: String { get }
    var reads: [Value] { get }
    var writes: [Value] { get }
    /// Floating-point operations, a fused multiply-add counted as two.
    var operations: Int { get }
    /// How long an operation takes, against one of a convolution that fills vectors. What waits for memory instead of
    /// computing, as most steps do, has 16.
    var weight: Double { get }
    /// Whether it finds its way in views; what other steps read is dense.
    var readsViews: Bool { get }
    /// An input of which each row may be a 1 among zeros, and the weights that it is then enough to copy from, if they are finite.
    var selects: (input: Value, weights: Value)? { get }
    /// A value whose every element is read where that of the first output is written, just before, so that on the CPU both may
    /// have the same memory.
    var overwrites: Value? { get }
    /// Values that exist only while the step runs.
    var workspaces: [Value] { get }
    /// The floats that each of them needs on a device; 0 where the device does without.
    func room(on device: Device) -> [Int]
    /// Computes on the CPU.
    func run(_ cpu: CPUFrame)
    /// The OpenCL launches that compute it, with their arguments set.
    func launches(_ frame: OpenCLFrame) throws -> [OpenCLLaunch]
}

extension Step {
    package var operations: Int { 0 }
    package var weight: Double { 16 }
    package var readsViews: Bool { false }
    package var selects: (input: Value, weights: Value)? { nil }
    package var overwrites: Value? { nil }
    package var workspaces: [Value] { [] }
    package func room(on device: Device) -> [Int] { [] }
}

/// Values and steps in the order in which they run.
package struct Tape: Sendable {
    enum Source: Sendable {
        case weights(PackedWeights)
        case input, step
        /// Of one step; the device knows the size.
        case workspace
    }
    struct Entry: Sendable {
        var shape: Shape
        var storage: Int  // values with the same storage share memory
        var element = Element.float32
        var meaning = Meaning.real
        /// Of a view: its strides and where it begins, in elements; nil for what is dense.
        var view: (strides: [Int], offset: Int)?
    }

    private(set) var entries: [Entry] = []
    private(set) var sources: [Source] = []  // of each storage
    private(set) var sizes: [Int] = []  // of each storage, in words of 4 bytes
    package private(set) var steps: [any Step] = []
    /// What each step is for, for tables: the name of a node of the network.
    package private(set) var labels: [String] = []
    /// Steps [stages[i], stages[i + 1]) are one stage: they run together, and a later stage may run several times.
    package private(set) var stages: [Int] = [0]
    private var zerosValue: Value?
    private var weightValues: [PackedWeights.Key: Value] = [:]
    private var denseValues: [Value: Value] = [:]  // of views that some step needed dense
    /// The label of the steps that are added next.
    package var label = ""

    /// Only shapes are of interest: weights are not packed, and the tape cannot run.
    package let isSketch: Bool

    /// What it may take of the machine that loads and runs it.
    package let limits: Limits

    /// The batch that a file fixes, where another one is computed: its constants may still speak of that one.
    package let writtenBatch: Int?

    package init(sketch: Bool = false, limits: Limits = Limits(), writtenBatch: Int? = nil) {
        (isSketch, self.limits, self.writtenBatch) = (sketch, limits, writtenBatch)
    }

    package func shape(_ value: Value) -> Shape { entries[value.id].shape }
    package func element(_ value: Value) -> Element { entries[value.id].element }
    package func meaning(_ value: Value) -> Meaning { entries[value.id].meaning }
    /// The same value, whose numbers stand for something.
    package mutating func stating(_ value: Value, _ meaning: Meaning) -> Value {
        if entries[value.id].meaning == meaning { return value }
        var entry = entries[value.id]
        entry.meaning = meaning
        entries.append(entry)
        return Value(id: entries.count - 1)
    }
    /// How far apart neighbours lie along each dimension, in elements.
    package func strides(_ value: Value) -> [Int] {
        entries[value.id].view?.strides ?? entries[value.id].shape.strides
    }
    /// Where the first element lies in the memory that the value shares, in elements.
    package func offset(_ value: Value) -> Int { entries[value.id].view?.offset ?? 0 }
    package func isDense(_ value: Value) -> Bool { entries[value.id].view == nil }
    func storage(_ value: Value) -> Int { entries[value.id].storage }

    package var stageCount: Int { stages.count }
    package func stage(_ index: Int) -> Range<Int> {
        stages[index]..<(index + 1 < stages.count ? stages[index + 1] : steps.count)
    }

    private mutating func add(_ shape: Shape, _ source: Source, count: Int, _ element: Element = .float32)
        -> Value
    {
        sources.append(source)
        sizes.append((count * element.bytes + 3) / 4)
        entries.append(Entry(shape: shape, storage: sources.count - 1, element: element))
        return Value(id: entries.count - 1)
    }

    /// A value that the host writes before a stage runs.
    package mutating func input(_ shape: Shape) -> Value { add(shape, .input, count: shape.count) }

    /// A value that a step writes.
    package mutating func value(_ shape: Shape, of element: Element = .float32) -> Value {
        add(shape, .step, count: shape.count, element)
    }

    /// One of a step's `workspaces`.
    package mutating func workspace() -> Value { add([0], .workspace, count: 0) }

    /// Weights, in the order in which a kernel reads them.
    package mutating func weights(_ weights: PackedWeights) -> Value {
        if let key = weights.key, let value = weightValues[key] { return value }
        let value = add([weights.count], .weights(weights), count: weights.count, weights.element)
        if let key = weights.key { weightValues[key] = value }
        return value
    }

    /// At least `count` zeros.
    package mutating func zeros(_ count: Int) -> Value {
        if let zerosValue, sizes[storage(zerosValue)] >= count { return zerosValue }
        let size = max(count, 4096)
        let value = weights(
            PackedWeights(count: size, key: .zeros(size)) { $0.initialize(repeating: 0, count: size) })
        zerosValue = value
        return value
    }

    /// The same memory under another shape of the same number of elements.
    package mutating func view(_ value: Value, as shape: Shape) -> Value {
        precondition(isDense(value) && shape.count == self.shape(value).count)
        entries.append(Entry(shape: shape, storage: storage(value), element: element(value)))
        return Value(id: entries.count - 1)
    }

    /// Some elements of a value, without a copy.
    /// - Parameters:
    ///   - strides: in elements; 0 where one element serves a whole dimension.
    ///   - offset: of the first element, from where the value's memory begins.
    package mutating func view(_ value: Value, as shape: Shape, strides: [Int], offset: Int) -> Value {
        precondition(strides.count == shape.rank)
        var entry = Entry(shape: shape, storage: storage(value), element: element(value))
        let isDense = offset == 0 && shape.strides(strides, equal: shape.strides)
        if !isDense { entry.view = (strides, offset) }
        entries.append(entry)
        return Value(id: entries.count - 1)
    }

    /// The same numbers in the memory order of the shape: a copy of a view, made once.
    package mutating func dense(_ value: Value) -> Value {
        if isDense(value) { return value }
        if let copy = denseValues[value] { return copy }
        let shape = self.shape(value)
        let copy = self.value(shape, of: element(value))
        self.copy(value, into: copy, strides: shape.strides)
        denseValues[value] = copy
        return copy
    }

    /// The same numbers with the channels innermost, as what slides over images reads them.
    mutating func channelsLast(_ value: Value) -> Value {
        let shape = self.shape(value)
        // Dense, these have nothing behind their channels.
        if shape.rank == 4 || shape.rank <= 2 { return dense(value) }
        if hasChannelsLast(value) { return value }
        let copy = channelsLastValue(shape)
        self.copy(value, into: copy, strides: shape.channelsLastStrides)
        return copy
    }

    /// A value that a step writes so.
    mutating func channelsLastValue(_ shape: Shape) -> Value {
        if shape.rank == 4 { return value(shape) }
        return view(value([shape.count]), as: shape, strides: shape.channelsLastStrides, offset: 0)
    }

    func hasChannelsLast(_ value: Value) -> Bool {
        let shape = self.shape(value)
        return shape.rank > 2 && offset(value) == 0
            && shape.strides(strides(value), equal: shape.channelsLastStrides)
    }

    package mutating func add(_ step: some Step) {
        precondition(step.readsViews || step.reads.allSatisfy(isDense), "\(step.kernel) reads a view.")
        steps.append(step)
        labels.append(label)
    }

    /// What is added from now on belongs to the next stage.
    package mutating func beginStage() { stages.append(steps.count) }

    /// Drops the steps whose results nobody reads, `kept` aside.
    package mutating func dropDeadSteps(keeping kept: [Value]) {
        var live = Set(kept.map(storage))
        var keep = [Bool](repeating: false, count: steps.count)
        for i in steps.indices.reversed()
        where steps[i].writes.contains(where: { live.contains(storage($0)) }) {
            keep[i] = true
            live.formUnion(steps[i].reads.map(storage))
        }
        stages = stages.map { boundary in keep[..<boundary].count { $0 } }
        labels = labels.indices.filter { keep[$0] }.map { labels[$0] }
        steps = steps.indices.filter { keep[$0] }.map { steps[$0] }
    }

    /// The storages that steps read or write, and those of values that somebody wants, which may be constants.
    func used(keeping kept: [Value]) -> Set<Int> {
        Set((steps.flatMap { $0.reads + $0.writes } + kept).map(storage))
    }

    // MARK: Memory

    /// Where storages that steps write lie, in floats. It is one block, or several where a block has a largest size.
    package struct Arena {
        package struct Place: Sendable, Hashable {
            package var block: Int, offset: Int, size: Int
        }
        /// By storage.
        var places: [Int: Place] = [:]
        /// Of each block.
        package var sizes: [Int] = []
        /// Of all blocks.
        package var size: Int { sizes.reduce(0, +) }
    }

    /// The memory of a tape: of the values that stay, and of those that are gone when their stage has run. In the second it is used
    /// again once nobody reads a value, by the same tape or by any other on the device.
    package struct Memory {
        package var lasting = Arena(), passing = Arena()
        /// Of both, in floats.
        package var size: Int { lasting.size + passing.size }
    }

    /// Storages of `kept` values, and those that cross into a later stage, are the ones that stay.
    /// - Parameters:
    ///   - most: the largest size of a block. What does not fit into one gets a block of its own that is larger.
    ///   - room: of each step's workspaces.
    ///   - runs: steps that run at the same time. What they pass from one to the next needs no memory here.
    ///   - overwriting: whether outputs take the place of the values that their steps overwrite, if nobody reads those later.
    package func memory(
        keeping kept: [Value], alignment: Int, most: Int = .max, room: (any Step) -> [Int] = { _ in [] },
        runs: [Range<Int>] = [], overwriting: Bool = false
    ) -> Memory {
        func life(_ storage: Int, _ room: Int, _ first: Int, _ last: Int) -> Life {
            Life(
                storage: storage, room: room, first: first, last: last,
                size: max(alignment, (room + alignment - 1) / alignment * alignment))
        }
        var lives: [Int: Life] = [:]
        func stageOf(_ step: Int) -> Int { stages.lastIndex { $0 <= step } ?? 0 }
        var runOf = steps.indices.map { $0..<$0 + 1 }
        for run in runs { for i in run { runOf[i] = run } }
        let passed = Set(
            runs.flatMap { steps[$0.lowerBound..<$0.upperBound - 1] }.flatMap(\.writes).map(storage))
        for (i, step) in steps.enumerated() {
            let (first, last) = (runOf[i].lowerBound, runOf[i].upperBound - 1)
            for value in step.writes + step.reads {
                let s = storage(value)
                guard case .step = sources[s], !passed.contains(s) else { continue }
                var next = lives[s] ?? life(s, sizes[s], first, last)
                next.last = max(next.last, last)
                if stageOf(next.first) != stageOf(i) { next.last = steps.count }
                lives[s] = next
            }
            for (value, size) in zip(step.workspaces, room(step)) where size > 0 {
                let s = storage(value)
                lives[s] = life(s, size, first, last)
            }
        }
        for value in kept { lives[storage(value)]?.last = steps.count }

        // An output that takes the place of another value lives on in its memory.
        var taken: [Int: Int] = [:]
        func place(_ value: Value) -> Int { taken[storage(value)] ?? storage(value) }
        if overwriting {
            for (i, step) in steps.enumerated() {
                guard let old = step.overwrites, let new = step.writes.first.map(storage),
                    let next = lives[new],
                    let life = lives[place(old)], life.last == runOf[i].upperBound - 1,
                    next.first == runOf[i].lowerBound, life.size == next.size,
                    steps[runOf[i]].flatMap(\.reads).count(where: { place($0) == life.storage }) == 1
                else { continue }
                lives[life.storage]!.last = next.last
                lives[new] = nil
                taken[new] = life.storage
            }
        }

        let all = lives.values.sorted { ($0.first, $0.storage) < ($1.first, $1.storage) }
        var memory = Memory(
            lasting: Tape.arena(all.filter { $0.last == steps.count }, steps: steps.count, most: most),
            passing: Tape.arena(all.filter { $0.last < steps.count }, steps: steps.count, most: most))
        for (storage, old) in taken {
            memory.lasting.places[storage] = memory.lasting.places[old]
            memory.passing.places[storage] = memory.passing.places[old]
        }
        return memory
    }

    /// The steps between which a storage holds numbers that somebody reads, and its size in floats.
    private struct Life {
        var storage: Int, room: Int, first: Int, last: Int
        var size = 0  // with what alignment adds
    }

    /// - Parameter lives: in the order in which they begin.
    private static func arena(_ lives: [Life], steps: Int, most: Int) -> Arena {
        // No published classifier has so many that comparing each with all others takes long.
        lives.count <= 4096
            ? placedBySize(lives.sorted { ($0.size, $1.storage) > ($1.size, $0.storage) }, most: most)
            : placedInOrder(lives, steps: steps, most: most)
    }

    /// In the order in which they begin, each in the smallest range that is free then and large enough, else at the end.
    private static func placedInOrder(_ ordered: [Life], steps: Int, most: Int) -> Arena {
        var arena = Arena()
        var free: [Arena.Place] = []
        var ending: [[Arena.Place]] = Array(repeating: [], count: steps + 1)
        var time = 0
        func release(_ place: Arena.Place) {
            var place = place
            while let i = free.firstIndex(where: {
                $0.block == place.block
                    && ($0.offset + $0.size == place.offset || place.offset + place.size == $0.offset)
            }) {
                let other = free.remove(at: i)
                (place.offset, place.size) = (min(place.offset, other.offset), place.size + other.size)
            }
            free.append(place)
            // So that the search stays short, the smallest is forgotten where there are many.
            if free.count > 64, let i = free.indices.min(by: { free[$0].size < free[$1].size }) {
                free.remove(at: i)
            }
        }
        for life in ordered {
            while time < life.first {
                for place in ending[time] { release(place) }
                time += 1
            }
            var place = Arena.Place(block: 0, offset: 0, size: life.size)
            let fitting = free.indices.filter { free[$0].size >= life.size }
            if let i = fitting.min(by: { free[$0].size < free[$1].size }) {
                (place.block, place.offset) = (free[i].block, free[i].offset)
                free[i].offset += life.size
                free[i].size -= life.size
                if free[i].size == 0 { free.remove(at: i) }
            } else {
                if arena.sizes.isEmpty || arena.sizes.last! + life.size > most && arena.sizes.last! > 0 {
                    arena.sizes.append(0)
                }
                place.block = arena.sizes.count - 1
                place.offset = arena.sizes[place.block]
                arena.sizes[place.block] += life.size
            }
            ending[min(life.last, steps)].append(place)
            place.size = life.room
            arena.places[life.storage] = place
        }
        return arena
    }

    /// Largest first, each in the first block and at the lowest place where it meets nobody who lives at the same time.
    private static func placedBySize(_ ordered: [Life], most: Int) -> Arena {
        var arena = Arena()
        var placed: [[(life: Life, offset: Int)]] = []  // in each block
        for life in ordered {
            func offset(in block: Int) -> Int {
                let neighbours = placed[block].filter {
                    $0.life.first <= life.last && life.first <= $0.life.last
                }.sorted { $0.offset < $1.offset }
                var offset = 0
                for other in neighbours where offset + life.size > other.offset {
                    offset = max(offset, other.offset + other.life.size)
                }
                return offset
            }
            var place = Arena.Place(block: 0, offset: 0, size: life.room)
            while place.block < placed.count {
                place.offset = offset(in: place.block)
                if place.offset == 0 || place.offset + life.size <= most { break }
                (place.block, place.offset) = (place.block + 1, 0)
            }
            if place.block == placed.count {
                placed.append([])
                arena.sizes.append(0)
            }
            placed[place.block].append((life, place.offset))
            arena.places[life.storage] = place
            arena.sizes[place.block] = max(arena.sizes[place.block], place.offset + life.size)
        }
        return arena
    }

    // MARK: Limits

    /// The weights that steps or people read, by storage, in order.
    func weights(keeping kept: [Value]) -> [(storage: Int, weights: PackedWeights)] {
        used(keeping: kept).sorted().compactMap { storage in
            if case .weights(let weights) = sources[storage] { (storage, weights) } else { nil }
        }
    }

    /// Bytes of weights in the host's memory, rounded to whole cache lines; and, while they are put in order, a copy of the largest.
    func weightBytes(_ storages: [Int]) -> Int {
        let words = storages.map { (sizes[$0] + 15) / 16 * 16 }
        return 4 * (words.reduce(0, +) + (words.max() ?? 0))
    }

    /// Bytes of the inputs: each, and the two slots from which it comes.
    var inputBytes: Int {
        zip(sources, sizes).reduce(0) { sum, storage in
            if case .input = storage.0 { sum + 12 * storage.1 } else { sum }
        }
    }

    /// Bytes of all that it takes beside what its steps write.
    package func bytes(keeping kept: [Value]) -> Int {
        weightBytes(weights(keeping: kept).map(\.storage)) + inputBytes
    }

    /// Counts memory that the host needs to load and run it.
    /// - Parameter parts: bytes; each is counted for as long as somebody has its share.
    /// - Throws: a sentence that names the node whose values are the largest.
    func reserveMemory(_ parts: [Int], keeping kept: [Value]) throws -> [MemoryBudget.Share] {
        // Kernels count in 32 bits.
        let count = used(keeping: kept).map { sizes[$0] }.max() ?? 0
        var shares: [MemoryBudget.Share] = []
        for part in parts where count < Int(Int32.max) {
            guard let share = limits.memory.tryReserve(part) else { break }
            shares.append(share)
        }
        guard shares.count == parts.count else {
            shares = []
            let problem =
                count < Int(Int32.max)
                ? limits.memory.exceeded
                    + "; take a smaller batch or picture, or raise the limit with --memory-limit"
                : "is more than kernels can address; take a smaller batch or picture"
            throw LimitError(
                "The network takes \(MemoryBudget.mebibytes(parts.reduce(0, +))) of memory, the largest part for "
                    + "\(largestLabel), which \(problem).", isMemory: true)
        }
        return shares
    }

    /// The node whose step reads or writes the largest storage, for sentences.
    private var largestLabel: String {
        func size(_ step: any Step) -> Int {
            (step.reads + step.writes).map { sizes[storage($0)] }.max() ?? 0
        }
        guard let i = steps.indices.max(by: { size(steps[$0]) < size(steps[$1]) }) else { return "nothing" }
        return "“\(labels[i])”"
    }

    /// How many pictures it computes at a time: the first extent of its first input.
    var pictures: Double {
        let first = entries.first { if case .input = sources[$0.storage] { true } else { false } }
        return Double(max(1, first?.shape.dims.first ?? 1))
    }

    /// Operations of all steps, weighed by how long they take: a product of matrices computes many numbers at once, and most of
    /// the others wait for memory.
    package var work: Double { steps.reduce(0) { $0 + Tape.work($1) } }

    private static func work(_ step: any Step) -> Double { step.weight * Double(step.operations) }

    /// - Parameter most: the work that is allowed.
    /// - Throws: a sentence that names the node with the most work.
    package func checkWork(_ most: Double) throws {
        let work = work
        guard work > most else { return }
        let i = steps.indices.max { Tape.work(steps[$0]) < Tape.work(steps[$1]) }!
        func giga(_ work: Double) -> String {
            // Small ones with two places, so that what exceeds a limit does not look like it.
            work < 1e11
                ? "\((work / 1e7).rounded(.up) / 100)" : String(Int(min(work / 1e9, 1e18).rounded(.up)))
        }
        throw LimitError(
            "The network takes \(giga(work)) G operations, most of them for “\(labels[i])” (\(steps[i].kernel)), and the "
                + "limit is \(giga(most)) G; take a smaller picture, or raise the limit with --work-limit.")
    }

    /// The largest storage, in floats: what one buffer must hold, with 32-bit indices.
    var largest: Int { sizes.max() ?? 0 }

    /// What a step that uses a storage is for.
    func label(using storage: Int) -> String? {
        zip(steps, labels).first { step, _ in
            (step.reads + step.writes + step.workspaces).contains { self.storage($0) == storage }
        }?.1
    }
}
