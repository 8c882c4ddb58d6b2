//===- DecodeControl.cpp - control, barriers, warp operations ---*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Branches, calls with their parameters' places, barriers, fences, shuffles and
// votes with their member masks.
//===----------------------------------------------------------------------===//
#include "Decode.h"

namespace vitrify::emulator {

Status FunctionDecoder::branch() {
  has(".uni");
  VITRIFY_RETURN_IF_ERROR(finishModifiers());
  VITRIFY_RETURN_IF_ERROR(operandCount(1));
  auto label = parsed.labels.find(inst->operands[0].name);
  if (label == parsed.labels.end())
    return wrong("label '" + inst->operands[0].name + "' is not defined");
  uint32_t block = 0;
  for (uint32_t b = 0; b < blocks.size(); ++b)
    if (blocks[b].begin == label->second)
      block = b;
  fixups.emplace_back(static_cast<uint32_t>(program.code.size()), block);
  emit(nullptr, InstClass::Control, Kind::Branch);
  return {};
}

Status FunctionDecoder::branchIndex() {
  if (!has(".idx"))
    return refuse();
  has(".uni");
  VITRIFY_RETURN_IF_ERROR(finishModifiers());
  VITRIFY_RETURN_IF_ERROR(operandCount(2));
  auto index = row(inst->operands[0], Ty::U32);
  if (!index)
    return index.status();
  auto list = parsed.targets.find(inst->operands[1].name);
  if (list == parsed.targets.end())
    return wrong("branch targets '" + inst->operands[1].name + "' are not defined");
  tableFixups.emplace_back(program.jumpTables.size(), &list->second);
  Inst &out = emit(nullptr, InstClass::Control, Kind::BranchIndex);
  out.a = *index;
  out.target = static_cast<uint32_t>(program.jumpTables.size());
  program.jumpTables.emplace_back();
  return {};
}

Status FunctionDecoder::ret() {
  has(".uni");
  VITRIFY_RETURN_IF_ERROR(finishModifiers());
  emit(nullptr, InstClass::Control, parsed.info.isKernel ? Kind::Exit : Kind::Ret);
  return {};
}

Status FunctionDecoder::exitInst() {
  VITRIFY_RETURN_IF_ERROR(finishModifiers());
  emit(nullptr, InstClass::Control, Kind::Exit);
  return {};
}

Status FunctionDecoder::call() {
  has(".uni");
  VITRIFY_RETURN_IF_ERROR(finishModifiers());
  size_t at = 0;
  const Operand *results = nullptr, *args = nullptr;
  const auto &ops = inst->operands;
  if (at < ops.size() && ops[at].kind == Operand::List)
    results = &ops[at++];
  if (at >= ops.size())
    return wrong("names no function");
  const Operand &callee = ops[at++];
  if (at < ops.size() && ops[at].kind == Operand::List)
    args = &ops[at++];

  auto places = [&](const Operand *list, std::vector<std::pair<uint32_t, uint32_t>> &out) -> Status {
    if (!list)
      return {};
    for (const Operand &op : list->elements) {
      auto it = op.kind == Operand::Symbol ? fn.local.find(op.name) : fn.local.end();
      if (it == fn.local.end())
        return refuse("an argument that is no .param variable");
      uint32_t size = 0;
      for (const Variable &v : parsed.variables)
        if (v.name == op.name)
          size = static_cast<uint32_t>(v.size);
      out.emplace_back(it->second, size);
    }
    return {};
  };
  std::vector<std::pair<uint32_t, uint32_t>> argPlaces, resultPlaces;
  VITRIFY_RETURN_IF_ERROR(places(args, argPlaces));
  VITRIFY_RETURN_IF_ERROR(places(results, resultPlaces));

  if (callee.kind == Operand::Reg) {
    auto target = row(callee, Ty::B64);
    if (!target)
      return target.status();
    CallSite site;
    for (auto [place, size] : argPlaces)
      site.args.push_back({place, 0, size});
    for (auto [place, size] : resultPlaces)
      site.results.push_back({0, place, size});
    Inst &out = emit(nullptr, InstClass::Control, Kind::CallIndirect);
    out.a = *target;
    out.list = 0;
    out.imm = program.calls.size();
    program.calls.push_back(std::move(site));
    return {};
  }
  if (callee.kind != Operand::Symbol)
    return wrong("cannot call this operand");
  const std::string &name = callee.name;
  if (name == "vprintf" || name == "__assertfail") {
    bool print = name == "vprintf";
    if (argPlaces.size() != (print ? 2u : 5u))
      return wrong(name + " takes " + (print ? "2" : "5") + " arguments");
    CallSite site;
    for (auto [place, size] : argPlaces)
      site.args.push_back({place, 0, size});
    for (auto [place, size] : resultPlaces)
      site.results.push_back({0, place, size});
    Inst &out = emit(nullptr, InstClass::Other, print ? Kind::Print : Kind::Assert);
    out.imm = program.calls.size();
    program.calls.push_back(std::move(site));
    return {};
  }
  if (name == "malloc" || name == "free")
    return refuse("the device heap");
  auto index = program.functionIndex.find(name);
  if (index == program.functionIndex.end())
    return refuse("function '" + name + "' has no body here");
  const DecodedFunction &target = program.functions[index->second];
  if (target.info.isKernel)
    return refuse("a call of a kernel");
  // Places of the callee's parameters, as its own layout will have them.
  std::vector<std::pair<uint32_t, uint32_t>> params, rets;
  uint32_t offset = target.localBegin;
  auto place = [&](const Variable &v) {
    uint32_t align = std::max(v.align, 1u);
    offset = (offset + align - 1) / align * align;
    uint32_t here = offset;
    offset += static_cast<uint32_t>(v.size);
    return std::pair{here, static_cast<uint32_t>(v.size)};
  };
  for (const Variable &v : target.parsed->variables)
    if (v.space != Space::Shared)
      place(v);
  for (const Variable &v : target.parsed->params)
    params.push_back(place(v));
  for (const Variable &v : target.parsed->results)
    rets.push_back(place(v));
  if (params.size() != argPlaces.size() || rets.size() != resultPlaces.size())
    return wrong("'" + name + "' takes " + std::to_string(params.size()) + " arguments and gives " +
                 std::to_string(rets.size()) + " results");
  CallSite site;
  for (size_t i = 0; i < params.size(); ++i)
    site.args.push_back({argPlaces[i].first, params[i].first, std::min(argPlaces[i].second, params[i].second)});
  for (size_t i = 0; i < rets.size(); ++i)
    site.results.push_back({rets[i].first, resultPlaces[i].first, std::min(rets[i].second, resultPlaces[i].second)});
  Inst &out = emit(nullptr, InstClass::Control, Kind::Call);
  out.target = index->second;
  out.imm = program.calls.size();
  program.calls.push_back(std::move(site));
  return {};
}

Status FunctionDecoder::barrier() {
  if (inst->opcode == "barrier" && has(".cluster")) {
    bool arrive = has(".arrive"), wait = has(".wait");
    oneOf({".release", ".acquire", ".relaxed"});
    has(".aligned");
    VITRIFY_RETURN_IF_ERROR(finishModifiers());
    if (arrive == wait)
      return wrong("needs .arrive or .wait");
    Inst &out = emit(nullptr, InstClass::Barrier, Kind::ClusterBarrier);
    out.aux = wait;
    return {};
  }
  bool isBar = inst->opcode == "bar";
  has(".cta");
  if (isBar && has(".warp")) {
    if (!has(".sync"))
      return refuse();
    VITRIFY_RETURN_IF_ERROR(finishModifiers());
    VITRIFY_RETURN_IF_ERROR(operandCount(1));
    auto mask = row(inst->operands[0], Ty::B32);
    if (!mask)
      return mask.status();
    Inst &out = emit(findExec("bar.warp.sync"), InstClass::Barrier, Kind::WarpSync);
    out.e = *mask;
    out.aux = 1; // lanes may wait at different places
    return {};
  }
  std::string op = oneOf({".sync", ".arrive", ".red"});
  std::string reduce = op == ".red" ? oneOf({".popc", ".and", ".or"}) : "";
  bool aligned = has(".aligned") || isBar;
  Ty type = op == ".red" ? typeModifier() : Ty::None;
  VITRIFY_RETURN_IF_ERROR(finishModifiers());
  size_t at = op == ".red" ? 1 : 0;
  if (op.empty())
    return refuse();
  size_t tail = op == ".red" ? 1 : 0;
  if (inst->operands.size() < at + 1 + tail || inst->operands.size() > at + 2 + tail)
    return operandCount(at + 1 + tail, at + 2 + tail);
  auto id = row(inst->operands[at], Ty::U32);
  if (!id)
    return id.status();
  uint32_t countRow = ~0u;
  if (inst->operands.size() == at + 2 + tail) {
    auto count = row(inst->operands[at + 1], Ty::U32);
    if (!count)
      return count.status();
    countRow = *count;
  } else if (op == ".arrive") {
    return wrong("needs a count of threads");
  }
  uint32_t d = ~0u, p = ~0u;
  bool negated = false;
  if (op == ".red") {
    auto dest = destination(inst->operands[0], type == Ty::Pred ? Ty::Pred : Ty::U32);
    if (!dest)
      return dest.status();
    d = *dest;
    auto source = predicate(inst->operands.back(), negated);
    if (!source)
      return source.status();
    p = *source;
  }
  fn.usesBarrier = true;
  Inst &out = emit(nullptr, InstClass::Barrier, Kind::Barrier);
  out.a = *id;
  out.b = countRow;
  out.d = d;
  out.c = p;
  out.aux = op == ".sync" ? 0 : op == ".arrive" ? 1 : reduce == ".popc" ? 2 : reduce == ".and" ? 3 : 4;
  out.aux2 = uint8_t(aligned | negated << 1);
  return {};
}

Status FunctionDecoder::fence() {
  ExecFn exec = findExec("fence");
  if (!exec)
    return refuse();
  Scope scope = Scope::Gpu;
  Order order = Order::AcqRel;
  if (inst->opcode == "membar") {
    std::string level = oneOf({".cta", ".gl", ".sys"});
    if (level.empty())
      return refuse();
    scope = level == ".cta" ? Scope::Cta : level == ".gl" ? Scope::Gpu : Scope::Sys;
    order = Order::SeqCst;
  } else {
    if (has(".proxy")) {
      // Proxies are told apart only by instructions that the emulator does not have yet.
      for (size_t i = 0; i < used.size(); ++i)
        used[i] = true;
      emit(exec, InstClass::Fence);
      program.code.back().scope = Scope::Cta;
      program.code.back().order = Order::AcqRel;
      return {};
    }
    bool init = has(".mbarrier_init");
    std::string kind = oneOf({".sc", ".acq_rel", ".acquire", ".release"});
    std::string level = oneOf({".cta", ".cluster", ".gpu", ".sys"});
    if (level.empty() && !init)
      return wrong("needs a scope");
    oneOf({".sync_restrict::shared::cta", ".sync_restrict::shared::cluster"});
    scope = level == ".cta" ? Scope::Cta : level == ".cluster" ? Scope::Cluster : level == ".sys" ? Scope::Sys : Scope::Gpu;
    order = kind == ".sc" ? Order::SeqCst : Order::AcqRel;
  }
  VITRIFY_RETURN_IF_ERROR(finishModifiers());
  Inst &out = emit(exec, InstClass::Fence);
  out.scope = scope;
  out.order = order;
  return {};
}

Status FunctionDecoder::warpOp() {
  const std::string &op = inst->opcode;
  if (op == "activemask") {
    typeModifier();
    return emitOp("activemask", InstClass::Shuffle, {}, Ty::B32);
  }
  if (!has(".sync"))
    return refuse("only the .sync form");
  const auto &ops = inst->operands;
  std::string key;
  uint32_t d = ~0u, e2 = ~0u, a = 0, b = 0, c = 0, mask = 0;
  bool negated = false;
  auto setRow = [&](size_t at, Ty type, uint32_t &to) -> Status {
    if (at >= ops.size())
      return operandCount(at + 1);
    auto r = row(ops[at], type);
    if (!r)
      return r.status();
    to = *r;
    return {};
  };
  auto setDest = [&](Ty type) -> Status {
    if (ops.empty())
      return operandCount(1);
    Operand first = ops[0];
    first.reg2 = kNoReg;
    auto r = first.kind == Operand::Reg || first.kind == Operand::Sink ? destination(first, type)
                                                                       : StatusOr<uint32_t>(wrong("needs a register"));
    if (!r)
      return r.status();
    d = *r;
    if (ops[0].reg2 != kNoReg) {
      if (parsed.registers[ops[0].reg2].type != Ty::Pred)
        return wrong("the second destination must be a predicate");
      e2 = plan.rows[ops[0].reg2];
    }
    return {};
  };
  uint8_t aux = 0;
  if (op == "shfl") {
    std::string mode = oneOf({".up", ".down", ".bfly", ".idx"});
    typeModifier();
    key = "shfl";
    aux = mode == ".up" ? 0 : mode == ".down" ? 1 : mode == ".bfly" ? 2 : 3;
    VITRIFY_RETURN_IF_ERROR(operandCount(5));
    VITRIFY_RETURN_IF_ERROR(setDest(Ty::B32));
    VITRIFY_RETURN_IF_ERROR(setRow(1, Ty::B32, a));
    VITRIFY_RETURN_IF_ERROR(setRow(2, Ty::B32, b));
    VITRIFY_RETURN_IF_ERROR(setRow(3, Ty::B32, c));
    VITRIFY_RETURN_IF_ERROR(setRow(4, Ty::B32, mask));
  } else if (op == "vote") {
    std::string mode = oneOf({".all", ".any", ".uni", ".ballot"});
    typeModifier();
    key = "vote" + mode;
    VITRIFY_RETURN_IF_ERROR(operandCount(3));
    VITRIFY_RETURN_IF_ERROR(setDest(mode == ".ballot" ? Ty::B32 : Ty::Pred));
    auto p = predicate(ops[1], negated);
    if (!p)
      return p.status();
    a = *p;
    VITRIFY_RETURN_IF_ERROR(setRow(2, Ty::B32, mask));
  } else if (op == "match") {
    std::string mode = oneOf({".any", ".all"});
    Ty type = typeModifier();
    key = "match" + mode + "." + std::to_string(bitsOf(type));
    VITRIFY_RETURN_IF_ERROR(operandCount(3));
    VITRIFY_RETURN_IF_ERROR(setDest(Ty::B32));
    VITRIFY_RETURN_IF_ERROR(setRow(1, type, a));
    VITRIFY_RETURN_IF_ERROR(setRow(2, Ty::B32, mask));
  } else if (op == "redux") {
    std::string mode = oneOf({".add", ".min", ".max", ".and", ".or", ".xor"});
    bool absolute = has(".abs"), nan = has(".NaN");
    Ty type = typeModifier();
    key = "redux" + mode + (absolute ? ".abs" : "") + (nan ? ".nan" : "") +
          (type == Ty::F32 ? ".f32" : isSigned(type) && (mode == ".min" || mode == ".max") ? ".s32" : ".u32");
    VITRIFY_RETURN_IF_ERROR(operandCount(3));
    VITRIFY_RETURN_IF_ERROR(setDest(Ty::B32));
    VITRIFY_RETURN_IF_ERROR(setRow(1, Ty::B32, a));
    VITRIFY_RETURN_IF_ERROR(setRow(2, Ty::B32, mask));
  } else { // elect
    key = "elect";
    VITRIFY_RETURN_IF_ERROR(operandCount(2));
    VITRIFY_RETURN_IF_ERROR(setDest(Ty::B32));
    VITRIFY_RETURN_IF_ERROR(setRow(1, Ty::B32, mask));
  }
  VITRIFY_RETURN_IF_ERROR(finishModifiers());
  ExecFn exec = findExec(key);
  if (!exec)
    return refuse();
  uint32_t list = addList({e2});
  Inst &out = emit(exec, InstClass::Shuffle, Kind::WarpSync);
  out.d = d;
  out.a = a;
  out.b = b;
  out.c = c;
  out.e = mask;
  out.list = list;
  out.aux2 = aux;
  out.width = negated;
  return {};
}

Status FunctionDecoder::special() {
  const std::string &op = inst->opcode;
  if (op == "trap" || op == "brkpt") {
    VITRIFY_RETURN_IF_ERROR(finishModifiers());
    emit(nullptr, InstClass::Control, op == "trap" ? Kind::Trap : Kind::Exec).exec =
        op == "trap" ? nullptr : findExec("nop");
    return {};
  }
  if (op == "nanosleep") {
    typeModifier();
    VITRIFY_RETURN_IF_ERROR(finishModifiers());
    VITRIFY_RETURN_IF_ERROR(operandCount(1));
    auto r = row(inst->operands[0], Ty::U32);
    if (!r)
      return r.status();
    emit(nullptr, InstClass::Control, Kind::Nanosleep).a = *r;
    return {};
  }
  // griddepcontrol: launches run one after another, so that both forms are satisfied at once. setmaxnreg and pmevent
  // change nothing that can be seen.
  std::fill(used.begin(), used.end(), true);
  emit(findExec("nop"), InstClass::Other);
  return {};
}

} // namespace vitrify::emulator
