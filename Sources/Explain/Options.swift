// What can be chosen.

import CLRuntime
import Foundation
import Inference
import Kernels

/// Which class of each image is explained.
public enum ClassChoice: Sendable, Equatable {
    /// The `n` classes with the highest logits.
    case top(Int)
    case index(Int)
    case label(String)

    /// Reads `top1`, `top3`, `386`, or a class name.
    public init(_ text: String) {
        if text.hasPrefix("top"), let n = Int(text.dropFirst(3)), n > 0 {
            self = .top(n)
        } else if let index = Int(text) {
            self = .index(index)
        } else {
            self = .label(text)
        }
    }

    /// The fixed class, or nil if it depends on the image.
    func index(in model: Model, classes: Int) throws -> Int? {
        switch self {
        case .top(let n):
            guard n >= 1 else { throw ExplainError(.classChoice, "There is no top \(n); the least is top1.") }
            guard n <= classes else { throw ExplainError(.classChoice, "The network has \(classes) classes, so there is no top \(n).") }
            return nil
        case .index(let i):
            guard i >= 0, i < classes else {
                throw ExplainError(.classChoice, "There is no class \(i): the network has the classes 0 to \(classes - 1).")
            }
            return i
        case .label(let name):
            guard !model.labels.isEmpty else {
                throw ExplainError(
                    .classChoice, "The model carries no class names, so “\(name)” means nothing; give its index, or a file with --labels.")
            }
            let wanted = name.lowercased()
            let whole = model.labels.indices.filter { model.labels[$0].lowercased() == wanted }
            let part = model.labels.indices.filter {
                model.labels[$0].lowercased().split(separator: ",").contains { $0.trimmingCharacters(in: .whitespaces) == wanted }
            }
            let found = whole.isEmpty ? part : whole
            guard found.count <= 1 else {
                throw ExplainError(
                    .classChoice,
                    "The name “\(name)” stands for the classes \(found.map(String.init).joined(separator: " and ")); give the index.")
            }
            guard let index = found.first, index < classes else {
                let near = nearMatches(name, among: model.labels)
                throw ExplainError(
                    .classChoice,
                    "There is no class “\(name)”."
                        + (near.isEmpty ? "" : " Did you mean \(near.map { "“\($0)”" }.joined(separator: ", "))?"))
            }
            return index
        }
    }
}

/// Where the arithmetic runs. The bits do not depend on it.
public enum DeviceChoice: Sendable, Equatable {
    /// A GPU if OpenCL has one, else the CPU.
    case auto
    case cpu
    /// The OpenCL device of that index (see `app devices`).
    case openCL(Int)

    /// Reads `auto`, `cpu`, `opencl` or `opencl:N`.
    public init?(_ text: String) {
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
    package func open(threads: Int? = nil, instructionSet: String? = nil, shape: KernelShape? = nil) throws -> (
        device: Device, note: String?
    ) {
        do {
            func cpu() throws -> Device { .cpu(try CPU(threads: threads, instructionSet: instructionSet)) }
            switch self {
            case .cpu: return (try cpu(), nil)
            case .openCL(let n):
                let inventory = CLInventory.discover()
                guard inventory.devices.indices.contains(n) else {
                    let reason = inventory.unavailableReason
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
                return (try cpu(), refused.isEmpty ? "no OpenCL GPU was found, so the CPU computes" : refused.joined(separator: " "))
            }
        } catch {
            throw ExplainError(error, .device)
        }
    }
}

/// What a session is made with. Everything that can change a bit of a map is here, and nothing that cannot is among `methods`,
/// `layer` and `femThreshold`.
public struct Options: Sendable {
    /// Names of methods, from `Options.methods`.
    public var methods = ["gradcam"]
    public var classChoice = ClassChoice.top(1)
    /// `auto`, or a layer by its name, index, or the value that it makes.
    public var layer = "auto"
    /// FEM's k: how many standard deviations above its mean a channel must be to count.
    public var femThreshold: Float = 2
    public var device = DeviceChoice.auto
    /// How many images are computed at a time. No bit depends on it.
    public var batch = 8
    /// CPU threads; all cores if nil. No bit depends on it.
    public var threads: Int?
    /// Shape of the OpenCL kernels, for tests; what suits the device if nil.
    package var kernelShape: KernelShape?
    package var instructionSet: String?

    public init() {}

    /// The names of all methods.
    public static var methods: [String] { ExplainerList.all.map { $0.name } }
}
