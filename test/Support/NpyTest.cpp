//===- NpyTest.cpp - npy files, whole and broken -------------------------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "TempFolder.h"
#include "vitrify/Support/Npy.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

using namespace vitrify;
using vitrify::test::TempFolder;

namespace {
/// An npy file as numpy would write it, from the header's text.
std::string npy(const std::string &dict, const std::string &data, int major = 1) {
  std::string text = dict + "\n", file = "\x93NUMPY";
  file += {static_cast<char>(major), '\0', static_cast<char>(text.size() & 255), static_cast<char>(text.size() >> 8)};
  if (major > 1)
    file += {'\0', '\0'};
  return file + text + data;
}

StatusOr<NpyArray> parse(const std::string &file) { return parseNpy(std::as_bytes(std::span(file))); }

std::string messageOf(const std::string &file) {
  auto array = parse(file);
  return array.ok() ? "(accepted)" : array.status().message();
}

const std::string kFloats = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }";
} // namespace

TEST(Npy, WritesWhatItReads) {
  TempFolder folder;
  for (DType type : {DType::F32, DType::F64, DType::F16, DType::U8, DType::I8, DType::I32, DType::I64})
    for (std::vector<int64_t> shape : {std::vector<int64_t>{}, {7}, {2, 3}, {2, 0, 4}, {1, 3, 2, 2}}) {
      std::vector<std::byte> data(static_cast<size_t>(*tensorBytes(type, shape)));
      for (size_t i = 0; i < data.size(); ++i)
        data[i] = static_cast<std::byte>(i * 7);
      ASSERT_TRUE(writeNpy(folder.path("x.npy"), type, shape, data).ok());
      auto array = readNpy(folder.path("x.npy"));
      ASSERT_TRUE(array.ok()) << array.status().message();
      EXPECT_EQ(array->dtype, type);
      EXPECT_EQ(array->shape, shape);
      EXPECT_EQ(array->data, data);
      // numpy maps files, so it wants the data aligned to 64 bytes.
      EXPECT_EQ((TempFolder::read(folder.path("x.npy")).size() - data.size()) % 64, 0u);
    }
  EXPECT_EQ(folder.count(), 1u);
}

TEST(Npy, ReadsAllVersionsAndSpellings) {
  std::string data(24, 'a');
  for (int version : {1, 2, 3}) {
    auto array = parse(npy(kFloats, data, version));
    ASSERT_TRUE(array.ok()) << array.status().message();
    EXPECT_EQ(array->shape, (std::vector<int64_t>{2, 3}));
  }
  EXPECT_TRUE(parse(npy("{\"shape\":(6,),\"descr\":\"<f4\",\"fortran_order\":True}   ", data)).ok());
  EXPECT_TRUE(parse(npy("{'descr': '<f4', 'fortran_order': True, 'shape': (1, 6, 1)}", data)).ok());
}

TEST(Npy, FloatsConvert) {
  double values[] = {0.5, 1e300, -1e300, std::numeric_limits<double>::quiet_NaN()};
  NpyArray array{DType::F64, {4}, std::vector<std::byte>(32)};
  std::memcpy(array.data.data(), values, 32);
  auto floats = array.toFloats();
  ASSERT_TRUE(floats.ok());
  EXPECT_EQ((*floats)[0], 0.5f);
  EXPECT_TRUE(std::isinf((*floats)[1]) && std::isinf((*floats)[2]) && std::isnan((*floats)[3]));
  EXPECT_EQ((*NpyArray{DType::F16, {1}, {std::byte{0}, std::byte{0x3c}}}.toFloats())[0], 1.0f);
  EXPECT_FALSE((NpyArray{DType::I32, {1}, std::vector<std::byte>(4)}.toFloats().ok()));
}

TEST(Npy, RefusesWhatItMustNotRead) {
  std::string data(24, 'a');
  auto with = [&](const std::string &descr) {
    return npy("{'descr': '" + descr + "', 'fortran_order': False, 'shape': (2, 3), }", data);
  };
  EXPECT_NE(messageOf(with("|O")).find("pickled"), std::string::npos);
  EXPECT_NE(messageOf(with("O")).find("pickled"), std::string::npos);
  EXPECT_NE(messageOf(with(">f4")).find("big endian"), std::string::npos);
  EXPECT_NE(messageOf(with("<c8")).find("'<c8'"), std::string::npos);
  EXPECT_NE(messageOf(with("|b1")).find("'|b1'"), std::string::npos);
  EXPECT_NE(messageOf(npy("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2, 3), }", data)).find("records"),
            std::string::npos);
  EXPECT_NE(messageOf(npy("{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3), }", data)).find("Fortran"),
            std::string::npos);
  EXPECT_NE(messageOf(npy(kFloats, data, 4)).find("version 4.0"), std::string::npos);
  EXPECT_NE(messageOf("PK\3\4 some zip").find("not an npy file"), std::string::npos);
}

TEST(Npy, RefusesBrokenFiles) {
  std::string data(24, 'a'), whole = npy(kFloats, data);
  for (size_t size = 0; size < whole.size(); ++size)
    EXPECT_FALSE(parse(whole.substr(0, size)).ok()) << size;
  EXPECT_FALSE(parse(whole + "x").ok());
  for (const char *dict :
       {"", "{", "{}", "{'descr': '<f4'}", "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3)} x",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), 'x': 1}",
        "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (2, 3)}",
        "{'descr': '<f4', 'fortran_order': 0, 'shape': (2, 3)}", "{'descr': '<f4', 'fortran_order': False, 'shape': 6}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-2, 3)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2 3)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 4)}"})
    EXPECT_FALSE(parse(npy(dict, data)).ok()) << dict;
  EXPECT_NE(messageOf(npy(kFloats, data + "abcd")).find("28 bytes of data, expected 24"), std::string::npos);
}

TEST(Npy, ErrorsNameTheFile) {
  TempFolder folder;
  auto missing = readNpy(folder.path("none.npy"));
  EXPECT_NE(missing.status().message().find("none.npy"), std::string::npos);
  auto text = readNpy(folder.write("text.npy", "hello"));
  EXPECT_NE(text.status().message().find("text.npy"), std::string::npos);
  int64_t shape[] = {2};
  EXPECT_FALSE(writeNpy(folder.path("b.npy"), DType::BF16, shape, std::vector<std::byte>(4)).ok());
  EXPECT_FALSE(writeNpy(folder.path("b.npy"), DType::F32, shape, std::vector<std::byte>(4)).ok());
}
