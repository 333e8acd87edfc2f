// What can be chosen.

import CLRuntime
import Glibc
import Inference
import Kernels
import Text

/// Where the arithmetic runs. The bits do not depend on it.
public enum DeviceChoice: Sendable, Equatable {
    /// The first OpenCL GPU that can keep the promise of equal bits, else the CPU;
    /// `ExplanationSession.deviceNote` then says why.
    case auto
    /// The processor, without OpenCL.
    case cpu
    /// The OpenCL device of that index (see `app devices`).
    case openCL(Int)

    /// Reads `auto`, `cpu`, `opencl` (the first) or `opencl:N`, in any case; nil for anything else.
    public init?(_ text: String) {
        let text = text.lowercased()
        switch text {
        case "auto": self = .auto
        case "cpu": self = .cpu
        case "opencl": self = .openCL(0)
        default:
            guard text.hasPrefix("opencl:"), let n = Int(text.dropFirst(7)), n >= 0 else { return nil }
            self = .openCL(n)
        }
    }

    /// The device, and a sentence where `auto` fell back.
    /// - Parameter shape: the shape of the OpenCL kernels; what suits the device if nil.
    package func open(threads: Int? = nil, instructionSet: String? = nil, shape: KernelShape? = nil) throws
        -> (
            device: Device, note: String?
        )
    {
        do {
            func cpu() throws -> Device { .cpu(try CPU(threads: threads, instructionSet: instructionSet)) }
            switch self {
            case .cpu: return (try cpu(), nil)
            case .openCL(let n):
                let inventory = CLInventory.discover()
                guard inventory.devices.indices.contains(n) else {
                    let reason =
                        inventory.unavailableReason
                        ?? "There is no OpenCL device \(n): their number is \(inventory.devices.count), and the first is 0 (see `app devices`)."
                    throw DeviceError(reason)
                }
                return (.openCL(try OpenCL(inventory.devices[n], shape: shape)), nil)
            case .auto:
                let inventory = CLInventory.discover()
                var refused: [String] = []
                for device in inventory.devices where device.kind == .gpu && device.isAvailable {
                    do {
                        return (.openCL(try OpenCL(device, shape: shape)), nil)
                    } catch {
                        refused.append("\(error)")
                    }
                }
                return (
                    try cpu(),
                    refused.isEmpty
                        ? "no OpenCL GPU was found, so the CPU computes" : refused.joined(separator: " ")
                )
            }
        } catch {
            throw ExplainError(error, .device)
        }
    }
}

/// What a session is made with. Maps depend on what is chosen down to `seed` (and on the model with its preprocessing, and the
/// picture); no bit of them depends on anything else here.
public struct Options: Sendable {
    /// Names of methods, from `Options.methods`: results come in this order.
    public var methods = ["gradcam"]
    /// Whether methods that cannot explain a network are left out, and `ExplanationSession.leftOut` says why; else they are an error. One with
    /// settings is never left out.
    public var leavesOutInapplicable = false
    /// Which classes methods explain that know classes.
    public var classChoice = ClassChoice.top(1)
    /// Where pictures have their own classes from, for results; nil if they have none.
    package var ownClasses: String?
    /// An index or a name of a class that explained ones are compared with: its number is subtracted from theirs. Nil for none.
    public var against: String?
    /// Whether what speaks against a class is explained: the negative of its number.
    public var isNegative = false
    /// Whether logits or probabilities are explained; nil for what each method's paper takes.
    public var scale: Target.Scale?
    /// `auto`, or a layer by its name, index, or the value that it makes; several with commas between them, where `*` and `?` stand
    /// for any characters of names. The maps of several layers are fused: each is scaled from its minimum … maximum to 0 … 1
    /// (maps that can speak against a class: from 0), enlarged bilinearly to the largest grid, and their mean is taken.
    public var layer = "auto"
    /// Whether several layers have a map each, in place of one that is fused of all.
    public var layersApart = false
    /// What is chosen of each method, by the names of the method and of the setting, as people type it (`app methods NAME`); the
    /// rest is as the method's paper has it. `settings["fem"] = ["k": "1"]`.
    public var settings: [String: [String: String]] = [:]
    /// Changes of the picture whose maps are averaged: each method's map is the mean of its maps of all versions, in its own units. Which
    /// classes are explained, and what is said of the picture, is of the picture itself.
    public var augmentations: Set<Augmentation> = []
    /// Of the samples that some methods draw.
    public var seed: UInt64 = 0
    /// For comparisons of devices: see `ExplainedNetwork.mostVariants`.
    package var mostVariants: Int?
    /// Where the arithmetic runs. No bit depends on it.
    public var device = DeviceChoice.auto
    /// How many pictures are computed at a time, at most: a CPU gains nothing from more than a few for each
    /// thread. Memory grows with it. A session with fewer pictures computes the rest for nothing. No bit depends on it.
    public var batch = 1
    /// CPU threads; all cores if nil. No bit depends on it.
    public var threads: Int?
    /// Shape of the OpenCL kernels, for tests; what suits the device if nil.
    package var kernelShape: KernelShape?
    package var instructionSet: String?
    /// A device for tests, in place of `device`.
    package var opened: Device?

    /// The device, and a sentence where `auto` fell back.
    package func openDevice() throws -> (device: Device, note: String?) {
        if let opened { return (opened, nil) }
        return try device.open(threads: threads, instructionSet: instructionSet, shape: kernelShape)
    }

    public init() {}

    /// Takes one setting of one method.
    /// - Parameter text: `METHOD.SETTING=VALUE`, such as `fem.k=1`.
    /// - Throws: `ExplainError` of kind `method`. Whether the method has that setting is checked by a session.
    public mutating func set(_ text: String) throws {
        let typed = try TypedSetting(
            text,
            form:
                "METHOD.SETTING=VALUE, such as fem.k=1 (`app methods NAME` lists a method's settings)")
        settings[try ExplainerList.named(typed.owner).name, default: [:]][typed.name] = typed.value
    }

    /// The names of all methods.
    public static var methods: [String] { ExplainerList.all.map { $0.name } }
}
