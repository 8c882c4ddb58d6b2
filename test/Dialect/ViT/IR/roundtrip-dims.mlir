// RUN: vitrify-opt %s | vitrify-opt | FileCheck %s

// CHECK: func.func private @f(tensor<?x3x?x8xf32> {vit.dims = [#vit.dim<"images", 1, 8, 64>, #vit.dim<"height", 8, 8, 8>], vit.name = "pixels"}, f32) -> (tensor<?x8xf32> {vit.name = "logits"})
func.func private @f(tensor<?x3x?x8xf32> {vit.name = "pixels", vit.dims = [#vit.dim<"images", 1, 8, 64>, #vit.dim<"height", 8, 8, 8>]}, f32)
  -> (tensor<?x8xf32> {vit.name = "logits"})
