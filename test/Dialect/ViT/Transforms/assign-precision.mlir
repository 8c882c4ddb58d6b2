// RUN: vitrify-opt %s --vit-assign-precision="precision=fp8 half=f16 ranges=%S/Inputs/ranges.json keep=f32:b1.*" | FileCheck %s

func.func @f(%px: tensor<?x1x4x4xf32>, %pw: tensor<8x4xf32>, %x: tensor<?x8xf32>, %w: tensor<8x8xf32>) -> tensor<?x8xf32> {
  // Patch embedding and attention get 16 bits, block linears fp8, norms stay f32.
  // CHECK: vit.patch_embed {{.*}}vit.precision = #vit<precision_kind f16>
  %p = vit.patch_embed %px, %pw patch 2 x 2 layers ["embed.patch"] : tensor<?x1x4x4xf32>, tensor<8x4xf32> -> tensor<?x8xf32>
  // CHECK: vit.norm {{.*}}vit.precision = #vit<precision_kind f32>
  %n = vit.norm layer %p eps 1.0e-6 layers ["b0.ln1"] : tensor<?x8xf32> -> tensor<?x8xf32>
  // CHECK: vit.linear {{.*}}["b0.fc1"]{{.*}}vit.precision = #vit<precision_kind fp8>
  %a = vit.linear %n, %w layers ["b0.fc1"] : tensor<?x8xf32>, tensor<8x8xf32> -> tensor<?x8xf32>
  // The scores of a gate decide, so they keep 16 bits, and what only has such a name does not; so does the head, which is in no block.
  // CHECK: vit.linear {{.*}}["b0.gate"]{{.*}}vit.precision = #vit<precision_kind f16>
  %g = vit.linear %a, %w layers ["b0.gate"] : tensor<?x8xf32>, tensor<8x8xf32> -> tensor<?x8xf32>
  %on = vit.gate topk k 2 weight one %g layers ["b0.on"] : tensor<?x8xf32> -> tensor<?x8xf32>
  // CHECK: vit.linear {{.*}}["b0.mlp.gate"]{{.*}}vit.precision = #vit<precision_kind fp8>
  %u = vit.linear %on, %w layers ["b0.mlp.gate"] : tensor<?x8xf32>, tensor<8x8xf32> -> tensor<?x8xf32>
  // CHECK: vit.linear {{.*}}["head"]{{.*}}vit.precision = #vit<precision_kind f16>
  %h = vit.linear %u, %w layers ["head"] : tensor<?x8xf32>, tensor<8x8xf32> -> tensor<?x8xf32>
  // A rule by name wins, and is noted.
  // CHECK: vit.linear {{.*}}["b1.fc1"]{{.*}}vit.precision = #vit<precision_kind f32>, vit.precision_note = "rule f32:b1.*"
  %r = vit.linear %h, %w layers ["b1.fc1"] : tensor<?x8xf32>, tensor<8x8xf32> -> tensor<?x8xf32>
  %big = vit.norm layer %r eps 1.0e-6 layers ["big"] : tensor<?x8xf32> -> tensor<?x8xf32>
  // What f16 cannot be trusted with gets bf16.
  // CHECK: vit.attention {{.*}}vit.precision = #vit<precision_kind bf16>, vit.precision_note = "'big' reaches 9000, f16 is used to 8192"
  %t = vit.attention %big, %big, %big heads 2 kv_heads 2 scale 0.5 uniform 4 layers ["b2.attn"]
    : tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32> -> tensor<?x8xf32>
  return %t : tensor<?x8xf32>
}
