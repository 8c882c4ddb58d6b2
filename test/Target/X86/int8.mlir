// RUN: vitrify-kernels %s --target=x86-64-v4-bf16 | FileCheck %s --check-prefixes=CHECK,VNNI
// RUN: vitrify-kernels %s --target=x86-64-v4-vnni | FileCheck %s --check-prefixes=CHECK,VNNI
// RUN: vitrify-kernels %s --target=x86-64-v3 | FileCheck %s --check-prefixes=CHECK,MADD
// RUN: vitrify-kernels %s --target=x86-64-v3 --specs=%t -o /dev/null
// RUN: FileCheck %s --check-prefix=SPEC --input-file=%t

// A linear of i8 codes whose inputs have a scale a row. Activations are bytes plus 128; the panels' sums take that off.
vit.source @ckpt path "model.safetensors" size 1024 header_sha256 "0000000000000000000000000000000000000000000000000000000000000000"
vit.weight @w : tensor<128x66xi8> {
  %0 = vit.read @ckpt "w" : tensor<128x66xi8>
  vit.yield %0 : tensor<128x66xi8>
}

// Groups of four bytes where there is vpdpbusd, of two elsewhere; one group (or two) more for the sums.
// VNNI: func.func @linear_int8_n128_k66_{{[0-9a-f]+}}(%{{.*}}: index, %[[B:.*]]: memref<2x18x256xi8>, %[[A:.*]]: memref<?x66xi8>, %{{.*}}: memref<128xf32>, %{{.*}}: memref<?x1xf32>, %{{.*}}: memref<?x128xi8>,
// MADD: func.func @linear_int8_n128_k66_{{[0-9a-f]+}}(%{{.*}}: index, %[[B:.*]]: memref<8x35x32xi8>, %[[A:.*]]: memref<?x66xi8>,
// CHECK-SAME: vitrify.panels = {{[28]}} : i64, vitrify.precision = "int8"
// Accumulators are i32 and start at the sums.
// VNNI: case 1 {
// VNNI-COUNT-4: vector.bitcast {{.*}} : vector<64xi8> to vector<16xi32>
// VNNI: scf.for {{.*}} -> (vector<16xi32>, vector<16xi32>, vector<16xi32>, vector<16xi32>) {
// VNNI: memref.prefetch
// VNNI: vector.load %[[A]]{{.*}} vector<4xi8>
// VNNI-COUNT-4: llvm.call_intrinsic "llvm.x86.avx512.vpdpbusd.512"
// The last two bytes of a row alone: nothing is read beyond it.
// VNNI: memref.load %[[A]]
// VNNI: memref.load %[[A]]
// VNNI-COUNT-4: llvm.call_intrinsic "llvm.x86.avx512.vpdpbusd.512"
// MADD: arith.extsi {{.*}} : vector<16xi8> to vector<16xi16>
// MADD: llvm.call_intrinsic "llvm.x86.avx2.pmadd.wd"
// CHECK: arith.sitofp {{.*}} to vector<{{8|16}}xf32>
// CHECK: func.func private @linear_{{.*}}.epilogue
// CHECK: arith.trunci {{.*}} to vector<{{8|16}}xi8>

// SPEC: "layout": "panel:w16:k2:I8:sums"
// SPEC: "dtype": "U8"
// SPEC-NEXT: "index": 0
// SPEC: "numeric": "I8"
// SPEC: "precision": "int8"
func.func @f(%x: tensor<?x66xi8>, %t: tensor<128xf32>, %s: tensor<?x1xf32>) -> tensor<?x128xi8> {
  %w = vit.get @w : tensor<128x66xi8>
  %r = vit.linear %x, %w layers ["fc1", "fc2#in"] : tensor<?x66xi8>, tensor<128x66xi8> -> tensor<?x128xi8>
    epilogue(%t [(m, n) -> (n)] : tensor<128xf32>, %s [(m, n) -> (m)] : tensor<?x1xf32>) group 1 {
  ^bb0(%acc: f32, %scale: f32, %token: f32):
    %v = arith.mulf %acc, %scale : f32
    %u = arith.mulf %v, %token : f32
    %c = vit.convert %u sat : f32 to i8
    vit.yield %c : i8
  }
  return %r : tensor<?x128xi8>
}
