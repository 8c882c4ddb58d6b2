// RUN: vitrify-opt %s --split-input-file --verify-diagnostics

// attention_c1: heads that do not divide the columns
func.func @f(%q: tensor<?x8xf32>, %k: tensor<?x8xf32>, %v: tensor<?x8xf32>) {
  // expected-error @+1 {{expected heads that divide the query's static columns, found 3 for 'tensor<?x8xf32>'}}
  %r = vit.attention %q, %k, %v heads 3 kv_heads 3 scale 0.5 uniform 5 layers ["a"] : tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32> -> tensor<?x8xf32>
  return
}

// -----

// attention_c1: no heads
func.func @f(%q: tensor<?x8xf32>, %k: tensor<?x8xf32>, %v: tensor<?x8xf32>) {
  // expected-error @+1 {{expected heads that divide the query's static columns, found 0 for 'tensor<?x8xf32>'}}
  %r = vit.attention %q, %k, %v heads 0 kv_heads 1 scale 0.5 uniform 5 layers ["a"] : tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32> -> tensor<?x8xf32>
  return
}

// -----

// attention_c1: kv_heads that do not divide the heads
func.func @f(%q: tensor<?x8xf32>, %k: tensor<?x8xf32>, %v: tensor<?x8xf32>) {
  // expected-error @+1 {{expected kv_heads that divide the 4 heads, found 3}}
  %r = vit.attention %q, %k, %v heads 4 kv_heads 3 scale 0.5 uniform 5 layers ["a"] : tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32> -> tensor<?x8xf32>
  return
}

// -----

// attention_c2: keys of all heads with one kv head
func.func @f(%q: tensor<?x8xf32>, %k: tensor<?x8xf32>, %v: tensor<?x8xf32>) {
  // expected-error @+1 {{expected key [?, 4], found 'tensor<?x8xf32>'}}
  %r = vit.attention %q, %k, %v heads 2 kv_heads 1 scale 0.5 uniform 5 layers ["a"] : tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32> -> tensor<?x8xf32>
  return
}

// -----

// attention_c2: fewer values than keys
func.func @f(%q: tensor<?x8xf32>, %k: tensor<10x8xf32>, %v: tensor<5x8xf32>) {
  // expected-error @+1 {{expected value [10, 8], found 'tensor<5x8xf32>'}}
  %r = vit.attention %q, %k, %v heads 2 kv_heads 2 scale 0.5 uniform 5 layers ["a"] : tensor<?x8xf32>, tensor<10x8xf32>, tensor<5x8xf32> -> tensor<?x8xf32>
  return
}

// -----

// attention_c3: no segments
func.func @f(%q: tensor<?x8xf32>, %k: tensor<?x8xf32>, %v: tensor<?x8xf32>) {
  // expected-error @+1 {{expected exactly one of uniform and cu_seqlens}}
  %r = vit.attention %q, %k, %v heads 2 kv_heads 2 scale 0.5 layers ["a"] : tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32> -> tensor<?x8xf32>
  return
}

// -----

// attention_c3: both
func.func @f(%q: tensor<?x8xf32>, %k: tensor<?x8xf32>, %v: tensor<?x8xf32>, %c: tensor<?xi32>) {
  // expected-error @+1 {{expected exactly one of uniform and cu_seqlens}}
  %r = vit.attention %q, %k, %v heads 2 kv_heads 2 scale 0.5 uniform 5 cu_seqlens_q(%c : tensor<?xi32>) layers ["a"] : tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32> -> tensor<?x8xf32>
  return
}

// -----

// attention_c3: kv_uniform alone
func.func @f(%q: tensor<?x8xf32>, %k: tensor<?x8xf32>, %v: tensor<?x8xf32>, %c: tensor<?xi32>) {
  // expected-error @+1 {{expected kv_uniform only beside uniform}}
  %r = vit.attention %q, %k, %v heads 2 kv_heads 2 scale 0.5 kv_uniform 5 cu_seqlens_q(%c : tensor<?xi32>) layers ["a"] : tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32> -> tensor<?x8xf32>
  return
}

// -----

// attention_c3: cu_seqlens_k alone
func.func @f(%q: tensor<?x8xf32>, %k: tensor<?x8xf32>, %v: tensor<?x8xf32>, %c: tensor<?xi32>) {
  // expected-error @+1 {{expected cu_seqlens_k only beside cu_seqlens_q}}
  %r = vit.attention %q, %k, %v heads 2 kv_heads 2 scale 0.5 uniform 5 cu_seqlens_k(%c : tensor<?xi32>) layers ["a"] : tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32> -> tensor<?x8xf32>
  return
}

// -----

// attention_c3: more segments of keys than of queries
func.func @f(%q: tensor<10x8xf32>, %k: tensor<15x8xf32>, %v: tensor<15x8xf32>) {
  // expected-error @+1 {{expected as many segments of keys as of queries, found 3 and 2}}
  %r = vit.attention %q, %k, %v heads 2 kv_heads 2 scale 0.5 uniform 5 layers ["a"] : tensor<10x8xf32>, tensor<15x8xf32>, tensor<15x8xf32> -> tensor<?x8xf32>
  return
}

