// Measures of maps: exact numbers, independent references in double precision, and equal bits on all devices.

import Explain
import Files
import Foundation
import Imaging
import Inference
import Kernels
import ONNX
import TestSupport
import Testing
import Text

@Suite struct MetricTests {
    /// s₀ = Σ x of one channel of 2×2, s₁ = 0.
    private func sums() -> ONNXBuilder {
        var builder = ONNXBuilder(name: "sums")
        builder.input("x", ["N", 1, 2, 2])
        builder.initializer("w", [2, 4], floats: [1, 1, 1, 1, 0, 0, 0, 0])
        builder.node("Flatten", ["x"], ["flat"], name: "flatten")
        builder.node("Gemm", ["flat", "w"], ["s"], ["transB": 1], name: "linear")
        builder.output("s", ["N", 2])
        return builder
    }

    /// Three colours of 16×16, two convolutions, three classes.
    private func small() -> ONNXBuilder {
        var random = SeededRandom("a network whose maps are measured")
        func floats(_ count: Int, _ size: Float) -> [Float] {
            (0..<count).map { _ in random.float(-size, size) }
        }
        var builder = ONNXBuilder(name: "small")
        builder.input("x", ["N", 3, 16, 16])
        builder.initializer("w1", [6, 3, 3, 3], floats: floats(162, 0.004))
        builder.node(
            "Conv", ["x", "w1"], ["c1"], ["pads": [1, 1, 1, 1], "strides": [2, 2]], name: "conv1")
        builder.node("Relu", ["c1"], ["a1"], name: "relu1")
        builder.initializer("w2", [8, 6, 3, 3], floats: floats(432, 0.5))
        builder.node("Conv", ["a1", "w2"], ["c2"], ["pads": [1, 1, 1, 1]], name: "conv2")
        builder.node("Relu", ["c2"], ["a2"], name: "relu2")
        builder.node("GlobalAveragePool", ["a2"], ["p"], name: "pool")
        builder.node("Flatten", ["p"], ["f"], name: "flatten")
        builder.initializer("m", [3, 8], floats: floats(24, 2))
        builder.node("Gemm", ["f", "m"], ["s"], ["transB": 1], name: "linear")
        builder.output("s", ["N", 3])
        return builder
    }

    private func session(
        _ builder: ONNXBuilder, _ methods: [String], on device: Device? = nil, batch: Int = 1,
        choice: ClassChoice = .index(0)
    ) throws -> ExplanationSession {
        let model = try Model(Network(builder.model()), preprocessing: "none")
        var options = Options()
        (options.device, options.threads, options.opened, options.batch) = (.cpu, 2, device, batch)
        (options.methods, options.classChoice) = (methods, choice)
        return try ExplanationSession(model, options: options)
    }

    private func evaluation(
        _ session: ExplanationSession, _ metrics: [String]? = nil, settings: [String: [String: String]] = [:],
        objects: ObjectSource? = nil
    ) throws -> Evaluation {
        var options = EvaluationOptions()
        (options.metrics, options.settings, options.objects) = (metrics, settings, objects)
        return try Evaluation(session, options)
    }

    private func record(_ evaluation: Evaluation, _ picture: Picture) throws -> JSON {
        let image = try evaluation.session.explain(picture)
        return try evaluation.record(PictureRequest(picture), stem: "picture", .success(image))
    }

    private func map(_ record: JSON, _ place: Int = 0) -> JSON {
        guard case .array(let maps)? = record[key: "maps"] else { return .null }
        return maps[place]
    }
    private func value(_ record: JSON, _ metric: String, _ place: Int = 0) -> Double? {
        map(record, place)[key: "metrics"]?[key: metric]?.number
    }
    private func curve(_ record: JSON, _ metric: String) -> [Double] {
        guard case .array(let curve)? = map(record)[key: "curves"]?[key: metric] else { return [] }
        return curve.compactMap(\.number)
    }

    private func colours(_ name: String, _ count: Int = 768) -> [Float] {
        var random = SeededRandom(name)
        return (0..<count).map { _ in random.float(0, 255) }
    }

    // MARK: Exact numbers

