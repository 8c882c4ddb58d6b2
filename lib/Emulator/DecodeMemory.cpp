//===- DecodeMemory.cpp - memory instructions -------------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Loads, stores, atomics, address conversions.
// Cache hints and policies are read and have no effect on results.
//===----------------------------------------------------------------------===//
#include "Decode.h"

namespace vitrify::emulator {

namespace {
std::string spaceKey(Space s) {
  switch (s) {
  case Space::Global: case Space::Const: return "global";
  case Space::Shared: return "shared";
  case Space::Local: return "local";
  case Space::Param: return "param";
  default: return "generic";
  }
}
std::string elementName(Ty t, bool keepSign) {
  unsigned bits = bitsOf(t);
  if (bits == 128)
    return "b128";
  return (keepSign && isSigned(t) && bits < 64 ? "s" : "u") + std::to_string(bits);
}
bool startsWith(const std::string &s, std::string_view p) { return s.compare(0, p.size(), p) == 0; }
} // namespace

void FunctionDecoder::eatCacheHints() {
  for (size_t i = 0; i < inst->modifiers.size(); ++i) {
    const std::string &m = inst->modifiers[i];
    if (startsWith(m, ".L1::") || startsWith(m, ".L2::") || m == ".ca" || m == ".cg" || m == ".cs" || m == ".lu" ||
        m == ".cv" || m == ".wb" || m == ".wt" || m == ".nc" || m == ".evict_first" || m == ".evict_last" ||
        startsWith(m, ".level::"))
      used[i] = true;
  }
}

StatusOr<Space> FunctionDecoder::spaceModifier(Space fallback) {
  Space space = fallback;
  for (size_t i = 0; i < inst->modifiers.size(); ++i) {
    const std::string &m = inst->modifiers[i];
    if (used[i])
      continue;
    Space found = m == ".global"                                      ? Space::Global
                  : m == ".const"                                     ? Space::Const
                  : m == ".shared" || m == ".shared::cta" || m == ".shared::cluster" ? Space::Shared
                  : m == ".local"                                     ? Space::Local
                  : m == ".param" || m == ".param::entry" || m == ".param::func" ? Space::Param
                                                                      : Space::None;
    if (found == Space::None)
      continue;
    used[i] = true;
    space = found;
    break;
  }
  return space;
}

Status FunctionDecoder::memoryOrder(Inst &out) {
  if (has(".volatile")) {
    out.order = Order::Relaxed;
    out.scope = Scope::Sys;
    out.flags |= FlagVolatile;
    return {};
  }
  if (has(".mmio"))
    out.scope = Scope::Sys;
  std::string order = oneOf({".relaxed", ".acquire", ".release", ".acq_rel"});
  has(".weak");
  std::string scope = oneOf({".cta", ".cluster", ".gpu", ".sys"});
  if (!order.empty()) {
    out.order = order == ".relaxed"   ? Order::Relaxed
                : order == ".acquire" ? Order::Acquire
                : order == ".release" ? Order::Release
                                      : Order::AcqRel;
    out.flags |= FlagVolatile;
  }
  out.scope = scope == ".cta" ? Scope::Cta : scope == ".cluster" ? Scope::Cluster : scope == ".sys" ? Scope::Sys : Scope::Gpu;
  return {};
}

/// Sets a, imm and aux. The symbol's space must fit the instruction's.
Status FunctionDecoder::addressOperand(const Operand &op, Space space, Inst &out) {
  if (op.kind != Operand::Address)
    return wrong("expected an address in brackets");
  if (op.reg != kNoReg) {
    unsigned bits = bitsOf(parsed.registers[op.reg].type);
    if (bits != 32 && bits != 64)
      return wrong("address register " + parsed.registers[op.reg].name + " must have 32 or 64 bits");
    if (bits == 32 && (space == Space::Global || space == Space::Const || space == Space::Generic))
      return wrong("a 32-bit address for " + std::string(spaceName(space)) + " memory");
    out.a = plan.rows[op.reg];
    out.aux = bits == 32;
    out.imm = static_cast<uint64_t>(op.offset);
    return {};
  }
  out.aux = 2;
  out.imm = static_cast<uint64_t>(op.offset);
  if (!op.name.empty()) {
    Space found;
    auto address = symbolAddress(op.name, found);
    if (!address)
      return address.status();
    bool isLocalParam = space == Space::Param && (found == Space::Param || found == Space::Local);
    if (space == Space::Generic) {
      out.imm += *address + (found == Space::Shared ? kSharedWindow : found == Space::Local ? kLocalWindow : 0);
      return {};
    }
    bool same = found == space || (space == Space::Const && found == Space::Global) || isLocalParam;
    if (!same)
      return wrong("'" + op.name + "' lies in ." + std::string(spaceName(found)) + " memory");
    out.imm += *address;
  }
  return {};
}

/// Triton writes a scalar as a vector of one: "ld.global.b32 { %r1 }, [...]".
static const Operand *soleElement(const Operand &op) {
  return op.kind == Operand::Vector && op.elements.size() == 1 ? &op.elements[0] : &op;
}

Status FunctionDecoder::load() {
  Inst proto;
  bool proxy = has(".unified");
  (void)proxy;
  VITRIFY_RETURN_IF_ERROR(memoryOrder(proto));
  auto space = spaceModifier(Space::Generic);
  if (!space)
    return space.status();
  eatCacheHints();
  std::string vector = oneOf({".v2", ".v4", ".v8"});
  Ty type = typeModifier();
  if (type == Ty::None || bitsOf(type) < 8)
    return wrong("no type");
  VITRIFY_RETURN_IF_ERROR(finishModifiers());
  VITRIFY_RETURN_IF_ERROR(operandCount(2, 3)); // the third is a cache policy
  VITRIFY_RETURN_IF_ERROR(addressOperand(inst->operands[1], *space, proto));
  std::vector<const Operand *> elements;
  if (!vector.empty()) {
    if (inst->operands[0].kind != Operand::Vector ||
        inst->operands[0].elements.size() != size_t(vector[2] - '0'))
      return wrong("expected a vector of " + vector.substr(2) + " registers");
    for (const Operand &e : inst->operands[0].elements)
      elements.push_back(&e);
  } else {
    elements.push_back(soleElement(inst->operands[0]));
  }
  // Device functions' parameters, and those of calls, are in local memory.
  Space area = *space;
  if (area == Space::Param && !(parsed.info.isKernel && inst->operands[1].reg == kNoReg &&
                                !fn.local.count(inst->operands[1].name)))
    area = parsed.info.isKernel && inst->operands[1].reg != kNoReg ? Space::Param : Space::Local;
  unsigned rowBits = 0;
  std::vector<uint32_t> rows;
  for (const Operand *e : elements) {
    if (e->kind == Operand::Sink) {
      rows.push_back(~0u);
      continue;
    }
    if (e->kind != Operand::Reg)
      return wrong("the destination must be a register");
    unsigned bits = bitsOf(parsed.registers[e->reg].type);
    bits = bits <= 16 ? 16 : bits;
    if (bits < bitsOf(type) || (rowBits && rowBits != bits))
      return wrong("register " + parsed.registers[e->reg].name + " is too small");
    rowBits = bits;
    rows.push_back(plan.rows[e->reg]);
  }
  if (!rowBits)
    rowBits = std::max(16u, bitsOf(type));
  ExecFn exec = findExec("ld." + spaceKey(area) + "." + elementName(type, true) + "." + std::to_string(rowBits));
  if (!exec)
    return refuse();
  InstClass cls = area == Space::Shared                          ? InstClass::LoadShared
                  : area == Space::Local                         ? InstClass::LoadLocal
                  : area == Space::Param || *space == Space::Const ? InstClass::LoadConst
                                                                 : InstClass::LoadGlobal;
  uint32_t list = addList(rows);
  Inst &out = emit(exec, cls, Kind::Memory);
  uint8_t guard = out.flags;
  uint32_t guardRow = out.guard;
  proto.exec = out.exec;
  proto.kind = out.kind;
  proto.flags = uint8_t((proto.flags & FlagVolatile) | guard);
  proto.guard = guardRow;
  proto.list = list;
  proto.width = static_cast<uint8_t>(bitsOf(type) / 8);
  proto.count = static_cast<uint8_t>(rows.size());
  proto.aux2 = static_cast<uint8_t>(area);
  if (proto.aux != 2 && proto.aux != 1 && proto.aux != 0)
    return refuse();
  out = proto;
  return {};
}

Status FunctionDecoder::store() {
  if (has(".async") || has(".bulk"))
    return refuse();
  Inst proto;
  VITRIFY_RETURN_IF_ERROR(memoryOrder(proto));
  auto space = spaceModifier(Space::Generic);
  if (!space)
    return space.status();
  eatCacheHints();
  std::string vector = oneOf({".v2", ".v4", ".v8"});
  Ty type = typeModifier();
  if (type == Ty::None || bitsOf(type) < 8)
    return wrong("no type");
  VITRIFY_RETURN_IF_ERROR(finishModifiers());
  VITRIFY_RETURN_IF_ERROR(operandCount(2, 3));
  Space area = *space;
  if (area == Space::Const)
    return wrong("constants cannot be stored to");
  if (area == Space::Param)
    area = Space::Local;
  VITRIFY_RETURN_IF_ERROR(addressOperand(inst->operands[0], *space, proto));
  std::vector<const Operand *> elements;
  const Operand &value = inst->operands[1];
  if (!vector.empty()) {
    if (value.kind != Operand::Vector || value.elements.size() != size_t(vector[2] - '0'))
      return wrong("expected a vector of " + vector.substr(2) + " registers");
    for (const Operand &e : value.elements)
      elements.push_back(&e);
  } else {
    elements.push_back(soleElement(value));
  }
  unsigned rowBits = 0;
  for (const Operand *e : elements)
    if (e->kind == Operand::Reg)
      rowBits = std::max(rowBits, std::max(16u, bitsOf(parsed.registers[e->reg].type)));
  if (!rowBits)
    rowBits = std::max(16u, bitsOf(type));
  if (rowBits < bitsOf(type))
    return wrong("the register is smaller than the type");
  Ty rowType = rowBits == 16 ? Ty::B16 : rowBits == 32 ? Ty::B32 : rowBits == 64 ? Ty::B64 : Ty::B128;
  std::vector<uint32_t> rows;
  for (const Operand *e : elements) {
    auto r = row(*e, e->kind == Operand::Int && isFloat(type) ? type : rowType);
    if (!r)
      return r.status();
    rows.push_back(*r);
  }
  ExecFn exec = findExec("st." + spaceKey(area) + "." + elementName(type, false) + "." + std::to_string(rowBits));
  if (!exec)
    return refuse();
  InstClass cls = area == Space::Shared  ? InstClass::StoreShared
                  : area == Space::Local ? InstClass::StoreLocal
                                         : InstClass::StoreGlobal;
  uint32_t list = addList(rows);
  Inst &out = emit(exec, cls, Kind::Memory);
  proto.exec = out.exec;
  proto.kind = out.kind;
  proto.flags = uint8_t((proto.flags & FlagVolatile) | out.flags);
  proto.guard = out.guard;
  proto.list = list;
  proto.width = static_cast<uint8_t>(bitsOf(type) / 8);
  proto.count = static_cast<uint8_t>(rows.size());
  proto.aux2 = static_cast<uint8_t>(area);
  out = proto;
  return {};
}

Status FunctionDecoder::atomic() {
  bool isRed = inst->opcode == "red";
  if (has(".async"))
    return refuse();
  Inst proto;
  VITRIFY_RETURN_IF_ERROR(memoryOrder(proto));
  if (proto.order == Order::Weak)
    proto.order = Order::Relaxed;
  auto space = spaceModifier(Space::Generic);
  if (!space)
    return space.status();
  eatCacheHints();
  bool noftz = has(".noftz");
  std::string op = oneOf({".and", ".or", ".xor", ".cas", ".exch", ".add", ".inc", ".dec", ".min", ".max"});
  std::string vector = oneOf({".v2", ".v4", ".v8"});
  Ty type = typeModifier();
  if (op.empty() || type == Ty::None)
    return wrong("needs an operation and a type");
  bool half = type == Ty::F16 || type == Ty::F16x2 || type == Ty::BF16 || type == Ty::BF16x2;
  if (half != noftz)
    return wrong(half ? "needs .noftz" : ".noftz is for 16-bit floats");
  if (!vector.empty() && (!isFloat(type) || type == Ty::F64 || (*space != Space::Global && *space != Space::Generic)))
    return refuse("vectors are of f32 or 16-bit floats in global memory");
  if (vector.empty() && half && op != ".add")
    return refuse("only as a vector");
  VITRIFY_RETURN_IF_ERROR(finishModifiers());
  size_t sources = op == ".cas" ? 2 : 1;
  size_t first = isRed ? 0 : 1;
  VITRIFY_RETURN_IF_ERROR(operandCount(first + 1 + sources, first + 2 + sources)); // a cache policy may follow
  VITRIFY_RETURN_IF_ERROR(addressOperand(inst->operands[first], *space, proto));
  unsigned bits = bitsOf(type);
  std::string name = isFloat(type) ? (type == Ty::F16      ? "f16"
                                      : type == Ty::F16x2  ? "f16x2"
                                      : type == Ty::BF16   ? "bf16"
                                      : type == Ty::BF16x2 ? "bf16x2"
                                      : type == Ty::F32    ? "f32"
                                                           : "f64")
                                   : ((op == ".min" || op == ".max") && isSigned(type) ? "s" : "u") + std::to_string(bits);
  std::string key = "atom." + spaceKey(*space) + op + "." + name;
  ExecFn exec = findExec(key);
  if (!exec)
    return refuse();
  size_t n = vector.empty() ? 1 : size_t(vector[2] - '0');
  // list: destinations (or ~0), then sources.
  std::vector<uint32_t> rows;
  auto add = [&](const Operand &o, bool isDest) -> Status {
    std::vector<const Operand *> elements;
    if (n > 1) {
      if (o.kind != Operand::Vector || o.elements.size() != n)
        return wrong("expected a vector of " + std::to_string(n) + " registers");
      for (const Operand &e : o.elements)
        elements.push_back(&e);
    } else {
      elements.push_back(&o);
    }
    for (const Operand *e : elements) {
      if (isDest && e->kind == Operand::Sink) {
        rows.push_back(~0u);
        continue;
      }
      auto r = row(*e, type);
      if (!r)
        return r.status();
      rows.push_back(*r);
    }
    return {};
  };
  if (isRed)
    rows.assign(n, ~0u);
  else
    VITRIFY_RETURN_IF_ERROR(add(inst->operands[0], true));
  for (size_t i = 0; i < sources; ++i)
    VITRIFY_RETURN_IF_ERROR(add(inst->operands[first + 1 + i], false));
  uint32_t list = addList(rows);
  Inst &out = emit(exec, InstClass::Atomic, Kind::Memory);
  proto.exec = out.exec;
  proto.kind = out.kind;
  proto.flags = uint8_t((proto.flags & FlagVolatile) | out.flags);
  proto.guard = out.guard;
  proto.list = list;
  proto.count = static_cast<uint8_t>(n);
  proto.width = static_cast<uint8_t>(bits / 8);
  proto.aux2 = static_cast<uint8_t>(*space);
  out = proto;
  return {};
}

Status FunctionDecoder::cvta() {
  bool to = has(".to");
  auto space = spaceModifier(Space::None);
  if (!space)
    return space.status();
  Ty type = typeModifier();
  VITRIFY_RETURN_IF_ERROR(finishModifiers());
  VITRIFY_RETURN_IF_ERROR(operandCount(2));
  if (type != Ty::U64 && type != Ty::B64)
    return refuse("32-bit addresses");
  auto d = destination(inst->operands[0], Ty::B64);
  if (!d)
    return d.status();
  const Operand &src = inst->operands[1];
  uint64_t window = *space == Space::Shared  ? kSharedWindow
                    : *space == Space::Local ? kLocalWindow
                    : *space == Space::Param ? kParamWindow
                                             : 0;
  auto a = row(src, Ty::B64);
  if (!a)
    return a.status();
  Inst &out = emit(findExec(to ? "cvta.to" : "cvta"), InstClass::Integer);
  out.d = *d;
  out.a = *a;
  // Parameters of device functions lie in local memory.
  if (*space == Space::Param && !parsed.info.isKernel)
    window = kLocalWindow;
  out.imm = window;
  return {};
}

Status FunctionDecoder::isspacep() {
  auto space = spaceModifier(Space::None);
  if (!space)
    return space.status();
  VITRIFY_RETURN_IF_ERROR(finishModifiers());
  VITRIFY_RETURN_IF_ERROR(operandCount(2));
  auto d = destination(inst->operands[0], Ty::Pred);
  auto a = row(inst->operands[1], Ty::B64);
  if (!d)
    return d.status();
  if (!a)
    return a.status();
  Inst &out = emit(findExec("isspacep"), InstClass::Predicate);
  out.d = *d;
  out.a = *a;
  out.imm = *space == Space::Shared ? 1 : *space == Space::Local ? 2 : *space == Space::Param ? 3 : 0;
  out.aux = *space == Space::Const;
  return {};
}

Status FunctionDecoder::prefetch() {
  // Hints: nothing to do. createpolicy gives a value that only hints read.
  if (inst->opcode == "createpolicy") {
    std::fill(used.begin(), used.end(), true);
    if (inst->operands.empty())
      return operandCount(1);
    auto d = destination(inst->operands[0], Ty::B64);
    if (!d)
      return d.status();
    Inst &out = emit(findExec("mov.64"), InstClass::Other);
    out.a = ctx.constantRow(64, 0);
    out.d = *d;
    return {};
  }
  return {};
}

Status FunctionDecoder::stackAlloc() {
  ExecFn exec = findExec(inst->opcode);
  Ty type = typeModifier();
  if (!exec || (type != Ty::U64 && type != Ty::B64))
    return refuse();
  bool restore = inst->opcode == "stackrestore";
  uint32_t d = 0, a = 0;
  if (inst->operands.empty())
    return operandCount(1);
  if (restore) {
    auto r = row(inst->operands[0], Ty::B64);
    if (!r)
      return r.status();
    a = *r;
  } else {
    auto r = destination(inst->operands[0], Ty::B64);
    if (!r)
      return r.status();
    d = *r;
    if (inst->opcode == "alloca") {
      VITRIFY_RETURN_IF_ERROR(operandCount(2, 3));
      auto size = row(inst->operands[1], Ty::B64);
      if (!size)
        return size.status();
      a = *size;
    }
  }
  program.usesAlloca = true;
  uint64_t align = inst->operands.size() == 3 ? inst->operands[2].bits : 8;
  Inst &out = emit(exec, InstClass::Other, Kind::Memory);
  out.d = d;
  out.a = a;
  out.imm = align;
  return {};
}

} // namespace vitrify::emulator
