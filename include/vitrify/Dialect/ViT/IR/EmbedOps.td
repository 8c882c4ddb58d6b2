//===- EmbedOps.td - from pixels and token ids to hidden states, and pooling back -*- tablegen -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#ifndef VITRIFY_DIALECT_VIT_IR_EMBEDOPS_TD
#define VITRIFY_DIALECT_VIT_IR_EMBEDOPS_TD
include "vitrify/Dialect/ViT/IR/ViTBase.td"

def ViT_PatchEmbedOp : ViT_EpilogueOp<"patch_embed"> {
  let summary = "linear over unfolded patches: a convolution whose stride is its kernel size";
  let description = [{
    Formula: `acc[(b * nh + i) * nw + j, n] = sum over c, y, x of pixels[b, c, i * ph + y, j * pw + x] *
    weight[n, (c * ph + y) * pw + x]`, then the epilogue. Rows are images x patches in row-major order.
    `interleaved`: the channels of a pixel lie side by side, as cameras and decoders give frames: `acc[.., n] = sum over y, x, c
    of pixels[b, i * ph + y, j * pw + x, c] * weight[n, (y * pw + x) * C + c]`.
    Pixels of ui8 are an image's bytes as they are: 1 / (255 std) belongs into the weight, and what the mean adds into the bias
    (see vit-fold-normalisation).
    Source: Dosovitskiy et al., An Image is Worth 16x16 Words, 2020, section 3.1.

    Constraints: (patch_embed_c1) pixels have rank 4, [B, C, H, W] or interleaved
    [B, H, W, C]; (patch_embed_c2) the patch divides H and W where
    they are static; (patch_embed_c3) the weight is [D, C * ph * pw]; (patch_embed_c4) the result is
    [B * H/ph * W/pw, D] where static; (patch_embed_c5) the epilogue fits the accumulator (see the constraints of
    epilogues at `vit.linear`).

    Example:
    ```mlir
    %p = vit.patch_embed %pixels, %w patch 16 x 16 layers ["embed.patch"]
      : tensor<?x3x224x224xf32>, tensor<768x768xf32> -> tensor<?x768xf32>
      epilogue(%b [(m, n) -> (n)] : tensor<768xf32>) group 1 {
    ^bb0(%acc: f32, %bias: f32):
      %r = arith.addf %acc, %bias : f32
      vit.yield %r : f32
    }
    ```
  }];
  let arguments = (ins 4DTensorOf<[F32, F16, BF16, I8, UI8]>:$pixels, ViT_Rows:$weight,
      I64Attr:$patch_height, I64Attr:$patch_width, UnitAttr:$interleaved, StrArrayAttr:$layers,
      Variadic<ViT_AnyTensor>:$epilogue_ins, AffineMapArrayAttr:$maps, I64Attr:$group);
  let results = (outs Variadic<ViT_AnyTensor>:$results);
  let regions = (region AnyRegion:$epilogue);
  let assemblyFormat = [{
    $pixels `,` $weight `patch` $patch_height `x` $patch_width (`interleaved` $interleaved^)? `layers` $layers attr-dict
    `:` type($pixels) `,` type($weight) `->` type($results)
    custom<Epilogue>($epilogue_ins, type($epilogue_ins), $maps, $group, $epilogue)
  }];
  let extraClassDeclaration = [{
    /// Which dimensions of the pixels are height, width and channels.
    unsigned heightAxis() { return getInterleaved() ? 1 : 2; }
    unsigned widthAxis() { return getInterleaved() ? 2 : 3; }
    unsigned channelAxis() { return getInterleaved() ? 3 : 1; }
    int64_t channels() { return getPixels().getType().getDimSize(channelAxis()); }
  }];
}

def ViT_AssembleTokensOp : ViT_ComputeOp<"assemble_tokens", [AttrSizedOperandSegments]> {
  let summary = "puts class, distillation and register tokens before each image's patches and adds positions";
  let description = [{
    For each segment of `patches`: rows `prefix[0..T)`, then `registers[0..R)`, then the segment's own rows.
    `position` is [T + P, D] and is added to prefix and patch rows (never to registers, which have no position); with
    `position` of [P, D] and T > 0 only patches get one. Segments are `uniform P` (patches an image) or
    `cu_seqlens` [images + 1] i32. Sources: ViT section 3.1; Darcet et al., Vision Transformers Need Registers, 2023.

    Constraints: (assemble_tokens_c1) exactly one of uniform and cu_seqlens; (assemble_tokens_c2) all operands have
    the same D, and prefix and registers a static number of rows; (assemble_tokens_c3) with uniform P, position has P or T + P rows; (assemble_tokens_c4) the result has
    rows + images * (T + R) rows where static, and the element type of patches.

    Example: `%x = vit.assemble_tokens %p prefix(%cls : tensor<1x96xf32>) position(%pos : tensor<17x96xf32>)
    uniform 16 layers ["embed.tokens"] : tensor<?x96xf32> -> tensor<?x96xf32>`
  }];
  let arguments = (ins ViT_FloatRows:$patches, Optional<ViT_FloatRows>:$prefix, Optional<ViT_FloatRows>:$registers,
      Optional<ViT_FloatRows>:$position, Optional<ViT_Index1D>:$cu_seqlens, OptionalAttr<I64Attr>:$uniform,
      StrArrayAttr:$layers);
  let results = (outs ViT_FloatRows:$result);
  let assemblyFormat = [{
    $patches (`prefix` `(` $prefix^ `:` type($prefix) `)`)? (`registers` `(` $registers^ `:` type($registers) `)`)?
    (`position` `(` $position^ `:` type($position) `)`)? (`cu_seqlens` `(` $cu_seqlens^ `:` type($cu_seqlens) `)`)?
    (`uniform` $uniform^)? `layers` $layers attr-dict `:` type($patches) `->` type($result)
  }];
}

