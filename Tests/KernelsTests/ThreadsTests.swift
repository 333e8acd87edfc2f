// The pool of threads: every piece once, whoever takes it, and no end too early.

import CMicrokernels
import Dispatch
import Foundation
import Kernels
import TestSupport
import Testing

@Suite struct ThreadsTests {
    /// How often each piece was done, and how many each thread did.
    private final class Tally {
        let times: UnsafeMutableBufferPointer<Int>, done: UnsafeMutableBufferPointer<Int>
        init(pieces: Int, threads: Int) {
            times = .allocate(capacity: pieces)
            times.initialize(repeating: 0)
            done = .allocate(capacity: threads)
            done.initialize(repeating: 0)
        }
        deinit {
            times.deallocate()
            done.deallocate()
        }

        func run(_ pool: OpaquePointer) {
            wb_threads_run(
                pool, Int32(times.count),
                { context, piece, thread in
                    let tally = Unmanaged<Tally>.fromOpaque(context!).takeUnretainedValue()
                    tally.times[Int(piece)] += 1
                    tally.done[Int(thread)] += 1
                }, Unmanaged.passUnretained(self).toOpaque())
        }
    }

    @Test(arguments: [1, 2, 3, 8, 40], [false, true])
    func everyPieceOnce(threads: Int, spin: Bool) throws {
        let pool = try #require(wb_threads_make(Int32(threads), spin))
        defer { wb_threads_free(pool) }
        for pieces in [0, 1, 2, threads, threads + 1, 1000] {
            let tally = Tally(pieces: pieces, threads: threads)
            for round in 1...50 {
                tally.run(pool)
                #expect(tally.times.allSatisfy { $0 == round })
            }
            #expect(tally.done.reduce(0, +) == 50 * pieces)
        }
    }

    /// A pool that was never used ends too, and several pools do not disturb each other.
    @Test func poolsAreIndependent() throws {
        wb_threads_free(wb_threads_make(4, true))
        DispatchQueue.concurrentPerform(iterations: 4) { i in
            let pool = wb_threads_make(Int32(i + 1), i % 2 == 0)!
            let tally = Tally(pieces: 7, threads: i + 1)
            for round in 1...500 {
                tally.run(pool)
                if !tally.times.allSatisfy({ $0 == round }) { Issue.record("Pool \(i) lost a piece.") }
            }
            wb_threads_free(pool)
        }
    }

    /// Sleeping threads wake up.
    @Test func longPauses() throws {
        let pool = try #require(wb_threads_make(3, true))
        defer { wb_threads_free(pool) }
        let tally = Tally(pieces: 30, threads: 3)
        for round in 1...20 {
            tally.run(pool)
            #expect(tally.times.allSatisfy { $0 == round })
            usleep(2000)
        }
    }

    /// Batches are divided evenly, and only where a CPU computes.
    @Test func batchesOfACPU() throws {
        let device = Device.cpu(try CPU(threads: 2))
        #expect([1, 7, 8, 9, 10, 16, 32, 33].map(device.batch) == [1, 7, 8, 5, 5, 8, 8, 7])
        #expect(Device.cpu(try CPU(threads: 16)).batch(64) == 64)
        // A GPU takes them whole; there may be none here, so a device says that it is one.
        let gpu = try #require(try Devices.lesser("as a GPU") { $0.kind = .gpu })
        #expect(gpu.device.batch(1024) == 1024)
    }
}
