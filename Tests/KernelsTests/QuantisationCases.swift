// Whole numbers that stand for others.

import Kernels

extension Cases {
    static let quantisationCases: [OperatorCase] = []
}
