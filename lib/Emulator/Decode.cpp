//===- Decode.cpp - the decoder's frame -------------------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Functions one by one: windows of rows and local memory, blocks, operands,
// the dispatch on opcodes. Rows of the head (constants, special registers) are
// marked by their top bit until all functions are known.
//===----------------------------------------------------------------------===//
#include "Decode.h"
#include "Gates.h"
#include "vitrify/Emulator/InstructionSet.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace vitrify::emulator {

namespace {
unsigned classBits(Ty type) {
  unsigned bits = bitsOf(type);
  return bits == 1 ? 1 : bits <= 16 ? 16 : bits <= 32 ? 32 : bits <= 64 ? 64 : 128;
}
} // namespace

uint32_t ModuleDecoder::newHeadRow(unsigned bits) {
  uint32_t at = headBytes;
  headBytes += std::max(rowBytes(bits), 64u);
  program.constants.resize(headBytes);
  return at | kHead;
}

uint32_t ModuleDecoder::constantRow(unsigned bits, uint64_t value) {
  if (bits < 64)
    value &= (uint64_t(1) << bits) - 1;
  auto [it, fresh] = constantRows.try_emplace({bits, value}, 0);
  if (fresh) {
    it->second = newHeadRow(bits);
    uint8_t *out = program.constants.data() + (it->second & ~kHead);
    if (bits == 1) {
      uint32_t mask = value ? ~0u : 0u;
      std::memcpy(out, &mask, 4);
    } else {
      unsigned bytes = bits / 8;
      for (unsigned lane = 0; lane < 32; ++lane)
        std::memcpy(out + lane * bytes, &value, std::min(bytes, 8u));
    }
  }
  return it->second;
}

uint32_t ModuleDecoder::specialRow(const std::string &name, unsigned bits) {
  auto [it, fresh] = specialRows.try_emplace(name, 0);
  if (fresh) {
    it->second = newHeadRow(bits);
    program.specials.push_back({it->second & ~kHead, name});
  }
  return it->second;
}

uint32_t ModuleDecoder::sinkRow(unsigned bits) {
  auto [it, fresh] = sinkRows.try_emplace(bits, 0);
  if (fresh)
    it->second = newHeadRow(bits);
  return it->second;
}

Status FunctionDecoder::wrong(const std::string &why) const {
  return invalidArgument(ctx.module.name() + ":" + std::to_string(inst ? inst->line : parsed.info.line) + ": " +
                         (inst ? inst->text() + ": " : std::string()) + why);
}

Status FunctionDecoder::refuse(const std::string &why) const {
  return unsupported(ctx.module.name() + ":" + std::to_string(inst->line) + ": " + inst->text() + " is not supported" +
                     (why.empty() ? "" : ": " + why));
}

bool FunctionDecoder::has(std::string_view modifier) {
  for (size_t i = 0; i < inst->modifiers.size(); ++i)
    if (!used[i] && inst->modifiers[i] == modifier) {
      used[i] = true;
      return true;
    }
  return false;
}

std::string FunctionDecoder::oneOf(std::initializer_list<std::string_view> modifiers) {
  for (std::string_view m : modifiers)
    if (has(m))
      return std::string(m);
  return {};
}

Ty FunctionDecoder::typeModifier() {
  for (size_t i = 0; i < inst->modifiers.size(); ++i)
    if (!used[i])
      if (Ty type = typeOfModifier(inst->modifiers[i]); type != Ty::None) {
        used[i] = true;
        return type;
      }
  return Ty::None;
}

Status FunctionDecoder::finishModifiers() const {
  for (size_t i = 0; i < used.size(); ++i)
    if (!used[i])
      return refuse("'" + inst->modifiers[i] + "' is unknown here");
  return {};
}

