// RUN: vitrify-kernels %s --target=x86-64-v4-bf16 | FileCheck %s
// RUN: vitrify-kernels %s --target=x86-64-v3 | FileCheck %s --check-prefix=V3

// 577 tokens: the scores of a block of 116 keys for 32 queries are all that is ever stored, and never more.
// CHECK-LABEL: func.func @attention_bf16_h2_d64_
// Q^T in pairs, S^T, P^T and V in pairs of keys, O^T.
// CHECK-DAG: memref.alloca() {alignment = 64 : i64} : memref<{{[0-9]+}}x32x32xi32>
// CHECK-DAG: memref.alloca() {alignment = 64 : i64} : memref<132x32xf32>
// CHECK-DAG: memref.alloca() {alignment = 64 : i64} : memref<59x32xi32>
// CHECK-DAG: memref.alloca() {alignment = 64 : i64} : memref<59x64xi32>
// CHECK-NOT: memref<577x
// CHECK: call @attention_{{.*}}.scores
// CHECK: call @attention_{{.*}}.softmax
// CHECK: call @attention_{{.*}}.output
// Twelve keys by two vectors of queries; rows of K are broadcast as they lie in the fused buffer, whose rows are 384 apart.
// CHECK-LABEL: func.func private @attention_{{.*}}.scores
// CHECK-SAME: memref<?x128xbf16, strided<[384, 1]>>
// CHECK-COUNT-24: x86vector.avx512.dot
// The softmax runs down columns: no value is reduced across lanes.
// CHECK-LABEL: func.func private @attention_{{.*}}.softmax
// CHECK-NOT: vector.shuffle
// CHECK-NOT: vector.reduction
// CHECK: x86vector.avx512.cvt.packed.f32_to_bf16
// CHECK-LABEL: func.func private @attention_{{.*}}.output

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
