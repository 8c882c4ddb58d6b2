// RUN: vitrify-kernels %s --target=sm_89 | FileCheck %s

// Pixels of the product's type go from the image to shared memory by themselves, 16 bytes where the patch is 16 wide.
// CHECK-LABEL: gpu.func @patch_embed_f16_32x64
// CHECK: nvvm.cp.async.shared.global %{{.*}}, %{{.*}}, 16, cache = cg, %{{.*}}
// CHECK-NOT: cache = ca
func.func @wide(%x: tensor<?x3x224x224xf16>, %w: tensor<64x768xf16>) {
  %p = vit.patch_embed %x, %w patch 16 x 16 layers ["p"] : tensor<?x3x224x224xf16>, tensor<64x768xf16> -> tensor<?x64xf32>
  return
}

// Lines of 14 pixels are fetched by twos.
// CHECK-LABEL: gpu.func @patch_embed_f16_32x64
// CHECK-COUNT-4: nvvm.cp.async.shared.global %{{.*}}, %{{.*}}, 4, cache = ca, %{{.*}}
func.func @narrow(%x: tensor<?x3x224x224xf16>, %w: tensor<64x588xf16>) {
  %p = vit.patch_embed %x, %w patch 14 x 14 layers ["p"] : tensor<?x3x224x224xf16>, tensor<64x588xf16> -> tensor<?x64xf32>
  return
}

// Bytes are loaded eight at a time and become floats in registers.
// CHECK-LABEL: gpu.func @patch_embed_bf16_32x64
// CHECK: llvm.load %{{.*}} {alignment = 8 : i64} : !llvm.ptr<1> -> vector<8xi8>
// CHECK: arith.uitofp %{{.*}} : i8 to f32
// CHECK: llvm.store %{{.*}}, %{{.*}} {alignment = 16 : i64} : vector<4xi32>, !llvm.ptr<3>
func.func @bytes(%x: tensor<?x3x?x?xui8>, %w: tensor<64x768xbf16>) {
  %p = vit.patch_embed %x, %w patch 16 x 16 layers ["p"] : tensor<?x3x?x?xui8>, tensor<64x768xbf16> -> tensor<?x64xf32>
  return
}