Status FunctionDecoder::operandCount(size_t least, size_t most) const {
  most = std::max(most, least);
  size_t n = inst->operands.size();
  if (n >= least && n <= most)
    return {};
  return wrong("expected " + std::to_string(least) + (most > least ? " to " + std::to_string(most) : "") +
               " operands, found " + std::to_string(n));
}

uint32_t FunctionDecoder::temporary(unsigned bits) {
  // Temporaries live for one source instruction.
  unsigned n = temporaryCount++;
  auto &pool = temporaries[rowBytes(bits)];
  size_t index = std::min<size_t>(n, pool.size());
  if (index == pool.size()) {
    pool.push_back(plan.bytes);
    plan.bytes += std::max(rowBytes(bits), 64u);
    index = pool.size() - 1;
  }
  return pool[index];
}

uint32_t FunctionDecoder::addList(const std::vector<uint32_t> &rows) {
  uint32_t at = static_cast<uint32_t>(program.lists.size());
  program.lists.insert(program.lists.end(), rows.begin(), rows.end());
  return at;
}

StatusOr<uint64_t> FunctionDecoder::immediate(const Operand &op) const {
  if (op.kind != Operand::Int)
    return wrong("expected a constant");
  return op.bits;
}

StatusOr<uint64_t> FunctionDecoder::symbolAddress(const std::string &name, Space &space) {
  if (auto it = fn.local.find(name); it != fn.local.end()) {
    space = Space::Local;
    for (const Variable &v : parsed.variables)
      if (v.name == name)
        space = v.space;
    if (space == Space::Shared)
      return uint64_t(it->second);
    return uint64_t(it->second);
  }
  if (parsed.info.isKernel)
    for (const ParamInfo &p : parsed.info.params)
      if (p.name == name) {
        space = Space::Param;
        return uint64_t(p.offset);
      }
  if (auto it = program.globals.find(name); it != program.globals.end()) {
    space = Space::Global;
    return it->second;
  }
  if (auto it = program.moduleShared.find(name); it != program.moduleShared.end()) {
    space = Space::Shared;
    return uint64_t(it->second);
  }
  if (auto it = program.functionIndex.find(name); it != program.functionIndex.end()) {
    space = Space::None;
    return kFunctionWindow + uint64_t(it->second) * 16;
  }
  return wrong("'" + name + "' is not declared");
}

StatusOr<uint32_t> FunctionDecoder::row(const Operand &op, Ty type) {
  unsigned bits = classBits(type);
  switch (op.kind) {
  case Operand::Reg: {
    if (op.negated || op.reg2 != kNoReg)
      return wrong("unexpected form of a register operand");
    const RegDecl &decl = parsed.registers[op.reg];
    if (classBits(decl.type) != bits)
      return wrong("register " + decl.name + " has " + std::to_string(bitsOf(decl.type)) + " bits, expected " +
                   std::to_string(bits));
    return plan.rows[op.reg];
  }
  case Operand::Int: {
    uint64_t value = op.bits;
    if (type == Ty::F32)
      value = std::bit_cast<uint32_t>(static_cast<float>(static_cast<int64_t>(value)));
    else if (type == Ty::F64)
      value = std::bit_cast<uint64_t>(static_cast<double>(static_cast<int64_t>(value)));
    return ctx.constantRow(bits, value);
  }
  case Operand::Float: {
    uint64_t value = op.bits;
    if (bits == 32 && op.isDouble)
      value = std::bit_cast<uint32_t>(static_cast<float>(std::bit_cast<double>(value)));
    else if (bits == 64 && !op.isDouble)
      value = std::bit_cast<uint64_t>(static_cast<double>(std::bit_cast<float>(static_cast<uint32_t>(value))));
    else if (bits < 32)
      return wrong("a float constant in a 16-bit operand");
    return ctx.constantRow(bits, value);
  }
  case Operand::Special: {
    static const std::set<std::string, std::less<>> wide = {"%clock64", "%globaltimer", "%gridid", "%current_graph_exec"};
    static const std::set<std::string, std::less<>> moving = {"%clock", "%clock_hi", "%clock64", "%globaltimer",
                                                              "%globaltimer_lo", "%globaltimer_hi"};
    if (moving.count(op.name))
      return wrong(op.name + " can only be read by mov");
    unsigned size = wide.count(op.name) ? 64 : 32;
    if (size != bits && !(op.name == "%gridid" && bits == 32) && bits != 16)
      return wrong(op.name + " has " + std::to_string(size) + " bits, expected " + std::to_string(bits));
    return ctx.specialRow(op.name + (bits == size ? "" : "/" + std::to_string(bits)), bits);
  }
  case Operand::Symbol: {
    Space space;
    auto address = symbolAddress(op.name, space);
    if (!address)
      return address.status();
    if (bits < 32)
      return wrong("an address in a 16-bit operand");
    return ctx.constantRow(bits, *address + static_cast<uint64_t>(op.offset));
  }
  default:
    return wrong("unexpected kind of operand");
  }
}

