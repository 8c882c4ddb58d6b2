// RUN: vitrify-opt %s --vit-expand-codes | FileCheck %s
// RUN: vitrify-opt %s --vit-optimize="target=x86-64-v3 precision=bf16" | FileCheck %s --check-prefix=X86
// RUN: vitrify-opt %s --vit-optimize="target=sm_89 precision=f16 half=f16" | FileCheck %s --check-prefix=GPU

vit.weight @w : tensor<8x32xf4E2M1FN> { %0 = vit.literal dense<1.0> : tensor<8x32xf4E2M1FN>  vit.yield %0 : tensor<8x32xf4E2M1FN> }
vit.weight @s : tensor<8x2xf8E4M3FN> { %0 = vit.literal dense<2.0> : tensor<8x2xf8E4M3FN>  vit.yield %0 : tensor<8x2xf8E4M3FN> }

// CHECK: vit.weight @w.expanded : tensor<8x32xbf16>
// CHECK: %[[S:.*]] = vit.cast %{{.*}} : tensor<8x2xf8E4M3FN> -> tensor<8x2xf32>
// CHECK: %[[D:.*]] = vit.dequant %{{.*}}, %[[S]] block [1, 16]
// CHECK: vit.cast %[[D]] : tensor<8x32xf32> -> tensor<8x32xbf16>
// CHECK-LABEL: func.func @f
// CHECK: vit.linear %{{.*}} layers ["l"] {vit.precision_note = "its codes of 4 bits are multiplied out, as there is no kernel for them"} : tensor<?x32xbf16>, tensor<8x32xbf16>
// X86: vit.linear {{.*}} tensor<?x32xbf16>, tensor<8x32xf4E2M1FN>
// GPU: vit.linear {{.*}} tensor<?x32xbf16>, tensor<8x32xbf16>
func.func @f(%x: tensor<?x32xbf16> {vit.name = "x", vit.dims = [#vit.dim<"rows", 1, 1, 8>]}) -> tensor<?x8xf32> {
  %w = vit.get @w : tensor<8x32xf4E2M1FN>
  %s = vit.get @s : tensor<8x2xf8E4M3FN>
  %r = vit.linear %x, %w w_scales(%s : tensor<8x2xf8E4M3FN>) layers ["l"] : tensor<?x32xbf16>, tensor<8x32xf4E2M1FN> -> tensor<?x8xf32>
  return %r : tensor<?x8xf32>
}
