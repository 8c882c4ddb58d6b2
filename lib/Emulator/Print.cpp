//===- Print.cpp - vprintf and assertions -----------------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Device printf: the format and the packed arguments are read from emulated
// memory; each conversion is printed on its own by the host's snprintf.
//===----------------------------------------------------------------------===//
#include "Grid.h"

#include <bit>
#include <cstdio>
#include <cstring>

namespace vitrify::emulator {

namespace {

/// `bytes` of any address space into `out`; false if they are not there.
bool readBytes(Warp &w, uint32_t lane, uint64_t address, void *out, uint64_t bytes) {
  uint64_t window = address >> 56, offset = address & ((uint64_t(1) << 56) - 1);
  const uint8_t *from = nullptr;
  if (window == 1 && offset + bytes <= w.sharedBytes)
    from = w.shared + offset;
  else if (window == 2 && offset + bytes <= w.localStride)
    from = w.local + size_t(lane) * w.localStride + offset;
  else if (window == 0 && w.grid->device->memory().checkRange(address, bytes).ok())
    from = reinterpret_cast<const uint8_t *>(address);
  if (!from)
    return false;
  std::memcpy(out, from, bytes);
  return true;
}

std::string readString(Warp &w, uint32_t lane, uint64_t address) {
  std::string out;
  char c;
  while (out.size() < 65536 && readBytes(w, lane, address + out.size(), &c, 1) && c)
    out += c;
  return out;
}

template <class T> T argument(Warp &w, uint32_t lane, const CallSite::Move &place) {
  T value{};
  std::memcpy(&value, w.local + size_t(lane) * w.localStride + place.from, std::min<size_t>(sizeof(T), place.bytes));
  return value;
}

void output(Warp &w, const std::string &text) {
  static std::mutex mutex;
  std::lock_guard lock(mutex);
  if (w.grid->options->print)
    w.grid->options->print(text);
  else {
    std::fwrite(text.data(), 1, text.size(), stdout);
    std::fflush(stdout);
  }
}

std::string format(Warp &w, uint32_t lane, const std::string &text, uint64_t args) {
  std::string out;
  uint64_t at = args;
  auto next = [&](void *value, uint64_t bytes) {
    at = (at + bytes - 1) / bytes * bytes;
    bool ok = readBytes(w, lane, at, value, bytes);
    at += bytes;
    return ok;
  };
  for (size_t i = 0; i < text.size();) {
    if (text[i] != '%') {
      out += text[i++];
      continue;
    }
    if (i + 1 < text.size() && text[i + 1] == '%') {
      out += '%';
      i += 2;
      continue;
    }
    size_t start = i++;
    std::string spec = "%";
    while (i < text.size() && std::strchr("-+ #0123456789.*", text[i])) {
      if (text[i] == '*') {
        int32_t value = 0;
        next(&value, 4);
        spec += std::to_string(std::min(std::max(value, -4096), 4096));
      } else {
        spec += text[i];
      }
      ++i;
    }
    unsigned longs = 0;
    while (i < text.size() && std::strchr("hlLqjzt", text[i])) {
      longs += text[i] == 'l' || text[i] == 'j' || text[i] == 'z' || text[i] == 't' || text[i] == 'q';
      ++i;
    }
    char c = i < text.size() ? text[i++] : 0;
    char buffer[8192];
    buffer[0] = 0;
    if (spec.size() > 32)
      c = 0;
    if (c && std::strchr("dicuxXo", c)) {
      int64_t value = 0;
      if (longs) {
        next(&value, 8);
      } else {
        int32_t v = 0;
        next(&v, 4);
        value = c == 'd' || c == 'i' || c == 'c' ? int64_t(v) : int64_t(uint32_t(v));
      }
      if (c == 'c')
        snprintf(buffer, sizeof buffer, (spec + "c").c_str(), int(value));
      else
        snprintf(buffer, sizeof buffer, (spec + "ll" + c).c_str(), static_cast<long long>(value));
    } else if (c && std::strchr("fFeEgGaA", c)) {
      double value = 0;
      next(&value, 8);
      snprintf(buffer, sizeof buffer, (spec + c).c_str(), value);
    } else if (c == 's') {
      uint64_t value = 0;
      next(&value, 8);
      snprintf(buffer, sizeof buffer, (spec + "s").c_str(), readString(w, lane, value).c_str());
    } else if (c == 'p') {
      uint64_t value = 0;
      next(&value, 8);
      snprintf(buffer, sizeof buffer, "0x%llx", static_cast<unsigned long long>(value));
    } else {
      out += text.substr(start, i - start);
      continue;
    }
    out += buffer;
  }
  return out;
}

} // namespace

void printFormatted(Warp &w, const Inst &i, uint32_t mask) {
  const CallSite &site = w.program->calls[i.imm];
  for (uint32_t rest = mask; rest; rest &= rest - 1) {
    uint32_t lane = uint32_t(std::countr_zero(rest));
    uint64_t text = argument<uint64_t>(w, lane, site.args[0]), args = argument<uint64_t>(w, lane, site.args[1]);
    output(w, format(w, lane, readString(w, lane, text), args));
    for (const auto &result : site.results) {
      size_t place = size_t(lane) * w.localStride + result.to;
      std::memset(w.local + place, 0, result.bytes);
      std::memset(w.localInit + place, 1, result.bytes);
    }
  }
}

void assertFailed(Warp &w, const Inst &i, uint32_t mask) {
  const CallSite &site = w.program->calls[i.imm];
  uint32_t lane = uint32_t(std::countr_zero(mask));
  std::string condition = readString(w, lane, argument<uint64_t>(w, lane, site.args[0]));
  std::string file = readString(w, lane, argument<uint64_t>(w, lane, site.args[1]));
  uint32_t line = argument<uint32_t>(w, lane, site.args[2]);
  std::string function = readString(w, lane, argument<uint64_t>(w, lane, site.args[3]));
  Site where = siteOf(w, i, lane);
  char text[256];
  snprintf(text, sizeof text, "block: [%u,%u,%u], thread: [%u,%u,%u]", where.block[0], where.block[1], where.block[2],
           where.thread[0], where.thread[1], where.thread[2]);
  output(w, file + ":" + std::to_string(line) + ": " + function + ": " + text + " Assertion `" + condition +
                "` failed.\n");
  raise(w, i, lane, FaultKind::Assert, Space::None, 0, 0, "assertion `" + condition + "` failed");
}

} // namespace vitrify::emulator
