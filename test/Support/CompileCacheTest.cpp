//===- CompileCacheTest.cpp - compiled code by its content ----------------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "TempFolder.h"
#include "vitrify/Support/CompileCache.h"
#include "vitrify/Support/File.h"

#include <gtest/gtest.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>

using namespace vitrify;
using vitrify::test::TempFolder;
namespace fs = std::filesystem;

namespace {
std::string key(std::string_view field) { return CacheKey("test").add(field).finish(); }

/// The files of a cache.
std::vector<fs::path> entries(const std::string &folder) {
  std::vector<fs::path> found;
  for (const auto &entry : fs::recursive_directory_iterator(folder))
    if (entry.is_regular_file())
      found.push_back(entry.path());
  return found;
}
} // namespace

TEST(CacheKey, TellsFieldsApart) {
  auto two = [](std::string_view a, std::string_view b) { return CacheKey("k").add(a).add(b).finish(); };
  EXPECT_EQ(two("ab", "c"), two("ab", "c"));
  EXPECT_NE(two("ab", "c"), two("a", "bc"));
  EXPECT_NE(two("", "a"), two("a", ""));
  EXPECT_NE(CacheKey("a").finish(), CacheKey("b").finish());
  EXPECT_NE(CacheKey("k").add(uint64_t(12)).finish(), CacheKey("k").add(uint64_t(1)).add(uint64_t(2)).finish());
}

TEST(CompileCache, FindsWhatWasStored) {
  TempFolder folder;
  std::string bytes("co\0de", 5);
  {
    CompileCache cache(folder.path() + "/deep/er");
    EXPECT_FALSE(cache.find(key("a")));
    cache.store(key("a"), bytes);
    cache.store(key("empty"), "");
    EXPECT_EQ(cache.find(key("a")), bytes);
    EXPECT_FALSE(cache.find(key("b")));
    EXPECT_EQ(cache.hits(), 1u);
    EXPECT_EQ(cache.misses(), 2u);
  }
  CompileCache again(folder.path() + "/deep/er");
  EXPECT_EQ(again.find(key("a")), bytes);
  EXPECT_EQ(again.find(key("empty")), "");
}

TEST(CompileCache, DamagedEntriesCountAsAbsentAndAreSaid) {
  TempFolder folder;
  std::string bytes = "some code that is long enough";
  for (int damage = 0; damage < 4; ++damage) {
    std::vector<std::string> said;
    CompileCache cache(folder.path(), CompileCache::kDefaultBytes, [&](const std::string &line) { said.push_back(line); });
    cache.store(key("a"), bytes);
    ASSERT_EQ(entries(folder.path()).size(), 1u);
    fs::path path = entries(folder.path())[0];
    std::string text = *readFile(path.string());
    if (damage == 0)
      text.back() ^= 1;
    if (damage == 1)
      text.resize(text.size() - 3);
    if (damage == 2)
      text.clear();
    if (damage == 3)
      text[0] = 'V';
    ASSERT_TRUE(writeFileAtomically(path.string(), text).ok());
    EXPECT_FALSE(cache.find(key("a")));
    ASSERT_EQ(said.size(), 1u);
    EXPECT_NE(said[0].find("damaged"), std::string::npos);
    EXPECT_TRUE(entries(folder.path()).empty());
    cache.store(key("a"), bytes);
    EXPECT_EQ(cache.find(key("a")), bytes);
  }
}

TEST(CompileCache, KeepsWhatWasUsedLast) {
  TempFolder folder;
  {
    CompileCache cache(folder.path(), 10'000);
    for (int i = 0; i < 9; ++i) {
      cache.store(key(std::to_string(i)), std::string(1000, 'x'));
      timespec old[2] = {{1'000'000 + i, 0}, {1'000'000 + i, 0}};
      fs::path newest = folder.path() + "/" + key(std::to_string(i)).insert(2, "/");
      ASSERT_EQ(utimensat(AT_FDCWD, newest.c_str(), old, 0), 0);
    }
    EXPECT_TRUE(cache.find(key("0"))); // used now
    cache.store(key("last"), std::string(1000, 'x'));
  } // 10 entries of 1,082 bytes are more than 10,000
  CompileCache cache(folder.path(), 10'000);
  EXPECT_EQ(entries(folder.path()).size(), 6u); // 7,500 hold 6
  EXPECT_TRUE(cache.find(key("0")));
  EXPECT_TRUE(cache.find(key("last")));
  EXPECT_TRUE(cache.find(key("8")));
  EXPECT_FALSE(cache.find(key("1")));
}

TEST(CompileCache, LeavesOtherFilesAlone) {
  TempFolder folder;
  folder.write("letter.txt", std::string(5000, 'x'));
  CompileCache cache(folder.path(), 1000);
  cache.store(key("a"), std::string(5000, 'x'));
  cache.trim();
  ASSERT_EQ(entries(folder.path()).size(), 1u);
  EXPECT_EQ(entries(folder.path())[0].filename(), "letter.txt");
}

TEST(CompileCache, AFolderThatCannotBeWrittenCostsAWord) {
  TempFolder folder;
  std::string blocked = folder.write("file", "x");
  int said = 0;
  CompileCache cache(blocked, CompileCache::kDefaultBytes, [&](const std::string &) { ++said; });
  cache.store(key("a"), "bytes");
  cache.store(key("b"), "bytes");
  EXPECT_FALSE(cache.find(key("a")));
  EXPECT_EQ(said, 1);
}

TEST(CompileCache, ManyWritersOfOneEntry) {
  TempFolder folder;
  std::vector<std::thread> threads;
  std::atomic<int> wrong{0};
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&] {
      CompileCache cache(folder.path());
      for (int i = 0; i < 50; ++i) {
        std::string name = std::to_string(i % 5);
        cache.store(key(name), name + std::string(3000, 'y'));
        auto found = cache.find(key(name));
        if (found && *found != name + std::string(3000, 'y'))
          ++wrong;
      }
    });
  for (std::thread &thread : threads)
    thread.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(entries(folder.path()).size(), 5u);
}

TEST(CompileCache, FolderByEnvironment) {
  setenv("VITRIFY_CACHE", "/a", 1);
  EXPECT_EQ(CompileCache::defaultFolder(), "/a");
  unsetenv("VITRIFY_CACHE");
  setenv("XDG_CACHE_HOME", "/b", 1);
  EXPECT_EQ(CompileCache::defaultFolder(), "/b/vitrify");
  unsetenv("XDG_CACHE_HOME");
  setenv("HOME", "/c", 1);
  EXPECT_EQ(CompileCache::defaultFolder(), "/c/.cache/vitrify");
  unsetenv("HOME");
  EXPECT_EQ(CompileCache::defaultFolder(), "");
}

TEST(CompileCache, IdentityIsOfThisProgram) {
  std::string identity = CompileCache::compilerIdentity();
  EXPECT_EQ(identity.size(), 64u);
  EXPECT_EQ(identity, CompileCache::compilerIdentity());
}
