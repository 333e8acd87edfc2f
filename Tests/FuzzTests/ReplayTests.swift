// What the fuzzer started from and what it found, through the same functions. A file that traps ends the tests.

import Foundation
import FuzzTargets
import TestSupport
import Testing

@Suite struct ReplayTests {
    private static let corpus = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "Corpus")

    @Test(arguments: FuzzTarget.allCases) func corpusHasNoFaults(_ target: FuzzTarget) throws {
        let folder = Self.corpus.appending(path: target.rawValue)
        let files = try FileManager.default.contentsOfDirectory(atPath: folder.path).sorted()
        #expect(files.count >= 5)
        for file in files {
            let bytes = [UInt8](try Data(contentsOf: folder.appending(path: file)))
            let fault = target.fault(bytes)
            #expect(fault == nil, "\(target.rawValue)/\(file): \(fault ?? "")")
        }
    }

    /// The same changes as the fuzzer's, a fixed few of them, without its eye for coverage.
    @Test(arguments: FuzzTarget.allCases) func changedFilesHaveNoFaults(_ target: FuzzTarget) throws {
        let folder = Self.corpus.appending(path: target.rawValue)
        let files = try FileManager.default.contentsOfDirectory(atPath: folder.path).sorted()
        let seeds = try files.map { [UInt8](try Data(contentsOf: folder.appending(path: $0))) }
        var random = SeededRandom("changes of " + target.rawValue)
        for round in 0..<(target == .onnx ? 300 : 3000) {
            var noise = SeededRandom(random.next())
            let bytes = target.changed(seeds[random.index(below: seeds.count)], &random) { bytes in
                var changed = bytes
                guard !changed.isEmpty else { return [0] }
                for _ in 0...noise.index(below: 4) {
                    changed[noise.index(below: changed.count)] = UInt8(noise.index(below: 256))
                }
                return changed
            }
            let fault = target.fault(bytes)
            #expect(fault == nil, "round \(round): \(fault ?? "")")
        }
    }
}
