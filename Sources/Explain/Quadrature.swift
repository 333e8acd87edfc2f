// Rules that integrate over 0 … 1: nodes and weights in double precision, by plain arithmetic in one order, so that every machine has the
// same ones.

/// How an integral over 0 … 1 becomes a sum.
package enum QuadratureRule: String, SettingChoice {
    case gaussLegendre = "gauss-legendre"
    case trapezoid
    case riemannLeft = "riemann-left"
    case riemannMiddle = "riemann-middle"
    case riemannRight = "riemann-right"

    /// The fewest nodes that it has.
    package var fewest: Int { self == .trapezoid ? 2 : 1 }

    /// Nodes in ascending order; the weights add up to 1.
    package func points(_ count: Int) -> [(node: Double, weight: Double)] {
        precondition(count >= fewest)
        let n = Double(count)
        switch self {
        case .gaussLegendre: return QuadratureRule.gaussLegendrePoints(count)
        case .trapezoid:
            return (0..<count).map { i in
                (Double(i) / (n - 1), (i == 0 || i == count - 1 ? 0.5 : 1) / (n - 1))
            }
        case .riemannLeft: return (0..<count).map { (Double($0) / n, 1 / n) }
        case .riemannMiddle: return (0..<count).map { ((Double($0) + 0.5) / n, 1 / n) }
        case .riemannRight: return (0..<count).map { (Double($0 + 1) / n, 1 / n) }
        }
    }

    /// The roots x of the Legendre polynomial P_n, by Newton's method from Tricomi's approximation; the weights 2 / ((1 − x²) P′_n(x)²). Both are
    /// brought from −1 … 1 to 0 … 1.
    private static func gaussLegendrePoints(_ count: Int) -> [(node: Double, weight: Double)] {
        let n = Double(count)
        /// P_n and its derivative.
        func legendre(_ x: Double) -> (value: Double, slope: Double) {
            var (before, value) = (1.0, x)
            for k in stride(from: 2.0, through: n, by: 1) {
                (before, value) = (value, ((2 * k - 1) * x * value - (k - 1) * before) / k)
            }
            return (value, n * (before - x * value) / (1 - x * x))
        }
        var points = [(node: Double, weight: Double)](repeating: (0.5, 0), count: count)
        // They lie evenly about the middle; from the largest to it.
        for i in 0..<(count + 1) / 2 {
            var x = 0.0
            if 2 * i + 1 != count {
                x = (1 - (n - 1) / (8 * n * n * n)) * cosine(Double.pi * (4 * Double(i) + 3) / (4 * n + 2))
                // It doubles the right digits each time, from three.
                for _ in 0..<6 {
                    let (value, slope) = legendre(x)
                    x -= value / slope
                }
            }
            let slope = legendre(x).slope
            let weight = 1 / ((1 - x * x) * slope * slope)
            points[count - 1 - i] = ((1 + x) / 2, weight)
            points[i] = ((1 - x) / 2, weight)
        }
        return points
    }

    /// Of 0 … π/2, by its power series.
    private static func cosine(_ x: Double) -> Double {
        var sum = 1.0
        for k in stride(from: 24.0, through: 2, by: -2) { sum = 1 - x * x / (k * (k - 1)) * sum }
        return sum
    }
}
