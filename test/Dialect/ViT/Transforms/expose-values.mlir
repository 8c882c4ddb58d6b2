// RUN: vitrify-opt %s --vit-expose-values | FileCheck %s

vit.source @ckpt path "model.safetensors" size 1024 header_sha256 "0000000000000000000000000000000000000000000000000000000000000000"
vit.weight @w : tensor<4x8xf32> {
  %0 = vit.read @ckpt "w" : tensor<4x8xf32>
  vit.yield %0 : tensor<4x8xf32>
}

// CHECK-LABEL: func.func @forward
// CHECK-SAME: -> (tensor<?x4xf32> {vit.name = "y"}, tensor<?x4xf32> {vit.name = "value:fc"}, tensor<?x4xf32> {vit.name = "value:act+out"})
func.func @forward(%x: tensor<?x8xf32> {vit.name = "x"}) -> (tensor<?x4xf32> {vit.name = "y"}) {
  %w = vit.get @w : tensor<4x8xf32>
  // CHECK: %[[FC:.*]] = vit.linear
  %0 = vit.linear %x, %w layers ["fc"] : tensor<?x8xf32>, tensor<4x8xf32> -> tensor<?x4xf32>
  // CHECK: %[[ACT:.*]] = vit.act
  %1 = vit.act relu %0 layers ["act", "out"] : tensor<?x4xf32>
  // CHECK: return %[[ACT]], %[[FC]], %[[ACT]]
  return %1 : tensor<?x4xf32>
}

// A function without named values stays.
// CHECK: func.func @plain(%{{.*}}: tensor<?x8xf32>) -> tensor<?x8xf32>
func.func @plain(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
  // CHECK-NEXT: return %{{[^,]*}} : tensor<?x8xf32>
  return %x : tensor<?x8xf32>
}
