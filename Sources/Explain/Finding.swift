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
        "deeplift": Finding(904, of: 323),
        "ablationcam": Finding(762, of: 323),
        "vargrad": Finding(800, of: 30),
        "cam": Finding(718, of: 323),
        "multilayer-fem": Finding(783, of: 323),
        "smoothgrad-squared": Finding(800, of: 30),
        "kpcacam": Finding(734, of: 323),
        "guided-gradcam": Finding(842, of: 323),
        "occlusion": Finding(967, of: 30),
        "hirescam": Finding(718, of: 323),
        "eigencam": Finding(734, of: 323),
        "integrated-gradients": Finding(900, of: 30),
        "kernel-shap": Finding(700, of: 30),
        "expected-gradients": Finding(867, of: 30),
        "gradcam": Finding(718, of: 323),
        "xgradcam": Finding(718, of: 323),
        "elementwise-gradcam": Finding(743, of: 323),
        "layercam": Finding(743, of: 323),
        "gradcam++": Finding(749, of: 323),
        "smooth-gradcam++": Finding(749, of: 323),
        "shapleycam": Finding(718, of: 323),
        "input-x-gradient": Finding(817, of: 323),
        "lime": Finding(667, of: 30),
        "rise": Finding(900, of: 30),
        "fem": Finding(706, of: 323),
        "guided-backprop": Finding(789, of: 323),
        "smoothgrad": Finding(800, of: 30),
        "finercam": Finding(653, of: 323),
        "reciprocam": Finding(718, of: 323),
        "scorecam": Finding(600, of: 30),
        "iscam": Finding(600, of: 30),
        "sscam": Finding(500, of: 30),
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
