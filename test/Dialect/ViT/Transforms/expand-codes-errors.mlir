// RUN: vitrify-opt %s --vit-expand-codes --verify-diagnostics | FileCheck %s

vit.weight @w : tensor<8x32xf4E2M1FN> { %0 = vit.literal dense<1.0> : tensor<8x32xf4E2M1FN>  vit.yield %0 : tensor<8x32xf4E2M1FN> }
vit.weight @s : tensor<8x2xf8E4M3FN> { %0 = vit.literal dense<2.0> : tensor<8x2xf8E4M3FN>  vit.yield %0 : tensor<8x2xf8E4M3FN> }

// What is multiplied out is told; scales that are no weight, and scales of the input, stay.
// CHECK-LABEL: func.func @f
func.func @f(%x: tensor<?x32xf32>, %given: tensor<8x2xf8E4M3FN>, %xs: tensor<?x2xf32>) {
  %w = vit.get @w : tensor<8x32xf4E2M1FN>
  %s = vit.get @s : tensor<8x2xf8E4M3FN>
  // CHECK: layers ["told"] {vit.precision_note{{.*}} : tensor<?x32xf32>, tensor<8x32xf32>
  // expected-remark @+1 {{layer "told": its codes of 4 bits are multiplied out, as there is no kernel for them}}
  %0 = vit.linear %x, %w w_scales(%s : tensor<8x2xf8E4M3FN>) layers ["told"] : tensor<?x32xf32>, tensor<8x32xf4E2M1FN> -> tensor<?x8xf32>
  // CHECK: layers ["given"] : tensor<?x32xf32>, tensor<8x32xf4E2M1FN>
  %1 = vit.linear %x, %w w_scales(%given : tensor<8x2xf8E4M3FN>) layers ["given"] : tensor<?x32xf32>, tensor<8x32xf4E2M1FN> -> tensor<?x8xf32>
  // CHECK: layers ["both"] : tensor<?x32xf32>, tensor<8x32xf4E2M1FN>
  %2 = vit.linear %x, %w x_scales(%xs : tensor<?x2xf32>) w_scales(%s : tensor<8x2xf8E4M3FN>) layers ["both"] : tensor<?x32xf32>, tensor<8x32xf4E2M1FN> -> tensor<?x8xf32>
  return
}
