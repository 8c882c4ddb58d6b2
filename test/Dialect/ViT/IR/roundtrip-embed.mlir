// RUN: vitrify-opt %s -o %t.mlir
// RUN: vitrify-opt %t.mlir | FileCheck %s
// RUN: vitrify-opt %s --emit-bytecode | vitrify-opt | diff %t.mlir -

// CHECK-LABEL: func.func @patch_embed
func.func @patch_embed(%x: tensor<?x3x224x224xf32>, %u: tensor<?x3x?x?xi8>, %f: tensor<?x3x?x?xui8>, %v: tensor<?x?x?x3xui8>, %w: tensor<96x768xf32>, %b: tensor<96xf32>) {
  // The accumulator itself, and with a bias; whole images and sizes that are not known.
  // CHECK: %{{.*}} = vit.patch_embed %{{.*}}, %{{.*}} patch 16 x 16 layers ["p"] : tensor<?x3x224x224xf32>, tensor<96x768xf32> -> tensor<?x96xf32>
  %0 = vit.patch_embed %x, %w patch 16 x 16 layers ["p"] : tensor<?x3x224x224xf32>, tensor<96x768xf32> -> tensor<?x96xf32>
  // An image's bytes as they are.
  // CHECK: vit.patch_embed %{{.*}} : tensor<?x3x?x?xui8>, tensor<96x768xf32> -> tensor<?x96xf32>
  %frames = vit.patch_embed %f, %w patch 16 x 16 layers ["p"] : tensor<?x3x?x?xui8>, tensor<96x768xf32> -> tensor<?x96xf32>
  // CHECK: vit.patch_embed %{{.*}}, %{{.*}} patch 16 x 16 interleaved layers ["p"] : tensor<?x?x?x3xui8>, tensor<96x768xf32> -> tensor<?x96xf32>
  %hwc = vit.patch_embed %v, %w patch 16 x 16 interleaved layers ["p"] : tensor<?x?x?x3xui8>, tensor<96x768xf32> -> tensor<?x96xf32>
  // CHECK: vit.patch_embed %{{.*}}, %{{.*}} patch 16 x 16 layers ["p", "p.act"] : tensor<?x3x?x?xi8>, tensor<96x768xf32> -> tensor<?x96xbf16> epilogue(%{{.*}} [(d0, d1) -> (d1)] : tensor<96xf32>) group 1 {
  // CHECK: vit.convert %{{.*}} : f32 to bf16
  // CHECK: vit.yield %{{.*}} : bf16
  %1 = vit.patch_embed %u, %w patch 16 x 16 layers ["p", "p.act"] : tensor<?x3x?x?xi8>, tensor<96x768xf32> -> tensor<?x96xbf16> epilogue(%b [(m, n) -> (n)] : tensor<96xf32>) group 1 {
  ^bb0(%acc: f32, %b0: f32):
    %s = arith.addf %acc, %b0 : f32
    %t = vit.convert %s : f32 to bf16
    vit.yield %t : bf16
  }
  return
}

// CHECK-LABEL: func.func @assemble_tokens
func.func @assemble_tokens(%p: tensor<?x96xf32>, %c: tensor<1x96xf32>, %r: tensor<4x96xf32>, %q: tensor<17x96xf32>, %s: tensor<?xi32>) {
  // CHECK: %{{.*}} = vit.assemble_tokens %{{.*}} prefix(%{{.*}} : tensor<1x96xf32>) registers(%{{.*}} : tensor<4x96xf32>) position(%{{.*}} : tensor<17x96xf32>) uniform 16 layers ["t"] : tensor<?x96xf32> -> tensor<?x96xf32>
  %0 = vit.assemble_tokens %p prefix(%c : tensor<1x96xf32>) registers(%r : tensor<4x96xf32>) position(%q : tensor<17x96xf32>) uniform 16 layers ["t"] : tensor<?x96xf32> -> tensor<?x96xf32>
  // CHECK: %{{.*}} = vit.assemble_tokens %{{.*}} prefix(%{{.*}} : tensor<1x96xf32>) cu_seqlens(%{{.*}} : tensor<?xi32>) layers ["t"] : tensor<?x96xf32> -> tensor<?x96xf32>
  %1 = vit.assemble_tokens %p prefix(%c : tensor<1x96xf32>) cu_seqlens(%s : tensor<?xi32>) layers ["t"] : tensor<?x96xf32> -> tensor<?x96xf32>
  return
}

// CHECK-LABEL: func.func @rows
func.func @rows(%t: tensor<9x96xf32>, %i: tensor<?x4xi32>, %w: tensor<?x4xf32>, %x: tensor<?x96xf32>, %ids: tensor<?xi32>) {
  // CHECK: %{{.*}} = vit.pos_gather %{{.*}}, %{{.*}}, %{{.*}} layers ["pos"] : tensor<9x96xf32>, tensor<?x4xi32>, tensor<?x4xf32> -> tensor<?x96xf32>
  %0 = vit.pos_gather %t, %i, %w layers ["pos"] : tensor<9x96xf32>, tensor<?x4xi32>, tensor<?x4xf32> -> tensor<?x96xf32>
  // CHECK: %{{.*}} = vit.merge_patches %{{.*}} by 4 layers ["m"] : tensor<?x96xf32> -> tensor<?x384xf32>
  %1 = vit.merge_patches %x by 4 layers ["m"] : tensor<?x96xf32> -> tensor<?x384xf32>
  // CHECK: %{{.*}} = vit.embed %{{.*}}, %{{.*}} layers ["e"] : tensor<9x96xf32>, tensor<?xi32> -> tensor<?x96xf32>
  %2 = vit.embed %t, %ids layers ["e"] : tensor<9x96xf32>, tensor<?xi32> -> tensor<?x96xf32>
  // CHECK: %{{.*}} = vit.scatter_rows set %{{.*}}, %{{.*}}, %{{.*}} layers ["s"] : tensor<?x96xf32>, tensor<?x96xf32>, tensor<?xi32> -> tensor<?x96xf32>
  %3 = vit.scatter_rows set %x, %2, %ids layers ["s"] : tensor<?x96xf32>, tensor<?x96xf32>, tensor<?xi32> -> tensor<?x96xf32>
  // CHECK: %{{.*}} = vit.scatter_rows add %{{.*}}, %{{.*}}, %{{.*}} layers ["s"] : tensor<?x96xf32>, tensor<?x96xf32>, tensor<?xi32> -> tensor<?x96xf32>
  %4 = vit.scatter_rows add %x, %2, %ids layers ["s"] : tensor<?x96xf32>, tensor<?x96xf32>, tensor<?xi32> -> tensor<?x96xf32>
  return
}

// CHECK-LABEL: func.func @pool
func.func @pool(%x: tensor<?x96xf32>, %s: tensor<?xi32>) {
  // CHECK: %{{.*}} = vit.pool token 0 %{{.*}} uniform 17 layers ["p"] : tensor<?x96xf32> -> tensor<?x96xf32>
  %0 = vit.pool token 0 %x uniform 17 layers ["p"] : tensor<?x96xf32> -> tensor<?x96xf32>
  // CHECK: %{{.*}} = vit.pool mean 1 %{{.*}} cu_seqlens(%{{.*}} : tensor<?xi32>) layers ["p"] : tensor<?x96xf32> -> tensor<?x96xf32>
  %1 = vit.pool mean 1 %x cu_seqlens(%s : tensor<?xi32>) layers ["p"] : tensor<?x96xf32> -> tensor<?x96xf32>
  return
}