    /// A classifier that returns Σ x, two steps, from and to zero: deletion [1, 0.3, 0], area 0.4; insertion [0, 0.7, 1], area 0.6.
    @Test func deletionAndInsertionOfSums() throws {
        let evaluation = try evaluation(
            session(sums(), ["input-x-gradient"]), ["deletion", "insertion"],
            settings: [
                "deletion": ["steps": "2", "score": "logit"],
                "insertion": ["steps": "2", "score": "logit", "baseline": "zero"],
            ])
        let record = try record(evaluation, .array([0.4, 0.3, 0.2, 0.1], name: "sums"))
        func close(_ a: [Double], _ b: [Double]) -> Bool {
            a.count == b.count && zip(a, b).allSatisfy { abs($0 - $1) < 1e-6 }
        }
        #expect(close(curve(record, "deletion"), [1, 0.3, 0]))
        #expect(close(curve(record, "insertion"), [0, 0.7, 1]))
        #expect(abs(try #require(value(record, "deletion")) - 0.4) < 1e-6)
        #expect(abs(try #require(value(record, "insertion")) - 0.6) < 1e-6)
    }

    /// Of 4 pixels with x ⊙ H by hand: p and p′ are softmax of (Σ x, 0).
    @Test func dropOfSums() throws {
        let evaluation = try evaluation(
            session(sums(), ["input-x-gradient"]),
            ["average-drop", "increase", "average-gain", "sufficiency"])
        let x: [Float] = [0.4, -0.3, 0.2, 0.1]
        let record = try record(evaluation, .array(x, name: "sums"))
        func p(_ sum: Double) -> Double { 1 / (1 + exp(-sum)) }
        // The map is x; its 0.99 quantile is its largest number; the heat map is max(0, x) / 0.4.
        let heat = [1, 0, 0.5, 0.25]
        let left = p(zip(x, heat).reduce(0) { $0 + Double($1.0) * $1.1 })
        let own = p(0.4)
        #expect(abs(try #require(value(record, "average-drop")) - max(0, own - left) / own) < 1e-6)
        #expect(value(record, "increase") == (left > own ? 1 : 0))
        #expect(abs(try #require(value(record, "average-gain")) - max(0, left - own) / (1 - own)) < 1e-6)
        // Of four pixels the most important 5, 10 and 20 percent are one, and 50 percent two.
        let kept = [0.4, 0.4, 0.4, 0.6].map(p)
        let expected = own - kept.reduce(0, +) / 4
        #expect(abs(try #require(value(record, "sufficiency")) - expected) < 1e-6)
    }

    @Test func rankingBreaksTiesInReadingOrder() throws {
        let session = try session(sums(), ["input-x-gradient"])
        session.keepsInput = true
        func ranking(_ x: [Float]) throws -> [Int32] {
            let image = try session.explain(.array(x, name: "ties"))
            let picture = MeasuredPicture(image, session, try Questions(session), classIndex: 0)
            return MeasuredMap(image.explanations[0], of: picture, probability: 1).ranking
        }
        #expect(try ranking([0, 1, 1, -1]) == [1, 2, 0, 3])
        #expect(try ranking([0, -0.0, 0, -0.0]) == [0, 1, 2, 3])
        #expect(try ranking([-2, -1, 3, 3]) == [2, 3, 1, 0])
    }

    // MARK: References

