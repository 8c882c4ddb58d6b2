// RUN: vitrify-opt %s -o %t.mlir
// RUN: vitrify-opt %t.mlir | FileCheck %s
// RUN: vitrify-opt %s --emit-bytecode | vitrify-opt | diff %t.mlir -

// CHECK-LABEL: func.func @convert
func.func @convert(%x: tensor<?x96xf32>, %v: vector<4xf32>, %s: f32, %c: tensor<?x96xf8E4M3FN>) {
  // CHECK: %{{.*}} = vit.convert %{{.*}} sat : tensor<?x96xf32> to tensor<?x96xf8E4M3FN>
  %0 = vit.convert %x sat : tensor<?x96xf32> to tensor<?x96xf8E4M3FN>
  // CHECK: %{{.*}} = vit.convert %{{.*}} : vector<4xf32> to vector<4xf16>
  %1 = vit.convert %v : vector<4xf32> to vector<4xf16>
  // CHECK: %{{.*}} = vit.convert %{{.*}} sat : f32 to f8E4M3FN
  %2 = vit.convert %s sat : f32 to f8E4M3FN
  // CHECK: %{{.*}} = vit.convert %{{.*}} : tensor<?x96xf8E4M3FN> to tensor<?x96xbf16>
  %3 = vit.convert %c : tensor<?x96xf8E4M3FN> to tensor<?x96xbf16>
  return
}

// CHECK-LABEL: func.func @quantize
func.func @quantize(%x: tensor<?x96xf32>, %t: tensor<1xf32>, %k: tensor<96xf32>) {
  // CHECK: vit.quantize tensor %{{.*}} layers ["q"] : tensor<?x96xf32> -> tensor<?x96xf8E4M3FN>, tensor<1xf32>
  %0:2 = vit.quantize tensor %x layers ["q"] : tensor<?x96xf32> -> tensor<?x96xf8E4M3FN>, tensor<1xf32>
  // CHECK: vit.quantize tensor %{{.*}} scale(%{{.*}} : tensor<1xf32>) layers ["q"]
  %1:2 = vit.quantize tensor %x scale(%t : tensor<1xf32>) layers ["q"] : tensor<?x96xf32> -> tensor<?x96xf8E4M3FN>, tensor<1xf32>
  // CHECK: vit.quantize channel %{{.*}} scale(%{{.*}} : tensor<96xf32>) layers ["q"]
  %2:2 = vit.quantize channel %x scale(%k : tensor<96xf32>) layers ["q"] : tensor<?x96xf32> -> tensor<?x96xf8E4M3FN>, tensor<96xf32>
  // CHECK: vit.quantize token %{{.*}} layers ["q"]
  %3:2 = vit.quantize token %x layers ["q"] : tensor<?x96xf32> -> tensor<?x96xf8E4M3FN>, tensor<?x1xf32>
  // CHECK: vit.quantize block %{{.*}} block 32 layers ["q"]
  %4:2 = vit.quantize block %x block 32 layers ["q"] : tensor<?x96xf32> -> tensor<?x96xf8E4M3FN>, tensor<?x3xf32>
  return
}

// CHECK-LABEL: func.func @dequantize
func.func @dequantize(%c: tensor<?x96xf8E4M3FN>, %s: tensor<1xf32>, %k: tensor<96xbf16>, %r: tensor<?x1xf32>, %b: tensor<?x3xf32>) {
  // CHECK: %{{.*}} = vit.dequantize %{{.*}}, %{{.*}} layers ["q"] : tensor<?x96xf8E4M3FN>, tensor<1xf32> -> tensor<?x96xbf16>
  %0 = vit.dequantize %c, %s layers ["q"] : tensor<?x96xf8E4M3FN>, tensor<1xf32> -> tensor<?x96xbf16>
  // CHECK: %{{.*}} = vit.dequantize %{{.*}}, %{{.*}} layers ["q"] : tensor<?x96xf8E4M3FN>, tensor<?x1xf32> -> tensor<?x96xbf16>
  %1 = vit.dequantize %c, %r layers ["q"] : tensor<?x96xf8E4M3FN>, tensor<?x1xf32> -> tensor<?x96xbf16>
  // CHECK: %{{.*}} = vit.dequantize %{{.*}}, %{{.*}} layers ["q"] : tensor<?x96xf8E4M3FN>, tensor<?x3xf32> -> tensor<?x96xbf16>
  %2 = vit.dequantize %c, %b layers ["q"] : tensor<?x96xf8E4M3FN>, tensor<?x3xf32> -> tensor<?x96xbf16>
  return
}
