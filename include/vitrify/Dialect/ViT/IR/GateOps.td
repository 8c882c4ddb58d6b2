//===- GateOps.td - gates over blocks of neurons -*- tablegen -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#ifndef VITRIFY_DIALECT_VIT_IR_GATEOPS_TD
#define VITRIFY_DIALECT_VIT_IR_GATEOPS_TD
include "vitrify/Dialect/ViT/IR/ViTBase.td"

def ViT_GateOp : ViT_ComputeOp<"gate"> {
  let summary = "chooses blocks of neurons for each token and weighs them";
  let description = [{
    topk k: the k largest scores of a row are kept, ties to the lower index; threshold t: scores > t are kept. A kept
    block's weight is 1 (one), its score, sigmoid(score), or its softmax over the kept blocks; the others are 0. Its
    dense meaning is the factor `w[m, n floordiv block]` in the epilogue of the linear it gates.

    Constraints: (gate_c1) topk has 1 <= k <= blocks, threshold a finite t; (gate_c2) the result is tensor<rows x
    blocks x f32>.

    Example: `%w = vit.gate topk k 4 weight sigmoid %scores layers ["b0.gate"] : tensor<?x16xf32> -> tensor<?x16xf32>`
  }];
  let arguments = (ins ViT_GateKindAttr:$kind, OptionalAttr<I64Attr>:$k, OptionalAttr<F64Attr>:$threshold,
      ViT_GateWeightAttr:$weight, ViT_FloatRows:$scores, StrArrayAttr:$layers);
  let results = (outs 2DTensorOf<[F32]>:$result);
  let assemblyFormat = [{ $kind (`k` $k^)? (`at` $threshold^)? `weight` $weight $scores `layers` $layers attr-dict
    `:` type($scores) `->` type($result) }];
}
#endif
