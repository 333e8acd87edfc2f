// `app merge`: results of several programs that shared the pictures of a run become those of one.

import ArgumentParser
import Explain
import Files

struct MergeCommand: FileWriter {
    static let configuration = CommandConfiguration(
        commandName: "merge",
        abstract: "Join the results of runs that shared their pictures (explain --shard).",
        discussion: """
            The folder gets the bytes of one run over all pictures. Files are linked where the file system can,
            else copied; the folders that are joined stay as they are.
            """)

    @Argument(
        help: ArgumentHelp("Folders of results, one for each shard, in any order.", valueName: "folder"),
        completion: .directory)
    var folders: [String]

    @Option(
        name: .shortAndLong,
        help: ArgumentHelp("Where the whole goes.", valueName: "folder"), completion: .directory)
    var output: String

    func run() throws {
        var merge = try ResultMerge(folders)
        try merge.write(to: output)
        print(
            "\(merge.pictures) image\(merge.pictures == 1 ? "" : "s") of \(folders.count) folder\(folders.count == 1 ? "" : "s"); see \(Paths.join(output, "results.json"))"
        )
        guard merge.missing.isEmpty else {
            for reason in merge.missing {
                Terminal.complain("app: Not all is there: \(reason)" + (reason.hasSuffix(".") ? "" : "."))
            }
            throw ExitCode(2)
        }
    }
}
