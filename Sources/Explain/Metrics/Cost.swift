// What a method costs: time, passes through the network, memory.

/// Of one picture, by a session of its own.
package struct MethodCost: Sendable {
    package let method: String
    /// Pictures that went forward, whole or from a layer on, and came back, for one map.
    package let forward: Int, backward: Int
    /// The least of three times; of one, if that took more than ten seconds.
    package let seconds: Double
    /// On the device for one picture, in bytes, without weights; of methods with passes of their own the shared pass's.
    package let memory: Int

    /// Measures a method on a picture.
    package init(_ method: String, _ model: Model, _ options: Options, _ picture: Picture) throws {
        var own = options
        (own.methods, own.batch) = ([method], 1)
        own.settings = own.settings.filter { $0.key == method }
        let session = try ExplanationSession(model, options: own)
        // The first time passes are planned and loaded.
        _ = try session.explain(picture)
        var (least, tries) = (Double.infinity, 0)
        var counts = (forward: 0, backward: 0)
        repeat {
            let before = (session.engine.count.forward, session.engine.count.backward)
            let start = Benchmark.now()
            _ = try session.explain(picture)
            least = min(least, Benchmark.now() - start)
            counts = (session.engine.count.forward - before.0, session.engine.count.backward - before.1)
            tries += 1
        } while tries < 3 && least < 10
        self.method = method
        (forward, backward, seconds, memory) = (counts.forward, counts.backward, least, session.workingMemory)
    }
}
