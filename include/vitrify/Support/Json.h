//===- Json.h - strict JSON reading with paths in errors --------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Parsing over nlohmann::json that bounds depth, refuses duplicate keys and never
// throws, and a cursor whose typed getters name the field's path in their errors.
//===----------------------------------------------------------------------===//
#pragma once

#include "vitrify/Support/Status.h"

#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <string_view>

namespace vitrify {

/// Keys keep their order in the file.
using Json = nlohmann::ordered_json;

/// Parses one value. Refused: deeper than `maxDepth`, a key twice in one object, invalid UTF-8, text after the value,
/// integers beyond 64 bits, numbers beyond double. The error says the byte offset.
StatusOr<Json> parseJson(std::string_view text, unsigned maxDepth = 64);

/// A value and where it is ("programs[0].steps[3].grid"). Cheap to copy; borrows the document.
class JsonCursor {
public:
  explicit JsonCursor(const Json &value, std::string path = "") : value(&value), where(std::move(path)) {}

  const Json &json() const { return *value; }
  const std::string &path() const { return where; }

  bool has(std::string_view key) const;
  /// The member `key`; an error when this is no object or lacks it.
  StatusOr<JsonCursor> at(std::string_view key) const;
  /// Element i of an array whose size was asked before.
  JsonCursor operator[](size_t i) const;
  /// Number of elements; an error when this is no array.
  StatusOr<size_t> arraySize() const;

  Status expectObject() const;
  /// An error for a member that is not in `known`.
  Status refuseOtherKeys(const std::set<std::string_view> &known) const;

  StatusOr<std::string> asString() const;
  StatusOr<int64_t> asInteger(int64_t min = std::numeric_limits<int64_t>::min(),
                              int64_t max = std::numeric_limits<int64_t>::max()) const;
  /// A finite number.
  StatusOr<double> asNumber() const;
  StatusOr<bool> asBool() const;

  /// Member getters: at(key) and then the value.
  StatusOr<std::string> string(std::string_view key) const;
  StatusOr<int64_t> integer(std::string_view key, int64_t min = std::numeric_limits<int64_t>::min(),
                            int64_t max = std::numeric_limits<int64_t>::max()) const;
  StatusOr<double> number(std::string_view key) const;

  /// InvalidArgument "path: expected X, found Y".
  Status error(std::string_view expected) const;
  /// DataLoss with the path before the message.
  Status fail(std::string message) const;

private:
  const Json *value;
  std::string where;
};

/// A short rendering of a value for messages: scalars as they are, others by kind and size.
std::string describeJson(const Json &value);

} // namespace vitrify
