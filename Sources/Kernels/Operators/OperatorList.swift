// The one list of operators: loader, session, reverse walk, tests, `app operators` and the README read it.

package enum OperatorList {
    package static let all: [any Operator.Type] = [
        // Conv.swift, BatchNormalization.swift, MatrixProducts.swift
        Conv.self, BatchNormalization.self, Gemm.self, MatMul.self,
        // Activation.swift
        Relu.self, LeakyRelu.self, PRelu.self, Clip.self, Sigmoid.self, HardSigmoid.self, HardSwish.self,
        Tanh.self,
        Elu.self, Exp.self, Log.self, Sqrt.self, Erf.self, Abs.self, Neg.self,
        // Arithmetic.swift
        Add.self, Sub.self, Mul.self, Div.self, Sum.self,
        // Pooling.swift
        MaxPool.self, AveragePool.self, GlobalAveragePool.self, GlobalMaxPool.self, ReduceMean.self,
        ReduceSum.self,
        // Normalisation.swift
        LRN.self, SoftmaxOperator.self, LogSoftmax.self,
        // Reshaping.swift
        Flatten.self, Reshape.self, Squeeze.self, Unsqueeze.self, Transpose.self, Identity.self, Dropout.self,
        Cast.self,
        // Slicing.swift
        Concat.self, Slice.self, Split.self, Gather.self, Pad.self,
        // Constants.swift
        Constant.self, ConstantOfShape.self, ShapeOperator.self,
    ]

    private static let byName = Dictionary(uniqueKeysWithValues: all.map { ($0.name, $0) })

    /// The most inputs and outputs that an operator has in an operator set; nil for any number. More would be passed over in silence.
    package static func most(_ name: String, opset: Int) -> (inputs: Int?, outputs: Int?) {
        func from(_ set: Int, _ count: Int, before: Int = 1) -> Int { opset >= set ? count : before }
        return switch name {
        case "Concat", "Sum": (nil, 1)
        case "Constant": (0, 1)
        case "Add", "Sub", "Mul", "Div", "PRelu", "MatMul", "Gather", "Reshape": (2, 1)
        case "Conv", "Gemm": (3, 1)
        case "BatchNormalization": (5, from(14, 3, before: 5))
        case "Clip": (from(11, 3), 1)
        case "Dropout": (from(12, 3), 2)
        case "MaxPool": (1, 2)
        case "Pad": (from(18, 4, before: from(11, 3)), 1)
        case "ReduceMean": (from(18, 2), 1)
        case "ReduceSum", "Squeeze", "Unsqueeze": (from(13, 2), 1)
        case "Slice": (from(10, 5), 1)
        case "Split": (from(13, 2), nil)
        default: (1, 1)
        }
    }

    package static subscript(name: String) -> (any Operator.Type)? { byName[name] }
}
