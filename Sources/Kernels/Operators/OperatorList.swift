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

    private static let byName = Dictionary(uniqueKeysWithValues: all.map { ([$0.domain, $0.name], $0) })

    /// - Parameter domain: "" is ai.onnx.
    package static subscript(name: String, domain domain: String = "") -> (any Operator.Type)? {
        byName[[domain, name]]
    }
}
