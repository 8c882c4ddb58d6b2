//===- ContentHash.h - SHA-256 of bytes and files ---------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Content digests of everything a bundle holds, through OpenSSL's EVP interface.
//===----------------------------------------------------------------------===//
#pragma once

#include "vitrify/Support/Status.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace vitrify {

/// A SHA-256 digest.
using Digest = std::array<uint8_t, 32>;

/// 64 lower-case hexadecimal digits.
std::string toHex(const Digest &digest);
/// Reads exactly 64 lower-case hexadecimal digits.
StatusOr<Digest> parseDigest(std::string_view hex);

/// SHA-256 of bytes that come in pieces.
class ContentHasher {
public:
  ContentHasher();
  ~ContentHasher();
  ContentHasher(ContentHasher &&) noexcept;
  ContentHasher &operator=(ContentHasher &&) noexcept;

  void update(std::span<const std::byte> bytes);
  void update(std::string_view text);
  /// The digest of all bytes so far; the hasher is then ready for a new message.
  Digest finish();

private:
  struct State;
  std::unique_ptr<State> state;
};

Digest sha256(std::span<const std::byte> bytes);
Digest sha256(std::string_view text);
/// Digest of a whole regular file, read in pieces.
StatusOr<Digest> sha256File(const std::string &path);

} // namespace vitrify
