// A pass of a network: what it is to compute, and its steps on a tape.

import Kernels

/// Steps that somebody adds to a pass, from values of the network: a method's map, say.
package protocol PassAddition: Hashable, Sendable {
    /// What its steps are for, in tables.
    var label: String { get }
    /// The values of the network that it reads, by name.
    var layers: [String] { get }
    /// Whether it also reads gradients of the score. Then it is computed anew for each score.
    var readsGradients: Bool { get }
    /// The values with respect to which: the layers unless it says otherwise.
    var differentiated: [String] { get }

    /// - Parameters:
    ///   - activations: of each of the layers.
    ///   - gradients: with respect to each of the differentiated values; none unless they are read.
    /// - Returns: what can be read when the pass has run.
    func add(to tape: inout Tape, activations: [Value], gradients: [Value]) throws -> [Value]
}

extension PassAddition {
    package var differentiated: [String] { layers }
}

/// Steps in front of a pass that make what it is fed, such as many variants of one picture, so that they need not travel to the device.
package protocol PassSource: Hashable, Sendable {
    /// What its steps are for, in tables.
    var label: String { get }
    /// The shapes of what is fed in place of a value.
    /// - Parameter shape: of that value, with the batch.
    func fed(_ shape: Shape) -> [Shape]
    /// - Parameter fed: of those shapes.
    /// - Returns: the value, of that shape.
    func add(to tape: inout Tape, fed: [Value], shape: Shape) throws -> Value
}

/// What a pass computes. Everything in it is decided before a device is chosen.
package struct PassSpec: Hashable, Sendable {
    package var batch: Int
    /// What is fed: a value by name, of which only the tail of the network is computed; nil for the input.
    package var feed: String?
    /// Extents of the input where the file leaves them open.
    package var height: Int?, width: Int?
    /// Values that can be read when the pass has run, by name. To store a value changes no other's bits.
    package var stored: Set<String> = []
    /// Values with respect to which a score is differentiated, in a second stage that begins with the cotangent of the logits and may
    /// run several times.
    package var gradients: [String] = []
    /// Whether the second half of the batch is what the pictures of the first half are compared with, one each. Then only the first half goes
    /// back, and rules see both.
    package var isPaired = false
    private var added: [Part] = [], ruling: [Part] = [], sources: [Part] = []

    package var additions: [any PassAddition] { added.map { $0.base as! any PassAddition } }
    package mutating func add(_ addition: any PassAddition) { added.append(Part(base: addition)) }
    /// Of the way back, the first first.
    package var rules: [any BackwardRule] { ruling.map { $0.base as! any BackwardRule } }
    package mutating func add(rule: any BackwardRule) { ruling.append(Part(base: rule)) }
    /// What makes the value that is fed; nil if it is fed as it is.
    package var source: (any PassSource)? {
        get { sources.first.map { $0.base as! any PassSource } }
        set { sources = newValue.map { [Part(base: $0)] } ?? [] }
    }

    /// Something of a type that this one does not know.
    private struct Part: Hashable, Sendable {
        let base: any Hashable & Sendable
        static func == (a: Part, b: Part) -> Bool { AnyHashable(a.base) == AnyHashable(b.base) }
        func hash(into hasher: inout Hasher) { AnyHashable(base).hash(into: &hasher) }
    }

    package init(batch: Int, height: Int? = nil, width: Int? = nil) {
        (self.batch, self.height, self.width) = (batch, height, width)
    }

    /// A pass of the same pictures that is fed a value, and computes what follows it; nothing is asked of it yet.
    package func tail(from value: String) -> PassSpec {
        var tail = PassSpec(batch: batch, height: height, width: width)
        tail.feed = value
        return tail
    }
}

