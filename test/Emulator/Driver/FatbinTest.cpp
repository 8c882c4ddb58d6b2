//===- FatbinTest.cpp - the fat binary reader ----------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Containers made here, compressed with the libraries' own compressors; damage is
// refused. Containers of nvcc are read in test/Python/test_emulator_driver.py.
//===----------------------------------------------------------------------===//
#include "../../../lib/Emulator/Driver/Fatbin.h"

#include <cstring>
#include <gtest/gtest.h>
#include <lz4.h>
#include <zstd.h>

namespace vitrify::emulator {
namespace {

enum class Packing { None, Lz4, Zstd };

void append(std::string &out, uint64_t value, int bytes) {
  for (int i = 0; i < bytes; ++i)
    out += char(value >> (8 * i));
}

std::string entry(int kind, uint32_t architecture, const std::string &text, Packing packing, bool specific = false) {
  std::string payload = text;
  uint64_t flags = 0x11 | (specific ? 0x100000 : 0);
  if (packing == Packing::Lz4) {
    payload.resize(size_t(LZ4_compressBound(int(text.size()))));
    payload.resize(size_t(LZ4_compress_default(text.data(), payload.data(), int(text.size()), int(payload.size()))));
    flags |= 0x2000;
  } else if (packing == Packing::Zstd) {
    payload.resize(ZSTD_compressBound(text.size()));
    payload.resize(ZSTD_compress(payload.data(), payload.size(), text.data(), text.size(), 3));
    flags |= 0x8000;
  }
  size_t used = payload.size();
  payload.resize((used + 7) / 8 * 8);
  std::string out;
  append(out, uint64_t(kind), 2);
  append(out, 0x101, 2);
  append(out, 64, 4);
  append(out, payload.size(), 8);
  append(out, packing == Packing::None ? 0 : used, 4);
  append(out, 0, 4);
  append(out, 0, 4);
  append(out, architecture, 4);
  append(out, 0, 8);
  append(out, flags, 8);
  append(out, 0, 8);
  append(out, packing == Packing::None ? 0 : text.size(), 8);
  return out + payload;
}

std::string container(const std::string &body) {
  std::string out;
  append(out, 0xba55ed50, 4);
  append(out, 1, 2);
  append(out, 16, 2);
  append(out, body.size(), 8);
  return out + body;
}

std::span<const uint8_t> bytes(const std::string &text) {
  return {reinterpret_cast<const uint8_t *>(text.data()), text.size()};
}

const std::string kText = ".version 8.0 // " + std::string(500, 'x') + "\n";

TEST(FatbinTest, EveryPacking) {
  for (Packing packing : {Packing::None, Packing::Lz4, Packing::Zstd}) {
    std::string image = container(entry(1, 89, kText, packing));
    auto entries = readFatbin(bytes(image));
    ASSERT_TRUE(entries.ok()) << entries.status().message();
    ASSERT_EQ(entries->size(), 1u);
    EXPECT_EQ((*entries)[0].ptx, kText);
    EXPECT_EQ((*entries)[0].architecture, 89u);
    EXPECT_EQ((*entries)[0].compressed, packing != Packing::None);
    auto texts = ptxOfImage(image.data(), 89);
    ASSERT_TRUE(texts.ok());
    EXPECT_EQ((*texts)[0], kText);
  }
}

TEST(FatbinTest, TheNewestThatTheChipRuns) {
  std::string image = container(entry(1, 80, "// 80", Packing::None) + entry(2, 89, "sass", Packing::None) +
                                entry(1, 89, "// 89", Packing::Zstd) + entry(1, 90, "// 90a", Packing::None, true) +
                                entry(1, 100, "// 100", Packing::None));
  auto for89 = ptxOfImage(image.data(), 89), for90 = ptxOfImage(image.data(), 90),
       for120 = ptxOfImage(image.data(), 120);
  ASSERT_TRUE(for89.ok() && for90.ok() && for120.ok());
  EXPECT_EQ(*for89, (std::vector<std::string>{"// 89", "// 80"}));
  EXPECT_EQ((*for90)[0], "// 90a");
  EXPECT_EQ((*for120)[0], "// 100");
  EXPECT_EQ(for120->size(), 3u); // 90a runs on its own chip alone
  auto for75 = ptxOfImage(image.data(), 75);
  EXPECT_EQ(for75.status().code(), StatusCode::NotFound);
  EXPECT_NE(for75.status().message().find("compute_80"), std::string::npos);
}

TEST(FatbinTest, SassOnlySaysHowToBuild) {
  std::string image = container(entry(2, 89, "sass", Packing::None));
  auto texts = ptxOfImage(image.data(), 89);
  EXPECT_EQ(texts.status().code(), StatusCode::NotFound);
  EXPECT_NE(texts.status().message().find("holds SASS only; build with -gencode arch=compute_89,code=compute_89"),
            std::string::npos);
}

TEST(FatbinTest, SeveralContainersInASection) {
  std::string section = container(entry(1, 80, "// a", Packing::None)) + std::string(8, '\0') +
                        container(entry(1, 89, "// b", Packing::None));
  auto entries = readFatbin(bytes(section));
  ASSERT_TRUE(entries.ok()) << entries.status().message();
  EXPECT_EQ(entries->size(), 2u);
}

TEST(FatbinTest, DamageIsRefused) {
  std::string image = container(entry(1, 89, kText, Packing::Zstd) + entry(1, 90, kText, Packing::Lz4));
  for (size_t length = 0; length < image.size(); ++length) // cut short
    EXPECT_FALSE(readFatbin(bytes(image.substr(0, length))).ok()) << length;
  for (size_t at = 0; at < image.size(); ++at) { // any byte changed: refused or read, never worse
    std::string damaged = image;
    damaged[at] = char(damaged[at] ^ 0xff);
    auto entries = readFatbin(bytes(damaged));
    if (!entries.ok())
      EXPECT_FALSE(entries.status().message().empty());
  }
  std::string huge = image;
  std::memset(&huge[16 + 56], 0xff, 8); // an uncompressed size beyond all memory
  auto entries = readFatbin(bytes(huge));
  EXPECT_EQ(entries.status().code(), StatusCode::DataLoss);
}

TEST(FatbinTest, OtherImagesAreTold) {
  EXPECT_EQ(imageKind("\177ELF"), ImageKind::Elf);
  EXPECT_EQ(imageKind("// ptx"), ImageKind::Ptx);
  EXPECT_EQ(imageKind("\n.version"), ImageKind::Ptx);
  EXPECT_EQ(imageKind("\xff\xfe\xfd\xfc"), ImageKind::Unknown);
  EXPECT_EQ(ptxOfImage("\xff\xfe\xfd\xfc", 89).status().code(), StatusCode::InvalidArgument);
}

} // namespace
} // namespace vitrify::emulator
