//===- Parser.cpp - PTX directives and variables ----------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// The module level of the grammar, and the small tables of types and spaces.
//===----------------------------------------------------------------------===//
#include "Parser.h"

#include <algorithm>
#include <bit>

namespace vitrify::emulator {

namespace {
struct TypeName {
  std::string_view name;
  Ty type;
  uint8_t bits;
};
constexpr TypeName kTypes[] = {
    {".pred", Ty::Pred, 1},      {".b8", Ty::B8, 8},          {".b16", Ty::B16, 16},       {".b32", Ty::B32, 32},
    {".b64", Ty::B64, 64},       {".b128", Ty::B128, 128},    {".u8", Ty::U8, 8},          {".u16", Ty::U16, 16},
    {".u32", Ty::U32, 32},       {".u64", Ty::U64, 64},       {".s8", Ty::S8, 8},          {".s16", Ty::S16, 16},
    {".s32", Ty::S32, 32},       {".s64", Ty::S64, 64},       {".f16", Ty::F16, 16},       {".f16x2", Ty::F16x2, 32},
    {".bf16", Ty::BF16, 16},     {".bf16x2", Ty::BF16x2, 32}, {".f32", Ty::F32, 32},       {".f64", Ty::F64, 64},
    {".tf32", Ty::TF32, 32},     {".e4m3", Ty::E4M3, 8},      {".e5m2", Ty::E5M2, 8},      {".e4m3x2", Ty::E4M3x2, 16},
    {".e5m2x2", Ty::E5M2x2, 16}, {".e2m1x2", Ty::E2M1x2, 8},  {".ue8m0x2", Ty::UE8M0x2, 16},
    {".u16x2", Ty::U16x2, 32},   {".s16x2", Ty::S16x2, 32},   {".b1", Ty::B1, 1},          {".f32x2", Ty::F32x2, 64},
    {".s4", Ty::S4, 4},          {".u4", Ty::U4, 4},
};
} // namespace

Ty typeOfModifier(std::string_view modifier) {
  for (const TypeName &t : kTypes)
    if (t.name == modifier)
      return t.type;
  return Ty::None;
}

unsigned bitsOf(Ty type) {
  for (const TypeName &t : kTypes)
    if (t.type == type)
      return t.bits;
  return 0;
}

std::string_view spaceName(Space space) {
  constexpr std::string_view names[] = {"", "reg", "global", "const", "shared", "local", "param", "generic"};
  return names[unsigned(space)];
}

std::string Instruction::text() const {
  std::string out = opcode;
  for (const std::string &m : modifiers)
    out += m;
  return out;
}

const ParsedFunction *ParsedModule::find(std::string_view name) const {
  auto alias = aliases.find(std::string(name));
  if (alias != aliases.end())
    name = alias->second;
  const ParsedFunction *found = nullptr;
  for (const auto &fn : functions)
    if (fn->info.name == name && (!found || found->isExtern))
      found = fn.get();
  return found;
}

std::string Parser::here() const {
  const Token &t = peek();
  return t.kind == Token::End ? "the end of the text" : "'" + std::string(t.text) + "'";
}

Status Parser::error(const std::string &what) const {
  return invalidArgument(module.name + ":" + std::to_string(peek().line) + ": " + what);
}

Status Parser::unsupportedHere(const std::string &what) const {
  return unsupported(module.name + ":" + std::to_string(peek().line) + ": " + what);
}

Status Parser::expect(char c) {
  if (accept(c))
    return {};
  return error(std::string("expected '") + c + "', found " + here());
}

Status Parser::skipBraces() {
  VITRIFY_RETURN_IF_ERROR(expect('{'));
  for (unsigned depth = 1; depth;) {
    if (peek().kind == Token::End)
      return error("'{' is not closed");
    depth += peek().is('{') ? 1 : peek().is('}') ? -1 : 0;
    take();
  }
  return {};
}

Status Parser::headDirective() {
  // .version has been lexed as a float: "9.0".
  if (!acceptDot(".version"))
    return error("expected .version at the start, found " + here());
  const Token version = take();
  if (version.kind != Token::F64)
    return error(".version needs a number such as 8.4");
  module.version = static_cast<int>(std::clamp(std::bit_cast<double>(version.bits), 0.0, 1000.0) * 10 + 0.5);
  if (module.version < 60 || module.version > 99)
    return unsupportedHere("PTX ISA " + std::to_string(module.version / 10) + "." +
                           std::to_string(module.version % 10) + " is outside of what is read, 6.0 to 9.x");
  return {};
}

Status Parser::run() {
  VITRIFY_RETURN_IF_ERROR(headDirective());
  while (peek().kind != Token::End)
    VITRIFY_RETURN_IF_ERROR(topLevel());
  if (module.target.empty())
    return error("no .target");
  finish();
  return {};
}

Status Parser::topLevel() {
  if (peek().kind != Token::Dot)
    return error("expected a directive, found " + here());
  if (acceptDot(".target")) {
    do {
      if (peek().kind != Token::Identifier)
        return error("expected a target's name, found " + here());
      std::string word(take().text);
      if (word.starts_with("sm_") && module.target.empty())
        module.target = word;
      else
        module.targetOptions.push_back(word);
    } while (accept(','));
    if (module.target.empty())
      return error(".target names no sm_ architecture");
    return {};
  }
  if (acceptDot(".address_size")) {
    if (peek().kind != Token::Int || take().bits != 64)
      return unsupportedHere(".address_size other than 64");
    return {};
  }
  if (acceptDot(".file")) {
    uint64_t index = take().bits;
    if (peek().kind != Token::String)
      return error("expected a file name, found " + here());
    module.files[static_cast<uint32_t>(index)] = std::string(take().text);
    while (accept(','))
      take();
    return {};
  }
  if (acceptDot(".section")) {
    take();
    return skipBraces();
  }
  if (acceptDot(".pragma")) {
    while (!peek().is(';') && peek().kind != Token::End)
      take();
    return expect(';');
  }
  if (acceptDot(".alias")) {
    std::string name(take().text);
    VITRIFY_RETURN_IF_ERROR(expect(','));
    module.aliases[name] = std::string(take().text);
    return expect(';');
  }
  bool isExtern = false, isVisible = false;
  while (true) {
    if (acceptDot(".extern"))
      isExtern = true;
    else if (acceptDot(".visible") || acceptDot(".weak") || acceptDot(".common"))
      isVisible = true;
    else
      break;
  }
  if (acceptDot(".entry"))
    return function(true, isExtern, isVisible);
  if (acceptDot(".func"))
    return function(false, isExtern, isVisible);
  if (acceptDot(".global"))
    return variable(Space::Global, isExtern, isVisible, module.variables);
  if (acceptDot(".const"))
    return variable(Space::Const, isExtern, isVisible, module.variables);
  if (acceptDot(".shared"))
    return variable(Space::Shared, isExtern, isVisible, module.variables);
  return unsupportedHere("directive " + here() + " is not supported");
}

Status Parser::variable(Space space, bool isExtern, bool isVisible, std::vector<Variable> &out) {
  Variable proto;
  proto.space = space;
  proto.isExtern = isExtern;
  proto.isVisible = isVisible;
  proto.line = peek().line;
  uint32_t align = 0, vector = 1;
  while (peek().kind == Token::Dot) {
    const Token word = take();
    if (word.text == ".align") {
      const Token value = take();
      if (value.kind != Token::Int || !std::has_single_bit(value.bits) || value.bits > 4096)
        return error(".align needs a power of two up to 4096");
      align = static_cast<uint32_t>(value.bits);
    } else if (word.text == ".ptr") {
      proto.pointer = true;
    } else if (word.text == ".v2" || word.text == ".v4") {
      vector = word.text == ".v2" ? 2 : 4;
    } else if (word.text == ".attribute") {
      VITRIFY_RETURN_IF_ERROR(expect('('));
      while (!peek().is(')') && peek().kind != Token::End)
        take();
      VITRIFY_RETURN_IF_ERROR(expect(')'));
    } else if (Ty type = typeOfModifier(word.text); type != Ty::None) {
      if (proto.type == Ty::None)
        proto.type = type;
    } else if (proto.pointer && (word.text == ".global" || word.text == ".shared" || word.text == ".const" ||
                                 word.text == ".local" || word.text == ".param")) {
      // the space that a pointer parameter points to: a hint
    } else {
      return unsupportedHere("'" + std::string(word.text) + "' in a variable's declaration is not supported");
    }
  }
  if (proto.type == Ty::None || bitsOf(proto.type) < 8)
    return error("a variable needs a type, found " + here());
  unsigned elementBytes = bitsOf(proto.type) / 8 * vector;
  proto.align = align ? align : elementBytes;
  do {
    Variable var = proto;
    if (peek().kind != Token::Identifier)
      return error("expected a variable's name, found " + here());
    var.name = std::string(take().text);
    uint64_t count = 1;
    bool openArray = false;
    if (accept('<')) {
      const Token n = take();
      if (n.kind != Token::Int || n.bits > 65536)
        return error("a range of variables needs a count up to 65536");
      VITRIFY_RETURN_IF_ERROR(expect('>'));
      for (uint64_t i = 0; i < n.bits; ++i) {
        Variable one = var;
        one.name = var.name + std::to_string(i);
        one.size = elementBytes;
        out.push_back(std::move(one));
      }
      continue;
    }
    while (accept('[')) {
      if (accept(']')) {
        openArray = true;
        continue;
      }
      auto n = constant();
      if (!n)
        return n.status();
      if (*n < 0 || uint64_t(*n) > (uint64_t(1) << 36) || count * uint64_t(*n) > (uint64_t(1) << 36))
        return error("array size " + std::to_string(*n) + " is out of range");
      count *= uint64_t(*n);
      VITRIFY_RETURN_IF_ERROR(expect(']'));
    }
    var.size = openArray ? 0 : count * elementBytes;
    if (space != Space::Global && var.size > (1u << 24))
      return error("variable '" + var.name + "' of " + std::to_string(var.size) + " bytes is too large for ." +
                   std::string(spaceName(space)) + " memory");
    if (accept('=')) {
      VITRIFY_RETURN_IF_ERROR(initialiser(var, elementBytes / vector));
      if (openArray)
        var.size = var.init.size();
      if (var.init.size() > var.size)
        return error("initialiser of '" + var.name + "' is larger than the variable");
    } else if (openArray && !isExtern && space != Space::Param) {
      return error("array '" + var.name + "' has no size");
    }
    out.push_back(std::move(var));
  } while (!(peek().is(',') && peek(1).kind == Token::Dot) && accept(','));
  return space == Space::Param && !peek().is(';') ? Status() : expect(';');
}

Status Parser::initialiser(Variable &var, unsigned elementBytes) {
  uint64_t offset = 0;
  return initialValue(var, elementBytes, offset);
}

Status Parser::initialValue(Variable &var, unsigned elementBytes, uint64_t &offset) {
  Nested level(depth);
  VITRIFY_RETURN_IF_ERROR(level.check(*this));
  if (accept('{')) {
    if (accept('}'))
      return {};
    do
      VITRIFY_RETURN_IF_ERROR(initialValue(var, elementBytes, offset));
    while (accept(','));
    return expect('}');
  }
  uint64_t bits = 0;
  bool negative = false;
  if (peek().is('-') && (peek(1).kind == Token::F64 || peek(1).kind == Token::F32)) {
    take();
    negative = true;
  }
  if (peek().kind == Token::F64 || peek().kind == Token::F32) {
    const Token t = take();
    double value = t.kind == Token::F64 ? std::bit_cast<double>(t.bits) : std::bit_cast<float>(uint32_t(t.bits));
    value = negative ? -value : value;
    bits = elementBytes == 8 ? std::bit_cast<uint64_t>(value) : std::bit_cast<uint32_t>(static_cast<float>(value));
    if (t.kind == Token::F32 && elementBytes == 4)
      bits = uint32_t(t.bits) ^ (negative ? 0x80000000u : 0);
  } else if (peek().kind == Token::Identifier) {
    Relocation reloc;
    reloc.offset = offset;
    reloc.bytes = static_cast<uint8_t>(elementBytes);
    bool generic = peek().isIdent("generic") && peek(1).is('(');
    if (generic) {
      take();
      take();
    }
    reloc.symbol = std::string(take().text);
    if (generic)
      VITRIFY_RETURN_IF_ERROR(expect(')'));
    if (peek().is('+') || peek().is('-')) {
      bool minus = take().is('-');
      uint64_t addend = take().bits;
      reloc.addend = static_cast<int64_t>(minus ? 0 - addend : addend);
    }
    if (elementBytes != 8 && elementBytes != 4)
      return unsupportedHere("an address in an initialiser of " + std::to_string(elementBytes) + " bytes");
    var.relocations.push_back(std::move(reloc));
  } else {
    auto value = constant();
    if (!value)
      return value.status();
    bits = static_cast<uint64_t>(*value);
  }
  if (offset + elementBytes > (uint64_t(1) << 32))
    return error("initialiser is too large");
  var.init.resize(std::max<size_t>(var.init.size(), offset + elementBytes));
  for (unsigned i = 0; i < elementBytes && i < 8; ++i)
    var.init[offset + i] = static_cast<uint8_t>(bits >> (8 * i));
  offset += elementBytes;
  return {};
}

Status Parser::parameterList(std::vector<Variable> &out) {
  VITRIFY_RETURN_IF_ERROR(expect('('));
  if (accept(')'))
    return {};
  do {
    if (acceptDot(".param"))
      VITRIFY_RETURN_IF_ERROR(variable(Space::Param, false, false, out));
    else if (acceptDot(".reg"))
      return unsupportedHere("parameters in registers (.reg) are not supported");
    else
      return error("expected .param, found " + here());
  } while (accept(','));
  return expect(')');
}

Status Parser::performanceDirectives(ParsedFunction &fn) {
  auto numbers = [&](uint64_t (&out)[3]) -> unsigned {
    unsigned n = 0;
    do
      out[std::min(n++, 2u)] = take().bits;
    while (accept(','));
    return n;
  };
  while (peek().kind == Token::Dot) {
    const Token word = take();
    uint64_t v[3] = {1, 1, 1};
    if (word.text == ".maxntid" || word.text == ".reqntid") {
      numbers(v);
      bool fits = v[0] <= 1024 && v[1] <= 1024 && v[2] <= 1024;
      uint64_t threads = fits ? v[0] * v[1] * v[2] : 0;
      if (threads == 0 || threads > 1024)
        return error(std::string(word.text) + " asks for " +
                     (fits ? std::to_string(threads) : std::to_string(v[0]) + " x " + std::to_string(v[1]) + " x " +
                                                           std::to_string(v[2])) +
                     " threads, expected 1 to 1024");
      fn.info.maxThreads = static_cast<uint32_t>(threads);
      if (word.text == ".reqntid")
        for (int i = 0; i < 3; ++i)
          fn.info.requiredThreads[i] = static_cast<uint32_t>(v[i]);
    } else if (word.text == ".minnctapersm") {
      numbers(v);
      fn.info.minBlocksPerSM = static_cast<uint32_t>(v[0]);
    } else if (word.text == ".maxnreg" || word.text == ".maxnctapersm") {
      numbers(v);
    } else if (word.text == ".noreturn" || word.text == ".unique") {
    } else if (word.text == ".pragma") {
      while (!peek().is(';') && peek().kind != Token::End)
        take();
      VITRIFY_RETURN_IF_ERROR(expect(';'));
    } else if (word.text == ".attribute") {
      VITRIFY_RETURN_IF_ERROR(expect('('));
      while (!peek().is(')') && peek().kind != Token::End)
        take();
      VITRIFY_RETURN_IF_ERROR(expect(')'));
    } else {
      return unsupportedHere("directive '" + std::string(word.text) + "' of a function is not supported");
    }
  }
  return {};
}

Status Parser::function(bool isKernel, bool isExtern, bool isVisible) {
  auto fn = std::make_unique<ParsedFunction>();
  fn->info.isKernel = isKernel;
  fn->info.line = peek().line;
  while (acceptDot(".attribute")) {
    VITRIFY_RETURN_IF_ERROR(expect('('));
    while (!peek().is(')') && peek().kind != Token::End)
      take();
    VITRIFY_RETURN_IF_ERROR(expect(')'));
  }
  if (!isKernel && peek().is('('))
    VITRIFY_RETURN_IF_ERROR(parameterList(fn->results));
  if (peek().kind != Token::Identifier)
    return error("expected a function's name, found " + here());
  fn->info.name = std::string(take().text);
  if (peek().is('('))
    VITRIFY_RETURN_IF_ERROR(parameterList(fn->params));
  VITRIFY_RETURN_IF_ERROR(performanceDirectives(*fn));
  uint32_t offset = 0;
  for (const Variable &param : fn->params) {
    ParamInfo info;
    info.name = param.name;
    info.align = param.align;
    info.size = static_cast<uint32_t>(param.size);
    info.pointer = param.pointer;
    for (const TypeName &t : kTypes)
      if (t.type == param.type)
        info.type = std::string(t.name);
    offset = (offset + param.align - 1) / param.align * param.align;
    info.offset = offset;
    offset += info.size;
    if (offset > 32764)
      return error("parameters of '" + fn->info.name + "' take more than 32764 bytes");
    fn->info.params.push_back(std::move(info));
  }
  fn->info.paramBytes = offset;
  if (accept(';')) {
    fn->isExtern = true;
  } else {
    if (const ParsedFunction *other = module.find(fn->info.name); other && !other->isExtern)
      return error("function '" + fn->info.name + "' is defined twice");
    VITRIFY_RETURN_IF_ERROR(body(*fn));
  }
  module.functions.push_back(std::move(fn));
  return {};
}

void Parser::finish() {
  for (int kernels = 1; kernels >= 0; --kernels)
    for (const auto &fn : module.functions)
      if (!fn->isExtern && fn->info.isKernel == bool(kernels))
        module.infos.push_back(fn->info);
  for (const Variable &var : module.variables)
    if (var.space == Space::Global || var.space == Space::Const) {
      VariableInfo info;
      info.name = var.name;
      info.size = var.size;
      info.align = var.align;
      info.isConst = var.space == Space::Const;
      info.isVisible = var.isVisible;
      module.variableInfos.push_back(std::move(info));
    }
}

StatusOr<std::unique_ptr<ParsedModule>> parsePtx(std::string_view text, std::string name) {
  auto module = std::make_unique<ParsedModule>();
  module->name = std::move(name);
  auto tokens = lexPtx(text);
  if (!tokens)
    return Status(tokens.status().code(), module->name + ":" + tokens.status().message());
  Parser parser(std::move(*tokens), *module);
  VITRIFY_RETURN_IF_ERROR(parser.run());
  return module;
}

} // namespace vitrify::emulator
