//===- CompileCache.h - compiled code by its content ------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// A folder of what compiling gave, found again by the hash of everything that it
// depends on. Losing it costs time only: what cannot be read, is damaged or is not
// writable counts as absent, with a word to the log.
//===----------------------------------------------------------------------===//
#pragma once

#include "vitrify/Support/ContentHash.h"

#include <atomic>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace vitrify {

/// The hash of everything that some compiled code depends on. Fields are told apart: ("ab", "c") is not ("a", "bc").
class CacheKey {
public:
  explicit CacheKey(std::string_view kind) { add(kind); }
  CacheKey &add(std::string_view field);
  CacheKey &add(uint64_t number) { return add(std::to_string(number)); }
  /// 64 hexadecimal digits; the key is used up.
  std::string finish() { return toHex(hasher.finish()); }

private:
  ContentHasher hasher;
};

/// Safe to use from several threads and processes at once: entries appear whole, under a name that their content decides.
class CompileCache {
public:
  static constexpr uint64_t kDefaultBytes = uint64_t(512) << 20;
  using Log = std::function<void(const std::string &)>;

  /// The folder is made when something is stored first. Beyond `maxBytes`, what was used least recently goes.
  explicit CompileCache(std::string folder, uint64_t maxBytes = kDefaultBytes, Log log = nullptr);
  /// Makes room when something was stored.
  ~CompileCache();

  /// $VITRIFY_CACHE, else $XDG_CACHE_HOME/vitrify, else $HOME/.cache/vitrify; "" when none of them is set.
  static std::string defaultFolder();
  /// What tells this build of the compiler from others: the build ids of the program and of the libraries it loaded.
  static std::string compilerIdentity();

  std::optional<std::string> find(const std::string &key);
  void store(const std::string &key, std::string_view bytes);
  /// Removes the least recently used entries until at most 3/4 of maxBytes are left; nothing below maxBytes.
  void trim();

  unsigned hits() const { return hitCount; }
  unsigned misses() const { return missCount; }

private:
  std::string pathOf(const std::string &key) const;
  void say(const std::string &line);

  const std::string folder;
  const uint64_t maxBytes;
  const Log log;
  std::atomic<unsigned> hitCount{0}, missCount{0};
  std::atomic<bool> stored{false}, said{false};
};

} // namespace vitrify
