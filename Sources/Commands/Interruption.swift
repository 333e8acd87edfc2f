// Ctrl-C, SIGTERM, and a reader that goes away: what is done stays and is listed, then the program ends.

import Dispatch
import Explain
import Glibc
import Synchronization

/// Thrown to end the work on pictures early, after the signal that asked for it.
struct Interrupted: EarlyEnd {
    let signal: Int32

    var isToBeSaid: Bool { signal != SIGPIPE }

    /// As shells count it.
    var code: Int32 { 128 + signal }

    /// What stderr and results.json say.
    func sentence(_ done: Int, of count: Int?) -> String {
        let why =
            switch signal {
            case SIGINT: "an interrupt (Ctrl-C)"
            case SIGPIPE: "a reader of its output that went away"
            default: "a request to terminate"
            }
        return "The run was ended by \(why) after \(done)\(count.map { " of \($0)" } ?? "") images."
    }
}

/// Watches for signals while results are made that are worth keeping.
enum Interruption {
    private struct State {
        var signal: Int32?
    }
    private static let state = Mutex(State())

    /// From now on the first signal is noted, and `check` throws; the second ends the program at once.
    static func watch() {
        // Writing says so instead.
        signal(SIGPIPE, SIG_IGN)
        // A source is put in its place by another thread, and a signal that came before would be lost.
        let placed = DispatchGroup()
        for source in sources {
            placed.enter()
            source.setRegistrationHandler { placed.leave() }
            source.activate()
        }
        _ = placed.wait(timeout: .now() + 2)
    }

    /// Made when they are first asked for, and kept as long as the program runs. A signal that whoever started the program wants
    /// ignored, as shells do for what runs in the background, stays ignored.
    nonisolated(unsafe) private static let sources = [SIGINT, SIGTERM].compactMap {
        number -> DispatchSourceSignal? in
        guard !isIgnored(signal(number, SIG_IGN)) else { return nil }
        let source = DispatchSource.makeSignalSource(
            signal: number, queue: DispatchQueue(label: "whitebox.signals", qos: .userInteractive))
        source.setEventHandler { came(number, source.data) }
        return source
    }

    private static func isIgnored(_ handler: (@convention(c) (Int32) -> Void)?) -> Bool {
        unsafeBitCast(handler, to: Int.self) == unsafeBitCast(SIG_IGN, to: Int.self)
    }

    private static func came(_ number: Int32, _ times: UInt) {
        let isFirst = state.withLock { state in
            defer { state.signal = state.signal ?? number }
            return state.signal == nil && times < 2
        }
        if isatty(STDERR_FILENO) == 1 { Terminal.control("\r\u{1B}[K") }
        guard isFirst else {
            _exit(128 + number)
        }
        Terminal.complain("app: Ending; what is complete is kept. Once more ends at once.")
    }

    /// Whether somebody has asked to end.
    static var signalled: Int32? { state.withLock { $0.signal } }

    /// Hands on what was printed.
    /// - Throws: `Interrupted` if a signal came or nobody reads stdout any more.
    static func check() throws {
        if Terminal.flush() == .noReader { throw Interrupted(signal: SIGPIPE) }
        if let signalled { throw Interrupted(signal: signalled) }
    }
}
