// RUN: vitrify-opt %s --vit-fold-qdq --verify-diagnostics --split-input-file

// What does not fold stays, and says why.
vit.weight @s : tensor<1xf32> { %0 = vit.literal dense<0.5> : tensor<1xf32>  vit.yield %0 : tensor<1xf32> }
vit.weight @t : tensor<8x1xf32> { %0 = vit.literal dense<2.0> : tensor<8x1xf32>  vit.yield %0 : tensor<8x1xf32> }
vit.weight @c : tensor<8x8xf8E4M3FN> { %0 = vit.literal dense<1.0> : tensor<8x8xf8E4M3FN>  vit.yield %0 : tensor<8x8xf8E4M3FN> }
func.func @weight_only(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
  %t = vit.get @t : tensor<8x1xf32>
  %c = vit.get @c : tensor<8x8xf8E4M3FN>
  %1 = vit.dequantize %c, %t layers ["w"] : tensor<8x8xf8E4M3FN>, tensor<8x1xf32> -> tensor<8x8xf32>
  // expected-remark @below {{layer "b0.fc1" keeps its dequantisation: its input is not quantised}}
  %2 = vit.linear %x, %1 layers ["b0.fc1"] : tensor<?x8xf32>, tensor<8x8xf32> -> tensor<?x8xf32>
  return %2 : tensor<?x8xf32>
}
func.func @by_block(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
  %t = vit.get @t : tensor<8x1xf32>
  %c = vit.get @c : tensor<8x8xf8E4M3FN>
  %q, %s = vit.quantize block %x block 4 layers ["x"] : tensor<?x8xf32> -> tensor<?x8xf8E4M3FN>, tensor<?x2xf32>
  %0 = vit.dequantize %q, %s layers ["x"] : tensor<?x8xf8E4M3FN>, tensor<?x2xf32> -> tensor<?x8xf32>
  %1 = vit.dequantize %c, %t layers ["w"] : tensor<8x8xf8E4M3FN>, tensor<8x1xf32> -> tensor<8x8xf32>
  // expected-remark @below {{layer "b0.fc1" keeps its dequantisation: a scale is found at run time}}
  %2 = vit.linear %0, %1 layers ["b0.fc1"] : tensor<?x8xf32>, tensor<8x8xf32> -> tensor<?x8xf32>
  return %2 : tensor<?x8xf32>
}
