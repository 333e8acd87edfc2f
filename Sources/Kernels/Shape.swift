// Shapes, and how the elements of a tensor of that shape lie in memory.

/// The extents of a tensor, in the order that ONNX gives them.
///
/// In memory a tensor of rank 4 is channels-last: [N, C, H, W] lies as N, H, W, C. Tensors of any other rank are row-major.
/// The layout is a function of the shape alone, so nothing ever has to ask for it.
package struct Shape: Hashable, Sendable, CustomStringConvertible, ExpressibleByArrayLiteral {
    package let dims: [Int]

    package init(_ dims: [Int]) { self.dims = dims }
    package init(arrayLiteral dims: Int...) { self.dims = dims }

    /// The largest rank that a tensor may have.
    package static let maximumRank = 6

    /// The most elements that are believed. An extent of 0 makes a tensor empty, but does not excuse an absurd one beside it:
    /// products of some extents are computed too.
    package static let largestCount = 1 << 40

    /// A shape out of numbers that a file gave: none is negative, and no product of them overflows.
    package init(checking dims: [Int]) throws {
        var count = 1
        for d in dims {
            let product = count.multipliedReportingOverflow(by: max(1, d))
            guard d >= 0, !product.overflow, product.partialValue <= Shape.largestCount else {
                throw OperatorError("makes a tensor of shape \(Shape(dims)), which no memory can hold")
            }
            count = product.partialValue
        }
        self.dims = dims
    }

    /// Whether kernels, which count in 32 bits, can find their way in it.
    private var isAddressable: Bool {
        rank <= Shape.maximumRank && dims.reduce(1.0, { $0 * Double($1) }) < Double(Int32.max)
    }

    /// The shape of something that is computed: addressable, and nothing of it is empty.
    package func checked() throws -> Shape {
        guard rank <= Shape.maximumRank else {
            throw OperatorError(
                unsupported: "makes a tensor of rank \(rank); the limit is \(Shape.maximumRank)")
        }
        guard dims.allSatisfy({ $0 > 0 }), isAddressable else {
            throw OperatorError(
                "makes a tensor of shape \(self), which is empty or too large; take a smaller batch or picture"
            )
        }
        return self
    }

    /// The shape with extents of 1 in place of these dimensions.
    package func reduced(_ axes: [Int]) -> Shape {
        Shape(dims.indices.map { axes.contains($0) ? 1 : dims[$0] })
    }

    /// How many elements there are along these dimensions.
    package func count(_ axes: [Int]) -> Int { axes.reduce(1) { $0 * dims[$1] } }

    package var rank: Int { dims.count }
    package var count: Int { dims.reduce(1, *) }
    package var description: String { dims.map(String.init).joined(separator: "×") }

    /// How far apart neighbours lie along each dimension.
    package var strides: [Int] {
        rank == 4 ? channelsLastStrides : rowMajorStrides
    }

    /// Whether both lead to the same places: in a dimension of 1 there are no neighbours.
    func strides(_ a: [Int], equal b: [Int]) -> Bool {
        zip(dims, zip(a, b)).allSatisfy { $0 == 1 || $1.0 == $1.1 }
    }

    /// The same if the channels, the second dimension, were the innermost.
    var channelsLastStrides: [Int] {
        let inner = Shape([dims[0]] + dims[2...] + [dims[1]]).rowMajorStrides
        return [inner[0], 1] + inner[1..<rank - 1]
    }

    /// The same if the tensor were row-major.
    package var rowMajorStrides: [Int] {
        var strides = [Int](repeating: 1, count: rank)
        for d in stride(from: rank - 2, through: 0, by: -1) { strides[d] = strides[d + 1] * dims[d + 1] }
        return strides
    }

    /// Whether memory order is row-major order.
    package var isRowMajor: Bool { rank != 4 || dims[1] == 1 || dims[2] * dims[3] == 1 }

    /// Elements in row-major order, from memory order.
    package func rowMajor(_ memory: [Float]) -> [Float] {
        isRowMajor ? memory : reordered(memory, toMemory: false)
    }

    /// Elements in memory order, from row-major order.
    package func memoryOrder(_ rowMajor: [Float]) -> [Float] {
        isRowMajor ? rowMajor : reordered(rowMajor, toMemory: true)
    }

    private func reordered(_ from: [Float], toMemory: Bool) -> [Float] {
        precondition(from.count == count)
        return [Float](unsafeUninitializedCapacity: count) { to, initialised in
            from.withUnsafeBufferPointer { reorder($0.baseAddress!, to.baseAddress!, toMemory: toMemory) }
            initialised = count
        }
    }

    /// Writes elements in memory order to `to`, from row-major order.
    package func writeMemoryOrder(_ rowMajor: [Float], to: UnsafeMutablePointer<Float>) {
        precondition(rowMajor.count == count)
        rowMajor.withUnsafeBufferPointer {
            guard let from = $0.baseAddress else { return }
            if isRowMajor { to.update(from: from, count: count) } else { reorder(from, to, toMemory: true) }
        }
    }

    /// In blocks of pixels that stay in the first-level cache while their channels are taken one after the other.
    private func reorder(
        _ from: UnsafePointer<Float>, _ to: UnsafeMutablePointer<Float>, toMemory: Bool
    ) {
        let (c, pixels) = (dims[1], dims[2] * dims[3])
        let block = max(1, 2048 / c)
        for image in stride(from: 0, to: count, by: c * pixels) {
            for begin in stride(from: 0, to: pixels, by: block) {
                let end = min(begin + block, pixels)
                for k in 0..<c {
                    let (planar, last) = (image + k * pixels, image + k)
                    if toMemory {
                        for p in begin..<end { to[last &+ p &* c] = from[planar &+ p] }
                    } else {
                        for p in begin..<end { to[planar &+ p] = from[last &+ p &* c] }
                    }
                }
            }
        }
    }

    /// The shape that two shapes broadcast to, or nil if they do not, or to more than kernels can compute.
    package static func broadcast(_ a: Shape, _ b: Shape) -> Shape? {
        var dims = [Int](repeating: 1, count: max(a.rank, b.rank))
        for i in 0..<dims.count {
            let p = i < a.rank ? a.dims[a.rank - 1 - i] : 1
            let q = i < b.rank ? b.dims[b.rank - 1 - i] : 1
            guard p == q || p == 1 || q == 1 else { return nil }
            dims[dims.count - 1 - i] = p == 1 ? q : p
        }
        let shape = Shape(dims)
        return shape.isAddressable ? shape : nil
    }
}
