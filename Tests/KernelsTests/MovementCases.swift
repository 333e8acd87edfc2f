// Selection, order and resampling.

import Kernels

extension Cases {
    static let movementCases: [OperatorCase] = []
}