// -----

// attention_c3: a rest of keys
func.func @f(%q: tensor<?x8xf32>, %k: tensor<7x8xf32>, %v: tensor<7x8xf32>) {
  // expected-error @+1 {{expected a multiple of 5 keys, found 7}}
  %r = vit.attention %q, %k, %v heads 2 kv_heads 2 scale 0.5 uniform 5 layers ["a"] : tensor<?x8xf32>, tensor<7x8xf32>, tensor<7x8xf32> -> tensor<?x8xf32>
  return
}

// -----

// attention_c3: lists of different length
func.func @f(%q: tensor<?x8xf32>, %k: tensor<?x8xf32>, %v: tensor<?x8xf32>, %c: tensor<3xi32>, %d: tensor<4xi32>) {
  // expected-error @+1 {{expected cu_seqlens_k [3], found 'tensor<4xi32>'}}
  %r = vit.attention %q, %k, %v heads 2 kv_heads 2 scale 0.5 cu_seqlens_q(%c : tensor<3xi32>) cu_seqlens_k(%d : tensor<4xi32>) layers ["a"] : tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32> -> tensor<?x8xf32>
  return
}

// -----

// attention_c4: a scale of 0
func.func @f(%q: tensor<?x8xf32>, %k: tensor<?x8xf32>, %v: tensor<?x8xf32>) {
  // expected-error @+1 {{expected a finite scale that is not 0, found 0}}
  %r = vit.attention %q, %k, %v heads 2 kv_heads 2 scale 0.0 uniform 5 layers ["a"] : tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32> -> tensor<?x8xf32>
  return
}

// -----

// attention_c4: an infinite scale
func.func @f(%q: tensor<?x8xf32>, %k: tensor<?x8xf32>, %v: tensor<?x8xf32>) {
  // expected-error @+1 {{expected a finite scale that is not 0, found INF}}
  %r = vit.attention %q, %k, %v heads 2 kv_heads 2 scale 0x7FF0000000000000 uniform 5 layers ["a"] : tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32> -> tensor<?x8xf32>
  return
}

// -----

// attention_c5: a short mask
func.func @f(%q: tensor<?x8xf32>, %k: tensor<10x8xf32>, %v: tensor<10x8xf32>, %m: tensor<9xi32>) {
  // expected-error @+1 {{expected key_mask [10], found 'tensor<9xi32>'}}
  %r = vit.attention %q, %k, %v heads 2 kv_heads 2 scale 0.5 uniform 5 key_mask(%m : tensor<9xi32>) layers ["a"] : tensor<?x8xf32>, tensor<10x8xf32>, tensor<10x8xf32> -> tensor<?x8xf32>
  return
}

// -----

// attention_c6: a result of another width
func.func @f(%q: tensor<?x8xf32>, %k: tensor<?x8xf32>, %v: tensor<?x8xf32>) {
  // expected-error @+1 {{expected result [?, 8], found 'tensor<?x9xf32>'}}
  %r = vit.attention %q, %k, %v heads 2 kv_heads 2 scale 0.5 uniform 5 layers ["a"] : tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32> -> tensor<?x9xf32>
  return
}

// -----

// attention_c6: one row for two images with a probe
func.func @f(%q: tensor<1x8xf32>, %k: tensor<10x8xf32>, %v: tensor<10x8xf32>) {
  // expected-error @+1 {{expected result [2, 8], found 'tensor<1x8xf32>'}}
  %r = vit.attention %q, %k, %v heads 2 kv_heads 2 scale 0.5 uniform 1 kv_uniform 5 layers ["a"] : tensor<1x8xf32>, tensor<10x8xf32>, tensor<10x8xf32> -> tensor<1x8xf32>
  return
}

// -----

// rope_c1: a head_dim of 6 in 2-D
func.func @f(%x: tensor<?x12xf32>, %p: tensor<2x?xi32>) {
  // expected-error @+1 {{expected a head_dim that is a multiple of 4 and divides the columns, found 6 for 'tensor<?x12xf32>'}}
  %r = vit.rope vision_2d %x, %p head_dim 6 theta 1.0e4 layers ["r"] : tensor<?x12xf32>, tensor<2x?xi32> -> tensor<?x12xf32>
  return
}

// -----

// rope_c1: a head_dim that does not divide
func.func @f(%x: tensor<?x8xf32>, %p: tensor<2x?xi32>) {
  // expected-error @+1 {{expected a head_dim that is a multiple of 4 and divides the columns, found 12 for 'tensor<?x8xf32>'}}
  %r = vit.rope vision_2d %x, %p head_dim 12 theta 1.0e4 layers ["r"] : tensor<?x8xf32>, tensor<2x?xi32> -> tensor<?x8xf32>
  return
}

// -----

// rope_c1: another type
func.func @f(%x: tensor<?x8xf32>, %p: tensor<2x?xi32>) {
  // expected-error @+1 {{expected a result of the input's type 'tensor<?x8xf32>', found 'tensor<?x8xf16>'}}
  %r = vit.rope vision_2d %x, %p head_dim 4 theta 1.0e4 layers ["r"] : tensor<?x8xf32>, tensor<2x?xi32> -> tensor<?x8xf16>
  return
}

