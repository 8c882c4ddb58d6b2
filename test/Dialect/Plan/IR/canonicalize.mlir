// RUN: vitrify-opt %s --canonicalize | FileCheck %s

plan.target "x86-64-v4" {
  // CHECK-LABEL: plan.program @views
  plan.program @views symbols [#plan.symbol<"n", 1, 1, 64>] arena(0) {
    %x = plan.buffer input "x" argument "x" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    // CHECK: %[[Y:.*]] = plan.buffer output
    %y = plan.buffer output "y" argument "y" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    // A view of a view is one view; a view from 0 on is its source; a buffer is never removed, used or not.
    // CHECK-NEXT: plan.buffer arena "unused"
    %u = plan.buffer arena "unused" shape(4) offset(0) size(16) : !plan.buffer<f32>
    // CHECK-NEXT: %[[V:.*]] = plan.view %[[Y]] offset(n * 8 + 16)
    // CHECK-NEXT: plan.copy %{{.*}} to %[[V]]
    %v = plan.view %y offset(n * 8) : !plan.buffer<f32>
    %w = plan.view %v offset(16) : !plan.buffer<f32>
    plan.copy %x to %w bytes(16) layers [] : !plan.buffer<f32>, !plan.buffer<f32>
    // CHECK-NEXT: plan.copy %{{.*}} to %[[Y]]
    %z = plan.view %y offset(0) : !plan.buffer<f32>
    plan.copy %x to %z bytes(16) layers [] : !plan.buffer<f32>, !plan.buffer<f32>
    plan.return %y : !plan.buffer<f32>
  }
}
