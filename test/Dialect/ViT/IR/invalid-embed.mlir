// RUN: vitrify-opt %s --split-input-file --verify-diagnostics

// patch_embed_c1: pixels of rank 3
func.func @f(%x: tensor<3x28x28xf32>, %w: tensor<8x147xf32>) {
  // expected-error @+1 {{operand #0 must be 4D tensor of 32-bit float or 16-bit float or bfloat16 type or 8-bit signless integer or 8-bit unsigned integer values, but got 'tensor<3x28x28xf32>'}}
  %r = vit.patch_embed %x, %w patch 7 x 7 layers ["p"] : tensor<3x28x28xf32>, tensor<8x147xf32> -> tensor<?x8xf32>
  return
}

// -----

// patch_embed_c2: a patch that does not divide the height
func.func @f(%x: tensor<?x3x27x28xf32>, %w: tensor<8x147xf32>) {
  // expected-error @+1 {{expected a patch that divides the image, found 7 x 7 of 'tensor<?x3x27x28xf32>'}}
  %r = vit.patch_embed %x, %w patch 7 x 7 layers ["p"] : tensor<?x3x27x28xf32>, tensor<8x147xf32> -> tensor<?x8xf32>
  return
}

// -----

// patch_embed_c2: interleaved, a patch that does not divide the width
func.func @f(%x: tensor<?x28x27x3xf32>, %w: tensor<8x147xf32>) {
  // expected-error @+1 {{expected a patch that divides the image, found 7 x 7 of 'tensor<?x28x27x3xf32>'}}
  %r = vit.patch_embed %x, %w patch 7 x 7 interleaved layers ["p"] : tensor<?x28x27x3xf32>, tensor<8x147xf32> -> tensor<?x8xf32>
  return
}

// -----

// patch_embed_c3: interleaved, channels where they are not
func.func @f(%x: tensor<?x3x28x28xf32>, %w: tensor<8x147xf32>) {
  // expected-error @+1 {{expected a patch that divides the image, found 7 x 7 of 'tensor<?x3x28x28xf32>'}}
  %r = vit.patch_embed %x, %w patch 7 x 7 interleaved layers ["p"] : tensor<?x3x28x28xf32>, tensor<8x147xf32> -> tensor<?x8xf32>
  return
}

// -----

// patch_embed_c2: an empty patch
func.func @f(%x: tensor<?x3x28x28xf32>, %w: tensor<8x147xf32>) {
  // expected-error @+1 {{expected a patch of at least 1 x 1, found 0 x 7}}
  %r = vit.patch_embed %x, %w patch 0 x 7 layers ["p"] : tensor<?x3x28x28xf32>, tensor<8x147xf32> -> tensor<?x8xf32>
  return
}

// -----

// patch_embed_c3: a weight of another patch
func.func @f(%x: tensor<?x3x28x28xf32>, %w: tensor<8x146xf32>) {
  // expected-error @+1 {{expected a weight of 3 * 7 * 7 columns, found 'tensor<8x146xf32>'}}
  %r = vit.patch_embed %x, %w patch 7 x 7 layers ["p"] : tensor<?x3x28x28xf32>, tensor<8x146xf32> -> tensor<?x8xf32>
  return
}

// -----

// patch_embed_c3: a weight of unknown size
func.func @f(%x: tensor<?x3x28x28xf32>, %w: tensor<?x147xf32>) {
  // expected-error @+1 {{expected a static weight and a static number of channels}}
  %r = vit.patch_embed %x, %w patch 7 x 7 layers ["p"] : tensor<?x3x28x28xf32>, tensor<?x147xf32> -> tensor<?x8xf32>
  return
}

// -----

// patch_embed_c4: a result of too many rows
func.func @f(%x: tensor<2x3x28x28xf32>, %w: tensor<8x147xf32>) {
  // expected-error @+1 {{expected result [32, 8], found 'tensor<31x8xf32>'}}
  %r = vit.patch_embed %x, %w patch 7 x 7 layers ["p"] : tensor<2x3x28x28xf32>, tensor<8x147xf32> -> tensor<31x8xf32>
  return
}

// -----

