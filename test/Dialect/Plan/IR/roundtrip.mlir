// RUN: vitrify-opt %s -o %t.mlir
// RUN: vitrify-opt %t.mlir | FileCheck %s
// RUN: vitrify-opt %s --emit-bytecode | vitrify-opt | diff %t.mlir -

// CHECK: plan.target "sm_89" {
plan.target "sm_89" {
  // CHECK-NEXT: plan.kernel @row_norm kind "row" precision f32 sha256 "{{0+}}" scalars 1 buffers 4 metrics {registers = 40 : i64}
  plan.kernel @row_norm kind "row" precision f32 sha256 "0000000000000000000000000000000000000000000000000000000000000000" scalars 1 buffers 4 metrics {registers = 40 : i64}
  plan.kernel @linear_m16 kind "linear" precision f8e4m3 sha256 "0000000000000000000000000000000000000000000000000000000000000000" scalars 1 buffers 3
  plan.kernel @linear kind "linear" precision f8e4m3 sha256 "0000000000000000000000000000000000000000000000000000000000000000" scalars 1 buffers 3
  // CHECK: plan.weight @ln.g tensor "b0.ln1.g" : tensor<768xf32>
  plan.weight @ln.g tensor "b0.ln1.g" layout "nk" : tensor<768xf32>
  // CHECK: plan.weight @w tensor "b0.qkv.wq" layout "panels" : tensor<2304x768xf8E4M3FN>
  plan.weight @w tensor "b0.qkv.wq" layout "panels" : tensor<2304x768xf8E4M3FN>

  // CHECK: plan.program @encode symbols [#plan.symbol<"images", 1, 1, 64>] arena(0) {
  plan.program @encode symbols [#plan.symbol<"images", 1, 1, 64>] arena(0) {
    %x = plan.buffer input "x" argument "x" shape(images, 768) size(images * 3072) : !plan.buffer<f32>
    %y = plan.buffer output "y" argument "y" shape(images, 768) size(images * 3072) : !plan.buffer<f32>
    plan.copy %x to %y bytes(images * 3072) layers ["copy"] : !plan.buffer<f32>, !plan.buffer<f32>
    plan.return %y : !plan.buffer<f32>
  }

  // CHECK: plan.program @forward symbols [#plan.symbol<"images", 1, 8, 64>, #plan.symbol<"tokens", 0, 197, 4096>] arena(images * 605184 + 64)
  plan.program @forward symbols [#plan.symbol<"images", 1, 8, 64>, #plan.symbol<"tokens", 0, 197, 4096>] arena(images * 605184 + 64) {
    // CHECK-NEXT: %[[X:.*]] = plan.buffer input "pixels" argument "pixels" shape(images, 768) size(images * 3072) : !plan.buffer<f32>
    %x = plan.buffer input "pixels" argument "pixels" shape(images, 768) size(images * 3072) : !plan.buffer<f32>
    // CHECK-NEXT: plan.buffer arena "b0.qkv#in" shape(images * 197, 768) offset(64) size(images * 302592) numeric f8e4m3 scale @ln.g : !plan.buffer<bf16>
    %n = plan.buffer arena "b0.qkv#in" shape(images * 197, 768) offset(64) size(images * 302592) numeric f8e4m3 scale @ln.g : !plan.buffer<bf16>
    // CHECK-NEXT: %[[Y:.*]] = plan.buffer output "logits" argument "logits"
    %y = plan.buffer output "logits" argument "logits" shape(images, 768) size(images * 3072) : !plan.buffer<f32>
    // CHECK-NEXT: plan.launch layers ["b0.ln1", "b0.qkv#in"] dispatch(images) variants [#plan.variant<@row_norm, 0 to 9223372036854775807, grid(images * 197 ceildiv 4, 1, 1), block(128, 1, 1), shared 0>]
    // CHECK-SAME: args(images) weights [@ln.g, @ln.g] reads(%[[X]] : !plan.buffer<f32>) writes(%{{.*}} : !plan.buffer<bf16>)
    plan.launch layers ["b0.ln1", "b0.qkv#in"] dispatch(images)
      variants [#plan.variant<@row_norm, 0 to 9223372036854775807, grid((images * 197) ceildiv 4, 1, 1), block(128, 1, 1), shared 0>]
      args(images) weights [@ln.g, @ln.g] reads(%x : !plan.buffer<f32>) writes(%n : !plan.buffer<bf16>)
    // CHECK: plan.launch {{.*}} variants [#plan.variant<@linear_m16, 1 to 16, grid(1, 18, 1), block(128, 1, 1), shared 49152>, #plan.variant<@linear, 17 to 12608, grid(min(images, 4) - (tokens - 1) * 2, max(1, tokens mod 3), images floordiv -2), block(256, 1, 1), shared 0>]
    plan.launch layers ["b0.q"] dispatch(images * 197)
      variants [#plan.variant<@linear_m16, 1 to 16, grid(1, 18, 1), block(128, 1, 1), shared 49152>,
                #plan.variant<@linear, 17 to 12608, grid(min(images, 4) - (tokens - 1) * 2, max(1, tokens mod 3), images floordiv -2), block(256, 1, 1), shared 0>]
      args(tokens) weights [@w] reads(%n : !plan.buffer<bf16>) writes(%y : !plan.buffer<f32>)
    // CHECK: %[[V:.*]] = plan.view %[[Y]] offset(images * 1536) : !plan.buffer<f32>
    %v = plan.view %y offset(images * 1536) : !plan.buffer<f32>
    // CHECK-NEXT: plan.if(images - 1) {
    plan.if(images - 1) {
      // CHECK-NEXT: plan.call @encode layers ["again"] reads(%[[X]] : !plan.buffer<f32>) writes(%[[V]] : !plan.buffer<f32>)
      plan.call @encode layers ["again"] reads(%x : !plan.buffer<f32>) writes(%v : !plan.buffer<f32>)
    }
    // CHECK: plan.exit_if %[[Y]] exceeds {{.*}} : !plan.buffer<f32>
    plan.exit_if %y exceeds 0.9 : !plan.buffer<f32>
    // CHECK-NEXT: plan.return %[[Y]] : !plan.buffer<f32>
    plan.return %y : !plan.buffer<f32>
  }
}
// #plan.expr alone; brackets only where they are needed.
// CHECK: module attributes {test.e = #plan.expr<a - (b - c) * 2 - a>}
module attributes {test.e = #plan.expr<(a - ((b - c) * 2)) - a>} {}
