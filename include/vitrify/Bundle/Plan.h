//===- Plan.h - what the runtime executes -----------------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// The plan: the data half of the compiler's output (the code half is kernels).
// One plan per target; it holds the entry programs, their buffers in one arena,
// the weights they read and the steps in order. The compiler writes it through
// the `plan` dialect; plan.json is its serialised form; the runtime verifies it
// field by field (verifyPlan) and then interprets it. No MLIR here.
//
// Sizes, offsets, grids and scalar arguments are integer expressions over the
// entry's symbols, evaluated with overflow checks. No host size depends on
// device data.
//===----------------------------------------------------------------------===//
#pragma once

#include "vitrify/Support/DType.h"
#include "vitrify/Support/Status.h"

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace vitrify {

/// An integer expression over symbols. JSON: an integer, a symbol's name as a string, or
/// ["op", lhs, rhs] with op one of + - * ceildiv floordiv mod min max. At most 64 nodes deep.
class PlanExpr {
public:
  enum class Kind : uint8_t { Constant, Symbol, Add, Sub, Mul, CeilDiv, FloorDiv, Mod, Min, Max };
  struct Node {
    Kind kind = Kind::Constant;
    int64_t value = 0;      ///< Constant: the number; Symbol: index into Program::symbols
    int32_t lhs = -1;       ///< operands: indices of earlier nodes
    int32_t rhs = -1;
  };

  PlanExpr() : PlanExpr(0) {}
  /*implicit*/ PlanExpr(int64_t constant);
  static PlanExpr symbol(unsigned index);
  static PlanExpr binary(Kind kind, const PlanExpr &lhs, const PlanExpr &rhs);

  /// Value for these symbol values; an error names the operation on overflow or division by zero.
  StatusOr<int64_t> evaluate(const std::vector<int64_t> &symbols) const;
  bool isConstant() const { return nodes.size() == 1 && nodes[0].kind == Kind::Constant; }

  std::vector<Node> nodes; ///< operands before users; the last is the root
};

/// A dimension of the entry that is known only at run time, with its bounds.
struct PlanSymbol {
  std::string name;   ///< "images"
  int64_t min = 1;    ///< smallest legal value
  int64_t tuned = 1;  ///< the value tiles were chosen for
  int64_t max = 1;    ///< largest legal value
};

/// A range of bytes of the arena, or an argument's memory.
struct PlanBuffer {
  enum class Kind : uint8_t { Arena, Input, Output };
  std::string name;            ///< "b0.qkv#in": layer names as everywhere
  Kind kind = Kind::Arena;
  DType dtype = DType::F32;    ///< storage type; on x86 an E4M3 activation is stored as BF16
  std::vector<PlanExpr> shape; ///< row-major; for Input and Output the argument's shape
  PlanExpr offset;             ///< Arena: bytes from its start, a multiple of 64
  PlanExpr size;               ///< bytes, at least the shape's
  std::string numeric;         ///< what the values are: "" (same as dtype) or "F8_E4M3" (held in dtype)
  std::string scale;           ///< name of the weight that holds its scale, or ""
};

/// How a weight's bytes are arranged when a kernel reads them.
struct PlanWeight {
  std::string name;           ///< "b0.qkv.wq"
  std::string tensor;         ///< key in weights.safetensors (aliases share one)
  DType dtype = DType::F32;   ///< as stored
  std::vector<int64_t> shape; ///< as stored, canonical nk
  std::string layout = "nk";  ///< "nk": as stored, which may be panels already. Others are made at load: see Weights/Pack.h
};

/// One kernel of this target's binary.
struct PlanKernel {
  std::string name;                   ///< symbol in kernels.so or in the cubin
  std::string layer_kind;             ///< "linear", "attention", "row", "gather"
  std::string precision;              ///< what its matrix instructions really take: "f32", "bf16", "f16", "f8e4m3"
  std::string sha256;                 ///< of its code: PTX on GPUs, object text on x86
  unsigned num_scalars = 0;           ///< i64 arguments
  unsigned num_buffers = 0;           ///< pointer arguments: weights, then reads, then writes
  std::map<std::string, int64_t> metrics; ///< registers, spills, shared_bytes, ...: read from the built binary
};

/// One argument's memory: a buffer, from `offset` bytes on.
struct PlanOperand {
  unsigned buffer = 0;  ///< index into Program::buffers
  PlanExpr offset = 0;  ///< bytes; a view such as q of qkv starts inside its buffer
};

/// One step. Which fields hold depends on `kind`.
struct PlanStep {
  enum class Kind : uint8_t { Launch, Copy, If, ExitIf, Call };
  Kind kind = Kind::Launch;
  std::vector<std::string> layers;    ///< the layers this step computes
  // Launch. Kernel variants by M: `kernels[i]` serves dispatch values in [ranges[i].first, ranges[i].second].
  std::vector<unsigned> kernels;      ///< indices into Plan::kernels
  std::vector<std::pair<int64_t, int64_t>> ranges;
  PlanExpr dispatch = 0;              ///< the value ranges are compared with (usually rows)
  std::vector<std::vector<PlanExpr>> grids; ///< per kernel: x, y, z. On x86 x is the number of work units, y = z = 1
  std::vector<std::vector<int64_t>> blocks; ///< per kernel: threads; x86: {1, 1, 1}
  std::vector<int64_t> shared_bytes;  ///< per kernel: dynamic shared memory
  std::vector<PlanExpr> args;         ///< i64 scalars
  std::vector<unsigned> weights;      ///< indices into Plan::weights
  std::vector<PlanOperand> reads;
  std::vector<PlanOperand> writes;
  // Copy: reads[0] to writes[0], `bytes` long.
  PlanExpr bytes = 0;
  // If: runs `body` when `condition` (an expression) is not 0. ExitIf: ends the program when the f32 at reads[0] exceeds `threshold`.
  PlanExpr condition = 0;
  float threshold = 0;
  std::vector<PlanStep> body;
  // Call: an earlier program of this plan. reads are the memory of its inputs, writes of its outputs, in order; its symbols
  // take the values of ours of the same name; its arena buffers may not overlap any of ours that are live at the call.
  std::string callee;
};

/// An argument or result of an entry as the caller sees it.
struct PlanArgument {
  std::string name;    ///< "pixels", "logits"
  unsigned buffer = 0; ///< index of an Input or Output buffer
};

/// One entry function.
struct PlanProgram {
  std::string name;                     ///< "forward"
  std::vector<PlanSymbol> symbols;
  std::vector<PlanArgument> inputs, outputs;
  std::vector<PlanBuffer> buffers;
  PlanExpr arena_bytes;                 ///< the peak; buffers lie inside [0, arena_bytes)
  std::vector<PlanStep> steps;
};

struct Plan {
  static constexpr int kVersion = 1;
  std::string target;                   ///< "x86-64-v4-bf16", "sm_89"
  std::vector<PlanKernel> kernels;
  std::vector<PlanWeight> weights;      ///< in order of first use
  std::vector<PlanProgram> programs;
};

/// plan.json with stable key order and a final newline: equal plans give equal bytes.
std::string printPlan(const Plan &plan);
/// Parses and verifies; the error names the path of the field, what was found and what was expected.
StatusOr<Plan> parsePlan(std::string_view json);
/// Every index in range, shapes and sizes consistent at the symbols' bounds, buffers inside the arena, offsets aligned,
/// no two buffers that live at the same time overlap, every read written before, outputs written, ranges cover [min, max].
/// A buffer lives from its first write to its last read, an Output to the end, an Input from the start; buffers used in
/// bodies count at the If step. Values are checked at every combination of the symbols' least, tuned and largest values.
Status verifyPlan(const Plan &plan);
/// The part of verifyPlan that depends on values, for one program at these symbol values. A runtime calls it for a shape
/// it has not seen, so that no expression that is right at the bounds and wrong between them gets through.
Status verifyProgramAt(const Plan &plan, size_t program, const std::vector<int64_t> &symbols);

} // namespace vitrify
