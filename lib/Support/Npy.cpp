//===- Npy.cpp - numpy's .npy files --------------------------------------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "vitrify/Support/Npy.h"

#include "vitrify/Support/File.h"
#include "vitrify/Support/Float8.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>
#include <string_view>
#include <utility>

using namespace vitrify;

namespace {
constexpr std::string_view kMagic("\x93NUMPY", 6);

struct Format {
  std::string_view descr;
  DType dtype;
};
constexpr Format kFormats[] = {{"<f2", DType::F16}, {"<f4", DType::F32}, {"<f8", DType::F64}, {"|u1", DType::U8},
                               {"|i1", DType::I8},  {"<i4", DType::I32}, {"<i8", DType::I64}};

std::optional<DType> typeOf(std::string_view descr) {
  for (const Format &format : kFormats)
    if (format.descr == descr)
      return format.dtype;
  return std::nullopt;
}

/// Reads the header: a Python dict literal with the keys descr, fortran_order and shape, in any order.
class HeaderParser {
public:
  explicit HeaderParser(std::string_view text) : text(text) {}

  std::string descr;
  bool fortran = false;
  std::vector<int64_t> shape;

  Status parse() {
    bool seen[3] = {};
    VITRIFY_RETURN_IF_ERROR(expect('{'));
    while (!accept('}')) {
      VITRIFY_ASSIGN_OR_RETURN(std::string key, string());
      VITRIFY_RETURN_IF_ERROR(expect(':'));
      int which = key == "descr" ? 0 : key == "fortran_order" ? 1 : key == "shape" ? 2 : -1;
      if (which < 0)
        return bad("unknown key '" + key + "'");
      if (std::exchange(seen[which], true))
        return bad("key '" + key + "' occurs twice");
      VITRIFY_RETURN_IF_ERROR(which == 0 ? parseDescr() : which == 1 ? parseOrder() : parseShape());
      if (!accept(',')) {
        VITRIFY_RETURN_IF_ERROR(expect('}'));
        break;
      }
    }
    skip();
    if (at != text.size())
      return bad("text after the dictionary");
    if (!seen[0] || !seen[1] || !seen[2])
      return bad("descr, fortran_order and shape are needed");
    return {};
  }

private:
  Status bad(std::string what) const {
    return dataLoss("npy header: " + what + " at character " + std::to_string(at));
  }
  void skip() {
    while (at < text.size() && (text[at] == ' ' || text[at] == '\n' || text[at] == '\t'))
      ++at;
  }
  bool accept(char c) {
    skip();
    if (at >= text.size() || text[at] != c)
      return false;
    ++at;
    return true;
  }
  Status expect(char c) { return accept(c) ? Status() : bad(std::string("expected '") + c + "'"); }
  StatusOr<std::string> string() {
    skip();
    if (at >= text.size() || (text[at] != '\'' && text[at] != '"'))
      return bad("expected a string");
    size_t end = text.find(text[at], at + 1);
    if (end == std::string_view::npos || end - at > 256)
      return bad("unterminated string");
    std::string value(text.substr(at + 1, end - at - 1));
    at = end + 1;
    return value;
  }
  Status parseDescr() {
    skip();
    if (at < text.size() && text[at] == '[')
      return unsupported("npy file holds records, expected an array of numbers");
    VITRIFY_ASSIGN_OR_RETURN(descr, string());
    return {};
  }
  Status parseOrder() {
    skip();
    for (bool value : {true, false}) {
      std::string_view word = value ? "True" : "False";
      if (text.substr(at, word.size()) == word) {
        fortran = value;
        at += word.size();
        return {};
      }
    }
    return bad("expected True or False");
  }
  Status parseShape() {
    VITRIFY_RETURN_IF_ERROR(expect('('));
    while (!accept(')')) {
      skip();
      int64_t dim = 0;
      size_t begin = at;
      for (; at < text.size() && text[at] >= '0' && text[at] <= '9'; ++at)
        if (__builtin_mul_overflow(dim, int64_t(10), &dim) || __builtin_add_overflow(dim, text[at] - '0', &dim))
          return bad("dimension does not fit 64 bits");
      if (at == begin)
        return bad("expected a dimension");
      if (shape.size() == 32)
        return bad("more than 32 dimensions");
      shape.push_back(dim);
      if (!accept(',')) {
        VITRIFY_RETURN_IF_ERROR(expect(')'));
        break;
      }
    }
    return {};
  }

  std::string_view text;
  size_t at = 0;
};

Status refuseType(const std::string &descr) {
  std::string_view kind = std::string_view(descr).substr(0, 2);
  if (kind == "|O" || descr == "O")
    return unsupported("npy file holds pickled Python objects, which are never loaded");
  if (!descr.empty() && descr[0] == '>')
    return unsupported("npy file has big endian elements '" + descr + "', expected little endian");
  return unsupported("npy file has elements '" + descr + "', expected one of <f2 <f4 <f8 |u1 |i1 <i4 <i8");
}
} // namespace

