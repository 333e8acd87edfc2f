// Products of rows with the transpose of a matrix that is packed for the product itself: kernels/reverse_product.cl.

import CLRuntime
import CMicrokernels

/// y [rows, terms] = x [rows, columns] W, with W [columns, terms] packed as the weights of a convolution that makes columns of terms.
///
/// So the gradient of a fully connected layer needs no transposed copy of its matrix, which is often most of a network. The bits are
/// those of the convolution with that copy.
package struct ReverseProduct: Step {
    let product: wb_reverse
    let x: Value, weights: Value, y: Value

    /// The most rows for which it is worth it: with more, the time goes into sums, and those want the other order of weights.
    static let mostRows = 64

    package var kernel: String { "reverse_product" }
    package var reads: [Value] { [x, weights] }
    package var writes: [Value] { [y] }
    package var selects: (input: Value, weights: Value)? { (x, weights) }
    package var operations: Int { 2 * Int(product.rows) * Int(product.columns) * Int(product.terms) }
    /// As the convolution that it stands for.
    package var weight: Double { 1 }

    package func run(_ cpu: CPUFrame) {
        if cpu.isFinite(weights), selectRows(cpu) { return }
        let (x, weights, y) = (cpu.pointer(x), cpu.pointer(weights), cpu.pointer(y))
        withUnsafePointer(to: product) { product in
            cpu.split((Int(product.pointee.terms) + 31) / 32) { begin, end, _ in
                cpu.functions.reverse_product(product, x, weights, y, Int64(begin), Int64(end))
            }
        }
    }

    /// The product of rows each of which is 1 at one place and 0 elsewhere, as the gradient of a class's score begins; false if one is
    /// not.
    ///
    /// Where all weights are finite, the other terms are zeros of either sign. Added to a sum that begins with +0 they change
    /// nothing, and of a weight only the sign of a zero. So the bits are those of the whole product, without reading the matrix,
    /// which would come from memory for each batch.
    private func selectRows(_ cpu: CPUFrame) -> Bool {
        let (columns, terms) = (Int(product.columns), Int(product.terms))
        let (x, weights, y) = (cpu.pointer(x), cpu.pointer(weights), cpu.pointer(y))
        let width = Int(WB_PANEL)
        for row in 0..<Int(product.rows) {
            let numbers = UnsafeBufferPointer(start: x + row * columns, count: columns)
            guard let one = numbers.firstIndex(where: { $0 != 0 }), numbers[one] == 1,
                numbers[(one + 1)...].allSatisfy({ $0 == 0 })
            else { return false }
            let from = weights + one / width * terms * width + one % width
            for term in 0..<terms { y[row * terms + term] = from[term * width] + 0 }
        }
        return true
    }

    package func launches(_ frame: OpenCLFrame) throws -> [OpenCLLaunch] {
        let arguments = [frame.buffer(x), frame.buffer(weights), frame.buffer(y), .structure(product)]
        let (terms, rows) = (Int(product.terms), (Int(product.rows) + 3) / 4)
        switch frame.device.shape {
        case .cpu:
            return [
                try frame.launch(
                    kernel, in: kernel,
                    options: "-DWB_CPU_SHAPE=1" + (frame.device.prefetches ? " -DWB_PREFETCH=1" : ""),
                    arguments,
                    global: CLSize((terms + 31) / 32, rows), local: [1, 1])
            ]
        case .gpu: return [try frame.launch(kernel, in: kernel, arguments, columns: terms, rows: rows)]
        }
    }
}

extension Tape {
    /// [rows, terms] from `x` [rows, columns] and weights that are packed for products the other way.
    package mutating func reverseProduct(_ x: Value, _ weights: PackedWeights, terms: Int) -> Value {
        let dims = shape(x).dims
        if isSketch { return value([dims[0], terms]) }
        let x = dense(x)
        let y = value([dims[0], terms])
        add(
            ReverseProduct(
                product: wb_reverse(rows: Int32(dims[0]), columns: Int32(dims[1]), terms: Int32(terms)), x: x,
                weights: self.weights(weights), y: y))
        return y
    }
}
