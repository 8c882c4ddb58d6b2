//===- Passes.td - passes over the vit dialect -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// One entry a pass, in the order in which the pipelines run them (lib/Pipelines/Pipelines.cpp is the only place that says
// so). A pass X is lib/Dialect/ViT/Transforms/X.cpp, test/Dialect/ViT/Transforms/<x>.mlir and <x>-errors.mlir.
//===----------------------------------------------------------------------===//
#ifndef VITRIFY_DIALECT_VIT_TRANSFORMS_PASSES_TD
#define VITRIFY_DIALECT_VIT_TRANSFORMS_PASSES_TD
include "mlir/Pass/PassBase.td"

def MergeWeights : Pass<"vit-merge-weights", "::mlir::ModuleOp"> {
  let summary = "one vit.weight for equal recipes";
  let description = [{
    Weights whose regions are equal (same sources, tensors and steps) become one symbol; uses are redirected. Works from
    the leaves up, so recipes over merged weights are merged too.

    ```mlir
    vit.weight @a : tensor<8xf32> { %0 = vit.read @ckpt "x" : tensor<8xf32>  vit.yield %0 : tensor<8xf32> }
    vit.weight @b : tensor<8xf32> { %0 = vit.read @ckpt "x" : tensor<8xf32>  vit.yield %0 : tensor<8xf32> }
    ```
    leaves `@a`; `vit.get @b` becomes `vit.get @a`.
  }];
  let statistics = [Statistic<"merged", "weights-merged", "weights that were equal to another one">];
}

def FuseQKV : Pass<"vit-fuse-qkv", "::mlir::ModuleOp"> {
  let summary = "linears of one input become one linear";
  let description = [{
    Linears that read the same value, differ only in weights and have equal epilogues whose operands are all weights
    indexed by column are joined: weights and operands are concatenated by recipe, and the results are slices.

    `%q = linear %n, %qw`, `%k = linear %n, %kw`, `%v = linear %n, %vw` become `%qkv = linear %n, %qkvw` and three
    `tensor.extract_slice`.
  }];
  let statistics = [Statistic<"fused", "linears-fused", "linears that were joined into another one">];
  let dependentDialects = ["::mlir::tensor::TensorDialect"];
}

def AssignPrecision : Pass<"vit-assign-precision", "::mlir::ModuleOp"> {
  let summary = "says in which number format each layer computes";
  let description = [{
    Puts `vit.precision` on every computing op: linears of encoder blocks get the precision asked for; for fp8, attention,
    patch embedding, head and gates get 16 bits (`half`), and what moves or normalises rows stays f32. Rules
    `PRECISION:PATTERN` (a layer name with * and ?) override, later ones first. A 16-bit op in f16 whose operands exceed
    8,192 by the calibrated ranges gets bf16. Why a layer differs from what was asked for is kept in `vit.precision_note`.
  }];
  let options = [
    Option<"precision", "precision", "std::string", "\"f32\"", "f32, bf16, f16 or fp8">,
    Option<"half", "half", "std::string", "\"bf16\"", "16-bit format of the target: bf16 or f16">,
    ListOption<"keep", "keep", "std::string", "rules PRECISION:PATTERN">,
    Option<"ranges", "ranges", "std::string", "\"\"", "ranges.json, for the limit of f16">
  ];
  let statistics = [Statistic<"overridden", "layers-overridden", "layers that a rule or a range decided">];
}

def Quantize : Pass<"vit-quantize", "::mlir::ModuleOp"> {
  let summary = "inserts conversions: quantise/dequantise pairs for fp8, casts for 16 bits";
  let description = [{
    Linears of precision fp8 get their input through vit.quantize and vit.dequantize with the static scale amax / 448 of
    the value's range, and their weight as E4M3 codes with one scale an output channel, both steps of its recipe. Ops of 16
    bits get vit.convert on their inputs and vit.cast in their weights' recipes. Results stay f32.

    A value without a range in the file is an error that names it.
  }];
  let options = [Option<"ranges", "ranges", "std::string", "\"\"", "ranges.json">];
  let statistics = [Statistic<"quantized", "linears-quantized", "linears that take E4M3">,
                    Statistic<"narrowed", "ops-narrowed", "ops that take 16 bits">];
}

def FoldQDQ : Pass<"vit-fold-qdq", "::mlir::ModuleOp"> {
  let summary = "dequantise before a linear becomes a scale after it";
  let description = [{
    `linear(dequantize(c, s), dequantize(w, t))` with a per-tensor s and a per-channel or per-tensor t becomes a linear of
    the codes whose epilogue begins with `acc * (s t)`; s t is a weight. The only pass that makes typed linears, whatever
    made the pairs. What does not fold (other granularities) gets a remark and stays.
  }];
  let statistics = [Statistic<"folded", "linears-folded", "linears that now take codes">];
}

def FuseEpilogue : Pass<"vit-fuse-epilogue", "::mlir::ModuleOp"> {
  let summary = "moves elementwise ops into the epilogue of their producer";
  let description = [{
    An activation, residual, conversion or static quantisation whose operand is the only use of a linear, patch embedding,
    norm or attention moves into its epilogue; operands of the moved op become epilogue operands. Products that are then
    added become math.fma. What stays apart gets a remark that says why. In a pipeline for a target, an op stays apart when
    the target has no kernel for the two together.
  }];
  let statistics = [Statistic<"fused", "ops-fused", "ops that moved into an epilogue">];
}

def ScheduleWeights : Pass<"vit-schedule-weights", "::mlir::ModuleOp"> {
  let summary = "orders weights by first use and drops those that nothing uses";
  let description = [{
    The order of vit.weight ops is the order in which the bundle stores and a run streams them. Weights that no entry
    reaches are erased.
  }];
  let statistics = [Statistic<"dropped", "weights-dropped", "weights that nothing uses">];
}
#endif
