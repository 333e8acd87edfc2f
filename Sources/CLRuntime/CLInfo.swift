import COpenCL

/// One of OpenCL's `clGet…Info` functions bound to its object: asks for a key's size, then for its value.
struct CLInfo {
    let function: String
    /// What the object is, for messages: “the device”.
    let subject: String
    /// (key, room in bytes, value, size in bytes) → status
    let get: (cl_uint, Int, UnsafeMutableRawPointer?, UnsafeMutablePointer<Int>?) -> cl_int

    func bytes(_ key: Int32) throws(CLError) -> [UInt8] {
        var size = 0
        var code = get(cl_uint(key), 0, nil, &size)
        var value: [UInt8] = []
        if code == CL_SUCCESS, size > 0 {
            value = [UInt8](repeating: 0, count: size)
            code = value.withUnsafeMutableBytes { get(cl_uint(key), size, $0.baseAddress, nil) }
        }
        if code != CL_SUCCESS {
            throw CLError(
                function, code, attempt: "ask \(subject) about property 0x\(String(key, radix: 16))")
        }
        return value
    }

    func scalar<T: BitwiseCopyable>(_ key: Int32, as type: T.Type) throws(CLError) -> T {
        let value = try bytes(key)
        guard value.count >= MemoryLayout<T>.size else {
            throw CLError(
                function, CL_INVALID_VALUE,
                attempt: "ask \(subject) about property 0x\(String(key, radix: 16))",
                hint: "The driver answered with \(value.count) bytes instead of \(MemoryLayout<T>.size).")
        }
        return value.withUnsafeBytes { $0.loadUnaligned(as: type) }
    }

    func array<T: BitwiseCopyable>(_ key: Int32, of type: T.Type) throws(CLError) -> [T] {
        let value = try bytes(key)
        let stride = MemoryLayout<T>.stride
        return value.withUnsafeBytes { raw in
            (0..<raw.count / stride).map { raw.loadUnaligned(fromByteOffset: $0 * stride, as: type) }
        }
    }

    /// The text without its terminating zero and without surrounding blanks, which some drivers add.
    func string(_ key: Int32) throws(CLError) -> String {
        trimmed(String(decoding: try bytes(key).prefix { $0 != 0 }, as: UTF8.self))
    }

    func int(_ key: Int32, as type: (some FixedWidthInteger & BitwiseCopyable).Type) throws(CLError) -> Int {
        Int(clamping: try scalar(key, as: type))
    }

    func bool(_ key: Int32) throws(CLError) -> Bool { try scalar(key, as: cl_bool.self) != 0 }
}

func trimmed(_ text: String) -> String {
    var part = text[...]
    while let last = part.last, last.isWhitespace { part.removeLast() }
    return String(part.drop { $0.isWhitespace })
}
