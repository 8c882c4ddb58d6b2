// RUN: vitrify-opt %s -o %t.mlir
// RUN: vitrify-opt %t.mlir | FileCheck %s
// RUN: vitrify-opt %s --emit-bytecode | vitrify-opt | diff %t.mlir -

// CHECK-LABEL: func.func @norm
func.func @norm(%x: tensor<?x96xf32>, %g: tensor<96xf32>, %h: tensor<32xbf16>, %s: tensor<1xf32>) {
  // Over all columns, over heads, without weights; statistics that leave as codes.
  // CHECK: %{{.*}} = vit.norm layer %{{.*}} gamma(%{{.*}} : tensor<96xf32>) beta(%{{.*}} : tensor<96xf32>) eps 1.562500e-02 layers ["n"] : tensor<?x96xf32> -> tensor<?x96xf32>
  %0 = vit.norm layer %x gamma(%g : tensor<96xf32>) beta(%g : tensor<96xf32>) eps 1.562500e-02 layers ["n"] : tensor<?x96xf32> -> tensor<?x96xf32>
  // CHECK: %{{.*}} = vit.norm rms %{{.*}} gamma(%{{.*}} : tensor<32xbf16>) eps 1.562500e-02 width 32 layers ["n"] : tensor<?x96xf32> -> tensor<?x96xbf16>
  %1 = vit.norm rms %x gamma(%h : tensor<32xbf16>) eps 1.562500e-02 width 32 layers ["n"] : tensor<?x96xf32> -> tensor<?x96xbf16>
  // CHECK: %{{.*}} = vit.norm rms %{{.*}} eps 1.562500e-02 layers ["n"] : tensor<?x96xf32> -> tensor<?x96xf32>
  %2 = vit.norm rms %x eps 1.562500e-02 layers ["n"] : tensor<?x96xf32> -> tensor<?x96xf32>
  // Scale and codes of each row: two results, one of them a column.
  // CHECK: vit.norm layer %{{.*}} eps 1.562500e-02 layers ["n", "fc1#in"] : tensor<?x96xf32> -> tensor<?x96xf8E4M3FN>, tensor<?x1xf32> epilogue() group 96 {
  // CHECK: vit.yield %{{.*}}, %{{.*}} : vector<96xf8E4M3FN>, f32
  %c, %a = vit.norm layer %x eps 1.562500e-02 layers ["n", "fc1#in"] : tensor<?x96xf32> -> tensor<?x96xf8E4M3FN>, tensor<?x1xf32> epilogue() group 96 {
  ^bb0(%acc: vector<96xf32>):
    %m = math.absf %acc : vector<96xf32>
    %most = vector.reduction <maximumf>, %m : vector<96xf32> into f32
    %v = vector.broadcast %most : f32 to vector<96xf32>
    %q = arith.divf %acc, %v : vector<96xf32>
    %e = vit.convert %q sat : vector<96xf32> to vector<96xf8E4M3FN>
    vit.yield %e, %most : vector<96xf8E4M3FN>, f32
  }
  return
}

// CHECK-LABEL: func.func @residual
func.func @residual(%x: tensor<?x96xf32>, %y: tensor<?x96xbf16>, %s: tensor<96xf32>) {
  // CHECK: %{{.*}} = vit.residual %{{.*}}, %{{.*}} layers ["r"] : tensor<?x96xf32>, tensor<?x96xbf16> -> tensor<?x96xf32>
  %0 = vit.residual %x, %y layers ["r"] : tensor<?x96xf32>, tensor<?x96xbf16> -> tensor<?x96xf32>
  // CHECK: %{{.*}} = vit.residual %{{.*}}, %{{.*}} scale(%{{.*}} : tensor<96xf32>) layers ["r"] : tensor<?x96xf32>, tensor<?x96xbf16> -> tensor<?x96xf32>
  %1 = vit.residual %x, %y scale(%s : tensor<96xf32>) layers ["r"] : tensor<?x96xf32>, tensor<?x96xbf16> -> tensor<?x96xf32>
  return
}
