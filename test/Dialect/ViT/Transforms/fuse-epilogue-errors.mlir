// RUN: vitrify-opt %s --vit-fuse-epilogue --verify-diagnostics | FileCheck %s

// A value with two users is stored, so what reads it stays apart, and says why.
// CHECK: vit.linear
// CHECK: vit.act
func.func @two_users(%x: tensor<?x8xf32>, %w: tensor<8x8xf32>) -> (tensor<?x8xf32>, tensor<?x8xf32>) {
  %0 = vit.linear %x, %w layers ["b0.fc1"] : tensor<?x8xf32>, tensor<8x8xf32> -> tensor<?x8xf32>
  // expected-remark @below {{b0.act stays apart: its operand 'b0.fc1' has other users}}
  %1 = vit.act relu %0 layers ["b0.act"] : tensor<?x8xf32>
  return %0, %1 : tensor<?x8xf32>, tensor<?x8xf32>
}

// Only a norm sees whole rows.
// CHECK: vit.linear
// CHECK: vit.quantize token
func.func @no_rows(%x: tensor<?x8xf32>, %w: tensor<8x8xf32>) -> tensor<?x8xi8> {
  %0 = vit.linear %x, %w layers ["b0.fc1"] : tensor<?x8xf32>, tensor<8x8xf32> -> tensor<?x8xf32>
  // expected-remark @below {{b0.fc1#i8 stays apart: a scale by token needs whole rows, which only a norm sees}}
  %c, %s = vit.quantize token %0 layers ["b0.fc1#i8"] : tensor<?x8xf32> -> tensor<?x8xi8>, tensor<?x1xf32>
  return %c : tensor<?x8xi8>
}
