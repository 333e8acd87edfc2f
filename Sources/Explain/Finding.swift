// What was found of methods, where it was measured: Documentation/Comparison.md has all of it, and says how.

/// In how many scenes the largest number of a method's map lies on the object (the pointing game), as `make localisation` found.
package struct Finding: Sendable, Equatable {
    /// Of a thousand, and of how many scenes it is the share.
    package let thousandths: Int, scenes: Int

    package init(_ thousandths: Int, of scenes: Int) {
        (self.thousandths, self.scenes) = (thousandths, scenes)
    }

    package var percent: String { "\(thousandths / 10).\(thousandths % 10) %" }

    package static let network = "EfficientNet-Lite0"
    // Written by `make localisation`.
    package static let pointing = [
        "lrp": Finding(985, of: 323),
        "fullgrad": Finding(963, of: 323),
        "eigengradcam": Finding(780, of: 323),
        "guided-gradcam": Finding(842, of: 323),
        "multilayer-fem": Finding(783, of: 323),
        "kpcacam": Finding(734, of: 323),
        "eigencam": Finding(734, of: 323),
        "hirescam": Finding(718, of: 323),
        "input-x-gradient": Finding(817, of: 323),
        "gradcam": Finding(718, of: 323),
        "layercam": Finding(743, of: 323),
        "gradcam++": Finding(749, of: 323),
        "xgradcam": Finding(718, of: 323),
        "guided-backprop": Finding(789, of: 323),
        "fem": Finding(706, of: 323),
        "finercam": Finding(653, of: 323),
        "saliency": Finding(641, of: 323),
        "randomcam": Finding(362, of: 323),
        "deconvnet": Finding(133, of: 323),
    ]
    /// The same of a map that is the picture's own edges: what a method must beat.
    package static let edges = Finding(789, of: 323)
    // End of what is written.

    /// In one line; nil of methods that were not measured.
    package static func sentence(_ method: String) -> String? {
        pointing[method].map {
            "the object, in \($0.percent) of \($0.scenes) scenes (pointing game, \(network); the picture's own edges in \(edges.percent) of \(edges.scenes))"
        }
    }
}
