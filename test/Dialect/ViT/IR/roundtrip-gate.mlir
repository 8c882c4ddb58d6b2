// RUN: vitrify-opt %s -o %t.mlir
// RUN: vitrify-opt %t.mlir | FileCheck %s
// RUN: vitrify-opt %s --emit-bytecode | vitrify-opt | diff %t.mlir -

// CHECK-LABEL: func.func @gate
func.func @gate(%s: tensor<?x16xf32>) {
  // CHECK: %{{.*}} = vit.gate topk k 4 weight one %{{.*}} layers ["g"] : tensor<?x16xf32> -> tensor<?x16xf32>
  %0 = vit.gate topk k 4 weight one %s layers ["g"] : tensor<?x16xf32> -> tensor<?x16xf32>
  // CHECK: %{{.*}} = vit.gate topk k 4 weight score %{{.*}} layers ["g"] : tensor<?x16xf32> -> tensor<?x16xf32>
  %1 = vit.gate topk k 4 weight score %s layers ["g"] : tensor<?x16xf32> -> tensor<?x16xf32>
  // CHECK: %{{.*}} = vit.gate topk k 4 weight sigmoid %{{.*}} layers ["g"] : tensor<?x16xf32> -> tensor<?x16xf32>
  %2 = vit.gate topk k 4 weight sigmoid %s layers ["g"] : tensor<?x16xf32> -> tensor<?x16xf32>
  // CHECK: %{{.*}} = vit.gate topk k 4 weight softmax %{{.*}} layers ["g"] : tensor<?x16xf32> -> tensor<?x16xf32>
  %3 = vit.gate topk k 4 weight softmax %s layers ["g"] : tensor<?x16xf32> -> tensor<?x16xf32>
  // CHECK: %{{.*}} = vit.gate threshold at 2.500000e-01 weight one %{{.*}} layers ["g"] : tensor<?x16xf32> -> tensor<?x16xf32>
  %4 = vit.gate threshold at 2.500000e-01 weight one %s layers ["g"] : tensor<?x16xf32> -> tensor<?x16xf32>
  // CHECK: %{{.*}} = vit.gate threshold at 2.500000e-01 weight score %{{.*}} layers ["g"] : tensor<?x16xf32> -> tensor<?x16xf32>
  %5 = vit.gate threshold at 2.500000e-01 weight score %s layers ["g"] : tensor<?x16xf32> -> tensor<?x16xf32>
  // CHECK: %{{.*}} = vit.gate threshold at 2.500000e-01 weight sigmoid %{{.*}} layers ["g"] : tensor<?x16xf32> -> tensor<?x16xf32>
  %6 = vit.gate threshold at 2.500000e-01 weight sigmoid %s layers ["g"] : tensor<?x16xf32> -> tensor<?x16xf32>
  // CHECK: %{{.*}} = vit.gate threshold at 2.500000e-01 weight softmax %{{.*}} layers ["g"] : tensor<?x16xf32> -> tensor<?x16xf32>
  %7 = vit.gate threshold at 2.500000e-01 weight softmax %s layers ["g"] : tensor<?x16xf32> -> tensor<?x16xf32>
  return
}
