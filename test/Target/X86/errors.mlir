// RUN: not vitrify-kernels %s 2>&1 | FileCheck %s
// RUN: not vitrify-kernels %s --target=x86-64-v5 2>&1 | FileCheck %s --check-prefix=TARGET

// An op without a kernel is named in one error, with the reason.
// CHECK: error: no kernel for vit.linear on x86-64-v4-bf16: a second factor that is no weight of the module
// CHECK-NOT: error:
// TARGET: unknown target 'x86-64-v5', known are x86-64-v3, x86-64-v4, x86-64-v4-vnni, x86-64-v4-bf16, sm_89
func.func @f(%x: tensor<?x8xf32>, %w: tensor<16x8xf32>) {
  %a = vit.linear %x, %w layers ["fc"] : tensor<?x8xf32>, tensor<16x8xf32> -> tensor<?x16xf32>
  return
}
