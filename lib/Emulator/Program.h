//===- Program.h - decoded functions ----------------------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// The form that runs: one array of fixed-size instructions whose operands are
// byte offsets into a warp's register block. A virtual register is a row of 32
// lanes; immediates and special registers are rows too, so that an instruction
// has one form. Rows are shared by registers that are never live together.
//===----------------------------------------------------------------------===//
#pragma once

#include "Syntax.h"

#include "vitrify/Emulator/Counters.h"

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

namespace vitrify::emulator {

struct Warp;
struct Inst;
/// Runs one instruction for the lanes of `mask` (never 0).
using ExecFn = void (*)(Warp &warp, const Inst &inst, uint32_t mask);

/// What the loop does beside calling exec.
enum class Kind : uint8_t {
  Exec,      ///< nothing
  Memory,    ///< looks whether the access faulted
  Label,     ///< start of a block: may switch to another path of the warp
  Branch,    ///< to `target`
  BranchIndex,
  Call, CallIndirect, Ret, Exit,
  WarpSync,  ///< waits for the lanes of its member mask, then exec
  Barrier,   ///< bar.sync, bar.red, bar.arrive
  WaitMbarrier,
  ClusterBarrier,
  Trap, Assert, Print, Nanosleep,
};

enum InstFlag : uint8_t {
  FlagNegated = 1,    ///< guard is inverted
  FlagCheckInit = 2,  ///< reads a register that may be unset
  FlagNoGuard = 4,
  FlagDefsTracked = 8,///< writes a register whose initialisation is tracked
  FlagVolatile = 16,  ///< volatile, relaxed, acquire, release: an access that is never torn
};

/// Orders and scopes, in Inst::order and Inst::scope.
enum class Order : uint8_t { Weak, Relaxed, Acquire, Release, AcqRel, SeqCst };
enum class Scope : uint8_t { Cta, Cluster, Gpu, Sys };

/// One decoded instruction. a..d are row offsets; `list` indexes Program::lists.
struct alignas(64) Inst {
  ExecFn exec = nullptr;
  uint64_t imm = 0;
  uint32_t d = 0, a = 0, b = 0, c = 0, e = 0;
  uint32_t guard = 0;
  uint32_t target = 0;
  uint32_t list = 0;
  Kind kind = Kind::Exec;
  uint8_t flags = FlagNoGuard;
  uint8_t aux = 0, aux2 = 0;
  uint8_t width = 0;    ///< memory: bytes of one element
  uint8_t count = 0;    ///< memory: elements of the vector; lists: their length
  Order order = Order::Weak;
  Scope scope = Scope::Cta;
};
static_assert(sizeof(Inst) == 64);

/// Where an instruction comes from and what class of work it is.
struct InstInfo {
  const Instruction *source = nullptr;
  InstClass cls = InstClass::Other;
  uint32_t function = 0;
  uint32_t priority = 0; ///< of its block: a lower one runs first, so that paths meet at post-dominators
  uint32_t macs = 0;     ///< tensor multiply-adds of a warp instruction
  uint32_t tracked = 0;  ///< index in Program::tracked, 0 for none
  uint8_t tensorKind = 0;///< 1 f16, 2 f16 with f16 sums, 3 f8, 4 f8 with f16 sums, 5 i8, 6 other
};

struct SpecialRow {
  uint32_t row;
  std::string name; ///< "%tid.x"
};

struct TrackedRegister {
  uint32_t row, initRow; ///< initRow: a mask of lanes that were written
  std::string name;
  uint32_t reg = 0; ///< index in ParsedFunction::registers
};

/// Width of one row, for saving and restoring the lanes of a frame.
struct RowShape {
  uint32_t row, bytesPerLane; ///< 0: a predicate
};

struct CallSite {
  struct Move {
    uint32_t from, to, bytes; ///< offsets in local memory
  };
  std::vector<Move> args, results;
};

struct DecodedFunction {
  const ParsedFunction *parsed = nullptr;
  FunctionInfo info;
  uint32_t entry = 0;             ///< pc
  uint32_t rowsBegin = 0, rowsEnd = 0;   ///< its window in the register block
  uint32_t localBegin = 0, localEnd = 0; ///< its window in local memory
  bool recursive = false;
  bool usesBarrier = false;
  std::vector<TrackedRegister> tracked;
  std::vector<RowShape> shapes;   ///< recursive functions only
  std::unordered_map<std::string, uint32_t> local;  ///< .local and .param variables to offsets
};

inline constexpr uint64_t kSharedWindow = uint64_t(1) << 56;
inline constexpr uint64_t kLocalWindow = uint64_t(2) << 56;
inline constexpr uint64_t kParamWindow = uint64_t(3) << 56;
inline constexpr uint64_t kFunctionWindow = uint64_t(4) << 56;

struct Program {
  const Module *module = nullptr;
  const Chip *chip = nullptr;
  std::vector<Inst> code;
  std::vector<InstInfo> infos;       ///< one an instruction
  std::vector<uint32_t> lists;       ///< row offsets of vectors and fragments
  /// By instruction: uses | definitions << 16, then the rows that say which lanes of tracked registers were written. The
  /// last bit of a use marks the guard.
  std::vector<uint32_t> tracked;
  std::vector<DecodedFunction> functions;
  std::unordered_map<std::string, uint32_t> functionIndex;
  std::vector<CallSite> calls;
  std::vector<std::vector<uint32_t>> jumpTables; ///< brx.idx
  std::vector<SpecialRow> specials;
  std::vector<uint8_t> constants;    ///< the first bytes of every register block
  uint32_t rowsBytes = 0;            ///< size of a register block
  uint32_t localBytes = 0;           ///< per thread, without alloca
  uint32_t dynamicSharedBegin = 0;   ///< where dynamic shared memory starts
  bool usesAlloca = false;
  std::vector<std::pair<uint64_t, uint64_t>> constantRanges; ///< where .const variables lie
  uint32_t ccRow = 0;                ///< the carry flag, a mask
  std::unordered_map<std::string, uint64_t> globals;      ///< variable to address
  std::unordered_map<std::string, uint32_t> moduleShared; ///< module-level .shared to offset
};

/// Decodes every function for the device's chip. Unsupported instructions are refused by name and line.
Status decodeProgram(const Module &module, const Chip &chip, Program &program);

/// The instruction set: every form the executors have, by canonical key, e.g. "add.ftz.f32".
/// Chosen once by what the CPU can do.
ExecFn findExec(std::string_view key);

} // namespace vitrify::emulator
