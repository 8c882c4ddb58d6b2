// RUN: vitrify-opt %s --vit-group-tokens | FileCheck %s
// RUN: vitrify-opt %s --vit-group-tokens="share=0.99" -o /dev/null 2>&1 | FileCheck %s --check-prefix=REMARK
// RUN: vitrify-opt %s --vit-group-tokens="rows=1 chunk=8" | FileCheck %s --check-prefix=CHUNK
// RUN: vitrify-opt %s --vit-group-tokens="chunk=64 tile=16 least=16" -o /dev/null 2>&1 | FileCheck %s --check-prefix=FEW

// Rounding, scales and odd functions after the gate's factor keep its zeros.
// CHECK-LABEL: func.func @gated
// CHUNK-LABEL: func.func @gated
func.func @gated(%x: tensor<?x8xf32>, %w: tensor<16x8xf32>, %v: tensor<8x16xf32>, %scores: tensor<?x4xf32>, %s: tensor<1xf32>) -> tensor<?x8xf32> {
  // CHECK: %[[GATE:.*]] = vit.gate
  // CHECK: %[[ROWS:.*]], %[[STARTS:.*]] = vit.group_tokens %[[GATE]] chunk 256 layers ["g#rows"] : tensor<?x4xf32> -> tensor<?xi32>, tensor<?x4xi32>
  // CHUNK: vit.group_tokens %{{.*}} chunk 8
  %g = vit.gate topk k 1 weight sigmoid %scores layers ["g"] : tensor<?x4xf32> -> tensor<?x4xf32>
  // CHECK: %[[H:.*]] = vit.grouped_linear columns %arg0, %arg1 rows(%[[ROWS]], %[[STARTS]] : tensor<?xi32>, tensor<?x4xi32>) chunk 256 layers ["fc1"]
  // CHECK-SAME: epilogue(%[[GATE]]
  // CHECK: vit.act gelu_erf
  // FEW: fc1 computes every block of its gate: 197 rows are too few for small tiles to pay
  // REMARK: fc1 computes blocks for the rows that they are on for: 0.{{[0-9]+}} of the dense work at 197 rows, 25% of 4 blocks being on
  %0 = vit.linear %x, %w layers ["fc1"] : tensor<?x8xf32>, tensor<16x8xf32> -> tensor<?x16xbf16> epilogue(%g [(m, n) -> (m, n floordiv 4)] : tensor<?x4xf32>, %s [(m, n) -> ()] : tensor<1xf32>) group 1 {
  ^bb0(%acc: f32, %weight: f32, %scale: f32):
    %a = vit.act gelu_erf %acc : f32
    %b = arith.mulf %a, %weight : f32
    %t = vit.act tanh %b : f32
    %c = arith.mulf %t, %scale : f32
    %d = arith.truncf %c : f32 to bf16
    vit.yield %d : bf16
  }
  // CHECK: %[[Y:.*]] = vit.grouped_linear depth %[[H]], %arg2 rows(%[[ROWS]], %[[STARTS]] : tensor<?xi32>, tensor<?x4xi32>) chunk 256 layers ["fc2"]
  // CHECK: return %[[Y]]
  %1 = vit.linear %0, %v layers ["fc2"] : tensor<?x16xbf16>, tensor<8x16xf32> -> tensor<?x8xf32>
  return %1 : tensor<?x8xf32>
}

// A threshold, and static rows: sizes of the lists are static then.
// CHECK-LABEL: func.func @threshold
func.func @threshold(%x: tensor<20x8xf32>, %w: tensor<16x8xf32>, %v: tensor<8x16xf32>, %scores: tensor<20x4xf32>) -> tensor<20x8xf32> {
  %g = vit.gate threshold at 0.5 weight one %scores layers ["g"] : tensor<20x4xf32> -> tensor<20x4xf32>
  // CHECK: vit.group_tokens {{.*}} : tensor<20x4xf32> -> tensor<80xi32>, tensor<2x4xi32>
  // CHECK: vit.grouped_linear columns
  // CHECK: vit.grouped_linear depth
  // REMARK: t1 computes every block of its gate: grouping would take 1.{{[0-9]+}} of the dense work at 197 rows, 99% of 4 blocks being on
  %0 = vit.linear %x, %w layers ["t1"] : tensor<20x8xf32>, tensor<16x8xf32> -> tensor<20x16xf32> epilogue(%g [(m, n) -> (m, n floordiv 4)] : tensor<20x4xf32>) group 1 {
  ^bb0(%acc: f32, %weight: f32):
    %b = arith.mulf %acc, %weight : f32
    vit.yield %b : f32
  }
  %1 = vit.linear %0, %v layers ["t2"] : tensor<20x16xf32>, tensor<8x16xf32> -> tensor<20x8xf32>
  return %1 : tensor<20x8xf32>
}

