//===- DecodeAsync.cpp - asynchronous copies and mbarriers ------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// cp.async with its groups, and the mbarrier instructions.
//===----------------------------------------------------------------------===//
#include "Decode.h"

namespace vitrify::emulator {

Status FunctionDecoder::asyncCopy() {
  if (!has(".async"))
    return refuse();
  if (has(".commit_group")) {
    VITRIFY_RETURN_IF_ERROR(finishModifiers());
    emit(findExec("cp.async.commit"), InstClass::AsyncCopy);
    return {};
  }
  bool all = has(".wait_all");
  if (all || has(".wait_group")) {
    VITRIFY_RETURN_IF_ERROR(finishModifiers());
    uint64_t n = 0;
    if (!all) {
      VITRIFY_RETURN_IF_ERROR(operandCount(1));
      auto value = immediate(inst->operands[0]);
      if (!value)
        return value.status();
      n = *value;
    }
    Inst &out = emit(findExec("cp.async.wait"), InstClass::AsyncCopy);
    out.imm = n;
    out.aux = all;
    return {};
  }
  if (has(".mbarrier")) {
    if (!has(".arrive"))
      return refuse();
    bool noinc = has(".noinc");
    auto space = spaceModifier(Space::Generic);
    typeModifier();
    VITRIFY_RETURN_IF_ERROR(finishModifiers());
    VITRIFY_RETURN_IF_ERROR(operandCount(1));
    Inst proto;
    VITRIFY_RETURN_IF_ERROR(addressOperand(inst->operands[0], *space, proto));
    ExecFn exec = findExec(std::string("cp.async.mbarrier.") + (*space == Space::Shared ? "shared" : "generic"));
    if (!exec)
      return refuse();
    Inst &out = emit(exec, InstClass::AsyncCopy, Kind::Memory);
    out.a = proto.a;
    out.imm = proto.imm;
    out.aux = proto.aux;
    out.aux2 = noinc;
    out.order = Order::Release;
    out.width = 8;
    out.count = 1;
    return {};
  }
  if (has(".bulk"))
    return refuse();
  std::string cache = oneOf({".ca", ".cg"});
  // Destination and source spaces.
  auto dst = spaceModifier(Space::None), src = spaceModifier(Space::None);
  eatCacheHints();
  VITRIFY_RETURN_IF_ERROR(finishModifiers());
  VITRIFY_RETURN_IF_ERROR(operandCount(3, 5));
  if (cache.empty() || *dst != Space::Shared || *src != Space::Global)
    return refuse();
  auto bytes = immediate(inst->operands[2]);
  if (!bytes)
    return bytes.status();
  if ((*bytes != 4 && *bytes != 8 && *bytes != 16) || (cache == ".cg" && *bytes != 16))
    return wrong("a copy has 4, 8 or 16 bytes (.cg: 16)");
  Inst to, from;
  VITRIFY_RETURN_IF_ERROR(addressOperand(inst->operands[0], Space::Shared, to));
  VITRIFY_RETURN_IF_ERROR(addressOperand(inst->operands[1], Space::Global, from));
  uint32_t sizeRow = ~0u, ignoreRow = ~0u;
  bool ignoreNegated = false;
  for (size_t i = 3; i < inst->operands.size(); ++i) {
    const Operand &op = inst->operands[i];
    bool isPred = op.kind == Operand::Reg && parsed.registers[op.reg].type == Ty::Pred;
    bool isPolicy = op.kind == Operand::Reg && bitsOf(parsed.registers[op.reg].type) == 64;
    if (isPolicy)
      continue;
    auto r = isPred ? predicate(op, ignoreNegated) : row(op, Ty::U32);
    if (!r)
      return r.status();
    (isPred ? ignoreRow : sizeRow) = *r;
  }
  ExecFn exec = findExec("cp.async");
  if (!exec)
    return refuse();
  // Addresses may be constants: they are made rows, 64 bits wide, by the list.
  uint32_t list = addList({sizeRow, ignoreRow});
  Inst &out = emit(exec, InstClass::AsyncCopy, Kind::Memory);
  out.a = to.a;
  out.aux = to.aux;
  out.imm = static_cast<uint32_t>(to.imm) | static_cast<uint64_t>(static_cast<uint32_t>(from.imm)) << 32;
  out.b = from.a;
  if (from.aux != 0 || int64_t(from.imm) != int64_t(int32_t(from.imm)))
    out.b = ctx.constantRow(64, from.imm), out.imm &= 0xffffffffu, from.aux = from.aux == 2 ? 2 : 0;
  if (from.aux == 0 && int64_t(inst->operands[1].offset) != int64_t(int32_t(inst->operands[1].offset)))
    return refuse("an offset beyond 32 bits");
  out.list = list;
  out.aux2 = ignoreNegated;
  out.width = static_cast<uint8_t>(*bytes);
  out.count = 1;
  return {};
}

Status FunctionDecoder::mbarrier() {
  std::string op = oneOf({".init", ".inval", ".arrive_drop", ".arrive", ".test_wait", ".try_wait", ".expect_tx",
                          ".complete_tx", ".pending_count"});
  bool expectTx = op == ".arrive" && has(".expect_tx");
  bool noComplete = has(".noComplete");
  bool parity = has(".parity");
  std::string order = oneOf({".release", ".acquire", ".relaxed"});
  std::string scope = oneOf({".cta", ".cluster"});
  auto space = spaceModifier(Space::Generic);
  if (!space)
    return space.status();
  Ty type = typeModifier();
  if (type != Ty::B64)
    return wrong("needs .b64");
  VITRIFY_RETURN_IF_ERROR(finishModifiers());
  if (op == ".pending_count") {
    VITRIFY_RETURN_IF_ERROR(operandCount(2));
    return emitOp("mbarrier.pending_count", InstClass::Barrier, {Ty::B64}, Ty::U32);
  }
  bool waits = op == ".test_wait" || op == ".try_wait";
  size_t addressAt = inst->operands.empty() || inst->operands[0].kind == Operand::Address ? 0 : 1;
  if (inst->operands.size() <= addressAt)
    return operandCount(2);
  Inst proto;
  VITRIFY_RETURN_IF_ERROR(addressOperand(inst->operands[addressAt], *space, proto));
  // d: state or predicate; b: count, transactions, state or parity.
  uint32_t d = ~0u, b = ~0u;
  if (addressAt == 1 && inst->operands[0].kind != Operand::Sink) {
    auto r = destination(inst->operands[0], waits ? Ty::Pred : Ty::B64);
    if (!r)
      return r.status();
    d = *r;
  }
  if (inst->operands.size() > addressAt + 1) {
    auto r = row(inst->operands[addressAt + 1], waits && !parity ? Ty::B64 : Ty::U32);
    if (!r)
      return r.status();
    b = *r;
  }
  ExecFn exec = findExec("mbarrier" + op + (*space == Space::Shared ? ".shared" : ".generic"));
  if (!exec)
    return refuse();
  Inst &out = emit(exec, InstClass::Barrier, op == ".try_wait" ? Kind::WaitMbarrier : Kind::Memory);
  out.a = proto.a;
  out.imm = proto.imm;
  out.aux = proto.aux;
  out.d = d;
  out.b = b;
  out.aux2 = uint8_t(parity | expectTx << 1 | noComplete << 2);
  out.order = order == ".relaxed" ? Order::Relaxed : waits ? Order::Acquire : Order::Release;
  out.scope = scope == ".cluster" ? Scope::Cluster : Scope::Cta;
  out.width = 8;
  out.count = 1;
  return {};
}

} // namespace vitrify::emulator
