// RUN: not vitrify-opt %s --vit-skip-zeros=density=0.5 2>&1 | FileCheck %s --check-prefix=OPTION
// RUN: vitrify-opt %s --vit-skip-zeros --verify-diagnostics

// OPTION: error: <Pass-Options-Parser>: no such option density
func.func @f(%x: tensor<?x8xf32>, %w: tensor<16x8xf32>) -> tensor<?x16xf32> {
  %0 = vit.act relu %x layers ["act"] : tensor<?x8xf32>
  // expected-remark @below {{layer "fc" skips columns of its input that are 0 in all rows it computes at once}}
  %1 = vit.linear %0, %w layers ["fc"] : tensor<?x8xf32>, tensor<16x8xf32> -> tensor<?x16xf32>
  return %1 : tensor<?x16xf32>
}
