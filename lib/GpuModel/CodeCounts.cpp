//===- CodeCounts.cpp - what a GPU kernel's code holds ----------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Mnemonics of SASS: CUDA Binary Utilities 13.0, instruction set reference; of PTX:
// PTX ISA 9.0.
//===----------------------------------------------------------------------===//
#include "vitrify/GpuModel/CodeCounts.h"

#include "Listing.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <map>

namespace vitrify {
namespace {

bool has(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

/// Whether one of the parts between dots is this.
bool hasPart(std::string_view opcode, std::string_view part) {
  for (size_t at = 0; (at = opcode.find(part, at)) != std::string_view::npos; at += part.size())
    if ((at == 0 || opcode[at - 1] == '.') && (at + part.size() == opcode.size() || opcode[at + part.size()] == '.'))
      return true;
  return false;
}

/// Numbers of "m16n8k32" or "64x128x16".
bool threeNumbers(std::string_view text, std::array<int64_t, 3> &out) {
  size_t at = 0;
  for (int64_t &value : out) {
    while (at < text.size() && !(text[at] >= '0' && text[at] <= '9'))
      ++at;
    auto [end, error] = std::from_chars(text.data() + at, text.data() + text.size(), value);
    if (error != std::errc())
      return false;
    at = size_t(end - text.data());
  }
  return true;
}

enum class Operands { F8, F16, I8, Other };

void addTensor(CodeCounts &to, Operands operands, bool accumulatesF16, int64_t macs) {
  switch (operands) {
  case Operands::F8:
    (accumulatesF16 ? to.tensorF8AccF16 : to.tensorF8) += 1;
    (accumulatesF16 ? to.macsF8AccF16 : to.macsF8) += macs;
    return;
  case Operands::F16:
    (accumulatesF16 ? to.tensorF16AccF16 : to.tensorF16) += 1;
    (accumulatesF16 ? to.macsF16AccF16 : to.macsF16) += macs;
    return;
  case Operands::I8:
    to.tensorI8 += 1;
    to.macsI8 += macs;
    return;
  case Operands::Other:
    to.tensorOther += 1;
  }
}

/// Bytes a thread moves, by the width's part of a SASS opcode.
int64_t sassWidth(std::string_view opcode) {
  constexpr std::pair<std::string_view, int64_t> widths[] = {{"128", 16}, {"64", 8}, {"U8", 1}, {"S8", 1}, {"U16", 2}, {"S16", 2}};
  for (auto [part, bytes] : widths)
    if (hasPart(opcode, part))
      return bytes;
  return 4;
}

void countSassInstruction(std::string_view opcode, CodeCounts &to) {
  std::string_view name = opcode.substr(0, opcode.find('.'));
  ++to.instructions;
  // mma.sync: one digit string for the shape; wgmma: MxNxK, issued by four warps.
  constexpr std::pair<std::string_view, int64_t> shapes[] = {
      {"16832", 16 * 8 * 32}, {"16816", 16 * 8 * 16}, {"1688", 16 * 8 * 8}, {"16864", 16 * 8 * 64}, {"8816", 8 * 8 * 16}, {"1684", 16 * 8 * 4}};
  if (name == "HMMA" || name == "QMMA" || name == "IMMA" || name == "OMMA" || name == "DMMA" || name == "BMMA") {
    int64_t macs = 0;
    for (auto [part, count] : shapes)
      if (hasPart(opcode, part))
        macs = count;
    Operands operands = name == "HMMA" ? (hasPart(opcode, "TF32") ? Operands::Other : Operands::F16)
                        : name == "QMMA" ? Operands::F8
                        : name == "IMMA" ? Operands::I8
                                         : Operands::Other;
    addTensor(to, operands, !hasPart(opcode, "F32"), macs);
    to.tensorBF16 += name == "HMMA" && hasPart(opcode, "BF16");
  } else if (name == "HGMMA" || name == "QGMMA" || name == "IGMMA") {
    std::array<int64_t, 3> mnk{};
    std::string_view shape = opcode.substr(std::min(opcode.size(), name.size() + 1));
    int64_t macs = threeNumbers(shape.substr(0, shape.find('.')), mnk) ? mnk[0] * mnk[1] * mnk[2] / 4 : 0;
    addTensor(to, name == "HGMMA" ? (has(opcode, "TF32") ? Operands::Other : Operands::F16) : name == "QGMMA" ? Operands::F8 : Operands::I8,
              !hasPart(opcode, "F32"), macs);
    to.tensorBF16 += name == "HGMMA" && hasPart(opcode, "BF16");
  } else if (name.starts_with("UTC") && name.ends_with("MMA")) {
    addTensor(to, Operands::Other, false, 0); // its shape stands in a descriptor
  } else if (name == "MUFU") {
    ++to.mufu;
  } else if (name == "LDSM" || name == "STSM") {
    to.sharedBytes += 128 * (hasPart(opcode, "4") ? 4 : hasPart(opcode, "2") ? 2 : 1);
    to.matrixLoads += name == "LDSM";
  } else if (name == "LDS" || name == "STS") {
    to.sharedBytes += 32 * sassWidth(opcode);
  } else if (name == "LDGSTS") {
    ++to.asyncCopies;
    to.asyncBytes += 32 * sassWidth(opcode);
    to.sharedBytes += 32 * sassWidth(opcode);
  } else if (name == "UBLKCP" || name.starts_with("UTMALDG")) {
    ++to.asyncCopies;
  } else if (name == "LDG" || name == "STG" || name == "LD" || name == "ST" || name.starts_with("ATOM") || name.starts_with("RED")) {
    ++to.globalAccesses;
  } else if (name == "BAR") {
    ++to.barriers;
  } else if (name == "LDGDEPBAR") {
    // commits a group
  } else if (name == "DEPBAR") {
    ++to.asyncWaits;
  } else if (name == "LDL" || name == "STL") {
    ++to.localAccesses;
  } else if ((name == "F2FP" || name == "F2F" || name == "F2F8") && (has(opcode, "E4M3") || has(opcode, "E5M2"))) {
    ++to.converts;
  }
}

/// Bytes a thread moves: vector length times the type's width.
int64_t ptxWidth(std::string_view opcode) {
  int64_t count = hasPart(opcode, "v4") ? 4 : hasPart(opcode, "v2") ? 2 : 1;
  std::string_view type = opcode.substr(opcode.rfind('.') + 1);
  while (!type.empty() && !(type[0] >= '0' && type[0] <= '9'))
    type.remove_prefix(1);
  int64_t bits = 32;
  std::from_chars(type.data(), type.data() + type.size(), bits);
  return count * bits / 8;
}

void countPtxInstruction(std::string_view opcode, std::string_view arguments, CodeCounts &to) {
  ++to.instructions;
  if (opcode.starts_with("mma.sync") || opcode.starts_with("wgmma.mma_async") || opcode.starts_with("tcgen05.mma")) {
    std::array<int64_t, 3> mnk{};
    size_t shape = opcode.find(".m");
    // ".mma_async" starts alike: a digit must follow.
    while (shape != std::string_view::npos && (shape + 2 >= opcode.size() || opcode[shape + 2] < '0' || opcode[shape + 2] > '9'))
      shape = opcode.find(".m", shape + 1);
    int64_t macs = shape != std::string_view::npos && threeNumbers(opcode.substr(shape), mnk) ? mnk[0] * mnk[1] * mnk[2] : 0;
    if (opcode[0] == 'w')
      macs /= 4;
    Operands operands = has(opcode, "e4m3") || has(opcode, "e5m2")        ? Operands::F8
                        : hasPart(opcode, "s8") || hasPart(opcode, "u8")  ? Operands::I8
                        : has(opcode, "f16") && !has(opcode, "tf32")      ? Operands::F16
                                                                          : Operands::Other;
    // The first type after the layouts is the result's.
    size_t f16 = opcode.find(".f16"), f32 = opcode.find(".f32");
    addTensor(to, operands, f16 != std::string_view::npos && f16 < f32, macs);
    to.tensorBF16 += operands == Operands::F16 && has(opcode, "bf16");
  } else if (opcode.starts_with("ex2.") || opcode.starts_with("lg2.") || opcode.starts_with("tanh.") || opcode.starts_with("rcp.approx") ||
             opcode.starts_with("rsqrt.approx") || opcode.starts_with("sqrt.approx") || opcode.starts_with("sin.") || opcode.starts_with("cos.")) {
    ++to.mufu;
  } else if (opcode.starts_with("ldmatrix") || opcode.starts_with("stmatrix")) {
    to.sharedBytes += 128 * (hasPart(opcode, "x4") ? 4 : hasPart(opcode, "x2") ? 2 : 1);
    to.matrixLoads += opcode[0] == 'l';
  } else if (opcode.starts_with("ld.shared") || opcode.starts_with("st.shared")) {
    to.sharedBytes += 32 * ptxWidth(opcode);
  } else if (opcode.starts_with("cp.async.bulk")) {
    to.asyncCopies += !has(opcode, "commit") && !has(opcode, "wait");
    to.asyncWaits += has(opcode, "wait");
  } else if (opcode.starts_with("cp.async.wait")) {
    ++to.asyncWaits;
  } else if (opcode.starts_with("cp.async") && !has(opcode, "commit")) {
    // cp.async.cg.shared.global [to], [from], 16{, size};
    int64_t bytes = 16;
    size_t at = arguments.find("],");
    at = at == std::string_view::npos ? at : arguments.find("],", at + 1);
    if (at != std::string_view::npos)
      for (at += 2; at < arguments.size() && arguments[at] == ' '; ++at)
        ;
    if (at < arguments.size())
      std::from_chars(arguments.data() + at, arguments.data() + arguments.size(), bytes);
    ++to.asyncCopies;
    to.asyncBytes += 32 * bytes;
    to.sharedBytes += 32 * bytes;
  } else if (opcode.starts_with("ld.global") || opcode.starts_with("st.global") || opcode.starts_with("atom.") || opcode.starts_with("red.")) {
    ++to.globalAccesses;
  } else if (opcode.starts_with("bar.") || opcode.starts_with("barrier.sync") || opcode == "barrier" || opcode.starts_with("barrier.cta")) {
    ++to.barriers;
  } else if (opcode.starts_with("ld.local") || opcode.starts_with("st.local")) {
    ++to.localAccesses;
  } else if (opcode.starts_with("cvt.") && (has(opcode, "e4m3") || has(opcode, "e5m2"))) {
    ++to.converts;
  }
}

using Count = void (*)(const ListedInstruction &, CodeCounts &);
void countOneSass(const ListedInstruction &i, CodeCounts &to) { countSassInstruction(i.opcode, to); }
void countOnePtx(const ListedInstruction &i, CodeCounts &to) { countPtxInstruction(i.opcode, i.arguments, to); }

KernelCode countKernel(std::string name, const std::vector<ListedInstruction> &code, Count count) {
  KernelCode kernel;
  kernel.name = std::move(name);
  std::vector<CodeCounts> each(code.size());
  for (size_t i = 0; i < code.size(); ++i) {
    count(code[i], each[i]);
    kernel.all += each[i];
  }
  std::vector<bool> anchors(code.size());
  for (size_t i = 0; i < code.size(); ++i)
    anchors[i] = each[i].tensor() > 0;
  std::vector<NaturalLoop> loops = findLoops(code, anchors);
  auto tensorIn = [&](const NaturalLoop &loop) {
    int64_t macs = 0;
    for (size_t i = 0; i < code.size(); ++i)
      macs += loop.members[i] && each[i].tensor() ? each[i].macs() + 1 : 0;
    return macs;
  };
  auto inside = [&](const NaturalLoop &inner, const NaturalLoop &outer) {
    for (size_t i = 0; i < code.size(); ++i)
      if (inner.members[i] && !outer.members[i])
        return false;
    return true;
  };
  const NaturalLoop *main = nullptr;
  int64_t most = 0;
  for (const NaturalLoop &loop : loops) {
    int64_t macs = tensorIn(loop);
    bool innermost = std::none_of(loops.begin(), loops.end(), [&](const NaturalLoop &other) {
      return &other != &loop && tensorIn(other) > 0 && inside(other, loop);
    });
    if (macs > most && innermost) {
      main = &loop;
      most = macs;
    }
  }
  if (!main)
    return kernel;
  kernel.hasLoop = true;
  size_t first = code.size(), last = 0;
  for (size_t i = 0; i < code.size(); ++i)
    if (main->members[i]) {
      first = std::min(first, i);
      last = i;
      if (main->work[i])
        kernel.loop += each[i];
    }
  for (size_t i = 0; i < code.size(); ++i)
    if (!main->members[i])
      (i < first ? kernel.before : i > last ? kernel.after : kernel.before) += each[i];
  return kernel;
}

std::string_view trimmed(std::string_view text) {
  size_t first = text.find_first_not_of(" \t\r"), last = text.find_last_not_of(" \t\r");
  return first == std::string_view::npos ? std::string_view() : text.substr(first, last - first + 1);
}

/// A kernel while it is read; targets are names until it is complete.
struct Draft {
  std::string name;
  std::vector<ListedInstruction> code;
  std::vector<std::string_view> goes; ///< by instruction: the label that it names, or ""
  std::map<std::string_view, int, std::less<>> labels;

  void add(ListedInstruction instruction, std::string_view label) {
    code.push_back(instruction);
    goes.push_back(label);
  }
  KernelCode finish(Count count) {
    for (size_t i = 0; i < code.size(); ++i)
      if (auto found = labels.find(goes[i]); found != labels.end() && found->second < int(code.size()))
        code[i].target = found->second;
    return countKernel(std::move(name), code, count);
  }
};

template <typename Visit> void eachLine(std::string_view text, Visit visit) {
  for (size_t at = 0; at < text.size();) {
    size_t end = std::min(text.find('\n', at), text.size());
    visit(trimmed(text.substr(at, end - at)));
    at = end + 1;
  }
}

/// "@!P0 BRA `(.L_x_3) ;" without predicate and semicolon.
void addSass(Draft &draft, std::string_view text) {
  bool predicated = text.starts_with("@");
  bool never = text.starts_with("@!PT "), ever = text.starts_with("@PT ");
  if (predicated)
    text = trimmed(text.substr(std::min(text.find(' '), text.size())));
  text = trimmed(text.substr(0, text.find(';')));
  size_t space = std::min(text.find(' '), text.size());
  ListedInstruction instruction{text.substr(0, space), trimmed(text.substr(space))};
  std::string_view name = instruction.opcode.substr(0, instruction.opcode.find('.'));
  bool jumps = name == "BRA" || name == "BRX" || name == "BRXU" || name == "JMP" || name == "UBRA" || name == "CALL";
  std::string_view label;
  if (size_t open = instruction.arguments.find("`("); (jumps || name == "BSYNC") && open != std::string_view::npos)
    label = instruction.arguments.substr(open + 2, instruction.arguments.find(')', open) - open - 2);
  // Taken by warps whose threads went different ways only: the slow copy of what follows.
  const bool divergent = hasPart(instruction.opcode, "DIV");
  if (divergent)
    label = {};
  // A branch's own condition: "BRA P0, `(.L_x_3)" or "BRA.U UP0, ...".
  bool conditional = divergent || (predicated && !ever) || (jumps && has(instruction.arguments, ","));
  instruction.falls = never || conditional || !(name == "EXIT" || name == "RET" || (jumps && name != "CALL"));
  draft.add(instruction, label);
}

} // namespace

CodeCounts &CodeCounts::operator+=(const CodeCounts &other) {
  for (auto member : {&CodeCounts::instructions, &CodeCounts::tensorF8, &CodeCounts::tensorF8AccF16, &CodeCounts::tensorF16,
                      &CodeCounts::tensorF16AccF16, &CodeCounts::tensorI8, &CodeCounts::tensorOther, &CodeCounts::tensorBF16, &CodeCounts::macsF8,
                      &CodeCounts::macsF8AccF16, &CodeCounts::macsF16, &CodeCounts::macsF16AccF16, &CodeCounts::macsI8, &CodeCounts::mufu,
                      &CodeCounts::sharedBytes, &CodeCounts::asyncCopies, &CodeCounts::asyncBytes, &CodeCounts::globalAccesses,
                      &CodeCounts::barriers, &CodeCounts::asyncWaits, &CodeCounts::localAccesses, &CodeCounts::matrixLoads,
                      &CodeCounts::converts})
    this->*member += other.*member;
  return *this;
}

std::string KernelCode::precision() const {
  struct Kind {
    int64_t count;
    std::string_view name;
  };
  Kind kinds[] = {{all.tensorF8 + all.tensorF8AccF16, "f8"},
                  {all.tensorF16 + all.tensorF16AccF16 - all.tensorBF16, "f16"},
                  {all.tensorBF16, "bf16"},
                  {all.tensorI8, "i8"},
                  {all.tensorOther, "other"}};
  // The most first; equal ones stay in this order.
  for (Kind *next = std::begin(kinds); next != std::end(kinds); ++next)
    std::rotate(std::upper_bound(std::begin(kinds), next, *next, [](const Kind &a, const Kind &b) { return a.count > b.count; }), next, next + 1);
  std::string text;
  for (const auto &[count, name] : kinds)
    if (count)
      text += (text.empty() ? "" : "+") + std::string(name);
  return text;
}

StatusOr<std::vector<KernelCode>> countSass(std::string_view text) {
  std::vector<KernelCode> kernels;
  Draft draft;
  int64_t registers = 0;
  auto finish = [&] {
    if (!draft.name.empty()) {
      kernels.push_back(draft.finish(countOneSass));
      kernels.back().registers = registers;
    }
    draft = Draft();
  };
  eachLine(text, [&](std::string_view line) {
    if (line.starts_with(".section\t") || line.starts_with(".section ")) {
      finish();
      registers = 0;
    } else if (constexpr std::string_view mark = "SHI_REGISTERS="; line.starts_with(".sectioninfo") && has(line, mark)) {
      std::string_view number = line.substr(line.find(mark) + mark.size());
      std::from_chars(number.data(), number.data() + number.size(), registers);
    } else if (line.starts_with(".text.") && line.ends_with(":")) {
      finish();
      draft.name = line.substr(6, line.size() - 7);
    } else if (draft.name.empty()) {
      return;
    } else if (line.ends_with(":") && !has(line, " ")) {
      draft.labels[line.substr(0, line.size() - 1)] = int(draft.code.size());
    } else if (line.starts_with("/*") && has(line, ";")) {
      addSass(draft, trimmed(line.substr(line.find("*/") + 2)));
    }
  });
  finish();
  if (kernels.empty())
    return dataLoss("no kernel in the disassembly");
  return kernels;
}

StatusOr<std::vector<KernelCode>> countPtx(std::string_view text) {
  std::vector<KernelCode> kernels;
  Draft draft;
  int depth = 0;
  std::string_view pending; // an instruction may span lines: its first, until the semicolon
  auto instruction = [&](std::string_view statement) {
    bool predicated = statement.starts_with("@");
    if (predicated)
      statement = trimmed(statement.substr(std::min(statement.find_first_of(" \t"), statement.size())));
    if (statement.empty() || statement[0] == '.')
      return; // a directive
    size_t space = std::min(statement.find_first_of(" \t\n"), statement.size());
    ListedInstruction listed{statement.substr(0, space), trimmed(statement.substr(space))};
    bool branch = listed.opcode == "bra" || listed.opcode.starts_with("bra.");
    listed.falls = predicated || !(branch || listed.opcode == "ret" || listed.opcode == "exit");
    draft.add(listed, branch ? listed.arguments : std::string_view());
  };
  eachLine(text, [&](std::string_view line) {
    line = trimmed(line.substr(0, line.find("//")));
    if (size_t at = line.find(".entry "); depth == 0 && at != std::string_view::npos) {
      std::string_view rest = trimmed(line.substr(at + 7));
      draft = Draft();
      draft.name = rest.substr(0, rest.find_first_of("( \t"));
      return;
    }
    if (line == "{" || line == "}") {
      depth += line == "{" ? 1 : -1;
      if (depth == 0 && !draft.name.empty()) {
        kernels.push_back(draft.finish(countOnePtx));
        draft = Draft();
      }
      return;
    }
    if (depth == 0 || draft.name.empty() || line.empty())
      return;
    if (line.ends_with(":") && pending.empty()) {
      draft.labels[line.substr(0, line.size() - 1)] = int(draft.code.size());
      return;
    }
    std::string_view whole = pending.empty() ? line : std::string_view(pending.data(), size_t(line.data() + line.size() - pending.data()));
    if (!line.ends_with(";")) {
      pending = whole;
      return;
    }
    pending = {};
    instruction(whole.substr(0, whole.size() - 1));
  });
  if (kernels.empty())
    return dataLoss("no entry in the PTX");
  return kernels;
}

} // namespace vitrify
