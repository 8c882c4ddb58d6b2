// A linear of sm_89 at each stage of its kernel: tile as asked for, FP8, K in parts, scales along K.
// RUN: vitrify-kernels %s --target=sm_89 --emit=kernel | FileCheck %s --check-prefix=KERNEL
// RUN: vitrify-kernels %s --target=sm_89 --emit=llvm | FileCheck %s --check-prefix=LLVM
// RUN: vitrify-kernels %s --target=sm_89 --emit=asm | FileCheck %s --check-prefix=PTX
// RUN: vitrify-kernels %s --target=sm_89 --emit=asm --specs=%t.json -o %t.ptx && FileCheck %s --check-prefix=SPEC --input-file=%t.json
// RUN: not vitrify-kernels %s --target=sm_89 --tune=H100 2>&1 | FileCheck %s --check-prefix=TUNE
// RUN: not vitrify-kernels %s --target=sm_89 --tune=GTX 2>&1 | FileCheck %s --check-prefix=CHIP

vit.source @ckpt path "m.safetensors" size 1024 header_sha256 "0000000000000000000000000000000000000000000000000000000000000000"
vit.weight @w : tensor<64x256xf8E4M3FN> {
  %0 = vit.read @ckpt "w" : tensor<64x256xf8E4M3FN>
  vit.yield %0 : tensor<64x256xf8E4M3FN>
}

// Two stages ahead: each is waited for and met at a barrier once, and then the next is asked for.
// KERNEL-LABEL: gpu.func @linear_f8e4m3_32x64x64s3w12_
// KERNEL-SAME: kernel attributes {known_block_size = array<i32: 64, 1, 1>
// KERNEL: nvvm.cp.async.shared.global
// KERNEL: nvvm.cp.async.commit.group
// KERNEL: scf.for
// KERNEL: nvvm.cp.async.wait.group 1
// KERNEL-NEXT: nvvm.barrier
// KERNEL: nvvm.cp.async.shared.global
// KERNEL: nvvm.cp.async.commit.group
// KERNEL: llvm.call_intrinsic "llvm.nvvm.ldmatrix.sync.aligned.m8n8.x4.b16"
// KERNEL: llvm.call_intrinsic "llvm.nvvm.mma.m16n8k32.row.col.f32.e4m3.e4m3.f32"
// KERNEL: scf.yield

// LLVM-LABEL: llvm.func @linear_f8e4m3_32x64x64s3w12_
// LLVM-SAME: nvvm.kernel
// LLVM: nvvm.cp.async.wait.group 1
// LLVM-NOT: scf.
// LLVM-NOT: arith.

// PTX-LABEL: .entry linear_f8e4m3_32x64x64s3w12_
// PTX: cp.async.cg.shared.global [{{.*}}], [{{.*}}], 16
// PTX-COUNT-16: mma.sync.aligned.m16n8k32.row.col.f32.e4m3.e4m3.f32
// PTX-NOT: mma.sync
// PTX: cp.async.wait_group 1;
// PTX-NEXT: bar.sync 0;
// PTX: cvt.rn.f16x2.f32
// PTX: st.global.v4
// PTX: ret;
func.func @plain(%x: tensor<?x256xf8E4M3FN>) {
  %w = vit.get @w : tensor<64x256xf8E4M3FN>
  %r = vit.linear %x, %w layers ["plain"] {vit.tile = array<i64: 32, 64, 64, 3, 1, 2, 0, 1>} : tensor<?x256xf8E4M3FN>, tensor<64x256xf8E4M3FN> -> tensor<?x64xf16> epilogue() group 1 {
  ^bb0(%acc: f32):
    %h = arith.truncf %acc : f32 to f16
    vit.yield %h : f16
  }
  return
}

// The parts go to scratch memory as f32, without the epilogue; a second kernel adds them in order, and has it.
// PTX-LABEL: .entry linear_f8e4m3_16x64x64s3w12k2_
// PTX: %ctaid.z
// PTX-COUNT-8: mma.sync
// PTX-NOT: cvt.rn.f16x2.f32
// PTX: st.global.v4
// PTX: ret;
// PTX-LABEL: .entry linear_sum2_
// PTX-COUNT-4: ld.global.v4
// PTX: add.{{(rn.)?}}f32
// PTX: cvt.rn.f16x2.f32
// PTX: ret;
// SPEC: "launch": 0,
// SPEC: "name": "linear_f8e4m3_16x64x64s3w12k2_
// SPEC: "role": "scratch"
// SPEC: "launch": 1,
// SPEC: "name": "linear_sum2_
// SPEC: "role": "scratch"
func.func @parts(%x: tensor<?x256xf8E4M3FN>) {
  %w = vit.get @w : tensor<64x256xf8E4M3FN>
  %r = vit.linear %x, %w layers ["parts"] {vit.tile = array<i64: 16, 64, 64, 3, 1, 2, 0, 2>} : tensor<?x256xf8E4M3FN>, tensor<64x256xf8E4M3FN> -> tensor<?x64xf16> epilogue() group 1 {
  ^bb0(%acc: f32):
    %h = arith.truncf %acc : f32 to f16
    vit.yield %h : f16
  }
  return
}

// w is the 16-row operand: 2 x 3 fragments of 8 rows a warp, the odd one loaded alone. A scale for each row and 128 of K.
// PTX-LABEL: .entry linear_f8e4m3_24x128x128s3w12t_
// PTX: ldmatrix.sync.aligned.m8n8.x2
// PTX: fma.rn.f32
// PTX: ret;
func.func @scaled(%x: tensor<?x256xf8E4M3FN>, %s: tensor<?x2xf32>) {
  %w = vit.get @w : tensor<64x256xf8E4M3FN>
  %r = vit.linear %x, %w x_scales(%s : tensor<?x2xf32>) layers ["scaled"] {vit.tile = array<i64: 24, 128, 128, 3, 1, 2, 1, 1>} : tensor<?x256xf8E4M3FN>, tensor<64x256xf8E4M3FN> -> tensor<?x64xf32> epilogue() group 1 {
  ^bb0(%acc: f32):
    vit.yield %acc : f32
  }
  return
}
// TUNE: vitrify-kernels: chip H100 runs sm_90a, not sm_89
// CHIP: vitrify-kernels: no chip called 'GTX'; known are RTX 4090 (sm_89)
