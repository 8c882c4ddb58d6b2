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

def DeduplicateWeights : Pass<"vit-deduplicate-weights", "::mlir::ModuleOp"> {
  let summary = "one stored weight for layers that have the same one";
  let description = [{
    Looks at the values in the checkpoint. Tensors of one type with the same bytes are read from the first of them, so that
    vit-merge-weights sees equal recipes; across layers, files and models of a module. A matrix that is another one times a
    number (or a number for each row), rounded to its type, becomes that one, and the number an epilogue's factor; linears
    beside it get factors of 1, so that they still join. With a tolerance `low-rank`, a matrix that is another one plus a
    difference of low rank becomes that one and two thin linears; the relative error (Frobenius) is at most the tolerance.

    `linear(x, b)` with b = 0.5 a becomes
    ```mlir
    %y = vit.linear %x, %a ... epilogue(%ratio [(m, n) -> (n)] : tensor<8xf32>) group 1 {
    ^bb0(%acc: f32, %factor: f32):
      %0 = arith.mulf %acc, %factor : f32
      vit.yield %0 : f32
    }
    ```
    A source whose file is not there is left alone, with a remark. What was shared is appended to `vit.report`.
  }];
  let options = [
    Option<"folder", "folder", "std::string", "\"\"", "where relative paths of sources start; none: where the module's file is">,
    Option<"scaled", "scaled", "bool", "true", "share matrices that are equal up to a factor">,
    Option<"lowRank", "low-rank", "double", "0.0", "largest relative error of a matrix replaced by another one and a difference of low rank; 0: none">
  ];
  let statistics = [Statistic<"shared", "tensors-shared", "tensors that another one stands for">,
                    Statistic<"sharedBytes", "bytes-shared", "bytes of the checkpoint that are not stored">];
  let dependentDialects = ["::mlir::arith::ArithDialect"];
}

def PruneGates : Pass<"vit-prune-gates", "::mlir::ModuleOp"> {
  let summary = "neurons that never do anything leave both linears of their MLP";
  let description = [{
    An MLP is one linear (two for a gated linear unit), elementwise ops, perhaps a gate of blocks, and a second linear. A
    neuron leaves when its contribution is provably 0 for every input: its weights in the second linear are 0, its bounds
    show that a ReLU never lets it through (the output of a norm has at most the length sqrt(K)), or a gate never chooses
    its block (other blocks always score more). That changes no result; with one order of summation not even its rounding.

    With `activity`, what calibration saw of the neurons (vitrify calibrate --activity), neurons that never fired leave too,
    and with a `tolerance` those that the others can stand for: the second linear's weights are solved again so that its
    output changes least (optimal brain surgeon), as long as its relative error over the calibration images is at most the
    tolerance; the new weights go to a file beside the activity. Blocks of a gate leave whole. Neurons are kept in multiples
    of 16. Weights that several layers share lose only what is dead in all. What left is appended to `vit.report`.

    `%w1 : tensor<256x64xf32>` and `%w2 : tensor<64x256xf32>` with 100 dead neurons become
    ```mlir
    vit.weight @fc1.kept : tensor<160x64xf32> { ... vit.gather %0 axis 0 [0, 3, ...] ... }
    vit.weight @fc2.kept : tensor<64x160xf32> { ... vit.gather %0 axis 1 [0, 3, ...] ... }
    ```
  }];
  let options = [
    Option<"folder", "folder", "std::string", "\"\"", "where relative paths of sources start; none: where the module's file is">,
    Option<"activity", "activity", "std::string", "\"\"", "what calibration saw of the neurons; none: only what is provable">,
    Option<"tolerance", "tolerance", "double", "0.0", "largest relative error of a second linear's output">
  ];
  let statistics = [Statistic<"prunedExact", "neurons-exact", "neurons that provably did nothing">,
                    Statistic<"prunedApproximate", "neurons-approximate", "neurons that calibration speaks against">];
  let dependentDialects = ["::mlir::arith::ArithDialect"];
}

def FuseQKV : Pass<"vit-fuse-qkv", "::mlir::ModuleOp"> {
  let summary = "linears of one input become one linear";
  let description = [{
    Linears that read the same value, differ only in weights and have equal epilogues whose operands are all weights
    indexed by column, or the same scalars and scales of rows, are joined: weights and operands are concatenated by recipe,
    scales of weight blocks with them, and the results are slices.

    `%q = linear %n, %qw`, `%k = linear %n, %kw`, `%v = linear %n, %vw` become `%qkv = linear %n, %qkvw` and three
    `tensor.extract_slice`.
  }];
  let statistics = [Statistic<"fused", "linears-fused", "linears that were joined into another one">];
  let dependentDialects = ["::mlir::tensor::TensorDialect"];
}

