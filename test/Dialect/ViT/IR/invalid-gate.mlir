// RUN: vitrify-opt %s --split-input-file --verify-diagnostics

// gate_c1: more than all
func.func @f(%s: tensor<?x16xf32>) {
  // expected-error @+1 {{expected a k from 1 to 16 and no threshold for topk}}
  %r = vit.gate topk k 17 weight one %s layers ["g"] : tensor<?x16xf32> -> tensor<?x16xf32>
  return
}

// -----

// gate_c1: none
func.func @f(%s: tensor<?x16xf32>) {
  // expected-error @+1 {{expected a k from 1 to 16 and no threshold for topk}}
  %r = vit.gate topk k 0 weight one %s layers ["g"] : tensor<?x16xf32> -> tensor<?x16xf32>
  return
}

// -----

// gate_c1: no k
func.func @f(%s: tensor<?x16xf32>) {
  // expected-error @+1 {{expected a k from 1 to 16 and no threshold for topk}}
  %r = vit.gate topk weight one %s layers ["g"] : tensor<?x16xf32> -> tensor<?x16xf32>
  return
}

// -----

// gate_c1: k and a threshold
func.func @f(%s: tensor<?x16xf32>) {
  // expected-error @+1 {{expected a finite threshold and no k for threshold}}
  %r = vit.gate threshold k 4 at 0.5 weight one %s layers ["g"] : tensor<?x16xf32> -> tensor<?x16xf32>
  return
}

// -----

// gate_c1: an infinite threshold
func.func @f(%s: tensor<?x16xf32>) {
  // expected-error @+1 {{expected a finite threshold and no k for threshold}}
  %r = vit.gate threshold at 0x7FF0000000000000 weight one %s layers ["g"] : tensor<?x16xf32> -> tensor<?x16xf32>
  return
}

// -----

// gate_c1: an unknown number of blocks
func.func @f(%s: tensor<?x?xf32>) {
  // expected-error @+1 {{expected a static number of blocks, found 'tensor<?x?xf32>'}}
  %r = vit.gate topk k 4 weight one %s layers ["g"] : tensor<?x?xf32> -> tensor<?x16xf32>
  return
}

// -----

// gate_c2: another count of blocks
func.func @f(%s: tensor<?x16xf32>) {
  // expected-error @+1 {{expected result [?, 16], found 'tensor<?x15xf32>'}}
  %r = vit.gate topk k 4 weight one %s layers ["g"] : tensor<?x16xf32> -> tensor<?x15xf32>
  return
}
