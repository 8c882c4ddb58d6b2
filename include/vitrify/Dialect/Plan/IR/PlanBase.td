//===- PlanBase.td - dialect, enums, attributes and types of plans -*- tablegen -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// The text form of include/vitrify/Bundle/Plan.h: an op for each struct, an attribute for each expression.
//===----------------------------------------------------------------------===//
#ifndef VITRIFY_DIALECT_PLAN_IR_PLANBASE_TD
#define VITRIFY_DIALECT_PLAN_IR_PLANBASE_TD

include "mlir/IR/OpBase.td"
include "mlir/IR/EnumAttr.td"
include "mlir/IR/AttrTypeBase.td"
include "mlir/IR/SymbolInterfaces.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

def Plan_Dialect : Dialect {
  let name = "plan";
  let cppNamespace = "::vitrify::plan";
  let summary = "in which order kernels run, and where their operands lie";
  let description = [{
    The data half of the compiler's output. A `plan.target` holds what one plan.json of a bundle holds: kernels of the
    target's binary, the weights they read, and programs, one an entry function. A program has buffers in one arena, or
    in the caller's memory, and steps in order: launch, copy, if, exit_if, call. The runtime interprets them.

    Sizes, offsets, grids and scalar arguments are expressions over the program's symbols (`#plan.expr`), which the
    runtime evaluates with overflow checks. Nothing on the host depends on device data but `plan.exit_if`.

    What needs values to be checked (no two live buffers overlap, each read comes after a write, the arena is large
    enough) is checked on the serialised plan by `vitrify::verifyPlan`, in the compiler and again at load.
  }];
  let useDefaultAttributePrinterParser = 1;
  let useDefaultTypePrinterParser = 1;
}

class Plan_Op<string mnemonic, list<Trait> traits = []> : Op<Plan_Dialect, mnemonic, traits>;

//===----------------------------------------------------------------------===//
// Enums
//===----------------------------------------------------------------------===//

class Plan_Enum<string name, string summary, list<I32EnumAttrCase> cases> : I32EnumAttr<name, summary, cases> {
  let cppNamespace = "::vitrify::plan";
  let genSpecializedAttr = 0;
}
class Plan_EnumAttr<EnumInfo enum, string name> : EnumAttr<Plan_Dialect, enum, name> { let assemblyFormat = "$value"; }

def Plan_BufferKind : Plan_Enum<"BufferKind", "whose memory a buffer is", [
  I32EnumAttrCase<"Arena", 0, "arena">, I32EnumAttrCase<"Input", 1, "input">, I32EnumAttrCase<"Output", 2, "output">]>;
def Plan_BufferKindAttr : Plan_EnumAttr<Plan_BufferKind, "buffer_kind">;

def Plan_Precision : Plan_Enum<"Precision", "what a kernel's matrix instructions take", [
  I32EnumAttrCase<"F32", 0, "f32">, I32EnumAttrCase<"BF16", 1, "bf16">, I32EnumAttrCase<"F16", 2, "f16">,
  I32EnumAttrCase<"F8E4M3", 3, "f8e4m3">, I32EnumAttrCase<"F4E2M1", 4, "f4e2m1">, I32EnumAttrCase<"Int8", 5, "int8">]>;
def Plan_PrecisionAttr : Plan_EnumAttr<Plan_Precision, "precision">;

def Plan_Numeric : Plan_Enum<"Numeric", "codes that a buffer holds in a wider type", [
  I32EnumAttrCase<"F8E4M3", 0, "f8e4m3">, I32EnumAttrCase<"I8", 1, "i8">]>;
def Plan_NumericAttr : Plan_EnumAttr<Plan_Numeric, "numeric">;

/// In the order of PlanExpr::Kind.
def Plan_ExprKind : Plan_Enum<"ExprKind", "node of an expression", [
  I32EnumAttrCase<"Constant", 0, "constant">, I32EnumAttrCase<"Symbol", 1, "symbol">, I32EnumAttrCase<"Add", 2, "add">,
  I32EnumAttrCase<"Sub", 3, "sub">, I32EnumAttrCase<"Mul", 4, "mul">, I32EnumAttrCase<"CeilDiv", 5, "ceildiv">,
  I32EnumAttrCase<"FloorDiv", 6, "floordiv">, I32EnumAttrCase<"Mod", 7, "mod">, I32EnumAttrCase<"Min", 8, "min">,
  I32EnumAttrCase<"Max", 9, "max">]>;

