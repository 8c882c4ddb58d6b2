//===- Decode.h - the decoder's state ---------------------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Turns parsed functions into Inst's. DecodeModule.cpp: the whole; Decode.cpp:
// one function's order, rows, constants; the others: families. Every modifier
// must be consumed: what is left over is refused.
//===----------------------------------------------------------------------===//
#pragma once

#include "Program.h"

#include <map>
#include <set>

namespace vitrify::emulator {

/// Marks rows of the head (constants, special registers) until all functions are known.
inline constexpr uint32_t kHead = 0x80000000u;

/// State common to all functions of a module.
struct ModuleDecoder {
  const Module &module;
  const Chip &chip;
  Program &program;
  std::map<std::pair<unsigned, uint64_t>, uint32_t> constantRows; ///< (bits, value) to row
  std::map<std::string, uint32_t> specialRows;
  std::map<unsigned, uint32_t> sinkRows;
  uint32_t headBytes = 0;          ///< constants, specials and sinks: the start of a register block
  /// Rows of the head are known only after all functions are decoded, so they are numbered from kHeadBase and
  /// function rows from 0 until fixRows().
  uint32_t ccRow = 0;

  uint32_t constantRow(unsigned bits, uint64_t value);
  uint32_t specialRow(const std::string &name, unsigned bits);
  uint32_t sinkRow(unsigned bits);
  uint32_t newHeadRow(unsigned bits);
};

/// Registers an instruction reads and writes, by index in ParsedFunction::registers.
struct UseDef {
  std::vector<uint32_t> uses, defs;
};
UseDef usesAndDefs(const Instruction &inst);

/// Parts of executors' keys: "u32" (which .b32 is too), and "32".
std::string typeName(Ty type);
std::string widthName(Ty type);

/// Rows of one function's registers, from liveness.
struct RowPlan {
  std::vector<uint32_t> rows;       ///< offset in the function's window, by register; kNoReg if unused
  std::vector<bool> maybeUnset;     ///< may be read before it is written
  std::vector<uint32_t> blockOrder; ///< priority by block
  uint32_t bytes = 0;
  uint32_t peakRegisters = 0;
};
struct Block {
  uint32_t begin = 0, end = 0; ///< instructions
  std::vector<uint32_t> successors;
};
StatusOr<std::vector<Block>> findBlocks(const ParsedFunction &fn, const std::string &moduleName);
RowPlan planRows(const ParsedFunction &fn, const std::vector<Block> &blocks);

unsigned rowBytes(unsigned bits); ///< of a row: 4 for predicates, else 32 lanes

class FunctionDecoder {
public:
  FunctionDecoder(ModuleDecoder &context, DecodedFunction &fn, uint32_t index)
      : ctx(context), program(context.program), fn(fn), parsed(*fn.parsed), index(index) {}
  Status run();
  uint32_t windowBytes() const { return (plan.bytes + 63) / 64 * 64; }

  using Handler = Status (FunctionDecoder::*)();
  static const std::unordered_map<std::string, Handler> &handlers(); ///< by opcode

private:

  // Decode.cpp
  Status layoutLocals();
  Status instruction();
  Status refuse(const std::string &why = {}) const;
  Status wrong(const std::string &why) const;
  bool has(std::string_view modifier);        ///< consumes it
  std::string oneOf(std::initializer_list<std::string_view> modifiers); ///< consumes the one there, or ""
  Ty typeModifier();                          ///< consumes the next type modifier
  Status finishModifiers() const;
  Status operandCount(size_t least, size_t most = 0) const;
  StatusOr<uint32_t> row(const Operand &op, Ty type);
  StatusOr<uint32_t> destination(const Operand &op, Ty type);
  StatusOr<uint32_t> predicate(const Operand &op, bool &negated);
  StatusOr<uint64_t> symbolAddress(const std::string &name, Space &space);
  StatusOr<uint64_t> immediate(const Operand &op) const;
  Inst &emit(ExecFn exec, InstClass cls, Kind kind = Kind::Exec);
  Status emitOp(const std::string &key, InstClass cls, std::initializer_list<Ty> sources, Ty dest);
  uint32_t temporary(unsigned bits);
  uint32_t addList(const std::vector<uint32_t> &rows);

  // DecodeArith.cpp
  Status arith();       // add sub mul mad fma div rem min max abs neg ...
  Status logic();
  Status shift();
  Status move();
  Status compare();
  Status select();
  Status convert();
  Status math();
  Status bitField();
  Status misc();
  Status carry();
  // DecodeMemory.cpp
  Status load();
  Status store();
  Status atomic();
  Status cvta();
  Status isspacep();
  Status asyncCopy();
  Status mbarrier();
  Status prefetch();
  Status stackAlloc();
  Status memoryOrder(Inst &inst);
  Status addressOperand(const Operand &op, Space space, Inst &inst);
  StatusOr<Space> spaceModifier(Space fallback);
  void eatCacheHints();
  // DecodeControl.cpp
  Status branch();
  Status branchIndex();
  Status call();
  Status ret();
  Status exitInst();
  Status barrier();
  Status fence();
  Status warpOp();
  Status special();
  // DecodeMatrix.cpp
  Status ldmatrix();
  Status mma();
  Status wmma();

  ModuleDecoder &ctx;
  Program &program;
  DecodedFunction &fn;
  const ParsedFunction &parsed;
  uint32_t index;
  const Instruction *inst = nullptr;
  std::vector<bool> used; ///< modifiers consumed
  RowPlan plan;
  std::vector<Block> blocks;
  std::vector<uint32_t> labelPc;                      ///< pc of each block
  std::vector<std::pair<uint32_t, uint32_t>> fixups;  ///< instruction, block
  std::vector<std::pair<size_t, const std::vector<std::string> *>> tableFixups;
  std::unordered_map<uint32_t, uint32_t> blockAt;     ///< first instruction to block
  std::map<unsigned, std::vector<uint32_t>> temporaries;
  unsigned temporaryCount = 0;
  uint32_t currentBlock = 0;
};

} // namespace vitrify::emulator
