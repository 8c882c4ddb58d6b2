// RUN: not vitrify-opt %s --vit-quantize 2>&1 | FileCheck %s --check-prefix=NONE
// RUN: not vitrify-opt %s --vit-quantize="ranges=%S/Inputs/ranges.json" 2>&1 | FileCheck %s --check-prefix=LACKS
// RUN: not vitrify-opt %s --vit-quantize="ranges=%S/Inputs/zero.json" 2>&1 | FileCheck %s --check-prefix=ZERO
// RUN: not vitrify-opt %s --vit-quantize="ranges=%S/Inputs/negative.json" 2>&1 | FileCheck %s --check-prefix=NEGATIVE
// RUN: not vitrify-opt %s --vit-quantize="ranges=%S/Inputs/nan.json" 2>&1 | FileCheck %s --check-prefix=NAN
// RUN: not vitrify-opt %s --vit-quantize="ranges=%S/Inputs/newer.json" 2>&1 | FileCheck %s --check-prefix=NEWER

// NONE: error: 'vit.linear' op needs the range of its input 'b7.ln1': give ranges.json (vitrify calibrate)
// LACKS: error: 'vit.linear' op needs the range of its input 'b7.ln1', which {{.*}}ranges.json lacks
// ZERO: error: {{.*}}zero.json: values.x.amax: expected a positive number from 1e-30 to 1e30, found 0
// NEGATIVE: error: {{.*}}negative.json: values.x.range: expected a positive number from 1e-30 to 1e30, found -2.5
// NAN: error: {{.*}}nan.json
// NEWER: error: {{.*}}newer.json: format 2 of ranges, this compiler reads 1
vit.weight @w : tensor<8x8xf32> { %0 = vit.literal dense<1.0> : tensor<8x8xf32>  vit.yield %0 : tensor<8x8xf32> }
func.func @f(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
  %w = vit.get @w : tensor<8x8xf32>
  %n = vit.norm layer %x eps 1.0e-6 layers ["b7.ln1"] : tensor<?x8xf32> -> tensor<?x8xf32>
  %a = vit.linear %n, %w layers ["b0.fc1"] {vit.precision = #vit<precision_kind fp8>} : tensor<?x8xf32>, tensor<8x8xf32> -> tensor<?x8xf32>
  return %a : tensor<?x8xf32>
}
