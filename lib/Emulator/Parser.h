//===- Parser.h - the PTX parser's state ------------------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Recursive descent over the tokens: Parser.cpp reads directives and
// variables, ParserBody.cpp function bodies and operands.
//===----------------------------------------------------------------------===//
#pragma once

#include "Lexer.h"
#include "Syntax.h"

namespace vitrify::emulator {

class Parser {
public:
  Parser(std::vector<Token> tokens, ParsedModule &module) : tokens(std::move(tokens)), module(module) {}
  Status run();

private:
  // Parser.cpp
  Status topLevel();
  Status headDirective();
  Status skipBraces();
  Status variable(Space space, bool isExtern, bool isVisible, std::vector<Variable> &out);
  Status initialiser(Variable &var, unsigned elementBytes);
  Status initialValue(Variable &var, unsigned elementBytes, uint64_t &offset);
  Status function(bool isKernel, bool isExtern, bool isVisible);
  Status parameterList(std::vector<Variable> &out);
  Status performanceDirectives(ParsedFunction &fn);
  void finish();
  // ParserBody.cpp
  Status body(ParsedFunction &fn);
  Status bodyDirective(ParsedFunction &fn);
  Status registers(ParsedFunction &fn);
  Status loc();
  Status instruction(ParsedFunction &fn);
  Status labelled(ParsedFunction &fn);
  StatusOr<Operand> operand(ParsedFunction &fn);
  StatusOr<Operand> address(ParsedFunction &fn);
  StatusOr<int64_t> constant();
  StatusOr<int64_t> constantTerm();
  Status addTerm(int64_t &sum, bool minus);
  uint32_t findRegister(std::string_view name) const;
  const std::string *findLocal(std::string_view name) const;

  const Token &peek(size_t ahead = 0) const { return tokens[std::min(pos + ahead, tokens.size() - 1)]; }
  const Token &take() { return tokens[pos + 1 < tokens.size() ? pos++ : pos]; }
  bool accept(char c) {
    if (!peek().is(c))
      return false;
    take();
    return true;
  }
  bool acceptDot(std::string_view word) {
    if (!peek().isDot(word))
      return false;
    take();
    return true;
  }
  Status expect(char c);
  Status error(const std::string &what) const;
  Status unsupportedHere(const std::string &what) const;
  std::string here() const; ///< the next token, quoted, for messages
  /// One level of nesting, for as long as it lives. The descent is recursive, so its depth is bounded.
  class Nested {
  public:
    explicit Nested(unsigned &depth) : depth(depth) { ++depth; }
    Nested(const Nested &) = delete;
    ~Nested() { --depth; }
    Status check(const Parser &parser) const {
      return depth <= kMaxDepth ? Status()
                                : parser.error("nested more than " + std::to_string(kMaxDepth) + " levels deep");
    }

  private:
    unsigned &depth;
  };
  static constexpr unsigned kMaxDepth = 64;

  struct Range {
    std::string prefix;
    uint32_t first, count;
  };
  struct Scope {
    std::unordered_map<std::string, uint32_t> registers;
    std::vector<Range> ranges;
    std::unordered_map<std::string, std::string> locals; ///< name to its unique name
  };

  std::vector<Token> tokens;
  size_t pos = 0;
  ParsedModule &module;
  std::vector<Scope> scopes;
  SourceLoc currentLoc;
  unsigned scopeCount = 0;
  unsigned depth = 0; ///< of operands, constants and initialisers
};

} // namespace vitrify::emulator
