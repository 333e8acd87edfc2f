import Explain
import Files
import Foundation
import Testing

@Suite struct HelpTests {
    @Test func overview() throws {
        let place = try Place()
        let help = try place.run("--help")
        #expect(help.code == 0 && help.err.isEmpty)
        #expect(help.out == Self.text)
        #expect(try place.run("help").out == Self.text)
        #expect(try place.run([]).out == Self.text)
        #expect(try place.run("--version").out == "whitebox 0.1.0\n")
    }

    /// What `make install` installs beside the program.
    @Test func completionsAndManual() throws {
        let place = try Place()
        let commands = Self.options.map(\.command)
        for shell in ["bash", "zsh", "fish"] {
            let script = try place.run("--generate-completion-script", shell)
            #expect(script.code == 0 && script.err.isEmpty)
            for word in commands + ["gradcam", "onnx"] {
                #expect(script.out.contains(word), "\(shell): \(word)")
            }
        }
        let manual = try place.run("--experimental-dump-help").json()
        let root = try #require(manual["command"] as? [String: Any])
        #expect(root["commandName"] as? String == "app")
        let names = try #require(root["subcommands"] as? [[String: Any]]).compactMap {
            $0["commandName"] as? String
        }
        #expect(Set(commands).isSubset(of: names))
    }

    static let
        model = [
            "--model", "--preprocess", "--size", "--labels", "--score-output", "--frames", "--verbose",
            "--memory-limit", "--work-limit",
        ],
        device = ["--device", "--threads", "--kernels"]
    static let pictures = [
        "--video", "--recursive", "--list", "--targets", "--shard", "--log-json", "--metrics",
    ]
    static let method = [
        "--method", "--methods", "--class", "--against", "--negative", "--score", "--layer", "--set",
        "--augment", "--seed",
    ]
    /// `compare` is `explain` with other things left out.
    static let explain =
        model + device + method + [
            "--each-layer", "--input", "--batch", "--output", "--overlay", "--write", "--pack", "--pack-type",
            "--pack-size",
            "--force", "--resume", "--max-failures", "--quiet", "--json", "--report", "--colormap",
            "--opacity",
            "--scale", "--threshold", "<image>",
        ] + pictures
    static let options: [(command: String, options: [String])] = [
        ("explain", explain), ("compare", explain),
        (
            "evaluate",
            model + device + method + [
                "--input", "--recursive", "--list", "--targets", "--metrics", "--set-metric",
                "--masks",
                "--boxes", "--sanity", "--cost", "--batch", "--output", "--report", "--force", "--resume",
                "--quiet", "--json", "<image>",
            ]
        ), ("metrics", ["--json"]), ("summarise", ["--output", "--force", "--json", "<folder>"]),
        ("classify", model + device + pictures + ["--input", "--batch", "--quiet", "--json", "<image>"]),
        ("merge", ["--output", "--shard", "<folder>"]),
        ("check", model + device + ["--input", "--json", "<model|image>"]),
        ("layers", model + ["--input", "--tree", "--json"]), ("devices", ["--json"]), ("methods", ["--json"]),
        ("operators", ["--json"]),
        (
            "run",
            model + device + ["--input", "--output", "--outputs", "--gradient", "--wrt", "--force", "--json"]
        ),
        ("verify", model + ["--input", "--device", "--threads", "--method", "--json", "<image>"]),
        (
            "bench",
            model + device + method + [
                "--each-layer", "--work", "--batch", "--rounds", "--layers", "--input", "--output",
                "--on-request", "--force",
                "--json", "<image>",
            ]
        ),
    ]

    @Test(arguments: options.indices) func everyOptionIsInTheHelpAndInTheDocumentation(_ index: Int) throws {
        let place = try Place()
        let (command, options) = Self.options[index]
        let help = try place.run("help", command)
        #expect(help.code == 0)
        let words = help.out.split { " \n,.()[]".contains($0) }
        let shown = Set(words.filter { $0.hasPrefix("--") && $0.count > 2 }.map(String.init))
        for option in options { #expect(help.out.contains(option), "`app help \(command)` lacks \(option)") }
        let known = Set(options).union(["--version", "--help"])
        #expect(shown.isSubset(of: known), "undocumented: \(shown.subtracting(known))")
        let root = Paths.parent(Paths.parent(Paths.parent(#filePath)))
        let page = try String(contentsOfFile: root + "/Documentation/CommandLine.md", encoding: .utf8)
        #expect(page.contains("## `app \(command)"))
        for option in options where !option.hasPrefix("<") {
            #expect(page.contains("`\(option)"), "CommandLine.md lacks \(option)")
        }
    }

    static let text = """
        OVERVIEW: Shows which pixels made an image classifier say what it said.

        Reads a trained network (ONNX) and photographs (PNG, JPEG, WebP, TIFF, GIF,
        BMP), on the CPU or on any OpenCL device, with the same bits.

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

        USAGE: app <subcommand>

        OPTIONS:
          --version               Show the version.
          -h, --help              Show help information.

        SUBCOMMANDS:
          explain (default)       Explain photographs: heat maps, overlays, and what
                                  the network says.
          compare                 Explain photographs by many methods, and write a page
                                  that compares them.
          classify                Print the five most probable classes of photographs.
          evaluate                Measure maps: which method should one believe?
          summarise               What many maps say together: where classes look, and
                                  which pictures to look at first.
          merge                   Join the results of runs that shared their pictures
                                  (explain --shard).
          check                   Say everything about a network in one go, and what is
                                  in its way.
          layers                  List a network's layers, and the one that is
                                  explained by default.
          devices                 List the devices that can compute.
          methods                 List the methods of explanation, or describe some:
                                  formulas, papers, settings.
          metrics                 List the metrics of `evaluate`, or say all of one.
          operators               List the ONNX operators that networks may use.
          run                     Feed a network a raw array and write what it
                                  computes, to compare it with anything.
          verify                  Check that every device computes the same bits.
          bench                   Measure how fast explanations are computed.

          See 'app help <subcommand>' for detailed help.

        """
}
