//===- Syntax.h - the parsed form of PTX ------------------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// What the parser makes of a module's text: variables, functions, instructions
// with typed operands and their lines. Names are resolved; meaning is not: the
// decoder (Decode*.cpp) gives each instruction its code.
//===----------------------------------------------------------------------===//
#pragma once

#include "vitrify/Emulator/Module.h"

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

namespace vitrify::emulator {

/// Fundamental types and the formats that only conversions and matrix instructions name.
enum class Ty : uint8_t {
  None, Pred, B8, B16, B32, B64, B128, U8, U16, U32, U64, S8, S16, S32, S64,
  F16, F16x2, BF16, BF16x2, F32, F64, TF32, E4M3, E5M2, E4M3x2, E5M2x2, E2M1x2, UE8M0x2, U16x2, S16x2, B1,
  F32x2, S4, U4,
};
/// The type of a modifier such as ".f16x2", or None.
Ty typeOfModifier(std::string_view modifier);
/// Bits of a register that holds the type; Pred has 1.
unsigned bitsOf(Ty type);
inline bool isFloat(Ty t) { return t >= Ty::F16 && t <= Ty::F64; }
inline bool isSigned(Ty t) { return t >= Ty::S8 && t <= Ty::S64; }
inline bool isUnsigned(Ty t) { return t >= Ty::U8 && t <= Ty::U64; }

enum class Space : uint8_t { None, Reg, Global, Const, Shared, Local, Param, Generic };
std::string_view spaceName(Space space);

struct Relocation {
  uint64_t offset = 0;  ///< in the variable
  std::string symbol;
  int64_t addend = 0;
  uint8_t bytes = 8;
};

struct Variable {
  std::string name;
  Space space = Space::None;
  Ty type = Ty::None;
  uint32_t align = 1;
  uint64_t size = 0;
  bool isExtern = false, isVisible = false;
  bool pointer = false;        ///< parameters declared .ptr
  std::vector<uint8_t> init;   ///< empty: zero
  std::vector<Relocation> relocations;
  uint32_t line = 0;
};

inline constexpr uint32_t kNoReg = 0xffffffffu;

struct Operand {
  enum Kind : uint8_t { Reg, Int, Float, Symbol, Address, Vector, Special, Sink, Label, List };
  Kind kind = Int;
  bool negated = false;           ///< !p
  bool isDouble = false;          ///< Float: bits are an f64's, else an f32's
  uint32_t reg = kNoReg;          ///< Reg, Address with a register base
  uint32_t reg2 = kNoReg;         ///< d|p
  uint64_t bits = 0;              ///< Int, Float
  int64_t offset = 0;             ///< Address, Symbol
  std::string name;               ///< Symbol, Special, Label, Address with a symbol base
  std::vector<Operand> elements;  ///< Vector, List
};

struct SourceLoc {
  uint32_t file = 0, line = 0;
};

struct Instruction {
  std::string opcode;                 ///< "ld"
  std::vector<std::string> modifiers; ///< ".global", ".v4", ".f32"
  std::vector<Operand> operands;
  uint32_t guard = kNoReg;
  bool guardNegated = false;
  uint32_t line = 0;
  SourceLoc loc;

  std::string text() const; ///< opcode with its modifiers
};

struct RegDecl {
  std::string name;
  Ty type = Ty::None;
};

struct Prototype {
  std::vector<Variable> results, params;
};

struct ParsedFunction {
  FunctionInfo info;
  bool isExtern = false;             ///< declared only
  std::vector<Variable> results;     ///< .param return values
  std::vector<Variable> params;
  std::vector<Variable> variables;   ///< .local, .shared, .param of the body, names made unique by scope
  std::vector<RegDecl> registers;
  std::vector<Instruction> code;
  std::unordered_map<std::string, uint32_t> labels; ///< to the index in code
  std::unordered_map<std::string, std::vector<std::string>> targets; ///< .branchtargets, .calltargets
  std::unordered_map<std::string, Prototype> prototypes;
};

struct ParsedModule {
  std::string name, target;
  std::vector<std::string> targetOptions;
  int version = 0;
  std::vector<std::unique_ptr<ParsedFunction>> functions;
  std::vector<Variable> variables;
  std::unordered_map<std::string, std::string> aliases;
  std::unordered_map<uint32_t, std::string> files;
  std::vector<FunctionInfo> infos;
  std::vector<VariableInfo> variableInfos;

  const ParsedFunction *find(std::string_view name) const;
};

StatusOr<std::unique_ptr<ParsedModule>> parsePtx(std::string_view text, std::string name);

} // namespace vitrify::emulator
