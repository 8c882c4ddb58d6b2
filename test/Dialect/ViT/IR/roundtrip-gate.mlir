// RUN: vitrify-opt %s -o %t.mlir
// RUN: vitrify-opt %t.mlir | FileCheck %s
// RUN: vitrify-opt %s --emit-bytecode | vitrify-opt | diff %t.mlir -

// CHECK-LABEL: func.func @gate
func.func @gate(%s: tensor<?x16xf32>) {
  // CHECK: %{{.*}} = vit.gate topk k 4 weight one %{{.*}} layers ["g"] : tensor<?x16xf32> -> tensor<?x16xf32>
  %0 = vit.gate topk k 4 weight one %s layers ["g"] : tensor<?x16xf32> -> tensor<?x16xf32>
  // CHECK: %{{.*}} = vit.gate topk k 4 weight score %{{.*}} layers ["g"] : tensor<?x16xf32> -> tensor<?x16xf32>
  %1 = vit.gate topk k 4 weight score %s layers ["g"] : tensor<?x16xf32> -> tensor<?x16xf32>
  // CHECK: %{{.*}} = vit.gate topk k 4 weight sigmoid %{{.*}} layers ["g"] : tensor<?x16xf32> -> tensor<?x16xf32>
  %2 = vit.gate topk k 4 weight sigmoid %s layers ["g"] : tensor<?x16xf32> -> tensor<?x16xf32>
  // CHECK: %{{.*}} = vit.gate topk k 4 weight softmax %{{.*}} layers ["g"] : tensor<?x16xf32> -> tensor<?x16xf32>
  %3 = vit.gate topk k 4 weight softmax %s layers ["g"] : tensor<?x16xf32> -> tensor<?x16xf32>
  // CHECK: %{{.*}} = vit.gate threshold at 2.500000e-01 weight one %{{.*}} layers ["g"] : tensor<?x16xf32> -> tensor<?x16xf32>
  %4 = vit.gate threshold at 2.500000e-01 weight one %s layers ["g"] : tensor<?x16xf32> -> tensor<?x16xf32>
  // CHECK: %{{.*}} = vit.gate threshold at 2.500000e-01 weight score %{{.*}} layers ["g"] : tensor<?x16xf32> -> tensor<?x16xf32>
  %5 = vit.gate threshold at 2.500000e-01 weight score %s layers ["g"] : tensor<?x16xf32> -> tensor<?x16xf32>
  // CHECK: %{{.*}} = vit.gate threshold at 2.500000e-01 weight sigmoid %{{.*}} layers ["g"] : tensor<?x16xf32> -> tensor<?x16xf32>
  %6 = vit.gate threshold at 2.500000e-01 weight sigmoid %s layers ["g"] : tensor<?x16xf32> -> tensor<?x16xf32>
  // CHECK: %{{.*}} = vit.gate threshold at 2.500000e-01 weight softmax %{{.*}} layers ["g"] : tensor<?x16xf32> -> tensor<?x16xf32>
  %7 = vit.gate threshold at 2.500000e-01 weight softmax %s layers ["g"] : tensor<?x16xf32> -> tensor<?x16xf32>
  return
}

// CHECK-LABEL: func.func @grouped
func.func @grouped(%g: tensor<?x16xf32>, %x: tensor<?x64xbf16>, %w: tensor<256x64xbf16>, %v: tensor<64x256xbf16>, %b: tensor<64xf32>) {
  // CHECK: %[[ROWS:.*]], %[[STARTS:.*]] = vit.group_tokens %{{.*}} chunk 256 layers ["g"] : tensor<?x16xf32> -> tensor<?xi32>, tensor<?x16xi32>
  %rows, %starts = vit.group_tokens %g chunk 256 layers ["g"] : tensor<?x16xf32> -> tensor<?xi32>, tensor<?x16xi32>
  // CHECK: %[[H:.*]] = vit.grouped_linear columns %{{.*}}, %{{.*}} rows(%[[ROWS]], %[[STARTS]] : tensor<?xi32>, tensor<?x16xi32>) chunk 256 layers ["fc1"] : tensor<?x64xbf16>, tensor<256x64xbf16> -> tensor<?x256xbf16> epilogue(%{{.*}} [(d0, d1) -> (d0, d1 floordiv 16)] : tensor<?x16xf32>) group 1 {
  %0 = vit.grouped_linear columns %x, %w rows(%rows, %starts : tensor<?xi32>, tensor<?x16xi32>) chunk 256 layers ["fc1"]
    : tensor<?x64xbf16>, tensor<256x64xbf16> -> tensor<?x256xbf16> epilogue(%g [(m, n) -> (m, n floordiv 16)] : tensor<?x16xf32>) group 1 {
  ^bb0(%acc: f32, %weight: f32):
    %a = arith.mulf %acc, %weight : f32
    %c = arith.truncf %a : f32 to bf16
    vit.yield %c : bf16
  }
  // CHECK: vit.grouped_linear depth %[[H]], %{{.*}} rows(%[[ROWS]], %[[STARTS]] : tensor<?xi32>, tensor<?x16xi32>) chunk 256 layers ["fc2"] : tensor<?x256xbf16>, tensor<64x256xbf16> -> tensor<?x64xf32>{{ *$}}
  %1 = vit.grouped_linear depth %0, %v rows(%rows, %starts : tensor<?xi32>, tensor<?x16xi32>) chunk 256 layers ["fc2"]
    : tensor<?x256xbf16>, tensor<64x256xbf16> -> tensor<?x64xf32>
  return
}
