//===- ViTBase.td - dialect, enums, attributes and types in common -*- tablegen -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Op families have a .td each (Embed, Norm, Mlp, Attention, Gate, Quant, Weight); this file holds what they share.
// A new op goes into its family's file, its verifier and folder into lib/Dialect/ViT/IR/<Family>Ops.cpp.
//===----------------------------------------------------------------------===//
#ifndef VITRIFY_DIALECT_VIT_IR_VITBASE_TD
#define VITRIFY_DIALECT_VIT_IR_VITBASE_TD

include "mlir/IR/OpBase.td"
include "mlir/IR/EnumAttr.td"
include "mlir/IR/AttrTypeBase.td"
include "mlir/IR/BuiltinAttributes.td"
include "mlir/IR/SymbolInterfaces.td"
include "mlir/IR/RegionKindInterface.td"
include "mlir/Interfaces/InferTypeOpInterface.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

def ViT_Dialect : Dialect {
  let name = "vit";
  let cppNamespace = "::vitrify::vit";
  let summary = "what a vision transformer computes, and where its weights come from";
  let description = [{
    Ops on tensors of builtin types. Hidden states have rank 2, `[rows, D]`, where rows are the tokens of all images
    one after the other; a segment is the rows of one image (or frame). N and K of a linear come from its weight;
    images, image size and tokens may be dynamic, with bounds given on the entry's arguments by `#vit.dim`.

    Fusion is a region: `vit.linear`, `vit.patch_embed`, `vit.norm` and `vit.attention` may carry an epilogue, an
    isolated region that is evaluated for each element (or each group of consecutive columns) of the op's f32 result,
    the accumulator. Its first argument is the accumulator, the others are elements of the explicit `epilogue(...)`
    operands, selected by an affine map from (m, n). It yields one value per result of the op. What varies from layer
    to layer (scales, bias, gamma) is an operand, never a constant of the body, so equal layers share a kernel.

    Every computing op names the layers it implements: `layers ["b0.fc1", "b0.act"]`.

    Weights are not in the IR. `vit.source` names a file, `vit.weight` derives a tensor from it by a small region,
    `vit.get` makes it a value.
  }];
  let dependentDialects = ["::mlir::affine::AffineDialect", "::mlir::arith::ArithDialect", "::mlir::math::MathDialect", "::mlir::func::FuncDialect",
                           "::mlir::tensor::TensorDialect", "::mlir::vector::VectorDialect"];
  let useDefaultAttributePrinterParser = 1;
  let hasRegionArgAttrVerify = 1;
  let hasRegionResultAttrVerify = 1;
}

class ViT_Op<string mnemonic, list<Trait> traits = []> : Op<ViT_Dialect, mnemonic, traits>;

//===----------------------------------------------------------------------===//
// Types
//===----------------------------------------------------------------------===//

def ViT_Float : AnyTypeOf<[F32, F16, BF16]>;
def ViT_Element : AnyTypeOf<[F32, F16, BF16, F8E4M3FN, F4E2M1FN, I8, I32]>;
/// Hidden states [rows, D].
def ViT_Rows : 2DTensorOf<[F32, F16, BF16, F8E4M3FN, I8]>;
def ViT_FloatRows : 2DTensorOf<[F32, F16, BF16]>;
def ViT_Vector1D : 1DTensorOf<[F32, F16, BF16]>;
def ViT_Index1D : 1DTensorOf<[I32]>;
def ViT_AnyTensor : RankedTensorOf<[F32, F16, BF16, F8E4M3FN, F4E2M1FN, I8, I32]>;
/// What `vit.act` and `vit.convert` take: tensors at the top level, scalars and vectors in epilogues.
def ViT_FloatLike : AnyTypeOf<[F32, F16, BF16, RankedTensorOf<[F32, F16, BF16]>, VectorOfAnyRankOf<[F32, F16, BF16]>]>;
def ViT_ConvertLike : AnyTypeOf<[F32, F16, BF16, F8E4M3FN, I8,
    RankedTensorOf<[F32, F16, BF16, F8E4M3FN, I8]>, VectorOfAnyRankOf<[F32, F16, BF16, F8E4M3FN, I8]>]>;