StatusOr<NpyArray> vitrify::parseNpy(std::span<const std::byte> file) {
  std::string_view text(reinterpret_cast<const char *>(file.data()), file.size());
  if (text.substr(0, 6) != kMagic)
    return invalidArgument("not an npy file: expected it to start with \\x93NUMPY");
  if (text.size() < 10)
    return dataLoss("npy file of " + std::to_string(text.size()) + " bytes is truncated");
  unsigned major = static_cast<uint8_t>(text[6]), minor = static_cast<uint8_t>(text[7]);
  if (major < 1 || major > 3 || minor != 0)
    return unsupported("npy version " + std::to_string(major) + "." + std::to_string(minor) +
                       ", expected 1.0, 2.0 or 3.0");
  size_t lengthBytes = major == 1 ? 2 : 4;
  size_t start = 8 + lengthBytes;
  size_t length = 0;
  if (text.size() < start)
    return dataLoss("npy file of " + std::to_string(text.size()) + " bytes is truncated");
  for (size_t i = 0; i < lengthBytes; ++i)
    length |= static_cast<size_t>(static_cast<uint8_t>(text[8 + i])) << (8 * i);
  if (length > text.size() - start)
    return dataLoss("npy header of " + std::to_string(length) + " bytes is longer than the file");
  HeaderParser header(text.substr(start, length));
  VITRIFY_RETURN_IF_ERROR(header.parse());
  std::optional<DType> dtype = typeOf(header.descr);
  if (!dtype)
    return refuseType(header.descr);
  // An array with one dimension above 1 has the same bytes in both orders.
  if (header.fortran && std::count_if(header.shape.begin(), header.shape.end(), [](int64_t d) { return d > 1; }) > 1)
    return unsupported("npy file is in Fortran order, expected C order (numpy.ascontiguousarray makes it)");
  VITRIFY_ASSIGN_OR_RETURN(int64_t bytes, tensorBytes(*dtype, header.shape));
  std::span<const std::byte> data = file.subspan(start + length);
  if (data.size() != static_cast<uint64_t>(bytes))
    return dataLoss("npy file has " + std::to_string(data.size()) + " bytes of data, expected " +
                    std::to_string(bytes) + " for " + std::string(dtypeName(*dtype)) + " " +
                    shapeString(header.shape));
  return NpyArray{*dtype, std::move(header.shape), std::vector<std::byte>(data.begin(), data.end())};
}

StatusOr<NpyArray> vitrify::readNpy(const std::string &path) {
  VITRIFY_ASSIGN_OR_RETURN(MappedFile file, MappedFile::open(path));
  auto array = parseNpy(file.bytes());
  if (!array.ok())
    return array.status().prefixed("'" + path + "'");
  return array;
}

StatusOr<std::vector<float>> NpyArray::toFloats() const {
  size_t count = data.size() * 8 / dtypeBits(dtype);
  std::vector<float> values(count);
  if (count == 0)
    return values;
  switch (dtype) {
  case DType::F32: std::memcpy(values.data(), data.data(), data.size()); return values;
  case DType::F16: {
    std::vector<uint16_t> bits(count);
    std::memcpy(bits.data(), data.data(), data.size());
    decodeF16(bits.data(), values.data(), count);
    return values;
  }
  case DType::F64:
    for (size_t i = 0; i < count; ++i) {
      double value;
      std::memcpy(&value, data.data() + 8 * i, 8);
      // From half an ulp above the largest f32 on, the conversion has no defined result in C++.
      values[i] = value >= 0x1.ffffffp127    ? HUGE_VALF
                  : value <= -0x1.ffffffp127 ? -HUGE_VALF
                                             : static_cast<float>(value);
    }
    return values;
  default:
    return invalidArgument("array has elements of " + std::string(dtypeName(dtype)) +
                           ", expected floating-point numbers");
  }
}

Status vitrify::writeNpy(const std::string &path, DType dtype, std::span<const int64_t> shape,
                         std::span<const std::byte> data) {
  std::string_view descr;
  for (const Format &format : kFormats)
    if (format.dtype == dtype)
      descr = format.descr;
  if (descr.empty())
    return unsupported("npy files have no elements of " + std::string(dtypeName(dtype)));
  VITRIFY_ASSIGN_OR_RETURN(int64_t bytes, tensorBytes(dtype, shape));
  if (data.size() != static_cast<uint64_t>(bytes))
    return invalidArgument("expected " + std::to_string(bytes) + " bytes for " + shapeString(shape) + ", found " +
                           std::to_string(data.size()));
  std::string dims;
  for (int64_t dim : shape)
    dims += std::to_string(dim) + ", ";
  if (shape.size() == 1)
    dims.pop_back(); // "(3,)"
  else if (!shape.empty())
    dims.resize(dims.size() - 2);
  std::string dict =
      "{'descr': '" + std::string(descr) + "', 'fortran_order': False, 'shape': (" + dims + "), }";
  // The data starts at a multiple of 64; the header ends in a newline. 32 dimensions fit version 1.0's 64 KiB.
  size_t length = (10 + dict.size() + 1 + 63) / 64 * 64 - 10;
  dict.resize(length - 1, ' ');
  std::string head(kMagic);
  head += {'\1', '\0', static_cast<char>(length & 0xff), static_cast<char>(length >> 8)};
  VITRIFY_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::create(path));
  VITRIFY_RETURN_IF_ERROR(file.write(head + dict + "\n"));
  VITRIFY_RETURN_IF_ERROR(file.write(data));
  return file.commit(Durability::Volatile); // tools write these by the hundred, and can write them again
}
