// RUN: vitrify-opt %s --vit-fuse-qkv --split-input-file | FileCheck %s

vit.weight @q : tensor<4x8xf32> { %0 = vit.literal dense<1.0> : tensor<4x8xf32>  vit.yield %0 : tensor<4x8xf32> }
vit.weight @k : tensor<6x8xf32> { %0 = vit.literal dense<2.0> : tensor<6x8xf32>  vit.yield %0 : tensor<6x8xf32> }
vit.weight @qb : tensor<4xf32> { %0 = vit.literal dense<3.0> : tensor<4xf32>  vit.yield %0 : tensor<4xf32> }
vit.weight @kb : tensor<6xf32> { %0 = vit.literal dense<4.0> : tensor<6xf32>  vit.yield %0 : tensor<6xf32> }
// CHECK: vit.weight @b0.qk.w : tensor<10x8xf32>
// CHECK: vit.concat %{{.*}}, %{{.*}} axis 0 : tensor<4x8xf32>, tensor<6x8xf32> -> tensor<10x8xf32>
// CHECK: vit.weight @b0.qk.b : tensor<10xf32>

// One linear of both weights, slices of its result.
// CHECK-LABEL: func.func @joined
func.func @joined(%x: tensor<?x8xf32>) -> (tensor<?x4xf32>, tensor<?x6xf32>) {
  %q = vit.get @q : tensor<4x8xf32>
  %k = vit.get @k : tensor<6x8xf32>
  %qb = vit.get @qb : tensor<4xf32>
  %kb = vit.get @kb : tensor<6xf32>
  // CHECK: %[[W:.*]] = vit.get @b0.qk.w
  // CHECK: %[[B:.*]] = vit.get @b0.qk.b
  // CHECK: %[[ALL:.*]] = vit.linear %{{.*}}, %[[W]] layers ["b0.q", "b0.k"]{{.*}} -> tensor<?x10xf32> epilogue(%[[B]]
  // CHECK: tensor.extract_slice %[[ALL]][0, 0] [%{{.*}}, 4] [1, 1]
  // CHECK: tensor.extract_slice %[[ALL]][0, 4] [%{{.*}}, 6] [1, 1]
  %0 = vit.linear %x, %q layers ["b0.q"] : tensor<?x8xf32>, tensor<4x8xf32> -> tensor<?x4xf32> epilogue(%qb [(m, n) -> (n)] : tensor<4xf32>) group 1 {
  ^bb0(%acc: f32, %b: f32):
    %r = arith.addf %acc, %b : f32
    vit.yield %r : f32
  }
  %1 = vit.linear %x, %k layers ["b0.k"] : tensor<?x8xf32>, tensor<6x8xf32> -> tensor<?x6xf32> epilogue(%kb [(m, n) -> (n)] : tensor<6xf32>) group 1 {
  ^bb0(%acc: f32, %b: f32):
    %r = arith.addf %acc, %b : f32
    vit.yield %r : f32
  }
  return %0, %1 : tensor<?x4xf32>, tensor<?x6xf32>
}

// -----

vit.weight @q : tensor<4x8xf32> { %0 = vit.literal dense<1.0> : tensor<4x8xf32>  vit.yield %0 : tensor<4x8xf32> }
vit.weight @k : tensor<4x8xf32> { %0 = vit.literal dense<2.0> : tensor<4x8xf32>  vit.yield %0 : tensor<4x8xf32> }

// Another input, another epilogue and a gate's linear stay apart.
// CHECK-LABEL: func.func @apart
// CHECK-COUNT-4: vit.linear
// CHECK-NOT: tensor.extract_slice
func.func @apart(%x: tensor<?x8xf32>, %y: tensor<?x8xf32>) -> (tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>) {
  %q = vit.get @q : tensor<4x8xf32>
  %k = vit.get @k : tensor<4x8xf32>
  %0 = vit.linear %x, %q layers ["b0.q"] : tensor<?x8xf32>, tensor<4x8xf32> -> tensor<?x4xf32>
  %1 = vit.linear %y, %k layers ["b0.k"] : tensor<?x8xf32>, tensor<4x8xf32> -> tensor<?x4xf32>
  %2 = vit.linear %x, %k layers ["b0.v"] : tensor<?x8xf32>, tensor<4x8xf32> -> tensor<?x4xf32> epilogue() group 1 {
  ^bb0(%acc: f32):
    %r = vit.act relu %acc : f32
    vit.yield %r : f32
  }
  %3 = vit.linear %x, %k layers ["b0.gate"] : tensor<?x8xf32>, tensor<4x8xf32> -> tensor<?x4xf32>
  %on = vit.gate topk k 1 weight one %3 layers ["b0.on"] : tensor<?x4xf32> -> tensor<?x4xf32>
  return %0, %1, %2, %on : tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>
}

// -----