//===----------------------------------------------------------------------===//
// Enums
//===----------------------------------------------------------------------===//

class ViT_Enum<string name, string summary, list<I32EnumAttrCase> cases> : I32EnumAttr<name, summary, cases> {
  let cppNamespace = "::vitrify::vit";
  let genSpecializedAttr = 0;
}
class ViT_EnumAttr<EnumInfo enum, string name> : EnumAttr<ViT_Dialect, enum, name> { let assemblyFormat = "$value"; }

def ViT_ActKind : ViT_Enum<"ActKind", "activation function", [
  I32EnumAttrCase<"GeluErf", 0, "gelu_erf">, I32EnumAttrCase<"GeluTanh", 1, "gelu_tanh">,
  I32EnumAttrCase<"QuickGelu", 2, "quick_gelu">, I32EnumAttrCase<"Silu", 3, "silu">,
  I32EnumAttrCase<"Relu", 4, "relu">, I32EnumAttrCase<"Tanh", 5, "tanh">, I32EnumAttrCase<"Sigmoid", 6, "sigmoid">]>;
def ViT_ActKindAttr : ViT_EnumAttr<ViT_ActKind, "act_kind">;

def ViT_NormKind : ViT_Enum<"NormKind", "normalisation", [
  I32EnumAttrCase<"Layer", 0, "layer">, I32EnumAttrCase<"Rms", 1, "rms">]>;
def ViT_NormKindAttr : ViT_EnumAttr<ViT_NormKind, "norm_kind">;

def ViT_PoolKind : ViT_Enum<"PoolKind", "pooling over a segment", [
  I32EnumAttrCase<"Token", 0, "token">, I32EnumAttrCase<"Mean", 1, "mean">]>;
def ViT_PoolKindAttr : ViT_EnumAttr<ViT_PoolKind, "pool_kind">;

def ViT_GateKind : ViT_Enum<"GateKind", "how a gate chooses blocks", [
  I32EnumAttrCase<"TopK", 0, "topk">, I32EnumAttrCase<"Threshold", 1, "threshold">]>;
def ViT_GateKindAttr : ViT_EnumAttr<ViT_GateKind, "gate_kind">;

def ViT_GateWeight : ViT_Enum<"GateWeight", "weight of a chosen block", [
  I32EnumAttrCase<"One", 0, "one">, I32EnumAttrCase<"Score", 1, "score">, I32EnumAttrCase<"Sigmoid", 2, "sigmoid">,
  I32EnumAttrCase<"Softmax", 3, "softmax">]>;
def ViT_GateWeightAttr : ViT_EnumAttr<ViT_GateWeight, "gate_weight">;

def ViT_GroupedAxis : ViT_Enum<"GroupedAxis", "which axis of a linear consists of the blocks of a gate", [
  I32EnumAttrCase<"Columns", 0, "columns">, I32EnumAttrCase<"Depth", 1, "depth">]>;
def ViT_GroupedAxisAttr : ViT_EnumAttr<ViT_GroupedAxis, "grouped_axis">;

def ViT_RopeKind : ViT_Enum<"RopeKind", "which axis of the position a frequency slot takes", [
  I32EnumAttrCase<"Vision2D", 0, "vision_2d">, I32EnumAttrCase<"MRope", 1, "mrope">]>;
def ViT_RopeKindAttr : ViT_EnumAttr<ViT_RopeKind, "rope_kind">;

def ViT_ScatterMode : ViT_Enum<"ScatterMode", "what happens to the target row", [
  I32EnumAttrCase<"Set", 0, "set">, I32EnumAttrCase<"Add", 1, "add">]>;
def ViT_ScatterModeAttr : ViT_EnumAttr<ViT_ScatterMode, "scatter_mode">;

def ViT_Granularity : ViT_Enum<"Granularity", "which elements share a scale", [
  I32EnumAttrCase<"Tensor", 0, "tensor">, I32EnumAttrCase<"Channel", 1, "channel">,
  I32EnumAttrCase<"Token", 2, "token">, I32EnumAttrCase<"Block", 3, "block">]>;
def ViT_GranularityAttr : ViT_EnumAttr<ViT_Granularity, "granularity">;

