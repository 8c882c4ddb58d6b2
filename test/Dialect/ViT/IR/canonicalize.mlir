// RUN: vitrify-opt %s --canonicalize | FileCheck %s

// CHECK-LABEL: func.func @convert
func.func @convert(%h: tensor<?x8xbf16>, %c: tensor<?x8xf8E4M3FN>, %x: tensor<?x8xf32>)
    -> (tensor<?x8xbf16>, tensor<?x8xf8E4M3FN>, tensor<?x8xf32>, tensor<?x8xf8E4M3FN>, tensor<?x8xf32>) {
  // There and back without rounding: nothing is left.
  // CHECK-DAG: %[[HC:.*]] = vit.convert %arg0 sat : tensor<?x8xbf16> to tensor<?x8xf8E4M3FN>
  // CHECK-DAG: %[[CX:.*]] = vit.convert %arg1 : tensor<?x8xf8E4M3FN> to tensor<?x8xf32>
  %0 = vit.convert %h : tensor<?x8xbf16> to tensor<?x8xf32>
  %1 = vit.convert %0 : tensor<?x8xf32> to tensor<?x8xbf16>
  // Exact, then rounded: one conversion.
  %2 = vit.convert %0 sat : tensor<?x8xf32> to tensor<?x8xf8E4M3FN>
  %3 = vit.convert %c : tensor<?x8xf8E4M3FN> to tensor<?x8xf16>
  %4 = vit.convert %3 : tensor<?x8xf16> to tensor<?x8xf32>
  // Near misses: codes back to codes would join two NaNs, and f32 through bf16 is rounded.
  // CHECK-DAG: %[[C2:.*]] = vit.convert %[[CX]] sat
  %5 = vit.convert %4 sat : tensor<?x8xf32> to tensor<?x8xf8E4M3FN>
  // CHECK-DAG: %[[XH:.*]] = vit.convert %arg2 : tensor<?x8xf32> to tensor<?x8xbf16>
  // CHECK-DAG: %[[XX:.*]] = vit.convert %[[XH]] : tensor<?x8xbf16> to tensor<?x8xf32>
  %6 = vit.convert %x : tensor<?x8xf32> to tensor<?x8xbf16>
  %7 = vit.convert %6 : tensor<?x8xbf16> to tensor<?x8xf32>
  // CHECK: return %arg0, %[[HC]], %[[CX]], %[[C2]], %[[XX]]
  return %1, %2, %4, %5, %7 : tensor<?x8xbf16>, tensor<?x8xf8E4M3FN>, tensor<?x8xf32>, tensor<?x8xf8E4M3FN>, tensor<?x8xf32>
}

// CHECK-LABEL: func.func @relu
func.func @relu(%x: tensor<?x8xf32>, %y: f32) -> (tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>, f32) {
  // The one that stays takes both names.
  // CHECK-NEXT: %[[A:.*]] = vit.act relu %arg0 layers ["a", "b"] : tensor<?x8xf32>
  %0 = vit.act relu %x layers ["a"] : tensor<?x8xf32>
  %1 = vit.act relu %0 layers ["b"] : tensor<?x8xf32>
  // Near misses: another user of the inner one sees its name; silu is not idempotent.
  // CHECK-NEXT: %[[C:.*]] = vit.act relu %arg0 layers ["c"]
  // CHECK-NEXT: %[[D:.*]] = vit.act relu %[[C]] layers ["d"]
  // CHECK-NEXT: %[[E:.*]] = vit.act silu %[[C]] layers ["e"]
  %2 = vit.act relu %x layers ["c"] : tensor<?x8xf32>
  %3 = vit.act relu %2 layers ["d"] : tensor<?x8xf32>
  %4 = vit.act silu %2 layers ["e"] : tensor<?x8xf32>
  // CHECK-NEXT: %[[F:.*]] = vit.act relu %arg1 : f32
  %5 = vit.act relu %y : f32
  %6 = vit.act relu %5 : f32
  // CHECK-NEXT: return %[[A]], %[[D]], %[[E]], %[[F]]
  return %1, %3, %4, %6 : tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>, f32
}

// CHECK-LABEL: func.func @merge
func.func @merge(%x: tensor<?x8xf32>) -> (tensor<?x8xf32>, tensor<?x16xf32>) {
  // CHECK-NEXT: %[[M:.*]] = vit.merge_patches %arg0 by 2
  %0 = vit.merge_patches %x by 1 layers ["m"] : tensor<?x8xf32> -> tensor<?x8xf32>
  %1 = vit.merge_patches %x by 2 layers ["m"] : tensor<?x8xf32> -> tensor<?x16xf32>
  // CHECK-NEXT: return %arg0, %[[M]]
  return %0, %1 : tensor<?x8xf32>, tensor<?x16xf32>
}

vit.source @ckpt path "model.safetensors" size 1024 header_sha256 "0000000000000000000000000000000000000000000000000000000000000000"

// Steps that change nothing leave the recipe.
// CHECK-LABEL: vit.weight @same
// CHECK-NEXT: %[[R:.*]] = vit.read @ckpt "t"
// CHECK-NEXT: vit.yield %[[R]]
vit.weight @same : tensor<6x4xf32> {
  %0 = vit.read @ckpt "t" : tensor<6x4xf32>
  %1 = vit.slice %0 axis 0 from 0 to 6 : tensor<6x4xf32> -> tensor<6x4xf32>
  %2 = vit.gather %1 axis 1 [0, 1, 2, 3] : tensor<6x4xf32> -> tensor<6x4xf32>
  %3 = vit.concat %2 axis 0 : tensor<6x4xf32> -> tensor<6x4xf32>
  %4 = vit.transpose %3 : tensor<6x4xf32> -> tensor<4x6xf32>
  %5 = vit.transpose %4 : tensor<4x6xf32> -> tensor<6x4xf32>
  %6 = vit.reshape %5 : tensor<6x4xf32> -> tensor<24xf32>
  %7 = vit.reshape %6 : tensor<24xf32> -> tensor<6x4xf32>
  %8 = vit.cast %7 : tensor<6x4xf32> -> tensor<6x4xf32>
  %9 = vit.pad %8 axis 1 to_multiple 4 : tensor<6x4xf32> -> tensor<6x4xf32>
  vit.yield %9 : tensor<6x4xf32>
}

// Near misses: another order, a rounding, two shapes that differ.
// CHECK-LABEL: vit.weight @other
// CHECK: vit.gather
// CHECK-NEXT: vit.cast {{.*}} -> tensor<6x4xbf16>
// CHECK-NEXT: vit.cast {{.*}} -> tensor<6x4xf32>
// CHECK-NEXT: vit.reshape {{.*}} : tensor<6x4xf32> -> tensor<3x8xf32>
// CHECK-NEXT: vit.yield
vit.weight @other : tensor<3x8xf32> {
  %0 = vit.read @ckpt "t" : tensor<6x4xf32>
  %1 = vit.gather %0 axis 1 [0, 2, 1, 3] : tensor<6x4xf32> -> tensor<6x4xf32>
  %2 = vit.cast %1 : tensor<6x4xf32> -> tensor<6x4xbf16>
  %3 = vit.cast %2 : tensor<6x4xbf16> -> tensor<6x4xf32>
  %4 = vit.reshape %3 : tensor<6x4xf32> -> tensor<24xf32>
  %5 = vit.reshape %4 : tensor<24xf32> -> tensor<3x8xf32>
  vit.yield %5 : tensor<3x8xf32>
}
