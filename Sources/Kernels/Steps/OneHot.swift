// The gradient of a class's score begins as a 1 among zeros, and a product with that is a row of the matrix.

import CMicrokernels

extension Convolution {
    /// Whether this multiplies rows by a matrix and nothing else, so that `selectRows` may know the result.
    var isRowProduct: Bool {
        kind == .convolution && shape.groups == 1 && shape.kernel == [1, 1] && bias == nil && residual == nil
            && clip == nil && [shape.input, shape.output].allSatisfy { $0.dims[2...].allSatisfy { $0 == 1 } }
    }

    /// The product of rows each of which is 1 at one place and 0 elsewhere; false if one is not.
    ///
    /// Where all weights are finite, the other terms are zeros of either sign. Added to a sum that begins with +0 they change
    /// nothing, and of a weight only the sign of a zero. So the bits are those of the whole product, without reading the matrix,
    /// which would come from memory for each batch.
    func selectRows(_ cpu: CPUFrame) -> Bool {
        let (terms, columns) = (shape.inputChannels, shape.outputChannels)
        let (x, weights, y) = (cpu.pointer(x), cpu.pointer(weights), cpu.pointer(y))
        let width = Int(WB_PANEL)
        for row in 0..<shape.input.dims[0] {
            let numbers = UnsafeBufferPointer(start: x + row * terms, count: terms)
            guard let term = numbers.firstIndex(where: { $0 != 0 }), numbers[term] == 1,
                numbers[(term + 1)...].allSatisfy({ $0 == 0 })
            else { return false }
            for column in 0..<columns {
                let panel = weights + column / width * terms * width
                y[row * columns + column] = panel[term * width + column % width] + 0
            }
        }
        return true
    }
}
