//===- AttentionOps.td - attention, rotary positions, key-value cache -*- tablegen -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#ifndef VITRIFY_DIALECT_VIT_IR_ATTENTIONOPS_TD
#define VITRIFY_DIALECT_VIT_IR_ATTENTIONOPS_TD
include "vitrify/Dialect/ViT/IR/ViTBase.td"

def ViT_AttentionOp : ViT_EpilogueOp<"attention", [AttrSizedOperandSegments]> {
  let summary = "softmax(q k^T scale) v within segments, with grouped kv heads";
  let description = [{
    q is [Rq, heads * hd], k and v are [Rk, kv_heads * hd]; head h reads kv head `h / (heads / kv_heads)`. Query row i of
    segment s attends to the key rows of segment s: `acc[i, h * hd + d] = sum_j softmax_j(scale * q_i . k_j) v[j, d]`.
    `causal`: query i of a segment of q_len sees keys j <= i + kv_len - q_len (aligned at the end, as with a cache).
    `key_mask` [Rk] i32: 0 hides a key. A query that sees no key gives 0. Segments are `uniform N` (queries and keys;
    `kv_uniform M` when keys differ; a q of exactly N rows with several segments of keys is shared by all: a probe) or
    `cu_seqlens` with one or two i32 tensors [segments + 1]. Then the epilogue on [rows, heads * hd].
    Source: Vaswani et al., Attention Is All You Need, 2017, section 3.2.

    Constraints: (attention_c1) heads divide q's columns into hd, kv_heads divide heads; (attention_c2) k and v are
    [Rk, kv_heads * hd]; (attention_c3) exactly one of uniform and cu_seqlens_q, kv_uniform
    and cu_seqlens_k only beside them, and as many segments of keys as of queries; (attention_c4) scale is finite and not 0;
    (attention_c5) key_mask has Rk elements where static; (attention_c6) the epilogue fits.

    Example: `%a = vit.attention %q, %k, %v heads 12 kv_heads 12 scale 0.125 uniform 197 layers ["b0.attn"]
    : tensor<?x768xf32>, tensor<?x768xf32>, tensor<?x768xf32> -> tensor<?x768xf32>`
  }];
  let arguments = (ins ViT_FloatRows:$query, ViT_FloatRows:$key, ViT_FloatRows:$value,
      Optional<ViT_Index1D>:$cu_seqlens_q, Optional<ViT_Index1D>:$cu_seqlens_k, Optional<ViT_Index1D>:$key_mask,
      I64Attr:$heads, I64Attr:$kv_heads, F64Attr:$scale, UnitAttr:$causal,
      OptionalAttr<I64Attr>:$uniform, OptionalAttr<I64Attr>:$kv_uniform, StrArrayAttr:$layers,
      Variadic<ViT_AnyTensor>:$epilogue_ins, AffineMapArrayAttr:$maps, I64Attr:$group);
  let results = (outs Variadic<ViT_AnyTensor>:$results);
  let regions = (region AnyRegion:$epilogue);
  let assemblyFormat = [{
    $query `,` $key `,` $value `heads` $heads `kv_heads` $kv_heads `scale` $scale (`causal` $causal^)?
    (`uniform` $uniform^)? (`kv_uniform` $kv_uniform^)?
    (`cu_seqlens_q` `(` $cu_seqlens_q^ `:` type($cu_seqlens_q) `)`)?
    (`cu_seqlens_k` `(` $cu_seqlens_k^ `:` type($cu_seqlens_k) `)`)?
    (`key_mask` `(` $key_mask^ `:` type($key_mask) `)`)? `layers` $layers attr-dict
    `:` type($query) `,` type($key) `,` type($value) `->` type($results)
    custom<Epilogue>($epilogue_ins, type($epilogue_ins), $maps, $group, $epilogue)
  }];
  let extraClassDeclaration = [{
    /// Columns of one head.
    int64_t getHeadDim();
  }];
}

def ViT_RopeOp : ViT_ComputeOp<"rope"> {
  let summary = "rotary position embedding, 2-D half split or interleaved MRoPE";
  let description = [{
    For each head and slot s < hd / 2, with angle `a = position[axis(s), m] * freq(s)`:
    `r[s] = x[s] cos a - x[s + hd/2] sin a`, `r[s + hd/2] = x[s + hd/2] cos a + x[s] sin a`.
    vision_2d: positions [2, rows] (h, w); slots 0..hd/4-1 take h, the others w; freq = theta^(-4 j / hd), j = s mod
    (hd / 4). mrope: positions [3, rows] (t, h, w), freq = theta^(-2 s / hd); with sections [T, H, W] slot s takes h if
    s mod 3 = 1 and s < 3 H, w if s mod 3 = 2 and s < 3 W, else t. Angles in f32.
    Source: Su et al., RoFormer, 2021; the Qwen3-VL model code for the interleaved form.

    Constraints: (rope_c1) head_dim divides the columns and is even (vision_2d: a multiple of 4), and the
    result has the input's type; (rope_c2) positions
    are [2, rows] or [3, rows]; (rope_c3) sections are given for mrope only and add up to hd / 2; (rope_c4) theta > 1.

    Example: `%r = vit.rope vision_2d %q, %pos head_dim 64 theta 1.0e4 layers ["b0.rope_q"]
    : tensor<?x1024xf32>, tensor<2x?xi32> -> tensor<?x1024xf32>`
  }];
  let arguments = (ins ViT_RopeKindAttr:$kind, ViT_FloatRows:$input, 2DTensorOf<[I32]>:$positions, I64Attr:$head_dim,
      F64Attr:$theta, OptionalAttr<DenseI64ArrayAttr>:$sections, StrArrayAttr:$layers);
  let results = (outs ViT_FloatRows:$result);
  let assemblyFormat = [{ $kind $input `,` $positions `head_dim` $head_dim `theta` $theta (`sections` $sections^)?
    `layers` $layers attr-dict `:` type($input) `,` type($positions) `->` type($result) }];
}

def ViT_CacheAppendOp : ViT_ComputeOp<"cache_append"> {
  let summary = "writes new key or value rows into a cache, at the end of each segment's part";
  let description = [{
    cache is [segments, capacity, D]; lengths [segments] i32 rows are already filled. Rows of segment s (by cu_seqlens)
    go to `cache[s, lengths[s] + i]`. The result is the cache after writing; as an entry state it is updated in place.
    A row past the capacity is an error at run time.

    Constraints: (cache_append_c1) cache and result have one type; (cache_append_c2) rows have the cache's D and
    element type; (cache_append_c3) lengths has a segment's count of elements and cu_seqlens one more, where static.

    Example: `%c = vit.cache_append %cache, %k, %len, %cu layers ["b0.k_cache"]
    : tensor<1x4096x1024xf32>, tensor<?x1024xf32>, tensor<1xi32>, tensor<2xi32> -> tensor<1x4096x1024xf32>`
  }];
  let arguments = (ins 3DTensorOf<[F32, F16, BF16]>:$cache, ViT_FloatRows:$rows, ViT_Index1D:$lengths,
      ViT_Index1D:$cu_seqlens, StrArrayAttr:$layers);
  let results = (outs 3DTensorOf<[F32, F16, BF16]>:$result);
  let assemblyFormat = [{ $cache `,` $rows `,` $lengths `,` $cu_seqlens `layers` $layers attr-dict
    `:` type($cache) `,` type($rows) `,` type($lengths) `,` type($cu_seqlens) `->` type($result) }];
}
#endif