StatusOr<uint32_t> FunctionDecoder::destination(const Operand &op, Ty type) {
  if (op.kind == Operand::Sink)
    return ctx.sinkRow(classBits(type));
  if (op.kind != Operand::Reg)
    return wrong("the destination must be a register");
  return row(op, type);
}

StatusOr<uint32_t> FunctionDecoder::predicate(const Operand &op, bool &negated) {
  negated = op.negated;
  if (op.kind == Operand::Int)
    return ctx.constantRow(1, op.bits != 0);
  if (op.kind != Operand::Reg || parsed.registers[op.reg].type != Ty::Pred)
    return wrong("expected a predicate");
  return plan.rows[op.reg];
}

Inst &FunctionDecoder::emit(ExecFn exec, InstClass cls, Kind kind) {
  Inst out;
  out.exec = exec;
  out.kind = kind;
  if (inst && inst->guard != kNoReg) {
    out.guard = plan.rows[inst->guard];
    out.flags = inst->guardNegated ? FlagNegated : 0;
  }
  if (inst && !fn.tracked.empty()) {
    UseDef sets = usesAndDefs(*inst);
    for (uint32_t r : sets.uses)
      if (plan.maybeUnset[r])
        out.flags |= FlagCheckInit;
    for (uint32_t r : sets.defs)
      if (plan.maybeUnset[r])
        out.flags |= FlagDefsTracked;
  }
  program.code.push_back(out);
  InstInfo info;
  info.source = inst;
  info.cls = cls;
  info.function = index;
  info.priority = plan.blockOrder.empty() ? 0 : plan.blockOrder[currentBlock];
  program.infos.push_back(info);
  return program.code.back();
}

Status FunctionDecoder::emitOp(const std::string &key, InstClass cls, std::initializer_list<Ty> sources, Ty dest) {
  VITRIFY_RETURN_IF_ERROR(finishModifiers());
  VITRIFY_RETURN_IF_ERROR(operandCount(sources.size() + 1));
  ExecFn exec = findExec(key);
  if (!exec)
    return refuse();
  uint32_t rows[3] = {0, 0, 0};
  size_t n = 0;
  for (Ty type : sources) {
    auto r = row(inst->operands[n + 1], type);
    if (!r)
      return r.status();
    rows[n++] = *r;
  }
  auto d = destination(inst->operands[0], dest);
  if (!d)
    return d.status();
  Inst &out = emit(exec, cls);
  out.d = *d;
  out.a = rows[0];
  out.b = rows[1];
  out.c = rows[2];
  return {};
}