def FoldNormalisation : Pass<"vit-fold-normalisation", "::mlir::ModuleOp"> {
  let summary = "entries take frames of bytes: rescaling, mean and deviation go into the patch embedding";
  let description = [{
    An f32 argument that a patch embedding alone reads becomes ui8, an image's bytes as they are. With
    `x = (byte * rescale - mean) / std` by channel, the weight's columns are multiplied by rescale / std, and what
    - mean / std adds for each output is one operand of the epilogue; both are recipes. With `interleaved` the argument becomes
    [B, H, W, C], and the weight's columns are put in that order. `dims` of arguments follow.

    `%p = patch_embed %pixels, %w` of tensor<?x3x224x224xf32> becomes, interleaved,
    ```mlir
    %p = vit.patch_embed %pixels, %w.frames patch 16 x 16 interleaved ... : tensor<?x224x224x3xui8>, ...
      epilogue(%shift [(m, n) -> (n)] : tensor<768xf32>) group 1 {
    ^bb0(%acc: f32, %s: f32):
      %r = arith.addf %acc, %s : f32
      vit.yield %r : f32
    }
    ```
  }];
  let options = [
    Option<"rescale", "rescale", "double", "1.0 / 255", "factor of a byte">,
    ListOption<"mean", "mean", "double", "by channel; none: nothing is subtracted">,
    ListOption<"deviation", "std", "double", "by channel, as many as means">,
    Option<"interleaved", "interleaved", "bool", "false", "frames are [B, H, W, C]">
  ];
  let statistics = [Statistic<"folded", "inputs-folded", "inputs that became frames of bytes">];
  let dependentDialects = ["::mlir::arith::ArithDialect"];
}

def FuseGLU : Pass<"vit-fuse-glu", "::mlir::ModuleOp"> {
  let summary = "the two linears of a gated linear unit become one that computes the unit in its epilogue";
  let description = [{
    Where `vit.glu` reads two linears of one input that nothing else reads, their rows are put in turns by recipe, gate before up,
    so that the two sums of a neuron lie side by side, and the unit is an epilogue over pairs of columns.

    `glu silu (linear %x, %g), (linear %x, %u)` becomes
    ```mlir
    %h = vit.linear %x, %gu ... epilogue() group 2 {
    ^bb0(%acc: vector<2xf32>):
      %0 = vector.extract %acc[0] : f32 from vector<2xf32>
      %1 = vector.extract %acc[1] : f32 from vector<2xf32>
      %2 = vit.act silu %0 : f32
      %3 = arith.mulf %2, %1 : f32
      vit.yield %3 : f32
    }
    ```
  }];
  let statistics = [Statistic<"fused", "units-fused", "gated units that became an epilogue">];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::vector::VectorDialect"];
}

def AssignPrecision : Pass<"vit-assign-precision", "::mlir::ModuleOp"> {
  let summary = "says in which number format each layer computes";
  let description = [{
    Puts `vit.precision` on every computing op: linears of encoder blocks get the precision asked for; for fp8, int8 and nvfp4, attention,
    patch embedding, head and gates get 16 bits (`half`), and what moves or normalises rows stays f32. Rules
    `PRECISION:PATTERN` (a layer name with * and ?) override, later ones first. A 16-bit op in f16 whose operands exceed
    8,192 by the calibrated ranges gets bf16. Why a layer differs from what was asked for is kept in `vit.precision_note`.
  }];
  let options = [
    Option<"precision", "precision", "std::string", "\"f32\"", "f32, bf16, f16, fp8, fp8_tensor, fp8_token, fp8_block, int8 or nvfp4">,
    Option<"half", "half", "std::string", "\"bf16\"", "16-bit format of the target: bf16 or f16">,
    ListOption<"keep", "keep", "std::string", "rules PRECISION:PATTERN">,
    Option<"ranges", "ranges", "std::string", "\"\"", "ranges.json, for the limit of f16">
  ];
  let statistics = [Statistic<"overridden", "layers-overridden", "layers that a rule or a range decided">];
}

