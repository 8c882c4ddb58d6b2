// RUN: vitrify-opt %s --split-input-file --verify-diagnostics

// gate_c1: more than all
func.func @f(%s: tensor<?x16xf32>) {
  // expected-error @+1 {{expected a k from 1 to 16 and no threshold for topk}}
  %r = vit.gate topk k 17 weight one %s layers ["g"] : tensor<?x16xf32> -> tensor<?x16xf32>
  return
}

// -----

// gate_c1: none
func.func @f(%s: tensor<?x16xf32>) {
  // expected-error @+1 {{expected a k from 1 to 16 and no threshold for topk}}
  %r = vit.gate topk k 0 weight one %s layers ["g"] : tensor<?x16xf32> -> tensor<?x16xf32>
  return
}

// -----

// gate_c1: no k
func.func @f(%s: tensor<?x16xf32>) {
  // expected-error @+1 {{expected a k from 1 to 16 and no threshold for topk}}
  %r = vit.gate topk weight one %s layers ["g"] : tensor<?x16xf32> -> tensor<?x16xf32>
  return
}

// -----

// gate_c1: k and a threshold
func.func @f(%s: tensor<?x16xf32>) {
  // expected-error @+1 {{expected a finite threshold and no k for threshold}}
  %r = vit.gate threshold k 4 at 0.5 weight one %s layers ["g"] : tensor<?x16xf32> -> tensor<?x16xf32>
  return
}

// -----

// gate_c1: an infinite threshold
func.func @f(%s: tensor<?x16xf32>) {
  // expected-error @+1 {{expected a finite threshold and no k for threshold}}
  %r = vit.gate threshold at 0x7FF0000000000000 weight one %s layers ["g"] : tensor<?x16xf32> -> tensor<?x16xf32>
  return
}

// -----

// gate_c1: an unknown number of blocks
func.func @f(%s: tensor<?x?xf32>) {
  // expected-error @+1 {{expected a static number of blocks, found 'tensor<?x?xf32>'}}
  %r = vit.gate topk k 4 weight one %s layers ["g"] : tensor<?x?xf32> -> tensor<?x16xf32>
  return
}

// -----

// gate_c2: another count of blocks
func.func @f(%s: tensor<?x16xf32>) {
  // expected-error @+1 {{expected result [?, 16], found 'tensor<?x15xf32>'}}
  %r = vit.gate topk k 4 weight one %s layers ["g"] : tensor<?x16xf32> -> tensor<?x15xf32>
  return
}

// -----

// group_tokens_c1: an unknown number of blocks
func.func @f(%g: tensor<?x?xf32>) {
  // expected-error @+1 {{expected a static number of blocks and a chunk of at least 1 row, found 'tensor<?x?xf32>' and 256}}
  %r, %s = vit.group_tokens %g chunk 256 layers ["g"] : tensor<?x?xf32> -> tensor<?xi32>, tensor<?x16xi32>
  return
}

// -----

// group_tokens_c1: chunks of nothing
func.func @f(%g: tensor<?x16xf32>) {
  // expected-error @+1 {{expected a static number of blocks and a chunk of at least 1 row, found 'tensor<?x16xf32>' and 0}}
  %r, %s = vit.group_tokens %g chunk 0 layers ["g"] : tensor<?x16xf32> -> tensor<?xi32>, tensor<?x16xi32>
  return
}

// -----

// group_tokens_c2: lists too short
func.func @f(%g: tensor<100x16xf32>) {
  // expected-error @+1 {{expected rows [1600], found 'tensor<1500xi32>'}}
  %r, %s = vit.group_tokens %g chunk 256 layers ["g"] : tensor<100x16xf32> -> tensor<1500xi32>, tensor<2x16xi32>
  return
}

// -----

// group_tokens_c2: no counts
func.func @f(%g: tensor<100x16xf32>) {
  // expected-error @+1 {{expected starts [2, 16], found 'tensor<1x16xi32>'}}
  %r, %s = vit.group_tokens %g chunk 256 layers ["g"] : tensor<100x16xf32> -> tensor<1600xi32>, tensor<1x16xi32>
  return
}

// -----

// grouped_linear_c1: another K
func.func @f(%x: tensor<?x63xf32>, %w: tensor<256x64xf32>, %r: tensor<?xi32>, %s: tensor<?x16xi32>, %g: tensor<?x16xf32>) {
  // expected-error @+1 {{expected an input [rows, K] and a weight [N, K] with static N and K, found 'tensor<?x63xf32>' and 'tensor<256x64xf32>'}}
  %y = vit.grouped_linear columns %x, %w rows(%r, %s : tensor<?xi32>, tensor<?x16xi32>) chunk 256 layers ["l"] : tensor<?x63xf32>, tensor<256x64xf32> -> tensor<?x256xf32>
  return
}

