//===- Gates.cpp - what a form needs ----------------------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Rows of a table; all that match an instruction count. What the table says is
// compared with ptxas, form by form (test/Python/test_emulator_gates.py).
//===----------------------------------------------------------------------===//
#include "Gates.h"

#include "vitrify/Emulator/InstructionSet.h"

#include <algorithm>

namespace vitrify::emulator {

namespace {

/// Targets that have a form whatever their number.
enum class Only : uint8_t { Any, Specific, Family100 }; ///< sm_NNa or sm_NNf; those of sm_100 and sm_103

struct Gate {
  std::string_view opcodes;   ///< "|" between them; empty: all
  std::string_view modifiers; ///< words that must all be there; "|" between alternatives, "!" before what must not
  int target, version;        ///< sm_ number; 10 times the ISA version
  Only only = Only::Any;
  size_t operands = 0; ///< 0: any number
};

constexpr Gate kGates[] = {
    // Types and modifiers.
    {"", ".bf16|.bf16x2", 80, 70},
    {"", ".tf32", 80, 70},
    {"", ".b128", 0, 83},
    {"", ".relu", 80, 70},
    {"min|max", ".NaN", 80, 70},
    {"min|max", ".xorsign", 86, 72},
    {"ld|st|atom|red|fence|mbarrier", ".cluster", 90, 78},
    {"ld|st|atom|red|fence|mbarrier|ldmatrix|stmatrix|cvta|isspacep|wmma", ".shared::cta", 0, 78},
    {"", ".shared::cluster", 90, 78},
    {"ld|st", ".mmio", 0, 82},
    {"", ".L1::evict_normal|.L1::evict_unchanged|.L1::evict_first|.L1::evict_last|.L1::no_allocate", 0, 74},
    {"", ".L2::64B|.L2::128B", 0, 74},
    {"", ".L2::256B", 80, 74},
    {"", ".L2::cache_hint", 80, 74},
    // Integers.
    {"add|min|max", ".u16x2|.s16x2", 90, 80},
    {"min|max", ".relu .s32|.s16x2", 90, 80},
    {"bmsk|szext", "", 0, 76},
    {"lop3", ".or|.and", 0, 82},
    // Floats.
    {"abs", ".f16|.f16x2", 0, 65},
    {"min|max", ".f16|.f16x2", 80, 70},
    {"add|sub|mul", ".bf16|.bf16x2", 90, 78},
    {"add|sub|mul|fma", ".f32x2", 100, 86},
    {"min|max", ".f32", 100, 88, Only::Any, 4},
    {"fma", ".oob", 90, 81},
    {"set|setp", ".bf16|.bf16x2", 90, 78},
    {"tanh", "", 0, 70},
    {"ex2", ".f16|.f16x2", 0, 70},
    {"ex2|tanh", ".bf16|.bf16x2", 90, 78},
    // Conversions.
    {"cvt", ".satfinite .f16|.bf16|.f16x2|.bf16x2 .f32", 0, 81},
    {"cvt", ".satfinite .rna .tf32", 0, 81},
    {"cvt", ".bf16 .f16|.f64|.u8|.s8|.u16|.s16|.u32|.s32|.u64|.s64", 90, 78},
    {"cvt", ".bf16 !.f32 !.f16 !.f64 !.u8 !.s8 !.u16 !.s16 !.u32 !.s32 !.u64 !.s64", 90, 78},
    {"cvt", ".bf16 .f32 !.rn !.rz !.rm !.rp", 0, 71},
    {"cvt", ".bf16 .f32 .ftz !.rn !.rz !.rm !.rp", 90, 78},
    {"cvt", ".f16x2 .f32", 80, 70},
    {"cvt", ".tf32 .rn|.rz", 90, 78},
    {"cvt", ".tf32 .rn|.rz .satfinite", 100, 86},
    {"cvt", ".e4m3x2|.e5m2x2", 89, 78}, // of sm_89 from 8.1 on
    {"cvt", ".e2m1x2|.ue8m0x2", 100, 86, Only::Specific},
    {"cvt", ".pack", 0, 65},
    // Memory.
    {"ld|st", ".v8 .b32|.u32|.s32|.f32", 100, 88},
    {"ld|st", ".v4 .b64|.u64|.s64|.f64", 100, 88},
    {"prefetch", ".L2::evict_last|.L2::evict_normal", 80, 74},
    {"createpolicy|applypriority|discard", "", 80, 74},
    {"cvta|isspacep", ".param", 0, 77},
    {"stacksave|stackrestore|alloca", "", 0, 73},
    // Atomics.
    {"atom|red", ".v2|.v4|.v8", 90, 81},
    {"atom|red", ".bf16|.bf16x2", 90, 78},
    {"atom|red", ".min|.max .f16|.f16x2|.bf16|.bf16x2", 90, 81},
    {"atom", ".b128", 90, 83},
    {"atom", ".b128 .sys", 90, 84},
    // Synchronisation.
    {"fence", ".proxy", 0, 75},
    {"fence", ".proxy .async", 90, 80},
    {"fence", ".mbarrier_init", 90, 80},
    {"bar|barrier", ".cta", 0, 78},
    {"barrier", ".cluster", 90, 78},
    {"barrier", ".cluster .release|.acquire|.relaxed", 90, 80},
    {"redux", "", 80, 70},
    {"redux", ".f32", 100, 86, Only::Family100},
    {"elect", "", 90, 80},
    {"griddepcontrol", "", 90, 78},
    {"setmaxnreg", "", 90, 80, Only::Specific},
    {"mbarrier", "", 80, 70},
    {"mbarrier", ".parity", 0, 71},
    {"mbarrier", ".try_wait", 90, 78},
    {"mbarrier", ".expect_tx|.complete_tx", 90, 80},
    {"mbarrier", ".cta|.cluster|.acquire|.release", 0, 80},
    {"mbarrier", ".relaxed .arrive|.arrive_drop|.test_wait|.try_wait", 90, 86},
    {"mbarrier", ".arrive|.arrive_drop !.noComplete !.expect_tx", 90, 78, Only::Any, 3},
    // Asynchronous copies and matrices.
    {"cp", ".async", 80, 70},
    {"ldmatrix", "", 0, 65},
    {"stmatrix", "", 90, 78},
    {"movmatrix", "", 0, 78},
    {"mma", "", 0, 64},
    {"mma", ".m16n8k8|.m8n8k16", 0, 65},
    {"mma", ".m16n8k4|.m16n8k16|.m16n8k32", 80, 70},
    {"mma", ".f64", 80, 70},
    {"mma", ".f64 .m16n8k4|.m16n8k8|.m16n8k16", 90, 78},
    {"mma", ".e4m3|.e5m2", 89, 84},
    {"mma", ".e4m3|.e5m2 .m16n8k16|.f16", 89, 87},
    {"mma", ".kind::f8f6f4", 100, 86, Only::Specific},
    {"wmma", ".bf16|.tf32|.f64|.m16n16k8", 80, 70},
};

struct SpecialGate {
  std::string_view prefix;
  int target, version;
};
constexpr SpecialGate kSpecials[] = {
    {"%cluster", 90, 78},           {"%nclusterid", 90, 78},        {"%is_explicit_cluster", 90, 78},
    {"%aggr_smem_size", 90, 81},    {"%current_graph_exec", 0, 80}, {"%reserved_smem_offset", 80, 76},
};

/// Calls f for each part of `text` between separators; stops when f returns true, and says whether it did.
template <class F> bool anyPart(std::string_view text, char separator, F f) {
  while (!text.empty()) {
    const size_t end = std::min(text.find(separator), text.size());
    if (f(text.substr(0, end)))
      return true;
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return false;
}

bool matches(const Gate &gate, const Instruction &inst) {
  if (!gate.opcodes.empty() && !anyPart(gate.opcodes, '|', [&](std::string_view name) { return name == inst.opcode; }))
    return false;
  if (gate.operands && gate.operands != inst.operands.size())
    return false;
  auto has = [&](std::string_view m) { return std::find(inst.modifiers.begin(), inst.modifiers.end(), m) != inst.modifiers.end(); };
  return !anyPart(gate.modifiers, ' ', [&](std::string_view word) {
    return word[0] == '!' ? has(word.substr(1)) : !anyPart(word, '|', has);
  });
}

struct Needs {
  int target = 0, version = 0;
  Only only = Only::Any;
  void join(int t, int v, Only o = Only::Any) {
    target = std::max(target, t);
    version = std::max(version, v);
    only = std::max(only, o);
  }
};

void joinSpecials(const Operand &operand, Needs &needs) {
  if (operand.kind == Operand::Special)
    for (const SpecialGate &gate : kSpecials)
      if (operand.name.starts_with(gate.prefix))
        needs.join(gate.target, gate.version);
  for (const Operand &element : operand.elements)
    joinSpecials(element, needs);
}

} // namespace

std::string gateReason(const ParsedFunction &function, const Instruction &inst, std::string_view target, int version) {
  Needs needs;
  for (const Gate &gate : kGates)
    if (matches(gate, inst))
      needs.join(gate.target, gate.version, gate.only);
  for (const Operand &operand : inst.operands)
    joinSpecials(operand, needs);
  // cp.async with a predicate that says whether the source is ignored.
  if (inst.opcode == "cp" && inst.operands.size() > 3 && inst.operands[3].kind == Operand::Reg &&
      function.registers[inst.operands[3].reg].type == Ty::Pred)
    needs.join(80, 75);
  int number = 0;
  size_t at = 3;
  while (at < target.size() && target[at] >= '0' && target[at] <= '9' && number < 100000)
    number = number * 10 + (target[at++] - '0');
  if (number == 89 && needs.version == 78 && inst.opcode == "cvt" && needs.target == 89)
    needs.join(89, 81);
  const bool specific = at < target.size();
  const bool has = needs.only == Only::Any        ? true
                   : needs.only == Only::Specific ? specific
                                                  : specific && number >= 100 && number < 110;
  if (number < needs.target || !has)
    return "needs .target sm_" + std::to_string(needs.target) +
           (needs.only == Only::Any        ? std::string(" or higher")
            : needs.only == Only::Specific ? "a or sm_" + std::to_string(needs.target) + "f, or higher ones of their kind"
                                           : "a, sm_103a or their family") +
           ", the module's is " + std::string(target);
  if (version < needs.version)
    return "needs .version " + std::to_string(needs.version / 10) + "." + std::to_string(needs.version % 10) +
           " or later, the module's is " + std::to_string(version / 10) + "." + std::to_string(version % 10);
  return {};
}

std::vector<std::pair<uint32_t, std::string>> unavailable(const Module &module) {
  std::vector<std::pair<uint32_t, std::string>> out;
  for (const auto &function : module.parsed().functions)
    for (const Instruction &inst : function->code)
      if (std::string reason = gateReason(*function, inst, module.target(), module.version()); !reason.empty())
        out.emplace_back(inst.line, inst.text() + " " + reason);
  return out;
}

} // namespace vitrify::emulator
