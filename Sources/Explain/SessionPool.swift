// Several devices at once: each has a session and a thread of its own, and takes the next batch when it is free.
//
// Results come in the order of the pictures, and their bits do not depend on who computed them; so a device that fails can be left out, and
// others do what it had taken.

import CLRuntime
import Glibc
import Inference
import Kernels
import Synchronization
import Text

extension DeviceChoice {
    /// Every GPU that can keep the promise of equal bits; the CPU where there is none.
    package static func all() -> [DeviceChoice] {
        let devices = CLInventory.discover().devices
        let gpus = devices.indices.filter { devices[$0].kind == .gpu && devices[$0].isAvailable }
        return gpus.isEmpty ? [.cpu] : gpus.map(DeviceChoice.openCL)
    }
}

/// Sessions for one model on several devices.
package final class SessionPool {
    /// What stands for all, and says in results which devices there are.
    package let first: ExplanationSession
    private var workers: [Worker]
    /// Says what became of devices.
    private let note: (String) -> Void

    private final class Worker {
        // Made on one thread, and from then on used by the worker's alone.
        nonisolated(unsafe) var session: ExplanationSession
        let options: Options
        private let count = Mutex(0)
        var pictures: Int { count.withLock { $0 } }
        func add(_ results: [Result<ImageExplanation, ExplainError>]) {
            let computed = results.count { if case .success = $0 { true } else { false } }
            count.withLock { $0 += computed }
        }
        /// Of the device.
        let name: String
        init(_ session: ExplanationSession, _ options: Options) {
            (self.session, self.options, name) = (session, options, session.device)
        }
    }

    /// Makes a session for each device; those that are not there or not able are an error.
    /// - Parameter note: is told on any thread what happens to devices meanwhile.
    package init(
        _ model: Model, options: Options, devices: [DeviceChoice], note: @escaping (String) -> Void = { _ in }
    ) throws {
        precondition(!devices.isEmpty)
        self.note = note
        workers = try devices.map { device in
            var options = options
            options.device = device
            return Worker(try ExplanationSession(model, options: options), options)
        }
        first = workers[0].session
        var names: [(name: String, count: Int)] = []
        for worker in workers {
            if let at = names.firstIndex(where: { $0.name == worker.session.device }) {
                names[at].count += 1
            } else {
                names.append((worker.session.device, 1))
            }
        }
        first.device = names.map { $0.count > 1 ? "\($0.count) × \($0.name)" : $0.name }.joined(
            separator: "; ")
    }

    /// Pictures that each device has computed.
    package var computed: [(device: String, pictures: Int)] { workers.map { ($0.name, $0.pictures) } }

    /// The most pictures that are taken at a time.
    package var batch: Int { workers.map(\.session.batch).min()! }

    /// A batch that was taken, and what has come of it.
    private struct Task {
        let number: Int
        let requests: [PictureRequest]
    }

    /// What the threads share, under the condition.
    private final class Shared: @unchecked Sendable {
        // Its content is only touched while the condition is locked.
        let condition = Condition()
        var tasks: [Task] = []
        var results: [Int: [Result<ImageExplanation, ExplainError>]] = [:]
        var isOver = false
        /// Threads that have not ended, and those of them that can still compute.
        var running = 0, able = 0
        var failure: ExplainError?
        var notes: [String] = []

        func locked<R>(_ body: () throws -> R) rethrows -> R { try condition.locked(body) }
    }

    /// As `ExplanationSession.explain`, on all devices.
    /// - Parameter fault: for tests: is asked before a device takes a batch, and may throw what the device would.
    package func explain(
        progress: ((_ done: Double) throws -> Void)? = nil, next: () throws -> [PictureRequest],
        fault: (@Sendable (_ device: Int) throws -> Void)? = nil,
        _ receive: ([Result<ImageExplanation, ExplainError>]) throws -> Void
    ) throws {
        guard workers.count > 1 || fault != nil else {
            return try first.explain(progress: progress, next: next) { results in
                workers[0].add(results)
                try receive(results)
            }
        }
        let shared = Shared()
        (shared.running, shared.able) = (workers.count, workers.count)
        for (number, worker) in workers.enumerated() {
            nonisolated(unsafe) let worker = worker
            detach { SessionPool.work(worker, number, shared, fault) }
        }
        // Nothing goes on after this call, whatever ends it.
        defer {
            shared.locked {
                (shared.isOver, shared.tasks) = (true, [])
                shared.condition.broadcast()
                while shared.running > 0 { shared.condition.wait() }
            }
        }
        var (taken, given, isEnd) = (0, 0, false)
        while true {
            // So many are ready or waiting for an earlier one that no device has nothing to do.
            while !isEnd, taken - given < 4 * workers.count,
                shared.locked({ shared.tasks.count }) <= workers.count
            {
                let requests = try next()
                if requests.isEmpty {
                    isEnd = true
                    break
                }
                shared.locked {
                    shared.tasks.append(Task(number: taken, requests: requests))
                    shared.condition.broadcast()
                }
                taken += 1
            }
            if isEnd, given == taken { break }
            let ready = try shared.locked { () throws -> [Result<ImageExplanation, ExplainError>]? in
                if let results = shared.results.removeValue(forKey: given) { return results }
                if shared.able == 0 { throw shared.failure! }
                shared.condition.wait(seconds: 0.1)
                return shared.results.removeValue(forKey: given)
            }
            for sentence in shared.locked({
                defer { shared.notes = [] }
                return shared.notes
            }) { note(sentence) }
            if let ready {
                given += 1
                try receive(ready)
            } else {
                try progress?(0)
            }
        }
    }

    /// What each thread does.
    private static func work(
        _ worker: Worker, _ number: Int, _ shared: Shared, _ fault: (@Sendable (Int) throws -> Void)?
    ) {
        defer {
            shared.locked {
                shared.running -= 1
                shared.condition.broadcast()
            }
        }
        // What was taken and is not done, with the results of its first parts.
        var open: [(task: Task, results: [Result<ImageExplanation, ExplainError>], begun: Int)] = []
        /// The next pictures of what is open, or else of a new task.
        func part(waits: Bool) -> [PictureRequest] {
            let batch = worker.session.batch
            if let at = open.firstIndex(where: { $0.begun < $0.task.requests.count }) {
                let range = open[at].begun..<min(open[at].begun + batch, open[at].task.requests.count)
                open[at].begun = range.upperBound
                return Array(open[at].task.requests[range])
            }
            let task: Task? = shared.locked {
                while waits, shared.tasks.isEmpty, !shared.isOver { shared.condition.wait() }
                guard !shared.isOver, !shared.tasks.isEmpty else { return nil }
                let task = shared.tasks.removeFirst()
                shared.condition.broadcast()
                return task
            }
            guard let task else { return [] }
            open.append((task, [], 0))
            return part(waits: false)
        }
        while true {
            // Without waiting while something is in work, which others may wait for.
            var first: [PictureRequest]? = part(waits: true)
            if first!.isEmpty { return }
            do {
                func next() throws -> [PictureRequest] {
                    let requests = first ?? part(waits: false)
                    first = nil
                    if !requests.isEmpty { try fault?(number) }
                    return requests
                }
                try worker.session.explain(next: next) { results in
                    worker.add(results)
                    open[0].results += results
                    guard open[0].results.count == open[0].task.requests.count else { return }
                    let done = open.removeFirst()
                    shared.locked {
                        shared.results[done.task.number] = done.results
                        shared.condition.broadcast()
                    }
                }
            } catch {
                let error = ExplainError(error, .device)
                // What was not received is done again, here or elsewhere.
                for i in open.indices { (open[i].results, open[i].begun) = ([], 0) }
                if error.kind == .limit || error.isOutOfMemory, worker.session.batch > 1 {
                    var options = worker.options
                    options.batch = worker.session.batch / 2
                    if let smaller = try? ExplanationSession(worker.session.model, options: options) {
                        worker.session = smaller
                        shared.locked {
                            shared.notes.append(
                                "\(smaller.device): its memory does not suffice, so fewer pictures are computed at a time from here on (\(smaller.batch))"
                            )
                        }
                        continue
                    }
                }
                shared.locked {
                    shared.tasks.insert(contentsOf: open.map(\.task), at: 0)
                    shared.able -= 1
                    shared.failure = shared.failure ?? error
                    if shared.able > 0 {
                        shared.notes.append(
                            "\(worker.name) is left out from here on, and other devices do what it had taken: \(error.description)"
                        )
                    }
                    shared.condition.broadcast()
                }
                return
            }
        }
    }
}