def Quantize : Pass<"vit-quantize", "::mlir::ModuleOp"> {
  let summary = "inserts conversions: quantise/dequantise pairs for fp8 and int8, casts for 16 bits";
  let description = [{
    Linears of precision fp8 and int8 get their input through vit.quantize and vit.dequantize, and their weight as codes with
    one scale an output channel, both steps of its recipe. Ops of 16 bits get vit.convert on their inputs and vit.cast in
    their weights' recipes. Results stay f32.

    fp8_tensor gives weight and input one scale each, fp8_token each row of the input its own, fp8_block each 128 columns of a row of the input and each 128 x 128
    (or fewer rows, where those do not divide evenly) of the weight.

    Linears of precision nvfp4 get their weight as E2M1 codes, an E4M3 scale for each 16 columns of a row and one f32 scale that is a
    factor of the sum; their input is converted to 16 bits.

    `activations` says where the scale of an input comes from. static: the range of the value in ranges.json over 448 (E4M3)
    or 127 (int8); a value without a range is an error that names it. token: each row's own largest magnitude, found at run
    time. auto: static for fp8; for int8 by token where a norm makes the value, since a row is complete there and needs no
    calibration, else static where the file has a range, else by token with a remark.

    `fp8-weight-max` below 448 keeps the codes of E4M3 weights small at the cost of the smallest of them: up to 4.5, 32
    products stay within f16 whatever the input is, and GPUs may sum them there.
  }];
  let options = [Option<"ranges", "ranges", "std::string", "\"\"", "ranges.json">,
                 Option<"activations", "activations", "std::string", "\"auto\"", "auto, static or token">,
                 Option<"fp8WeightMax", "fp8-weight-max", "double", "448.0", "largest magnitude of the codes of E4M3 weights">];
  let statistics = [Statistic<"quantized", "linears-quantized", "linears that take codes">,
                    Statistic<"narrowed", "ops-narrowed", "ops that take 16 bits">];
}

def FoldQDQ : Pass<"vit-fold-qdq", "::mlir::ModuleOp"> {
  let summary = "dequantise before a linear becomes a scale after it";
  let description = [{
    `linear(dequantize(c, s), dequantize(w, t))` with a per-tensor s and a per-channel or per-tensor t becomes a linear of
    the codes whose epilogue begins with `acc * (s t)`; s t is a weight. With one s a row found at run time it begins with
    `acc * t * s`. The only pass that makes typed linears, whatever made the pairs. What does not fold (other granularities) gets a remark and stays.
  }];
  let statistics = [Statistic<"folded", "linears-folded", "linears that now take codes">];
}

def NarrowResidual : Pass<"vit-narrow-residual", "::mlir::ModuleOp"> {
  let summary = "the residual stream in 16 bits";
  let description = [{
    What vit.residual reads as the stream and writes is rounded to f16 or bf16; its sum stays in f32, as norms do. Ops that
    move rows of the stream (assemble_tokens, scatter_rows, merge_patches, pool) move narrow rows. A token that is pooled to
    be narrowed is narrowed before, where the rows are written. Whoever takes f32 alone, results among them, gets a
    conversion back. A stream of f16 is bf16 when a value of it exceeds 8,192 by the calibrated ranges.

    `%r = vit.residual %x, %y` and `%n = vit.norm layer %r` become
    ```mlir
    %r = vit.residual %x, %y layers ["b0.res1"] : tensor<?x768xf16>, tensor<?x768xf32> -> tensor<?x768xf32>
    %h = vit.convert %r : tensor<?x768xf32> to tensor<?x768xf16>
    %n = vit.norm layer %h ...
    ```
    and vit-fuse-epilogue makes the conversion part of the product that the residual ends.
  }];
  let options = [Option<"type", "type", "std::string", "\"f32\"", "f32 (leave it), f16 or bf16">,
                 Option<"ranges", "ranges", "std::string", "\"\"", "ranges.json, for the limit of f16">];
  let statistics = [Statistic<"narrowed", "values-narrowed", "values of the stream that became 16 bits">];
}

def FuseEpilogue : Pass<"vit-fuse-epilogue", "::mlir::ModuleOp"> {
  let summary = "moves elementwise ops into the epilogue of their producer";
  let description = [{
    An activation, residual, conversion or static quantisation whose operand is the only use of a linear, patch embedding,
    norm or attention moves into its epilogue; operands of the moved op become epilogue operands. A quantisation by token
    moves into a norm without an epilogue, which then sees whole rows (group D) and yields codes and scales. Products that are then
    added become math.fma. What stays apart gets a remark that says why. In a pipeline for a target, an op stays apart when
    the target has no kernel for the two together.
  }];
  let statistics = [Statistic<"fused", "ops-fused", "ops that moved into an epilogue">];
}

