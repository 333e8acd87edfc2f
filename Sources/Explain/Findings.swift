// What was found of methods, where it was measured: Documentation/Comparison.md has all of it, and says how.

/// In how many scenes the largest number of a method's map lies on the object (the pointing game), as `make localisation` found.
package enum Findings {
    package static let network = "EfficientNet-Lite0"
    // Written by `make localisation`.
    /// By method, of a thousand scenes.
    package static let pointing = [
        "lrp": 985,
        "fullgrad": 963,
        "eigengradcam": 780,
        "guided-gradcam": 842,
        "multilayer-fem": 783,
        "kpcacam": 734,
        "eigencam": 734,
        "hirescam": 718,
        "input-x-gradient": 817,
        "gradcam": 718,
        "layercam": 743,
        "gradcam++": 749,
        "xgradcam": 718,
        "guided-backprop": 789,
        "fem": 706,
        "finercam": 653,
        "saliency": 641,
        "randomcam": 362,
        "deconvnet": 133,
    ]
    /// The same of a map that is the picture's own edges: what a method must beat.
    package static let edges = 789
    // End of what is written.

    package static func percent(_ thousandths: Int) -> String { "\(thousandths / 10).\(thousandths % 10) %" }

    /// In one line; nil of methods that were not measured.
    package static func sentence(_ method: String) -> String? {
        pointing[method].map {
            "the object, in \(percent($0)) of scenes (pointing game, \(network); the picture's own edges in \(percent(edges)))"
        }
    }
}
