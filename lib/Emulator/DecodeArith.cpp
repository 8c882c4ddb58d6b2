//===- DecodeArith.cpp - arithmetic instructions ----------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Makes the executors' canonical keys from opcodes and modifiers.
//===----------------------------------------------------------------------===//
#include "Decode.h"
#include "Exec/Formats.h"

namespace vitrify::emulator {

std::string widthName(Ty type) { return std::to_string(bitsOf(type)); }
std::string typeName(Ty t) {
  switch (t) {
  case Ty::U8: case Ty::B8: return "u8";
  case Ty::S8: return "s8";
  case Ty::U16: case Ty::B16: return "u16";
  case Ty::S16: return "s16";
  case Ty::U32: case Ty::B32: return "u32";
  case Ty::S32: return "s32";
  case Ty::U64: case Ty::B64: return "u64";
  case Ty::S64: return "s64";
  case Ty::F16: return "f16";
  case Ty::F16x2: return "f16x2";
  case Ty::BF16: return "bf16";
  case Ty::BF16x2: return "bf16x2";
  case Ty::F32: return "f32";
  case Ty::F64: return "f64";
  case Ty::TF32: return "tf32";
  case Ty::E4M3x2: return "e4m3x2";
  case Ty::E5M2x2: return "e5m2x2";
  case Ty::E2M1x2: return "e2m1x2";
  case Ty::UE8M0x2: return "ue8m0x2";
  case Ty::U16x2: return "u16x2";
  case Ty::S16x2: return "s16x2";
  case Ty::F32x2: return "f32x2";
  case Ty::Pred: return "pred";
  default: return "?";
  }
}

namespace {
InstClass floatClass(Ty t) {
  return t == Ty::F32 || t == Ty::F32x2 ? InstClass::Float32
         : t == Ty::F64                 ? InstClass::Float64
         : isFloat(t)                   ? InstClass::Float16
                                        : InstClass::Integer;
}
} // namespace

Status FunctionDecoder::arith() {
  const std::string &op = inst->opcode;
  std::string part = oneOf({".lo", ".hi", ".wide"});
  std::string round = oneOf({".rn", ".rz", ".rm", ".rp"});
  bool approx = has(".approx"), full = has(".full");
  bool ftz = has(".ftz"), sat = has(".sat"), relu = has(".relu"), nan = has(".NaN"), xorSign = has(".xorsign");
  if (xorSign && !has(".abs"))
    return refuse(".xorsign needs .abs");
  bool cc = has(".cc");
  Ty type = typeModifier();
  if (type == Ty::None)
    return wrong("no type");
  Ty second = typeModifier(); // add.f32.f16 and the like (mixed precision)
  if (second != Ty::None)
    return refuse("mixed types");
  size_t sources = op == "mad" || op == "fma" || op == "sad" ? 3 : op == "abs" || op == "neg" ? 1 : 2;
  if ((op == "min" || op == "max") && inst->operands.size() == 4 && type == Ty::F32)
    sources = 3;
  if (cc)
    return carry();
  if (isFloat(type)) {
    if (!part.empty())
      return refuse();
    std::string key = op == "mad" ? "fma" : op;
    if (op == "div" && (approx || full)) {
      key = approx ? "div.approx" : "div.full";
    } else {
      if (sources == 3 && (op == "min" || op == "max"))
        key += "3";
      if (!round.empty() && round != ".rn")
        key += round;
    }
    key += std::string(ftz ? ".ftz" : "") + (sat ? ".sat" : "") + (relu ? ".relu" : "") + (nan ? ".nan" : "") +
           (xorSign ? ".xorsign" : "") + "." + typeName(type);
    InstClass cls = op == "div" ? InstClass::Mufu : floatClass(type);
    if (sources == 1)
      return emitOp(key, cls, {type}, type);
    if (sources == 2)
      return emitOp(key, cls, {type, type}, type);
    return emitOp(key, cls, {type, type, type}, type);
  }
  if (type == Ty::F32x2) {
    if (sat || relu || nan || xorSign || approx || full || !part.empty())
      return refuse();
    std::string key = op + (round.empty() || round == ".rn" ? "" : round) + (ftz ? ".ftz" : "") + ".f32x2";
    return op == "fma" ? emitOp(key, InstClass::Float32, {type, type, type}, type)
                       : emitOp(key, InstClass::Float32, {type, type}, type);
  }
  if (!round.empty() || ftz || nan || xorSign || approx || full)
    return refuse();
  if (type == Ty::U16x2 || type == Ty::S16x2) {
    std::string key = op + (relu ? ".relu" : "") + "." + (op == "add" ? "u16x2" : typeName(type));
    return emitOp(key, InstClass::Integer, {type, type}, type);
  }
  std::string suffix = std::string(sat ? ".sat" : "") + (relu ? ".relu" : "");
  std::string key = op + part + suffix;
  bool signMatters = op == "div" || op == "rem" || op == "min" || op == "max" || op == "abs" || op == "sad" ||
                     part == ".hi" || part == ".wide" || sat || relu;
  if ((op == "mul" || op == "mad") && part.empty())
    return wrong("needs .lo, .hi or .wide");
  key += "." + (signMatters ? typeName(type) : widthName(type));
  Ty dest = type;
  if (part == ".wide")
    dest = bitsOf(type) == 16 ? Ty::B32 : Ty::B64;
  if (sources == 1)
    return emitOp(key, InstClass::Integer, {type}, dest);
  if (sources == 2)
    return emitOp(key, InstClass::Integer, {type, type}, dest);
  return emitOp(key, InstClass::Integer, {type, type, part == ".wide" ? dest : type}, dest);
}

Status FunctionDecoder::carry() {
  // Called for addc, subc, madc and for .cc forms (whose modifiers arith() has consumed in part).
  used.assign(inst->modifiers.size(), false);
  std::string part = oneOf({".lo", ".hi"});
  bool setsCarry = has(".cc");
  Ty type = typeModifier();
  if (bitsOf(type) != 32 && bitsOf(type) != 64)
    return refuse();
  bool readsCarry = inst->opcode.back() == 'c' && inst->opcode != "sub";
  std::string op = inst->opcode.substr(0, 3);
  std::string key = op + "cc" + part + "." + (part == ".hi" ? typeName(type) : widthName(type));
  size_t at = program.code.size();
  VITRIFY_RETURN_IF_ERROR(op == "mad" ? emitOp(key, InstClass::Integer, {type, type, type}, type)
                                      : emitOp(key, InstClass::Integer, {type, type}, type));
  Inst &out = program.code[at];
  out.e = ctx.ccRow;
  out.aux = setsCarry;
  out.aux2 = readsCarry;
  return {};
}

Status FunctionDecoder::logic() {
  Ty type = typeModifier();
  const std::string &op = inst->opcode;
  if (type == Ty::Pred) {
    VITRIFY_RETURN_IF_ERROR(finishModifiers());
    size_t sources = op == "not" ? 1 : 2;
    VITRIFY_RETURN_IF_ERROR(operandCount(sources + 1));
    ExecFn exec = findExec(op + ".pred");
    if (!exec)
      return refuse();
    uint32_t rows[2] = {0, 0};
    for (size_t i = 0; i < sources; ++i) {
      bool negated;
      auto p = predicate(inst->operands[i + 1], negated);
      if (!p)
        return p.status();
      if (negated)
        return refuse("a negated predicate operand");
      rows[i] = *p;
    }
    auto d = destination(inst->operands[0], Ty::Pred);
    if (!d)
      return d.status();
    Inst &out = emit(exec, InstClass::Predicate);
    out.d = *d;
    out.a = rows[0];
    out.b = rows[1];
    return {};
  }
  if (type == Ty::None)
    return wrong("no type");
  std::string key = op + "." + widthName(type);
  return op == "not" || op == "cnot" ? emitOp(key, InstClass::Integer, {type}, type)
                                     : emitOp(key, InstClass::Integer, {type, type}, type);
}

Status FunctionDecoder::shift() {
  if (inst->opcode == "shf") {
    std::string direction = oneOf({".l", ".r"}), mode = oneOf({".wrap", ".clamp"});
    if (typeModifier() != Ty::B32)
      return refuse();
    return emitOp("shf" + direction + mode, InstClass::Integer, {Ty::B32, Ty::B32, Ty::U32}, Ty::B32);
  }
  Ty type = typeModifier();
  if (type == Ty::None)
    return wrong("no type");
  std::string key = inst->opcode + "." + (inst->opcode == "shl" ? widthName(type) : typeName(type));
  return emitOp(key, InstClass::Integer, {type, Ty::U32}, type);
}

Status FunctionDecoder::select() {
  if (inst->opcode == "slct") {
    bool ftz = has(".ftz");
    Ty type = typeModifier(), by = typeModifier();
    return emitOp("slct." + widthName(type) + (ftz ? ".ftz" : "") + "." + typeName(by), InstClass::Integer,
                  {type, type, by}, type);
  }
  Ty type = typeModifier();
  if (type == Ty::None)
    return wrong("no type");
  VITRIFY_RETURN_IF_ERROR(finishModifiers());
  VITRIFY_RETURN_IF_ERROR(operandCount(4));
  bool negated;
  auto p = predicate(inst->operands[3], negated);
  if (!p)
    return p.status();
  auto a = row(inst->operands[negated ? 2 : 1], type), b = row(inst->operands[negated ? 1 : 2], type),
       d = destination(inst->operands[0], type);
  for (const auto *r : {&a, &b, &d})
    if (!*r)
      return r->status();
  ExecFn exec = findExec("selp." + widthName(type));
  if (!exec)
    return refuse();
  Inst &out = emit(exec, InstClass::Integer);
  out.d = *d;
  out.a = *a;
  out.b = *b;
  out.c = *p;
  return {};
}

Status FunctionDecoder::compare() {
  bool isSet = inst->opcode == "set";
  std::string cmp = oneOf({".eq", ".ne", ".lt", ".le", ".gt", ".ge", ".lo", ".ls", ".hi", ".hs", ".equ", ".neu",
                           ".ltu", ".leu", ".gtu", ".geu", ".num", ".nan"});
  std::string boolean = oneOf({".and", ".or", ".xor"});
  bool ftz = has(".ftz");
  Ty dest = isSet ? typeModifier() : Ty::Pred;
  Ty type = typeModifier();
  if (cmp.empty() || type == Ty::None)
    return wrong("needs a comparison and a type");
  VITRIFY_RETURN_IF_ERROR(finishModifiers());
  VITRIFY_RETURN_IF_ERROR(operandCount(boolean.empty() ? 3 : 4));
  bool unsignedCompare = false;
  for (auto [from, to] : {std::pair{".lo", ".lt"}, {".ls", ".le"}, {".hi", ".gt"}, {".hs", ".ge"}})
    if (cmp == from) {
      cmp = to;
      unsignedCompare = true;
      break;
    }
  std::string name = typeName(type);
  if (!isFloat(type)) {
    if (unsignedCompare)
      name[0] = 'u';
    if (cmp == ".eq" || cmp == ".ne")
      name = widthName(type);
  }
  ExecFn exec = findExec(inst->opcode + cmp + (ftz ? ".ftz" : "") + "." + name);
  if (!exec)
    return refuse();
  auto a = row(inst->operands[1], type), b = row(inst->operands[2], type);
  if (!a)
    return a.status();
  if (!b)
    return b.status();
  uint32_t c = 0, d = ~0u, e = ~0u;
  bool negated = false;
  if (!boolean.empty()) {
    auto p = predicate(inst->operands[3], negated);
    if (!p)
      return p.status();
    c = *p;
  }
  const Operand &out0 = inst->operands[0];
  uint8_t form = 0;
  if (isSet) {
    auto r = destination(out0, dest);
    if (!r)
      return r.status();
    d = *r;
    form = dest == Ty::F32    ? 2
           : dest == Ty::F16 || dest == Ty::F16x2   ? 3
           : dest == Ty::BF16 || dest == Ty::BF16x2 ? 4
           : bitsOf(dest) == 16                     ? 5
                                                    : 1;
  } else {
    auto predRow = [&](uint32_t reg, uint32_t &to) -> Status {
      if (reg == kNoReg)
        return {};
      if (parsed.registers[reg].type != Ty::Pred)
        return wrong("the destination must be a predicate");
      to = plan.rows[reg];
      return {};
    };
    if (out0.kind != Operand::Reg && out0.kind != Operand::Sink)
      return wrong("the destination must be a predicate");
    VITRIFY_RETURN_IF_ERROR(predRow(out0.reg, d));
    VITRIFY_RETURN_IF_ERROR(predRow(out0.reg2, e));
  }
  Inst &out = emit(exec, isSet ? InstClass::Integer : InstClass::Predicate);
  out.a = *a;
  out.b = *b;
  out.c = c;
  out.d = d;
  out.e = e;
  out.aux = boolean == ".and" ? 1 : boolean == ".or" ? 2 : boolean == ".xor" ? 3 : 0;
  out.aux2 = negated;
  out.width = form;
  return {};
}

Status FunctionDecoder::move() {
  Ty type = typeModifier();
  if (type == Ty::None)
    return wrong("no type");
  VITRIFY_RETURN_IF_ERROR(finishModifiers());
  VITRIFY_RETURN_IF_ERROR(operandCount(2));
  const Operand &dst = inst->operands[0], &src = inst->operands[1];
  if (type == Ty::Pred) {
    bool negated;
    auto p = predicate(src, negated);
    if (!p)
      return p.status();
    auto d = destination(dst, Ty::Pred);
    if (!d)
      return d.status();
    Inst &out = emit(findExec(negated ? "not.pred" : "mov.pred"), InstClass::Move);
    out.d = *d;
    out.a = *p;
    return {};
  }
  if (dst.kind == Operand::Vector || src.kind == Operand::Vector) {
    const Operand &vector = dst.kind == Operand::Vector ? dst : src;
    bool unpack = dst.kind == Operand::Vector;
    size_t n = vector.elements.size();
    unsigned part = n ? bitsOf(type) / static_cast<unsigned>(n) : 0;
    Ty element = part == 8 ? Ty::B8 : part == 16 ? Ty::B16 : part == 32 ? Ty::B32 : part == 64 ? Ty::B64 : Ty::None;
    if (element == Ty::None || n > 8)
      return refuse("pack of " + std::to_string(n) + " elements");
    std::vector<uint32_t> rows;
    for (const Operand &op : vector.elements) {
      if (op.kind == Operand::Sink) {
        rows.push_back(~0u);
        continue;
      }
      auto r = row(op, element);
      if (!r)
        return r.status();
      rows.push_back(*r);
    }
    auto whole = unpack ? row(src, type) : destination(dst, type);
    if (!whole)
      return whole.status();
    ExecFn exec = findExec(std::string(unpack ? "unpack." : "pack.") + widthName(type) + "." + std::to_string(n));
    if (!exec)
      return refuse();
    uint32_t list = addList(rows);
    Inst &out = emit(exec, InstClass::Move);
    out.a = out.d = *whole;
    out.list = list;
    out.count = static_cast<uint8_t>(n);
    return {};
  }
  if (src.kind == Operand::Special) {
    static const std::unordered_map<std::string, std::pair<const char *, Ty>> moving = {
        {"%clock", {"clock.32", Ty::U32}}, {"%clock_hi", {"clock.hi", Ty::U32}}, {"%clock64", {"clock.64", Ty::U64}},
        {"%globaltimer", {"timer.64", Ty::U64}}, {"%globaltimer_lo", {"timer.lo", Ty::U32}},
        {"%globaltimer_hi", {"timer.hi", Ty::U32}}};
    if (auto it = moving.find(src.name); it != moving.end()) {
      auto d = destination(dst, it->second.second);
      if (!d)
        return d.status();
      ExecFn exec = findExec(it->second.first);
      if (!exec)
        return refuse(src.name);
      emit(exec, InstClass::Move).d = *d;
      return {};
    }
  }
  auto a = row(src, type), d = destination(dst, type);
  if (!a)
    return a.status();
  if (!d)
    return d.status();
  ExecFn exec = findExec("mov." + std::to_string(bitsOf(type) < 16 ? 16 : bitsOf(type)));
  if (!exec)
    return refuse();
  Inst &out = emit(exec, InstClass::Move);
  out.d = *d;
  out.a = *a;
  return {};
}

Status FunctionDecoder::convert() {
  if (has(".pack")) { // cvt.pack.sat.s8.s32.b32 d, a, b, c
    has(".sat");
    Ty to = typeModifier(), from = typeModifier(), keep = typeModifier();
    std::string key = "cvt.pack." + typeName(to) + "." + typeName(from);
    if (keep == Ty::None)
      return emitOp(key, InstClass::Conversion, {Ty::B32, Ty::B32}, Ty::B32);
    return emitOp(key + ".b32", InstClass::Conversion, {Ty::B32, Ty::B32, Ty::B32}, Ty::B32);
  }
  std::string round = oneOf({".rni", ".rzi", ".rmi", ".rpi", ".rna", ".rn", ".rz", ".rm", ".rp"});
  uint8_t flags = 0;
  flags |= has(".ftz") ? CvtFtz : 0;
  flags |= has(".sat") ? CvtSat : 0;
  flags |= has(".satfinite") ? CvtSatfinite : 0;
  flags |= has(".relu") ? CvtRelu : 0;
  Ty to = typeModifier(), from = typeModifier();
  if (to == Ty::None || from == Ty::None)
    return wrong("needs two types");
  VITRIFY_RETURN_IF_ERROR(finishModifiers());
  uint8_t mode = round == ".rn"    ? RndRN
                 : round == ".rz"  ? RndRZ
                 : round == ".rm"  ? RndRM
                 : round == ".rp"  ? RndRP
                 : round == ".rni" ? RndRNI
                 : round == ".rzi" ? RndRZI
                 : round == ".rmi" ? RndRMI
                 : round == ".rpi" ? RndRPI
                 : round == ".rna" ? RndRNA
                                   : RndNone;
  bool packs = (to == Ty::F16x2 || to == Ty::BF16x2 || to == Ty::E4M3x2 || to == Ty::E5M2x2 || to == Ty::E2M1x2 ||
                to == Ty::UE8M0x2) &&
               from == Ty::F32;
  VITRIFY_RETURN_IF_ERROR(operandCount(packs ? 3 : 2));
  bool small = to == Ty::E4M3x2 || to == Ty::E5M2x2 || to == Ty::E2M1x2;
  if (small && !(flags & CvtSatfinite))
    return wrong("needs .satfinite");
  std::string names = typeName(to) + "." + typeName(from);
  bool isInt = !isFloat(to) && bitsOf(to) >= 8 && (isSigned(to) || isUnsigned(to));
  bool fromInt = isSigned(from) || isUnsigned(from);
  if (isInt && !fromInt && mode == RndNone)
    return wrong("a float to integer conversion needs a rounding modifier");
  std::string key = "cvt." + (isInt && fromInt && (flags & CvtSat) ? "sat." : std::string()) + names;
  bool plain = (flags == 0 && (mode == RndNone || mode == RndRN || (isInt && mode == RndRZI)));
  bool fast8 = small && mode == RndRN && flags == CvtSatfinite;
  ExecFn exec = nullptr;
  if ((plain && (!isInt || fromInt || mode == RndRZI)) || fast8)
    exec = findExec("cvt.fast." + names);
  if (!exec)
    exec = findExec(key);
  if (!exec)
    return refuse();
  // Registers may be wider than the types.
  auto classOf = [](unsigned bits) { return bits <= 16 ? 16u : bits <= 32 ? 32u : bits <= 64 ? 64u : 128u; };
  auto wideName = [](unsigned bits, bool sign) { return std::string(sign ? "s" : "u") + std::to_string(bits); };
  uint32_t source, second = 0;
  const Operand &src = inst->operands[1];
  unsigned fromBits = classOf(bitsOf(from));
  unsigned srcBits = src.kind == Operand::Reg ? classOf(bitsOf(parsed.registers[src.reg].type)) : fromBits;
  if (srcBits > fromBits) {
    auto r = row(src, srcBits == 32 ? Ty::B32 : Ty::B64);
    if (!r)
      return r.status();
    source = temporary(fromBits);
    ExecFn narrow = findExec("ext." + wideName(fromBits, false) + "." + wideName(srcBits, false));
    if (!narrow)
      return refuse();
    Inst &pre = emit(narrow, InstClass::Conversion);
    pre.a = *r;
    pre.d = source;
  } else {
    auto r = row(src, from);
    if (!r)
      return r.status();
    source = *r;
  }
  if (packs) {
    auto r = row(inst->operands[2], Ty::F32);
    if (!r)
      return r.status();
    second = *r;
  }
  const Operand &dst = inst->operands[0];
  unsigned toBits = classOf(bitsOf(to));
  unsigned dstBits = dst.kind == Operand::Reg ? classOf(bitsOf(parsed.registers[dst.reg].type)) : toBits;
  bool widen = dstBits > toBits && (isInt || to == Ty::E2M1x2);
  uint32_t target;
  if (widen) {
    target = temporary(toBits);
  } else {
    auto r = destination(dst, to);
    if (!r)
      return r.status();
    target = *r;
  }
  Inst &out = emit(exec, InstClass::Conversion);
  out.a = source;
  out.b = second;
  out.d = target;
  out.aux = mode;
  out.aux2 = flags;
  if (widen) {
    bool sign = isSigned(to);
    ExecFn wide = findExec("ext." + wideName(dstBits, sign) + "." + wideName(toBits, sign));
    auto r = row(dst, dstBits == 32 ? Ty::B32 : Ty::B64);
    if (!wide || !r)
      return refuse();
    Inst &post = emit(wide, InstClass::Conversion);
    post.a = target;
    post.d = *r;
  }
  return {};
}

Status FunctionDecoder::math() {
  std::string round = oneOf({".rn", ".rz", ".rm", ".rp"});
  bool approx = has(".approx"), ftz = has(".ftz");
  Ty type = typeModifier();
  if (type == Ty::None)
    return wrong("no type");
  if (approx == !round.empty())
    return wrong("needs either .approx or a rounding modifier");
  std::string key = inst->opcode + (approx ? ".approx" : round == ".rn" ? "" : round) + (ftz ? ".ftz" : "") + "." +
                    typeName(type);
  return emitOp(key, InstClass::Mufu, {type}, type);
}

} // namespace vitrify::emulator