def ViT_PrecisionKind : ViT_Enum<"PrecisionKind", "number format a layer computes in", [
  I32EnumAttrCase<"F32", 0, "f32">, I32EnumAttrCase<"BF16", 1, "bf16">, I32EnumAttrCase<"F16", 2, "f16">,
  I32EnumAttrCase<"FP8", 3, "fp8">, I32EnumAttrCase<"Int8", 4, "int8">, I32EnumAttrCase<"NVFP4", 5, "nvfp4">,
  I32EnumAttrCase<"FP8Tensor", 6, "fp8_tensor">, I32EnumAttrCase<"FP8Token", 7, "fp8_token">, I32EnumAttrCase<"FP8Block", 8, "fp8_block">]>;
def ViT_PrecisionKindAttr : ViT_EnumAttr<ViT_PrecisionKind, "precision_kind">;

//===----------------------------------------------------------------------===//
// Attributes
//===----------------------------------------------------------------------===//

def ViT_DimAttr : AttrDef<ViT_Dialect, "Dim"> {
  let mnemonic = "dim";
  let summary = "a dynamic dimension of an entry argument, with its bounds";
  let description = [{
    The list `vit.dims` of an entry's argument holds one for each dynamic dimension of its type, in order. `min` and
    `max` are inclusive, `tuned` is the size that tiles are chosen for. Example:
    `%pixels: tensor<?x3x224x224xf32> {vit.name = "pixels", vit.dims = [#vit.dim<"images", 1, 1, 64>]}`.

    Constraints: (dim_c1) the name is not empty and 1 <= min <= tuned <= max; (dim_c2) vit.dims holds only these, as many
    as the argument's tensor has dynamic dimensions; (dim_c3) vit.name is a string that is not empty.
  }];
  let parameters = (ins StringRefParameter<"symbol">:$name, "int64_t":$min, "int64_t":$tuned, "int64_t":$max);
  let assemblyFormat = "`<` $name `,` $min `,` $tuned `,` $max `>`";
  let genVerifyDecl = 1;
}

//===----------------------------------------------------------------------===//
// Interfaces
//===----------------------------------------------------------------------===//

def ViT_LayerOpInterface : OpInterface<"LayerOpInterface"> {
  let cppNamespace = "::vitrify::vit";
  let description = [{An op that implements named layers of the model. Ranges, reports and profiles use the names.}];
  let methods = [
    InterfaceMethod<"names of the layers, in the order in which they are computed", "::mlir::ArrayAttr", "getLayers">,
    InterfaceMethod<"replaces the names", "void", "setLayersAttr", (ins "::mlir::ArrayAttr":$layers)>
  ];
}

def ViT_EpilogueOpInterface : OpInterface<"EpilogueOpInterface"> {
  let cppNamespace = "::vitrify::vit";
  let description = [{An op whose f32 accumulator [M, N] passes through an epilogue region before it is stored.}];
  let methods = [
    InterfaceMethod<"operands of the epilogue beside the accumulator", "::mlir::OperandRange", "getEpilogueIns">,
    InterfaceMethod<"one map (m, n) -> () | (n) | (m) | (m, n) | (m, n floordiv g) for each", "::mlir::ArrayAttr", "getMaps">,
    InterfaceMethod<"how many consecutive columns the body sees: 1 scalars, G a vector<G>", "uint64_t", "getGroup">,
    InterfaceMethod<"the region, empty when there is none", "::mlir::Region &", "getEpilogue">,
    InterfaceMethod<"columns of the accumulator (static)", "int64_t", "getAccumulatorColumns">
  ];
}

class ViT_ComputeOp<string mnemonic, list<Trait> traits = []>
    : ViT_Op<mnemonic, !listconcat([Pure, DeclareOpInterfaceMethods<ReifyRankedShapedTypeOpInterface, ["reifyResultShapes"]>,
                                    ViT_LayerOpInterface], traits)> {
  let hasVerifier = 1;
}
class ViT_EpilogueOp<string mnemonic, list<Trait> traits = []>
    : ViT_ComputeOp<mnemonic, !listconcat([IsolatedFromAbove,
        DeclareOpInterfaceMethods<ViT_EpilogueOpInterface, ["getAccumulatorColumns"]>], traits)>;

#endif
