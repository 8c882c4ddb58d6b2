//===- Ranges.cpp - ranges.json: what calibration saw -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "vitrify/Weights/Ranges.h"

#include "vitrify/Support/File.h"
#include "vitrify/Support/Json.h"

#include <cmath>

using namespace vitrify;

namespace {

StatusOr<Ranges> parse(std::string_view text) {
  VITRIFY_ASSIGN_OR_RETURN(Json document, parseJson(text));
  JsonCursor root(document);
  VITRIFY_RETURN_IF_ERROR(root.expectObject());
  VITRIFY_RETURN_IF_ERROR(root.refuseOtherKeys({"format", "method", "images", "values"}));
  VITRIFY_ASSIGN_OR_RETURN(int64_t format, root.integer("format"));
  if (format != 1)
    return unsupported("format " + std::to_string(format) + " of ranges, this compiler reads 1");
  Ranges ranges;
  VITRIFY_ASSIGN_OR_RETURN(ranges.method, root.string("method"));
  VITRIFY_ASSIGN_OR_RETURN(ranges.images, root.integer("images", 1));
  VITRIFY_ASSIGN_OR_RETURN(JsonCursor values, root.at("values"));
  VITRIFY_RETURN_IF_ERROR(values.expectObject());
  for (auto &[name, unused] : values.json().items()) {
    VITRIFY_ASSIGN_OR_RETURN(JsonCursor entry, values.at(name));
    VITRIFY_RETURN_IF_ERROR(entry.expectObject());
    VITRIFY_RETURN_IF_ERROR(entry.refuseOtherKeys({"amax", "range"}));
    Ranges::Value value;
    VITRIFY_ASSIGN_OR_RETURN(value.amax, entry.number("amax"));
    VITRIFY_ASSIGN_OR_RETURN(value.range, entry.number("range"));
    for (auto [field, number] : {std::pair("amax", value.amax), std::pair("range", value.range)}) {
      // A scale is range / 448 in f32 and its reciprocal is needed as well.
      if (!(number >= 1e-30 && number <= 1e30))
        return invalidArgument(entry.path() + "." + field + ": expected a positive number from 1e-30 to 1e30, found " +
                               describeJson(entry.json()[field]));
    }
    ranges.values[name] = value;
  }
  return ranges;
}

} // namespace

StatusOr<Ranges> Ranges::load(const std::string &path) {
  auto text = readFile(path);
  if (!text)
    return text.status();
  auto ranges = parse(*text);
  if (!ranges)
    return ranges.status().prefixed(path);
  return ranges;
}

std::string Ranges::print() const {
  Json document;
  document["format"] = 1;
  document["method"] = method;
  document["images"] = images;
  Json entries = Json::object();
  for (const auto &[name, value] : values)
    entries[name] = {{"amax", value.amax}, {"range", value.range}};
  document["values"] = std::move(entries);
  return document.dump(1) + "\n";
}
