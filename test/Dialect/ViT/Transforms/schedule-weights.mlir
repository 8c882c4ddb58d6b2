// RUN: vitrify-opt %s --vit-schedule-weights | FileCheck %s

// Order of first use; what a recipe reads stands before it; what nothing reaches goes.
// CHECK-NOT: @unused
// CHECK: vit.weight @base
// CHECK: vit.weight @first
// CHECK: vit.weight @second
// CHECK-NOT: @unused
vit.weight @second : tensor<1xf32> { %0 = vit.literal dense<2.0> : tensor<1xf32>  vit.yield %0 : tensor<1xf32> }
vit.weight @unused : tensor<1xf32> { %0 = vit.literal dense<3.0> : tensor<1xf32>  vit.yield %0 : tensor<1xf32> }
vit.weight @first : tensor<1xf32> { %0 = vit.get @base : tensor<1xf32>  %1 = vit.recip %0 : tensor<1xf32> -> tensor<1xf32>  vit.yield %1 : tensor<1xf32> }
vit.weight @base : tensor<1xf32> { %0 = vit.literal dense<1.0> : tensor<1xf32>  vit.yield %0 : tensor<1xf32> }
func.func @f() -> (tensor<1xf32>, tensor<1xf32>) {
  %0 = vit.get @first : tensor<1xf32>
  %1 = vit.get @second : tensor<1xf32>
  return %0, %1 : tensor<1xf32>, tensor<1xf32>
}
