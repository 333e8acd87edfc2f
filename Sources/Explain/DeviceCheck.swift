// Are the bits the same, whoever computes? For `app verify`.

import CLRuntime
import Inference
import Kernels

/// A way of computing whose results must not differ from any other's.
package struct DeviceVariant: Sendable {
    package let title: String
    package let device: DeviceChoice
    package var threads: Int?
    package var instructionSet: String?
    package var shape: KernelShape?

    /// Every instruction set with one thread and with many; the slow baseline with many only.
    package static func cpu(threads most: Int? = nil) -> [DeviceVariant] {
        let most = max(2, most ?? CPU.cores)
        return CPU.instructionSets.flatMap { (set: String) -> [DeviceVariant] in
            // Without fused multiply-adds in hardware one thread alone would take minutes.
            (set == "baseline" ? [most] : [1, most]).map { (n: Int) in
                DeviceVariant(
                    title: "cpu (\(set), \(n) thread\(n == 1 ? "" : "s"))", device: .cpu, threads: n,
                    instructionSet: set)
            }
        }
    }

    /// Each OpenCL device with the kernels made for CPUs and those made for GPUs; and what is left out, and why.
    /// - Parameter only: the index of one device.
    package static func openCL(only: Int? = nil) throws -> (variants: [DeviceVariant], leftOut: [String]) {
        let inventory = CLInventory.discover()
        if let only, !inventory.devices.indices.contains(only) {
            // Lets the choice itself say what there is.
            _ = try DeviceChoice.openCL(only).open()
        }
        var variants: [DeviceVariant] = []
        var leftOut: [String] = []
        for device in inventory.devices where only == nil || device.index == only {
            if let problem = OpenCL.fitness(of: device).problem {
                leftOut.append("opencl:\(device.index) (\(device.name), \(device.platform.name)) \(problem)")
                continue
            }
            for shape in KernelShape.allCases {
                variants.append(
                    DeviceVariant(
                        title:
                            "opencl:\(device.index) (\(device.name), \(device.platform.name)), \(shape.rawValue) kernels",
                        device: .openCL(device.index), shape: shape))
            }
        }
        if inventory.devices.isEmpty {
            leftOut.append(inventory.unavailableReason ?? "No OpenCL device was found.")
        }
        return (variants, leftOut)
    }
}

