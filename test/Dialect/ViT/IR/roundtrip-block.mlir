// RUN: vitrify-opt %s | vitrify-opt | FileCheck %s

vit.source @ckpt path "model.safetensors" size 1024 header_sha256 "0000000000000000000000000000000000000000000000000000000000000000"
vit.weight @b0.q.w : tensor<96x96xf32> {
  %0 = vit.read @ckpt "q.weight" : tensor<96x96xf32>
  vit.yield %0 : tensor<96x96xf32>
}
vit.weight @b0.q.s : tensor<1xf32> {
  %0 = vit.literal dense<5.0e-1> : tensor<1xf32>
  vit.yield %0 : tensor<1xf32>
}

// CHECK-LABEL: func.func @block
func.func @block(%x: tensor<?x96xf32>, %b: tensor<96xf32>) -> tensor<?x96xf32> {
  %w = vit.get @b0.q.w : tensor<96x96xf32>
  // CHECK: vit.norm layer %{{.*}} eps {{.*}} layers ["b0.ln1"] : tensor<?x96xf32> -> tensor<?x96xf32>
  %n = vit.norm layer %x eps 1.0e-12 layers ["b0.ln1"] : tensor<?x96xf32> -> tensor<?x96xf32>
  // CHECK: vit.linear %{{.*}}, %{{.*}} layers ["b0.q"] : tensor<?x96xf32>, tensor<96x96xf32> -> tensor<?x96xf32>
  // CHECK-SAME: epilogue(%{{.*}} [(d0, d1) -> (d1)] : tensor<96xf32>) group 1
  %q = vit.linear %n, %w layers ["b0.q"] : tensor<?x96xf32>, tensor<96x96xf32> -> tensor<?x96xf32>
    epilogue(%b [(m, n) -> (n)] : tensor<96xf32>) group 1 {
  ^bb0(%acc: f32, %bias: f32):
    %r = arith.addf %acc, %bias : f32
    %g = vit.act gelu_erf %r : f32
    vit.yield %g : f32
  }
  // CHECK: vit.attention %{{.*}} heads 3 kv_heads 3 scale 1.000000e-01 uniform 17 layers ["b0.attn"]
  %a = vit.attention %q, %q, %q heads 3 kv_heads 3 scale 0.1 uniform 17 layers ["b0.attn"]
    : tensor<?x96xf32>, tensor<?x96xf32>, tensor<?x96xf32> -> tensor<?x96xf32>
  %z = vit.residual %x, %a layers ["b0.res1"] : tensor<?x96xf32>, tensor<?x96xf32> -> tensor<?x96xf32>
  return %z : tensor<?x96xf32>
}