    /// ROAD's equations, solved here as a whole by elimination in double precision.
    @Test func imputationSolvesItsEquations() throws {
        var random = SeededRandom("pixels that are filled in")
        for round in 0..<60 {
            let (height, width) = (1 + random.index(below: 9), 1 + random.index(below: 9))
            let cells = height * width
            let share = random.float(0, 1)
            let removed = (0..<cells).map { _ in random.float(0, 1) < share }
            let channels = 1 + round % 5
            let picture = (0..<channels * cells).map { _ in random.float(-3, 3) }
            let filled = NoisyLinearImputer(height: height, width: width).filled(
                picture, removed: removed, noise: nil)
            let unknown = (0..<cells).filter { removed[$0] }
            guard !unknown.isEmpty, unknown.count < cells else {
                #expect(filled == picture)
                continue
            }
            for channel in 0..<channels {
                var rows = unknown.map { i -> [Double] in
                    var row = [Double](repeating: 0, count: unknown.count + 1)
                    for dy in -1...1 {
                        for dx in -1...1 where (dy, dx) != (0, 0) {
                            let (y, x) = (i / width + dy, i % width + dx)
                            guard (0..<height).contains(y), (0..<width).contains(x) else { continue }
                            let weight = dy == 0 || dx == 0 ? 1.0 / 6 : 1.0 / 12
                            row[unknown.firstIndex(of: i)!] += weight
                            if let j = unknown.firstIndex(of: y * width + x) {
                                row[j] -= weight
                            } else {
                                row[unknown.count] +=
                                    weight * Double(picture[channel * cells + y * width + x])
                            }
                        }
                    }
                    return row
                }
                for k in rows.indices {
                    let pivot = (k..<rows.count).max { abs(rows[$0][k]) < abs(rows[$1][k]) }!
                    rows.swapAt(k, pivot)
                    for r in rows.indices where r != k {
                        let factor = rows[r][k] / rows[k][k]
                        if factor != 0 { for c in k...rows.count { rows[r][c] -= factor * rows[k][c] } }
                    }
                }
                for (k, i) in unknown.enumerated() {
                    let expected = rows[k][rows.count] / rows[k][k]
                    let found = Double(filled[channel * cells + i])
                    #expect(abs(found - expected) < 2e-6 * max(1, abs(expected)), "round \(round)")
                }
                for i in 0..<cells where !removed[i] {
                    #expect(filled[channel * cells + i] == picture[channel * cells + i])
                }
            }
        }
    }

    /// What is measured of a map beside others is what is measured of it alone, whatever they share.
    @Test func metricsDoNotDisturbEachOther() throws {
        let settings = [
            "road": ["noise": "0"], "road-most": ["noise": "0.3"], "road-least": ["noise": "0.1"],
            "deletion": ["steps": "4"], "insertion": ["steps": "4"], "infidelity": ["samples": "4"],
            "pixel-flipping": ["steps": "4", "baseline": "white"],
        ]
        let names = MetricList.all.filter { !$0.needsObject && $0.name != "stability-jpeg" }.map { $0.name }
        let picture = Picture.array(colours("together"), name: "together")
        let session = try session(small(), ["gradcam", "saliency"], choice: .top(1))
        let together = try record(evaluation(session, names, settings: settings), picture)
        for name in names {
            let alone = try record(
                evaluation(session, [name], settings: settings.filter { $0.key == name }), picture)
            for place in 0..<2 {
                #expect(value(alone, name, place) == value(together, name, place), "\(name)")
            }
        }
        #expect(value(together, "road-most") != nil && value(together, "average-gain") != nil)
    }

    /// The best β, and what is left, from the definition, asking the network for one picture after the other.
    @Test func infidelityFromItsDefinition() throws {
        let session = try session(small(), ["input-x-gradient"])
        let evaluation = try evaluation(session, ["infidelity"], settings: ["infidelity": ["samples": "9"]])
        let x = colours("infidelity")
        let picture = Picture.array(x, name: "infidelity")
        let record = try record(evaluation, picture)
        let image = try session.explain(picture)
        let questions = try Questions(session)
        let measured = MeasuredPicture(image, session, questions, classIndex: 0)
        var settings = Infidelity.Settings()
        settings.samples = 9
        let map = image.explanations[0].map.values
        let target = Target(0, scale: .probability)
        let p = Double(try questions.values(of: target, count: 1) { _ in x }[0])
        var pairs: [(sum: Double, drop: Double)] = []
        for square in Infidelity(settings).squares(measured) {
            var changed = x
            var sum = 0.0
            for c in 0..<3 {
                for v in square.top..<square.top + square.height {
                    for u in square.left..<square.left + square.width {
                        let i = c * 256 + v * 16 + u
                        sum += Double(x[i]) * Double(map[v * 16 + u])
                        changed[i] = 0
                    }
                }
            }
            let fixed = changed
            pairs.append((sum, p - Double(try questions.values(of: target, count: 1) { _ in fixed }[0])))
        }
        #expect(Set(pairs.map(\.sum)).count > 4)
        let beta = pairs.reduce(0) { $0 + $1.sum * $1.drop } / pairs.reduce(0) { $0 + $1.sum * $1.sum }
        let expected = pairs.reduce(0) { $0 + pow(beta * $1.sum - $1.drop, 2) } / 9
        let found = try #require(value(record, "infidelity"))
        #expect(abs(found - expected) < 1e-9 + 1e-5 * expected)
        // A line explains itself: β Σ I φ is p's drop up to the curve of the softmax.
        #expect(found >= 0)
    }

