// RUN: not vitrify-opt %s --vit-narrow-residual="type=f8" 2>&1 | FileCheck %s --check-prefix=TYPE
// RUN: not vitrify-opt %s --vit-narrow-residual="type=f16 ranges=%S/Inputs/none-there.json" 2>&1 | FileCheck %s --check-prefix=FILE
// RUN: not vitrify-compile %s -o %t --target=sm_89 --residual=f8 2>&1 | FileCheck %s --check-prefix=OPTION

// TYPE: error: unknown type of the residual stream 'f8', expected f32, f16 or bf16
// FILE: error: {{.*}}none-there.json
// OPTION: error: unknown type of the residual stream 'f8', known are auto, f32, f16, bf16
func.func @f(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
  %r = vit.residual %x, %x layers ["b0.res1"] : tensor<?x8xf32>, tensor<?x8xf32> -> tensor<?x8xf32>
  return %r : tensor<?x8xf32>
}