// -----

// grouped_linear_c2: codes and floats
func.func @f(%x: tensor<?x64xi8>, %w: tensor<256x64xf32>, %r: tensor<?xi32>, %s: tensor<?x16xi32>, %g: tensor<?x16xf32>) {
  // expected-error @+1 {{expected floats, f8E4M3FN or i8 on both sides, found 'i8' and 'f32'}}
  %y = vit.grouped_linear columns %x, %w rows(%r, %s : tensor<?xi32>, tensor<?x16xi32>) chunk 256 layers ["l"] : tensor<?x64xi8>, tensor<256x64xf32> -> tensor<?x256xf32>
  return
}

// -----

// grouped_linear_c3: blocks that do not divide N
func.func @f(%x: tensor<?x64xf32>, %w: tensor<256x64xf32>, %r: tensor<?xi32>, %s: tensor<?x15xi32>, %g: tensor<?x16xf32>) {
  // expected-error @+1 {{expected a chunk of at least 1 row and a static number of blocks that divides 256, found 256 and 'tensor<?x15xi32>'}}
  %y = vit.grouped_linear columns %x, %w rows(%r, %s : tensor<?xi32>, tensor<?x15xi32>) chunk 256 layers ["l"] : tensor<?x64xf32>, tensor<256x64xf32> -> tensor<?x256xf32>
  return
}

// -----

// grouped_linear_c3: blocks that do not divide K
func.func @f(%x: tensor<?x64xf32>, %w: tensor<256x64xf32>, %r: tensor<?xi32>, %s: tensor<?x48xi32>, %g: tensor<?x16xf32>) {
  // expected-error @+1 {{expected a chunk of at least 1 row and a static number of blocks that divides 64, found 256 and 'tensor<?x48xi32>'}}
  %y = vit.grouped_linear depth %x, %w rows(%r, %s : tensor<?xi32>, tensor<?x48xi32>) chunk 256 layers ["l"] : tensor<?x64xf32>, tensor<256x64xf32> -> tensor<?x256xf32>
  return
}

// -----

// grouped_linear_c3: lists of other rows
func.func @f(%x: tensor<20x64xf32>, %w: tensor<256x64xf32>, %r: tensor<16xi32>, %s: tensor<?x16xi32>, %g: tensor<?x16xf32>) {
  // expected-error @+1 {{expected rows [320], found 'tensor<16xi32>'}}
  %y = vit.grouped_linear columns %x, %w rows(%r, %s : tensor<16xi32>, tensor<?x16xi32>) chunk 256 layers ["l"] : tensor<20x64xf32>, tensor<256x64xf32> -> tensor<20x256xf32>
  return
}

// -----

// grouped_linear_c4: lists that were counted by other chunks
func.func @f(%x: tensor<?x64xf32>, %w: tensor<256x64xf32>, %g: tensor<?x16xf32>) {
  // expected-note @+1 {{lists are made here}}
  %r, %s = vit.group_tokens %g chunk 256 layers ["g"] : tensor<?x16xf32> -> tensor<?xi32>, tensor<?x16xi32>
  // expected-error @+1 {{expected the chunk of its lists, 256, found 128}}
  %y = vit.grouped_linear columns %x, %w rows(%r, %s : tensor<?xi32>, tensor<?x16xi32>) chunk 128 layers ["l"] : tensor<?x64xf32>, tensor<256x64xf32> -> tensor<?x256xf32>
  return
}

// -----

// grouped_linear_c5: groups across blocks
func.func @f(%x: tensor<?x64xf32>, %w: tensor<256x64xf32>, %r: tensor<?xi32>, %s: tensor<?x16xi32>, %g: tensor<?x16xf32>) {
  // expected-error @+1 {{expected results of 256 columns in groups that divide a block of 16 columns, found 'tensor<?x256xf32>' in groups of 32}}
  %y = vit.grouped_linear columns %x, %w rows(%r, %s : tensor<?xi32>, tensor<?x16xi32>) chunk 256 layers ["l"] : tensor<?x64xf32>, tensor<256x64xf32> -> tensor<?x256xf32> epilogue() group 32 {
  ^bb0(%acc: vector<32xf32>):
    vit.yield %acc : vector<32xf32>
  }
  return
}
