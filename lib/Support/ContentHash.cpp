//===- ContentHash.cpp - SHA-256 of bytes and files ----------------------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "vitrify/Support/ContentHash.h"

#include "vitrify/Support/File.h"

#include <algorithm>
#include <cstdlib>
#include <openssl/evp.h>
#include <vector>

using namespace vitrify;

std::string vitrify::toHex(const Digest &digest) {
  constexpr char digits[] = "0123456789abcdef";
  std::string hex;
  hex.reserve(64);
  for (uint8_t byte : digest) {
    hex += digits[byte >> 4];
    hex += digits[byte & 15];
  }
  return hex;
}

StatusOr<Digest> vitrify::parseDigest(std::string_view hex) {
  auto valid = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); };
  if (hex.size() != 64 || !std::all_of(hex.begin(), hex.end(), valid))
    return invalidArgument("expected 64 lower-case hexadecimal digits, found '" + std::string(hex.substr(0, 80)) + "'");
  auto value = [](char c) { return c <= '9' ? c - '0' : c - 'a' + 10; };
  Digest digest;
  for (size_t i = 0; i < 32; ++i)
    digest[i] = static_cast<uint8_t>(value(hex[2 * i]) << 4 | value(hex[2 * i + 1]));
  return digest;
}

struct ContentHasher::State {
  EVP_MD_CTX *context = EVP_MD_CTX_new();
  // SHA-256 is built into libcrypto; only a broken installation or no memory at all can fail here.
  State() { reset(); }
  ~State() { EVP_MD_CTX_free(context); }
  void reset() {
    if (!context || EVP_DigestInit_ex(context, EVP_sha256(), nullptr) != 1)
      std::abort();
  }
};

ContentHasher::ContentHasher() : state(std::make_unique<State>()) {}
ContentHasher::~ContentHasher() = default;
ContentHasher::ContentHasher(ContentHasher &&) noexcept = default;
ContentHasher &ContentHasher::operator=(ContentHasher &&) noexcept = default;

void ContentHasher::update(std::span<const std::byte> bytes) {
  EVP_DigestUpdate(state->context, bytes.data(), bytes.size());
}

void ContentHasher::update(std::string_view text) { update(std::as_bytes(std::span(text))); }

Digest ContentHasher::finish() {
  Digest digest;
  EVP_DigestFinal_ex(state->context, digest.data(), nullptr);
  state->reset();
  return digest;
}

Digest vitrify::sha256(std::span<const std::byte> bytes) {
  ContentHasher hasher;
  hasher.update(bytes);
  return hasher.finish();
}

Digest vitrify::sha256(std::string_view text) { return sha256(std::as_bytes(std::span(text))); }

StatusOr<Digest> vitrify::sha256File(const std::string &path) {
  VITRIFY_ASSIGN_OR_RETURN(MappedFile file, MappedFile::open(path));
  ContentHasher hasher;
  std::vector<std::byte> buffer(std::min<uint64_t>(file.size(), 1 << 20));
  for (uint64_t at = 0; at < file.size(); at += buffer.size()) {
    std::span<std::byte> piece(buffer.data(), std::min<uint64_t>(buffer.size(), file.size() - at));
    VITRIFY_RETURN_IF_ERROR(file.read(at, piece));
    hasher.update(piece);
  }
  return hasher.finish();
}
