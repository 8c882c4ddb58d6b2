// RUN: vitrify-opt %s --vit-narrow-residual="type=f16" | FileCheck %s
// RUN: vitrify-opt %s --vit-narrow-residual="type=f16" --vit-fuse-epilogue | FileCheck %s --check-prefix=FUSED
// RUN: vitrify-opt %s --vit-narrow-residual="type=f16 ranges=%S/Inputs/large-residual.json" 2>&1 | FileCheck %s --check-prefix=RANGE
// RUN: vitrify-opt %s --vit-narrow-residual | FileCheck %s --check-prefix=NONE

// NONE: vit.residual {{.*}} -> tensor<?x8xf32>
// NONE-NEXT: vit.norm layer %{{.*}} : tensor<?x8xf32> -> tensor<?x8xf32>
// RANGE: remark: the residual stream is bf16: 'b0.res1' reaches 9000, f16 is used to 8192
// RANGE: vit.convert %{{.*}} : tensor<?x8xf32> to tensor<?x8xbf16>

vit.weight @w : tensor<8x8xf32> { %0 = vit.literal dense<1.0> : tensor<8x8xf32>  vit.yield %0 : tensor<8x8xf32> }
vit.weight @w16 : tensor<8x8xf16> { %0 = vit.literal dense<1.0> : tensor<8x8xf16>  vit.yield %0 : tensor<8x8xf16> }
vit.weight @cls : tensor<1x8xf32> { %0 = vit.literal dense<1.0> : tensor<1x8xf32>  vit.yield %0 : tensor<1x8xf32> }

// The stream starts where rows are written first; what moves rows moves narrow ones, norms and residuals read them.
// CHECK-LABEL: func.func @block
// FUSED-LABEL: func.func @block
func.func @block(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
  %w = vit.get @w : tensor<8x8xf32>
  %h = vit.get @w16 : tensor<8x8xf16>
  %c = vit.get @cls : tensor<1x8xf32>
  // CHECK: %[[P:.*]] = vit.linear
  // CHECK: %[[P16:.*]] = vit.convert %[[P]] : tensor<?x8xf32> to tensor<?x8xf16>
  %p = vit.linear %x, %w layers ["embed.patch"] : tensor<?x8xf32>, tensor<8x8xf32> -> tensor<?x8xf32>
  // CHECK: %[[T:.*]] = vit.assemble_tokens %[[P16]] {{.*}} : tensor<?x8xf16> -> tensor<?x8xf16>
  %t = vit.assemble_tokens %p prefix(%c : tensor<1x8xf32>) uniform 4 layers ["embed.tokens"] : tensor<?x8xf32> -> tensor<?x8xf32>
  // CHECK: vit.norm layer %[[T]] {{.*}} : tensor<?x8xf16> -> tensor<?x8xf32>
  %n = vit.norm layer %t eps 1.0e-6 layers ["b0.ln1"] : tensor<?x8xf32> -> tensor<?x8xf32>
  // CHECK: %[[A:.*]] = vit.linear {{.*}} -> tensor<?x8xf32>
  // FUSED: vit.linear {{.*}} layers ["b0.proj", "b0.res1"] {{.*}} -> tensor<?x8xf16>
  // FUSED: arith.extf %{{.*}} : f16 to f32
  // FUSED: arith.addf
  // FUSED: arith.truncf %{{.*}} : f32 to f16
  %a = vit.linear %n, %w layers ["b0.proj"] : tensor<?x8xf32>, tensor<8x8xf32> -> tensor<?x8xf32>
  // CHECK: %[[R:.*]] = vit.residual %[[T]], %[[A]] layers ["b0.res1"] : tensor<?x8xf16>, tensor<?x8xf32> -> tensor<?x8xf32>
  // CHECK: %[[R16:.*]] = vit.convert %[[R]]
  %r = vit.residual %t, %a layers ["b0.res1"] : tensor<?x8xf32>, tensor<?x8xf32> -> tensor<?x8xf32>
  // A token that is narrowed after it was picked is narrowed before.
  // CHECK: %[[N:.*]] = vit.norm layer %[[R16]]
  // CHECK: %[[N16:.*]] = vit.convert %[[N]]
  // CHECK: %[[K:.*]] = vit.pool token 0 %[[N16]] {{.*}} : tensor<?x8xf16> -> tensor<?x8xf16>
  // CHECK: vit.linear %[[K]]
  %m = vit.norm layer %r eps 1.0e-6 layers ["norm"] : tensor<?x8xf32> -> tensor<?x8xf32>
  %k = vit.pool token 0 %m uniform 5 layers ["pool"] : tensor<?x8xf32> -> tensor<?x8xf32>
  %k16 = vit.convert %k : tensor<?x8xf32> to tensor<?x8xf16>
  %y = vit.linear %k16, %h layers ["head"] : tensor<?x8xf16>, tensor<8x8xf16> -> tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}

// A result stays f32, a linear of the stream gets f32 back, and an input is read as it is.
// CHECK-LABEL: func.func @others
func.func @others(%x: tensor<?x8xf32>, %s: tensor<?x8xf32>, %at: tensor<?xi32>) -> (tensor<?x8xf32>, tensor<?x8xf32>) {
  %w = vit.get @w : tensor<8x8xf32>
  // CHECK: %[[R:.*]] = vit.residual %{{.*}}, %{{.*}} : tensor<?x8xf32>, tensor<?x8xf32> -> tensor<?x8xf32>
  // CHECK: %[[R16:.*]] = vit.convert %[[R]]
  %r = vit.residual %x, %x layers ["b0.res1"] : tensor<?x8xf32>, tensor<?x8xf32> -> tensor<?x8xf32>
  // CHECK: vit.scatter_rows add %{{.*}} : tensor<?x8xf16>, tensor<?x8xf16>, tensor<?xi32> -> tensor<?x8xf16>
  %d = vit.scatter_rows add %r, %s, %at layers ["deep"] : tensor<?x8xf32>, tensor<?x8xf32>, tensor<?xi32> -> tensor<?x8xf32>
  // CHECK: vit.merge_patches %{{.*}} : tensor<?x8xf16> -> tensor<?x16xf16>
  %m = vit.merge_patches %d by 2 layers ["merge"] : tensor<?x8xf32> -> tensor<?x16xf32>
  // CHECK: vit.norm layer %{{.*}} : tensor<?x16xf16> -> tensor<?x16xf32>
  %n = vit.norm layer %m eps 1.0e-6 layers ["merge.norm"] : tensor<?x16xf32> -> tensor<?x16xf32>
  %l = vit.linear %r, %w layers ["tap"] : tensor<?x8xf32>, tensor<8x8xf32> -> tensor<?x8xf32>
  %k = vit.pool mean 0 %n uniform 2 layers ["pool"] : tensor<?x16xf32> -> tensor<?x16xf32>
  // CHECK: return %{{.*}}, %{{.*}} : tensor<?x8xf32>, tensor<?x8xf32>
  return %r, %l : tensor<?x8xf32>, tensor<?x8xf32>
}
