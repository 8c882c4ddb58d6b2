// RUN: not vitrify-kernels %s --target=x86-64-v3 2>&1 | FileCheck %s

vit.source @ckpt path "model.safetensors" size 1024 header_sha256 "0000000000000000000000000000000000000000000000000000000000000000"
vit.weight @w : tensor<64x768xf32> {
  %0 = vit.read @ckpt "w" : tensor<64x768xf32>
  vit.yield %0 : tensor<64x768xf32>
}
// Bytes without a sign are for GPUs: here they would be read as signed ones.
// CHECK: error: no kernel for vit.patch_embed on x86-64-v3: pixels of element type ui8
func.func @f(%x: tensor<?x3x224x224xui8>) {
  %w = vit.get @w : tensor<64x768xf32>
  %p = vit.patch_embed %x, %w patch 16 x 16 layers ["p"] : tensor<?x3x224x224xui8>, tensor<64x768xf32> -> tensor<?x64xf32>
  return
}
