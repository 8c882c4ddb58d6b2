// RUN: vitrify-opt %s -o %t.mlir
// RUN: vitrify-opt %t.mlir | FileCheck %s
// RUN: vitrify-opt %s --emit-bytecode | vitrify-opt | diff %t.mlir -

// CHECK-LABEL: func.func @types
func.func @types(%x: tensor<?x96xf32>, %h: tensor<?x96xbf16>, %c: tensor<?x96xf8E4M3FN>, %i: tensor<?x96xi8>, %w: tensor<8x96xf32>, %wh: tensor<8x96xf16>, %wc: tensor<8x96xf8E4M3FN>, %w4: tensor<8x96xf4E2M1FN>, %wi: tensor<8x96xi8>) {
  // CHECK: %{{.*}} = vit.linear %{{.*}}, %{{.*}} layers ["l"] : tensor<?x96xf32>, tensor<8x96xf32> -> tensor<?x8xf32>
  %0 = vit.linear %x, %w layers ["l"] : tensor<?x96xf32>, tensor<8x96xf32> -> tensor<?x8xf32>
  // CHECK: %{{.*}} = vit.linear %{{.*}}, %{{.*}} layers ["l"] : tensor<?x96xbf16>, tensor<8x96xf16> -> tensor<?x8xf32>
  %1 = vit.linear %h, %wh layers ["l"] : tensor<?x96xbf16>, tensor<8x96xf16> -> tensor<?x8xf32>
  // CHECK: %{{.*}} = vit.linear %{{.*}}, %{{.*}} layers ["l"] : tensor<?x96xf8E4M3FN>, tensor<8x96xf8E4M3FN> -> tensor<?x8xf32>
  %2 = vit.linear %c, %wc layers ["l"] : tensor<?x96xf8E4M3FN>, tensor<8x96xf8E4M3FN> -> tensor<?x8xf32>
  // Weights alone as codes.
  // CHECK: %{{.*}} = vit.linear %{{.*}}, %{{.*}} layers ["l"] : tensor<?x96xbf16>, tensor<8x96xf8E4M3FN> -> tensor<?x8xf32>
  %3 = vit.linear %h, %wc layers ["l"] : tensor<?x96xbf16>, tensor<8x96xf8E4M3FN> -> tensor<?x8xf32>
  // CHECK: %{{.*}} = vit.linear %{{.*}}, %{{.*}} layers ["l"] : tensor<?x96xbf16>, tensor<8x96xf4E2M1FN> -> tensor<?x8xf32>
  %4 = vit.linear %h, %w4 layers ["l"] : tensor<?x96xbf16>, tensor<8x96xf4E2M1FN> -> tensor<?x8xf32>
  // CHECK: %{{.*}} = vit.linear %{{.*}}, %{{.*}} layers ["l"] : tensor<?x96xi8>, tensor<8x96xi8> -> tensor<?x8xf32>
  %5 = vit.linear %i, %wi layers ["l"] : tensor<?x96xi8>, tensor<8x96xi8> -> tensor<?x8xf32>
  return
}

// CHECK-LABEL: func.func @scales
func.func @scales(%c: tensor<?x96xf8E4M3FN>, %wc: tensor<10x96xf8E4M3FN>, %xs: tensor<?x3xf32>, %ws: tensor<4x3xf32>, %g: tensor<?x5xf32>) {
  // 10 rows in blocks of 3 make 4, the last one short.
  // CHECK: %{{.*}} = vit.linear %{{.*}}, %{{.*}} x_scales(%{{.*}} : tensor<?x3xf32>) w_scales(%{{.*}} : tensor<4x3xf32>) active(%{{.*}} : tensor<?x5xf32>) layers ["l"] : tensor<?x96xf8E4M3FN>, tensor<10x96xf8E4M3FN> -> tensor<?x10xf32>
  %0 = vit.linear %c, %wc x_scales(%xs : tensor<?x3xf32>) w_scales(%ws : tensor<4x3xf32>) active(%g : tensor<?x5xf32>) layers ["l"] : tensor<?x96xf8E4M3FN>, tensor<10x96xf8E4M3FN> -> tensor<?x10xf32>
  return
}

