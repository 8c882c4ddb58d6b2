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

def ViT_GroupTokensOp : ViT_ComputeOp<"group_tokens"> {
  let summary = "lists, for each block of a gate, the rows that it is on for";
  let description = [{
    Block b's list holds the rows m with `gate[m, b] != 0`, rising, at `rows[b * M ..]`, M being the gate's rows; what lies
    between the end of a list and the next is not defined. Entry (c, b) of `starts` is how many of them are below
    `c * chunk`, so that rows of chunk c are entries starts(c, b) to starts(c + 1, b), and the last row holds the counts.
    Sizes are upper bounds: nothing outside of the device depends on how many blocks are on.

    Constraints: (group_tokens_c1) the gate has a static number of blocks and chunk is at least 1; (group_tokens_c2) rows has
    M * blocks entries and starts is [ceil(M / chunk) + 1, blocks].

    Example: `%rows, %starts = vit.group_tokens %g chunk 256 layers ["b0.gate"] : tensor<?x16xf32> -> tensor<?xi32>, tensor<?x16xi32>`
  }];
  let arguments = (ins 2DTensorOf<[F32]>:$gate, I64Attr:$chunk, StrArrayAttr:$layers);
  let results = (outs ViT_Index1D:$rows, 2DTensorOf<[I32]>:$starts);
  let assemblyFormat = [{ $gate `chunk` $chunk `layers` $layers attr-dict `:` type($gate) `->` type($rows) `,` type($starts) }];
}

def ViT_GroupedLinearOp : ViT_EpilogueOp<"grouped_linear"> {
  let summary = "a linear whose columns, or K, are the blocks of a gate, over the rows that each block is on for";
  let description = [{
    `rows` and `starts` are those of `vit.group_tokens`. With `columns`, block b is columns `[b * N / blocks, (b + 1) * N /
    blocks)`; a row's columns of a block that does not list it are 0 by definition, but a kernel may leave anything there,
    so that only `depth` of the same lists may read the result. With `depth`, block b is that part of K, and
    `acc[m, n] = sum over the blocks b that list m, rising, and k of b: x[m, k] * w[n, k]`; every row has a result.
    Epilogues are those of `vit.linear`, and a linear whose factors are 0 where a block is off has the same result.

    Constraints: (grouped_linear_c1) x is [M, K] and w is [N, K] with static N and K; (grouped_linear_c2) both are float, or both
    f8E4M3FN, or both i8; (grouped_linear_c3) blocks divide N (columns) or K (depth), rows has M * blocks entries and starts
    ceil(M / chunk) + 1 rows; (grouped_linear_c4) lists of a `vit.group_tokens` have its chunk; (grouped_linear_c5) columns has
    results of N columns with a group that divides a block.

    Example:
    ```mlir
    %h = vit.grouped_linear columns %x, %w rows(%rows, %starts : tensor<?xi32>, tensor<?x16xi32>) chunk 256 layers ["b0.fc1"]
      : tensor<?x768xbf16>, tensor<3072x768xbf16> -> tensor<?x3072xf32>
    ```
  }];
  let arguments = (ins ViT_GroupedAxisAttr:$axis, ViT_Rows:$input, 2DTensorOf<[F32, F16, BF16, F8E4M3FN, I8]>:$weight,
      ViT_Index1D:$rows, 2DTensorOf<[I32]>:$starts, I64Attr:$chunk, StrArrayAttr:$layers,
      Variadic<ViT_AnyTensor>:$epilogue_ins, AffineMapArrayAttr:$maps, I64Attr:$group);
  let results = (outs Variadic<ViT_AnyTensor>:$results);
  let regions = (region AnyRegion:$epilogue);
  let assemblyFormat = [{
    $axis $input `,` $weight `rows` `(` $rows `,` $starts `:` type($rows) `,` type($starts) `)` `chunk` $chunk
    `layers` $layers attr-dict `:` type($input) `,` type($weight) `->` type($results)
    custom<Epilogue>($epilogue_ins, type($epilogue_ins), $maps, $group, $epilogue)
  }];
  let extraClassDeclaration = [{
    int64_t getBlocks() { return getStarts().getType().getDimSize(1); }
    /// Columns, or steps of K, of a block.
    int64_t getBlock() {
      auto weight = getWeight().getType();
      return weight.getDimSize(getAxis() == GroupedAxis::Columns ? 0 : 1) / getBlocks();
    }
  }];
}
#endif
