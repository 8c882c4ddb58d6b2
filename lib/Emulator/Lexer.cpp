//===- Lexer.cpp - PTX tokens -----------------------------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// One pass over the text. A word that begins with a dot and a letter is a
// modifier or a directive; `::` continues it.
//===----------------------------------------------------------------------===//
#include "Lexer.h"

#include <bit>
#include <charconv>
#include <string>

namespace vitrify::emulator {
namespace {

bool isDigit(char c) { return c >= '0' && c <= '9'; }
bool isAlpha(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool isWord(char c) { return isAlpha(c) || isDigit(c) || c == '_' || c == '$'; }
int hexDigit(char c) {
  if (isDigit(c))
    return c - '0';
  c |= 0x20;
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

class Lexer {
public:
  explicit Lexer(std::string_view text) : text(text) {}

  StatusOr<std::vector<Token>> run() {
    std::vector<Token> out;
    out.reserve(text.size() / 4 + 8);
    while (true) {
      VITRIFY_RETURN_IF_ERROR(skipBlank());
      Token token;
      token.line = line;
      if (pos >= text.size()) {
        out.push_back(token);
        return out;
      }
      VITRIFY_RETURN_IF_ERROR(next(token));
      out.push_back(token);
    }
  }

private:
  char at(size_t i) const { return i < text.size() ? text[i] : 0; }
  Status error(const std::string &what) const { return invalidArgument(std::to_string(line) + ": " + what); }

  Status skipBlank() {
    while (pos < text.size()) {
      char c = text[pos];
      if (c == '\n') {
        ++line;
        ++pos;
      } else if (c == ' ' || c == '\t' || c == '\r' || c == '\f' || c == 0) {
        ++pos;
      } else if (c == '/' && at(pos + 1) == '/') {
        while (pos < text.size() && text[pos] != '\n')
          ++pos;
      } else if (c == '/' && at(pos + 1) == '*') {
        uint32_t start = line;
        pos += 2;
        while (pos < text.size() && !(text[pos] == '*' && at(pos + 1) == '/')) {
          line += text[pos] == '\n';
          ++pos;
        }
        if (pos >= text.size())
          return invalidArgument(std::to_string(start) + ": comment is not closed");
        pos += 2;
      } else {
        break;
      }
    }
    return {};
  }

  Status next(Token &token) {
    size_t start = pos;
    char c = text[pos];
    if (isAlpha(c) || c == '_' || c == '$' || c == '%') {
      ++pos;
      while (pos < text.size() && isWord(text[pos]))
        ++pos;
      token.kind = c == '%' && pos == start + 1 ? Token::Punct : Token::Identifier;
      token.punct = c;
      token.text = text.substr(start, pos - start);
      return {};
    }
    if (c == '.' && (isWord(at(pos + 1)) && !(isDigit(at(pos + 1)) && !wordAfterDigits(pos + 1)))) {
      ++pos;
      while (pos < text.size() && (isWord(text[pos]) || (text[pos] == ':' && at(pos + 1) == ':' && isWord(at(pos + 2)))))
        pos += text[pos] == ':' ? 2 : 1;
      token.kind = Token::Dot;
      token.text = text.substr(start, pos - start);
      return {};
    }
    if (isDigit(c) || (c == '.' && isDigit(at(pos + 1))))
      return number(token);
    if (c == '"') {
      ++pos;
      while (pos < text.size() && text[pos] != '"' && text[pos] != '\n')
        pos += text[pos] == '\\' ? 2 : 1;
      if (pos >= text.size() || text[pos] != '"')
        return error("string is not closed");
      token.kind = Token::String;
      token.text = text.substr(start + 1, pos - start - 1);
      ++pos;
      return {};
    }
    if (c < 32 || c > 126)
      return error("unexpected byte " + std::to_string(int(static_cast<unsigned char>(c))));
    token.kind = Token::Punct;
    token.punct = c;
    token.text = text.substr(pos, 1);
    ++pos;
    return {};
  }

  /// ".1d" is a word, ".5" a number.
  bool wordAfterDigits(size_t i) const {
    while (isDigit(at(i)))
      ++i;
    return isAlpha(at(i)) && at(i) != 'e' && at(i) != 'E';
  }

  Status number(Token &token) {
    size_t start = pos;
    char kind = at(pos + 1);
    if (text[pos] == '0' && (kind == 'f' || kind == 'F' || kind == 'd' || kind == 'D')) {
      bool isDouble = (kind | 0x20) == 'd';
      size_t digits = isDouble ? 16 : 8;
      pos += 2;
      uint64_t bits = 0;
      for (size_t i = 0; i < digits; ++i, ++pos) {
        int digit = hexDigit(at(pos));
        if (digit < 0)
          return error("float constant needs " + std::to_string(digits) + " hex digits");
        bits = bits << 4 | uint64_t(digit);
      }
      token.kind = isDouble ? Token::F64 : Token::F32;
      token.bits = bits;
      return {};
    }
    int base = 10;
    if (text[pos] == '0' && (kind == 'x' || kind == 'X'))
      base = 16, pos += 2;
    else if (text[pos] == '0' && (kind == 'b' || kind == 'B'))
      base = 2, pos += 2;
    else if (text[pos] == '0' && isDigit(kind))
      base = 8, pos += 1;
    if (base != 16 && base != 2) {
      size_t end = pos;
      while (isDigit(at(end)))
        ++end;
      if (at(end) == '.' || at(end) == 'e' || at(end) == 'E') {
        double value = 0;
        auto [rest, ec] = std::from_chars(text.data() + start, text.data() + text.size(), value);
        if (ec != std::errc())
          return error("cannot read the number");
        pos = size_t(rest - text.data());
        token.kind = Token::F64;
        token.bits = std::bit_cast<uint64_t>(value);
        return {};
      }
    }
    uint64_t value = 0;
    size_t first = pos;
    for (int digit; (digit = hexDigit(at(pos))) >= 0 && digit < base; ++pos) {
      uint64_t next = value * uint64_t(base) + uint64_t(digit);
      if ((next - uint64_t(digit)) / uint64_t(base) != value)
        return error("integer constant does not fit in 64 bits");
      value = next;
    }
    if (pos == first && base != 8)
      return error("number without digits");
    if (at(pos) == 'U')
      ++pos;
    if (isWord(at(pos)))
      return error("unexpected '" + std::string(1, at(pos)) + "' in a number");
    token.kind = Token::Int;
    token.bits = value;
    return {};
  }

  std::string_view text;
  size_t pos = 0;
  uint32_t line = 1;
};

} // namespace

StatusOr<std::vector<Token>> lexPtx(std::string_view text) { return Lexer(text).run(); }

} // namespace vitrify::emulator
