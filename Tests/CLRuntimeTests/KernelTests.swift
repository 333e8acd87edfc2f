import CLRuntime
import Testing

private let axpy = """
    kernel void axpy(global float *y, global const float *x, float a, int n) {
        int i = get_global_id(0);
        if (i < n) y[i] = fma(a, x[i], y[i]);
    }
    """

@Suite struct KernelTests {
    @Test func launchesRepeatedly() throws {
        let bench = try Bench()
        let y = try bench.buffer([Float](repeating: 1, count: 100))
        let x = try bench.buffer((0..<100).map(Float.init))
        let kernel = try bench.kernel("axpy", axpy)
        try kernel.setArguments([.buffer(y), .buffer(x), .float(2), .int(99)])
        let launch = try kernel.launch(global: CLSize(100).roundedUp(to: 32), local: 32)
        #expect(launch.global == 128)
        for _ in 0..<3 { try bench.queue.enqueue(launch) }
        #expect(try bench.queue.read(Float.self, from: y) == (0..<99).map { 1 + 6 * Float($0) } + [1])
        // New arguments do not reach back to launches that are enqueued already.
        try bench.queue.enqueue(launch)
        try kernel.setArgument(2, .float(0))
        try bench.queue.enqueue(kernel, global: 128)
        try bench.queue.finish()
        #expect(try bench.queue.read(Float.self, from: y, offset: 4, count: 1) == [9])
    }

