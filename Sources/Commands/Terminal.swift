// The last wall: everything that the program says leaves through here, and nothing in it can give a terminal orders.
//
// Names in models and of files come from anywhere. They are printed as they are only where they are plainly visible; see `printable`.
// This holds for pipes and files too: what is in them is looked at in a terminal later.

// C's `stdout` is a variable, though nobody sets it.
import FoundationEssentials
@preconcurrency import Glibc
import Text

enum Terminal {
    /// With --verbose, messages leave no names out. Set once, before anything is said.
    nonisolated(unsafe) static var isVerbose = false

    /// With --log-json, whatever is said on stderr is JSON, a line each. Set once, before anything is said.
    nonisolated(unsafe) static var isJSON = false

    /// Writes one line to stderr.
    /// - Parameters:
    ///   - level: of its importance; before the line itself if it is not an error.
    ///   - more: what programs want to know of it.
    static func complain(_ line: String, level: String = "error", _ more: [(String, JSON)] = []) {
        guard isJSON else {
            write(printable(level == "error" ? line : "\(level): \(line)") + "\n")
            return
        }
        let time = Date().formatted(Date.ISO8601FormatStyle(includingFractionalSeconds: true))
        let message = line.hasPrefix("app: ") ? String(line.dropFirst(5)) : line
        write(
            JSON.object(
                [("time", .string(time)), ("level", .string(level)), ("message", .string(message))] + more
            )
            .line + "\n")
    }

    /// Writes to stderr what the program itself means a terminal to obey. Nothing that a file said may be in it.
    static func control(_ text: String) { write(text) }

    /// What has become of all that was printed on stdout.
    enum Fate { case written, noReader, lost }

    /// Hands on what was printed on stdout.
    static func flush() -> Fate {
        fflush(stdout)
        // Of what an earlier write lost the stream remembers that, but not why.
        guard ferror(stdout) != 0 else { return .written }
        var state = pollfd(fd: STDOUT_FILENO, events: Int16(POLLOUT), revents: 0)
        let isAnswered = poll(&state, 1, 0) == 1
        return isAnswered && Int32(state.revents) & (POLLERR | POLLHUP) != 0 ? .noReader : .lost
    }

    /// Whether whoever started the program closed its stdout.
    nonisolated(unsafe) private(set) static var isClosed = false

    /// What is closed stays free for no other file: what is printed must not get into one. Nothing takes what is printed on a closed
    /// stdout, so `flush` tells that it is lost.
    static func open() {
        for descriptor: Int32 in 0...2 where fcntl(descriptor, F_GETFD) == -1 {
            let isOutput = descriptor == STDOUT_FILENO
            if isOutput { isClosed = true }
            _ = Glibc.open("/dev/null", isOutput ? O_RDONLY : O_RDWR)
        }
    }

    /// That nobody reads it is no error.
    private static func write(_ text: String) {
        let bytes = Array(text.utf8)
        var done = 0
        while done < bytes.count {
            let count = bytes.withUnsafeBytes {
                Glibc.write(STDERR_FILENO, $0.baseAddress! + done, bytes.count - done)
            }
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else { return }
            done += count
        }
    }
}

/// Prints one line on stdout; takes the place of Swift's own, so that nobody passes it by.
func print(_ items: Any..., separator: String = " ", terminator: String = "\n") {
    Swift.print(printable(items.map { "\($0)" }.joined(separator: separator)), terminator: terminator)
}

/// Prints a text of several lines on stdout, such as JSON, which escapes what is in it.
func printLines(_ text: String) { Swift.print(printableLines(text), terminator: "") }
