// RUN: vitrify-kernels %s --target=sm_89 | FileCheck %s
// RUN: vitrify-kernels %s --target=sm_89 --emit=asm | FileCheck %s --check-prefix=PTX

// 50 keys: queries, one tile of keys and one of values through three stages; the scores of all keys are there before the
// softmax, and no output is rescaled.
// CHECK-LABEL: gpu.func @attention_f16_72w2_
// CHECK: nvvm.cp.async.shared.global
// CHECK: nvvm.cp.async.wait.group 2
// CHECK: nvvm.barrier
// The 72 columns of a head are four steps of 16 and one of 8.
// CHECK-COUNT-4: "llvm.nvvm.ldmatrix.sync.aligned.m8n8.x4.b16"
// CHECK: "llvm.nvvm.ldmatrix.sync.aligned.m8n8.x2.b16"
// CHECK: nvvm.cp.async.wait.group 1
// CHECK: nvvm.barrier
// CHECK: "llvm.nvvm.mma.m16n8k16.row.col.f32.f32"
// CHECK: "llvm.nvvm.mma.m16n8k8.row.col.f32.f32"
// CHECK-NOT: llvm.nvvm.ldmatrix.sync.aligned.m8n8.x4.trans
// CHECK-COUNT-32: "llvm.nvvm.ex2.approx.ftz"
// CHECK: nvvm.cp.async.wait.group 1
// CHECK: nvvm.barrier
// CHECK: "llvm.nvvm.ldmatrix.sync.aligned.m8n8.x4.trans.b16"

// PTX-LABEL: .entry attention_f16_72w2_
// PTX-NOT: wait_group 0
// PTX: cvt.rn.satfinite.e4m3x2.f32
// PTX-LABEL: .entry attention_bf16_128w4_
// PTX: mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32
func.func @one_pass(%qkv: tensor<?x216xf16>, %rows: index, %s: tensor<1xf32>) {
  %q = tensor.extract_slice %qkv[0, 0] [%rows, 72] [1, 1] : tensor<?x216xf16> to tensor<?x72xf16>
  %k = tensor.extract_slice %qkv[0, 72] [%rows, 72] [1, 1] : tensor<?x216xf16> to tensor<?x72xf16>
  %v = tensor.extract_slice %qkv[0, 144] [%rows, 72] [1, 1] : tensor<?x216xf16> to tensor<?x72xf16>
  %a = vit.attention %q, %k, %v heads 1 kv_heads 1 scale 0.117851 uniform 50 layers ["b0.attn"]
    : tensor<?x72xf16>, tensor<?x72xf16>, tensor<?x72xf16> -> tensor<?x72xf8E4M3FN> epilogue(%s [(m, n) -> ()] : tensor<1xf32>) group 1 {
  ^bb0(%acc: f32, %i: f32):
    %t = arith.mulf %acc, %i : f32
    %c = vit.convert %t sat : f32 to f8E4M3FN
    vit.yield %c : f8E4M3FN
  }
  return
}

// Above 256 keys the softmax is online: a loop over tiles that carries maxima, sums and outputs; tiles that are seen whole
// are not masked.
// CHECK-LABEL: gpu.func @attention_bf16_128w2_
// CHECK: scf.for
// CHECK: nvvm.cp.async.wait.group 1
// CHECK: nvvm.barrier
// CHECK: scf.if
// CHECK: scf.if
// CHECK-NOT: arith.cmpf
// CHECK: "llvm.nvvm.ex2.approx.ftz"
// CHECK: } else {
// CHECK: arith.cmpf
func.func @online(%q: tensor<?x128xbf16>, %k: tensor<?x128xbf16>, %v: tensor<?x128xbf16>) {
  %a = vit.attention %q, %k, %v heads 1 kv_heads 1 scale 0.088388 uniform 577 layers ["b0.attn"]
    : tensor<?x128xbf16>, tensor<?x128xbf16>, tensor<?x128xbf16> -> tensor<?x128xbf16> epilogue() group 1 {
  ^bb0(%acc: f32):
    %t = arith.truncf %acc : f32 to bf16
    vit.yield %t : bf16
  }
  return
}