/// Compares ways of computing with a first one, bit by bit.
package final class DeviceCheck {
    private let model: Model
    private let pictures: [Picture]
    private let reference: DeviceVariant
    /// Those that can be applied to the network.
    private let methods: [String]
    /// A few of each method's variants of a picture are enough: all are computed alike.
    private static let variants = 3
    private let values: [Float]
    private let expected: [ImageExplanation]

    package struct Outcome: Sendable {
        /// How many values of the network, forward and backward, were compared, and how many numbers they have.
        package let values: Int, numbers: Int
        /// The maps that were compared, in all batches.
        package let maps: Int
        /// The first difference, in a sentence; nil if there is none.
        package let difference: String?
    }

    /// The first few pictures go through all layers at once; all of them are explained.
    /// - Parameter methods: those that cannot be applied to the network are left out.
    package init(
        _ model: Model, pictures: [Picture], reference: DeviceVariant, methods: [String] = Options.methods
    )
        throws
    {
        self.model = model
        self.pictures = pictures
        self.reference = reference
        var layers: [Layer] = []
        do {
            layers = try model.layers(named: Options().layer).map(\.layer)
        } catch let error as ExplainError where error.kind == .layer {
            // No map could lie on any; methods that need none are left.
        }
        // A method that this network is too small for, say, is no matter of devices.
        let types = try methods.map(ExplainerList.named)
        let shown = try model.showing(layers, for: types)
        self.methods = try types.filter {
            try ExplanationSession.MadeMethod.refusal($0, shown, layers: layers) == nil
        }.map { $0.name }
        values = try pictures.prefix(2).flatMap { try model.tensor($0) }
        expected = try DeviceCheck.explain(model, pictures, reference, self.methods, batch: 1)
    }

    private static func explain(
        _ model: Model, _ pictures: [Picture], _ variant: DeviceVariant, _ methods: [String], batch: Int
    ) throws -> [ImageExplanation] {
        var options = Options()
        options.methods = methods
        options.device = variant.device
        options.threads = variant.threads
        options.instructionSet = variant.instructionSet
        options.kernelShape = variant.shape
        options.batch = batch
        options.mostVariants = variants
        let session = try ExplanationSession(model, options: options)
        var results: [ImageExplanation] = []
        try session.explain(pictures) { _, result in results.append(try result.get()) }
        return results
    }

    /// Every layer forward and backward, then whole explanations in batches of 1 and of 3, for each way of computing.
    package func check(_ variants: [DeviceVariant], report: (DeviceVariant, Outcome) throws -> Void) throws {
        let devices = try ([reference] + variants).map {
            try $0.device.open(threads: $0.threads, instructionSet: $0.instructionSet, shape: $0.shape).device
        }
        var rest = variants[...]
        do {
            _ = try model.network.verify(
                values, batch: min(2, pictures.count), height: model.inputHeight, width: model.inputWidth,
                on: devices
            ) { layers, _ in
                let variant = rest.removeFirst()
                try report(variant, outcome(variant, layers))
            }
        } catch {
            throw ExplainError(error, .device)
        }
    }

    private func outcome(_ variant: DeviceVariant, _ layers: Verification) throws -> Outcome {
        var difference = layers.difference.map {
            "\($0.name) differs in \($0.count) of \($0.total) numbers, first at \($0.index): "
                + "\(Float(bitPattern: $0.bits)) (0x\(String($0.bits, radix: 16))) instead of "
                + "\(Float(bitPattern: $0.referenceBits)) (0x\(String($0.referenceBits, radix: 16)))"
        }
        var maps = 0
        for batch in variant.instructionSet == "baseline" ? [3] : [1, 3] where difference == nil {
            // Without fused multiply-adds in hardware many passes take minutes.
            let own = try methods.filter {
                try variant.instructionSet != "baseline" || !ExplainerList.named($0).asksManyTimes
            }
            let found = try DeviceCheck.explain(model, pictures, variant, own, batch: batch)
            for (image, wanted) in zip(found, expected) where difference == nil {
                let scores = zip(image.predictions, wanted.predictions)
                if scores.contains(where: {
                    $0.index != $1.index || !same([$0.logit, $0.probability], [$1.logit, $1.probability])
                }) {
                    difference = "the predictions for \(image.name), in a batch of \(batch), differ"
                }
                let others = wanted.explanations.filter { own.contains($0.method) }
                guard image.explanations.count == others.count else {
                    difference = "the maps of \(image.name), in a batch of \(batch), are others"
                    break
                }
                for (map, other) in zip(image.explanations, others) where difference == nil {
                    maps += 1
                    if !same(map.map.values, other.map.values)
                        || !same(map.heatmap.values, other.heatmap.values)
                        || !same(map.sampleError?.values ?? [], other.sampleError?.values ?? [])
                        || !same(sums(map), sums(other))
                    {
                        difference = "the \(map.title) map of \(image.name), in a batch of \(batch), differs"
                    }
                }
            }
        }
        return Outcome(values: layers.values, numbers: layers.numbers, maps: maps, difference: difference)
    }

    private func sums(_ map: Explanation) -> [Float] {
        map.completeness.map { [$0.sum, $0.expected] } ?? []
    }

    private func same(_ a: [Float], _ b: [Float]) -> Bool {
        a.count == b.count
            && zip(a, b).allSatisfy { $0.bitPattern == $1.bitPattern || ($0.isNaN && $1.isNaN) }
    }
}
