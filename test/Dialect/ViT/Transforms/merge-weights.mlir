// RUN: vitrify-opt %s --vit-merge-weights | FileCheck %s

vit.source @ckpt path "m.safetensors" size 1024 header_sha256 "0000000000000000000000000000000000000000000000000000000000000000"

// Equal recipes are one weight, and recipes over merged weights merge too.
// CHECK: vit.weight @a :
// CHECK-NOT: vit.weight @b :
vit.weight @a : tensor<8xf32> { %0 = vit.read @ckpt "x" : tensor<8xf32>  vit.yield %0 : tensor<8xf32> }
vit.weight @b : tensor<8xf32> { %0 = vit.read @ckpt "x" : tensor<8xf32>  vit.yield %0 : tensor<8xf32> }
// CHECK: vit.weight @a_inv :
// CHECK-NOT: vit.weight @b_inv :
vit.weight @a_inv : tensor<8xf32> { %0 = vit.get @a : tensor<8xf32>  %1 = vit.recip %0 : tensor<8xf32> -> tensor<8xf32>  vit.yield %1 : tensor<8xf32> }
vit.weight @b_inv : tensor<8xf32> { %0 = vit.get @b : tensor<8xf32>  %1 = vit.recip %0 : tensor<8xf32> -> tensor<8xf32>  vit.yield %1 : tensor<8xf32> }
// Another tensor, another step or another constant is another weight.
// CHECK: vit.weight @other_tensor
vit.weight @other_tensor : tensor<8xf32> { %0 = vit.read @ckpt "y" : tensor<8xf32>  vit.yield %0 : tensor<8xf32> }
// CHECK: vit.weight @l1
vit.weight @l1 : tensor<1xf32> { %0 = vit.literal dense<1.0> : tensor<1xf32>  vit.yield %0 : tensor<1xf32> }
// CHECK: vit.weight @l2
vit.weight @l2 : tensor<1xf32> { %0 = vit.literal dense<2.0> : tensor<1xf32>  vit.yield %0 : tensor<1xf32> }

// CHECK-LABEL: func.func @f
func.func @f() -> (tensor<8xf32>, tensor<8xf32>, tensor<8xf32>) {
  // CHECK-DAG: vit.get @a_inv
  // CHECK-DAG: vit.get @a_inv
  // CHECK-DAG: vit.get @other_tensor
  %0 = vit.get @a_inv : tensor<8xf32>
  %1 = vit.get @b_inv : tensor<8xf32>
  %2 = vit.get @other_tensor : tensor<8xf32>
  return %0, %1, %2 : tensor<8xf32>, tensor<8xf32>, tensor<8xf32>
}