// patch_embed_c5: an epilogue operand that is too long
func.func @f(%x: tensor<?x3x28x28xf32>, %w: tensor<8x147xf32>, %b: tensor<9xf32>) {
  // expected-error @+1 {{expected epilogue operand 0 [8], found 'tensor<9xf32>'}}
  %r = vit.patch_embed %x, %w patch 7 x 7 layers ["p"] : tensor<?x3x28x28xf32>, tensor<8x147xf32> -> tensor<?x8xf32> epilogue(%b [(m, n) -> (n)] : tensor<9xf32>) group 1 {
  ^bb0(%acc: f32, %bias: f32):
    %s = arith.addf %acc, %bias : f32
    vit.yield %s : f32
  }
  return
}

// -----

// patch_embed_c5: a bf16 result without an epilogue
func.func @f(%x: tensor<?x3x28x28xf32>, %w: tensor<8x147xf32>) {
  // expected-error @+1 {{expected an f32 result without an epilogue, found 'tensor<?x8xbf16>'}}
  %r = vit.patch_embed %x, %w patch 7 x 7 layers ["p"] : tensor<?x3x28x28xf32>, tensor<8x147xf32> -> tensor<?x8xbf16>
  return
}

// -----

// assemble_tokens_c1: neither uniform nor cu_seqlens
func.func @f(%p: tensor<?x8xf32>) {
  // expected-error @+1 {{expected exactly one of uniform and cu_seqlens}}
  %r = vit.assemble_tokens %p  layers ["t"] : tensor<?x8xf32> -> tensor<?x8xf32>
  return
}

// -----

// assemble_tokens_c1: both
func.func @f(%p: tensor<?x8xf32>, %c: tensor<?xi32>) {
  // expected-error @+1 {{expected exactly one of uniform and cu_seqlens}}
  %r = vit.assemble_tokens %p cu_seqlens(%c : tensor<?xi32>) uniform 16 layers ["t"] : tensor<?x8xf32> -> tensor<?x8xf32>
  return
}

// -----

// assemble_tokens_c1: segments of no row
func.func @f(%p: tensor<?x8xf32>) {
  // expected-error @+1 {{expected uniform segments of at least 1 row, found 0}}
  %r = vit.assemble_tokens %p uniform 0 layers ["t"] : tensor<?x8xf32> -> tensor<?x8xf32>
  return
}

// -----

// assemble_tokens_c1: rows that no count of segments gives
func.func @f(%p: tensor<33x8xf32>) {
  // expected-error @+1 {{expected a multiple of 16 rows, found 33}}
  %r = vit.assemble_tokens %p uniform 16 layers ["t"] : tensor<33x8xf32> -> tensor<?x8xf32>
  return
}

// -----

// assemble_tokens_c2: a prefix of another width
func.func @f(%p: tensor<?x8xf32>, %c: tensor<1x9xf32>) {
  // expected-error @+1 {{expected prefix [?, 8], found 'tensor<1x9xf32>'}}
  %r = vit.assemble_tokens %p prefix(%c : tensor<1x9xf32>) uniform 16 layers ["t"] : tensor<?x8xf32> -> tensor<?x8xf32>
  return
}

// -----

// assemble_tokens_c2: registers of an unknown number
func.func @f(%p: tensor<?x8xf32>, %c: tensor<?x8xf32>) {
  // expected-error @+1 {{expected a static number of rows of registers, found 'tensor<?x8xf32>'}}
  %r = vit.assemble_tokens %p registers(%c : tensor<?x8xf32>) uniform 16 layers ["t"] : tensor<?x8xf32> -> tensor<?x8xf32>
  return
}

// -----

// assemble_tokens_c3: a position for 18 of 17 tokens
func.func @f(%p: tensor<?x8xf32>, %c: tensor<1x8xf32>, %q: tensor<18x8xf32>) {
  // expected-error @+1 {{expected a position of 16 or 17 rows, found 18}}
  %r = vit.assemble_tokens %p prefix(%c : tensor<1x8xf32>) position(%q : tensor<18x8xf32>) uniform 16 layers ["t"] : tensor<?x8xf32> -> tensor<?x8xf32>
  return
}

// -----