Status FunctionDecoder::layoutLocals() {
  uint32_t offset = fn.localBegin;
  uint32_t shared = fn.info.sharedStaticBytes;
  auto place = [&](const Variable &v) {
    offset = (offset + std::max(v.align, 1u) - 1) / std::max(v.align, 1u) * std::max(v.align, 1u);
    fn.local[v.name] = offset;
    offset += static_cast<uint32_t>(v.size);
  };
  for (const Variable &v : parsed.variables) {
    if (v.size > (1u << 24))
      return wrong("variable '" + v.name + "' of " + std::to_string(v.size) + " bytes is too large");
    if (v.space == Space::Shared) {
      shared = (shared + v.align - 1) / v.align * v.align;
      fn.local[v.name] = shared;
      shared += static_cast<uint32_t>(v.size);
    } else {
      place(v);
    }
  }
  if (!parsed.info.isKernel)
    for (const Variable &v : parsed.params)
      place(v);
  for (const Variable &v : parsed.results)
    place(v);
  fn.localEnd = (offset + 15) / 16 * 16;
  fn.info.sharedStaticBytes = shared;
  fn.info.localBytes = fn.localEnd - fn.localBegin;
  return {};
}

Status FunctionDecoder::run() {
  auto found = findBlocks(parsed, ctx.module.name());
  if (!found)
    return found.status();
  blocks = std::move(*found);
  VITRIFY_RETURN_IF_ERROR(layoutLocals());
  plan = planRows(parsed, blocks);
  for (uint32_t r = 0; r < parsed.registers.size(); ++r)
    if (plan.maybeUnset[r]) {
      fn.tracked.push_back({plan.rows[r], plan.bytes, parsed.registers[r].name, r});
      plan.bytes += 64;
    }
  if (fn.recursive) {
    for (const Variable &v : parsed.variables)
      if (v.space == Space::Local)
        return unsupported(ctx.module.name() + ":" + std::to_string(v.line) + ": recursive function '" +
                           parsed.info.name + "' with .local variables is not supported");
    std::set<uint32_t> seen;
    for (uint32_t r = 0; r < parsed.registers.size(); ++r)
      if (plan.rows[r] != kNoReg && seen.insert(plan.rows[r]).second) {
        unsigned bits = classBits(parsed.registers[r].type);
        fn.shapes.push_back({plan.rows[r], bits == 1 ? 0 : bits / 8});
      }
  }
  fn.info.registers = std::max(16u, plan.peakRegisters + 6);
  if (parsed.info.maxThreads < 1024 || parsed.info.minBlocksPerSM)
    fn.info.registers = std::min(fn.info.registers, 65536 / (parsed.info.maxThreads * std::max(1u, parsed.info.minBlocksPerSM)));
  fn.entry = static_cast<uint32_t>(program.code.size());
  labelPc.assign(blocks.size(), 0);
  for (uint32_t b = 0; b < blocks.size(); ++b) {
    blockAt[blocks[b].begin] = b;
    currentBlock = b;
    inst = nullptr;
    labelPc[b] = static_cast<uint32_t>(program.code.size());
    emit(nullptr, InstClass::Control, Kind::Label).imm = blocks[b].end - blocks[b].begin + 1;
    for (uint32_t i = blocks[b].begin; i < blocks[b].end; ++i) {
      inst = &parsed.code[i];
      used.assign(inst->modifiers.size(), false);
      temporaryCount = 0;
      VITRIFY_RETURN_IF_ERROR(instruction());
    }
  }
  // Falling off the end returns.
  inst = nullptr;
  emit(nullptr, InstClass::Control, parsed.info.isKernel ? Kind::Exit : Kind::Ret);
  for (auto [pc, block] : fixups)
    program.code[pc].target = labelPc[block];
  for (auto [table, list] : tableFixups) {
    program.jumpTables[table].clear();
    for (const std::string &label : *list)
      program.jumpTables[table].push_back(labelPc[blockAt.at(parsed.labels.at(label))]);
  }
  return {};
}

Status FunctionDecoder::instruction() {
  auto it = handlers().find(inst->opcode);
  if (it == handlers().end())
    return refuse();
  if (std::string reason = gateReason(parsed, *inst, ctx.module.parsed().target, ctx.module.parsed().version); !reason.empty())
    return refuse(reason);
  return (this->*it->second)();
}

