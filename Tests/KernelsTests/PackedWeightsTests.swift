// Which weights share memory: those with the same bits in the same order, and no others.

import Kernels
import Testing

@Suite struct PackedWeightsTests {
    private let shape = ConvolutionShape(
        input: [1, 2, 1, 1], output: [1, 2, 1, 1], kernel: [1, 1], strides: [1, 1], pads: [0, 0],
        dilations: [1, 1], groups: 1)

    @Test func zerosOfDifferentSignsAreDifferentBiases() {
        var tape = Tape()
        let values = [[0, 1], [-0.0, 1], [0, 1]].map { tape.weights(PackedWeights.bias($0, for: shape)) }
        #expect(values[0] != values[1])
        #expect(values[0] == values[2])
    }

    @Test func zerosOfDifferentSignsAreDifferentScales() {
        var tape = Tape()
        let weights = HostTensor([2, 2, 1, 1], .floats([1, 2, 3, 4]))
        let values = [[0, 1], [-0.0, 1], [0, 1]].map {
            tape.weights(PackedWeights(weights, for: shape, scale: $0))
        }
        #expect(values[0] != values[1])
        #expect(values[0] == values[2])
    }
}
