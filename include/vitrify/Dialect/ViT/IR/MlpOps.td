//===- MlpOps.td - linear, activations, epilogue terminator -*- tablegen -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#ifndef VITRIFY_DIALECT_VIT_IR_MLPOPS_TD
#define VITRIFY_DIALECT_VIT_IR_MLPOPS_TD
include "vitrify/Dialect/ViT/IR/ViTBase.td"

def ViT_LinearOp : ViT_EpilogueOp<"linear", [AttrSizedOperandSegments]> {
  let summary = "x times the transpose of a weight, accumulated in f32, with an epilogue";
  let description = [{
    Formula: `acc[m, n] = sum over k of x[m, k] * xs(m, k) * w[n, k] * ws(n, k)`, in f32; xs and ws are 1 unless scales
    along K are given: `x_scales` [rows, K / g], `w_scales` [ceil(N / h), K / g], the block sizes being the quotients.
    Scales that do not vary along K belong in the epilogue. Without an epilogue the result is the accumulator in f32.

    `active(%gate)` [rows, blocks] permits a kernel to skip blocks of columns whose gate is 0 in every row it computes,
    leaving 0 there: it never changes the meaning, which must already be that of the epilogue's factor.

    The epilogue sees, for `group = 1`, the scalar accumulator at (m, n) and for each operand the element that its map
    selects; for `group = G` > 1, `vector<Gxf32>` of columns n..n+G-1 with n a multiple of G, and vectors where the
    map depends on n element-wise. It yields one value a result: a scalar for group 1; for group G a scalar (result
    columns N / G), or a vector of k elements (result columns N / G * k).

    Constraints: (linear_c1) x is [rows, K] and w is [N, K] with static N and K; (linear_c2) x and w are both float, or
    both f8E4M3FN, or both i8, or w alone is f8E4M3FN / f4E2M1FN (weight only); w_scales are f32, or f8E4M3FN with an f4E2M1FN w: NVFP4, if K / g is K / 16; (linear_c3) K-scales have the rows and a divisor of K as
    columns; (linear_c4) active has as many rows as x and its blocks divide N; (linear_c5) without an epilogue there is
    one result, tensor<rows x N x f32>.
    Epilogue: (epilogue_c1) one map for each operand, of two dimensions, among () (n) (m) (m, n) (m, n floordiv g);
    (epilogue_c2) an operand's shape is what its map covers; (epilogue_c3) the block's arguments are the accumulator
    and then the operands' elements, scalars or vectors of G; (epilogue_c4) group divides N; (epilogue_c5) yielded types
    match the results' element types and columns; (epilogue_c6) the body holds only arith, math, vector, vit.act and
    vit.convert ops, and a `vit.yield`.

    Example:
    ```mlir
    %q = vit.linear %n, %w layers ["b0.q"] : tensor<?x768xf32>, tensor<768x768xf32> -> tensor<?x768xf32>
      epilogue(%b [(m, n) -> (n)] : tensor<768xf32>) group 1 {
    ^bb0(%acc: f32, %bias: f32):
      %r = arith.addf %acc, %bias : f32
      vit.yield %r : f32
    }
    ```
  }];
  let arguments = (ins ViT_Rows:$input, 2DTensorOf<[F32, F16, BF16, F8E4M3FN, F4E2M1FN, I8]>:$weight,
      Optional<2DTensorOf<[F32]>>:$x_scales, Optional<2DTensorOf<[F32, F8E4M3FN]>>:$w_scales,
      Optional<2DTensorOf<[F32]>>:$active, StrArrayAttr:$layers,
      Variadic<ViT_AnyTensor>:$epilogue_ins, AffineMapArrayAttr:$maps, I64Attr:$group);
  let results = (outs Variadic<ViT_AnyTensor>:$results);
  let regions = (region AnyRegion:$epilogue);
  let assemblyFormat = [{
    $input `,` $weight (`x_scales` `(` $x_scales^ `:` type($x_scales) `)`)?
    (`w_scales` `(` $w_scales^ `:` type($w_scales) `)`)? (`active` `(` $active^ `:` type($active) `)`)?
    `layers` $layers attr-dict `:` type($input) `,` type($weight) `->` type($results)
    custom<Epilogue>($epilogue_ins, type($epilogue_ins), $maps, $group, $epilogue)
  }];
}

def ViT_YieldOp : ViT_Op<"yield", [Pure, Terminator, ParentOneOf<["WeightOp", "PatchEmbedOp", "LinearOp", "GroupedLinearOp", "NormOp", "AttentionOp"]>]> {
  let summary = "ends an epilogue or a weight's region";
  let description = [{ Yields the values of the enclosing region, checked by the op that owns it. Example: `vit.yield %r : f32` }];
  let arguments = (ins Variadic<AnyType>:$operands);
  let assemblyFormat = "attr-dict ($operands^ `:` type($operands))?";
}

def ViT_ActOp : ViT_Op<"act", [Pure, SameOperandsAndResultType, DeclareOpInterfaceMethods<ReifyRankedShapedTypeOpInterface, ["reifyResultShapes"]>]> {
  let summary = "activation function, on tensors and in epilogues";
  let description = [{
    gelu_erf: `x / 2 * (1 + erf(x / sqrt 2))`; gelu_tanh: `x / 2 * (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))`;
    quick_gelu: `x * sigmoid(1.702 x)`; silu: `x * sigmoid(x)`; relu, tanh, sigmoid. Evaluated in f32.
    Sources: Hendrycks and Gimpel, GELUs, 2016; transformers' ACT2FN for quick_gelu.

    Constraints: (act_c1) operand and result have the same type; (act_c2) `layers` is given on tensors and only there.

    Example: `%h = vit.act gelu_erf %f layers ["b0.act"] : tensor<?x3072xf32>`, in an epilogue `%g = vit.act silu %r : f32`
  }];
  let arguments = (ins ViT_ActKindAttr:$kind, ViT_FloatLike:$input, OptionalAttr<StrArrayAttr>:$layers);
  let results = (outs ViT_FloatLike:$result);
  let assemblyFormat = "$kind $input (`layers` $layers^)? attr-dict `:` type($input)";
  let hasVerifier = 1;
  let hasCanonicalizer = 1;
}

def ViT_GluOp : ViT_ComputeOp<"glu"> {
  let summary = "gated linear unit: act(gate) * up";
  let description = [{
    Formula: `r = act(gate) * up`. Source: Shazeer, GLU Variants Improve Transformer, 2020.

    Constraints: (glu_c1) gate, up and the result have the same type.

    Example: `%h = vit.glu silu %g, %u layers ["b0.glu"]
    : tensor<?x4096xf32>, tensor<?x4096xf32> -> tensor<?x4096xf32>`
  }];
  let arguments = (ins ViT_ActKindAttr:$kind, ViT_FloatRows:$gate, ViT_FloatRows:$up, StrArrayAttr:$layers);
  let results = (outs ViT_FloatRows:$result);
  let assemblyFormat = "$kind $gate `,` $up `layers` $layers attr-dict `:` type($gate) `,` type($up) `->` type($result)";
}
#endif
