// RUN: vitrify-opt %s --vit-fold-normalisation="rescale=0.5 mean=1.0,2.0 std=4.0,8.0" | FileCheck %s --check-prefixes=CHECK,PLANES
// RUN: vitrify-opt %s --vit-fold-normalisation="rescale=0.5 mean=1.0,2.0 std=4.0,8.0 interleaved=true" 2>%t | FileCheck %s --check-prefixes=CHECK,SIDE
// RUN: FileCheck %s --check-prefix=REMARK < %t
// RUN: vitrify-opt %s --vit-fold-normalisation="rescale=0.25" | FileCheck %s --check-prefix=SCALE

vit.weight @w : tensor<3x8xf32> { %0 = vit.literal dense<1.0> : tensor<3x8xf32>  vit.yield %0 : tensor<3x8xf32> }
vit.weight @b : tensor<3xf32> { %0 = vit.literal dense<1.0> : tensor<3xf32>  vit.yield %0 : tensor<3xf32> }

// rescale / std by channel, and - mean / std for the shift; channels are the slowest of the columns, or the fastest.
// CHECK: vit.weight @w.frames : tensor<3x8xf32>
// CHECK: vit.literal dense<[1.250000e-01, 1.250000e-01, 1.250000e-01, 1.250000e-01, 6.250000e-02, 6.250000e-02, 6.250000e-02, 6.250000e-02]>
// CHECK: vit.mul {{.*}} columns
// PLANES-NOT: vit.gather
// SIDE: vit.gather %{{.*}} axis 1 [0, 4, 1, 5, 2, 6, 3, 7]
// CHECK: vit.weight @w.shift : tensor<3xf32>
// CHECK: vit.literal dense<-2.500000e-01>
// CHECK: vit.sum

// PLANES-LABEL: func.func @f(%arg0: tensor<?x2x?x4xui8> {vit.dims = [#vit.dim<"images", 1, 1, 8>, #vit.dim<"height", 2, 4, 8>], vit.name = "pixels"}
// SIDE-LABEL: func.func @f(%arg0: tensor<?x?x4x2xui8> {vit.dims = [#vit.dim<"images", 1, 1, 8>, #vit.dim<"height", 2, 4, 8>], vit.name = "pixels"}
// PLANES: tensor.dim %arg0, %{{.*}}2
// CHECK: %[[W:.*]] = vit.get @w.frames
// CHECK: %[[S:.*]] = vit.get @w.shift
// PLANES: vit.patch_embed %arg0, %[[W]] patch 2 x 2 layers ["patch"] : tensor<?x2x?x4xui8>
// SIDE: vit.patch_embed %arg0, %[[W]] patch 2 x 2 interleaved layers ["patch"] : tensor<?x?x4x2xui8>
// CHECK-SAME: epilogue(%[[S]] {{.*}} : tensor<3xf32>, %{{.*}} : tensor<3xf32>) group 1 {
// CHECK: ^bb0(%[[ACC:.*]]: f32, %[[SHIFT:.*]]: f32, %[[BIAS:.*]]: f32):
// CHECK: %[[MOVED:.*]] = arith.addf %[[ACC]], %[[SHIFT]]
// CHECK: %[[R:.*]] = arith.addf %[[MOVED]], %[[BIAS]]
// CHECK: vit.yield %[[R]]
// REMARK: remark: pixels takes frames of bytes, channels side by side
// REMARK: remark: other stays as it is: other ops than one patch embedding read it
// Without a mean the epilogue is what it was.
// SCALE: vit.literal dense<2.500000e-01> : tensor<8xf32>
// SCALE-NOT: .shift
// SCALE: ^bb0(%{{.*}}: f32, %{{.*}}: f32):
func.func @f(%pixels: tensor<?x2x?x4xf32> {vit.name = "pixels", vit.dims = [#vit.dim<"images", 1, 1, 8>, #vit.dim<"height", 2, 4, 8>]},
             %other: tensor<?x2x4x4xf32> {vit.name = "other", vit.dims = [#vit.dim<"images", 1, 1, 8>]}) -> (tensor<?x3xf32>, tensor<?x3xf32>, tensor<?x3xf32>, index) {
  %w = vit.get @w : tensor<3x8xf32>
  %b = vit.get @b : tensor<3xf32>
  %c2 = arith.constant 2 : index
  %height = tensor.dim %pixels, %c2 : tensor<?x2x?x4xf32>
  %0 = vit.patch_embed %pixels, %w patch 2 x 2 layers ["patch"] : tensor<?x2x?x4xf32>, tensor<3x8xf32> -> tensor<?x3xf32> epilogue(%b [(m, n) -> (n)] : tensor<3xf32>) group 1 {
  ^bb0(%acc: f32, %bias: f32):
    %r = arith.addf %acc, %bias : f32
    vit.yield %r : f32
  }
  %1 = vit.patch_embed %other, %w patch 2 x 2 layers ["a"] : tensor<?x2x4x4xf32>, tensor<3x8xf32> -> tensor<?x3xf32>
  %2 = vit.patch_embed %other, %w patch 2 x 2 layers ["b"] : tensor<?x2x4x4xf32>, tensor<3x8xf32> -> tensor<?x3xf32>
  return %0, %1, %2, %height : tensor<?x3xf32>, tensor<?x3xf32>, tensor<?x3xf32>, index
}
