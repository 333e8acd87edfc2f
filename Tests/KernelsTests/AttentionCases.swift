// Products of two activations, and what transformers make of them.

import Kernels

extension Cases {
    static let attentionCases: [OperatorCase] = []
}