const std::unordered_map<std::string, FunctionDecoder::Handler> &FunctionDecoder::handlers() {
  using F = FunctionDecoder;
  static const std::unordered_map<std::string, Handler> map = {
      {"add", &F::arith}, {"sub", &F::arith}, {"mul", &F::arith}, {"mad", &F::arith}, {"fma", &F::arith},
      {"div", &F::arith}, {"rem", &F::arith}, {"min", &F::arith}, {"max", &F::arith}, {"abs", &F::arith},
      {"neg", &F::arith}, {"sad", &F::arith}, {"sqrt", &F::math}, {"rcp", &F::math}, {"rsqrt", &F::math},
      {"ex2", &F::math}, {"lg2", &F::math}, {"sin", &F::math}, {"cos", &F::math}, {"tanh", &F::math},
      {"copysign", &F::arith}, {"testp", &F::misc}, {"mul24", &F::misc}, {"mad24", &F::misc}, {"addc", &F::carry},
      {"subc", &F::carry}, {"madc", &F::carry}, {"and", &F::logic}, {"or", &F::logic}, {"xor", &F::logic},
      {"not", &F::logic}, {"cnot", &F::logic}, {"lop3", &F::bitField}, {"shl", &F::shift}, {"shr", &F::shift},
      {"shf", &F::shift}, {"mov", &F::move}, {"setp", &F::compare}, {"set", &F::compare}, {"selp", &F::select},
      {"slct", &F::select}, {"cvt", &F::convert}, {"popc", &F::bitField}, {"clz", &F::bitField},
      {"bfind", &F::bitField}, {"fns", &F::bitField}, {"brev", &F::bitField}, {"bfe", &F::bitField},
      {"bfi", &F::bitField}, {"bmsk", &F::bitField}, {"szext", &F::bitField}, {"prmt", &F::bitField},
      {"dp4a", &F::misc}, {"dp2a", &F::misc}, {"ld", &F::load}, {"ldu", &F::load}, {"st", &F::store},
      {"atom", &F::atomic}, {"red", &F::atomic}, {"cvta", &F::cvta}, {"isspacep", &F::isspacep},
      {"cp", &F::asyncCopy}, {"mbarrier", &F::mbarrier}, {"prefetch", &F::prefetch}, {"prefetchu", &F::prefetch},
      {"discard", &F::prefetch}, {"applypriority", &F::prefetch}, {"createpolicy", &F::prefetch},
      {"alloca", &F::stackAlloc}, {"stacksave", &F::stackAlloc}, {"stackrestore", &F::stackAlloc}, {"bra", &F::branch},
      {"brx", &F::branchIndex}, {"call", &F::call}, {"ret", &F::ret}, {"exit", &F::exitInst}, {"bar", &F::barrier},
      {"barrier", &F::barrier}, {"fence", &F::fence}, {"membar", &F::fence}, {"shfl", &F::warpOp},
      {"vote", &F::warpOp}, {"match", &F::warpOp}, {"redux", &F::warpOp}, {"activemask", &F::warpOp},
      {"elect", &F::warpOp}, {"trap", &F::special}, {"brkpt", &F::special}, {"nanosleep", &F::special},
      {"griddepcontrol", &F::special}, {"setmaxnreg", &F::special}, {"pmevent", &F::special},
      {"ldmatrix", &F::ldmatrix}, {"stmatrix", &F::ldmatrix}, {"movmatrix", &F::ldmatrix}, {"mma", &F::mma},
      {"wmma", &F::wmma}};
  return map;
}

std::vector<std::string> opcodes() {
  std::vector<std::string> names;
  for (const auto &[name, handler] : FunctionDecoder::handlers())
    names.push_back(name);
  std::sort(names.begin(), names.end());
  return names;
}

} // namespace vitrify::emulator