// -----

// rope_c2: three axes in 2-D
func.func @f(%x: tensor<?x8xf32>, %p: tensor<3x?xi32>) {
  // expected-error @+1 {{expected positions [2, ?], found 'tensor<3x?xi32>'}}
  %r = vit.rope vision_2d %x, %p head_dim 4 theta 1.0e4 layers ["r"] : tensor<?x8xf32>, tensor<3x?xi32> -> tensor<?x8xf32>
  return
}

// -----

// rope_c2: two axes for mrope
func.func @f(%x: tensor<?x8xf32>, %p: tensor<2x?xi32>) {
  // expected-error @+1 {{expected positions [3, ?], found 'tensor<2x?xi32>'}}
  %r = vit.rope mrope %x, %p head_dim 4 theta 1.0e4 layers ["r"] : tensor<?x8xf32>, tensor<2x?xi32> -> tensor<?x8xf32>
  return
}

// -----

// rope_c3: sections in 2-D
func.func @f(%x: tensor<?x8xf32>, %p: tensor<2x?xi32>) {
  // expected-error @+1 {{expected sections for mrope only}}
  %r = vit.rope vision_2d %x, %p head_dim 4 theta 1.0e4 sections [1, 1, 0] layers ["r"] : tensor<?x8xf32>, tensor<2x?xi32> -> tensor<?x8xf32>
  return
}

// -----

// rope_c3: sections that do not add up
func.func @f(%x: tensor<?x8xf32>, %p: tensor<3x?xi32>) {
  // expected-error @+1 {{expected 3 sections that add up to 2}}
  %r = vit.rope mrope %x, %p head_dim 4 theta 1.0e4 sections [1, 1, 1] layers ["r"] : tensor<?x8xf32>, tensor<3x?xi32> -> tensor<?x8xf32>
  return
}

// -----

// rope_c3: two sections
func.func @f(%x: tensor<?x8xf32>, %p: tensor<3x?xi32>) {
  // expected-error @+1 {{expected 3 sections that add up to 2}}
  %r = vit.rope mrope %x, %p head_dim 4 theta 1.0e4 sections [1, 1] layers ["r"] : tensor<?x8xf32>, tensor<3x?xi32> -> tensor<?x8xf32>
  return
}

// -----

// rope_c4: a theta of 1
func.func @f(%x: tensor<?x8xf32>, %p: tensor<2x?xi32>) {
  // expected-error @+1 {{expected a theta above 1, found 1}}
  %r = vit.rope vision_2d %x, %p head_dim 4 theta 1.0 layers ["r"] : tensor<?x8xf32>, tensor<2x?xi32> -> tensor<?x8xf32>
  return
}

// -----

// cache_append_c1: another type
func.func @f(%c: tensor<2x16x8xf32>, %x: tensor<?x8xf32>, %l: tensor<2xi32>, %u: tensor<3xi32>) {
  // expected-error @+1 {{expected a result of the cache's type 'tensor<2x16x8xf32>', found 'tensor<2x17x8xf32>'}}
  %r = vit.cache_append %c, %x, %l, %u layers ["c"] : tensor<2x16x8xf32>, tensor<?x8xf32>, tensor<2xi32>, tensor<3xi32> -> tensor<2x17x8xf32>
  return
}

// -----

// cache_append_c2: narrow rows
func.func @f(%c: tensor<2x16x8xf32>, %x: tensor<?x7xf32>, %l: tensor<2xi32>, %u: tensor<3xi32>) {
  // expected-error @+1 {{expected rows of the cache's columns and element type, found 'tensor<?x7xf32>' for 'tensor<2x16x8xf32>'}}
  %r = vit.cache_append %c, %x, %l, %u layers ["c"] : tensor<2x16x8xf32>, tensor<?x7xf32>, tensor<2xi32>, tensor<3xi32> -> tensor<2x16x8xf32>
  return
}

// -----

// cache_append_c3: three lengths for two segments
func.func @f(%c: tensor<2x16x8xf32>, %x: tensor<?x8xf32>, %l: tensor<3xi32>, %u: tensor<3xi32>) {
  // expected-error @+1 {{expected lengths [2], found 'tensor<3xi32>'}}
  %r = vit.cache_append %c, %x, %l, %u layers ["c"] : tensor<2x16x8xf32>, tensor<?x8xf32>, tensor<3xi32>, tensor<3xi32> -> tensor<2x16x8xf32>
  return
}

// -----

// cache_append_c3: two offsets for two segments
func.func @f(%c: tensor<2x16x8xf32>, %x: tensor<?x8xf32>, %l: tensor<2xi32>, %u: tensor<2xi32>) {
  // expected-error @+1 {{expected cu_seqlens [3], found 'tensor<2xi32>'}}
  %r = vit.cache_append %c, %x, %l, %u layers ["c"] : tensor<2x16x8xf32>, tensor<?x8xf32>, tensor<2xi32>, tensor<2xi32> -> tensor<2x16x8xf32>
  return
}
