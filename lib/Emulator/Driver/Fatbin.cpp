//===- Fatbin.cpp - NVIDIA's fat binary container ------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Container: u32 magic, u16 version, u16 header bytes, u64 bytes that follow. Entry:
// u16 kind (1 PTX, 2 SASS), u16 version, u32 header bytes, u64 payload bytes with
// padding, u32 compressed bytes, ..., u32 architecture at 28, u64 flags at 40, u64
// uncompressed bytes at 56.
//===----------------------------------------------------------------------===//
#include "Fatbin.h"

#include <algorithm>
#include <cstring>
#include <lz4.h>
#include <zstd.h>

namespace vitrify::emulator {
namespace {

constexpr uint32_t kContainerMagic = 0xba55ed50, kWrapperMagic = 0x466243b1;
constexpr uint64_t kFlagLz4 = 0x2000, kFlagZstd = 0x8000, kFlagSpecific = 0x100000;
constexpr uint64_t kMaxText = uint64_t(1) << 30; // bytes of one PTX text: more is a damaged header
constexpr size_t kContainerHeader = 16, kEntryHeader = 64;

template <typename T> T load(const uint8_t *p) {
  T value;
  std::memcpy(&value, p, sizeof value);
  return value;
}

struct Wrapper {
  uint32_t magic, version;
  const void *data;
  const void *unused;
};

StatusOr<std::string> expand(std::span<const uint8_t> payload, uint64_t flags, uint64_t size,
                             const std::string &where) {
  if (!(flags & (kFlagLz4 | kFlagZstd)))
    return std::string(reinterpret_cast<const char *>(payload.data()), payload.size());
  if (size == 0 || size > kMaxText)
    return dataLoss(where + ": uncompressed size " + std::to_string(size) + ", expected 1 to " +
                    std::to_string(kMaxText));
  std::string text(size, '\0');
  uint64_t got = 0;
  if (flags & kFlagZstd) {
    size_t result = ZSTD_decompress(text.data(), size, payload.data(), payload.size());
    if (ZSTD_isError(result))
      return dataLoss(where + ": zstd: " + ZSTD_getErrorName(result));
    got = result;
  } else {
    int result = LZ4_decompress_safe(reinterpret_cast<const char *>(payload.data()), text.data(), int(payload.size()),
                                     int(size));
    if (result < 0)
      return dataLoss(where + ": damaged LZ4 block");
    got = uint64_t(result);
  }
  if (got != size)
    return dataLoss(where + ": expected " + std::to_string(size) + " bytes of text, found " + std::to_string(got));
  return text;
}

StatusOr<FatbinEntry> readEntry(std::span<const uint8_t> bytes, size_t index, uint64_t &used) {
  std::string where = "fat binary entry " + std::to_string(index);
  if (bytes.size() < kEntryHeader)
    return dataLoss(where + ": expected a header of 64 bytes, found " + std::to_string(bytes.size()));
  uint16_t kind = load<uint16_t>(&bytes[0]);
  uint32_t header = load<uint32_t>(&bytes[4]);
  uint64_t padded = load<uint64_t>(&bytes[8]);
  uint32_t compressed = load<uint32_t>(&bytes[16]);
  uint64_t flags = load<uint64_t>(&bytes[40]);
  if (header < kEntryHeader || header > bytes.size() || padded > bytes.size() - header)
    return dataLoss(where + ": header of " + std::to_string(header) + " and payload of " + std::to_string(padded) +
                    " bytes in a container with " + std::to_string(bytes.size()) + " left");
  FatbinEntry entry;
  entry.kind = kind == 1 ? FatbinEntry::Kind::Ptx : kind == 2 ? FatbinEntry::Kind::Sass : FatbinEntry::Kind::Other;
  entry.architecture = load<uint32_t>(&bytes[28]);
  entry.specific = flags & kFlagSpecific;
  entry.compressed = flags & (kFlagLz4 | kFlagZstd);
  used = header + padded;
  if (entry.kind != FatbinEntry::Kind::Ptx)
    return entry;
  if (entry.compressed && compressed > padded)
    return dataLoss(where + ": " + std::to_string(compressed) + " compressed bytes in a payload of " +
                    std::to_string(padded));
  auto text =
      expand(bytes.subspan(header, entry.compressed ? compressed : padded), flags, load<uint64_t>(&bytes[56]), where);
  if (!text)
    return text.status();
  entry.ptx = std::move(*text);
  entry.ptx.resize(std::min(entry.ptx.size(), entry.ptx.find('\0'))); // padding
  return entry;
}

} // namespace

ImageKind imageKind(const void *image) {
  const auto *p = static_cast<const uint8_t *>(image);
  // PTX text may be shorter than four bytes only if it is empty.
  if (p[0] == 0)
    return ImageKind::Unknown;
  if (p[0] == 0x7f && p[1] == 'E' && p[2] == 'L' && p[3] == 'F')
    return ImageKind::Elf;
  if (p[0] == 0x50 && p[1] == 0xed && load<uint32_t>(p) == kContainerMagic)
    return ImageKind::Fatbin;
  if (p[0] == 0xb1 && p[1] == 0x43 && load<uint32_t>(p) == kWrapperMagic)
    return ImageKind::FatbinWrapper;
  bool text = p[0] == '\t' || p[0] == '\n' || p[0] == '\r' || (p[0] >= 0x20 && p[0] < 0x7f);
  return text ? ImageKind::Ptx : ImageKind::Unknown;
}

StatusOr<uint64_t> fatbinSize(const void *image) {
  const auto *p = static_cast<const uint8_t *>(image);
  uint16_t header = load<uint16_t>(p + 6);
  uint64_t body = load<uint64_t>(p + 8);
  if (header < kContainerHeader || body > (uint64_t(1) << 40))
    return dataLoss("fat binary: header of " + std::to_string(header) + " and body of " + std::to_string(body) +
                    " bytes");
  return header + body;
}

StatusOr<std::vector<FatbinEntry>> readFatbin(std::span<const uint8_t> bytes) {
  std::vector<FatbinEntry> entries;
  bool any = false;
  while (!bytes.empty()) {
    if (any && std::all_of(bytes.begin(), bytes.begin() + std::min<size_t>(bytes.size(), 8),
                           [](uint8_t b) { return b == 0; })) {
      bytes = bytes.subspan(std::min<size_t>(bytes.size(), 8)); // alignment between containers
      continue;
    }
    if (bytes.size() < kContainerHeader || load<uint32_t>(bytes.data()) != kContainerMagic)
      return dataLoss("fat binary: expected a container's magic number, found " + std::to_string(bytes.size()) +
                      " bytes of something else");
    uint16_t header = load<uint16_t>(&bytes[6]);
    uint64_t body = load<uint64_t>(&bytes[8]);
    if (header < kContainerHeader || header > bytes.size() || body > bytes.size() - header)
      return dataLoss("fat binary: header of " + std::to_string(header) + " and body of " + std::to_string(body) +
                      " bytes in " + std::to_string(bytes.size()));
    auto rest = bytes.subspan(header, body);
    while (!rest.empty()) {
      uint64_t used = 0;
      auto entry = readEntry(rest, entries.size(), used);
      if (!entry)
        return entry.status();
      entries.push_back(std::move(*entry));
      rest = rest.subspan(used);
    }
    any = true;
    bytes = bytes.subspan(header + body);
  }
  if (!any)
    return dataLoss("fat binary: empty");
  return entries;
}

StatusOr<std::vector<std::string>> ptxOfImage(const void *image, uint32_t architecture) {
  const std::string hint = "holds SASS only; build with -gencode arch=compute_" + std::to_string(architecture) +
                           ",code=compute_" + std::to_string(architecture);
  switch (imageKind(image)) {
  case ImageKind::Ptx: return std::vector<std::string>{std::string(static_cast<const char *>(image))};
  case ImageKind::Elf: return notFound("the module " + hint);
  case ImageKind::Unknown: return invalidArgument("the image is neither PTX text nor a fat binary nor a cubin");
  case ImageKind::FatbinWrapper: {
    Wrapper wrapper;
    std::memcpy(&wrapper, image, sizeof wrapper);
    if (!wrapper.data || imageKind(wrapper.data) == ImageKind::FatbinWrapper)
      return dataLoss("fat binary wrapper without a container");
    return ptxOfImage(wrapper.data, architecture);
  }
  case ImageKind::Fatbin: break;
  }
  auto size = fatbinSize(image);
  if (!size)
    return size.status();
  auto entries = readFatbin({static_cast<const uint8_t *>(image), size_t(*size)});
  if (!entries)
    return entries.status();
  std::vector<FatbinEntry> fitting;
  std::string found;
  for (FatbinEntry &entry : *entries) {
    if (entry.kind != FatbinEntry::Kind::Ptx)
      continue;
    found +=
        (found.empty() ? "compute_" : ", compute_") + std::to_string(entry.architecture) + (entry.specific ? "a" : "");
    if (entry.specific ? entry.architecture == architecture : entry.architecture <= architecture)
      fitting.push_back(std::move(entry));
  }
  if (found.empty())
    return notFound("the fat binary " + hint);
  if (fitting.empty())
    return notFound("the fat binary holds PTX for " + found + " only, and the chip is sm_" +
                    std::to_string(architecture));
  std::sort(fitting.begin(), fitting.end(), [](const FatbinEntry &a, const FatbinEntry &b) {
    return std::pair(a.architecture, a.specific) > std::pair(b.architecture, b.specific);
  });
  std::vector<std::string> texts;
  for (FatbinEntry &entry : fitting)
    texts.push_back(std::move(entry.ptx));
  return texts;
}

} // namespace vitrify::emulator
