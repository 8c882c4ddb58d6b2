// RUN: not vitrify-opt %s --vit-prune-gates="tolerance=1.5 activity=x" 2>&1 | FileCheck %s --check-prefix=RANGE
// RUN: not vitrify-opt %s --vit-prune-gates="tolerance=0.1" 2>&1 | FileCheck %s --check-prefix=NEEDS
// RUN: not vitrify-opt %s --vit-prune-gates="activity=%t.nowhere" 2>&1 | FileCheck %s --check-prefix=NOWHERE
// RUN: vitrify-opt %s --vit-prune-gates --verify-diagnostics

// RANGE: error: the tolerance of pruning is 1.500000e+00, expected a number from 0 to below 1
// NEEDS: error: a tolerance needs what calibration saw of the neurons: give activity
// NOWHERE: error: {{.*}}nowhere
vit.weight @w1 : tensor<16x8xf32> { %0 = vit.literal dense<1.0> : tensor<16x8xf32>  vit.yield %0 : tensor<16x8xf32> }
vit.weight @w2 : tensor<8x16xf32> { %0 = vit.literal dense<0.0> : tensor<8x16xf32>  vit.yield %0 : tensor<8x16xf32> }
// A weight that something else looks at too is left alone.
func.func @f(%x: tensor<?x8xf32>) -> (tensor<?x8xf32>, tensor<16x8xf32>) {
  %w1 = vit.get @w1 : tensor<16x8xf32>
  %w2 = vit.get @w2 : tensor<8x16xf32>
  %0 = vit.linear %x, %w1 layers ["b0.fc1"] : tensor<?x8xf32>, tensor<16x8xf32> -> tensor<?x16xf32>
  %1 = vit.act relu %0 layers ["b0.act"] : tensor<?x16xf32>
  // expected-remark @below {{neurons of b0.fc1 stay: weight 'w1' is used elsewhere too}}
  %2 = vit.linear %1, %w2 layers ["b0.fc2"] : tensor<?x16xf32>, tensor<8x16xf32> -> tensor<?x8xf32>
  return %2, %w1 : tensor<?x8xf32>, tensor<16x8xf32>
}
