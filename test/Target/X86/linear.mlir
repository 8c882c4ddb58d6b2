// RUN: vitrify-kernels %s --target=x86-64-v4-bf16 | FileCheck %s --check-prefixes=CHECK,BF16
// RUN: vitrify-kernels %s --target=x86-64-v4 | FileCheck %s --check-prefixes=CHECK,F32
// RUN: vitrify-kernels %s --target=x86-64-v3 | FileCheck %s --check-prefixes=V3

// A linear on E4M3: weights in panels, activations as bf16 on E4M3's grid, the result requantised in the epilogue.
vit.source @ckpt path "model.safetensors" size 1024 header_sha256 "0000000000000000000000000000000000000000000000000000000000000000"
vit.weight @w : tensor<128x65xf8E4M3FN> {
  %0 = vit.read @ckpt "w" : tensor<128x65xf8E4M3FN>
  vit.yield %0 : tensor<128x65xf8E4M3FN>
}

// Pairs of K in the panels where there are dot products, single f32 elsewhere. Six rows by four vectors (v3: two).
// BF16: func.func @linear_bf16_n128_k65_{{[0-9a-f]+}}(%{{.*}}: index, %[[B:.*]]: memref<2x33x128xbf16>, %[[A:.*]]: memref<?x65xbf16>, %{{.*}}: memref<128xf32>, %{{.*}}: memref<1xf32>, %{{.*}}: memref<?x128xbf16>, %{{.*}}: index, %{{.*}}: index)
// F32: func.func @linear_f32_n128_k65_{{[0-9a-f]+}}(%{{.*}}: index, %[[B:.*]]: memref<2x65x64xf32>, %[[A:.*]]: memref<?x65xbf16>,
// V3: func.func @linear_f32_n128_k65_{{[0-9a-f]+}}(%{{.*}}: index, %{{.*}}: memref<8x65x16xf32>, %{{.*}}: memref<?x65xbf16>,
// CHECK-SAME: vitrify.layer_kind = "linear"
// CHECK: memref.alloca() {alignment = 64 : i64} : memref<6x64xf32>
// Tail bodies are static and outside the loop over K; 24 accumulators in the full one.
// CHECK: scf.index_switch
// CHECK: case 1 {
// CHECK: scf.for {{.*}} -> (vector<16xf32>, vector<16xf32>, vector<16xf32>, vector<16xf32>) {
// BF16-COUNT-4: x86vector.avx512.dot {{.*}} : vector<32xbf16> -> vector<16xf32>
// BF16: scf.yield
// The single last element of an odd K, after the loop.
// BF16: memref.load %[[A]]
// BF16: arith.extui {{.*}} : i16 to i32
// BF16-COUNT-4: x86vector.avx512.dot
// F32-COUNT-4: vector.fma {{.*}} : vector<16xf32>
// CHECK: case 5 {
// CHECK: default {
// BF16-COUNT-24: x86vector.avx512.dot
// F32-COUNT-24: vector.fma
// CHECK: call @linear_{{.*}}.epilogue
// V3-NOT: vector<16xf32>
// V3: scf.for {{.*}} -> (vector<8xf32>, vector<8xf32>) {
// V3: vector.fma {{.*}} : vector<8xf32>
// V3-NOT: x86vector

// The epilogue is one private function: scale and bias by column, GELU, the rounding to E4M3's grid, bf16 in memory.
// CHECK: func.func private @linear_{{.*}}.epilogue
// Before codes GELU is a polynomial without a division.
// CHECK: vector.fma
// CHECK-NOT: arith.divf
// The spacing of E4M3 from the exponent's bits: at least 2^-6, plus 20.
// CHECK: arith.constant dense<1.562500e-02> : vector<16xf32>
// CHECK: arith.constant dense<2139095040> : vector<16xi32>
// CHECK: arith.constant dense<167772160> : vector<16xi32>
// BF16: x86vector.avx512.cvt.packed.f32_to_bf16
// F32-NOT: x86vector
// CHECK: vector.store {{.*}} : memref<?x128xbf16>, vector<16xbf16>
func.func @f(%x: tensor<?x65xf8E4M3FN>, %s: tensor<128xf32>, %i: tensor<1xf32>) -> tensor<?x128xf8E4M3FN> {
  %w = vit.get @w : tensor<128x65xf8E4M3FN>
  %r = vit.linear %x, %w layers ["fc1", "act", "fc2#in"] : tensor<?x65xf8E4M3FN>, tensor<128x65xf8E4M3FN> -> tensor<?x128xf8E4M3FN>
    epilogue(%s [(m, n) -> (n)] : tensor<128xf32>, %i [(m, n) -> ()] : tensor<1xf32>) group 1 {
  ^bb0(%acc: f32, %scale: f32, %inverse: f32):
    %v = arith.mulf %acc, %scale : f32
    %g = vit.act gelu_erf %v : f32
    %t = arith.mulf %g, %inverse : f32
    %c = vit.convert %t sat : f32 to f8E4M3FN
    vit.yield %c : f8E4M3FN
  }
  return %r : tensor<?x128xf8E4M3FN>
}
