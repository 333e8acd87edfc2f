// Measures of whether a map lies on the object. They ask the network nothing.

/// Where an object is, in what the network sees.
package struct ObjectMask: Sendable, Equatable {
    /// [H, W], row by row.
    package let inside: [Bool]
    package let height: Int, width: Int
    /// How many pixels it has; at least 1.
    package let count: Int

    /// - Returns: nil if it has no pixel.
    package init?(_ inside: [Bool], height: Int, width: Int) {
        precondition(inside.count == height * width)
        count = inside.count { $0 }
        guard count > 0 else { return nil }
        (self.inside, self.height, self.width) = (inside, height, width)
    }
}

extension Metric {
    /// Measures where there is an object.
    fileprivate func measured(_ map: MeasuredMap, _ body: (ObjectMask) -> Measurement) -> Measurement {
        switch map.picture.object(ofClass: map.target.classIndex) {
        case .success(let object): body(object)
        case .failure(let reason): .nothing(reason.words)
        }
    }
}

/// Zhang et al., “Top-down Neural Attention by Excitation Backprop”, ECCV 2016, section 4.1: whether the largest number lies on the object. (They allow 15 pixels
/// beside it: `tolerance`.)
package struct PointingGame: Metric {
    package struct Settings: MethodSettings {
        package var tolerance = 0
        package init() {}
        package static let list = [
            MethodSetting<Settings>(
                "tolerance", \.tolerance, "how many pixels beside the object still count", 0...1000)
        ]
    }
    package static let name = "pointing-game"
    package static let title = "Pointing game"
    package static let family = MetricFamily.localisation
    package static let formula = "1 if the largest number lies on the object, else 0"
    package static let source = "Zhang et al. 2016, section 4.1"
    package static let better = Better.higher
    private let settings: Settings
    package init(_ settings: Settings) { self.settings = settings }

    package func measure(_ map: MeasuredMap) -> Measurement {
        measured(map) { object in
            let place = Int(map.ranking[0])
            guard map.values.contains(where: { $0 != map.values[0] }) else {
                return .nothing("the map is the same everywhere")
            }
            let (y, x, reach) = (place / object.width, place % object.width, settings.tolerance)
            for v in max(0, y - reach)...min(object.height - 1, y + reach) {
                for u in max(0, x - reach)...min(object.width - 1, x + reach)
                where (v - y) * (v - y) + (u - x) * (u - x) <= reach * reach {
                    if object.inside[v * object.width + u] { return Measurement(1) }
                }
            }
            return Measurement(0)
        }
    }
}

/// Wang et al., “Score-CAM”, CVPR workshops 2020, section 4.3 (energy-based pointing game): the share of what is above 0 that lies on the object.
package struct EnergyInObject: Metric {
    package static let name = "energy"
    package static let title = "Energy in the object"
    package static let family = MetricFamily.localisation
    package static let formula = "sum of max(0, map) on the object / sum of max(0, map)"
    package static let source = "Wang et al. 2020 (Score-CAM), section 4.3"
    package static let better = Better.higher
    package init(_: NoSettings) {}

    package func measure(_ map: MeasuredMap) -> Measurement {
        measured(map) { object in
            var (inside, all) = (0.0, 0.0)
            for (i, value) in map.values.enumerated() where value > 0 {
                all += Double(value)
                if object.inside[i] { inside += Double(value) }
            }
            return all > 0 && all.isFinite
                ? Measurement(inside / all) : .nothing("nothing of the map is above 0")
        }
    }
}

/// The intersection over the union of the object and of where the heat map is at least a threshold.
package struct ObjectIoU: Metric {
    package struct Settings: MethodSettings {
        package var threshold: Float = 0.5
        package init() {}
        package static let list = [
            MethodSetting<Settings>(
                "threshold", \.threshold, "from which on the heat map counts",
                where: ("above 0, at most 1", { $0 > 0 && $0 <= 1 }))
        ]
    }
    package static let name = "iou"
    package static let title = "IoU"
    package static let family = MetricFamily.localisation
    package static let formula = "intersection over union of the object and of heat map >= 0.5"
    package static let source = "Zhou et al. 2016, section 3.2"
    package static let better = Better.higher
    private let settings: Settings
    package init(_ settings: Settings) { self.settings = settings }

    package func measure(_ map: MeasuredMap) -> Measurement {
        measured(map) { object in
            var (both, either) = (0, 0)
            for (i, value) in map.heat.enumerated() {
                let isHot = value >= settings.threshold
                if isHot && object.inside[i] { both += 1 }
                if isHot || object.inside[i] { either += 1 }
            }
            return Measurement(Double(both) / Double(either))
        }
    }
}

/// Arras, Osman, Samek, “CLEVR-XAI”, Information Fusion 2022, section 3.3 (relevance rank accuracy): of as many of the most important pixels as the object has,
/// the share that lies on it.
package struct TopPrecision: Metric {
    package static let name = "top-precision"
    package static let title = "Precision of the top"
    package static let family = MetricFamily.localisation
    package static let formula = "share on the object of the k most important pixels, k the object's size"
    package static let source = "Arras et al. 2022, section 3.3"
    package static let better = Better.higher
    package init(_: NoSettings) {}

    package func measure(_ map: MeasuredMap) -> Measurement {
        measured(map) { object in
            let hits = map.ranking.prefix(object.count).count { object.inside[Int($0)] }
            return Measurement(Double(hits) / Double(object.count))
        }
    }
}
