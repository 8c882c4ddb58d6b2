//===- JsonLists.h - helpers to read lists of fields ------------------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#pragma once

#include "vitrify/Support/Json.h"

#include <vector>

namespace vitrify {

/// Calls `parse` on every element of the array `key`.
template <typename T, typename F>
StatusOr<std::vector<T>> parseJsonList(const JsonCursor &json, std::string_view key, F parse) {
  VITRIFY_ASSIGN_OR_RETURN(JsonCursor array, json.at(key));
  VITRIFY_ASSIGN_OR_RETURN(size_t size, array.arraySize());
  std::vector<T> values;
  values.reserve(size);
  for (size_t i = 0; i < size; ++i) {
    StatusOr<T> value = parse(array[i]);
    if (!value.ok())
      return value.status();
    values.push_back(std::move(*value));
  }
  return values;
}

inline StatusOr<std::vector<std::string>> parseStrings(const JsonCursor &json, std::string_view key) {
  return parseJsonList<std::string>(json, key, [](const JsonCursor &element) { return element.asString(); });
}

} // namespace vitrify
