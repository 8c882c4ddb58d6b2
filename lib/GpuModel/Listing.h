//===- Listing.h - instructions, blocks and loops of a kernel ---*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// What SASS and PTX have in common once they are read: a list of instructions,
// some of which go elsewhere.
//===----------------------------------------------------------------------===//
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace vitrify {

struct ListedInstruction {
  std::string_view opcode;    ///< "HMMA.16816.F32", "mma.sync.aligned...."
  std::string_view arguments;
  int target = -1;            ///< index of the instruction that it may go on with
  bool falls = true;          ///< whether it may go on with the next one
};

/// One natural loop.
struct NaturalLoop {
  std::vector<bool> members; ///< by instruction
  /// Those of the loop's work: what lies on every way around, or on every way around that passes an anchor.
  std::vector<bool> work;
};

/// All natural loops; those of one header are one. `anchors` marks instructions that a loop is there for: a block with one
/// is work even where not every trip passes it, and so is what leads to it and from it, but no block beside.
std::vector<NaturalLoop> findLoops(const std::vector<ListedInstruction> &code, const std::vector<bool> &anchors);

} // namespace vitrify
