// Weights in the order in which kernels read them.
//
// A tape only knows how they are made; a device that loads the tape makes them, in the memory where they stay. So planning
// reads no weights, and what no step reads is never made. All tapes on a device share them: nothing is held twice in one order.

import CMicrokernels
import Dispatch

/// Weights that are put in order when a device loads them.
package struct PackedWeights: Sendable {
    /// In floats.
    package let count: Int
    package let element: Element
    /// What they are: weights with the same key are the same numbers in the same order. Nil for those that nobody else has.
    package let key: Key?
    /// Writes all of them, also those that are zeros, with several threads.
    package let write: @Sendable (UnsafeMutablePointer<Float>) throws -> Void

    /// Numbers in it stand as bits: compared as numbers, 0 and −0 would share memory, and whose sign it gets would depend on the
    /// order of loading.
    package enum Key: Hashable, Sendable {
        /// Numbers of a tensor in the order that a layout describes, each multiplied by the scale of its channel.
        case tensor(HostTensor.Identity, layout: [Int], scale: [UInt64]?)
        /// Few numbers, and the order in which they are.
        case numbers([UInt32], layout: [Int])
        /// Where the terms of a sum lie: extents and strides.
        case offsets([Int])
        case zeros(Int)
        /// Integers as they are.
        case integers([Int32])
    }

    package init(
        count: Int, key: Key? = nil, write: @escaping @Sendable (UnsafeMutablePointer<Float>) throws -> Void
    ) {
        (self.count, element, self.key, self.write) = (count, .float32, key, write)
    }

    /// Integers that kernels read beside numbers.
    package init(
        integers count: Int, key: Key? = nil,
        write: @escaping @Sendable (UnsafeMutablePointer<Int32>) throws -> Void
    ) {
        (self.count, element, self.key) = (count, .int32, key)
        self.write = { to in
            try UnsafeMutableRawPointer(to).withMemoryRebound(to: Int32.self, capacity: count, write)
        }
    }

    /// - Parameters:
    ///   - weights: [output channels, input channels / groups, kernel extents …], as in ONNX.
    ///   - scale: a factor for each output channel.
    package init(_ weights: HostTensor, for shape: ConvolutionShape, scale: [Double]? = nil) {
        self.init(weights, for: shape, transposed: false, scale: scale)
    }

    /// For the gradient of `forward`, whose weights these are: taps reversed, the roles of the channels exchanged.
    package init(transposing weights: HostTensor, of forward: ConvolutionShape, scale: [Double]? = nil) {
        self.init(weights, for: forward.transposed, transposed: true, scale: scale)
    }

    private init(
        _ weights: HostTensor, for shape: ConvolutionShape, transposed: Bool, scale: [Double]?
    ) {
        let (taps, groups) = (shape.axes.taps, shape.groups)
        let (channels, columns) = (shape.inputChannels / groups, shape.outputChannels / groups)
        precondition(weights.shape.count == groups * channels * columns * taps)
        // Where a channel's weights of a column begin, in floats.
        let (perColumn, perChannel) = transposed ? (taps, columns * taps) : (channels * taps, taps)
        var packing = wb_packing(
            columns: 0, channels: Int32(channels), taps: Int32(taps), width: WB_PANEL, pads: 1,
            column_stride: Int64(perColumn), channel_stride: Int64(perChannel),
            tap_stride: transposed ? -1 : 1, column_scale: transposed ? 0 : 1,
            channel_scale: transposed ? 1 : 0)
        let origin = transposed ? taps - 1 : 0
        let tile = shape.winogradTile
        let key = Key.tensor(
            weights.identity,
            layout: [
                shape.isDepthwise ? 1 : shape.isGrouped ? 2 : 3, transposed ? 1 : 0, groups, channels,
                columns,
                taps, tile ?? 0,
            ], scale: scale?.map(\.bitPattern))
        if shape.isDepthwise {
            let all = shape.outputChannels
            (packing.columns, packing.width, packing.column_scale) = (Int32(all), Int32(all), 1)
            self.init(count: all * taps, key: key) { [packing] to in
                try weights.withFloats { from in
                    withUnsafePointer(to: packing) {
                        wb_pack($0, from.baseAddress! + 4 * origin, scale, to)
                    }
                }
            }
            return
        }
        if shape.isGrouped {
            // A panel holds several groups side by side.
            let (size, side) = (taps * channels * Int(WB_PANEL), Int(WB_PANEL) / columns)
            (packing.columns, packing.pads) = (Int32(columns), 0)
            self.init(count: groups / side * size, key: key) { [packing] to in
                try weights.withFloats { from in
                    for group in 0..<groups {
                        let from = from.baseAddress! + 4 * (group * columns * channels * taps + origin)
                        scale.withPointer(at: group * columns) { scale in
                            withUnsafePointer(to: packing) {
                                wb_pack($0, from, scale, to + group / side * size + group % side * columns)
                            }
                        }
                    }
                }
            }
            return
        }
        let panels = (columns + Int(WB_PANEL) - 1) / Int(WB_PANEL)
        let size = (tile.map(Winograd.positions(side:)) ?? taps) * channels * Int(WB_PANEL)
        self.init(count: groups * panels * size, key: key) { [packing] to in
            try weights.withFloats { from in
                // Panels are written side by side, and all else is only read.
                nonisolated(unsafe) let (to, from) = (to, from.baseAddress!)
                DispatchQueue.concurrentPerform(iterations: groups * panels) { index in
                    let (group, first) = (index / panels, index % panels * Int(WB_PANEL))
                    var packing = packing
                    packing.columns = Int32(min(Int(WB_PANEL), columns - first))
                    let from = from + 4 * (group * columns * channels * taps + first * perColumn + origin)
                    scale.withPointer(at: transposed ? group * channels : group * columns + first) { scale in
                        if let tile {
                            wb_winograd_weights(
                                Int32(tile), &packing, from, scale, to, Int32(panels), Int32(index))
                        } else {
                            wb_pack(&packing, from, scale, to + index * size)
                        }
                    }
                }
            }
        }
    }

    /// One number for each output channel, padded like the weights.
    package static func bias(_ bias: [Float], for shape: ConvolutionShape) -> PackedWeights {
        let bits = bias.map(\.bitPattern)
        if shape.isDepthwise || shape.isGrouped {
            return PackedWeights(count: bias.count, key: .numbers(bits, layout: [])) {
                $0.update(from: bias, count: bias.count)
            }
        }
        let columns = shape.outputChannels / shape.groups
        let panel = Int(WB_PANEL)
        let panels = (columns + panel - 1) / panel
        let count = shape.groups * panels * panel
        return PackedWeights(count: count, key: .numbers(bits, layout: [columns])) { to in
            to.initialize(repeating: 0, count: count)
            for i in bias.indices { to[i / columns * panels * panel + i % columns] = bias[i] }
        }
    }
}

extension [Double]? {
    /// A pointer to element `index`, or nil if there is no array.
    fileprivate func withPointer(at index: Int, _ body: (UnsafePointer<Double>?) -> Void) {
        guard let self else { return body(nil) }
        self.withUnsafeBufferPointer { body($0.baseAddress! + index) }
    }
}
