// RUN: vitrify-opt %s --resolve-ranked-shaped-type-result-dims --canonicalize --cse | FileCheck %s

// Every op says how many rows its result has, from sizes of its operands. tensor.dim of the result becomes that.

// CHECK-DAG: #[[$MAP0:.*]] = affine_map<()[s0] -> (s0 floordiv 16)>
// CHECK-DAG: #[[$MAP1:.*]] = affine_map<()[s0] -> (s0 * 196)>
// CHECK-DAG: #[[$MAP2:.*]] = affine_map<()[s0] -> (s0 + (s0 floordiv 16) * 5)>
// CHECK-DAG: #[[$MAP3:.*]] = affine_map<()[s0, s1] -> (s0 + s1 * 5 - 5)>
// CHECK-DAG: #[[$MAP4:.*]] = affine_map<()[s0] -> (s0 floordiv 4)>
// CHECK-DAG: #[[$MAP5:.*]] = affine_map<()[s0] -> (s0 floordiv 17)>
// CHECK-DAG: #[[$MAP6:.*]] = affine_map<()[s0] -> (s0 - 1)>

// CHECK-LABEL: func.func @patch_embed
// CHECK-DAG: %[[B:.*]] = tensor.dim %arg0, %c0
// CHECK-DAG: %[[H:.*]] = tensor.dim %arg0, %c2
// CHECK-DAG: %[[W:.*]] = tensor.dim %arg0, %c3
// CHECK-DAG: %[[DOWN:.*]] = affine.apply #[[$MAP0]]()[%[[H]]]
// CHECK-DAG: %[[ACROSS:.*]] = affine.apply #[[$MAP0]]()[%[[W]]]
// CHECK: %[[BH:.*]] = arith.muli %[[B]], %[[DOWN]]
// CHECK: %[[ROWS:.*]] = arith.muli %[[BH]], %[[ACROSS]]
// CHECK: return %[[ROWS]]
func.func @patch_embed(%x: tensor<?x3x?x?xf32>, %w: tensor<96x768xf32>) -> index {
  %c0 = arith.constant 0 : index
  %0 = vit.patch_embed %x, %w patch 16 x 16 layers ["p"] : tensor<?x3x?x?xf32>, tensor<96x768xf32> -> tensor<?x96xf32>
  %d = tensor.dim %0, %c0 : tensor<?x96xf32>
  return %d : index
}

// CHECK-LABEL: func.func @patch_embed_interleaved
// CHECK-DAG: %[[B:.*]] = tensor.dim %arg0, %c0
// CHECK-DAG: %[[H:.*]] = tensor.dim %arg0, %c1
// CHECK-DAG: %[[W:.*]] = tensor.dim %arg0, %c2
// CHECK: arith.muli
func.func @patch_embed_interleaved(%x: tensor<?x?x?x3xui8>, %w: tensor<96x768xf32>) -> index {
  %c0 = arith.constant 0 : index
  %0 = vit.patch_embed %x, %w patch 16 x 16 interleaved layers ["p"] : tensor<?x?x?x3xui8>, tensor<96x768xf32> -> tensor<?x96xf32>
  %d = tensor.dim %0, %c0 : tensor<?x96xf32>
  return %d : index
}

// Only the images are unknown: 196 patches of each.
// CHECK-LABEL: func.func @patch_embed_images
// CHECK: %[[B:.*]] = tensor.dim %arg0, %c0
// CHECK: %[[ROWS:.*]] = affine.apply #[[$MAP1]]()[%[[B]]]
// CHECK: return %[[ROWS]]
func.func @patch_embed_images(%x: tensor<?x3x224x224xf32>, %w: tensor<96x768xf32>) -> index {
  %c0 = arith.constant 0 : index
  %0 = vit.patch_embed %x, %w patch 16 x 16 layers ["p"] : tensor<?x3x224x224xf32>, tensor<96x768xf32> -> tensor<?x96xf32>
  %d = tensor.dim %0, %c0 : tensor<?x96xf32>
  return %d : index
}

