// RUN: vitrify-opt %s -o %t.mlir
// RUN: vitrify-opt %t.mlir | FileCheck %s
// RUN: vitrify-opt %s --emit-bytecode | vitrify-opt | diff %t.mlir -

// CHECK-LABEL: func.func @attention
func.func @attention(%q: tensor<?x96xf32>, %k: tensor<?x96xf32>, %g: tensor<?x32xf32>, %p: tensor<1x96xf32>, %cq: tensor<?xi32>, %ck: tensor<?xi32>, %m: tensor<?xi32>) {
  // CHECK: %{{.*}} = vit.attention %{{.*}}, %{{.*}}, %{{.*}} heads 3 kv_heads 3 scale 1.250000e-01 uniform 17 layers ["a"] : tensor<?x96xf32>, tensor<?x96xf32>, tensor<?x96xf32> -> tensor<?x96xf32>
  %0 = vit.attention %q, %k, %k heads 3 kv_heads 3 scale 1.250000e-01 uniform 17 layers ["a"] : tensor<?x96xf32>, tensor<?x96xf32>, tensor<?x96xf32> -> tensor<?x96xf32>
  // Grouped heads, causal, ragged, masked.
  // CHECK: %{{.*}} = vit.attention %{{.*}}, %{{.*}}, %{{.*}} heads 6 kv_heads 2 scale 1.250000e-01 causal cu_seqlens_q(%{{.*}} : tensor<?xi32>) cu_seqlens_k(%{{.*}} : tensor<?xi32>) key_mask(%{{.*}} : tensor<?xi32>) layers ["a"] : tensor<?x96xf32>, tensor<?x32xf32>, tensor<?x32xf32> -> tensor<?x96xf16>
  %1 = vit.attention %q, %g, %g heads 6 kv_heads 2 scale 1.250000e-01 causal cu_seqlens_q(%cq : tensor<?xi32>) cu_seqlens_k(%ck : tensor<?xi32>) key_mask(%m : tensor<?xi32>) layers ["a"] : tensor<?x96xf32>, tensor<?x32xf32>, tensor<?x32xf32> -> tensor<?x96xf16>
  // A probe: one query for the keys of every image.
  // CHECK: %{{.*}} = vit.attention %{{.*}}, %{{.*}}, %{{.*}} heads 3 kv_heads 3 scale 1.250000e-01 uniform 1 kv_uniform 17 layers ["a"] : tensor<1x96xf32>, tensor<?x96xf32>, tensor<?x96xf32> -> tensor<?x96xf32>
  %2 = vit.attention %p, %k, %k heads 3 kv_heads 3 scale 1.250000e-01 uniform 1 kv_uniform 17 layers ["a"] : tensor<1x96xf32>, tensor<?x96xf32>, tensor<?x96xf32> -> tensor<?x96xf32>
  // Requantised.
  // CHECK: vit.attention {{.*}} -> tensor<?x96xf8E4M3FN> epilogue() group 1 {
  // CHECK: vit.convert %{{.*}} sat : f32 to f8E4M3FN
  %3 = vit.attention %q, %k, %k heads 3 kv_heads 3 scale 1.250000e-01 uniform 17 layers ["a"] : tensor<?x96xf32>, tensor<?x96xf32>, tensor<?x96xf32> -> tensor<?x96xf8E4M3FN> epilogue() group 1 {
  ^bb0(%acc: f32):
    %c = vit.convert %acc sat : f32 to f8E4M3FN
    vit.yield %c : f8E4M3FN
  }
  return
}

// CHECK-LABEL: func.func @rope
func.func @rope(%x: tensor<?x96xf32>, %p2: tensor<2x?xi32>, %p3: tensor<3x?xi32>) {
  // CHECK: %{{.*}} = vit.rope vision_2d %{{.*}}, %{{.*}} head_dim 32 theta 1.000000e+04 layers ["r"] : tensor<?x96xf32>, tensor<2x?xi32> -> tensor<?x96xf32>
  %0 = vit.rope vision_2d %x, %p2 head_dim 32 theta 1.000000e+04 layers ["r"] : tensor<?x96xf32>, tensor<2x?xi32> -> tensor<?x96xf32>
  // CHECK: %{{.*}} = vit.rope mrope %{{.*}}, %{{.*}} head_dim 32 theta 5.000000e+06 sections [6, 5, 5] layers ["r"] : tensor<?x96xf32>, tensor<3x?xi32> -> tensor<?x96xf32>
  %1 = vit.rope mrope %x, %p3 head_dim 32 theta 5.000000e+06 sections [6, 5, 5] layers ["r"] : tensor<?x96xf32>, tensor<3x?xi32> -> tensor<?x96xf32>
  // CHECK: %{{.*}} = vit.rope mrope %{{.*}}, %{{.*}} head_dim 32 theta 5.000000e+06 layers ["r"] : tensor<?x96xf32>, tensor<3x?xi32> -> tensor<?x96xf32>
  %2 = vit.rope mrope %x, %p3 head_dim 32 theta 5.000000e+06 layers ["r"] : tensor<?x96xf32>, tensor<3x?xi32> -> tensor<?x96xf32>
  return
}

// CHECK-LABEL: func.func @cache
func.func @cache(%c: tensor<2x16x96xf32>, %x: tensor<?x96xf32>, %l: tensor<2xi32>, %u: tensor<3xi32>) {
  // CHECK: %{{.*}} = vit.cache_append %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}} layers ["c"] : tensor<2x16x96xf32>, tensor<?x96xf32>, tensor<2xi32>, tensor<3xi32> -> tensor<2x16x96xf32>
  %0 = vit.cache_append %c, %x, %l, %u layers ["c"] : tensor<2x16x96xf32>, tensor<?x96xf32>, tensor<2xi32>, tensor<3xi32> -> tensor<2x16x96xf32>
  return
}
