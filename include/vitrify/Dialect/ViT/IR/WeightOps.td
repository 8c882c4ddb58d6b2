//===- WeightOps.td - sources, derived weights and the steps of a recipe -*- tablegen -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// The ops inside vit.weight mirror vitrify::Recipe node by node (include/vitrify/Weights/Recipe.h): the compiler turns
// a region into a recipe and runs it in chunks of rows; the reference interpreter evaluates the region whole.
//===----------------------------------------------------------------------===//
#ifndef VITRIFY_DIALECT_VIT_IR_WEIGHTOPS_TD
#define VITRIFY_DIALECT_VIT_IR_WEIGHTOPS_TD
include "vitrify/Dialect/ViT/IR/ViTBase.td"

def ViT_SourceOp : ViT_Op<"source", [Symbol]> {
  let summary = "a checkpoint file";
  let description = [{
    Names a safetensors file: its path (relative to the module's file, or absolute), size in bytes and the SHA-256 of its
    header (the 8 length bytes and the JSON), so that a changed file is noticed before anything is read.

    Constraints: (source_c1) path is not empty; (source_c2) size > 8; (source_c3) header_sha256 has 64 hexadecimal digits.

    Example: `vit.source @ckpt path "model.safetensors" size 346293852 header_sha256 "9f.."`
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, StrAttr:$path, I64Attr:$size, StrAttr:$header_sha256);
  let assemblyFormat = "$sym_name `path` $path `size` $size `header_sha256` $header_sha256 attr-dict";
  let hasVerifier = 1;
}

def ViT_WeightOp : ViT_Op<"weight", [Symbol, IsolatedFromAbove, SingleBlock]> {
  let summary = "a tensor derived from sources and other weights";
  let description = [{
    The region yields one tensor of the weight's type. It holds only the recipe ops of this file.

    Constraints: (weight_c1) the region yields exactly one value of the declared type; (weight_c2) the region holds only
    recipe ops; (weight_c3) the type is static; (weight_c4) weights do not derive from themselves (checked on the
    module's uses).

    Example:
    ```mlir
    vit.weight @b0.q.w : tensor<768x768xf32> {
      %0 = vit.read @ckpt "vit.encoder.layer.0.attention.attention.query.weight" : tensor<768x768xf32>
      vit.yield %0 : tensor<768x768xf32>
    }
    ```
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, TypeAttrOf<ViT_AnyTensor>:$type);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = "$sym_name attr-dict `:` $type $body";
  let hasVerifier = 1;
}

def ViT_GetOp : ViT_Op<"get", [Pure, DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "the value of a weight";
  let description = [{
    In a function: the weight as an SSA value. In a weight's region: another weight.

    Constraints: (get_c1) the symbol is a vit.weight of this module; (get_c2) the type is the weight's.

    Example: `%w = vit.get @b0.q.w : tensor<768x768xf32>`
  }];
  let arguments = (ins FlatSymbolRefAttr:$name);
  let results = (outs ViT_AnyTensor:$result);
  let assemblyFormat = "$name attr-dict `:` type($result)";
}

def ViT_ReadOp : ViT_Op<"read", [Pure, DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "a tensor of a source, as stored";
  let description = [{
    Type and shape are those of the file, which the compiler checks when it opens it.

    Constraints: (read_c1) the symbol is a vit.source; (read_c2) the type is static and the tensor name is not empty.

    Example: `%0 = vit.read @ckpt "classifier.bias" : tensor<10xf32>`
  }];
  let arguments = (ins FlatSymbolRefAttr:$source, StrAttr:$tensor);
  let results = (outs ViT_AnyTensor:$result);
  let assemblyFormat = "$source $tensor attr-dict `:` type($result)";
  let hasVerifier = 1;
}

def ViT_LiteralOp : ViT_Op<"literal", [Pure, AllTypesMatch<["value", "result"]>]> {
  let summary = "a small constant tensor, such as a calibrated scale";
  let description = [{
    Constraints: (literal_c1) the value has at most 65,536 elements (a splat counts as one); (literal_c2) they are dense.

    Example: `%s = vit.literal dense<0.0123> : tensor<1xf32>`
  }];
  let arguments = (ins ElementsAttr:$value);
  let results = (outs ViT_AnyTensor:$result);
  let assemblyFormat = "attr-dict $value";
  let hasVerifier = 1;
}

class ViT_RecipeOp<string mnemonic> : ViT_Op<mnemonic, [Pure]> { let hasVerifier = 1; }
/// A step that may turn out to change nothing.
class ViT_FoldedRecipeOp<string mnemonic> : ViT_RecipeOp<mnemonic> { let hasFolder = 1; }

def ViT_SliceOp : ViT_FoldedRecipeOp<"slice"> {
  let summary = "elements [begin, end) along an axis";
  let description = [{ Constraints: (slice_c1) 0 <= begin < end <= the axis's size; (slice_c2) the result's shape fits.
    Example: `%1 = vit.slice %0 axis 0 from 0 to 768 : tensor<2304x768xf32> -> tensor<768x768xf32>` }];
  let arguments = (ins ViT_AnyTensor:$input, I64Attr:$axis, I64Attr:$begin, I64Attr:$end);
  let results = (outs ViT_AnyTensor:$result);
  let assemblyFormat = "$input `axis` $axis `from` $begin `to` $end attr-dict `:` type($input) `->` type($result)";
}
def ViT_GatherOp : ViT_FoldedRecipeOp<"gather"> {
  let summary = "elements along an axis, chosen and ordered by index";
  let description = [{ Used to permute rows (GLU and rope pairs made adjacent) and to prune neurons.
    Constraints: (gather_c1) indices lie in the axis; (gather_c2) the result's shape fits.
    Example: `%1 = vit.gather %0 axis 0 [0, 2, 1] : tensor<3x8xf32> -> tensor<3x8xf32>` }];
  let arguments = (ins ViT_AnyTensor:$input, I64Attr:$axis, DenseI64ArrayAttr:$indices);
  let results = (outs ViT_AnyTensor:$result);
  let assemblyFormat = "$input `axis` $axis $indices attr-dict `:` type($input) `->` type($result)";
}
def ViT_ConcatOp : ViT_FoldedRecipeOp<"concat"> {
  let summary = "tensors one after the other along an axis";
  let description = [{ Constraints: (concat_c1) equal element types and shapes but for the axis; (concat_c2) the result's
    axis is the sum. Example: `%3 = vit.concat %0, %1 axis 0 : tensor<8x4xf32>, tensor<8x4xf32> -> tensor<16x4xf32>` }];
  let arguments = (ins Variadic<ViT_AnyTensor>:$inputs, I64Attr:$axis);
  let results = (outs ViT_AnyTensor:$result);
  let assemblyFormat = "$inputs `axis` $axis attr-dict `:` type($inputs) `->` type($result)";
}
def ViT_TransposeOp : ViT_FoldedRecipeOp<"transpose"> {
  let summary = "a matrix with rows and columns exchanged";
  let description = [{ Constraints: (transpose_c1) rank 2, shape reversed. Example: `%1 = vit.transpose %0 : tensor<4x8xf32> -> tensor<8x4xf32>` }];
  let arguments = (ins ViT_AnyTensor:$input);
  let results = (outs ViT_AnyTensor:$result);
  let assemblyFormat = "$input attr-dict `:` type($input) `->` type($result)";
}
def ViT_ReshapeOp : ViT_FoldedRecipeOp<"reshape"> {
  let summary = "the same elements, row-major, in another shape";
  let description = [{ Constraints: (reshape_c1) equal element types and counts. Example: `%1 = vit.reshape %0 : tensor<96x1x7x7xf32> -> tensor<96x49xf32>` }];
  let arguments = (ins ViT_AnyTensor:$input);
  let results = (outs ViT_AnyTensor:$result);
  let assemblyFormat = "$input attr-dict `:` type($input) `->` type($result)";
}
def ViT_CastOp : ViT_FoldedRecipeOp<"cast"> {
  let summary = "another float type, rounded to nearest even";
  let description = [{ Not to E4M3, which needs a scale: see vit.round.
    Constraints: (cast_c1) equal shapes, float element types, the result is f32, f16 or bf16. Example: `%1 = vit.cast %0 : tensor<8xf32> -> tensor<8xbf16>` }];
  let arguments = (ins ViT_AnyTensor:$input);
  let results = (outs ViT_AnyTensor:$result);
  let assemblyFormat = "$input attr-dict `:` type($input) `->` type($result)";
}
def ViT_AmaxOp : ViT_RecipeOp<"amax"> {
  let summary = "largest magnitude by row or over all, divided by a constant: a scale";
  let description = [{ Formula: `max |x| / divisor` over axis 1 ([N, K] -> [N]), over everything (-> [1]), or over each h rows by g columns
    (`block [h, g]`: [N, K] -> [ceil(N / h), ceil(K / g)]); 1 where the maximum is 0.
    Constraints: (amax_c1) axis 1 needs rank 2 and gives [N], no axis gives [1]; (amax_c2) divisor > 0; f32 result; (amax_c3) a block is
    of two positive sizes, on a matrix, and given without axis.
    Example: `%s = vit.amax %w axis 1 div 448.0 : tensor<8x4xf32> -> tensor<8xf32>` }];
  let arguments = (ins ViT_AnyTensor:$input, OptionalAttr<I64Attr>:$axis, OptionalAttr<DenseI64ArrayAttr>:$block, F64Attr:$divisor);
  let results = (outs RankedTensorOf<[F32]>:$result);
  let assemblyFormat = "$input (`axis` $axis^)? (`block` $block^)? `div` $divisor attr-dict `:` type($input) `->` type($result)";
}
def ViT_SumOp : ViT_RecipeOp<"sum"> {
  let summary = "sum of each row";
  let description = [{ In f64, rounded to f32. Constraints: (sum_c1) [N, K] gives tensor<N x f32>. Example: `%s = vit.sum %w : tensor<8x4xf32> -> tensor<8xf32>` }];
  let arguments = (ins ViT_AnyTensor:$input);
  let results = (outs 1DTensorOf<[F32]>:$result);
  let assemblyFormat = "$input attr-dict `:` type($input) `->` type($result)";
}
def ViT_RecipOp : ViT_RecipeOp<"recip"> {
  let summary = "1 / x in f32";
  let description = [{ Constraints: (recip_c1) f32 in and out, equal shapes. Example: `%i = vit.recip %s : tensor<1xf32> -> tensor<1xf32>` }];
  let arguments = (ins RankedTensorOf<[F32]>:$input);
  let results = (outs RankedTensorOf<[F32]>:$result);
  let assemblyFormat = "$input attr-dict `:` type($input) `->` type($result)";
}
class ViT_RecipeBinaryOp<string mnemonic, string symbol> : ViT_RecipeOp<mnemonic> {
  let summary = "x " # symbol # " y in f32, y broadcast";
  let description = "y has x's shape, or one element, or is [N] for an x of [N] or [N, K] (by row), or is [K] with `columns`. "
    "Constraints: (" # mnemonic # "_c1) y's shape is one of these; (" # mnemonic # "_c2) the result has x's shape in f32. "
    "Example: `%2 = vit." # mnemonic # " %0, %1 : tensor<8x4xf32>, tensor<8xf32> -> tensor<8x4xf32>`";
  let arguments = (ins ViT_AnyTensor:$lhs, ViT_AnyTensor:$rhs, UnitAttr:$columns);
  let results = (outs RankedTensorOf<[F32]>:$result);
  let assemblyFormat = "$lhs `,` $rhs (`columns` $columns^)? attr-dict `:` type($lhs) `,` type($rhs) `->` type($result)";
}
def ViT_MulOp : ViT_RecipeBinaryOp<"mul", "*">;
def ViT_AddOp : ViT_RecipeBinaryOp<"add", "+">;
def ViT_SubOp : ViT_RecipeBinaryOp<"sub", "-">;

def ViT_RoundOp : ViT_RecipeOp<"round"> {
  let summary = "codes (E4M3, E2M1 or i8) of x / scale";
  let description = [{ Saturating, nearest even (see vit.convert). x is multiplied by the f32 reciprocal of the scale. scale is [1] (tensor), [N] (by row)
    or [ceil(N / h), ceil(K / g)] (blocks of h rows and g columns, given by `block = [h, g]`).
    Constraints: (round_c1) the result has x's shape in f8E4M3FN, f4E2M1FN or i8; (round_c2) the scale has one of these shapes;
    (round_c3) x is a float tensor, not codes: codes are never quantised again.
    Example: `%c = vit.round %w, %s : tensor<8x4xf32>, tensor<8xf32> -> tensor<8x4xf8E4M3FN>` }];
  let arguments = (ins RankedTensorOf<[F32, F16, BF16]>:$input, RankedTensorOf<[F32]>:$scale, OptionalAttr<DenseI64ArrayAttr>:$block);
  let results = (outs RankedTensorOf<[F8E4M3FN, F4E2M1FN, I8]>:$result);
  let assemblyFormat = "$input `,` $scale (`block` $block^)? attr-dict `:` type($input) `,` type($scale) `->` type($result)";
}
def ViT_DequantOp : ViT_RecipeOp<"dequant"> {
  let summary = "codes times scale, in f32: the inverse of vit.round";
  let description = [{ Constraints: (dequant_c1) the result has the codes' shape in f32; (dequant_c2) the scale is shaped as for vit.round.
    Example: `%w = vit.dequant %c, %s : tensor<8x4xf8E4M3FN>, tensor<8xf32> -> tensor<8x4xf32>` }];
  let arguments = (ins RankedTensorOf<[F8E4M3FN, F4E2M1FN, I8]>:$codes, RankedTensorOf<[F32, BF16, F16]>:$scale, OptionalAttr<DenseI64ArrayAttr>:$block);
  let results = (outs RankedTensorOf<[F32]>:$result);
  let assemblyFormat = "$codes `,` $scale (`block` $block^)? attr-dict `:` type($codes) `,` type($scale) `->` type($result)";
}
def ViT_BlocksOp : ViT_RecipeOp<"blocks"> {
  let summary = "NVFP4 codes and scales in one tensor, as bundles store them";
  let description = [{ Rows of blocks: 16 codes of E2M1, then the byte of their E4M3 scale as two elements, its low half first.
    Constraints: (blocks_c1) codes are [N, K] with K a multiple of 16 and scales [N, K / 16]; (blocks_c2) the result is [N, K / 16 * 18].
    Example: `%b = vit.blocks %c, %s : tensor<8x32xf4E2M1FN>, tensor<8x2xf8E4M3FN> -> tensor<8x36xf4E2M1FN>` }];
  let arguments = (ins 2DTensorOf<[F4E2M1FN]>:$codes, 2DTensorOf<[F8E4M3FN]>:$scales);
  let results = (outs 2DTensorOf<[F4E2M1FN]>:$result);
  let assemblyFormat = "$codes `,` $scales attr-dict `:` type($codes) `,` type($scales) `->` type($result)";
}
def ViT_PadOp : ViT_FoldedRecipeOp<"pad"> {
  let summary = "zeros appended along an axis up to a multiple";
  let description = [{ Constraints: (pad_c1) multiple >= 1; (pad_c2) the result's axis is rounded up to it.
    Example: `%1 = vit.pad %0 axis 1 to_multiple 16 : tensor<8x49xf32> -> tensor<8x64xf32>` }];
  let arguments = (ins ViT_AnyTensor:$input, I64Attr:$axis, I64Attr:$multiple);
  let results = (outs ViT_AnyTensor:$result);
  let assemblyFormat = "$input `axis` $axis `to_multiple` $multiple attr-dict `:` type($input) `->` type($result)";
}
#endif
