//===- NormOps.td - normalisation and the residual stream -*- tablegen -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#ifndef VITRIFY_DIALECT_VIT_IR_NORMOPS_TD
#define VITRIFY_DIALECT_VIT_IR_NORMOPS_TD
include "vitrify/Dialect/ViT/IR/ViTBase.td"

def ViT_NormOp : ViT_EpilogueOp<"norm", [AttrSizedOperandSegments]> {
  let summary = "layer norm or RMS norm over D, or over each group of `width` columns (a head)";
  let description = [{
    layer: `(x - mean(x)) / sqrt(var(x) + eps) * gamma + beta`, variance without Bessel's correction;
    rms: `x / sqrt(mean(x^2) + eps) * gamma`. Statistics in f32 (two passes: the variance is that of x - mean), over
    `width` consecutive columns, D when absent. gamma and beta have `width` elements. Then the epilogue on [rows, D].
    Sources: Ba et al., Layer Normalization, 2016; Zhang and Sennrich, Root Mean Square Layer Normalization, 2019.

    Constraints: (norm_c1) width divides D; (norm_c2) gamma and beta have width elements; (norm_c3) rms has no beta;
    (norm_c4) eps > 0; (norm_c5) the epilogue fits (its group may be D here).

    Example: `%n = vit.norm layer %x gamma(%g : tensor<768xf32>) beta(%b : tensor<768xf32>) eps 1.0e-12
    layers ["b0.ln1"] : tensor<?x768xf32> -> tensor<?x768xf32>`
  }];
  let arguments = (ins ViT_NormKindAttr:$kind, ViT_FloatRows:$input, Optional<ViT_Vector1D>:$gamma,
      Optional<ViT_Vector1D>:$beta, F64Attr:$eps, OptionalAttr<I64Attr>:$width, StrArrayAttr:$layers,
      Variadic<ViT_AnyTensor>:$epilogue_ins, AffineMapArrayAttr:$maps, I64Attr:$group);
  let results = (outs Variadic<ViT_AnyTensor>:$results);
  let regions = (region AnyRegion:$epilogue);
  let assemblyFormat = [{
    $kind $input (`gamma` `(` $gamma^ `:` type($gamma) `)`)? (`beta` `(` $beta^ `:` type($beta) `)`)?
    `eps` $eps (`width` $width^)? `layers` $layers attr-dict `:` type($input) `->` type($results)
    custom<Epilogue>($epilogue_ins, type($epilogue_ins), $maps, $group, $epilogue)
  }];
}

def ViT_ResidualOp : ViT_ComputeOp<"residual"> {
  let summary = "adds a branch to the residual stream, scaled by LayerScale when given";
  let description = [{
    Formula: `r = x + scale * y`, scale [D] or 1. Source: Touvron et al., Going deeper with Image Transformers, 2021.

    Constraints: (residual_c1) x, y and the result have the same shape; (residual_c2) scale has D elements.

    Example: `%z = vit.residual %x, %y scale(%ls : tensor<768xf32>) layers ["b0.res1"]
    : tensor<?x768xf32>, tensor<?x768xf32> -> tensor<?x768xf32>`
  }];
  let arguments = (ins ViT_FloatRows:$input, ViT_FloatRows:$branch, Optional<ViT_Vector1D>:$scale, StrArrayAttr:$layers);
  let results = (outs ViT_FloatRows:$result);
  let assemblyFormat = [{
    $input `,` $branch (`scale` `(` $scale^ `:` type($scale) `)`)? `layers` $layers attr-dict
    `:` type($input) `,` type($branch) `->` type($result)
  }];
}
#endif
