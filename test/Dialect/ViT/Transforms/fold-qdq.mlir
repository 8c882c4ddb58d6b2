// RUN: vitrify-opt %s --vit-fold-qdq | FileCheck %s

vit.weight @s : tensor<1xf32> { %0 = vit.literal dense<0.5> : tensor<1xf32>  vit.yield %0 : tensor<1xf32> }
vit.weight @t : tensor<8x1xf32> { %0 = vit.literal dense<2.0> : tensor<8x1xf32>  vit.yield %0 : tensor<8x1xf32> }
vit.weight @c : tensor<8x8xf8E4M3FN> { %0 = vit.literal dense<1.0> : tensor<8x8xf8E4M3FN>  vit.yield %0 : tensor<8x8xf8E4M3FN> }
// CHECK: vit.weight @b0.fc1.out_scale : tensor<8xf32>
// CHECK: vit.mul

// CHECK-LABEL: func.func @folded
func.func @folded(%x: tensor<?x8xf8E4M3FN>, %b: tensor<8xf32>) -> tensor<?x8xf32> {
  %s = vit.get @s : tensor<1xf32>
  %t = vit.get @t : tensor<8x1xf32>
  %c = vit.get @c : tensor<8x8xf8E4M3FN>
  // CHECK: %[[S:.*]] = vit.get @b0.fc1.out_scale
  // CHECK-NOT: vit.dequantize
  %0 = vit.dequantize %x, %s layers ["x"] : tensor<?x8xf8E4M3FN>, tensor<1xf32> -> tensor<?x8xf32>
  %1 = vit.dequantize %c, %t layers ["w"] : tensor<8x8xf8E4M3FN>, tensor<8x1xf32> -> tensor<8x8xf32>
  // CHECK: vit.linear %{{.*}}, %{{.*}} layers ["b0.fc1"] : tensor<?x8xf8E4M3FN>, tensor<8x8xf8E4M3FN> -> tensor<?x8xf32> epilogue(%[[S]] [(d0, d1) -> (d1)]
  // CHECK-NEXT: ^bb0(%[[ACC:.*]]: f32, %[[F:.*]]: f32, %[[B:.*]]: f32):
  // CHECK-NEXT: %[[M:.*]] = arith.mulf %[[ACC]], %[[F]]
  // CHECK-NEXT: arith.addf %[[M]], %[[B]]
  %2 = vit.linear %0, %1 layers ["b0.fc1"] : tensor<?x8xf32>, tensor<8x8xf32> -> tensor<?x8xf32> epilogue(%b [(m, n) -> (n)] : tensor<8xf32>) group 1 {
  ^bb0(%acc: f32, %bias: f32):
    %r = arith.addf %acc, %bias : f32
    vit.yield %r : f32
  }
  return %2 : tensor<?x8xf32>
}

// A scale a row is an operand of the epilogue; the weight's scales come first.
vit.weight @ci : tensor<8x8xi8> { %0 = vit.literal dense<1> : tensor<8x8xi8>  vit.yield %0 : tensor<8x8xi8> }
// CHECK-LABEL: func.func @by_token
func.func @by_token(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
  %t = vit.get @t : tensor<8x1xf32>
  %c = vit.get @ci : tensor<8x8xi8>
  // CHECK: %[[Q:.*]], %[[R:.*]] = vit.quantize token
  %q, %s = vit.quantize token %x layers ["x"] : tensor<?x8xf32> -> tensor<?x8xi8>, tensor<?x1xf32>
  // CHECK: %[[S:.*]] = vit.get @b1.fc1.out_scale
  // CHECK-NOT: vit.dequantize
  %0 = vit.dequantize %q, %s layers ["x"] : tensor<?x8xi8>, tensor<?x1xf32> -> tensor<?x8xf32>
  %1 = vit.dequantize %c, %t layers ["w"] : tensor<8x8xi8>, tensor<8x1xf32> -> tensor<8x8xf32>
  // CHECK: vit.linear %[[Q]], %{{.*}} layers ["b1.fc1"] : tensor<?x8xi8>, tensor<8x8xi8> -> tensor<?x8xf32> epilogue(%[[S]] [(d0, d1) -> (d1)] : tensor<8xf32>, %[[R]] [(d0, d1) -> (d0)] : tensor<?x1xf32>)
  // CHECK-NEXT: ^bb0(%[[ACC:.*]]: f32, %[[F:.*]]: f32, %[[G:.*]]: f32):
  // CHECK-NEXT: %[[M:.*]] = arith.mulf %[[ACC]], %[[F]]
  // CHECK-NEXT: %[[Y:.*]] = arith.mulf %[[M]], %[[G]]
  // CHECK-NEXT: vit.yield %[[Y]]
  %2 = vit.linear %0, %1 layers ["b1.fc1"] : tensor<?x8xf32>, tensor<8x8xf32> -> tensor<?x8xf32>
  return %2 : tensor<?x8xf32>
}

// An epilogue over pairs of columns: the scale of a channel is a pair too, that of a token the same for both.
vit.weight @pair.w : tensor<8x8xf8E4M3FN> { %0 = vit.literal dense<1.0> : tensor<8x8xf8E4M3FN>  vit.yield %0 : tensor<8x8xf8E4M3FN> }
vit.weight @pair.ws : tensor<8x1xf32> { %0 = vit.literal dense<3.0> : tensor<8x1xf32>  vit.yield %0 : tensor<8x1xf32> }
// CHECK-LABEL: func.func @pairs
// CHECK: vit.linear %{{.*}} layers ["up"] : tensor<?x8xf8E4M3FN>, tensor<8x8xf8E4M3FN> -> tensor<?x4xf32> epilogue(%{{.*}} : tensor<8xf32>, %{{.*}} : tensor<?x1xf32>) group 2 {
// CHECK: ^bb0(%[[A:.*]]: vector<2xf32>, %[[C:.*]]: vector<2xf32>, %[[T:.*]]: f32):
// CHECK: %[[AC:.*]] = arith.mulf %[[A]], %[[C]] : vector<2xf32>
// CHECK: %[[TT:.*]] = vector.broadcast %[[T]] : f32 to vector<2xf32>
// CHECK: %[[S:.*]] = arith.mulf %[[AC]], %[[TT]] : vector<2xf32>
// CHECK: vector.extract %[[S]][0]
func.func @pairs(%x: tensor<?x8xf32>) -> tensor<?x4xf32> {
  %w = vit.get @pair.w : tensor<8x8xf8E4M3FN>
  %ws = vit.get @pair.ws : tensor<8x1xf32>
  %d = vit.dequantize %w, %ws layers ["w"] : tensor<8x8xf8E4M3FN>, tensor<8x1xf32> -> tensor<8x8xf32>
  %c, %s = vit.quantize token %x layers ["q"] : tensor<?x8xf32> -> tensor<?x8xf8E4M3FN>, tensor<?x1xf32>
  %b = vit.dequantize %c, %s layers ["q"] : tensor<?x8xf8E4M3FN>, tensor<?x1xf32> -> tensor<?x8xf32>
  %r = vit.linear %b, %d layers ["up"] : tensor<?x8xf32>, tensor<8x8xf32> -> tensor<?x4xf32> epilogue() group 2 {
  ^bb0(%acc: vector<2xf32>):
    %g = vector.extract %acc[0] : f32 from vector<2xf32>
    %u = vector.extract %acc[1] : f32 from vector<2xf32>
    %p = arith.mulf %g, %u : f32
    vit.yield %p : f32
  }
  return %r : tensor<?x4xf32>
}
