//===- QuantOps.td - conversion to codes, quantise and dequantise -*- tablegen -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#ifndef VITRIFY_DIALECT_VIT_IR_QUANTOPS_TD
#define VITRIFY_DIALECT_VIT_IR_QUANTOPS_TD
include "vitrify/Dialect/ViT/IR/ViTBase.td"

def ViT_ConvertOp : ViT_Op<"convert", [Pure, DeclareOpInterfaceMethods<ReifyRankedShapedTypeOpInterface, ["reifyResultShapes"]>]> {
  let summary = "the only way into and out of codes (E4M3, i8): nearest even, saturating";
  let description = [{
    To f8E4M3FN: round to nearest even, magnitudes above 448 (infinities included) give 448 with the sign, NaN gives
    0x7f. From f8E4M3FN: exact; 0x7f and 0xff give NaN. To i8: round to nearest even, magnitudes above 127 give 127 with
    the sign (-128 is no code, so that codes are symmetric), NaN gives 0. From i8: exact. Between f32, f16 and bf16:
    nearest even, `sat` not allowed.
    Source: OCP 8-bit Floating Point Specification (OFP8) 1.0, section 5; PTX ISA, cvt with .satfinite.

    Constraints: (convert_c1) operand and result have the same shape; (convert_c2) element types differ;
    (convert_c3) `sat` is given exactly when the result is f8E4M3FN or i8.

    Example: `%c = vit.convert %t sat : f32 to f8E4M3FN`
  }];
  let arguments = (ins ViT_ConvertLike:$input, UnitAttr:$saturate);
  let results = (outs ViT_ConvertLike:$result);
  let assemblyFormat = "$input (`sat` $saturate^)? attr-dict `:` type($input) `to` type($result)";
  let hasVerifier = 1;
  let hasFolder = 1;
}

def ViT_QuantizeOp : ViT_ComputeOp<"quantize"> {
  let summary = "x to codes (E4M3 or i8) and their scales";
  let description = [{
    `codes = convert(x / scale)`. With a `scale` operand (static: [1] for tensor, [D] for channel) that is the result's
    scale; without one, scales are found from x: amax / 448 (E4M3) or amax / 127 (i8) over the tensor, the row (token) or
    each `block` columns of a row, 1 where amax is 0. Division is by multiplication with the f32 reciprocal of the scale.

    Constraints: (quantize_c1) codes have x's shape; (quantize_c2) scales are [1], [D], [rows, 1] or [rows, D / block]
    by granularity; (quantize_c3) a scale operand is given for channel, allowed for tensor, refused for token and
    block; (quantize_c4) block granularity has a block that divides D, others none.

    Example: `%c, %s = vit.quantize token %x layers ["b0.fc1#in"] : tensor<?x768xf32>
    -> tensor<?x768xf8E4M3FN>, tensor<?x1xf32>`
  }];
  let arguments = (ins ViT_GranularityAttr:$granularity, ViT_FloatRows:$input, Optional<ViT_Vector1D>:$scale,
      OptionalAttr<I64Attr>:$block, StrArrayAttr:$layers);
  let results = (outs 2DTensorOf<[F8E4M3FN, I8]>:$codes, RankedTensorOf<[F32]>:$scales);
  let assemblyFormat = [{ $granularity $input (`scale` `(` $scale^ `:` type($scale) `)`)? (`block` $block^)?
    `layers` $layers attr-dict `:` type($input) `->` type($codes) `,` type($scales) }];
}

def ViT_DequantizeOp : ViT_ComputeOp<"dequantize"> {
  let summary = "codes (E4M3 or i8) and scales back to floats";
  let description = [{
    `r = convert(codes) * scale`, in f32, then rounded to the result's type. The scales' shape says the granularity:
    [1] tensor, [D] channel (over columns), [rows, 1] token or per output channel of a weight, [rows, D / b] block.

    Constraints: (dequantize_c1) codes and result have one shape; (dequantize_c2) the scales have one of these shapes.

    Example: `%x = vit.dequantize %c, %s layers ["b0.fc1#in"] : tensor<?x768xf8E4M3FN>, tensor<1xf32> -> tensor<?x768xf32>`
  }];
  let arguments = (ins 2DTensorOf<[F8E4M3FN, I8]>:$codes, RankedTensorOf<[F32]>:$scales, StrArrayAttr:$layers);
  let results = (outs ViT_FloatRows:$result);
  let assemblyFormat = "$codes `,` $scales `layers` $layers attr-dict `:` type($codes) `,` type($scales) `->` type($result)";
}
#endif
