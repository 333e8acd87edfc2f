import CLRuntime
import Glibc
import TestSupport
import Testing

@Suite struct ProgramTests {
    private static let source = "kernel void answer(global int *x) { x[get_global_id(0)] = ANSWER; }"

    private func answer(_ program: CLProgram, _ queue: CLQueue) throws -> Int32 {
        let out = try CLBuffer(context: queue.context, byteCount: 4)
        let kernel = try program.kernel("answer")
        try kernel.setArguments([.buffer(out)])
        try queue.enqueue(kernel, global: 1)
        return try queue.read(Int32.self, from: out)[0]
    }

    private func program(_ bench: Bench, _ cache: CLProgramCache, _ answer: Int = 42) throws -> CLProgram {
        try CLProgram(
            context: bench.context, source: Self.source, options: "-DANSWER=\(answer)", cache: cache)
    }

    @Test func refusedSourceShowsTheLog() throws {
        let bench = try Bench()
        let error = #expect(throws: CLError.self) {
            try CLProgram(
                context: bench.context, source: "kernel void k(global int *x) { x[0] = no_such_name; }",
                cache: .off)
        }
        #expect(error?.kind == .buildFailed)
        #expect(error?.log?.contains("no_such_name") == true)
        #expect(error?.description.contains("no_such_name") == true)
        #expect(error?.message.contains(bench.device.name) == true)
    }

    /// A sentence has room for a log's first lines; the rest is for who asks.
    @Test func longLogsAreCut() {
        let lines = (0..<100).map { "line \($0) " + String(repeating: "x", count: 300) }
        let error = CLError("clBuildProgram", -11, attempt: "build", log: lines.joined(separator: "\n"))
        #expect(error.description.count < 1000 && error.description.contains("line 2"))
        #expect(
            !error.description.contains("line 3")
                && error.description.hasSuffix("(97 more lines with --verbose)"))
        #expect(error.details?.contains("line 99") == true)
        #expect(CLError("f", -11, attempt: "build").details == nil)
    }

    @Test func refusedOptionsAreNamed() throws {
        let bench = try Bench()
        let error = #expect(throws: CLError.self) {
            try CLProgram(
                context: bench.context, source: Self.source, options: "-no-such-option", cache: .off)
        }
        #expect(error?.message.contains("-no-such-option") == true)
    }

    @Test func secondBuildComesFromTheCache() throws {
        let bench = try Bench()
        let directory = try TemporaryDirectory()
        let cache = CLProgramCache(directory: directory.path + "/deep/er")
        let first = try program(bench, cache)
        #expect(!first.cameFromCache && first.cacheProblem == nil)
        let second = try program(bench, cache)
        #expect(second.cameFromCache && second.cacheProblem == nil)
        #expect(try answer(first, bench.queue) == 42)
        #expect(try answer(second, bench.queue) == 42)
        #expect(try second.kernelNames == ["answer"])
        // Other options are another program.
        let other = try program(bench, cache, 43)
        #expect(!other.cameFromCache)
        #expect(try answer(other, bench.queue) == 43)
        let entries = TemporaryDirectory.list(directory.path + "/deep/er")
        #expect(entries.count == 2 && entries.allSatisfy { $0.hasSuffix(".clbin") })
    }

    @Test(arguments: ["emptied", "truncated", "flipped", "garbage", "foreign"])
    func damagedEntryIsRebuilt(damage: String) throws {
        let bench = try Bench()
        let directory = try TemporaryDirectory()
        let cache = CLProgramCache(directory: directory.path)
        _ = try program(bench, cache)
        let path = directory.path + "/" + (try #require(directory.files.first))
        var bytes = try contents(path)
        switch damage {
        case "emptied": bytes = []
        case "truncated": bytes.removeLast(bytes.count / 2)
        case "flipped": bytes[bytes.count - 10] ^= 0x40
        case "garbage": bytes = (0..<5000).map { UInt8(truncatingIfNeeded: $0 &* 31) }
        default:
            // A whole entry, of which the driver makes nothing.
            let hash = try #require(UInt128(directory.files[0].prefix(32), radix: 16))
            #expect(cache.store(Array("not a program".utf8), CLProgramCache.Key(hash: hash)) == nil)
            bytes = try contents(path)
        }
        try replace(path, bytes)
        let rebuilt = try program(bench, cache)
        #expect(!rebuilt.cameFromCache)
        #expect(try answer(rebuilt, bench.queue) == 42)
        #expect(try program(bench, cache).cameFromCache)
        #expect(directory.files.count == 1)
    }

    @Test func unusableDirectoryOnlyDisablesTheCache() throws {
        let bench = try Bench()
        // Not by permissions, which do not stop a privileged user: a file cannot have entries.
        for path in ["/dev/null/cache", "/proc/whitebox"] {
            let program = try program(bench, CLProgramCache(directory: path))
            #expect(!program.cameFromCache)
            #expect(program.cacheProblem?.hasPrefix("The program cache cannot be used: ") == true)
            #expect(try answer(program, bench.queue) == 42)
        }
        #expect(try program(bench, .off).cacheProblem == nil)
    }

    @Test func buildersAtTheSameTime() async throws {
        let bench = try Bench()
        let directory = try TemporaryDirectory()
        let (context, cache) = (bench.context, CLProgramCache(directory: directory.path))
        try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<6 {
                group.addTask {
                    let program = try CLProgram(
                        context: context, source: Self.source, options: "-DANSWER=7", cache: cache)
                    #expect(program.cacheProblem == nil)
                }
            }
            try await group.waitForAll()
        }
        #expect(directory.files.count == 1)
        let program = try program(bench, cache, 7)
        #expect(program.cameFromCache)
        #expect(try answer(program, bench.queue) == 7)
    }

    @Test func leftoversAndOldEntriesGo() throws {
        let directory = try TemporaryDirectory()
        let cache = CLProgramCache(directory: directory.path)
        for i in 0..<260 { try replace(directory.path + "/\(i).clbin", [1]) }
        let leftover = directory.path + "/.1.clbin.whitebox.1y2p0ij32e8e7.part"
        try replace(leftover, [1])
        try replace(directory.path + "/keep.txt", [1])
        var old = [timeval(tv_sec: 1000, tv_usec: 0), timeval(tv_sec: 1000, tv_usec: 0)]
        utimes(directory.path + "/17.clbin", &old)
        #expect(cache.store([1, 2, 3], CLProgramCache.key(["x"])) == nil)
        #expect(cache.load(CLProgramCache.key(["x"])) == [1, 2, 3])
        let files = directory.files
        #expect(files.count == 257 && files.contains("keep.txt") && !files.contains("17.clbin"))
        #expect(!files.contains { $0.hasSuffix(".part") })
    }

    @Test func environmentNamesTheDirectory() {
        func directory(_ environment: [String: String]) -> String? {
            CLProgramCache { environment[$0] }.directory
        }
        let all = ["WHITEBOX_CACHE_DIR": "/w", "XDG_CACHE_HOME": "/x", "HOME": "/h"]
        #expect(directory(all) == "/w/programs")
        #expect(directory(all.filter { $0.key != "WHITEBOX_CACHE_DIR" }) == "/x/whitebox/programs")
        #expect(directory(["HOME": "/h"]) == "/h/.cache/whitebox/programs")
        #expect(directory(["HOME": "/h", "XDG_CACHE_HOME": "relative"]) == "/h/.cache/whitebox/programs")
        #expect(directory([:]) == nil)
        #expect(directory(all.merging(["WHITEBOX_CACHE": "off"]) { $1 }) == nil)
    }

    @Test func keys() {
        // Published test vectors of FNV-1a with 128 bits.
        var hash = FNV1a()
        #expect(hash.value == 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d)
        hash.add(UInt8(ascii: "a"))
        #expect(hash.value == 0xd228_cb69_6f1a_8caf_7891_2b70_4e4a_8964)
        #expect(CLProgramCache.key(["ab", "c"]) != CLProgramCache.key(["a", "bc"]))
        #expect(CLProgramCache.key(["ab"]) != CLProgramCache.key(["ab", ""]))
    }

    private func contents(_ path: String) throws -> [UInt8] {
        let file = try #require(fopen(path, "rb"))
        defer { fclose(file) }
        var bytes = [UInt8](repeating: 0, count: 1 << 24)
        bytes.removeLast(bytes.count - fread(&bytes, 1, bytes.count, file))
        return bytes
    }

    private func replace(_ path: String, _ bytes: [UInt8]) throws {
        let file = try #require(fopen(path, "wb"))
        defer { fclose(file) }
        #expect(fwrite(bytes, 1, bytes.count, file) == bytes.count)
    }
}