// assemble_tokens_c4: a result without the prefix
func.func @f(%p: tensor<32x8xf32>, %c: tensor<1x8xf32>) {
  // expected-error @+1 {{expected result [34, 8], found 'tensor<32x8xf32>'}}
  %r = vit.assemble_tokens %p prefix(%c : tensor<1x8xf32>) uniform 16 layers ["t"] : tensor<32x8xf32> -> tensor<32x8xf32>
  return
}

// -----

// assemble_tokens_c4: a result of another type
func.func @f(%p: tensor<?x8xf32>) {
  // expected-error @+1 {{expected a result of 'f32', found 'tensor<?x8xbf16>'}}
  %r = vit.assemble_tokens %p uniform 16 layers ["t"] : tensor<?x8xf32> -> tensor<?x8xbf16>
  return
}

// -----

// pos_gather_c1: three weights for four taps
func.func @f(%t: tensor<9x8xf32>, %i: tensor<?x4xi32>, %w: tensor<?x3xf32>) {
  // expected-error @+1 {{expected weights [?, 4], found 'tensor<?x3xf32>'}}
  %r = vit.pos_gather %t, %i, %w layers ["p"] : tensor<9x8xf32>, tensor<?x4xi32>, tensor<?x3xf32> -> tensor<?x8xf32>
  return
}

// -----

// pos_gather_c2: a result of another width
func.func @f(%t: tensor<9x8xf32>, %i: tensor<?x4xi32>, %w: tensor<?x4xf32>) {
  // expected-error @+1 {{expected result [?, 8], found 'tensor<?x7xf32>'}}
  %r = vit.pos_gather %t, %i, %w layers ["p"] : tensor<9x8xf32>, tensor<?x4xi32>, tensor<?x4xf32> -> tensor<?x7xf32>
  return
}

// -----

// pos_gather_c2: a result of another type
func.func @f(%t: tensor<9x8xf32>, %i: tensor<?x4xi32>, %w: tensor<?x4xf32>) {
  // expected-error @+1 {{expected a result of 'f32', found 'tensor<?x8xf16>'}}
  %r = vit.pos_gather %t, %i, %w layers ["p"] : tensor<9x8xf32>, tensor<?x4xi32>, tensor<?x4xf32> -> tensor<?x8xf16>
  return
}

// -----

// merge_patches_c1: no rows
func.func @f(%x: tensor<?x8xf32>) {
  // expected-error @+1 {{expected a factor of at least 1 that divides the rows, found 0 for 'tensor<?x8xf32>'}}
  %r = vit.merge_patches %x by 0 layers ["m"] : tensor<?x8xf32> -> tensor<?x32xf32>
  return
}

// -----

// merge_patches_c1: a rest
func.func @f(%x: tensor<6x8xf32>) {
  // expected-error @+1 {{expected a factor of at least 1 that divides the rows, found 4 for 'tensor<6x8xf32>'}}
  %r = vit.merge_patches %x by 4 layers ["m"] : tensor<6x8xf32> -> tensor<1x32xf32>
  return
}

// -----

// merge_patches_c2: narrow rows
func.func @f(%x: tensor<?x8xf32>) {
  // expected-error @+1 {{expected result [?, 32], found 'tensor<?x31xf32>'}}
  %r = vit.merge_patches %x by 4 layers ["m"] : tensor<?x8xf32> -> tensor<?x31xf32>
  return
}

// -----

// merge_patches_c2: another type
func.func @f(%x: tensor<?x8xf32>) {
  // expected-error @+1 {{expected a result of 'f32', found 'tensor<?x32xf16>'}}
  %r = vit.merge_patches %x by 4 layers ["m"] : tensor<?x8xf32> -> tensor<?x32xf16>
  return
}

// -----

// merge_patches_c2: columns that overflow
func.func @f(%x: tensor<?x8xf32>) {
  // expected-error @+1 {{expected columns that do not overflow, found 9223372036854775807 * 8}}
  %r = vit.merge_patches %x by 9223372036854775807 layers ["m"] : tensor<?x8xf32> -> tensor<?x32xf32>
  return
}

// -----

// embed_c1: another width
func.func @f(%t: tensor<9x8xf32>, %i: tensor<?xi32>) {
  // expected-error @+1 {{expected result [?, 8], found 'tensor<?x9xf32>'}}
  %r = vit.embed %t, %i layers ["e"] : tensor<9x8xf32>, tensor<?xi32> -> tensor<?x9xf32>
  return
}

