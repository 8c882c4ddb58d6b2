// RUN: not vitrify-opt %s --vit-merge-weights=by-name 2>&1 | FileCheck %s --check-prefix=OPTION
// RUN: vitrify-opt %s --vit-merge-weights --verify-diagnostics

// OPTION: error: <Pass-Options-Parser>: no such option by-name
module {
  vit.weight @a : tensor<1xf32> { %0 = vit.literal dense<1.0> : tensor<1xf32>  vit.yield %0 : tensor<1xf32> }
  // expected-remark @below {{weight 'b' is 'a'}}
  vit.weight @b : tensor<1xf32> { %0 = vit.literal dense<1.0> : tensor<1xf32>  vit.yield %0 : tensor<1xf32> }
}