    @Test func allKindsOfArguments() throws {
        let bench = try Bench()
        let kernel = try bench.kernel(
            "values",
            """
            kernel void values(global long *o, global const int *none, int i, uint u, float f, ulong v, long l) {
                o[0] = i; o[1] = u; o[2] = (long)(f * 4); o[3] = (long)(v >> 1); o[4] = l; o[5] = none == 0;
            }
            """)
        #expect(kernel.argumentCount == 7)
        let out = try CLBuffer(context: bench.context, byteCount: 48)
        try kernel.setArguments([
            .buffer(out), .noBuffer, .int(-5), .uint(.max), .float(0.75), .ulong(.max), .long(.min),
        ])
        try bench.queue.enqueue(kernel, global: 1)
        #expect(
            try bench.queue.read(Int64.self, from: out) == [-5, Int64(UInt32.max), 3, .max, .min, 1])
    }

    @Test func localMemory() throws {
        let bench = try Bench()
        let kernel = try bench.kernel(
            "reverse",
            """
            kernel void reverse(global float *x, local float *t) {
                size_t i = get_local_id(0), n = get_local_size(0), base = get_group_id(0) * n;
                t[i] = x[base + i];
                barrier(CLK_LOCAL_MEM_FENCE);
                x[base + i] = t[n - 1 - i];
            }
            """)
        let x = try bench.buffer((0..<64).map(Float.init))
        try kernel.setArguments([.buffer(x), .local(bytes: 64)])
        try bench.queue.enqueue(kernel, global: 64, local: 16)
        var expected: [Float] = []
        for base in stride(from: 0, to: 64, by: 16) {
            expected += (0..<16).reversed().map { Float(base + $0) }
        }
        #expect(try bench.queue.read(Float.self, from: x) == expected)
    }

    @Test func threeDimensions() throws {
        let bench = try Bench()
        let kernel = try bench.kernel(
            "ids",
            """
            kernel void ids(global uint *o) {
                size_t x = get_global_id(0), y = get_global_id(1), z = get_global_id(2);
                o[(z * get_global_size(1) + y) * get_global_size(0) + x] = x + 10 * y + 100 * z;
            }
            """)
        let out = try CLBuffer(context: bench.context, byteCount: 4 * 24)
        try kernel.setArguments([.buffer(out)])
        try bench.queue.enqueue(kernel, global: [4, 3, 2], local: [2, 3, 1])
        var expected: [UInt32] = []
        for z: UInt32 in 0..<2 {
            for y: UInt32 in 0..<3 { for x: UInt32 in 0..<4 { expected.append(x + 10 * y + 100 * z) } }
        }
        #expect(try bench.queue.read(UInt32.self, from: out) == expected)
    }

    @Test func sizes() {
        let size: CLSize = [5, 7]
        #expect(size.dimensions == 2 && size.count == 35 && size.description == "5 × 7")
        #expect(size.roundedUp(to: [4, 8]) == [8, 8])
    }

    @Test func workGroupInfo() throws {
        let bench = try Bench()
        let kernel = try bench.kernel(
            "fixed",
            """
            kernel __attribute__((reqd_work_group_size(8, 2, 1))) void fixed(global float *x) {
                local float t[16];
                size_t i = get_local_id(1) * 8 + get_local_id(0);
                t[i] = x[i];
                barrier(CLK_LOCAL_MEM_FENCE);
                x[i] = t[15 - i];
            }
            """)
        let info = try kernel.workGroupInfo
        #expect(info.maxSize >= 16 && info.maxSize <= bench.device.maxWorkGroupSize)
        #expect(info.localMemory >= 64)
    }

    @Test func refusalsNameTheKernel() throws {
        let bench = try Bench()
        let kernel = try bench.kernel("axpy", axpy)
        let few = #expect(throws: CLError.self) { try kernel.setArguments([.float(1)]) }
        #expect(few?.message.contains("“axpy”") == true && few?.message.contains("It has 4.") == true)
        let type = #expect(throws: CLError.self) { try kernel.setArgument(2, .ulong(1)) }
        #expect(type?.symbol == "CL_INVALID_ARG_SIZE")
        #expect(throws: CLError.self) { try kernel.setArgument(4, .int(1)) }
        let unset = #expect(throws: CLError.self) { try bench.queue.enqueue(kernel, global: 1) }
        #expect(unset?.symbol == "CL_INVALID_KERNEL_ARGS")
        let uneven = #expect(throws: CLError.self) { try kernel.launch(global: 100, local: 32) }
        #expect(uneven?.message.contains("100 work-items in work-groups of 32") == true)
        #expect(throws: CLError.self) { try kernel.launch(global: [4, 4], local: 4) }
        #expect(throws: CLError.self) { try kernel.launch(global: 0) }
        let large = 2 * bench.device.maxWorkGroupSize
        #expect(throws: CLError.self) { try kernel.launch(global: CLSize(large), local: CLSize(large)) }
        let name = #expect(throws: CLError.self) { try kernel.program.kernel("saxpy") }
        #expect(name?.message.contains("Its kernels are: axpy.") == true)
    }

    @Test func buffersOfAKernelStayAlive() throws {
        let bench = try Bench()
        let kernel = try bench.kernel("axpy", axpy)
        let y = try bench.buffer([Float](repeating: 0, count: 8))
        weak var x: CLBuffer?
        do {
            let temporary = try bench.buffer([Float](repeating: 2, count: 8))
            x = temporary
            try kernel.setArguments([.buffer(y), .buffer(temporary), .float(1), .int(8)])
        }
        #expect(x != nil)
        try bench.queue.enqueue(kernel, global: 8)
        try kernel.setArgument(1, .buffer(y))
        #expect(x == nil)
        #expect(try bench.queue.read(Float.self, from: y) == [Float](repeating: 2, count: 8))
    }

    @Test func queuesWaitForEachOther() throws {
        let bench = try Bench()
        let other = try CLQueue(context: bench.context)
        let kernel = try bench.kernel("axpy", axpy)
        let x = try bench.buffer([Float](repeating: 1, count: 1 << 18))
        let y = try bench.buffer([Float](repeating: 0, count: 1 << 18))
        try kernel.setArguments([.buffer(x), .buffer(x), .float(1), .int(1 << 18)])
        try bench.queue.enqueue(kernel.launch(global: CLSize(1 << 18)))
        let doubled = try bench.queue.marker()
        try bench.queue.flush()
        try other.enqueueBarrier(after: [doubled])
        try other.copy(from: x, to: y, byteCount: 4 << 18)
        #expect(try other.read(Float.self, from: y).allSatisfy { $0 == 2 })
    }

    @Test func threadsLaunchAtTheSameTime() async throws {
        let bench = try Bench()
        let (context, queue) = (bench.context, bench.queue)
        let program = try CLProgram(context: context, source: axpy, cache: .off)
        let results = try await withThrowingTaskGroup(of: [Float].self) { group in
            for task in 1...8 {
                group.addTask {
                    let kernel = try program.kernel("axpy")
                    let y = try CLBuffer(context: context, copying: [Float](repeating: 0, count: 256))
                    let x = try CLBuffer(
                        context: context, copying: [Float](repeating: Float(task), count: 256))
                    try kernel.setArguments([.buffer(y), .buffer(x), .float(1), .int(256)])
                    for _ in 0..<50 { try queue.enqueue(kernel, global: 256, local: 64) }
                    let result = try queue.read(Float.self, from: y)
                    #expect(result.allSatisfy { $0 == 50 * Float(task) })
                    return result
                }
            }
            return try await group.reduce(into: []) { $0.append($1[0]) }
        }
        #expect(results.sorted() == (1...8).map { 50 * Float($0) })
    }
}