    @Test func similarities() throws {
        let a: [Float] = [1, 2, 3, 4]
        let b: [Float] = [2, 4, 6, 8]
        #expect(abs(try #require(Similarity.correlation(a, b)) - 1) < 1e-12)
        #expect(abs(try #require(Similarity.correlation(a, b.reversed())) + 1) < 1e-12)
        #expect(Similarity.correlation(a, [1, 1, 1, 1]) == nil)
        #expect(abs(try #require(Similarity.overlap(a, [4, 3, 2, 1])) - 0.6) < 1e-12)
        #expect(Similarity.overlap(a, [0, 0, 0, 0]) == nil)
        #expect(Similarity.commonTenth([0, 1, 2, 3], [1, 0, 2, 3]) == 0)
        #expect(Similarity.commonTenth([0, 1, 2, 3], [0, 2, 1, 3]) == 1)
        // Equals share their rank: ranks of both are 0.5, 0.5, 2, 3 and 0, 1, 2.5, 2.5.
        let ranks = try #require(Similarity.rankCorrelation([1, 1, 5, 9], [0, 1, 7, 7]))
        #expect(abs(ranks - 4 / 4.5) < 1e-6)
        let plane = colours("structure", 400).map { $0 / 255 }
        #expect(abs(Similarity.structure(plane, plane, height: 20, width: 20) - 1) < 1e-6)
        #expect(Similarity.structure(plane, plane.reversed(), height: 20, width: 20) < 0.3)
    }

    // MARK: Statistics

    @Test func pairedTests() {
        // Five differences of one sign: of 32 signs two are as far from 0.
        #expect(Statistics.pairedTest([1, 2, 3, 4, 5], [0, 0, 0, 0, 0], seed: 0) == 2.0 / 32)
        #expect(Statistics.pairedTest([1, 2], [1, 2], seed: 0) == 1)
        #expect(Statistics.pairedTest([1, -1], [0, 0], seed: 0) == 1)
        var random = SeededRandom("many pictures")
        let a = (0..<60).map { _ in Double(random.float(-1, 1)) }
        #expect(Statistics.pairedTest(a.map { $0 + 1 }, a, seed: 3) == 1.0 / 5000)
        // Of two that differ by nothing but chance p is uniform: rarely small.
        let small = (0..<200).count { round in
            let b = (0..<20).map { _ in Double(random.float(-1, 1)) }
            let c = (0..<20).map { _ in Double(random.float(-1, 1)) }
            return Statistics.pairedTest(b, c, seed: UInt64(round)) < 0.05
        }
        #expect((2...22).contains(small))
        #expect(Statistics.corrected([0.01, 0.04, 0.03]) == [0.03, 0.06, 0.06])
    }

    @Test func intervals() throws {
        var random = SeededRandom("intervals")
        // The interval holds the mean of the distribution nearly always.
        let held = try (0..<200).count { round in
            let values = (0..<40).map { _ in Double(random.float(0, 1)) }
            let found = try #require(Statistics.estimate(values, seed: UInt64(round)))
            #expect(found.low <= found.mean && found.mean <= found.high)
            return found.low <= 0.5 && 0.5 <= found.high
        }
        #expect((178...200).contains(held))
        let values = (0..<40).map { Double($0) }
        #expect(Statistics.estimate(values, seed: 1) == Statistics.estimate(values, seed: 1))
        #expect(Statistics.estimate([], seed: 1) == nil)
        let one = try #require(Statistics.estimate([3], seed: 1))
        #expect((one.mean, one.low, one.high) == (3, 3, 3) && one.count == 1)
        // Where the two kinds of intervals meet they are nearly the same.
        let many = (0..<5000).map { _ in Double(random.float(0, 1)) }
        let a = try #require(Statistics.estimate(many, seed: 1))
        let b = try #require(Statistics.estimate(many + [0.5], seed: 1))
        #expect(abs((a.high - a.low) / (b.high - b.low) - 1) < 0.1)
    }

    // MARK: All metrics

    /// Below 16 pixels a border of a sixteenth is none, and a map is not stable because nothing was done.
    @Test func cropsOfNothingHaveNoNumber() throws {
        let session = try session(sums(), ["input-x-gradient"])
        let record = try record(
            try evaluation(session, ["stability-crop", "stability-flip"]), .array([1, 2, 3, 5], name: "x"))
        #expect(value(record, "stability-crop") == nil && value(record, "stability-flip") != nil)
        let note = map(record)[key: "notes"]?[key: "stability-crop"]?.asString ?? ""
        #expect(note.contains("2×2 pixels"), "\(note)")
    }

