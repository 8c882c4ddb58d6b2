// RUN: vitrify-opt %s --vit-assign-precision="precision=nvfp4" --vit-quantize | FileCheck %s
// RUN: vitrify-opt %s --vit-assign-precision="precision=nvfp4 half=f16" --vit-quantize | FileCheck %s --check-prefix=F16
// RUN: not vitrify-opt %s --vit-quantize 2>&1 | FileCheck %s --check-prefix=ODD

vit.weight @w : tensor<8x32xf32> { %0 = vit.literal dense<1.0> : tensor<8x32xf32>  vit.yield %0 : tensor<8x32xf32> }
vit.weight @odd : tensor<8x8xf32> { %0 = vit.literal dense<1.0> : tensor<8x8xf32>  vit.yield %0 : tensor<8x8xf32> }
// The tensor's scale, those of blocks over it, and codes by their product.
// CHECK: vit.weight @w.nvfp4.tensor : tensor<1xf32>
// CHECK: vit.amax %{{.*}} div 2.688000e+03
// CHECK: vit.weight @w.nvfp4.scale : tensor<8x2xf8E4M3FN>
// CHECK: vit.amax %{{.*}} block [1, 16] div 6.0
// CHECK: vit.round %{{.*}} : tensor<8x2xf32>, tensor<1xf32> -> tensor<8x2xf8E4M3FN>
// CHECK: vit.weight @w.nvfp4 : tensor<8x32xf4E2M1FN>
// CHECK: %[[P:.*]] = vit.mul %{{.*}} : tensor<8x2xf32>, tensor<1xf32>
// CHECK: vit.round %{{.*}}, %[[P]] block [1, 16]

// CHECK-LABEL: func.func @f
func.func @f(%x: tensor<?x32xf32>) -> tensor<?x8xf32> {
  %w = vit.get @w : tensor<8x32xf32>
  %odd = vit.get @odd : tensor<8x8xf32>
  // CHECK: %[[X:.*]] = vit.convert %{{.*}} : tensor<?x32xf32> to tensor<?x32xbf16>
  // CHECK: %[[R:.*]] = vit.linear %[[X]], %{{.*}} w_scales(%{{.*}} : tensor<8x2xf8E4M3FN>) layers ["b0.fc1"] : tensor<?x32xbf16>, tensor<8x32xf4E2M1FN> -> tensor<?x8xf32>
  // CHECK-SAME: epilogue(%{{.*}} [(d0, d1) -> ()] : tensor<1xf32>)
  // CHECK: arith.mulf
  // F16: vit.linear %{{.*}} layers ["b0.fc1"] : tensor<?x32xf16>, tensor<8x32xf4E2M1FN>
  // CHECK-NOT: vit.half
  %a = vit.linear %x, %w layers ["b0.fc1"] : tensor<?x32xf32>, tensor<8x32xf32> -> tensor<?x8xf32>
  // 8 columns are no block.
  // CHECK: vit.linear {{.*}}vit.precision_note = "its 8 columns are no multiple of 16, as blocks of nvfp4 are"{{.*}} : tensor<?x8xbf16>, tensor<8x8xbf16>
  // ODD: error: {{.*}}has 8 columns, expected a multiple of 16 for nvfp4
  %b = vit.linear %a, %odd layers ["b0.fc2"] {vit.precision = #vit<precision_kind nvfp4>} : tensor<?x8xf32>, tensor<8x8xf32> -> tensor<?x8xf32>
  return %b : tensor<?x8xf32>
}