def ViT_PosGatherOp : ViT_ComputeOp<"pos_gather"> {
  let summary = "weighted sum of rows of a position table: bilinear, bicubic or antialiased resizing";
  let description = [{
    Formula: `r[n, d] = sum over t of weights[n, t] * table[index[n, t], d]`. Indices and weights are inputs, computed
    by the host from the image's grid (4 taps bilinear, 16 bicubic, more for antialiasing).

    Constraints: (pos_gather_c1) index and weights are [N, taps] alike; (pos_gather_c2) the result is [N, D] of the
    table's type. An index outside the table is an error at run time.

    Example: `%p = vit.pos_gather %table, %index, %w layers ["embed.pos"] : tensor<2304x1024xf32>, tensor<?x4xi32>,
    tensor<?x4xf32> -> tensor<?x1024xf32>`
  }];
  let arguments = (ins ViT_FloatRows:$table, 2DTensorOf<[I32]>:$index, 2DTensorOf<[F32]>:$weights, StrArrayAttr:$layers);
  let results = (outs ViT_FloatRows:$result);
  let assemblyFormat = [{ $table `,` $index `,` $weights `layers` $layers attr-dict
    `:` type($table) `,` type($index) `,` type($weights) `->` type($result) }];
}

def ViT_MergePatchesOp : ViT_ComputeOp<"merge_patches"> {
  let summary = "joins each `factor` consecutive rows into one";
  let description = [{
    Formula: `r[m, f * D + d] = x[m * factor + f, d]`. A reshape: tokens are in merge-block order.

    Constraints: (merge_patches_c1) factor >= 1 divides the rows where static; (merge_patches_c2) the result is
    [rows / factor, factor * D] of x's element type.

    Example: `%m = vit.merge_patches %x by 4 layers ["merger"] : tensor<?x1024xf32> -> tensor<?x4096xf32>`
  }];
  let arguments = (ins ViT_Rows:$input, I64Attr:$factor, StrArrayAttr:$layers);
  let results = (outs ViT_Rows:$result);
  let assemblyFormat = "$input `by` $factor `layers` $layers attr-dict `:` type($input) `->` type($result)";
  let hasFolder = 1;
}

def ViT_EmbedOp : ViT_ComputeOp<"embed"> {
  let summary = "rows of a table by id";
  let description = [{
    Formula: `r[m, d] = table[ids[m], d]`. An id outside the table is an error at run time.

    Constraints: (embed_c1) the result is [rows of ids, D] of the table's element type.

    Example: `%x = vit.embed %table, %ids layers ["embed"] : tensor<151936x2560xf32>, tensor<?xi32> -> tensor<?x2560xf32>`
  }];
  let arguments = (ins ViT_FloatRows:$table, ViT_Index1D:$ids, StrArrayAttr:$layers);
  let results = (outs ViT_FloatRows:$result);
  let assemblyFormat = "$table `,` $ids `layers` $layers attr-dict `:` type($table) `,` type($ids) `->` type($result)";
}

def ViT_ScatterRowsOp : ViT_ComputeOp<"scatter_rows"> {
  let summary = "sets or adds rows at given places";
  let description = [{
    Formula: r = x, then for each k in order `r[index[k]] = source[k]` (set) or `+= source[k]` (add). Used for image
    rows in text (set) and deepstack features (add). An index outside x is an error at run time.

    Constraints: (scatter_rows_c1) x, source and result have the same D and element type; (scatter_rows_c2) index has
    as many elements as source has rows, where static; (scatter_rows_c3) the result has x's type.

    Example: `%y = vit.scatter_rows set %x, %img, %at layers ["scatter"]
    : tensor<?x64xf32>, tensor<?x64xf32>, tensor<?xi32> -> tensor<?x64xf32>`
  }];
  let arguments = (ins ViT_ScatterModeAttr:$mode, ViT_FloatRows:$input, ViT_FloatRows:$source, ViT_Index1D:$index, StrArrayAttr:$layers);
  let results = (outs ViT_FloatRows:$result);
  let assemblyFormat = [{ $mode $input `,` $source `,` $index `layers` $layers attr-dict
    `:` type($input) `,` type($source) `,` type($index) `->` type($result) }];
}

def ViT_PoolOp : ViT_ComputeOp<"pool"> {
  let summary = "one row for each segment: a token, or the mean of a range of tokens";
  let description = [{
    token k: `r[i] = x[start(i) + k]`. mean from k: the mean of rows start(i) + k to the segment's end.
    Pooling by a probe (SigLIP) is `vit.attention` with the probe as a query shared by all segments.

    Constraints: (pool_c1) exactly one of uniform and cu_seqlens; (pool_c2) 0 <= k < uniform; (pool_c3) the result is
    [images, D] of x's element type.

    Example: `%c = vit.pool token 0 %x uniform 197 layers ["pool"] : tensor<?x768xf32> -> tensor<?x768xf32>`
  }];
  let arguments = (ins ViT_PoolKindAttr:$kind, I64Attr:$first, ViT_FloatRows:$input, Optional<ViT_Index1D>:$cu_seqlens,
      OptionalAttr<I64Attr>:$uniform, StrArrayAttr:$layers);
  let results = (outs ViT_FloatRows:$result);
  let assemblyFormat = [{
    $kind $first $input (`cu_seqlens` `(` $cu_seqlens^ `:` type($cu_seqlens) `)`)? (`uniform` $uniform^)?
    `layers` $layers attr-dict `:` type($input) `->` type($result)
  }];
}
#endif