// A class token and four registers an image.
// CHECK-LABEL: func.func @assemble_tokens
// CHECK-DAG: %[[P:.*]] = tensor.dim %arg0, %c0
// CHECK-DAG: %[[S:.*]] = tensor.dim %arg3, %c0
// CHECK-DAG: %[[U:.*]] = affine.apply #[[$MAP2]]()[%[[P]]]
// CHECK-DAG: %[[C:.*]] = affine.apply #[[$MAP3]]()[%[[P]], %[[S]]]
// CHECK: return %[[U]], %[[C]]
func.func @assemble_tokens(%p: tensor<?x96xf32>, %c: tensor<1x96xf32>, %r: tensor<4x96xf32>, %s: tensor<?xi32>) -> (index, index) {
  %c0 = arith.constant 0 : index
  %0 = vit.assemble_tokens %p prefix(%c : tensor<1x96xf32>) registers(%r : tensor<4x96xf32>) uniform 16 layers ["t"] : tensor<?x96xf32> -> tensor<?x96xf32>
  %1 = vit.assemble_tokens %p prefix(%c : tensor<1x96xf32>) registers(%r : tensor<4x96xf32>) cu_seqlens(%s : tensor<?xi32>) layers ["t"] : tensor<?x96xf32> -> tensor<?x96xf32>
  %d = tensor.dim %0, %c0 : tensor<?x96xf32>
  %e = tensor.dim %1, %c0 : tensor<?x96xf32>
  return %d, %e : index, index
}

// CHECK-LABEL: func.func @rows
// CHECK-DAG: %[[X:.*]] = tensor.dim %arg0, %c0
// CHECK-DAG: %[[G:.*]] = tensor.dim %arg2, %c0
// CHECK-DAG: %[[I:.*]] = tensor.dim %arg4, %c0
// CHECK-DAG: %[[M:.*]] = affine.apply #[[$MAP4]]()[%[[X]]]
// CHECK: return %[[G]], %[[M]], %[[I]], %[[X]]
func.func @rows(%x: tensor<?x96xf32>, %t: tensor<9x96xf32>, %i: tensor<?x4xi32>, %w: tensor<?x4xf32>, %ids: tensor<?xi32>) -> (index, index, index, index) {
  %c0 = arith.constant 0 : index
  %0 = vit.pos_gather %t, %i, %w layers ["p"] : tensor<9x96xf32>, tensor<?x4xi32>, tensor<?x4xf32> -> tensor<?x96xf32>
  %1 = vit.merge_patches %x by 4 layers ["m"] : tensor<?x96xf32> -> tensor<?x384xf32>
  %2 = vit.embed %t, %ids layers ["e"] : tensor<9x96xf32>, tensor<?xi32> -> tensor<?x96xf32>
  %3 = vit.scatter_rows add %x, %2, %ids layers ["s"] : tensor<?x96xf32>, tensor<?x96xf32>, tensor<?xi32> -> tensor<?x96xf32>
  %d0 = tensor.dim %0, %c0 : tensor<?x96xf32>
  %d1 = tensor.dim %1, %c0 : tensor<?x384xf32>
  %d2 = tensor.dim %2, %c0 : tensor<?x96xf32>
  %d3 = tensor.dim %3, %c0 : tensor<?x96xf32>
  return %d0, %d1, %d2, %d3 : index, index, index, index
}

// CHECK-LABEL: func.func @pool
// CHECK-DAG: %[[X:.*]] = tensor.dim %arg0, %c0
// CHECK-DAG: %[[S:.*]] = tensor.dim %arg1, %c0
// CHECK-DAG: %[[U:.*]] = affine.apply #[[$MAP5]]()[%[[X]]]
// CHECK-DAG: %[[C:.*]] = affine.apply #[[$MAP6]]()[%[[S]]]
// CHECK: return %[[U]], %[[C]]
func.func @pool(%x: tensor<?x96xf32>, %s: tensor<?xi32>) -> (index, index) {
  %c0 = arith.constant 0 : index
  %0 = vit.pool token 0 %x uniform 17 layers ["p"] : tensor<?x96xf32> -> tensor<?x96xf32>
  %1 = vit.pool mean 0 %x cu_seqlens(%s : tensor<?xi32>) layers ["p"] : tensor<?x96xf32> -> tensor<?x96xf32>
  %d = tensor.dim %0, %c0 : tensor<?x96xf32>
  %e = tensor.dim %1, %c0 : tensor<?x96xf32>
  return %d, %e : index, index
}

