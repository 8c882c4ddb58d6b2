// RUN: vitrify-kernels %s --specs=%t.json | FileCheck %s
// RUN: FileCheck %s --check-prefix=SPEC < %t.json
// RUN: vitrify-kernels %s --emit=llvm | FileCheck %s --check-prefix=LLVM

// Equal layers with other weights and names share a kernel; another activation does not.
vit.source @ckpt path "model.safetensors" size 1024 header_sha256 "0000000000000000000000000000000000000000000000000000000000000000"
vit.weight @w0 : tensor<16x8xf32> {
  %0 = vit.read @ckpt "w0" : tensor<16x8xf32>
  vit.yield %0 : tensor<16x8xf32>
}
vit.weight @w1 : tensor<16x8xf32> {
  %0 = vit.read @ckpt "w1" : tensor<16x8xf32>
  vit.yield %0 : tensor<16x8xf32>
}
// CHECK-COUNT-2: func.func @linear_f32_n16_k8_
// CHECK-NOT: func.func @linear

// Weights come first, then what is read, then what is written; units are blocks of rows (times one panel).
// SPEC: "layout": "panel:w16:k1:F32"
// SPEC: "role": "weight"
// SPEC: "role": "read"
// SPEC: "role": "write"
// SPEC: "units": [
// SPEC-NEXT: "ceildiv",
// SPEC-NEXT: "s0",

// The C signature of KernelABI.h around the kernel's own arguments.
// LLVM: llvm.func internal @[[BODY:linear_f32_n16_k8_[0-9a-f]+]].body
// LLVM: llvm.func @[[BODY]](%{{.*}}: !llvm.ptr {{.*}}, %{{.*}}: !llvm.ptr {{.*}}, %{{.*}}: i64, %{{.*}}: i64)
// LLVM: llvm.call @[[BODY]].body
func.func @f(%x: tensor<?x8xf32>) {
  %w0 = vit.get @w0 : tensor<16x8xf32>
  %w1 = vit.get @w1 : tensor<16x8xf32>
  %a = vit.linear %x, %w0 layers ["b0.fc"] : tensor<?x8xf32>, tensor<16x8xf32> -> tensor<?x16xf32>
  %b = vit.linear %x, %w1 layers ["b1.fc"] : tensor<?x8xf32>, tensor<16x8xf32> -> tensor<?x16xf32>
  %c = vit.linear %x, %w1 layers ["b2.fc"] : tensor<?x8xf32>, tensor<16x8xf32> -> tensor<?x16xf32> epilogue() group 1 {
  ^bb0(%acc: f32):
    %r = vit.act relu %acc : f32
    vit.yield %r : f32
  }
  return
}
