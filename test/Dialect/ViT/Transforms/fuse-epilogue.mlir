// RUN: vitrify-opt %s --vit-fuse-epilogue | FileCheck %s

vit.weight @s : tensor<1xf32> { %0 = vit.literal dense<0.5> : tensor<1xf32>  vit.yield %0 : tensor<1xf32> }
vit.weight @t : tensor<8x1xf32> { %0 = vit.literal dense<2.0> : tensor<8x1xf32>  vit.yield %0 : tensor<8x1xf32> }
vit.weight @c : tensor<8x8xf8E4M3FN> { %0 = vit.literal dense<1.0> : tensor<8x8xf8E4M3FN>  vit.yield %0 : tensor<8x8xf8E4M3FN> }
// CHECK: vit.weight @s.reciprocal
// CHECK: vit.recip

// Bias, activation and quantisation become one body; the product before a sum is an fma.
// CHECK-LABEL: func.func @mlp
func.func @mlp(%x: tensor<?x8xf32>, %w: tensor<8x8xf32>, %f: tensor<8xf32>, %b: tensor<8xf32>) -> tensor<?x8xf8E4M3FN> {
  %s = vit.get @s : tensor<1xf32>
  // CHECK: %[[R:.*]] = vit.get @s.reciprocal
  // CHECK: vit.linear %{{.*}} layers ["b0.fc1", "b0.act", "b0.act#q"] {vit.scales = [@s]} : {{.*}} -> tensor<?x8xf8E4M3FN> epilogue({{.*}}%[[R]] [(d0, d1) -> ()] : tensor<1xf32>)
  // CHECK-NEXT: ^bb0(%[[ACC:.*]]: f32, %[[F:.*]]: f32, %[[B:.*]]: f32, %[[I:.*]]: f32):
  // CHECK-NEXT: %[[V:.*]] = math.fma %[[ACC]], %[[F]], %[[B]]
  // CHECK-NEXT: %[[G:.*]] = vit.act gelu_erf %[[V]]
  // CHECK-NEXT: %[[Q:.*]] = arith.mulf %[[G]], %[[I]]
  // CHECK-NEXT: vit.convert %[[Q]] sat : f32 to f8E4M3FN
  // CHECK-NOT: vit.quantize
  %0 = vit.linear %x, %w layers ["b0.fc1"] : tensor<?x8xf32>, tensor<8x8xf32> -> tensor<?x8xf32> epilogue(%f [(m, n) -> (n)] : tensor<8xf32>, %b [(m, n) -> (n)] : tensor<8xf32>) group 1 {
  ^bb0(%acc: f32, %factor: f32, %bias: f32):
    %m = arith.mulf %acc, %factor : f32
    %r = arith.addf %m, %bias : f32
    vit.yield %r : f32
  }
  %1 = vit.act gelu_erf %0 layers ["b0.act"] : tensor<?x8xf32>
  %c, %t = vit.quantize tensor %1 scale(%s : tensor<1xf32>) layers ["b0.act#q"] : tensor<?x8xf32> -> tensor<?x8xf8E4M3FN>, tensor<1xf32>
  return %c : tensor<?x8xf8E4M3FN>
}

// The residual stream is an operand of the branch's producer; LayerScale comes along.
// CHECK-LABEL: func.func @residual
func.func @residual(%x: tensor<?x8xf32>, %y: tensor<?x8xf32>, %w: tensor<8x8xf32>, %l: tensor<8xf32>) -> tensor<?x8xf32> {
  // CHECK: vit.linear %{{.*}} layers ["b0.proj", "b0.res1"] : {{.*}} epilogue(%{{.*}} [(d0, d1) -> (d0, d1)] : tensor<?x8xf32>, %{{.*}} [(d0, d1) -> (d1)] : tensor<8xf32>)
  // CHECK-NEXT: ^bb0(%[[ACC:.*]]: f32, %[[X:.*]]: f32, %[[L:.*]]: f32):
  // CHECK-NEXT: math.fma %[[ACC]], %[[L]], %[[X]]
  // CHECK-NOT: vit.residual
  %0 = vit.linear %x, %w layers ["b0.proj"] : tensor<?x8xf32>, tensor<8x8xf32> -> tensor<?x8xf32>
  %1 = vit.residual %y, %0 scale(%l : tensor<8xf32>) layers ["b0.res1"] : tensor<?x8xf32>, tensor<?x8xf32> -> tensor<?x8xf32>
  return %1 : tensor<?x8xf32>
}