def ExpandCodes : Pass<"vit-expand-codes", "::mlir::ModuleOp"> {
  let summary = "weights of 4-bit codes become 16 bits where the target has no kernel for codes";
  let description = [{
    The weight of a linear of f4E2M1FN codes with scales becomes their product in the type of the input, a step of its recipe: exact for NVFP4 in bf16 and f16.
    The linear keeps a note that says so. In a pipeline for a target that is done where the target has no kernel for the codes; alone, everywhere.
  }];
  let statistics = [Statistic<"expanded", "linears-expanded", "linears whose codes were multiplied out">];
}

def ExposeValues : Pass<"vit-expose-values", "::mlir::ModuleOp"> {
  let summary = "every named value becomes a result of its function";
  let description = [{
    A tensor with `layers` is returned as well, under the name `value:` and its layers' names joined by `+` (with `.0`, `.1`,
    ... where the op has several results), after the results that the function has: calibration looks at compiled code.

    ```mlir
    func.func @forward(%x: tensor<?x8xf32>) -> (tensor<?x4xf32> {vit.name = "y"})
    ```
    with a linear `layers ["fc"]` in it becomes
    ```mlir
    func.func @forward(%x: tensor<?x8xf32>) -> (tensor<?x4xf32> {vit.name = "y"}, tensor<?x6xf32> {vit.name = "value:fc"})
    ```
    Two values of one name are an error.
  }];
  let statistics = [Statistic<"exposed", "values-exposed", "values that became results">];
}

def SkipZeros : Pass<"vit-skip-zeros", "::mlir::ModuleOp"> {
  let summary = "lets linears after a ReLU or a gate skip the zeros of their input";
  let description = [{
    A linear whose input is a ReLU's result, or a product with a gate that is 0 for blocks that are off, gets
    `vit.skip_zeros`: a kernel may leave out columns of the input (the K axis) that are 0 in all rows which it computes at
    once. That changes no result. Rounding, and products with scales, in between do not matter: 0 stays 0.
  }];
  let statistics = [Statistic<"marked", "linears-marked", "linears that may skip zeros">];
}

def GroupTokens : Pass<"vit-group-tokens", "::mlir::ModuleOp"> {
  let summary = "computes the blocks of a gated MLP only for the rows that they are on for";
  let description = [{
    Two linears, of which the first one's epilogue makes blocks of columns 0 that a `vit.gate` turned off and only the second
    reads its result, become `vit.grouped_linear` over the columns and over K, by lists that one `vit.group_tokens` makes.

    ```mlir
    %h = vit.linear %x, %w1 layers ["fc1"] ... epilogue(%g [(m, n) -> (m, n floordiv 192)] : ...) ...   // ... * the gate's weight
    %y = vit.linear %h, %w2 layers ["fc2"] ...
    ```
    becomes
    ```mlir
    %rows, %starts = vit.group_tokens %g chunk 256 layers ["gate#rows"] : ...
    %h = vit.grouped_linear columns %x, %w1 rows(%rows, %starts : ...) chunk 256 layers ["fc1"] ...
    %y = vit.grouped_linear depth %h, %w2 rows(%rows, %starts : ...) chunk 256 layers ["fc2"] ...
    ```
    An MLP stays dense, with a remark, where the work of tiles that lists fill, estimated for `rows` rows, is not well below
    the dense one. Blocks of a topk gate are on in k of all; those of a threshold in a `share`. Values and weights that are
    not finite are the one difference: 0 times them is NaN in the dense form, and left out here.
  }];
  let options = [Option<"chunk", "chunk", "int64_t", "256", "rows whose lists are counted apart">,
                 Option<"tile", "tile", "int64_t", "6", "rows of the target's tiles">,
                 Option<"least", "least", "double", "2.0", "rows that the smallest tile takes as long as">,
                 Option<"rows", "rows", "int64_t", "197", "rows that the choice is made for">,
                 Option<"share", "share", "double", "0.5", "of blocks that a threshold turns on">];
  let statistics = [Statistic<"groupedMlps", "mlps-grouped", "MLPs whose tokens are grouped">];
}

def ScheduleWeights : Pass<"vit-schedule-weights", "::mlir::ModuleOp"> {
  let summary = "orders weights by first use and drops those that nothing uses";
  let description = [{
    The order of vit.weight ops is the order in which the bundle stores and a run streams them. Weights that no entry
    reaches are erased. A tensor of the checkpoint that ended up in several stored weights gets a remark with what that costs.
  }];
  let statistics = [Statistic<"dropped", "weights-dropped", "weights that nothing uses">];
}
#endif
