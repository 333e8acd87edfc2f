// Functions of single numbers, comparisons and logic.

import Kernels

extension Cases {
    static let elementwiseCases: [OperatorCase] = []
}