// A quantisation by token is the norm's own: whole rows are seen, codes and scales come out.
// CHECK-LABEL: func.func @by_token
func.func @by_token(%x: tensor<?x8xf32>, %g: tensor<8xf32>) -> (tensor<?x8xi8>, tensor<?x1xf32>) {
  // CHECK: %[[R:.*]]:2 = vit.norm layer %{{.*}} gamma(%{{.*}} : tensor<8xf32>) eps {{.*}} layers ["b0.ln1", "b0.ln1#i8"] : tensor<?x8xf32> -> tensor<?x8xi8>, tensor<?x1xf32> epilogue() group 8
  // CHECK-NEXT: ^bb0(%[[V:.*]]: vector<8xf32>):
  // CHECK: arith.constant 1.270000e+02
  // CHECK: %[[A:.*]] = math.absf %[[V]]
  // CHECK: vector.reduction <maxnumf>, %[[A]]
  // CHECK: vit.convert %{{.*}} sat : vector<8xf32> to vector<8xi8>
  // CHECK: return %[[R]]#0, %[[R]]#1
  %0 = vit.norm layer %x gamma(%g : tensor<8xf32>) eps 1.0e-6 layers ["b0.ln1"] : tensor<?x8xf32> -> tensor<?x8xf32>
  %c, %s = vit.quantize token %0 layers ["b0.ln1#i8"] : tensor<?x8xf32> -> tensor<?x8xi8>, tensor<?x1xf32>
  return %c, %s : tensor<?x8xi8>, tensor<?x1xf32>
}

// An epilogue over pairs takes a static scale, and no operand that goes by the consumer's columns.
vit.weight @pair.s : tensor<1xf32> { %0 = vit.literal dense<2.0> : tensor<1xf32>  vit.yield %0 : tensor<1xf32> }
// CHECK-LABEL: func.func @pairs
// CHECK: vit.linear %{{.*}} layers ["up", "q"]{{.*}} -> tensor<?x4xf8E4M3FN> epilogue(%{{.*}} {{.*}} : tensor<1xf32>) group 2 {
// CHECK: ^bb0(%{{.*}}: vector<2xf32>, %[[I:.*]]: f32):
// CHECK: %[[P:.*]] = arith.mulf
// CHECK: %[[Q:.*]] = arith.mulf %[[P]], %[[I]] : f32
// CHECK: vit.convert %[[Q]] sat
// CHECK: vit.residual
func.func @pairs(%x: tensor<?x8xf32>, %w: tensor<8x8xf32>, %y: tensor<?x4xf32>) -> (tensor<?x4xf8E4M3FN>, tensor<?x4xf32>) {
  %s = vit.get @pair.s : tensor<1xf32>
  %0 = vit.linear %x, %w layers ["up"] : tensor<?x8xf32>, tensor<8x8xf32> -> tensor<?x4xf32> epilogue() group 2 {
  ^bb0(%acc: vector<2xf32>):
    %g = vector.extract %acc[0] : f32 from vector<2xf32>
    %u = vector.extract %acc[1] : f32 from vector<2xf32>
    %r = arith.mulf %g, %u : f32
    vit.yield %r : f32
  }
  %c, %t = vit.quantize tensor %0 scale(%s : tensor<1xf32>) layers ["q"] : tensor<?x4xf32> -> tensor<?x4xf8E4M3FN>, tensor<1xf32>
  %1 = vit.linear %x, %w layers ["up2"] : tensor<?x8xf32>, tensor<8x8xf32> -> tensor<?x4xf32> epilogue() group 2 {
  ^bb0(%acc: vector<2xf32>):
    %g = vector.extract %acc[0] : f32 from vector<2xf32>
    vit.yield %g : f32
  }
  %2 = vit.residual %y, %1 layers ["r"] : tensor<?x4xf32>, tensor<?x4xf32> -> tensor<?x4xf32>
  return %c, %2 : tensor<?x4xf8E4M3FN>, tensor<?x4xf32>
}
