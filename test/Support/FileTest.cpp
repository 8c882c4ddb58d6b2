//===- FileTest.cpp - files and folders that appear whole ----------------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "TempFolder.h"
#include "vitrify/Support/ContentHash.h"
#include "vitrify/Support/File.h"

#include <gtest/gtest.h>

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

using namespace vitrify;
using vitrify::test::TempFolder;
namespace fs = std::filesystem;

TEST(ContentHash, MatchesPublishedVectors) {
  // FIPS 180-4 examples.
  EXPECT_EQ(toHex(sha256(std::string_view("abc"))), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(toHex(sha256(std::string_view(""))), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  ContentHasher hasher;
  hasher.update(std::string_view("a"));
  hasher.update(std::string_view("bc"));
  EXPECT_EQ(hasher.finish(), sha256(std::string_view("abc")));
  hasher.update(std::string_view("abc"));
  EXPECT_EQ(hasher.finish(), sha256(std::string_view("abc")));
}

TEST(ContentHash, HexRoundTripAndRefusals) {
  Digest digest = sha256(std::string_view("x"));
  EXPECT_EQ(*parseDigest(toHex(digest)), digest);
  EXPECT_FALSE(parseDigest("").ok());
  EXPECT_FALSE(parseDigest(toHex(digest).substr(1)).ok());
  EXPECT_FALSE(parseDigest(std::string(64, 'G')).ok());
  EXPECT_FALSE(parseDigest(std::string(64, 'A')).ok());
}

TEST(ContentHash, FilesHashAsTheirBytes) {
  TempFolder folder;
  std::string text(3'000'001, 'q');
  EXPECT_EQ(*sha256File(folder.write("f", text)), sha256(text));
  EXPECT_EQ(*sha256File(folder.write("empty", "")), sha256(std::string_view("")));
}

TEST(MappedFile, ReadsAndRefuses) {
  TempFolder folder;
  auto file = MappedFile::open(folder.write("f", "hello"));
  ASSERT_TRUE(file.ok());
  EXPECT_EQ(file->size(), 5u);
  std::byte out[2];
  ASSERT_TRUE(file->read(3, out).ok());
  EXPECT_EQ(out[1], std::byte{'o'});
  EXPECT_EQ(file->read(4, out).code(), StatusCode::DataLoss);
  file->prefetch(0, 100);
  file->release(0, 100);
  EXPECT_EQ(file->bytes()[0], std::byte{'h'});

  EXPECT_EQ(MappedFile::open(folder.path("none")).status().code(), StatusCode::NotFound);
  EXPECT_NE(MappedFile::open(folder.path()).status().message().find("is a folder"), std::string::npos);
  EXPECT_TRUE(MappedFile::open(folder.write("empty", "")).ok());
  ASSERT_EQ(mkfifo(folder.path("pipe").c_str(), 0600), 0);
  EXPECT_NE(MappedFile::open(folder.path("pipe")).status().message().find("regular file"), std::string::npos);
  fs::create_symlink("f", folder.path("link"));
  EXPECT_TRUE(MappedFile::open(folder.path("link")).ok());
  EXPECT_NE(MappedFile::open(folder.path("link"), false).status().message().find("is a link"), std::string::npos);
  EXPECT_FALSE(readFile(folder.path("f"), 4).ok());
  EXPECT_EQ(*readFile(folder.path("f"), 5), "hello");
}

TEST(AtomicFile, AppearsWholeOrNotAtAll) {
  TempFolder folder;
  {
    auto file = AtomicFile::create(folder.path("out"));
    ASSERT_TRUE(file.ok());
    ASSERT_TRUE(file->write("hello world").ok());
    EXPECT_FALSE(fs::exists(folder.path("out")));
    ASSERT_TRUE(file->writeAt(0, std::as_bytes(std::span("J", 1))).ok());
    ASSERT_TRUE(file->truncate(5).ok());
    ASSERT_TRUE(file->write("!").ok());
    EXPECT_FALSE(file->writeAt(9, std::as_bytes(std::span("J", 1))).ok());
    ASSERT_TRUE(file->commit().ok());
    EXPECT_FALSE(file->commit().ok());
  }
  EXPECT_EQ(TempFolder::read(folder.path("out")), "Jello!");
  {
    auto file = AtomicFile::create(folder.path("out"));
    ASSERT_TRUE(file.ok());
    ASSERT_TRUE(file->write("half").ok());
  } // never committed
  EXPECT_EQ(TempFolder::read(folder.path("out")), "Jello!");
  EXPECT_EQ(folder.count(), 1u);
}

TEST(AtomicFile, RefusesWhereItCannotWrite) {
  TempFolder folder;
  EXPECT_EQ(AtomicFile::create(folder.path("none/out")).status().code(), StatusCode::NotFound);
  EXPECT_FALSE(AtomicFile::create(folder.path() + "/").ok());
  EXPECT_FALSE(AtomicFile::create(folder.path()).ok());
  EXPECT_FALSE(AtomicFile::create("..").ok());
  EXPECT_EQ(folder.count(), 0u);
}

TEST(AtomicFile, FullDeviceIsReportedWithBytes) {
  // A small file size limit stands for a full disk only in effect, not in errno; /dev/full gives ENOSPC itself.
  if (!fs::exists("/dev/full"))
    GTEST_SKIP() << "no /dev/full";
  TempFolder folder;
  auto file = AtomicFile::create(folder.path("out"));
  ASSERT_TRUE(file.ok());
  int full = open("/dev/full", O_RDWR);
  // Puts the full device in the place of the temporary's descriptor, found by its size of 0 and its name.
  bool replaced = false;
  for (const auto &entry : fs::directory_iterator("/proc/self/fd")) {
    std::error_code code;
    if (fs::read_symlink(entry.path(), code).string().find(folder.path()) != std::string::npos && !code) {
      dup2(full, std::stoi(entry.path().filename().string()));
      replaced = true;
    }
  }
  close(full);
  ASSERT_TRUE(replaced);
  Status status = file->write("12345");
  EXPECT_EQ(status.code(), StatusCode::ResourceExhausted);
  EXPECT_NE(status.message().find("5 bytes needed"), std::string::npos) << status.message();
}

static void fill(AtomicDirectory &directory, const std::string &text) {
  for (const char *name : {"/a", "/b"})
    ASSERT_TRUE(writeFileAtomically(directory.path() + name, text).ok());
}

TEST(AtomicDirectory, ReplacesWhole) {
  TempFolder folder;
  for (std::string text : {"one", "two"}) {
    auto directory = AtomicDirectory::create(folder.path("out/"));
    ASSERT_TRUE(directory.ok()) << directory.status().message();
    fill(*directory, text);
    ASSERT_TRUE(directory->commit().ok());
    EXPECT_EQ(TempFolder::read(folder.path("out/b")), text);
  }
  {
    auto dropped = AtomicDirectory::create(folder.path("out"));
    ASSERT_TRUE(dropped.ok());
    fill(*dropped, "three");
  }
  EXPECT_EQ(TempFolder::read(folder.path("out/a")), "two");
  EXPECT_EQ(folder.count(), 1u);
  folder.write("file", "");
  EXPECT_FALSE(AtomicDirectory::create(folder.path("file")).ok());
}

TEST(AtomicDirectory, WritersOfOnePathDoNotMix) {
  TempFolder folder;
  auto write = [&](const std::string &text) {
    for (int i = 0; i < 40; ++i) {
      auto directory = AtomicDirectory::create(folder.path("out"));
      ASSERT_TRUE(directory.ok()) << directory.status().message();
      fill(*directory, text);
      Status status = directory->commit();
      ASSERT_TRUE(status.ok()) << status.message();
    }
  };
  std::thread other(write, "x");
  write("y");
  other.join();
  EXPECT_EQ(TempFolder::read(folder.path("out/a")), TempFolder::read(folder.path("out/b")));
  EXPECT_EQ(folder.count(), 1u);
}

TEST(AtomicDirectory, SweepsWhatAKilledWriterLeft) {
  TempFolder folder;
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  pid_t child = fork();
  if (child == 0) {
    auto directory = AtomicDirectory::create(folder.path("out"));
    bool made = directory.ok() && writeFileAtomically(directory->path() + "/a", "half").ok();
    (void)!write(ready[1], made ? "y" : "n", 1);
    pause();
    _exit(0);
  }
  char made = 'n';
  ASSERT_EQ(read(ready[0], &made, 1), 1);
  ASSERT_EQ(made, 'y');
  {
    // Its writer is alive: it must stay.
    auto directory = AtomicDirectory::create(folder.path("out"));
    ASSERT_TRUE(directory.ok());
    EXPECT_EQ(folder.count(), 2u);
  }
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  close(ready[0]);
  close(ready[1]);
  EXPECT_FALSE(fs::exists(folder.path("out")));
  EXPECT_EQ(folder.count(), 1u);
  auto directory = AtomicDirectory::create(folder.path("out"));
  ASSERT_TRUE(directory.ok());
  ASSERT_TRUE(directory->commit().ok());
  EXPECT_EQ(folder.count(), 1u);
}

TEST(SafePath, StaysBelowTheFolder) {
  for (const char *good : {"a", "a/b.json", "targets/x86-64-v4/plan.json", "..a", "a..b"})
    EXPECT_TRUE(isSafeRelativePath(good)) << good;
  for (const char *bad : {"", "/", "/a", "..", "../a", "a/../b", "a/..", ".", "./a", "a//b", "a/", "a\\b", "c:a", "a\nb"})
    EXPECT_FALSE(isSafeRelativePath(bad)) << bad;
}
