// RUN: vitrify-opt %s --vit-expose-values --verify-diagnostics

func.func @forward(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
  %0 = vit.act relu %x layers ["act"] : tensor<?x8xf32>
  // expected-error @+1 {{two values are called 'value:act'}}
  %1 = vit.act silu %0 layers ["act"] : tensor<?x8xf32>
  return %1 : tensor<?x8xf32>
}
