//===- PlanOps.td - targets, programs and their steps -*- tablegen -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#ifndef VITRIFY_DIALECT_PLAN_IR_PLANOPS_TD
#define VITRIFY_DIALECT_PLAN_IR_PLANOPS_TD
include "vitrify/Dialect/Plan/IR/PlanBase.td"

//===----------------------------------------------------------------------===//
// What a plan holds
//===----------------------------------------------------------------------===//

def Plan_TargetOp : Plan_Op<"target", [SymbolTable, IsolatedFromAbove, SingleBlock, NoTerminator, NoRegionArguments]> {
  let summary = "the plan of one target: kernels, weights and programs";
  let description = [{
    Weights are in order of first use, programs after those that they call. Serialised as targets/NAME/plan.json.

    Constraints: (plan_target_c1) the name is not empty and holds letters, digits and `_.-+` only; (plan_target_c2) it
    holds kernels, weights and programs only.

    Example:
    ```mlir
    plan.target "sm_89" {
      plan.kernel @row_norm_768 kind "row" precision f32 sha256 "9f.." scalars 1 buffers 4
      plan.weight @b0.ln1.g tensor "b0.ln1.g" : tensor<768xf32>
      plan.program @forward symbols [#plan.symbol<"images", 1, 1, 64>] arena(0) { .. }
    }
    ```
  }];
  let arguments = (ins StrAttr:$name);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = "$name attr-dict-with-keyword $body";
  let hasVerifier = 1;
}

