// RUN: vitrify-reduce %s --reduction-tree='traversal-mode=0 test=%S/Inputs/has-gate.sh' | FileCheck %s

// What does not matter to the test is gone, what does is there.
// CHECK-NOT: func.func @other
// CHECK: vit.gate topk k 4
// CHECK-NOT: func.func @other
func.func @gate(%s: tensor<?x16xf32>) -> tensor<?x16xf32> {
  %r = vit.gate topk k 4 weight one %s layers ["g"] : tensor<?x16xf32> -> tensor<?x16xf32>
  return %r : tensor<?x16xf32>
}
func.func @other(%s: tensor<?x16xf32>) -> tensor<?x16xf32> {
  %r = vit.act relu %s layers ["a"] : tensor<?x16xf32>
  return %r : tensor<?x16xf32>
}
