// The program: which commands there are, and how it ends.

import ArgumentParser
import Explain
import Foundation

@main
struct App: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "app",
        abstract: "Shows which pixels made an image classifier say what it said.",
        discussion: """
            Reads a trained network (ONNX) and photographs (PNG, JPEG), on the CPU or on any OpenCL device, with the same bits.

              app photo.jpg                    explains a photograph
              app photos --method gradcam,fem  explains a folder, by two methods

            EXIT CODES
              0   everything worked
              1   `verify` found a difference
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
              64  the command line is wrong
            """,
        version: "whitebox \(Whitebox.version)",
        subcommands: [
            ExplainCommand.self, ClassifyCommand.self, LayersCommand.self, DevicesCommand.self,
            MethodsCommand.self,
            OperatorsCommand.self, RunCommand.self, VerifyCommand.self, BenchCommand.self,
        ],
        defaultSubcommand: ExplainCommand.self)

    static func main() {
        // A reader that went away, such as `head`, is no error.
        signal(SIGPIPE, SIG_DFL)
        guard CommandLine.arguments.count > 1 else {
            printLines(helpMessage(for: App.self) + "\n")
            return
        }
        do {
            try checkValues(Array(CommandLine.arguments.dropFirst()))
            var command = try parseAsRoot()
            try command.run()
            guard fflush(nil) == 0 else {
                fail(
                    "The output could not be written to the end; is the disk full?",
                    code: ExplainError.Kind.output.rawValue)
            }
        } catch let error as ExplainError {
            fail(
                Terminal.isVerbose ? error.details ?? error.description : error.description,
                code: error.kind.rawValue)
        } catch let code as ExitCode {
            fflush(nil)
            Foundation.exit(code.rawValue)
        } catch {
            guard exitCode(for: error) != .success else { exit(withError: error) }
            // The parser's own errors; what follows the first line is its usage.
            fail(sentence(message(for: error)) + " See `app help`.", code: exitCode(for: error).rawValue)
        }
    }

    static func fail(_ text: String, code: Int32) -> Never {
        fflush(nil)
        Terminal.complain("app: \(text)")
        Foundation.exit(code)
    }

    /// `--class= photo.jpg` would take the photograph for a class: the parser reads an empty value as none, and takes what comes next.
    private static func checkValues(_ arguments: [String]) throws {
        for argument in arguments.prefix(while: { $0 != "--" })
        where argument.hasPrefix("--") && argument.hasSuffix("=") {
            throw ValidationError("\(argument) has no value; write it right after the equals sign.")
        }
    }

    private static func sentence(_ text: String) -> String {
        let line = text.split(separator: "\n").joined(separator: " ").trimmingCharacters(in: .whitespaces)
        return line.hasSuffix(".") || line.hasSuffix("?") ? line : line + "."
    }
}
