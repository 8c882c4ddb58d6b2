//===- Lexer.h - PTX tokens -------------------------------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Splits PTX text into tokens with their lines. Comments are skipped; numbers
// are read in all of PTX's forms (decimal, hex, octal, binary, 0f, 0d, 1.5e3).
//===----------------------------------------------------------------------===//
#pragma once

#include "vitrify/Support/Status.h"

#include <cstdint>
#include <string_view>
#include <vector>

namespace vitrify::emulator {

struct Token {
  enum Kind : uint8_t { End, Identifier, Dot, Int, F32, F64, String, Punct };
  Kind kind = End;
  char punct = 0;          ///< Punct
  uint32_t line = 0;
  uint64_t bits = 0;       ///< Int, F32, F64
  std::string_view text;   ///< Identifier; Dot with its dot (".f32", ".shared::cta"); String without quotes

  bool is(char c) const { return kind == Punct && punct == c; }
  bool isDot(std::string_view word) const { return kind == Dot && text == word; }
  bool isIdent(std::string_view word) const { return kind == Identifier && text == word; }
};

/// The tokens of `text`, the last of kind End. An error begins with "line: ".
StatusOr<std::vector<Token>> lexPtx(std::string_view text);

} // namespace vitrify::emulator
