// The list of rewrites: that the documentation says what it says. And of those that look for a pattern: that they see it, and nothing else.

import Foundation
import Inference
import ONNX
import TestSupport
import Testing

@Suite struct RewriteTests {
    @Test func documentationListsThem() throws {
        let root = URL(filePath: #filePath).appending(path: "../../..").standardized
        let page = try String(
            contentsOf: root.appending(path: "Documentation/Architecture.md"), encoding: .utf8)
        let table =
            "| Rewrite | |\n|---|---|\n" + Rewrite.all.map { "| \($0.name) | \($0.sentence) |\n" }.joined()
            + "\n"
        #expect(page.contains(table), "Documentation/Architecture.md should have this table:\n\(table)")
    }

    // MARK: What is written as one

    /// Tokens [N, 64, 6] of small patches; what is made of them becomes scores.
    private func network(_ name: String, _ make: (inout SmallNetwork, String) -> String) throws -> Network {
        // The same seed, so that the weights are the same as far as the same are asked for in the same order.
        var net = SmallNetwork("written as one", opset: 20)
        let patches = net.node(
            "Reshape", [net.conv("image", 3, 6, kernel: 2, stride: 2), net.ints([0, 6, -1])])
        let tokens = net.node("Transpose", [patches], ["perm": [0, 2, 1]])
        let made = make(&net, tokens)
        net.output(net.node("ReduceMean", [made, net.ints([1])], ["keepdims": 0]))
        return try Network(net.model())
    }

    private func types(_ network: Network) throws -> [String] { try network.layers().map(\.type) }

    /// Of scores and of the gradient, on two devices.
    private func bits(_ network: Network) throws -> [[UInt32]] {
        try [Devices.all[0], Devices.all.last!].flatMap { device in
            try network.run(
                pictures(2), dims: [2, 3, 14, 14], outputs: [network.logitsName], gradient: 1,
                target: "image", on: device.device
            ).map { $0.values.map(\.bitPattern) }
        }
    }

    /// How exporters spell a layer normalisation out: the square as a power or a product, the difference made once or twice, constants on either side.
    private func spelledOut(
        _ net: inout SmallNetwork, _ x: String, power: Bool = true, twice: Bool = false,
        swapped: Bool = false,
        bias: Bool = true, axes: [Int64] = [-1], exponent: Float = 2, subtrahend: String? = nil,
        scale: [Int] = [6],
        noting: (_ mean: String) -> Void = { _ in }
    ) -> String {
        let (gamma, beta) = (net.floats(scale, 0.5, 1.5), net.floats([6]))
        func mean(_ x: String) -> String { net.node("ReduceMean", [x, net.ints(axes)]) }
        let average = mean(subtrahend ?? x)
        noting(average)
        let centred = net.node("Sub", [x, average])
        let other = twice ? net.node("Sub", [x, average]) : centred
        let square =
            power ? net.node("Pow", [other, net.number(exponent)]) : net.node("Mul", [other, other])
        func both(_ type: String, _ value: String, _ constant: String) -> String {
            net.node(type, swapped ? [constant, value] : [value, constant])
        }
        let root = net.node("Sqrt", [both("Add", mean(square), net.number(1e-3))])
        let scaled = both("Mul", net.node("Div", [centred, root]), gamma)
        return bias ? both("Add", scaled, beta) : scaled
    }

    @Test(arguments: [false, true], [false, true])
    func layerNormalisationIsSeen(_ power: Bool, _ swapped: Bool) throws {
        for (twice, bias) in [(false, true), (true, true), (false, false)] {
            let one = try network("one") { net, x in
                let (gamma, beta) = (net.floats([6], 0.5, 1.5), net.floats([6]))
                return net.node(
                    "LayerNormalization", [x, gamma] + (bias ? [beta] : []), ["epsilon": .float(1e-3)])
            }
            let spelled = try network("spelled out") {
                spelledOut(&$0, $1, power: power, twice: twice, swapped: swapped, bias: bias)
            }
            #expect(try types(spelled) == types(one))
            #expect(try bits(spelled) == bits(one))
        }
    }

    /// What looks like one and is none, or whose steps somebody else reads, stays as it is.
    @Test func otherStepsStay() throws {
        let others: [(String, (inout SmallNetwork, String) -> String)] = [
            ("over tokens", { self.spelledOut(&$0, $1, axes: [-2]) }),
            ("over counted axes", { self.spelledOut(&$0, $1, axes: [2]) }),
            ("cubes", { self.spelledOut(&$0, $1, exponent: 4) }),
            ("a scale of tokens", { self.spelledOut(&$0, $1, scale: [64, 1]) }),
            (
                "another's mean",
                { net, x in
                    let other = net.node("Tanh", [x])
                    return self.spelledOut(&net, x, subtrahend: other)
                }
            ),
            (
                "a step that is read",
                { net, x in
                    var mean = ""
                    let made = self.spelledOut(&net, x) { mean = $0 }
                    return net.node("Add", [made, mean])
                }
            ),
        ]
        for (name, make) in others {
            let network = try network(name, make)
            #expect(try types(network).contains("Sqrt"), "\(name)")
            #expect(try !types(network).contains("LayerNormalization"), "\(name)")
        }
    }

    @Test(arguments: 0..<4) func geluIsSeen(_ form: Int) throws {
        func erf(_ net: inout SmallNetwork, _ x: String) -> String {
            let scaled =
                form == 3
                ? net.node("Mul", [net.number(0.70710678), x]) : net.node("Div", [x, net.number(1.4142135)])
            return net.node("Add", [net.node("Erf", [scaled]), net.number(1)])
        }
        let one = try network("one") { net, x in net.node("Gelu", [x]) }
        let spelled = try network("spelled out") { net, x in
            let sum = erf(&net, x)
            return switch form {
            case 0: net.node("Mul", [net.node("Mul", [x, sum]), net.number(0.5)])
            case 1: net.node("Mul", [net.node("Mul", [net.number(0.5), x]), sum])
            default: net.node("Mul", [x, net.node("Mul", [sum, net.number(0.5)])])
            }
        }
        #expect(try types(spelled) == types(one))
        #expect(try bits(spelled) == bits(one))
        // Of another number than the half it is none, and neither of another's error function.
        let others = try [
            network("a third") { net, x in
                net.node("Mul", [net.node("Mul", [x, erf(&net, x)]), net.number(1 / 3)])
            },
            // The scores have one dimension more.
            network("of rank 4") { net, x in
                let sum = erf(&net, x)
                let half = net.floats([1, 1, 1, 1], 0.5, 0.5)
                let made = net.node("Mul", [net.node("Mul", [x, sum]), half])
                return net.node("Reshape", [made, net.ints([-1, 64, 6])])
            },
            network("another's") { net, x in
                let sum = erf(&net, net.node("Tanh", [x]))
                return net.node("Mul", [net.node("Mul", [x, sum]), net.number(0.5)])
            },
        ]
        for other in others { #expect(try types(other).contains("Erf")) }
    }
}
