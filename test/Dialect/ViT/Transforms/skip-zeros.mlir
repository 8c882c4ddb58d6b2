// RUN: vitrify-opt %s --vit-skip-zeros | FileCheck %s

// CHECK-LABEL: func.func @relu
func.func @relu(%x: tensor<?x8xf32>, %w: tensor<16x8xf32>, %v: tensor<8x16xf32>, %s: tensor<1xf32>) -> (tensor<?x8xf32>, tensor<?x8xf32>) {
  // A ReLU's result, rounded.
  %0 = vit.linear %x, %w layers ["fc1"] : tensor<?x8xf32>, tensor<16x8xf32> -> tensor<?x16xbf16> epilogue(%s [(m, n) -> ()] : tensor<1xf32>) group 1 {
  ^bb0(%acc: f32, %scale: f32):
    %a = vit.act relu %acc : f32
    %b = arith.mulf %a, %scale : f32
    %c = arith.truncf %b : f32 to bf16
    vit.yield %c : bf16
  }
  // CHECK: vit.linear {{.*}} layers ["fc2"] {vit.skip_zeros}
  %1 = vit.linear %0, %v layers ["fc2"] : tensor<?x16xbf16>, tensor<8x16xf32> -> tensor<?x8xf32>
  %2 = vit.linear %x, %w layers ["apart"] : tensor<?x8xf32>, tensor<16x8xf32> -> tensor<?x16xf32>
  %3 = vit.act relu %2 layers ["act"] : tensor<?x16xf32>
  // CHECK: vit.linear {{.*}} layers ["after"] {vit.skip_zeros}
  %4 = vit.linear %3, %v layers ["after"] : tensor<?x16xf32>, tensor<8x16xf32> -> tensor<?x8xf32>
  return %1, %4 : tensor<?x8xf32>, tensor<?x8xf32>
}

// A gate is 0 for blocks that are off.
// CHECK-LABEL: func.func @gate
func.func @gate(%x: tensor<?x8xf32>, %w: tensor<16x8xf32>, %v: tensor<8x16xf32>, %scores: tensor<?x4xf32>) -> tensor<?x8xf32> {
  %g = vit.gate topk k 1 weight sigmoid %scores layers ["g"] : tensor<?x4xf32> -> tensor<?x4xf32>
  %0 = vit.linear %x, %w layers ["fc1"] : tensor<?x8xf32>, tensor<16x8xf32> -> tensor<?x16xf32> epilogue(%g [(m, n) -> (m, n floordiv 4)] : tensor<?x4xf32>) group 1 {
  ^bb0(%acc: f32, %weight: f32):
    %a = vit.act gelu_erf %acc : f32
    %b = arith.mulf %a, %weight : f32
    vit.yield %b : f32
  }
  // CHECK: vit.linear {{.*}} layers ["fc2"] {vit.skip_zeros}
  %1 = vit.linear %0, %v layers ["fc2"] : tensor<?x16xf32>, tensor<8x16xf32> -> tensor<?x8xf32>
  return %1 : tensor<?x8xf32>
}

// What is seldom 0: a GELU's result, and a ReLU's that something was added to.
// CHECK-LABEL: func.func @dense
// CHECK-NOT: vit.skip_zeros
func.func @dense(%x: tensor<?x8xf32>, %w: tensor<16x8xf32>, %v: tensor<8x16xf32>, %b: tensor<16xf32>) -> (tensor<?x8xf32>, tensor<?x8xf32>) {
  %0 = vit.linear %x, %w layers ["fc1"] : tensor<?x8xf32>, tensor<16x8xf32> -> tensor<?x16xf32> epilogue() group 1 {
  ^bb0(%acc: f32):
    %a = vit.act gelu_erf %acc : f32
    vit.yield %a : f32
  }
  %1 = vit.linear %0, %v layers ["fc2"] : tensor<?x16xf32>, tensor<8x16xf32> -> tensor<?x8xf32>
  %2 = vit.linear %x, %w layers ["fc3"] : tensor<?x8xf32>, tensor<16x8xf32> -> tensor<?x16xf32> epilogue(%b [(m, n) -> (n)] : tensor<16xf32>) group 1 {
  ^bb0(%acc: f32, %bias: f32):
    %a = vit.act relu %acc : f32
    %c = arith.addf %a, %bias : f32
    vit.yield %c : f32
  }
  %3 = vit.linear %2, %v layers ["fc4"] : tensor<?x16xf32>, tensor<8x16xf32> -> tensor<?x8xf32>
  return %1, %3 : tensor<?x8xf32>, tensor<?x8xf32>
}
