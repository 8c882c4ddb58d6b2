// RUN: vitrify-kernels %s --target=sm_89 | FileCheck %s
// RUN: vitrify-kernels %s --target=sm_89 --emit=asm | FileCheck %s --check-prefix=PTX

// A row of 768 columns is a warp's, three runs of eight to a lane: loads of 16 bytes, sums by shuffles, no shared memory.
// CHECK-LABEL: gpu.func @layer_norm_768_
// CHECK-COUNT-3: llvm.load %{{.*}} {alignment = 16 : i64} : !llvm.ptr<1> -> vector<8xf16>
// CHECK-NOT: llvm.load %{{.*}} -> vector<8xf16>
// CHECK-COUNT-10: "llvm.nvvm.shfl.sync.bfly.f32"
// CHECK-NOT: shfl
// CHECK: "llvm.nvvm.rsqrt.approx.ftz.f"
// CHECK-NOT: nvvm.barrier
// PTX-LABEL: .entry layer_norm_768_
// PTX-COUNT-3: ld.global.v4.b32
// PTX: cvt.rn.satfinite.e4m3x2.f32
// PTX: st.global.v4.b16
func.func @one_warp(%x: tensor<?x768xf16>, %g: tensor<768xf16>, %b: tensor<768xf16>, %s: tensor<1xf32>) {
  %n = vit.norm layer %x gamma(%g : tensor<768xf16>) beta(%b : tensor<768xf16>) eps 1.0e-6 layers ["n"]
    : tensor<?x768xf16> -> tensor<?x768xf8E4M3FN> epilogue(%s [(m, n) -> ()] : tensor<1xf32>) group 1 {
  ^bb0(%v: f32, %i: f32):
    %t = arith.mulf %v, %i : f32
    %c = vit.convert %t sat : f32 to f8E4M3FN
    vit.yield %c : f8E4M3FN
  }
  return
}

// A wide row is a block's: one barrier for each of the two reductions, that of the epilogue among them, and one thread
// writes the scale.
// CHECK-LABEL: gpu.func @rms_norm_4304_
// CHECK-SAME: known_block_size = array<i32: 256, 1, 1>
// CHECK: nvvm.barrier
// CHECK: arith.maxnumf
// CHECK: nvvm.barrier
// CHECK-NOT: nvvm.barrier
// CHECK: "llvm.nvvm.ff.to.e4m3x2.rn"
// CHECK: scf.if
// CHECK: llvm.store %{{.*}} {alignment = 4 : i64} : f32, !llvm.ptr<1>
func.func @block(%x: tensor<?x4304xf16>) {
  %c, %s = vit.norm rms %x eps 1.0e-6 layers ["n", "q"] : tensor<?x4304xf16> -> tensor<?x4304xf8E4M3FN>, tensor<?x1xf32> epilogue() group 4304 {
  ^bb0(%v: vector<4304xf32>):
    %448 = arith.constant 448.0 : f32
    %one = arith.constant 1.0 : f32
    %a = math.absf %v : vector<4304xf32>
    %m = vector.reduction <maximumf>, %a : vector<4304xf32> into f32
    %s = arith.divf %m, %448 : f32
    %i = arith.divf %one, %s : f32
    %ib = vector.broadcast %i : f32 to vector<4304xf32>
    %t = arith.mulf %v, %ib : vector<4304xf32>
    %c = vit.convert %t sat : vector<4304xf32> to vector<4304xf8E4M3FN>
    vit.yield %c, %s : vector<4304xf8E4M3FN>, f32
  }
  return
}

// Heads of 64 columns of a slice take eight lanes each.
// CHECK-LABEL: gpu.func @rms_norm_64_
// CHECK-COUNT-3: "llvm.nvvm.shfl.sync.bfly.f32"
// CHECK-NOT: shfl
func.func @heads(%qkv: tensor<?x384xf16>, %rows: index) {
  %q = tensor.extract_slice %qkv[0, 128] [%rows, 128] [1, 1] : tensor<?x384xf16> to tensor<?x128xf16>
  %n = vit.norm rms %q eps 1.0e-6 width 64 layers ["n"] : tensor<?x128xf16> -> tensor<?x128xf32>
  return
}

// CHECK-LABEL: gpu.func @quantize_row_128_
// CHECK: arith.divf
func.func @blocks(%x: tensor<?x512xf16>) {
  %c, %s = vit.quantize block %x block 128 layers ["q"] : tensor<?x512xf16> -> tensor<?x512xf8E4M3FN>, tensor<?x4xf32>
  return
}
