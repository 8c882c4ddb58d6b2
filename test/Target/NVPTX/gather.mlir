// RUN: vitrify-kernels %s --target=sm_89 | FileCheck %s

// The image of a row is found in the table of segments, bit by bit.
// CHECK-LABEL: gpu.func @assemble_tokens_
// CHECK: "llvm.ctlz.i32"
// CHECK: scf.for
// CHECK: llvm.load %{{.*}} {alignment = 16 : i64} : !llvm.ptr<1> -> vector<8xf16>
func.func @tokens(%p: tensor<?x96xf16>, %cls: tensor<1x96xf16>, %cu: tensor<?xi32>) {
  %x = vit.assemble_tokens %p prefix(%cls : tensor<1x96xf16>) cu_seqlens(%cu : tensor<?xi32>) layers ["t"] : tensor<?x96xf16> -> tensor<?x96xf16>
  return
}

// Threads share the tokens, four rows at a time each; their sums meet in shared memory.
// CHECK-LABEL: gpu.func @pool_mean_
// CHECK-NOT: "llvm.ctlz.i32"
// CHECK: scf.for
// CHECK-COUNT-4: llvm.load %{{.*}} {alignment = 16 : i64} : !llvm.ptr<1> -> vector<8xf16>
// CHECK: nvvm.barrier0
// CHECK: arith.divf
func.func @mean(%x: tensor<?x96xf16>, %cu: tensor<?xi32>) {
  %r = vit.pool mean 0 %x cu_seqlens(%cu : tensor<?xi32>) layers ["p"] : tensor<?x96xf16> -> tensor<?x96xf16>
  return
}

// Rows that lie one after the other are merged by copying them.
// CHECK-LABEL: gpu.func @merge_patches_
// CHECK-NOT: arith.mulf
// CHECK: llvm.store %{{.*}} {alignment = 16 : i64} : vector<4xi32>
func.func @merge(%x: tensor<?x64xf16>) {
  %r = vit.merge_patches %x by 4 layers ["m"] : tensor<?x64xf16> -> tensor<?x256xf16>
  return
}

// Two slots of eight frequencies each; sine and cosine of reduced angles.
// CHECK-LABEL: gpu.func @rope_32_
// CHECK-COUNT-8: "llvm.nvvm.sin.approx.ftz.f"
// CHECK-NOT: "llvm.nvvm.sin.approx.ftz.f"
func.func @rope(%x: tensor<?x64xf16>, %p: tensor<2x?xi32>) {
  %r = vit.rope vision_2d %x, %p head_dim 32 theta 1.0e4 layers ["r"] : tensor<?x64xf16>, tensor<2x?xi32> -> tensor<?x64xf16>
  return
}

// The k-th score is found by counting how many of a thread's eight reach it, two bits a turn; nothing is sorted.
// CHECK-LABEL: gpu.func @gate_64_
// CHECK: scf.for
// CHECK-COUNT-16: arith.cmpi uge
// CHECK-NOT: arith.cmpi uge
// CHECK: scf.yield
func.func @gate(%s: tensor<?x64xf32>) {
  %r = vit.gate topk k 8 weight one %s layers ["g"] : tensor<?x64xf32> -> tensor<?x64xf32>
  return
}

// A warp asks 32 indices at once whether they name its row; of several rows the last is set.
// CHECK-LABEL: gpu.func @scatter_rows_
// CHECK: scf.for
// CHECK: "llvm.nvvm.vote.ballot.sync"
// CHECK: "llvm.ctlz.i32"
// CHECK-NOT: scf.while
func.func @set(%x: tensor<?x96xf16>, %s: tensor<?x96xf16>, %i: tensor<?xi32>) {
  %r = vit.scatter_rows set %x, %s, %i layers ["s"] : tensor<?x96xf16>, tensor<?x96xf16>, tensor<?xi32> -> tensor<?x96xf16>
  return
}

// All of them are added, in order.
// CHECK-LABEL: gpu.func @scatter_rows_
// CHECK: scf.while
// CHECK: "llvm.cttz.i32"
// CHECK: arith.addf
func.func @add(%x: tensor<?x96xf16>, %s: tensor<?x96xf16>, %i: tensor<?xi32>) {
  %r = vit.scatter_rows add %x, %s, %i layers ["s"] : tensor<?x96xf16>, tensor<?x96xf16>, tensor<?xi32> -> tensor<?x96xf16>
  return
}

// A place of the cache has its old row or the new one.
// CHECK-LABEL: gpu.func @cache_append_
// CHECK: scf.if {{.*}} -> (f32
// CHECK: } else {
func.func @cache(%c: tensor<2x16x96xf16>, %x: tensor<?x96xf16>, %l: tensor<2xi32>, %u: tensor<3xi32>) {
  %0 = vit.cache_append %c, %x, %l, %u layers ["c"] : tensor<2x16x96xf16>, tensor<?x96xf16>, tensor<2xi32>, tensor<3xi32> -> tensor<2x16x96xf16>
  return
}