// Rows of the input, through a chain; a probe's rows follow the keys.
// CHECK-LABEL: func.func @chain
// CHECK-DAG: %[[X:.*]] = tensor.dim %arg0, %c0
// CHECK-DAG: %[[P:.*]] = affine.apply #[[$MAP5]]()[%[[X]]]
// CHECK: return %[[X]], %[[X]], %[[P]]
func.func @chain(%x: tensor<?x96xf32>, %w: tensor<96x96xf32>, %probe: tensor<1x96xf32>, %pos: tensor<2x?xi32>) -> (index, index, index) {
  %c0 = arith.constant 0 : index
  %n = vit.norm rms %x eps 1.0e-6 layers ["n"] : tensor<?x96xf32> -> tensor<?x96xf32>
  %l = vit.linear %n, %w layers ["l"] : tensor<?x96xf32>, tensor<96x96xf32> -> tensor<?x96xf32>
  %r = vit.rope vision_2d %l, %pos head_dim 32 theta 1.0e4 layers ["r"] : tensor<?x96xf32>, tensor<2x?xi32> -> tensor<?x96xf32>
  %a = vit.attention %r, %r, %l heads 3 kv_heads 3 scale 0.125 uniform 17 layers ["a"] : tensor<?x96xf32>, tensor<?x96xf32>, tensor<?x96xf32> -> tensor<?x96xf32>
  %s = vit.residual %x, %a layers ["s"] : tensor<?x96xf32>, tensor<?x96xf32> -> tensor<?x96xf32>
  %t = vit.act silu %s layers ["t"] : tensor<?x96xf32>
  %u = vit.glu silu %t, %s layers ["u"] : tensor<?x96xf32>, tensor<?x96xf32> -> tensor<?x96xf32>
  %g = vit.gate topk k 4 weight one %u layers ["g"] : tensor<?x96xf32> -> tensor<?x96xf32>
  %c, %k = vit.quantize token %g layers ["q"] : tensor<?x96xf32> -> tensor<?x96xf8E4M3FN>, tensor<?x1xf32>
  %v = vit.dequantize %c, %k layers ["q"] : tensor<?x96xf8E4M3FN>, tensor<?x1xf32> -> tensor<?x96xf32>
  %h = vit.convert %v : tensor<?x96xf32> to tensor<?x96xbf16>
  %p = vit.attention %probe, %v, %v heads 3 kv_heads 3 scale 0.125 uniform 1 kv_uniform 17 layers ["a"] : tensor<1x96xf32>, tensor<?x96xf32>, tensor<?x96xf32> -> tensor<?x96xf32>
  %d0 = tensor.dim %h, %c0 : tensor<?x96xbf16>
  %d1 = tensor.dim %k, %c0 : tensor<?x1xf32>
  %d2 = tensor.dim %p, %c0 : tensor<?x96xf32>
  return %d0, %d1, %d2 : index, index, index
}

// CHECK-LABEL: func.func @cache
// CHECK: %[[C:.*]] = tensor.dim %arg0, %c1
// CHECK: return %[[C]]
func.func @cache(%c: tensor<2x?x96xf32>, %x: tensor<?x96xf32>, %l: tensor<2xi32>, %u: tensor<3xi32>) -> index {
  %c1 = arith.constant 1 : index
  %0 = vit.cache_append %c, %x, %l, %u layers ["c"] : tensor<2x?x96xf32>, tensor<?x96xf32>, tensor<2xi32>, tensor<3xi32> -> tensor<2x?x96xf32>
  %d = tensor.dim %0, %c1 : tensor<2x?x96xf32>
  return %d : index
}
