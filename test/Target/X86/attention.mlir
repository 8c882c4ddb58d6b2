// RUN: vitrify-kernels %s --target=x86-64-v4-bf16 | FileCheck %s
// RUN: vitrify-kernels %s --target=x86-64-v3 | FileCheck %s --check-prefix=V3

// 577 tokens: scores of six queries are all that is ever stored, and never more.
// CHECK-LABEL: func.func @attention_bf16_h2_d64_
// P of two tiles, S, V in pairs of keys, K^T in pairs.
// CHECK-DAG: memref.alloca() {alignment = 64 : i64} : memref<12x592xbf16>
// CHECK-DAG: memref.alloca() {alignment = 64 : i64} : memref<6x592xf32>
// CHECK-DAG: memref.alloca() {alignment = 64 : i64} : memref<289x128xbf16>
// CHECK-DAG: memref.alloca() {alignment = 64 : i64} : memref<37x32x32xbf16>
// CHECK-NOT: memref<577x
// CHECK: call @attention_{{.*}}.pack
// CHECK: call @attention_{{.*}}.scores
// CHECK: call @attention_{{.*}}.softmax
// CHECK: call @attention_{{.*}}.output
// CHECK: call @attention_{{.*}}.finish
// CHECK-LABEL: func.func private @attention_{{.*}}.pack
// Six queries by four vectors of keys; rows of Q are broadcast as they lie in the fused buffer, whose rows are 384 apart.
// CHECK-LABEL: func.func private @attention_{{.*}}.scores
// CHECK-SAME: memref<?x128xbf16, strided<[384, 1]>>
// CHECK-COUNT-24: x86vector.avx512.dot
// CHECK-LABEL: func.func private @attention_{{.*}}.softmax
// Probabilities of the tile that follows are made in the loop of this tile's products, and nothing there is reduced across
// lanes.
// CHECK-LABEL: func.func private @attention_{{.*}}.output
// CHECK-NOT: vector.shuffle
// CHECK: scf.for
// CHECK: x86vector.avx512.cvt.packed.f32_to_bf16
// CHECK: scf.for
// CHECK-COUNT-24: x86vector.avx512.dot
// CHECK: }
// CHECK-LABEL: func.func private @attention_{{.*}}.finish

// V3-LABEL: func.func @attention_f32_h2_d64_
// V3-NOT: x86vector
// V3-NOT: vector<16xf32>
func.func @f(%qkv: tensor<?x384xbf16>, %rows: index) {
  %q = tensor.extract_slice %qkv[0, 0] [%rows, 128] [1, 1] : tensor<?x384xbf16> to tensor<?x128xbf16>
  %k = tensor.extract_slice %qkv[0, 128] [%rows, 128] [1, 1] : tensor<?x384xbf16> to tensor<?x128xbf16>
  %v = tensor.extract_slice %qkv[0, 256] [%rows, 128] [1, 1] : tensor<?x384xbf16> to tensor<?x128xbf16>
  %a = vit.attention %q, %k, %v heads 2 kv_heads 2 scale 0.125 uniform 577 layers ["b0.attn"]
    : tensor<?x128xbf16>, tensor<?x128xbf16>, tensor<?x128xbf16> -> tensor<?x128xbf16>
  return
}