    /// What `app methods` says of methods is what the comparison found.
    @Test func findingsAreThoseOfTheComparison() throws {
        let root = Paths.parent(Paths.parent(Paths.parent(#filePath)))
        let page = try String(contentsOfFile: root + "/Documentation/Comparison.md", encoding: .utf8)
        let table = try #require(
            page.components(separatedBy: "**\(Finding.network.lowercased())**").dropFirst().first)
        var found: [String: Finding] = [:]
        // The first table has the methods that were measured on every scene, the second all on a part of these.
        for line in table.components(separatedBy: "\n**")[0].split(separator: "\n") {
            let cells = line.split(separator: "|").map { $0.trimmingCharacters(in: .whitespaces) }
            guard cells.count == 6, let share = Double(cells[2].prefix { $0 != " " }),
                let scenes = Int(cells[5]), found[cells[0]] == nil
            else { continue }
            found[cells[0]] = Finding(Int((share * 1000).rounded()), of: scenes)
        }
        #expect(found.removeValue(forKey: "(edges of the picture)") == Finding.edges)
        found = found.filter { !$0.key.hasPrefix("(") }
        #expect(found == Finding.pointing)
        // All that explain a network without attention, but for those that need another layer.
        let missing = Set(ExplainerList.all.map { $0.name }).subtracting(found.keys)
        #expect(missing == ["rollout", "gradient-rollout"])
        #expect(Finding.sentence("lrp")?.contains("98.5 %") == true && Finding.sentence("rollout") == nil)
    }

    @Test func everyMetricSaysWhatItIs() {
        #expect(Set(MetricList.all.map { $0.name }).count == MetricList.all.count)
        for metric in MetricList.all {
            #expect(!metric.title.isEmpty && !metric.formula.isEmpty && !metric.source.isEmpty)
            #expect(metric.name.allSatisfy { $0.isLowercase || $0 == "-" || $0.isNumber })
        }
    }

    private func photo(_ name: String) -> RGBImage {
        // Blobs, so that maps are not noise.
        var random = SeededRandom(name)
        var pixels = [UInt8](repeating: 0, count: 768)
        for _ in 0..<5 {
            let (y, x) = (random.index(below: 16), random.index(below: 16))
            let colour = (0..<3).map { _ in UInt8(random.index(below: 256)) }
            for v in max(0, y - 3)...min(15, y + 3) {
                for u in max(0, x - 3)...min(15, x + 3) {
                    for c in 0..<3 { pixels[3 * (16 * v + u) + c] = colour[c] }
                }
            }
        }
        return RGBImage(width: 16, height: 16, pixels: pixels)
    }

    /// The same records, to the last bit, on every device and in every batch; and every metric has a number.
    @Test func metricsHaveTheSameBitsOnAllDevices() throws {
        if let problem = Devices.openCLProblem { Issue.record("\(problem)") }
        let folder = try TemporaryDirectory()
        let path = folder.path + "/picture.png"
        try photo("measured").writePNG(to: path, overwrite: false)
        var mask = [UInt8](repeating: 0, count: 768)
        for i in 0..<90 { mask[i] = 255 }
        try RGBImage(width: 16, height: 16, pixels: mask).writePNG(
            to: folder.path + "/mask.png", overwrite: false)
        try FileManager.default.createDirectory(
            atPath: folder.path + "/masks", withIntermediateDirectories: false)
        try FileManager.default.moveItem(
            atPath: folder.path + "/mask.png", toPath: folder.path + "/masks/picture.png")
        let settings = [
            "deletion": ["steps": "7"], "insertion": ["steps": "5"], "pixel-flipping": ["steps": "300"],
            "infidelity": ["samples": "5"], "max-sensitivity": ["samples": "2"],
        ]
        var first: (name: String, line: String)?
        for device in Devices.all {
            for batch in [1, 3] {
                let evaluation = try evaluation(
                    session(
                        small(), ["gradcam", "saliency", "fem"], on: device.device, batch: batch,
                        choice: .top(1)),
                    settings: settings, objects: .masks(folder: folder.path + "/masks"))
                let record = try record(evaluation, .file(path))
                guard let known = first else {
                    first = (device.description, record.line)
                    for place in 0..<3 {
                        for metric in MetricList.all {
                            #expect(
                                value(record, metric.name, place) != nil, "\(metric.name) of map \(place)")
                        }
                    }
                    #expect(curve(record, "deletion").count == 8)
                    continue
                }
                #expect(record.line == known.line, "\(device), batch \(batch), is not \(known.name)")
            }
        }
    }

    // MARK: Objects

    /// Random boxes: a mask, COCO's JSON and Pascal VOC's XML say the same, and what is measured is what is found here.
    @Test func objectsAreWhereFilesSay() throws {
        let folder = try TemporaryDirectory()
        var random = SeededRandom("boxes")
        let session = try session(small(), ["gradcam"])
        for round in 0..<8 {
            let name = "cat \(round).png"
            let path = "\(folder.path)/\(name)"
            try photo("boxes \(round)").writePNG(to: path, overwrite: false)
            let (left, top) = (random.index(below: 12), random.index(below: 12))
            let (width, height) = (1 + random.index(below: 16 - left), 1 + random.index(below: 16 - top))
            func isInside(_ i: Int) -> Bool {
                (left..<left + width).contains(i % 16) && (top..<top + height).contains(i / 16)
            }
            let masks = "\(folder.path)/masks\(round)"
            try FileManager.default.createDirectory(atPath: masks, withIntermediateDirectories: false)
            try RGBImage(
                width: 16, height: 16,
                pixels: (0..<256).flatMap { isInside($0) ? [UInt8(0), 0, 1] : [0, 0, 0] }
            ).writePNG(to: "\(masks)/cat \(round).png", overwrite: false)
            let coco = """
                {"images": [{"id": 7, "file_name": "\(name)"}, {"id": 8, "file_name": "other.png"}],
                 "annotations": [{"image_id": 7, "bbox": [\(left), \(top), \(width), \(height)], "category_id": 3},
                                 {"image_id": 8, "bbox": [0, 0, 1, 1], "category_id": 3}],
                 "categories": [{"id": 3, "name": "cat & dog"}]}
                """
            try Data(coco.utf8).write(to: URL(fileURLWithPath: "\(folder.path)/\(round).json"))
            let voc = """
                <?xml version="1.0"?>
                <annotation><filename>\(name)</filename><size><width>16</width><height>16</height></size>
                <object><name>cat &amp; dog</name><bndbox><xmin>\(left + 1)</xmin><ymin>\(top + 1)</ymin>
                <xmax>\(left + width)</xmax><ymax>\(top + height)</ymax></bndbox>
                <part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>16</xmax><ymax>16</ymax></bndbox></part>
                </object></annotation>
                """
            try Data(voc.utf8).write(to: URL(fileURLWithPath: "\(folder.path)/\(round).xml"))
            let sources: [ObjectSource] = [
                .masks(folder: masks), .boxes(try BoxFile(path: "\(folder.path)/\(round).json")),
                .boxes(try BoxFile(path: "\(folder.path)/\(round).xml")),
            ]
            let image = try session.explain(.file(path))
            let map = image.explanations[0]
            let values = Plane(width: map.map.width, height: map.map.height, values: map.map.values)
                .resized(width: 16, height: 16).values.map { max(0, Double($0)) }
            let energy = values.indices.filter(isInside).reduce(0) { $0 + values[$1] } / values.reduce(0, +)
            let hot = map.heatmap.values.map { $0 >= 0.5 }
            let both = hot.indices.count { hot[$0] && isInside($0) }
            let either = hot.indices.count { hot[$0] || isInside($0) }
            let best = values.indices.max { values[$0] == values[$1] ? $0 > $1 : values[$0] < values[$1] }!
            let first = values.indices.sorted { values[$0] == values[$1] ? $0 < $1 : values[$0] > values[$1] }
                .prefix(width * height)
            for source in sources {
                let evaluation = try evaluation(
                    session, ["energy", "iou", "pointing-game", "top-precision"], objects: source)
                let record = try record(evaluation, .file(path))
                guard map.blank == nil else { continue }
                #expect(abs(try #require(value(record, "energy")) - energy) < 1e-9)
                #expect(value(record, "iou") == Double(both) / Double(either))
                #expect(value(record, "pointing-game") == (isInside(best) ? 1 : 0))
                #expect(
                    value(record, "top-precision") == Double(first.count(where: isInside))
                        / Double(first.count))
            }
        }
    }