// Codes of a checkpoint, scaled by row or by one number: the joined codes have a scale for each row.
vit.weight @q : tensor<4x8xf8E4M3FN> { %0 = vit.literal dense<1.0> : tensor<4x8xf8E4M3FN>  vit.yield %0 : tensor<4x8xf8E4M3FN> }
vit.weight @k : tensor<6x8xf8E4M3FN> { %0 = vit.literal dense<2.0> : tensor<6x8xf8E4M3FN>  vit.yield %0 : tensor<6x8xf8E4M3FN> }
vit.weight @qs : tensor<4x1xf32> { %0 = vit.literal dense<3.0> : tensor<4x1xf32>  vit.yield %0 : tensor<4x1xf32> }
vit.weight @ks : tensor<1xf32> { %0 = vit.literal dense<4.0> : tensor<1xf32>  vit.yield %0 : tensor<1xf32> }
// CHECK-LABEL: func.func @codes
func.func @codes(%x: tensor<?x8xf32>) -> (tensor<?x4xf32>, tensor<?x6xf32>) {
  %q = vit.get @q : tensor<4x8xf8E4M3FN>
  %k = vit.get @k : tensor<6x8xf8E4M3FN>
  %qs = vit.get @qs : tensor<4x1xf32>
  %ks = vit.get @ks : tensor<1xf32>
  // CHECK: %[[W:.*]] = vit.dequantize %{{.*}}, %{{.*}} layers ["b0.qk.w"] : tensor<10x8xf8E4M3FN>, tensor<10x1xf32> -> tensor<10x8xf32>
  // CHECK: vit.linear %{{.*}}, %[[W]] layers ["b0.q", "b0.k"]
  %qw = vit.dequantize %q, %qs layers ["q"] : tensor<4x8xf8E4M3FN>, tensor<4x1xf32> -> tensor<4x8xf32>
  %kw = vit.dequantize %k, %ks layers ["k"] : tensor<6x8xf8E4M3FN>, tensor<1xf32> -> tensor<6x8xf32>
  %0 = vit.linear %x, %qw layers ["b0.q"] : tensor<?x8xf32>, tensor<4x8xf32> -> tensor<?x4xf32>
  %1 = vit.linear %x, %kw layers ["b0.k"] : tensor<?x8xf32>, tensor<6x8xf32> -> tensor<?x6xf32>
  return %0, %1 : tensor<?x4xf32>, tensor<?x6xf32>
}

// -----

// Scales along K in blocks of two rows go with their rows; where the blocks are of other sizes, the linears stay apart.
vit.weight @q : tensor<4x8xf8E4M3FN> { %0 = vit.literal dense<1.0> : tensor<4x8xf8E4M3FN>  vit.yield %0 : tensor<4x8xf8E4M3FN> }
vit.weight @k : tensor<6x8xf8E4M3FN> { %0 = vit.literal dense<2.0> : tensor<6x8xf8E4M3FN>  vit.yield %0 : tensor<6x8xf8E4M3FN> }
vit.weight @qs : tensor<2x4xf32> { %0 = vit.literal dense<3.0> : tensor<2x4xf32>  vit.yield %0 : tensor<2x4xf32> }
vit.weight @ks : tensor<3x4xf32> { %0 = vit.literal dense<4.0> : tensor<3x4xf32>  vit.yield %0 : tensor<3x4xf32> }
vit.weight @other : tensor<2x4xf32> { %0 = vit.literal dense<5.0> : tensor<2x4xf32>  vit.yield %0 : tensor<2x4xf32> }
// CHECK-LABEL: func.func @blocks
func.func @blocks(%c: tensor<?x8xf8E4M3FN>, %s: tensor<?x4xf32>) -> (tensor<?x4xf32>, tensor<?x6xf32>, tensor<?x6xf32>) {
  %q = vit.get @q : tensor<4x8xf8E4M3FN>
  %k = vit.get @k : tensor<6x8xf8E4M3FN>
  %qs = vit.get @qs : tensor<2x4xf32>
  %ks = vit.get @ks : tensor<3x4xf32>
  %other = vit.get @other : tensor<2x4xf32>
  // CHECK: %[[S:.*]] = vit.get @b0.qk.w.scale : tensor<5x4xf32>
  // CHECK: vit.linear {{.*}} x_scales(%{{.*}}) w_scales(%[[S]] : tensor<5x4xf32>) layers ["b0.q", "b0.k"]
  // CHECK: vit.linear {{.*}} layers ["b0.v"]
  %0 = vit.linear %c, %q x_scales(%s : tensor<?x4xf32>) w_scales(%qs : tensor<2x4xf32>) layers ["b0.q"] : tensor<?x8xf8E4M3FN>, tensor<4x8xf8E4M3FN> -> tensor<?x4xf32>
  %1 = vit.linear %c, %k x_scales(%s : tensor<?x4xf32>) w_scales(%ks : tensor<3x4xf32>) layers ["b0.k"] : tensor<?x8xf8E4M3FN>, tensor<6x8xf8E4M3FN> -> tensor<?x6xf32>
  %2 = vit.linear %c, %k x_scales(%s : tensor<?x4xf32>) w_scales(%other : tensor<2x4xf32>) layers ["b0.v"] : tensor<?x8xf8E4M3FN>, tensor<6x8xf8E4M3FN> -> tensor<?x6xf32>
  return %0, %1, %2 : tensor<?x4xf32>, tensor<?x6xf32>, tensor<?x6xf32>
}
