// Errors and texts as C has them.
// swift-format-ignore-file: AlwaysUseLowerCamelCase

import ArgumentParser
import CWhitebox
import Explain
import Files
import Glibc
import Text

/// An object of Swift that C holds a pointer to.
protocol Handle: AnyObject {}

extension Handle {
    /// A pointer that owns the object until `release`.
    var retained: OpaquePointer { OpaquePointer(Unmanaged.passRetained(self).toOpaque()) }

    static func at(_ pointer: OpaquePointer) -> Self {
        Unmanaged<Self>.fromOpaque(UnsafeRawPointer(pointer)).takeUnretainedValue()
    }

    static func release(_ pointer: OpaquePointer?) {
        guard let pointer else { return }
        Unmanaged<Self>.fromOpaque(UnsafeRawPointer(pointer)).release()
    }
}

/// A text that C may read as long as this lives.
final class CText: Sendable {
    // Nobody changes it.
    nonisolated(unsafe) let pointer: UnsafePointer<CChar>
    init(_ text: String) { pointer = UnsafePointer(strdup(text)) }
    deinit { free(UnsafeMutablePointer(mutating: pointer)) }
}

/// What a function of C failed with.
final class Failure: Handle {
    let code: whitebox_code
    let text: CText
    init(_ code: whitebox_code, _ text: String) { (self.code, self.text) = (code, CText(text)) }

    convenience init(_ error: any Error) {
        switch error {
        case let error as ExplainError:
            self.init(whitebox_code(UInt32(error.kind.rawValue)), error.description)
        case is Cancelled:
            self.init(WHITEBOX_CANCELLED, "The explanation was ended before its end.")
        case let error as Usage: self.init(WHITEBOX_USAGE, error.sentence)
        default: self.init(WHITEBOX_USAGE, printable("\(error)"))
        }
    }
}

/// Somebody asked for an end.
struct Cancelled: Error {}

/// An option or an argument is wrong.
struct Usage: Error { let sentence: String }

/// Runs `body`; what it throws goes to where C wants it.
func attempt<R>(
    _ error: UnsafeMutablePointer<OpaquePointer?>?, _ body: () throws -> R
) -> R? {
    do {
        return try body()
    } catch let failure {
        error?.pointee = Failure(failure).retained
        return nil
    }
}

/// Refuses numbers that can only be a mistake, before memory is read.
func checkCount(_ count: Int, _ isNull: Bool, _ what: String) throws {
    guard (0...1 << 31).contains(count) else {
        throw Usage(sentence: "\(UInt(bitPattern: count)) is no number of \(what).")
    }
    guard !isNull || count == 0 else {
        throw Usage(sentence: "There are \(count) \(what), and the pointer to them is NULL.")
    }
}

/// Reads options as the command line does.
func parsed<O: ParsableArguments>(
    _ type: O.Type, _ words: UnsafePointer<UnsafePointer<CChar>>?, _ count: Int
) throws -> O {
    try checkCount(count, words == nil, "options")
    do {
        return try O.parse((0..<count).map { FileName.text(words![$0]) })
    } catch let error as ExplainError {
        throw error
    } catch {
        guard O.exitCode(for: error) != .success else {
            throw Usage(sentence: "Help is none of the options; Documentation/CommandLine.md describes them.")
        }
        // What follows the first line is the usage of a program that there is not.
        let line = O.message(for: error).split(separator: "\n").first.map(String.init) ?? "\(error)"
        throw Usage(sentence: line.hasSuffix(".") || line.hasSuffix("?") ? line : line + ".")
    }
}

@c @implementation
public func whitebox_error_code(_ error: OpaquePointer) -> whitebox_code { Failure.at(error).code }

@c @implementation
public func whitebox_error_text(_ error: OpaquePointer) -> UnsafePointer<CChar> {
    Failure.at(error).text.pointer
}

@c @implementation
public func whitebox_error_free(_ error: OpaquePointer?) { Failure.release(error) }