//===----------------------------------------------------------------------===//
// Attributes
//===----------------------------------------------------------------------===//

def Plan_ExprAttr : AttrDef<Plan_Dialect, "Expr"> {
  let mnemonic = "expr";
  let summary = "an integer expression over the symbols of a program";
  let description = [{
    `+`, `-` bind less than `*`, `ceildiv`, `floordiv`, `mod`, all from the left; `min(a, b)`, `max(a, b)`; at most 64
    nodes deep. Ops print it bare, as in `offset(images * 605184)`; alone it is `#plan.expr<images * 197>`.
  }];
  let parameters = (ins "::vitrify::plan::ExprKind":$kind, "int64_t":$value, "::mlir::StringAttr":$symbol,
                        "::mlir::Attribute":$lhs, "::mlir::Attribute":$rhs);
  let skipDefaultBuilders = 1;
  let hasCustomAssemblyFormat = 1;
  let builders = [
    AttrBuilder<(ins "int64_t":$constant)>,
    AttrBuilder<(ins "::llvm::StringRef":$symbol)>,
    AttrBuilderWithInferredContext<(ins "::vitrify::plan::ExprKind":$kind, "::mlir::Attribute":$lhs, "::mlir::Attribute":$rhs)>
  ];
  let extraClassDeclaration = [{
    /// Left operand of a binary node.
    ExprAttr left() const;
    /// Right operand of a binary node.
    ExprAttr right() const;
    /// The number, if it is one.
    std::optional<int64_t> constant() const;
    /// Nodes on the longest path from the root.
    unsigned depth() const;
  }];
}
def Plan_ExprArrayAttr : TypedArrayAttrBase<Plan_ExprAttr, "list of expressions">;

def Plan_SymbolAttr : AttrDef<Plan_Dialect, "Symbol"> {
  let mnemonic = "symbol";
  let summary = "a size known only at run time, with its bounds";
  let description = [{
    `min` and `max` are inclusive, `tuned` is the value that tiles were chosen for: `#plan.symbol<"images", 1, 1, 64>`.
    The name is an identifier that is no operator of an expression.
  }];
  let parameters = (ins StringRefParameter<"name">:$name, "int64_t":$min, "int64_t":$tuned, "int64_t":$max);
  let assemblyFormat = "`<` $name `,` $min `,` $tuned `,` $max `>`";
  let genVerifyDecl = 1;
}
def Plan_SymbolArrayAttr : TypedArrayAttrBase<Plan_SymbolAttr, "list of symbols">;

def Plan_VariantAttr : AttrDef<Plan_Dialect, "Variant"> {
  let mnemonic = "variant";
  let summary = "a kernel of a launch and the dispatch values that it serves";
  let description = [{
    `#plan.variant<@linear_m16, 1 to 16, grid(1, 18, 1), block(128, 1, 1), shared 49152>`: grid sizes are expressions;
    on a CPU x counts work units, the other sizes are 1. `shared` is dynamic shared memory in bytes.
  }];
  let parameters = (ins "::mlir::FlatSymbolRefAttr":$kernel, "int64_t":$min, "int64_t":$max,
                        ArrayRefParameter<"::vitrify::plan::ExprAttr">:$grid, ArrayRefParameter<"int64_t">:$block,
                        "int64_t":$shared);
  let hasCustomAssemblyFormat = 1;
  let genVerifyDecl = 1;
}
def Plan_VariantArrayAttr : TypedArrayAttrBase<Plan_VariantAttr, "list of variants">;

//===----------------------------------------------------------------------===//
// Types
//===----------------------------------------------------------------------===//

def Plan_BufferType : TypeDef<Plan_Dialect, "Buffer"> {
  let mnemonic = "buffer";
  let summary = "memory of elements of one type";
  let description = [{ `!plan.buffer<bf16>`. Elements are f32, f16, bf16, f8E4M3FN, f4E2M1FN, i8, ui8, i32 or i64. }];
  let parameters = (ins "::mlir::Type":$element);
  let assemblyFormat = "`<` $element `>`";
  let genVerifyDecl = 1;
}

#endif