// CHECK-LABEL: func.func @epilogue_maps
func.func @epilogue_maps(%x: tensor<4x96xf32>, %w: tensor<8x96xf32>, %s0: tensor<f32>, %s1: tensor<1xf32>, %n: tensor<8xbf16>, %m: tensor<4xf32>, %m1: tensor<4x1xf32>, %mn: tensor<4x8xf32>, %g: tensor<4x3xf32>) {
  // Every map; blocks of 3 over 8 columns make 3, and what the shapes cover.
  // CHECK: vit.linear %{{.*}}, %{{.*}} layers ["l"] : tensor<4x96xf32>, tensor<8x96xf32> -> tensor<4x8xf32> epilogue(%{{.*}} [(d0, d1) -> ()] : tensor<f32>, %{{.*}} [(d0, d1) -> ()] : tensor<1xf32>, %{{.*}} [(d0, d1) -> (d1)] : tensor<8xbf16>, %{{.*}} [(d0, d1) -> (d0)] : tensor<4xf32>, %{{.*}} [(d0, d1) -> (d0)] : tensor<4x1xf32>, %{{.*}} [(d0, d1) -> (d0, d1)] : tensor<4x8xf32>, %{{.*}} [(d0, d1) -> (d0, d1 floordiv 3)] : tensor<4x3xf32>) group 1 {
  %0 = vit.linear %x, %w layers ["l"] : tensor<4x96xf32>, tensor<8x96xf32> -> tensor<4x8xf32> epilogue(%s0 [(m, n) -> ()] : tensor<f32>, %s1 [(m, n) -> ()] : tensor<1xf32>, %n [(m, n) -> (n)] : tensor<8xbf16>, %m [(m, n) -> (m)] : tensor<4xf32>, %m1 [(m, n) -> (m)] : tensor<4x1xf32>, %mn [(m, n) -> (m, n)] : tensor<4x8xf32>, %g [(m, n) -> (m, n floordiv 3)] : tensor<4x3xf32>) group 1 {
  ^bb0(%acc: f32, %a: f32, %b: f32, %c: bf16, %d: f32, %e: f32, %f: f32, %h: f32):
    %r = math.fma %acc, %h, %f : f32
    vit.yield %r : f32
  }
  return
}

// CHECK-LABEL: func.func @epilogue_groups
func.func @epilogue_groups(%x: tensor<?x96xf32>, %w: tensor<8x96xf32>, %b: tensor<8xf32>, %g: tensor<?x2xf32>, %k: tensor<?x8xf32>, %s: tensor<?xf32>) {
  // Pairs: half the columns leave; a block of 4 is one value for a pair, a block of 1 two.
  // CHECK: vit.linear {{.*}} -> tensor<?x4xf32> epilogue({{.*}}) group 2 {
  // CHECK: vit.act silu %{{.*}} : f32
  // CHECK: vit.yield %{{.*}} : f32
  %0 = vit.linear %x, %w layers ["gate", "up", "glu"] : tensor<?x96xf32>, tensor<8x96xf32> -> tensor<?x4xf32> epilogue(%b [(m, n) -> (n)] : tensor<8xf32>, %g [(m, n) -> (m, n floordiv 4)] : tensor<?x2xf32>, %k [(m, n) -> (m, n floordiv 1)] : tensor<?x8xf32>, %s [(m, n) -> (m)] : tensor<?xf32>) group 2 {
  ^bb0(%acc: vector<2xf32>, %b0: vector<2xf32>, %f: f32, %e: vector<2xf32>, %t: f32):
    %r = arith.addf %acc, %b0 : vector<2xf32>
    %p = vector.extract %r[0] : f32 from vector<2xf32>
    %q = vector.extract %r[1] : f32 from vector<2xf32>
    %a = vit.act silu %p : f32
    %y = arith.mulf %a, %q : f32
    vit.yield %y : f32
  }
  return
}

// CHECK-LABEL: func.func @act
func.func @act(%x: tensor<?x96xf32>, %h: tensor<?x96xbf16>) {
  // CHECK: %{{.*}} = vit.act gelu_erf %{{.*}} layers ["a"] : tensor<?x96xf32>
  %0 = vit.act gelu_erf %x layers ["a"] : tensor<?x96xf32>
  // CHECK: %{{.*}} = vit.act gelu_tanh %{{.*}} layers ["a"] : tensor<?x96xf32>
  %1 = vit.act gelu_tanh %x layers ["a"] : tensor<?x96xf32>
  // CHECK: %{{.*}} = vit.act quick_gelu %{{.*}} layers ["a"] : tensor<?x96xf32>
  %2 = vit.act quick_gelu %x layers ["a"] : tensor<?x96xf32>
  // CHECK: %{{.*}} = vit.act silu %{{.*}} layers ["a"] : tensor<?x96xf32>
  %3 = vit.act silu %x layers ["a"] : tensor<?x96xf32>
  // CHECK: %{{.*}} = vit.act relu %{{.*}} layers ["a"] : tensor<?x96xf32>
  %4 = vit.act relu %x layers ["a"] : tensor<?x96xf32>
  // CHECK: %{{.*}} = vit.act tanh %{{.*}} layers ["a"] : tensor<?x96xf32>
  %5 = vit.act tanh %x layers ["a"] : tensor<?x96xf32>
  // CHECK: %{{.*}} = vit.act sigmoid %{{.*}} layers ["a"] : tensor<?x96xf32>
  %6 = vit.act sigmoid %x layers ["a"] : tensor<?x96xf32>
  // CHECK: %{{.*}} = vit.glu silu %{{.*}}, %{{.*}} layers ["g"] : tensor<?x96xbf16>, tensor<?x96xbf16> -> tensor<?x96xbf16>
  %8 = vit.glu silu %h, %h layers ["g"] : tensor<?x96xbf16>, tensor<?x96xbf16> -> tensor<?x96xbf16>
  return
}
