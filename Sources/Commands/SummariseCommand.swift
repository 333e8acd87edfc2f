// `app summarise`: what many maps say together.

import ArgumentParser
import Explain
import Files
import Text

struct SummariseCommand: FileWriter {
    static let configuration = CommandConfiguration(
        commandName: "summarise",
        abstract: "What many maps say together: where classes look, and which pictures to look at first.",
        discussion: """
            Reads folders of results (explain) and of measures (evaluate), and writes summary.json and summary.html: classes whose maps lie elsewhere than those of \
            other classes (short cuts, such as watermarks), maps on the border, methods that disagree, maps beside the object.
            """)

    @Argument(
        help: ArgumentHelp("Folders of results, or of measures.", valueName: "folder"), completion: .directory
    )
    var folders: [String]

    @Option(
        name: .shortAndLong,
        help: ArgumentHelp("Where the summary goes; if left out, the first folder.", valueName: "folder"),
        completion: .directory)
    var output: String?

    @Flag(help: "Replace a summary that is there already.")
    var force = false

    @Flag(help: "Print summary.json instead of text.")
    var json = false

    func run() throws {
        let summary = try ResultSummary(folders)
        let folder = output ?? folders[0]
        do {
            try Folder.make(folder)
            for (name, text) in [("summary.json", summary.json.text), ("summary.html", summary.page)] {
                try AtomicFile.write(Array(text.utf8), to: Paths.join(folder, name), overwrite: force)
            }
        } catch { throw ExplainError(error, .output) }
        guard !json else {
            printLines(summary.json.text)
            return
        }
        print("\(summary.pictures) images, \(summary.blank) blank maps")
        if summary.classes.isEmpty {
            print(
                "No two classes have the \(ResultSummary.fewest) images each that it takes to compare them.")
        } else {
            print("")
            print(
                "Classes whose maps lie elsewhere than those of others; those first that chance does not explain"
            )
            Report.table(
                [["Class", "Method", "Images", "Distance", "By chance", "Where"]]
                    + summary.classes.prefix(10).map {
                        [
                            "\($0.index) \(shortened($0.label).prefix(40))", $0.method, "\($0.count)",
                            Report.number($0.distance, digits: 3), Report.number($0.chance, digits: 3),
                            $0.place,
                        ]
                    }, right: [2, 3, 4])
        }
        for (title, items) in [
            (
                "Maps on the border (of an even map \(Report.number(ResultSummary.evenBorder, digits: 3)))",
                summary.border
            ),
            ("Methods that disagree (mean correlation)", summary.disagreeing),
            ("Maps beside the object (energy on it)", summary.beside),
            ("Classified otherwise than known (probability)", summary.wrong),
        ] where !items.isEmpty {
            print("")
            print(title)
            Report.table(
                items.prefix(5).map { ["  " + $0.image, $0.method, Report.number($0.value, digits: 3)] },
                right: [2])
        }
        print("")
        print("See \(Paths.join(folder, "summary.html"))")
    }
}
