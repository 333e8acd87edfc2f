// What can be chosen.

import CLRuntime
import Foundation
import Inference
import Kernels

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
                        ?? "There is no OpenCL device \(n): there are \(inventory.devices.count), counted from 0 (see `app devices`)."
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

/// What a session is made with. Maps depend on `methods`, `classChoice`, `layer` and `femThreshold` (and on
/// the model with its preprocessing, and the picture); no bit of them depends on anything else here.
public struct Options: Sendable {
    /// Names of methods, from `Options.methods`: results come in this order.
    public var methods = ["gradcam"]
    /// Which classes methods explain that know classes.
    public var classChoice = ClassChoice.top(1)
    /// `auto`, or a layer by its name, index, or the value that it makes.
    public var layer = "auto"
    /// FEM's k: how many standard deviations above its mean a channel must be to count; at least 0, and less
    /// than √(H W − 1) for a layer of H × W cells.
    public var femThreshold: Float = 2 {
        didSet { settings[FEM.name, default: [:]]["k"] = "\(femThreshold)" }
    }
    /// What is chosen of each method, by the names of the method and of the setting.
    package var settings: [String: [String: String]] = [:]
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

    /// The names of all methods.
    public static var methods: [String] { ExplainerList.all.map { $0.name } }
}
