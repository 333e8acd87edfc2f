// On which side of a kink each number lies: where two computations see different sides, their gradients differ, and both are right.

import ONNX

extension Evaluator {
    /// For each number that meets a kink in this node, which side it is on; of a maximum, which element won. Empty for smooth nodes.
    package func sides(_ node: ONNXNode, _ inputs: [Array64?]) throws -> [Int] {
        guard let x = inputs.first.flatMap({ $0 }) else { return [] }
        func cut(_ at: [Double]) -> [Int] { x.values.map { v in at.count { v > $0 } } }
        switch node.opType {
        case "Relu", "LeakyRelu", "PRelu", "Elu", "Abs": return cut([0])
        case "HardSwish": return cut([-3, 3])
        case "HardSigmoid":
            let alpha = Double(try node.float("alpha", default: 0.2))
            let beta = Double(try node.float("beta", default: 0.5))
            return cut([-beta / alpha, (1 - beta) / alpha])
        case "Clip":
            let low = opset < 11 ? Double(try node.float("min", default: -.infinity)) : bound(inputs, 1)
            let high = opset < 11 ? Double(try node.float("max", default: .infinity)) : bound(inputs, 2)
            return cut([low, high])
        case "MaxPool":
            var winners: [Int] = []
            try forEachWindow(node, x) { _, cells, _ in
                winners.append(cells.max { x.values[$0] < x.values[$1] } ?? -1)
            }
            return winners
        case "GlobalMaxPool":
            let area = x.dims[2] * x.dims[3]
            return (0..<x.count / area).map { row in
                (row * area..<(row + 1) * area).max { x.values[$0] < x.values[$1] }!
            }
        default: return []
        }
    }

    private func bound(_ inputs: [Array64?], _ index: Int) -> Double {
        let given = index < inputs.count ? inputs[index] : nil
        return given.map { $0.values[0] } ?? (index == 1 ? -.infinity : .infinity)
    }
}
