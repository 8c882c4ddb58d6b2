//===- ParserBody.cpp - PTX function bodies ---------------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Scopes, register declarations, labels, instructions and their operands.
//===----------------------------------------------------------------------===//
#include "Parser.h"

#include <algorithm>

namespace vitrify::emulator {

namespace {
/// Of a function, declared: ptxas is content with more, no compiler writes as many.
constexpr uint64_t kMaxRegisters = 1u << 20;

constexpr std::string_view kSpecials[] = {
    "%tid", "%ntid", "%laneid", "%warpid", "%nwarpid", "%ctaid", "%nctaid", "%smid", "%nsmid", "%gridid",
    "%clusterid", "%nclusterid", "%cluster_ctaid", "%cluster_nctaid", "%cluster_ctarank", "%cluster_nctarank",
    "%is_explicit_cluster", "%lanemask_eq", "%lanemask_le", "%lanemask_lt", "%lanemask_ge", "%lanemask_gt", "%clock",
    "%clock_hi", "%clock64", "%globaltimer", "%globaltimer_lo", "%globaltimer_hi", "%total_smem_size",
    "%dynamic_smem_size", "%aggr_smem_size", "%reserved_smem_offset_begin", "%reserved_smem_offset_end",
    "%reserved_smem_offset_cap", "%current_graph_exec", "WARP_SZ",
};
bool isSpecial(std::string_view name) {
  return name.starts_with("%envreg") ||
         std::find(std::begin(kSpecials), std::end(kSpecials), name) != std::end(kSpecials);
}
} // namespace

uint32_t Parser::findRegister(std::string_view name) const {
  for (auto scope = scopes.rbegin(); scope != scopes.rend(); ++scope) {
    if (!scope->registers.empty())
      if (auto it = scope->registers.find(std::string(name)); it != scope->registers.end())
        return it->second;
    size_t digits = name.size();
    while (digits > 0 && name[digits - 1] >= '0' && name[digits - 1] <= '9')
      --digits;
    if (digits == name.size() || name.size() - digits > 9)
      continue;
    // A prefix may itself end in digits, so every split is tried, the longest number first.
    for (size_t split = digits; split < name.size(); ++split) {
      if (name[split] == '0' && split + 1 < name.size())
        continue;
      uint32_t index = 0;
      for (size_t i = split; i < name.size(); ++i)
        index = index * 10 + uint32_t(name[i] - '0');
      for (const Range &range : scope->ranges)
        if (index < range.count && range.prefix == name.substr(0, split))
          return range.first + index;
    }
  }
  return kNoReg;
}

const std::string *Parser::findLocal(std::string_view name) const {
  for (auto scope = scopes.rbegin(); scope != scopes.rend(); ++scope)
    if (auto it = scope->locals.find(std::string(name)); it != scope->locals.end())
      return &it->second;
  return nullptr;
}

Status Parser::registers(ParsedFunction &fn) {
  const Token word = take();
  Ty type = word.kind == Token::Dot ? typeOfModifier(word.text) : Ty::None;
  if (type == Ty::None)
    return unsupportedHere("'" + std::string(word.text) + "' in a .reg declaration is not supported");
  do {
    if (peek().kind != Token::Identifier)
      return error("expected a register's name, found " + here());
    std::string name(take().text);
    uint64_t count = 1;
    if (accept('<')) {
      if (peek().kind != Token::Int)
        return error("expected a count of registers, found " + here());
      if (fn.registers.size() + std::min<uint64_t>(peek().bits, kMaxRegisters) >= kMaxRegisters)
        return error("a function has more than " + std::to_string(kMaxRegisters) + " registers");
      count = take().bits;
      VITRIFY_RETURN_IF_ERROR(expect('>'));
      scopes.back().ranges.push_back({name, static_cast<uint32_t>(fn.registers.size()), static_cast<uint32_t>(count)});
      for (uint64_t i = 0; i < count; ++i)
        fn.registers.push_back({name + std::to_string(i), type});
    } else {
      if (fn.registers.size() >= kMaxRegisters)
        return error("a function has more than " + std::to_string(kMaxRegisters) + " registers");
      scopes.back().registers[name] = static_cast<uint32_t>(fn.registers.size());
      fn.registers.push_back({name, type});
    }
  } while (accept(','));
  return expect(';');
}

Status Parser::loc() {
  uint32_t values[2] = {0, 0};
  for (uint32_t &value : values) {
    if (peek().kind != Token::Int)
      return error("expected a number in .loc, found " + here());
    value = static_cast<uint32_t>(take().bits);
  }
  if (peek().kind == Token::Int)
    take(); // column
  // Inlining information: the callee's position is kept, which is what people look for.
  while (accept(',')) {
    while (peek().kind == Token::Identifier || peek().kind == Token::Int || peek().is('+')) {
      // A new statement begins on another line.
      if (peek().kind == Token::Identifier && pos > 0 && peek().line != tokens[pos - 1].line)
        break;
      take();
    }
  }
  currentLoc = {values[0], values[1]};
  return {};
}

Status Parser::bodyDirective(ParsedFunction &fn) {
  if (acceptDot(".reg"))
    return registers(fn);
  if (acceptDot(".loc"))
    return loc();
  if (acceptDot(".pragma")) {
    while (!peek().is(';') && peek().kind != Token::End)
      take();
    return expect(';');
  }
  Space space = peek().isDot(".local")    ? Space::Local
                : peek().isDot(".shared") ? Space::Shared
                : peek().isDot(".param")  ? Space::Param
                : peek().isDot(".global") ? Space::Global
                : peek().isDot(".const")  ? Space::Const
                                          : Space::None;
  if (space == Space::None)
    return unsupportedHere("directive " + here() + " in a function is not supported");
  take();
  std::vector<Variable> vars;
  VITRIFY_RETURN_IF_ERROR(variable(space, false, false, vars));
  for (Variable &var : vars) {
    std::string unique = "." + std::to_string(scopeCount) + "." + fn.info.name + "." + var.name;
    scopes.back().locals[var.name] = unique;
    var.name = unique;
    if (space == Space::Global || space == Space::Const)
      module.variables.push_back(std::move(var));
    else
      fn.variables.push_back(std::move(var));
  }
  return {};
}

Status Parser::labelled(ParsedFunction &fn) {
  std::string name(take().text);
  take(); // ':'
  if (acceptDot(".branchtargets") || acceptDot(".calltargets")) {
    std::vector<std::string> list;
    do {
      if (peek().kind != Token::Identifier)
        return error("expected a label, found " + here());
      list.emplace_back(take().text);
    } while (accept(','));
    fn.targets[name] = std::move(list);
    return expect(';');
  }
  if (acceptDot(".callprototype")) {
    Prototype proto;
    if (peek().is('('))
      VITRIFY_RETURN_IF_ERROR(parameterList(proto.results));
    if (peek().kind != Token::Identifier)
      return error("expected '_', found " + here());
    take();
    if (peek().is('('))
      VITRIFY_RETURN_IF_ERROR(parameterList(proto.params));
    acceptDot(".noreturn");
    fn.prototypes[name] = std::move(proto);
    return expect(';');
  }
  if (!fn.labels.emplace(name, static_cast<uint32_t>(fn.code.size())).second)
    return error("label '" + name + "' is defined twice");
  return {};
}

Status Parser::body(ParsedFunction &fn) {
  VITRIFY_RETURN_IF_ERROR(expect('{'));
  scopes.assign(1, Scope());
  currentLoc = {};
  for (const Variable &param : fn.params)
    scopes.back().locals[param.name] = param.name;
  for (const Variable &result : fn.results)
    scopes.back().locals[result.name] = result.name;
  while (!scopes.empty()) {
    if (peek().kind == Token::End)
      return error("the body of '" + fn.info.name + "' is not closed");
    if (accept('{')) {
      if (scopes.size() > 256)
        return error("scopes are nested too deeply");
      scopes.emplace_back();
      ++scopeCount;
    } else if (accept('}')) {
      scopes.pop_back();
      ++scopeCount;
    } else if (accept(';')) {
    } else if (peek().kind == Token::Dot) {
      VITRIFY_RETURN_IF_ERROR(bodyDirective(fn));
    } else if (peek().kind == Token::Identifier && peek(1).is(':') && !peek(2).is(':')) {
      VITRIFY_RETURN_IF_ERROR(labelled(fn));
    } else {
      VITRIFY_RETURN_IF_ERROR(instruction(fn));
    }
  }
  return {};
}

Status Parser::instruction(ParsedFunction &fn) {
  Instruction inst;
  inst.line = peek().line;
  inst.loc = currentLoc;
  if (accept('@')) {
    inst.guardNegated = accept('!');
    if (peek().kind != Token::Identifier)
      return error("expected a predicate after '@', found " + here());
    inst.guard = findRegister(peek().text);
    if (inst.guard == kNoReg)
      return error("predicate '" + std::string(peek().text) + "' is not declared");
    if (fn.registers[inst.guard].type != Ty::Pred)
      return error("guard '" + std::string(peek().text) + "' is no .pred register");
    take();
    inst.line = peek().line;
  }
  if (peek().kind != Token::Identifier)
    return error("expected an instruction, found " + here());
  inst.opcode = std::string(take().text);
  while (peek().kind == Token::Dot)
    inst.modifiers.emplace_back(take().text);
  if (!peek().is(';')) {
    do {
      auto op = operand(fn);
      if (!op)
        return op.status().code() == StatusCode::Unsupported
                   ? Status(StatusCode::Unsupported, op.status().message() + " (in " + inst.text() + ")")
                   : op.status();
      inst.operands.push_back(std::move(*op));
    } while (accept(','));
  }
  if (!peek().is(';'))
    return error("expected ';' after " + inst.text() + ", found " + here());
  take();
  fn.code.push_back(std::move(inst));
  return {};
}

StatusOr<Operand> Parser::operand(ParsedFunction &fn) {
  Nested level(depth);
  VITRIFY_RETURN_IF_ERROR(level.check(*this));
  Operand op;
  op.kind = Operand::Sink;
  if (accept('!')) {
    op.negated = true;
  } else if (peek().is('[')) {
    return address(fn);
  } else if (peek().is('{') || peek().is('(')) {
    bool braces = take().is('{');
    op.kind = braces ? Operand::Vector : Operand::List;
    if (!peek().is(braces ? '}' : ')')) {
      do {
        auto element = operand(fn);
        if (!element)
          return element.status();
        if (element->kind == Operand::Vector && op.elements.size() > 4096)
          return error("operand list is too long");
        op.elements.push_back(std::move(*element));
      } while (accept(','));
    }
    VITRIFY_RETURN_IF_ERROR(expect(braces ? '}' : ')'));
    if (braces || !accept('+')) // "(a + b)" never follows a list
      return op;
    return error("unexpected '+'");
  }
  const Token &t = peek();
  bool minusFloat = t.is('-') && (peek(1).kind == Token::F32 || peek(1).kind == Token::F64);
  if (t.kind == Token::F32 || t.kind == Token::F64 || minusFloat) {
    if (minusFloat)
      take();
    const Token value = take();
    op.kind = Operand::Float;
    op.isDouble = value.kind == Token::F64;
    op.bits = value.bits ^ (minusFloat ? (op.isDouble ? uint64_t(1) << 63 : uint64_t(1) << 31) : 0);
    return op;
  }
  if (t.kind == Token::Int || t.is('-') || t.is('~')) {
    auto value = constant();
    if (!value)
      return value.status();
    op.kind = Operand::Int;
    op.bits = static_cast<uint64_t>(*value);
    return op;
  }
  if (t.kind != Token::Identifier)
    return error("expected an operand, found " + here());
  std::string name(take().text);
  if (name == "WARP_SZ") {
    op.kind = Operand::Int;
    op.bits = 32;
    return op;
  }
  if (name == "_") {
    op.kind = Operand::Sink;
  } else if (isSpecial(name)) {
    op.kind = Operand::Special;
    op.name = name;
    if (peek().kind == Token::Dot)
      op.name += take().text;
    return op;
  } else if (uint32_t reg = findRegister(name); reg != kNoReg) {
    op.kind = Operand::Reg;
    op.reg = reg;
    if (peek().kind == Token::Dot)
      return unsupportedHere("element selection " + name + std::string(peek().text) + " is not supported");
  } else {
    const std::string *local = findLocal(name);
    op.kind = Operand::Symbol;
    op.name = local ? *local : name;
    while (peek().is('+') || peek().is('-')) {
      bool minus = take().is('-');
      VITRIFY_RETURN_IF_ERROR(addTerm(op.offset, minus));
    }
    return op;
  }
  if (accept('|')) {
    if (peek().kind != Token::Identifier)
      return error("expected a register after '|', found " + here());
    std::string second(take().text);
    if (second != "_") {
      op.reg2 = findRegister(second);
      if (op.reg2 == kNoReg)
        return error("register '" + second + "' is not declared");
    }
  }
  return op;
}

StatusOr<Operand> Parser::address(ParsedFunction &fn) {
  Operand op;
  op.kind = Operand::Address;
  VITRIFY_RETURN_IF_ERROR(expect('['));
  if (peek().kind == Token::Identifier) {
    std::string name(take().text);
    op.reg = findRegister(name);
    if (op.reg == kNoReg) {
      const std::string *local = findLocal(name);
      op.name = local ? *local : name;
    }
    while (peek().is('+') || peek().is('-')) {
      bool minus = take().is('-');
      VITRIFY_RETURN_IF_ERROR(addTerm(op.offset, minus));
    }
  } else {
    auto value = constant();
    if (!value)
      return value.status();
    op.offset = *value;
  }
  if (peek().is(','))
    return unsupportedHere("an address with coordinates is not supported");
  VITRIFY_RETURN_IF_ERROR(expect(']'));
  return op;
}

StatusOr<int64_t> Parser::constantTerm() {
  Nested level(depth);
  VITRIFY_RETURN_IF_ERROR(level.check(*this));
  if (accept('-')) {
    auto value = constantTerm();
    return value ? StatusOr<int64_t>(static_cast<int64_t>(0 - static_cast<uint64_t>(*value))) : value;
  }
  if (accept('~')) {
    auto value = constantTerm();
    return value ? StatusOr<int64_t>(~*value) : value;
  }
  if (accept('(')) {
    auto value = constant();
    if (!value)
      return value;
    VITRIFY_RETURN_IF_ERROR(expect(')'));
    return value;
  }
  if (peek().kind != Token::Int)
    return error("expected a constant, found " + here());
  return static_cast<int64_t>(take().bits);
}

Status Parser::addTerm(int64_t &sum, bool minus) {
  auto value = constantTerm();
  if (!value)
    return value.status();
  uint64_t term = static_cast<uint64_t>(*value);
  sum = static_cast<int64_t>(static_cast<uint64_t>(sum) + (minus ? 0 - term : term));
  return {};
}

StatusOr<int64_t> Parser::constant() {
  auto left = constantTerm();
  while (left.ok() && (peek().is('+') || peek().is('-') || peek().is('*'))) {
    char op = take().punct;
    auto right = constantTerm();
    if (!right)
      return right;
    uint64_t a = static_cast<uint64_t>(*left), b = static_cast<uint64_t>(*right);
    left = static_cast<int64_t>(op == '+' ? a + b : op == '-' ? a - b : a * b);
  }
  return left;
}

} // namespace vitrify::emulator