    /// A place belongs to the pixel or box whose left and upper edge it lies on: of two boxes that touch, to one. Here the network sees every other
    /// pixel of 32×32, and the centres of what it sees are corners of pixels.
    @Test func edgesBelongToWhatBeginsThere() throws {
        let folder = try TemporaryDirectory()
        let session = try session(small(), ["gradcam"])
        var preprocessed = Options()
        (preprocessed.device, preprocessed.methods) = (.cpu, ["gradcam"])
        let model = try Model(
            session.model.network,
            preprocessing: {
                let path = "\(folder.path)/half.json"
                try Data(#"{"resize": {"width": 16, "height": 16}}"#.utf8).write(
                    to: URL(fileURLWithPath: path))
                return path
            }())
        let half = try ExplanationSession(model, options: preprocessed)
        let path = "\(folder.path)/cat.png"
        try RGBImage(
            width: 32, height: 32, pixels: (0..<3072).map { UInt8(truncatingIfNeeded: $0 &* 7 >> 2) }
        ).writePNG(to: path, overwrite: false)
        let image = try half.explain(.file(path))
        // The centre of what is seen in column u lies at 2u + 1.
        func inside(_ source: ObjectSource) throws -> [Int] {
            let objects = try source.objects(
                of: image, stem: "cat", Questions(half), PictureClasses.Resolver(half))
            let mask = try objects.mask(ofClass: 0).get()
            return mask.inside.indices.filter { mask.inside[$0] && $0 / 16 == 2 }.map { $0 % 16 }
        }
        func box(_ left: Int, _ right: Int) throws -> ObjectSource {
            let text = """
                {"images": [{"id": 1, "file_name": "cat.png"}],
                 "annotations": [{"image_id": 1, "bbox": [\(left), 0, \(right - left), 32]}]}
                """
            return .boxes(try BoxFile(.coco, Array(text.utf8), name: "boxes"))
        }
        #expect(try inside(box(3, 7)) == [1, 2])
        #expect(try inside(box(7, 11)) == [3, 4])
        for (left, right) in [(3, 7), (7, 11)] {
            let masks = "\(folder.path)/masks\(left)"
            try FileManager.default.createDirectory(atPath: masks, withIntermediateDirectories: false)
            try RGBImage(
                width: 32, height: 32,
                pixels: (0..<1024).flatMap {
                    [UInt8](repeating: (left..<right).contains($0 % 32) ? 1 : 0, count: 3)
                }
            ).writePNG(to: "\(masks)/cat.png", overwrite: false)
            #expect(try inside(.masks(folder: masks)) == inside(box(left, right)))
        }
    }

