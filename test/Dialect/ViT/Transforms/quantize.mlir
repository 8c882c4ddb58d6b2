// RUN: vitrify-opt %s --vit-quantize="ranges=%S/Inputs/ranges.json" | FileCheck %s
// RUN: vitrify-opt %s --vit-quantize="ranges=%S/Inputs/ranges.json activations=static" | FileCheck %s --check-prefix=STATIC
// RUN: vitrify-opt %s --vit-quantize="activations=token" | FileCheck %s --check-prefix=TOKEN

vit.weight @w : tensor<8x8xf32> { %0 = vit.literal dense<1.0> : tensor<8x8xf32>  vit.yield %0 : tensor<8x8xf32> }
// One scale an output channel, codes by recipe; the activation's scale is its range / 448.
// CHECK: vit.weight @b0.ln1.scale : tensor<1xf32>
// CHECK: vit.literal dense<1.000000e-01> : tensor<1xf32>
// CHECK: vit.weight @w.scale : tensor<8xf32>
// CHECK: vit.amax %{{.*}} axis 1 div 4.480000e+02
// CHECK: vit.weight @w.e4m3 : tensor<8x8xf8E4M3FN>
// CHECK: vit.round

// CHECK-LABEL: func.func @f
func.func @f(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
  %w = vit.get @w : tensor<8x8xf32>
  // CHECK: %[[N:.*]] = vit.norm
  %n = vit.norm layer %x eps 1.0e-6 layers ["b0.ln1"] : tensor<?x8xf32> -> tensor<?x8xf32>
  // CHECK: %[[C:.*]], %{{.*}} = vit.quantize tensor %[[N]] scale(%[[S:.*]] : tensor<1xf32>)
  // CHECK: %[[D:.*]] = vit.dequantize %[[C]], %[[S]]
  // CHECK: %[[W:.*]] = vit.dequantize %{{.*}}, %{{.*}} layers ["w"] : tensor<8x8xf8E4M3FN>, tensor<8x1xf32>
  // CHECK: vit.linear %[[D]], %[[W]]
  // CHECK-NOT: vit.precision
  %a = vit.linear %n, %w layers ["b0.fc1"] {vit.precision = #vit<precision_kind fp8>} : tensor<?x8xf32>, tensor<8x8xf32> -> tensor<?x8xf32>
  // CHECK: vit.convert %{{.*}} : tensor<?x8xf32> to tensor<?x8xbf16>
  // CHECK: vit.linear %{{.*}}, %{{.*}} layers ["head"] : tensor<?x8xbf16>, tensor<8x8xbf16> -> tensor<?x8xf32>
  %h = vit.linear %a, %w layers ["head"] {vit.precision = #vit<precision_kind bf16>} : tensor<?x8xf32>, tensor<8x8xf32> -> tensor<?x8xf32>
  // f32 is left alone.
  // CHECK: vit.linear %{{.*}}, %{{.*}} layers ["tail"] : tensor<?x8xf32>, tensor<8x8xf32> -> tensor<?x8xf32>
  %t = vit.linear %h, %w layers ["tail"] {vit.precision = #vit<precision_kind f32>} : tensor<?x8xf32>, tensor<8x8xf32> -> tensor<?x8xf32>
  return %t : tensor<?x8xf32>
}

// int8: by token where a norm makes the value, else by its range over 127; by token too where there is no range.
// CHECK-LABEL: func.func @int8
// STATIC-LABEL: func.func @int8
// TOKEN-LABEL: func.func @int8
func.func @int8(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
  %w = vit.get @w : tensor<8x8xf32>
  %n = vit.norm layer %x eps 1.0e-6 layers ["b0.ln1"] : tensor<?x8xf32> -> tensor<?x8xf32>
  // CHECK: %[[C:.*]], %[[S:.*]] = vit.quantize token %{{.*}} layers ["b0.ln1#i8"] : tensor<?x8xf32> -> tensor<?x8xi8>, tensor<?x1xf32>
  // CHECK: vit.dequantize %[[C]], %[[S]]
  // CHECK: vit.dequantize %{{.*}}, %{{.*}} layers ["w"] : tensor<8x8xi8>, tensor<8x1xf32>
  // STATIC: vit.get @b0.ln1.scale.i8 : tensor<1xf32>
  // STATIC: vit.quantize tensor
  // TOKEN: vit.quantize token
  %a = vit.linear %n, %w layers ["b0.qkv"] {vit.precision = #vit<precision_kind int8>} : tensor<?x8xf32>, tensor<8x8xf32> -> tensor<?x8xf32>
  %b = vit.residual %a, %x layers ["b0.ln1"] : tensor<?x8xf32>, tensor<?x8xf32> -> tensor<?x8xf32>
  // CHECK: vit.get @b0.ln1.scale.i8 : tensor<1xf32>
  // CHECK: vit.quantize tensor
  // STATIC: vit.quantize tensor
  // TOKEN: vit.quantize token
  %c = vit.linear %b, %w layers ["b0.proj"] {vit.precision = #vit<precision_kind int8>} : tensor<?x8xf32>, tensor<8x8xf32> -> tensor<?x8xf32>
  return %c : tensor<?x8xf32>
}