def Plan_KernelOp : Plan_Op<"kernel", [Symbol, HasParent<"TargetOp">]> {
  let summary = "one kernel of the target's binary";
  let description = [{
    `scalars` i64 arguments and `buffers` pointers (weights, then reads, then writes). `sha256` is that of its code: PTX
    on GPUs, object text on x86. `metrics` holds integers read from the built binary.

    Constraints: (plan_kernel_c1) sha256 has 64 hexadecimal digits; (plan_kernel_c2) scalars and buffers are 0 to 4096;
    (plan_kernel_c3) metrics are i64.

    Example: `plan.kernel @linear_e4m3 kind "linear" precision f8e4m3 sha256 "9f.." scalars 1 buffers 5 metrics {registers = 168}`
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, StrAttr:$kind, Plan_PrecisionAttr:$precision, StrAttr:$sha256,
      I64Attr:$scalars, I64Attr:$buffers, OptionalAttr<DictionaryAttr>:$metrics);
  let assemblyFormat = [{ $sym_name `kind` $kind `precision` `` $precision `sha256` $sha256 `scalars` $scalars
    `buffers` $buffers (`metrics` $metrics^)? attr-dict }];
  let hasVerifier = 1;
}

def Plan_WeightOp : Plan_Op<"weight", [Symbol, HasParent<"TargetOp">]> {
  let summary = "a tensor of weights.safetensors that kernels read";
  let description = [{
    Several names may share one tensor. `layout` is how the bytes are arranged when a kernel reads them: "nk" as stored,
    others are made at load.

    Constraints: (plan_weight_c1) the type is static, of a buffer's element types; (plan_weight_c2) tensor and layout
    are not empty.

    Example: `plan.weight @b0.qkv.wq tensor "b0.qkv.wq" layout "nk" : tensor<2304x768xf8E4M3FN>`
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, StrAttr:$tensor, DefaultValuedStrAttr<StrAttr, "nk">:$layout,
      TypeAttrOf<AnyRankedTensor>:$type);
  let assemblyFormat = "$sym_name `tensor` $tensor (`layout` $layout^)? attr-dict `:` $type";
  let hasVerifier = 1;
}

def Plan_ProgramOp : Plan_Op<"program", [Symbol, IsolatedFromAbove, SingleBlock, NoRegionArguments, HasParent<"TargetOp">]> {
  let summary = "one entry function: buffers, then steps";
  let description = [{
    The arguments are its input buffers in the order of their ops, and the operands of `plan.return`. The arena has
    `arena` bytes.

    Constraints: (plan_program_c1) names of symbols differ; (plan_program_c2) the body holds buffers, views and steps
    and ends with plan.return; (plan_program_c3) expressions use the program's symbols only; (plan_program_c4) names of
    buffers differ, and so do those of the inputs and of the outputs.

    Example: see `plan.launch`.
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, Plan_SymbolArrayAttr:$symbols, Plan_ExprAttr:$arena);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = "$sym_name `symbols` $symbols `arena` `(` custom<Expr>($arena) `)` attr-dict-with-keyword $body";
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    /// Input buffers, in order of the entry's arguments.
    ::llvm::SmallVector<BufferOp> inputs();
    /// Output buffers, in order of the entry's results.
    ::llvm::SmallVector<BufferOp> outputs();
  }];
}

//===----------------------------------------------------------------------===//
// Memory
//===----------------------------------------------------------------------===//

def Plan_BufferOp : Plan_Op<"buffer", [HasParent<"ProgramOp">, DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "a range of bytes of the arena, or an argument's memory";
  let description = [{
    `shape` is row-major, `size` at least the shape's bytes, `offset` in bytes from the arena's start. `numeric` says
    what the values are when a wider type holds them (an E4M3 activation is bf16 on x86), `scale` which weight holds
    their scale. Inputs and outputs have an `argument` name.

    Constraints: (plan_buffer_c1) inputs and outputs have an argument's name, and no offset; the arena's have an offset
    and no argument; (plan_buffer_c2) a constant offset is a multiple of 64 and not negative; (plan_buffer_c3) numeric
    f8e4m3 is held in a float type, i8 in a float type, i8 or ui8; (plan_buffer_c4) scale is a weight of this target;
    (plan_buffer_c5) a constant shape fits into a constant size; (plan_buffer_c6) the name is not empty.

    Example: `%nq = plan.buffer arena "b0.qkv#in" shape(images * 197, 768) offset(605184) size(images * 302592)
    numeric f8e4m3 scale @b0.qkv.sx : !plan.buffer<bf16>`
  }];
  let arguments = (ins Plan_BufferKindAttr:$kind, StrAttr:$name, OptionalAttr<StrAttr>:$argument, Plan_ExprArrayAttr:$shape,
      OptionalAttr<Plan_ExprAttr>:$offset, Plan_ExprAttr:$size, OptionalAttr<Plan_NumericAttr>:$numeric,
      OptionalAttr<FlatSymbolRefAttr>:$scale);
  let results = (outs Plan_BufferType:$result);
  let assemblyFormat = [{ `` $kind $name (`argument` $argument^)? `shape` `` custom<ExprList>($shape)
    `` custom<OptionalOffset>($offset) `size` `(` custom<Expr>($size) `)` (`numeric` `` $numeric^)? (`scale` $scale^)?
    attr-dict `:` qualified(type($result)) }];
  let hasVerifier = 1;
}

def Plan_ViewOp : Plan_Op<"view", [Pure, AllTypesMatch<["source", "result"]>]> {
  let summary = "a buffer from some byte on";
  let description = [{
    Has no bytes of its own: q of a fused qkv starts inside its buffer, and the row stride is a kernel's scalar.

    Constraints: (plan_view_c1) a constant offset is not negative.

    Example: `%k = plan.view %qkv offset(1536) : !plan.buffer<bf16>`
  }];
  let arguments = (ins Plan_BufferType:$source, Plan_ExprAttr:$offset);
  let results = (outs Plan_BufferType:$result);
  let assemblyFormat = "$source `offset` `(` custom<Expr>($offset) `)` attr-dict `:` qualified(type($source))";
  let hasVerifier = 1;
  let hasFolder = 1;
  let hasCanonicalizer = 1;
}

//===----------------------------------------------------------------------===//
// Steps
//===----------------------------------------------------------------------===//

class Plan_StepOp<string mnemonic, list<Trait> traits = []>
    : Plan_Op<mnemonic, !listconcat([ParentOneOf<["ProgramOp", "IfOp"]>], traits)> {
  let hasVerifier = 1;
}

def Plan_LaunchOp : Plan_StepOp<"launch", [AttrSizedOperandSegments, DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "runs a kernel, chosen by a size";
  let description = [{
    The variant whose range holds the value of `dispatch` (usually the rows) runs with the scalars `args` and the
    pointers of weights, reads and writes, in that order.

    Constraints: (plan_launch_c1) there is a variant, and each names a kernel of this target; (plan_launch_c2) scalars
    and pointers are as many as each kernel takes; (plan_launch_c3) weights are weights of this target; (plan_launch_c4)
    ranges follow one another; (plan_launch_c5) a block has 1 to 1024 threads and at most 232,448 bytes of shared
    memory, on x86 one thread and none; (plan_launch_c6) no input is written.

    Example:
    ```mlir
    plan.program @forward symbols [#plan.symbol<"images", 1, 1, 64>] arena(0) {
      %x = plan.buffer input "pixels" argument "pixels" shape(images, 768) size(images * 3072) : !plan.buffer<f32>
      %y = plan.buffer output "logits" argument "logits" shape(images, 768) size(images * 3072) : !plan.buffer<f32>
      plan.launch layers ["ln"] dispatch(images) variants [#plan.variant<@row_norm_768, 1 to 64, grid(images ceildiv 4, 1, 1), block(128, 1, 1), shared 0>]
        args(images) weights [@ln.g, @ln.b] reads(%x : !plan.buffer<f32>) writes(%y : !plan.buffer<f32>)
      plan.return %y : !plan.buffer<f32>
    }
    ```
  }];
  let arguments = (ins StrArrayAttr:$layers, Plan_ExprAttr:$dispatch, Plan_VariantArrayAttr:$variants,
      Plan_ExprArrayAttr:$args, FlatSymbolRefArrayAttr:$weights, Variadic<Plan_BufferType>:$reads, Variadic<Plan_BufferType>:$writes);
  let assemblyFormat = [{ `layers` $layers `dispatch` `(` custom<Expr>($dispatch) `)` `variants` $variants `args` `` custom<ExprList>($args)
    `weights` $weights `reads` `(` ($reads^ `:` type($reads))? `)` `writes` `(` ($writes^ `:` type($writes))? `)` attr-dict }];
}

def Plan_CopyOp : Plan_StepOp<"copy"> {
  let summary = "copies bytes from one buffer to another";
  let description = [{
    Constraints: (plan_copy_c1) a constant count of bytes is not negative; (plan_copy_c2) the target is no input.

    Example: `plan.copy %a to %b bytes(images * 3072) layers ["pool"] : !plan.buffer<f32>, !plan.buffer<f32>`
  }];
  let arguments = (ins Plan_BufferType:$source, Plan_BufferType:$destination, Plan_ExprAttr:$bytes, StrArrayAttr:$layers);
  let assemblyFormat = [{ $source `to` $destination `bytes` `(` custom<Expr>($bytes) `)` `layers` $layers attr-dict
    `:` qualified(type($source)) `,` qualified(type($destination)) }];
}

def Plan_IfOp : Plan_StepOp<"if", [SingleBlock, NoTerminator, NoRegionArguments]> {
  let summary = "runs its steps when an expression is not 0";
  let description = [{
    Constraints: (plan_if_c1) the body holds at least one step, and only steps and views.

    Example: `plan.if(images - 1) { plan.copy %a to %b bytes(64) layers [] : !plan.buffer<f32>, !plan.buffer<f32> }`
  }];
  let arguments = (ins Plan_ExprAttr:$condition, OptionalAttr<StrArrayAttr>:$layers);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = "`(` custom<Expr>($condition) `)` (`layers` $layers^)? attr-dict-with-keyword $body";
}

def Plan_ExitIfOp : Plan_StepOp<"exit_if"> {
  let summary = "ends the program when a value on the device exceeds a threshold";
  let description = [{
    Reads the first f32 of the buffer: the one place where the host waits for the device.

    Constraints: (plan_exit_if_c1) the buffer holds f32; (plan_exit_if_c2) the threshold is finite.

    Example: `plan.exit_if %confidence exceeds 0.9 : !plan.buffer<f32>`
  }];
  let arguments = (ins Plan_BufferType:$value, F32Attr:$threshold, OptionalAttr<StrArrayAttr>:$layers);
  let assemblyFormat = "$value `exceeds` $threshold (`layers` $layers^)? attr-dict `:` qualified(type($value))";
}

def Plan_CallOp : Plan_StepOp<"call", [AttrSizedOperandSegments, DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "runs an earlier program of this target";
  let description = [{
    reads are the memory of its inputs, writes of its outputs, in order. Its symbols take the values of ours of the same
    name.

    Constraints: (plan_call_c1) the callee is a program that comes before this one; (plan_call_c2) reads and writes fit
    its inputs and outputs in count and element type; (plan_call_c3) each of its symbols has one of ours of the same name
    within its bounds; (plan_call_c4) no input is written.

    Example: `plan.call @encode reads(%x : !plan.buffer<f32>) writes(%y : !plan.buffer<f32>)`
  }];
  let arguments = (ins FlatSymbolRefAttr:$callee, OptionalAttr<StrArrayAttr>:$layers, Variadic<Plan_BufferType>:$reads,
      Variadic<Plan_BufferType>:$writes);
  let assemblyFormat = [{ $callee (`layers` $layers^)? `reads` `(` ($reads^ `:` type($reads))? `)` `writes` `(` ($writes^ `:` type($writes))? `)` attr-dict }];
}

def Plan_ReturnOp : Plan_Op<"return", [Terminator, HasParent<"ProgramOp">]> {
  let summary = "ends a program and orders its outputs";
  let description = [{
    Constraints: (plan_return_c1) the operands are the program's output buffers, each once.

    Example: `plan.return %logits : !plan.buffer<f32>`
  }];
  let arguments = (ins Variadic<Plan_BufferType>:$outputs);
  let assemblyFormat = "($outputs^ `:` type($outputs))? attr-dict";
  let hasVerifier = 1;
}
#endif
