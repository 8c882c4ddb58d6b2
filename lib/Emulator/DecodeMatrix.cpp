//===- DecodeMatrix.cpp - matrix instructions -------------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// ldmatrix, stmatrix, movmatrix, mma.sync and wmma. The rows of the fragments
// are in Program::lists: d, then a, b, c. All are warp-wide: every lane of the
// warp that has not exited takes part.
//===----------------------------------------------------------------------===//
#include "Decode.h"
#include "MmaShape.h"

namespace vitrify::emulator {

namespace {
MatrixType matrixType(Ty t, bool &known) {
  known = true;
  switch (t) {
  case Ty::F16: return MatrixType::F16;
  case Ty::BF16: return MatrixType::BF16;
  case Ty::TF32: return MatrixType::TF32;
  case Ty::E4M3: return MatrixType::E4M3;
  case Ty::E5M2: return MatrixType::E5M2;
  case Ty::S8: return MatrixType::S8;
  case Ty::U8: return MatrixType::U8;
  case Ty::F64: return MatrixType::F64;
  default: known = false; return MatrixType::F16;
  }
}
/// Registers of a wmma fragment ('a', 'b', 'c' or 'd') of a type: as many as its elements take, except that f16 operands
/// have eight in every shape.
uint32_t wmmaRegisters(const MmaShape &s, char part, Ty type) {
  if (type == Ty::F16 && (part == 'a' || part == 'b'))
    return 8;
  uint32_t elements = part == 'a' ? s.m * s.k : part == 'b' ? s.k * s.n : s.m * s.n;
  return elements / 32 * bitsOf(type) / (type == Ty::F64 ? 64 : 32);
}

} // namespace

Status FunctionDecoder::ldmatrix() {
  const std::string &op = inst->opcode;
  bool store = op == "stmatrix";
  if (!has(".sync") || !has(".aligned"))
    return wrong("needs .sync.aligned");
  bool trans = has(".trans");
  if (!has(".m8n8"))
    return refuse("only m8n8");
  std::string number = oneOf({".x1", ".x2", ".x4"});
  uint32_t members = ctx.constantRow(32, 0xffffffffu);
  if (op == "movmatrix") {
    if (typeModifier() != Ty::B16 || !trans)
      return refuse();
    size_t at = program.code.size();
    VITRIFY_RETURN_IF_ERROR(emitOp("movmatrix", InstClass::Shuffle, {Ty::B32}, Ty::B32));
    program.code[at].kind = Kind::WarpSync;
    program.code[at].e = members;
    return {};
  }
  auto space = spaceModifier(Space::Generic);
  if (typeModifier() != Ty::B16 || number.empty())
    return refuse();
  VITRIFY_RETURN_IF_ERROR(finishModifiers());
  VITRIFY_RETURN_IF_ERROR(operandCount(2));
  const Operand &regs = inst->operands[store ? 1 : 0], &address = inst->operands[store ? 0 : 1];
  size_t n = size_t(number[2] - '0');
  std::vector<uint32_t> rows;
  if (regs.kind == Operand::Vector) {
    for (const Operand &e : regs.elements) {
      auto r = store ? row(e, Ty::B32) : destination(e, Ty::B32);
      if (!r)
        return r.status();
      rows.push_back(*r);
    }
  } else {
    auto r = store ? row(regs, Ty::B32) : destination(regs, Ty::B32);
    if (!r)
      return r.status();
    rows.push_back(*r);
  }
  if (rows.size() != n)
    return wrong("expected " + std::to_string(n) + " registers");
  Inst proto;
  VITRIFY_RETURN_IF_ERROR(addressOperand(address, *space, proto));
  ExecFn exec = findExec(op + (*space == Space::Shared ? ".shared" : ".generic"));
  if (!exec)
    return refuse();
  uint32_t list = addList(rows);
  Inst &out = emit(exec, store ? InstClass::StoreShared : InstClass::MatrixLoad, Kind::WarpSync);
  out.a = proto.a;
  out.imm = proto.imm;
  out.aux = proto.aux;
  out.list = list;
  out.count = static_cast<uint8_t>(n);
  out.width = 16;
  out.aux2 = trans;
  out.e = members;
  return {};
}

Status FunctionDecoder::mma() {
  if (has(".sp") || has(".sp::ordered_metadata"))
    return refuse("sparse operands");
  if (!has(".sync") || !has(".aligned"))
    return wrong("needs .sync.aligned");
  MmaShape s;
  struct Shape {
    const char *name;
    uint8_t m, n, k;
  };
  constexpr Shape shapes[] = {{".m16n8k4", 16, 8, 4},  {".m16n8k8", 16, 8, 8},   {".m16n8k16", 16, 8, 16},
                              {".m16n8k32", 16, 8, 32}, {".m8n8k16", 8, 8, 16}, {".m8n8k4", 8, 8, 4}};
  bool found = false;
  for (const Shape &shape : shapes)
    if (!found && has(shape.name)) {
      s.m = shape.m;
      s.n = shape.n;
      s.k = shape.k;
      found = true;
    }
  if (!found || !has(".row") || !has(".col"))
    return refuse();
  s.satfinite = has(".satfinite");
  has(".kind::f8f6f4");
  Ty d = typeModifier(), a = typeModifier(), b = typeModifier(), c = typeModifier();
  bool knownA, knownB;
  s.a = matrixType(a, knownA);
  s.b = matrixType(b, knownB);
  if (!knownA || !knownB)
    return refuse();
  VITRIFY_RETURN_IF_ERROR(finishModifiers());
  VITRIFY_RETURN_IF_ERROR(operandCount(4));
  bool eight = s.a == MatrixType::E4M3 || s.a == MatrixType::E5M2;
  bool integer = s.a == MatrixType::S8 || s.a == MatrixType::U8;
  bool mixed = (eight && (s.b == MatrixType::E4M3 || s.b == MatrixType::E5M2)) ||
               (integer && (s.b == MatrixType::S8 || s.b == MatrixType::U8));
  bool shapeFits = false;
  switch (s.a) {
  case MatrixType::F16:
  case MatrixType::BF16: shapeFits = s.m == 16 && (s.k == 8 || s.k == 16); break;
  case MatrixType::TF32: shapeFits = s.m == 16 && (s.k == 4 || s.k == 8); break;
  case MatrixType::E4M3:
  case MatrixType::E5M2: shapeFits = s.m == 16 && (s.k == 16 || s.k == 32); break;
  case MatrixType::S8:
  case MatrixType::U8: shapeFits = s.k == 16 || (s.m == 16 && s.k == 32); break;
  case MatrixType::F64: shapeFits = s.k == 4 || (s.m == 16 && (s.k == 8 || s.k == 16)); break;
  }
  if (!shapeFits || (s.a != s.b && !mixed))
    return refuse();
  bool isDouble = s.a == MatrixType::F64;
  s.halfD = d == Ty::F16;
  s.halfC = c == Ty::F16;
  bool typesFit = integer    ? d == Ty::S32 && c == Ty::S32
                  : isDouble ? d == Ty::F64 && c == Ty::F64
                  : s.a == MatrixType::F16 || eight ? (d == Ty::F32 || d == Ty::F16) && c == d
                                                    : d == Ty::F32 && c == Ty::F32;
  if (!typesFit)
    return refuse();
  uint32_t perA = isDouble ? 1 : s.perRegister();
  s.aRegs = uint8_t(s.m * s.k / 32 / perA);
  s.bRegs = uint8_t(s.n * s.k / 32 / perA);
  s.dRegs = s.cRegs = uint8_t(s.m * s.n / 32);
  if (s.halfD)
    s.dRegs = s.cRegs = 2;
  std::vector<uint32_t> rows;
  auto add = [&](size_t at, size_t count, Ty type) -> Status {
    const Operand &op = inst->operands[at];
    if (op.kind != Operand::Vector && count != 1)
      return wrong("operand " + std::to_string(at) + " must be a vector");
    std::vector<Operand> elements = op.kind == Operand::Vector ? op.elements : std::vector<Operand>{op};
    if (elements.size() != count)
      return wrong("operand " + std::to_string(at) + " needs " + std::to_string(count) + " registers, has " +
                   std::to_string(elements.size()));
    for (const Operand &e : elements) {
      auto r = at == 0 ? destination(e, type) : row(e, type);
      if (!r)
        return r.status();
      rows.push_back(*r);
    }
    return {};
  };
  Ty in = isDouble ? Ty::F64 : Ty::B32, acc = isDouble ? Ty::F64 : s.halfD ? Ty::B32 : integer ? Ty::S32 : Ty::F32;
  VITRIFY_RETURN_IF_ERROR(add(0, s.dRegs, acc));
  VITRIFY_RETURN_IF_ERROR(add(1, s.aRegs, in));
  VITRIFY_RETURN_IF_ERROR(add(2, s.bRegs, in));
  VITRIFY_RETURN_IF_ERROR(add(3, s.cRegs, acc));
  ExecFn exec = findExec(integer ? "mma.int" : isDouble ? "mma.f64" : "mma.float");
  if (!exec)
    return refuse();
  uint32_t list = addList(rows);
  Inst &out = emit(exec, InstClass::Tensor, Kind::WarpSync);
  out.imm = s.pack();
  out.list = list;
  out.e = ctx.constantRow(32, 0xffffffffu);
  InstInfo &info = program.infos.back();
  info.macs = uint32_t(s.m) * s.n * s.k;
  info.tensorKind = eight ? (s.halfD ? 4 : 3) : integer ? 5 : s.a == MatrixType::F16 ? (s.halfD ? 2 : 1)
                    : s.a == MatrixType::BF16 ? 1 : 6;
  return {};
}

Status FunctionDecoder::wmma() {
  std::string op = oneOf({".load", ".store", ".mma"});
  std::string part = oneOf({".a", ".b", ".c", ".d"});
  if (!has(".sync") || !has(".aligned"))
    return wrong("needs .sync.aligned");
  MmaShape s;
  struct Shape {
    const char *name;
    uint8_t m, n, k;
  };
  constexpr Shape shapes[] = {{".m16n16k16", 16, 16, 16}, {".m32n8k16", 32, 8, 16}, {".m8n32k16", 8, 32, 16},
                              {".m16n16k8", 16, 16, 8}, {".m8n8k4", 8, 8, 4}};
  bool found = false;
  for (const Shape &shape : shapes)
    if (!found && has(shape.name)) {
      s.m = shape.m;
      s.n = shape.n;
      s.k = shape.k;
      found = true;
    }
  if (!found)
    return refuse();
  // f64 has a shape of its own, and so has tf32.
  auto shapeFits = [&](Ty t) { return (s.k == 4) == (t == Ty::F64) && (s.k == 8) == (t == Ty::TF32); };
  uint32_t members = ctx.constantRow(32, 0xffffffffu);
  if (op == ".mma") {
    oneOf({".row", ".col"});
    oneOf({".row", ".col"});
    s.satfinite = has(".satfinite");
    std::vector<Ty> types;
    while (true) {
      Ty t = typeModifier();
      if (t == Ty::None)
        break;
      types.push_back(t);
    }
    VITRIFY_RETURN_IF_ERROR(finishModifiers());
    VITRIFY_RETURN_IF_ERROR(operandCount(4));
    // f16 operands are not named: .dtype.ctype; the others name d, a, b, c.
    Ty a = types.size() == 2 ? Ty::F16 : types.size() == 4 ? types[1] : Ty::None;
    Ty b = types.size() == 2 ? Ty::F16 : types.size() == 4 ? types[2] : Ty::None;
    bool knownA, knownB;
    s.a = matrixType(a, knownA);
    s.b = matrixType(b, knownB);
    bool isDouble = s.a == MatrixType::F64, integer = s.a == MatrixType::S8 || s.a == MatrixType::U8;
    if (!knownA || !knownB || s.a != s.b || !shapeFits(a) || s.a == MatrixType::E4M3 || s.a == MatrixType::E5M2)
      return refuse();
    Ty d = types.front(), c = types.back(), sum = isDouble ? Ty::F64 : integer ? Ty::S32 : Ty::F32;
    if ((d != sum && !(a == Ty::F16 && d == Ty::F16)) || (c != sum && !(a == Ty::F16 && c == Ty::F16)))
      return refuse();
    s.halfD = d == Ty::F16;
    s.halfC = c == Ty::F16;
    std::vector<uint32_t> rows;
    uint8_t counts[4];
    for (size_t k = 0; k < 4; ++k) {
      if (inst->operands[k].kind != Operand::Vector && inst->operands[k].kind != Operand::Reg)
        return wrong("operands must be vectors");
      std::vector<Operand> elements =
          inst->operands[k].kind == Operand::Vector ? inst->operands[k].elements : std::vector<Operand>{inst->operands[k]};
      counts[k] = uint8_t(elements.size());
      for (const Operand &e : elements) {
        auto r = k == 0 ? destination(e, isDouble ? Ty::F64 : Ty::B32) : row(e, isDouble ? Ty::F64 : Ty::B32);
        if (!r)
          return r.status();
        rows.push_back(*r);
      }
    }
    for (size_t k = 0; k < 4; ++k)
      if (uint32_t want = wmmaRegisters(s, "dabc"[k], k == 0 ? d : k == 3 ? c : a); counts[k] != want)
        return wrong("operand " + std::to_string(k) + " needs " + std::to_string(want) + " registers, has " +
                     std::to_string(counts[k]));
    s.dRegs = counts[0];
    s.aRegs = counts[1];
    s.bRegs = counts[2];
    s.cRegs = counts[3];
    uint32_t list = addList(rows);
    Inst &out = emit(findExec(isDouble ? "wmma.mma.f64" : "wmma.mma"), InstClass::Tensor, Kind::WarpSync);
    out.imm = s.pack();
    out.list = list;
    out.e = members;
    InstInfo &info = program.infos.back();
    info.macs = uint32_t(s.m) * s.n * s.k;
    info.tensorKind = integer ? 5 : isDouble || a == Ty::TF32 ? 6 : s.halfD ? 2 : 1;
    return {};
  }
  std::string layout = oneOf({".row", ".col"});
  auto space = spaceModifier(Space::Generic);
  Ty type = typeModifier();
  VITRIFY_RETURN_IF_ERROR(finishModifiers());
  VITRIFY_RETURN_IF_ERROR(operandCount(2, 3));
  bool store = op == ".store";
  const Operand &regs = inst->operands[store ? 1 : 0], &address = inst->operands[store ? 0 : 1];
  uint32_t nr = part == ".b" ? s.k : s.m, nc = part == ".a" ? s.k : s.n;
  uint32_t bytes = bitsOf(type) / 8;
  bool operand = part == ".a" || part == ".b", known;
  if (operand)
    matrixType(type, known);
  else
    known = type == Ty::F16 || type == Ty::F32 || type == Ty::S32 || type == Ty::F64;
  if (!known || type == Ty::E4M3 || type == Ty::E5M2 || part.empty() || layout.empty() || store != (part == ".d") ||
      (operand ? !shapeFits(type) : (s.k == 4) != (type == Ty::F64)))
    return refuse();
  std::vector<uint32_t> rows;
  std::vector<Operand> elements = regs.kind == Operand::Vector ? regs.elements : std::vector<Operand>{regs};
  for (const Operand &e : elements) {
    Ty unit = type == Ty::F64 ? Ty::F64 : Ty::B32;
    auto r = store ? row(e, unit) : destination(e, unit);
    if (!r)
      return r.status();
    rows.push_back(*r);
  }
  if (uint32_t want = wmmaRegisters(s, part[1], type); rows.size() != want)
    return wrong("the fragment has " + std::to_string(want) + " registers, found " + std::to_string(rows.size()));
  uint32_t stride = ~0u;
  if (inst->operands.size() == 3) {
    auto r = row(inst->operands[2], Ty::U32);
    if (!r)
      return r.status();
    stride = *r;
  }
  Inst proto;
  VITRIFY_RETURN_IF_ERROR(addressOperand(address, *space, proto));
  ExecFn exec = findExec("wmma" + op + (*space == Space::Shared ? ".shared" : *space == Space::Global ? ".global" : ".generic"));
  if (!exec)
    return refuse();
  uint32_t list = addList(rows);
  InstClass cls = *space == Space::Shared ? (store ? InstClass::StoreShared : InstClass::LoadShared)
                                          : (store ? InstClass::StoreGlobal : InstClass::LoadGlobal);
  Inst &out = emit(exec, cls, Kind::WarpSync);
  out.a = proto.a;
  out.imm = proto.imm;
  out.aux = proto.aux;
  out.b = stride;
  out.list = list;
  out.e = members;
  out.width = static_cast<uint8_t>(bytes);
  out.count = 1;
  out.target = nr | nc << 8 | uint32_t(layout == ".row") << 16 | uint32_t(rows.size()) << 24;
  return {};
}

} // namespace vitrify::emulator
