// RUN: vitrify-opt %s --vit-fuse-glu --split-input-file | FileCheck %s
// RUN: vitrify-opt %s --vit-fuse-glu --split-input-file 2>&1 | FileCheck %s --check-prefix=REMARK

vit.weight @g : tensor<4x8xf32> { %0 = vit.literal dense<1.0> : tensor<4x8xf32>  vit.yield %0 : tensor<4x8xf32> }
vit.weight @u : tensor<4x8xf32> { %0 = vit.literal dense<2.0> : tensor<4x8xf32>  vit.yield %0 : tensor<4x8xf32> }
vit.weight @gb : tensor<4xf32> { %0 = vit.literal dense<3.0> : tensor<4xf32>  vit.yield %0 : tensor<4xf32> }
vit.weight @ub : tensor<4xf32> { %0 = vit.literal dense<4.0> : tensor<4xf32>  vit.yield %0 : tensor<4xf32> }

// Rows in turns, gate first; biases too.
// CHECK: vit.weight @b0.act.w : tensor<8x8xf32>
// CHECK: %[[G:.*]] = vit.get @g
// CHECK: %[[U:.*]] = vit.get @u
// CHECK: %[[WIDE:.*]] = vit.concat %[[G]], %[[U]] axis 1 : tensor<4x8xf32>, tensor<4x8xf32> -> tensor<4x16xf32>
// CHECK: vit.reshape %[[WIDE]] : tensor<4x16xf32> -> tensor<8x8xf32>
// CHECK: vit.weight @b0.act.b : tensor<8xf32>
// CHECK-LABEL: func.func @unit
// CHECK: %[[R:.*]] = vit.linear %{{.*}} layers ["b0.gate", "b0.up", "b0.act"] : tensor<?x8xf32>, tensor<8x8xf32> -> tensor<?x4xf32>
// CHECK-SAME: group 2
// CHECK: ^bb0(%[[ACC:.*]]: vector<2xf32>, %[[B:.*]]: vector<2xf32>):
// CHECK-DAG: %[[A0:.*]] = vector.extract %[[ACC]][0]
// CHECK-DAG: %[[B0:.*]] = vector.extract %[[B]][0]
// CHECK-DAG: %[[S0:.*]] = arith.addf %[[A0]], %[[B0]]
// CHECK-DAG: %[[A1:.*]] = vector.extract %[[ACC]][1]
// CHECK-DAG: %[[B1:.*]] = vector.extract %[[B]][1]
// CHECK-DAG: %[[S1:.*]] = arith.addf %[[A1]], %[[B1]]
// CHECK: %[[ON:.*]] = vit.act silu %[[S0]]
// CHECK: %[[P:.*]] = arith.mulf %[[ON]], %[[S1]]
// CHECK: vit.yield %[[P]] : f32
// CHECK: return %[[R]]
// REMARK: remark: layer "b0.gate" is one linear with its gated unit
func.func @unit(%x: tensor<?x8xf32>) -> tensor<?x4xf32> {
  %g = vit.get @g : tensor<4x8xf32>
  %u = vit.get @u : tensor<4x8xf32>
  %gb = vit.get @gb : tensor<4xf32>
  %ub = vit.get @ub : tensor<4xf32>
  %0 = vit.linear %x, %g layers ["b0.gate"] : tensor<?x8xf32>, tensor<4x8xf32> -> tensor<?x4xf32> epilogue(%gb [(m, n) -> (n)] : tensor<4xf32>) group 1 {
  ^bb0(%acc: f32, %b: f32):
    %r = arith.addf %acc, %b : f32
    vit.yield %r : f32
  }
  %1 = vit.linear %x, %u layers ["b0.up"] : tensor<?x8xf32>, tensor<4x8xf32> -> tensor<?x4xf32> epilogue(%ub [(m, n) -> (n)] : tensor<4xf32>) group 1 {
  ^bb0(%acc: f32, %b: f32):
    %r = arith.addf %acc, %b : f32
    vit.yield %r : f32
  }
  %2 = vit.glu silu %0, %1 layers ["b0.act"] : tensor<?x4xf32>, tensor<?x4xf32> -> tensor<?x4xf32>
  return %2 : tensor<?x4xf32>
}

// -----

vit.weight @g : tensor<4x8xf32> { %0 = vit.literal dense<1.0> : tensor<4x8xf32>  vit.yield %0 : tensor<4x8xf32> }
vit.weight @u : tensor<4x8xf32> { %0 = vit.literal dense<2.0> : tensor<4x8xf32>  vit.yield %0 : tensor<4x8xf32> }

// Another input, another user, a value that is no linear's: the unit stays.
// CHECK-LABEL: func.func @apart
// CHECK-COUNT-3: vit.glu
// CHECK-NOT: group 2
// REMARK: "a" stays apart: gate and up have different inputs
// REMARK: "b" stays apart: 'up' has other users
// REMARK: "c" stays apart: gate and up are not two linears
func.func @apart(%x: tensor<?x8xf32>, %y: tensor<?x8xf32>) -> (tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>) {
  %g = vit.get @g : tensor<4x8xf32>
  %u = vit.get @u : tensor<4x8xf32>
  %0 = vit.linear %x, %g layers ["gate"] : tensor<?x8xf32>, tensor<4x8xf32> -> tensor<?x4xf32>
  %1 = vit.linear %y, %u layers ["other"] : tensor<?x8xf32>, tensor<4x8xf32> -> tensor<?x4xf32>
  %2 = vit.linear %x, %u layers ["up"] : tensor<?x8xf32>, tensor<4x8xf32> -> tensor<?x4xf32>
  %3 = vit.linear %x, %g layers ["gate2"] : tensor<?x8xf32>, tensor<4x8xf32> -> tensor<?x4xf32>
  %a = vit.glu silu %0, %1 layers ["a"] : tensor<?x4xf32>, tensor<?x4xf32> -> tensor<?x4xf32>
  %b = vit.glu silu %3, %2 layers ["b"] : tensor<?x4xf32>, tensor<?x4xf32> -> tensor<?x4xf32>
  %c = vit.glu silu %a, %b layers ["c"] : tensor<?x4xf32>, tensor<?x4xf32> -> tensor<?x4xf32>
  return %a, %b, %c, %2 : tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>
}