// -----

// embed_c1: another type
func.func @f(%t: tensor<9x8xf32>, %i: tensor<?xi32>) {
  // expected-error @+1 {{expected a result of 'f32', found 'tensor<?x8xf16>'}}
  %r = vit.embed %t, %i layers ["e"] : tensor<9x8xf32>, tensor<?xi32> -> tensor<?x8xf16>
  return
}

// -----

// scatter_rows_c1: narrow rows
func.func @f(%x: tensor<?x8xf32>, %s: tensor<?x7xf32>, %i: tensor<?xi32>) {
  // expected-error @+1 {{expected a source of the input's columns and element type, found 'tensor<?x7xf32>' for 'tensor<?x8xf32>'}}
  %r = vit.scatter_rows set %x, %s, %i layers ["s"] : tensor<?x8xf32>, tensor<?x7xf32>, tensor<?xi32> -> tensor<?x8xf32>
  return
}

// -----

// scatter_rows_c2: two places for three rows
func.func @f(%x: tensor<?x8xf32>, %s: tensor<3x8xf32>, %i: tensor<2xi32>) {
  // expected-error @+1 {{expected index [3], found 'tensor<2xi32>'}}
  %r = vit.scatter_rows set %x, %s, %i layers ["s"] : tensor<?x8xf32>, tensor<3x8xf32>, tensor<2xi32> -> tensor<?x8xf32>
  return
}

// -----

// scatter_rows_c3: a result of another type
func.func @f(%x: tensor<?x8xf32>, %s: tensor<?x8xf32>, %i: tensor<?xi32>) {
  // expected-error @+1 {{expected a result of the input's type 'tensor<?x8xf32>', found 'tensor<4x8xf32>'}}
  %r = vit.scatter_rows set %x, %s, %i layers ["s"] : tensor<?x8xf32>, tensor<?x8xf32>, tensor<?xi32> -> tensor<4x8xf32>
  return
}

// -----

// pool_c1: no segments
func.func @f(%x: tensor<?x8xf32>) {
  // expected-error @+1 {{expected exactly one of uniform and cu_seqlens}}
  %r = vit.pool token 0 %x  layers ["p"] : tensor<?x8xf32> -> tensor<?x8xf32>
  return
}

// -----

// pool_c2: a token after the segment
func.func @f(%x: tensor<?x8xf32>) {
  // expected-error @+1 {{expected a token of the segment, found 5}}
  %r = vit.pool token 5 %x uniform 5 layers ["p"] : tensor<?x8xf32> -> tensor<?x8xf32>
  return
}

// -----

// pool_c2: a negative token
func.func @f(%x: tensor<?x8xf32>, %c: tensor<?xi32>) {
  // expected-error @+1 {{expected a token of the segment, found -1}}
  %r = vit.pool mean -1 %x cu_seqlens(%c : tensor<?xi32>) layers ["p"] : tensor<?x8xf32> -> tensor<?x8xf32>
  return
}

// -----

// pool_c3: a row too many
func.func @f(%x: tensor<10x8xf32>) {
  // expected-error @+1 {{expected result [2, 8], found 'tensor<3x8xf32>'}}
  %r = vit.pool token 0 %x uniform 5 layers ["p"] : tensor<10x8xf32> -> tensor<3x8xf32>
  return
}

// -----

// pool_c3: another count than cu_seqlens
func.func @f(%x: tensor<?x8xf32>, %c: tensor<3xi32>) {
  // expected-error @+1 {{expected result [2, 8], found 'tensor<3x8xf32>'}}
  %r = vit.pool token 0 %x cu_seqlens(%c : tensor<3xi32>) layers ["p"] : tensor<?x8xf32> -> tensor<3x8xf32>
  return
}

// -----

// pool_c3: another type
func.func @f(%x: tensor<?x8xf32>) {
  // expected-error @+1 {{expected a result of 'f32', found 'tensor<?x8xf16>'}}
  %r = vit.pool token 0 %x uniform 5 layers ["p"] : tensor<?x8xf32> -> tensor<?x8xf16>
  return
}
