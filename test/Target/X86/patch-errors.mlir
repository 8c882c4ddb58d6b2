// RUN: not vitrify-kernels %s --target=x86-64-v3 2>&1 | FileCheck %s

vit.source @ckpt path "model.safetensors" size 1024 header_sha256 "0000000000000000000000000000000000000000000000000000000000000000"
vit.weight @w : tensor<64x196608xf32> {
  %0 = vit.read @ckpt "w" : tensor<64x196608xf32>
  vit.yield %0 : tensor<64x196608xf32>
}
// A patch is unfolded on the stack: one as large as this is refused.
// CHECK: error: no kernel for vit.patch_embed on x86-64-v3: patches of 196608 values
func.func @f(%x: tensor<?x3x512x512xf32>) {
  %w = vit.get @w : tensor<64x196608xf32>
  %p = vit.patch_embed %x, %w patch 256 x 256 layers ["p"] : tensor<?x3x512x512xf32>, tensor<64x196608xf32> -> tensor<?x64xf32>
  return
}
