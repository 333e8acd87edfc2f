// The one list of operators: loader, session, reverse walk, tests, `app operators` and the README read it.

package enum OperatorList {
    package static let all: [any Operator.Type] = [
        // Conv.swift, BatchNormalization.swift, MatrixProducts.swift
        Conv.self, BatchNormalization.self, Gemm.self, MatMul.self, Einsum.self,
        // FusedConv.swift
        FusedConv.self,
        // ConvTranspose.swift, Resize.swift
        ConvTranspose.self, Resize.self, Upsample.self,
        // GridSample.swift
        GridSample.self,
        // Attention.swift
        Attention.self, RotaryEmbedding.self, MicrosoftAttention.self, MultiHeadAttention.self,
        // Activation.swift
        Relu.self, LeakyRelu.self, PRelu.self, Clip.self, Sigmoid.self, HardSigmoid.self, HardSwish.self,
        Tanh.self,
        Elu.self, Exp.self, Log.self, Sqrt.self, Erf.self, Abs.self, Neg.self,
        Selu.self, Celu.self, Softplus.self, Softsign.self, Mish.self, Swish.self, ThresholdedRelu.self,
        Shrink.self, Gelu.self, Sin.self, Cos.self, Tan.self, Asin.self, Acos.self, Atan.self, Sinh.self,
        Cosh.self, Asinh.self, Acosh.self, Atanh.self, Reciprocal.self, Floor.self, Ceil.self, Round.self,
        Sign.self, IsNaN.self, IsInf.self, MicrosoftGelu.self, QuickGelu.self, BiasGelu.self, FastGelu.self,
        // Arithmetic.swift
        Add.self, Sub.self, Mul.self, Div.self, Mod.self, Pow.self, Sum.self, Mean.self, Max.self, Min.self,
        // Comparison.swift
        Equal.self, Greater.self, GreaterOrEqual.self, Less.self, LessOrEqual.self, And.self, Or.self,
        Xor.self, Not.self, Where.self,
        // Pooling.swift
        MaxPool.self, AveragePool.self, LpPool.self, GlobalAveragePool.self, GlobalMaxPool.self,
        GlobalLpPool.self,
        // Reductions.swift
        ReduceMean.self, ReduceSum.self, ReduceMax.self, ReduceMin.self, ReduceProd.self, ReduceL1.self,
        ReduceL2.self, ReduceSumSquare.self, ReduceLogSum.self, ReduceLogSumExp.self, ArgMax.self,
        ArgMin.self, TopK.self,
        // Normalisation.swift
        LRN.self, SoftmaxOperator.self, LogSoftmax.self, Hardmax.self,
        // LayerNormalization.swift
        LayerNormalization.self, RMSNormalization.self, SimplifiedLayerNormalization.self,
        SkipLayerNormalization.self, SkipSimplifiedLayerNormalization.self, InstanceNormalization.self,
        GroupNormalization.self, MeanVarianceNormalization.self, LpNormalization.self,
        // Quantisation.swift, QuantisedForms.swift
        QuantizeLinear.self, DequantizeLinear.self, DynamicQuantizeLinear.self, ConvInteger.self,
        MatMulInteger.self, QLinearConv.self, QLinearMatMul.self, QGemm.self, QLinearAdd.self,
        QLinearMul.self, QLinearGlobalAveragePool.self, QLinearAveragePool.self, QLinearLeakyRelu.self,
        QLinearSigmoid.self, QLinearConcat.self,
        // Reshaping.swift
        Flatten.self, Reshape.self, Squeeze.self, Unsqueeze.self, Transpose.self, Expand.self,
        DepthToSpace.self, SpaceToDepth.self, Identity.self, Dropout.self, Cast.self, CastLike.self,
        // Slicing.swift
        Concat.self, Slice.self, Split.self, Pad.self, CenterCropPad.self,
        // Gathering.swift
        Gather.self, GatherElements.self, GatherND.self, ScatterElements.self, ScatterND.self, Tile.self,
        Trilu.self, CumSum.self, ReverseSequence.self, Compress.self, Col2Im.self,
        // Constants.swift
        Constant.self, ConstantOfShape.self, ShapeOperator.self, Size.self, RangeOperator.self,
        NonZero.self, EyeLike.self, OneHot.self,
    ]

    private static let byName = Dictionary(uniqueKeysWithValues: all.map { ([$0.domain, $0.name], $0) })

    /// - Parameter domain: "" is ai.onnx.
    package static subscript(name: String, domain domain: String = "") -> (any Operator.Type)? {
        byName[[domain, name]]
    }
}
