// Normalisations, reductions and pools.

import Kernels

extension Cases {
    static let normalisationCases: [OperatorCase] = []
}