    /// What XML calls a section of characters is text like any other.
    @Test func sectionsOfCharactersAreRead() throws {
        let text = """
            <annotation><filename><![CDATA[a & b.png]]></filename><object><name>big <![CDATA[<cat>]]></name>
            <bndbox><xmin><![CDATA[2]]></xmin><ymin>3</ymin><xmax>4</xmax><ymax>5</ymax></bndbox></object></annotation>
            """
        let boxes = try BoxFile(.voc, Array(text.utf8), name: "boxes").boxes
        #expect(boxes.map(\.name) == ["big <cat>"])
        #expect(boxes.map { [$0.left, $0.top, $0.right, $0.bottom] } == [[1, 2, 4, 5]])
    }

    @Test func objectFilesThatSayNothing() throws {
        let folder = try TemporaryDirectory()
        func message(_ name: String, _ text: String) throws -> String {
            let path = "\(folder.path)/\(name)"
            try Data(text.utf8).write(to: URL(fileURLWithPath: path))
            do {
                _ = try BoxFile(path: path)
                return "nothing was thrown"
            } catch {
                return "\(error)"
            }
        }
        #expect(try message("a.json", "[]").contains("lacks the lists"))
        #expect(try message("a.json", "boxes").contains("neither XML"))
        #expect(
            try message(
                "a.json",
                #"{"images": [{"id": 1, "file_name": "a"}], "annotations": [{"image_id": 2, "bbox": [1, 1, 1, 1]}]}"#
            )
            .contains("does not name"))
        #expect(
            try message(
                "a.json",
                #"{"images": [{"id": 1, "file_name": "a"}], "annotations": [{"image_id": 1, "bbox": [1, 1, -1, 1]}]}"#
            )
            .contains("no box"))
        #expect(
            try message(
                "a.json",
                #"{"images": [{"id": 1, "file_name": "a"}], "annotations": [{"image_id": 1, "bbox": [1e308, 1, 1e308, 1]}]}"#
            )
            .contains("no box"))
        #expect(try message("a.xml", "<annotation>").contains("no XML"))
        #expect(try message("a.xml", "<annotation><filename>a</filename>").contains("no XML"))
        #expect(try message("a.xml", "<annotation></annotation>").contains("filename"))
        #expect(
            try message(
                "a.xml", "<annotation><filename>a</filename><object><name>b</name></object></annotation>"
            )
            .contains("lacks its box"))
    }

    @Test func whatCannotBeMeasuredIsRefused() throws {
        func message(_ body: () throws -> Void) -> String {
            do {
                try body()
                return "nothing was thrown"
            } catch {
                return "\(error)"
            }
        }
        let session = try session(small(), ["gradcam"])
        #expect(message { _ = try evaluation(session, ["energy"]) }.contains("--masks"))
        #expect(message { _ = try evaluation(session, ["delition"]) }.contains("Did you mean “deletion”"))
        #expect(
            message { _ = try evaluation(session, ["deletion"], settings: ["deletion": ["stepps": "3"]]) }
                .contains("steps"))
        #expect(
            message { _ = try evaluation(session, ["deletion"], settings: ["road": ["noise": "0"]]) }
                .contains("not among the metrics"))
        var options = Options()
        (options.device, options.against) = (.cpu, "1")
        let other = try ExplanationSession(session.model, options: options)
        #expect(message { _ = try evaluation(other, ["deletion"]) }.contains("--against"))
    }

    // MARK: Sanity

    @Test func randomWeightsTakeTheirPlace() throws {
        let network = try Network(small().model())
        #expect(network.trainedLayers.map(\.name) == ["linear", "conv2", "conv1"])
        let random = CounterRandom(seed: 1, stream: CounterRandom.Stream.weights)
        func logits(_ network: Network) throws -> [Float] {
            let session = try ExplanationSession(
                Model(network, preprocessing: "none"),
                options: {
                    var options = Options()
                    (options.device, options.methods) = (.cpu, [])
                    return options
                }())
            let x = colours("random weights")
            let questions = try Questions(session)
            return try (0..<3).map { try questions.values(of: Target($0), count: 1) { _ in x }[0] }
        }
        let trained = try logits(network)
        func randomised(_ layers: Range<Int>) throws -> [Float] {
            try logits(network.randomised(layers) { random.normals($0, sample: $1) })
        }
        #expect(try randomised(0..<0) == trained)
        let all = try (0..<3).map { try randomised($0..<$0 + 1) } + [try randomised(0..<3)]
        for (i, a) in all.enumerated() {
            #expect(a != trained)
            for b in all[(i + 1)...] { #expect(a != b) }
        }
        #expect(try randomised(0..<3) == all[3])
    }

    /// A map of the picture alone does not notice that the network is another; a gradient does.
    @Test func sanityNamesWhatDoesNotNotice() throws {
        var options = Options()
        (options.device, options.methods, options.classChoice) = (.cpu, ["saliency", "gradcam"], .index(0))
        let model = try Model(Network(small().model()), preprocessing: "none")
        let pictures = (0..<3).map { i in
            PictureRequest(.array(colours("sanity \(i)"), name: "\(i)"))
        }
        let found = try Randomisation(model, options, pictures)
        #expect(found.levels == ["linear", "conv2", "conv1"])
        #expect(found.methods.map(\.method) == ["saliency", "gradcam"])
        for (method, result) in found.methods {
            #expect(
                result.spearman[.cascading]?.count == 3 && result.ssim[.independent]?.count == 3, "\(method)")
            #expect(result.smooth != nil && result.efficient != nil && result.otherClass != nil, "\(method)")
            #expect(result.spearman.values.joined().compactMap(\.self).allSatisfy { (-1...1).contains($0) })
        }
        #expect(try Randomisation(model, options, pictures).json().line == found.json().line)
        #expect(!found.methods[0].found.doesNotNotice)
    }
}
