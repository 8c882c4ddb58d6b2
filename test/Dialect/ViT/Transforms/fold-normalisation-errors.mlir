// RUN: not vitrify-opt %s --vit-fold-normalisation="mean=1.0,2.0,3.0 std=1.0,1.0,1.0" 2>&1 | FileCheck %s --check-prefix=CHANNELS
// RUN: not vitrify-opt %s --vit-fold-normalisation="mean=1.0,2.0 std=1.0" 2>&1 | FileCheck %s --check-prefix=COUNT
// RUN: not vitrify-opt %s --vit-fold-normalisation="mean=1.0,2.0 std=1.0,0.0" 2>&1 | FileCheck %s --check-prefix=ZERO
// RUN: not vitrify-opt %S/fuse-glu-errors.mlir --vit-fold-normalisation 2>&1 | FileCheck %s --check-prefix=NONE

// CHANNELS: error: frames of bytes: expected a mean for each of 2 channels, found 3
// COUNT: error: frames of bytes: expected as many deviations as means, found 1 and 2
// ZERO: error: frames of bytes: expected deviations and a factor other than 0
// NONE: error: no input is an image that a patch embedding alone reads, so none can take frames of bytes
vit.weight @w : tensor<3x8xf32> { %0 = vit.literal dense<1.0> : tensor<3x8xf32>  vit.yield %0 : tensor<3x8xf32> }
func.func @f(%pixels: tensor<?x2x4x4xf32> {vit.name = "pixels", vit.dims = [#vit.dim<"images", 1, 1, 8>]}) -> tensor<?x3xf32> {
  %w = vit.get @w : tensor<3x8xf32>
  %0 = vit.patch_embed %pixels, %w patch 2 x 2 layers ["patch"] : tensor<?x2x4x4xf32>, tensor<3x8xf32> -> tensor<?x3xf32>
  return %0 : tensor<?x3xf32>
}
