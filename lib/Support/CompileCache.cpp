//===- CompileCache.cpp - compiled code by its content ---------------------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "vitrify/Support/CompileCache.h"

#include "vitrify/Support/File.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <link.h>
#include <sys/stat.h>
#include <vector>

using namespace vitrify;
namespace fs = std::filesystem;

namespace {
/// An entry is this line, the SHA-256 of what follows and a new line, and the bytes.
constexpr std::string_view kMagic = "vitrify cache 1\n";
constexpr size_t kHeader = kMagic.size() + 64 + 1;

struct Entry {
  fs::path path;
  uint64_t bytes;
  fs::file_time_type used;
};

bool isHex(const std::string &name, size_t digits) {
  return name.size() == digits && name.find_first_not_of("0123456789abcdef") == std::string::npos;
}

/// The payload of a whole entry, if it is one.
std::optional<std::string> payloadOf(std::string &&text) {
  if (text.size() < kHeader || !text.starts_with(kMagic) || text[kHeader - 1] != '\n')
    return std::nullopt;
  std::string digest = text.substr(kMagic.size(), 64);
  text.erase(0, kHeader);
  if (toHex(sha256(std::string_view(text))) != digest)
    return std::nullopt;
  return std::move(text);
}

/// Adds the build id of one loaded object; of one without, its file's digest.
int addObject(dl_phdr_info *info, size_t, void *to) {
  auto &key = *static_cast<CacheKey *>(to);
  if (std::strstr(info->dlpi_name, "linux-vdso"))
    return 0;
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    const auto &header = info->dlpi_phdr[i];
    if (header.p_type != PT_NOTE)
      continue;
    const char *at = reinterpret_cast<const char *>(info->dlpi_addr + header.p_vaddr);
    for (const char *end = at + header.p_memsz; at + sizeof(ElfW(Nhdr)) <= end;) {
      ElfW(Nhdr) note;
      std::memcpy(&note, at, sizeof note);
      const char *name = at + sizeof note, *value = name + (note.n_namesz + 3) / 4 * 4;
      if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 && !std::memcmp(name, "GNU", 4)) {
        key.add(std::string_view(value, note.n_descsz));
        return 0;
      }
      at = value + (note.n_descsz + 3) / 4 * 4;
    }
  }
  std::error_code code;
  std::string path = fs::canonical(info->dlpi_name && *info->dlpi_name ? info->dlpi_name : "/proc/self/exe", code).string();
  if (auto digest = sha256File(path)) // what the kernel maps into every process has no file
    key.add(toHex(*digest));
  return 0;
}
} // namespace

CacheKey &CacheKey::add(std::string_view field) {
  hasher.update(std::to_string(field.size()) + ":");
  hasher.update(field);
  return *this;
}

CompileCache::CompileCache(std::string folder, uint64_t maxBytes, Log log)
    : folder(std::move(folder)), maxBytes(maxBytes), log(std::move(log)) {}

CompileCache::~CompileCache() {
  if (stored)
    trim();
}

std::string CompileCache::defaultFolder() {
  auto variable = [](const char *name) {
    const char *value = std::getenv(name);
    return std::string(value ? value : "");
  };
  if (std::string own = variable("VITRIFY_CACHE"); !own.empty())
    return own;
  if (std::string base = variable("XDG_CACHE_HOME"); !base.empty())
    return base + "/vitrify";
  std::string home = variable("HOME");
  return home.empty() ? "" : home + "/.cache/vitrify";
}

std::string CompileCache::compilerIdentity() {
  CacheKey key("vitrify compiler");
  dl_iterate_phdr(addObject, &key);
  return key.finish();
}

std::string CompileCache::pathOf(const std::string &key) const {
  return folder + "/" + key.substr(0, 2) + "/" + key.substr(2);
}

void CompileCache::say(const std::string &line) {
  if (log && !said.exchange(true))
    log(line);
}

std::optional<std::string> CompileCache::find(const std::string &key) {
  std::string path = pathOf(key);
  std::error_code code;
  if (fs::is_regular_file(path, code)) {
    auto text = readFile(path);
    if (!text) {
      say("the compile cache is not used: " + text.status().message());
    } else if (auto payload = payloadOf(std::move(*text))) {
      ++hitCount;
      (void)utimensat(AT_FDCWD, path.c_str(), nullptr, 0); // when it was used last
      return payload;
    } else {
      say("an entry of the compile cache is damaged and compiled again: " + path);
      fs::remove(path, code);
    }
  }
  ++missCount;
  return std::nullopt;
}

void CompileCache::store(const std::string &key, std::string_view bytes) {
  std::string path = pathOf(key);
  std::error_code code;
  fs::create_directories(fs::path(path).parent_path(), code);
  Status status = code ? resourceExhausted("cannot create '" + folder + "': " + code.message()) : Status();
  if (status.ok())
    status = [&]() -> Status {
      VITRIFY_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::create(path));
      VITRIFY_RETURN_IF_ERROR(file.write(kMagic));
      VITRIFY_RETURN_IF_ERROR(file.write(toHex(sha256(bytes)) + "\n"));
      VITRIFY_RETURN_IF_ERROR(file.write(bytes));
      return file.commit(Durability::Volatile); // a torn entry is known by its digest
    }();
  if (status.ok())
    stored = true;
  else
    say("the compile cache is not written: " + status.message());
}

void CompileCache::trim() {
  std::vector<Entry> entries;
  uint64_t total = 0;
  std::error_code code;
  for (fs::directory_iterator group(folder, code), end; !code && group != end; group.increment(code)) {
    if (!isHex(group->path().filename().string(), 2))
      continue;
    std::error_code inner;
    for (fs::directory_iterator it(group->path(), inner); !inner && it != end; it.increment(inner)) {
      std::error_code gone;
      // Whoever points the cache at a folder of other things keeps them.
      if (!isHex(it->path().filename().string(), 62) || !it->is_regular_file(gone))
        continue;
      Entry entry{it->path(), it->file_size(gone), it->last_write_time(gone)};
      if (gone)
        continue;
      total += entry.bytes;
      entries.push_back(std::move(entry));
    }
  }
  if (total <= maxBytes)
    return;
  std::sort(entries.begin(), entries.end(), [](const Entry &a, const Entry &b) { return a.used < b.used; });
  for (const Entry &entry : entries) {
    if (total <= maxBytes / 4 * 3)
      return;
    std::error_code gone;
    if (fs::remove(entry.path, gone))
      total -= entry.bytes;
  }
}
