//===- DecodeBits.cpp - bit fields, dot products, the rest ------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Makes the executors' keys of instructions that take words apart.
//===----------------------------------------------------------------------===//
#include "Decode.h"

namespace vitrify::emulator {

Status FunctionDecoder::bitField() {
  const std::string &op = inst->opcode;
  bool shiftAmount = has(".shiftamt");
  std::string mode = oneOf({".f4e", ".b4e", ".rc8", ".ecl", ".ecr", ".rc16", ".clamp", ".wrap"});
  std::string boolean = oneOf({".and", ".or"});
  Ty type = typeModifier();
  if (type == Ty::None)
    return wrong("no type");
  if (!boolean.empty() && op != "lop3")
    return refuse();
  if (op == "popc" || op == "clz")
    return emitOp(op + "." + widthName(type), InstClass::Integer, {type}, Ty::U32);
  if (op == "bfind")
    return emitOp(op + (shiftAmount ? ".shiftamt" : "") + "." + typeName(type), InstClass::Integer, {type}, Ty::U32);
  if (op == "brev")
    return emitOp("brev." + widthName(type), InstClass::Integer, {type}, type);
  if (op == "bfe")
    return emitOp("bfe." + typeName(type), InstClass::Integer, {type, Ty::U32, Ty::U32}, type);
  if (op == "fns")
    return emitOp("fns", InstClass::Integer, {Ty::B32, Ty::B32, Ty::S32}, Ty::B32);
  if (op == "bmsk")
    return emitOp("bmsk" + mode, InstClass::Integer, {Ty::B32, Ty::B32}, Ty::B32);
  if (op == "szext")
    return emitOp("szext" + mode + "." + typeName(type), InstClass::Integer, {type, Ty::B32}, type);
  if (op == "prmt")
    return emitOp("prmt" + mode, InstClass::Integer, {Ty::B32, Ty::B32, Ty::B32}, Ty::B32);
  // bfi and lop3 have four sources; lop3.or and lop3.and a predicate more, and one beside the destination.
  VITRIFY_RETURN_IF_ERROR(finishModifiers());
  VITRIFY_RETURN_IF_ERROR(operandCount(boolean.empty() ? 5 : 6));
  bool lop = op == "lop3";
  Ty types[4] = {type, type, lop ? type : Ty::U32, Ty::U32};
  uint32_t rows[4];
  for (size_t i = 0; i < 4; ++i) {
    auto r = row(inst->operands[i + 1], types[i]);
    if (!r)
      return r.status();
    rows[i] = *r;
  }
  Operand first = inst->operands[0];
  uint32_t list = 0;
  bool negated = false;
  if (!boolean.empty()) {
    if (first.reg2 != kNoReg && parsed.registers[first.reg2].type != Ty::Pred)
      return wrong("the second destination must be a predicate");
    auto q = predicate(inst->operands[5], negated);
    if (!q)
      return q.status();
    list = addList({first.reg2 == kNoReg ? ~0u : plan.rows[first.reg2], *q});
    first.reg2 = kNoReg;
  }
  auto d = destination(first, type);
  if (!d)
    return d.status();
  ExecFn exec = findExec(lop ? "lop3" + boolean : "bfi." + widthName(type));
  if (!exec || (lop && type != Ty::B32))
    return refuse();
  uint64_t table = 0;
  if (lop) {
    auto value = immediate(inst->operands[4]);
    if (!value)
      return value.status();
    table = *value & 0xff;
  }
  Inst &out = emit(exec, InstClass::Integer);
  out.d = *d;
  out.a = rows[0];
  out.b = rows[1];
  out.c = rows[2];
  out.e = rows[3];
  out.imm = table;
  out.list = list;
  out.aux2 = negated;
  return {};
}

Status FunctionDecoder::misc() {
  const std::string &op = inst->opcode;
  if (op == "testp") {
    std::string kind = oneOf({".finite", ".infinite", ".number", ".notanumber", ".normal", ".subnormal"});
    Ty type = typeModifier();
    return emitOp("testp" + kind + "." + typeName(type), InstClass::Predicate, {type}, Ty::Pred);
  }
  if (op == "mul24" || op == "mad24") {
    std::string part = oneOf({".lo", ".hi"});
    bool sat = has(".sat");
    Ty type = typeModifier();
    std::string key = op + part + (sat ? ".sat" : "") + "." + typeName(type);
    return op == "mul24" ? emitOp(key, InstClass::Integer, {type, type}, type)
                         : emitOp(key, InstClass::Integer, {type, type, type}, type);
  }
  std::string half = oneOf({".lo", ".hi"});
  Ty a = typeModifier(), b = typeModifier();
  return emitOp(op + half + "." + typeName(a) + "." + typeName(b), InstClass::Integer, {Ty::B32, Ty::B32, Ty::B32},
                Ty::B32);
}

} // namespace vitrify::emulator
