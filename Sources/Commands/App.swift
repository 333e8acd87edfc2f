// The program: which commands there are, and how it ends.

import ArgumentParser
import Explain
import Files
import Glibc
import Imaging
import Text

/// A command whose results are files. Whoever closes stdout wants no report of them; of other commands it is all that there is.
protocol FileWriter: ParsableCommand {}

package struct App: ParsableCommand {
    package static let configuration = CommandConfiguration(
        commandName: "app",
        abstract: "Shows which pixels made an image classifier say what it said.",
        discussion: """
            Reads a trained network (ONNX) and photographs (PNG, JPEG, WebP, TIFF, GIF, BMP), on the CPU or on any OpenCL device, with the same bits.

              app photo.jpg                    explains a photograph
              app photos --method gradcam,fem  explains a folder, by two methods

            EXIT CODES
              0   everything worked
              1   `verify` found a difference, or `check` something to look at
              2   some images failed, others succeeded
              3   an image or an array is missing, broken, or not what it should be
              4   a model is missing, broken, or contradicts itself
              5   a model uses operators or features that are not supported
              6   there is no such layer, or it cannot be mapped
              7   there is no such class
              8   the device is not there, or not able
              9   a method cannot be applied to this layer or with these options
              10  a result cannot be written, or is there already
              11  a preprocessing or label file is broken, or does not fit
              12  a limit would be exceeded (--memory-limit, --work-limit)
              64  the command line is wrong
              130, 143, 141  ended by Ctrl-C, by SIGTERM, by a reader that went away
            """,
        version: "whitebox \(Whitebox.version)",
        subcommands: [
            ExplainCommand.self, CompareCommand.self, ClassifyCommand.self, EvaluateCommand.self,
            SummariseCommand.self, MergeCommand.self,
            CheckCommand.self,
            LayersCommand.self,
            DevicesCommand.self,
            MethodsCommand.self, MetricsCommand.self,
            OperatorsCommand.self, RunCommand.self, VerifyCommand.self, BenchCommand.self,
        ],
        defaultSubcommand: ExplainCommand.self)

    package init() {}

    /// Runs the program with the arguments that the process was given, and ends the process.
    package static func main() {
        Terminal.open()
        // A reader that went away, such as `head`, is no error.
        signal(SIGPIPE, SIG_DFL)
        guard CommandLine.argc > 0 else {
            fail(
                "The arguments cannot be read: they are in /proc, which is not mounted here.",
                code: ExitCode.validationFailure.rawValue)
        }
        guard CommandLine.arguments.count > 1 else {
            answer(helpMessage(for: App.self))
            return
        }
        do {
            let arguments = self.arguments
            // What is wrong with the others is said in that form, too.
            Terminal.isJSON = arguments.prefix { $0 != "--" }.contains("--log-json")
            try checkValues(arguments)
            try checkCommand(arguments)
            var command = try parseAsRoot(arguments)
            try command.run()
            switch Terminal.flush() {
            case .written: break
            case .noReader: throw Interrupted(signal: SIGPIPE)
            case .lost where Terminal.isClosed && command is any FileWriter: break
            case .lost: lost()
            }
        } catch let error as ExplainError {
            fail(
                Terminal.isVerbose ? error.details ?? error.description : error.description,
                code: error.kind.rawValue)
        } catch let error as Interrupted {
            Glibc.exit(error.code)
        } catch is TooManyFailures {
            Glibc.exit(2)
        } catch let code as ExitCode {
            fflush(nil)
            Glibc.exit(code.rawValue)
        } catch {
            guard exitCode(for: error) != .success else {
                // What was asked for: help, the version.
                answer(fullMessage(for: error))
                return
            }
            // The parser's own errors; what follows the first line is its usage.
            fail(sentence(message(for: error)) + " See `app help`.", code: exitCode(for: error).rawValue)
        }
    }

    /// The arguments as they came: Swift's own array repairs what is not UTF-8, and a file name may be that.
    private static var arguments: [String] {
        (1..<max(1, Int(CommandLine.argc))).map { FileName.text(CommandLine.unsafeArgv[$0]!) }
    }

    /// What was typed, as one can give it to a shell again.
    /// - Parameter model: if it was not typed but named by the environment, the command says so too.
    static func command(_ model: ModelOptions) -> String {
        let named = model.model == nil ? FileName.environment("WHITEBOX_MODEL") : nil
        let front = named.map { ["WHITEBOX_MODEL=" + quoted($0)] } ?? []
        return (front + ["app"] + arguments.map(quoted)).joined(separator: " ")
    }

    /// A word as a shell reads it.
    private static func quoted(_ word: String) -> String {
        let isPlain =
            !word.isEmpty
            && word.utf8.allSatisfy {
                $0 < 128 && (isalnum(Int32($0)) != 0 || "-_./,=:+@%".utf8.contains($0))
            }
        if isPlain { return word }
        if word.unicodeScalars.allSatisfy(\.isPrintable), !word.contains("\\") {
            return "'" + word.replacing("'", with: "'\\''") + "'"
        }
        // Bash and Zsh know bytes by their numbers.
        let bytes = FileName.bytes(word).map { byte in
            byte < 32 || byte > 126 || byte == UInt8(ascii: "'") || byte == UInt8(ascii: "\\")
                ? "\\x" + (byte < 16 ? "0" : "") + String(byte, radix: 16)
                : String(UnicodeScalar(byte))
        }
        return "$'" + bytes.joined() + "'"
    }

    /// Prints help, or the version.
    private static func answer(_ text: String) {
        printLines(text + "\n")
        if case .lost = Terminal.flush() { lost() }
    }

    private static func lost() -> Never {
        fail(
            Terminal.isClosed
                ? "The output cannot be written, because stdout is closed."
                : "The output could not be written to the end; is the disk full?",
            code: ExplainError.Kind.output.rawValue)
    }

    static func fail(_ text: String, code: Int32) -> Never {
        fflush(nil)
        Terminal.complain("app: \(text)")
        Glibc.exit(code)
    }

    /// `--class= photo.jpg` would take the photograph for a class: the parser reads an empty value as none, and takes what comes next.
    private static func checkValues(_ arguments: [String]) throws {
        for argument in arguments.prefix(while: { $0 != "--" })
        where argument.hasPrefix("--") && argument.hasSuffix("=") {
            throw ValidationError("\(argument) has no value; write it right after the equals sign.")
        }
    }

    /// `app clasify photo.jpg` means the command `classify`, not a picture of the name `clasify`.
    private static func checkCommand(_ arguments: [String]) throws {
        let names = configuration.subcommands.compactMap { $0.configuration.commandName } + ["help"]
        if arguments.first == "help", arguments.count > 1, !names.contains(arguments[1]) {
            throw ValidationError("There is no command “\(arguments[1])” to help with.")
        }
        guard let word = arguments.first, !word.hasPrefix("-"), !word.isEmpty, word.count <= 20,
            word.utf8.allSatisfy({ (UInt8(ascii: "a")...UInt8(ascii: "z")).contains($0 | 0x20) }),
            FileKind(word) == .missing
        else { return }
        guard !names.contains(word) else { return }
        let typed = Array(word.lowercased().utf8)
        let distances = names.map { distance(typed, Array($0.utf8)) }
        guard let least = distances.min(), least <= 2, let place = distances.firstIndex(of: least) else {
            return
        }
        throw ValidationError(
            "There is neither a command nor a file “\(word)”; did you mean `app \(names[place])`?")
    }

    /// How many letters must be put in, taken out, replaced or exchanged with their neighbour to get from one word to the other.
    private static func distance(_ a: [UInt8], _ b: [UInt8]) -> Int {
        var rows = [Array(0...b.count)]
        for i in a.indices {
            var row = [i + 1]
            for j in b.indices {
                var best = min(rows[i][j + 1] + 1, row[j] + 1, rows[i][j] + (a[i] == b[j] ? 0 : 1))
                if i > 0, j > 0, a[i] == b[j - 1], a[i - 1] == b[j] {
                    best = min(best, rows[i - 1][j - 1] + 1)
                }
                row.append(best)
            }
            rows.append(row)
        }
        return rows[a.count][b.count]
    }

    private static func sentence(_ text: String) -> String {
        let line = text.split(separator: "\n").joined(separator: " ").trimmed
        return line.hasSuffix(".") || line.hasSuffix("?") ? line : line + "."
    }
}
