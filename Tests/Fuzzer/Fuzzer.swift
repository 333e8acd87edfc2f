// What libFuzzer calls. It brings the main function: this links only with `--sanitize fuzzer`; see `make fuzz`.

import CLibFuzzer
import Foundation
import FuzzTargets
import TestSupport

/// The variable of the environment that names the target: libFuzzer keeps the arguments to itself.
private let target: FuzzTarget = {
    let name = ProcessInfo.processInfo.environment["FUZZ_TARGET"] ?? ""
    guard let target = FuzzTarget(rawValue: name) else {
        let names = FuzzTarget.allCases.map(\.rawValue).joined(separator: ", ")
        fatalError("FUZZ_TARGET is '\(name)', but must be one of \(names).")
    }
    return target
}()

@c(LLVMFuzzerTestOneInput)
public func testOneInput(_ data: UnsafePointer<UInt8>?, _ size: Int) -> CInt {
    if let fault = target.fault(Array(UnsafeBufferPointer(start: data, count: size))) { fatalError(fault) }
    return 0
}

@c(LLVMFuzzerCustomMutator)
public func mutate(_ data: UnsafeMutablePointer<UInt8>, _ size: Int, _ room: Int, _ seed: UInt32) -> Int {
    var random = SeededRandom(UInt64(seed))
    let changed = target.changed(
        Array(UnsafeBufferPointer(start: data, count: size)), &random,
        blindly: { bytes in
            [UInt8](unsafeUninitializedCapacity: room) { buffer, count in
                let size = min(bytes.count, room)
                _ = buffer.initialize(fromContentsOf: bytes[..<size])
                count = LLVMFuzzerMutate(buffer.baseAddress, size, room)
            }
        })
    let count = min(changed.count, room)
    UnsafeMutableBufferPointer(start: data, count: count).update(fromContentsOf: changed[..<count])
    return count
}