// Nearly all blocks are on.
// CHECK-LABEL: func.func @most
// CHECK-NOT: grouped_linear
func.func @most(%x: tensor<?x8xf32>, %w: tensor<16x8xf32>, %v: tensor<8x16xf32>, %scores: tensor<?x4xf32>) -> tensor<?x8xf32> {
  %g = vit.gate topk k 4 weight sigmoid %scores layers ["g"] : tensor<?x4xf32> -> tensor<?x4xf32>
  // REMARK: all1 computes every block of its gate: grouping would take 1.06 of the dense work
  %0 = vit.linear %x, %w layers ["all1"] : tensor<?x8xf32>, tensor<16x8xf32> -> tensor<?x16xf32> epilogue(%g [(m, n) -> (m, n floordiv 4)] : tensor<?x4xf32>) group 1 {
  ^bb0(%acc: f32, %weight: f32):
    %b = arith.mulf %acc, %weight : f32
    vit.yield %b : f32
  }
  %1 = vit.linear %0, %v layers ["all2"] : tensor<?x16xf32>, tensor<8x16xf32> -> tensor<?x8xf32>
  return %1 : tensor<?x8xf32>
}

// Something is added after the factor; the hidden values have another reader; no second linear; a sigmoid of 0 is not 0.
// CHECK-LABEL: func.func @not
// CHECK-NOT: grouped_linear
func.func @not(%x: tensor<?x8xf32>, %w: tensor<16x8xf32>, %v: tensor<8x16xf32>, %scores: tensor<?x4xf32>, %bias: tensor<16xf32>)
    -> (tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x16xf32>, tensor<?x16xf32>, tensor<?x8xf32>) {
  %g = vit.gate topk k 1 weight sigmoid %scores layers ["g"] : tensor<?x4xf32> -> tensor<?x4xf32>
  // REMARK: shifted computes every block of its gate: a block that is off is not 0 after its first linear
  %0 = vit.linear %x, %w layers ["shifted"] : tensor<?x8xf32>, tensor<16x8xf32> -> tensor<?x16xf32> epilogue(%g [(m, n) -> (m, n floordiv 4)] : tensor<?x4xf32>, %bias [(m, n) -> (n)] : tensor<16xf32>) group 1 {
  ^bb0(%acc: f32, %weight: f32, %b: f32):
    %r = arith.mulf %acc, %weight : f32
    %c = arith.addf %r, %b : f32
    vit.yield %c : f32
  }
  %1 = vit.linear %0, %v layers ["after"] : tensor<?x16xf32>, tensor<8x16xf32> -> tensor<?x8xf32>
  // REMARK: seen computes every block of its gate: something else reads its hidden values
  %2 = vit.linear %x, %w layers ["seen"] : tensor<?x8xf32>, tensor<16x8xf32> -> tensor<?x16xf32> epilogue(%g [(m, n) -> (m, n floordiv 4)] : tensor<?x4xf32>) group 1 {
  ^bb0(%acc: f32, %weight: f32):
    %r = arith.mulf %acc, %weight : f32
    vit.yield %r : f32
  }
  %3 = vit.linear %2, %v layers ["after2"] : tensor<?x16xf32>, tensor<8x16xf32> -> tensor<?x8xf32>
  // REMARK: last computes every block of its gate: no linear takes its hidden values
  %4 = vit.linear %x, %w layers ["last"] : tensor<?x8xf32>, tensor<16x8xf32> -> tensor<?x16xf32> epilogue(%g [(m, n) -> (m, n floordiv 4)] : tensor<?x4xf32>) group 1 {
  ^bb0(%acc: f32, %weight: f32):
    %r = arith.mulf %acc, %weight : f32
    vit.yield %r : f32
  }
  // REMARK: sigmoid computes every block of its gate: a block that is off is not 0 after its first linear
  %5 = vit.linear %x, %w layers ["sigmoid"] : tensor<?x8xf32>, tensor<16x8xf32> -> tensor<?x16xf32> epilogue(%g [(m, n) -> (m, n floordiv 4)] : tensor<?x4xf32>) group 1 {
  ^bb0(%acc: f32, %weight: f32):
    %r = arith.mulf %acc, %weight : f32
    %s = vit.act sigmoid %r : f32
    vit.yield %s : f32
  }
  %6 = vit.linear %5, %v layers ["after3"] : tensor<?x16xf32>, tensor<8x16xf32> -> tensor<?x8xf32>
  return %1, %3, %2, %4, %6 : tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x16xf32>, tensor<?x16xf32>, tensor<?x8xf32>
}