/// A pass on a tape: one stage forward and, if anything is differentiated, one back.
package struct PassPlan: Sendable {
    package let network: Network
    package let spec: PassSpec
    package let tape: Tape
    /// What is fed: one value, or what the pass's source takes.
    package let inputs: [Value]
    package var input: Value { inputs[0] }
    /// The cotangent of the logits, which is fed before the second stage; in a pass over pairs that of the first half.
    package let seed: Value?
    /// Of `spec.stored`, those that are computed at all: a value that is known before any picture has no steps.
    package let stored: [String: Value]
    /// The others: values that are known once the shapes are, by name.
    package let known: [String: HostTensor]
    /// By the values with respect to which they are.
    package let gradients: [String: Value]
    /// What each of `spec.additions` returned.
    package let additions: [[Value]]
    /// All that can be read when the pass has run.
    package let kept: [Value]
    private let logitsValue: Value

    package var logits: Shape { tape.shape(logitsValue) }
    package func shape(_ name: String) -> Shape? { stored[name].map(tape.shape) }

    package init(_ spec: PassSpec, of network: Network) throws {
        (self.network, self.spec) = (network, spec)
        let layers = spec.additions.flatMap(\.layers)
        let differentiated =
            spec.gradients + spec.additions.filter(\.readsGradients).flatMap(\.differentiated)
        var plan = try Planner(
            network, batch: spec.batch, height: spec.height, width: spec.width,
            stored: spec.stored.union(layers), differentiated: Set(differentiated), feed: spec.feed,
            rules: spec.rules, isPaired: spec.isPaired, source: spec.source)
        inputs = plan.inputs
        logitsValue = try plan.logits
        stored = Dictionary(
            uniqueKeysWithValues: spec.stored.sorted().compactMap { name in
                (try? plan.value(name)).map { (name, plan.tape.dense($0)) }
            })

        known = Dictionary(
            uniqueKeysWithValues: spec.stored.sorted().compactMap { name in
                plan.operand(name)?.constant.map { (name, $0) }
            })

        // First what needs no score, with the forward pass; then, once for each score, what does.
        var additions = [[Value]](repeating: [], count: spec.additions.count)
        var gradients: [String: Value] = [:]
        func add(readingGradients: Bool) throws {
            for (i, addition) in spec.additions.enumerated()
            where addition.readsGradients == readingGradients {
                plan.tape.label = addition.label
                additions[i] = try addition.add(
                    to: &plan.tape, activations: addition.layers.map { try plan.value($0) },
                    gradients: readingGradients ? addition.differentiated.map { gradients[$0]! } : []
                ).map { plan.tape.dense($0) }
            }
        }
        try add(readingGradients: false)
        if differentiated.isEmpty {
            seed = nil
        } else {
            plan.tape.beginStage()
            let seed = plan.tape.input(try plan.first(of: plan.tape.shape(logitsValue)))
            var seen: Set<String> = []
            gradients = try plan.gradients(
                seed: seed, of: differentiated.filter { seen.insert($0).inserted })
            try add(readingGradients: true)
            self.seed = seed
        }
        self.gradients = gradients.filter { spec.gradients.contains($0.key) }.mapValues {
            plan.tape.dense($0)
        }
        self.additions = additions
        kept = Array(stored.values) + Array(self.gradients.values) + additions.flatMap(\.self)
        plan.tape.dropDeadSteps(keeping: kept)
        tape = plan.tape
    }
}

extension Network {
    /// A plan that has the shapes of all values, and cannot run.
    func sketch(batch: Int, height: Int? = nil, width: Int? = nil) throws -> Planner {
        try Planner(
            self, batch: batch, height: height, width: width, stored: Set(nodes.flatMap(\.makes)),
            sketch: true)
    }

    /// The shapes that values have in a pass.
    package func shapes(of names: [String], in spec: PassSpec) throws -> [Shape] {
        let plan = try Planner(
            self, batch: spec.batch, height: spec.height, width: spec.width, stored: Set(names), sketch: true)
        return try names.map { plan.tape.shape(try plan.value($0)) }
    }
}
