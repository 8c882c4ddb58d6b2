//===- Json.cpp - strict JSON reading with paths in errors ---------------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "vitrify/Support/Json.h"

#include <cmath>
#include <unordered_set>
#include <vector>

using namespace vitrify;

namespace {
/// Builds the document and stops at the first thing that is refused.
class Builder : public nlohmann::json_sax<Json> {
public:
  explicit Builder(unsigned maxDepth) : maxDepth(maxDepth) {}

  Json document;
  std::string error;

  bool null() override { return add(nullptr); }
  bool boolean(bool value) override { return add(value); }
  bool number_integer(number_integer_t value) override { return add(value); }
  bool number_unsigned(number_unsigned_t value) override { return add(value); }
  bool number_float(number_float_t value, const string_t &text) override {
    if (text.find_first_of(".eE") == std::string::npos)
      return refuse("integer " + text.substr(0, 40) + " does not fit 64 bits");
    return add(value);
  }
  bool string(string_t &value) override { return add(std::move(value)); }
  bool binary(binary_t &) override { return refuse("binary value"); }

  bool start_object(std::size_t) override { return open(Json::object()); }
  bool start_array(std::size_t) override { return open(Json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool key(string_t &name) override {
    Level &level = levels.back();
    if (!level.keys.insert(name).second)
      return refuse("key '" + name.substr(0, 80) + "' occurs twice in one object");
    level.key = std::move(name);
    return true;
  }
  bool parse_error(std::size_t position, const std::string &, const nlohmann::detail::exception &e) override {
    // The library's text ends in what matters: "...: syntax error while parsing value - invalid literal; last read: ..."
    std::string text = e.what();
    size_t cut = text.find("syntax error");
    error = "invalid JSON at byte " + std::to_string(position) + ": " +
            (cut == std::string::npos ? text : text.substr(cut)).substr(0, 160);
    return false;
  }

private:
  struct Level {
    Json *value;
    std::string key;
    std::unordered_set<std::string> keys;
  };

  bool refuse(std::string message) {
    error = std::move(message);
    return false;
  }
  Json *place(Json value) {
    if (levels.empty()) {
      document = std::move(value);
      return &document;
    }
    Level &level = levels.back();
    if (level.value->is_array()) {
      auto &array = level.value->get_ref<Json::array_t &>();
      array.push_back(std::move(value));
      return &array.back();
    }
    // The object's own insertion would compare with every key; `keys` has done that.
    auto &object = level.value->get_ref<Json::object_t &>();
    static_cast<Json::object_t::Container &>(object).emplace_back(std::move(level.key), std::move(value));
    return &object.back().second;
  }
  bool add(Json value) {
    place(std::move(value));
    return true;
  }
  bool open(Json value) {
    if (levels.size() >= maxDepth)
      return refuse("nested deeper than " + std::to_string(maxDepth));
    Json *opened = place(std::move(value));
    levels.push_back({opened, {}, {}});
    return true;
  }
  bool close() {
    levels.pop_back();
    return true;
  }

  unsigned maxDepth;
  std::vector<Level> levels;
};

std::string_view kindName(const Json &value) {
  if (value.is_object())
    return "an object";
  if (value.is_array())
    return "an array";
  if (value.is_string())
    return "a string";
  if (value.is_number())
    return "a number";
  return value.is_boolean() ? "a boolean" : "null";
}
} // namespace

StatusOr<Json> vitrify::parseJson(std::string_view text, unsigned maxDepth) {
  Builder builder(maxDepth);
  if (!Json::sax_parse(text.begin(), text.end(), &builder))
    return dataLoss(builder.error.empty() ? "invalid JSON" : builder.error);
  return std::move(builder.document);
}

std::string vitrify::describeJson(const Json &value) {
  if (value.is_string())
    return "'" + value.get_ref<const std::string &>().substr(0, 80) + "'";
  if (value.is_number() || value.is_boolean() || value.is_null())
    return value.dump(-1, ' ', false, Json::error_handler_t::replace);
  return std::string(kindName(value)) + " of " + std::to_string(value.size());
}

Status JsonCursor::fail(std::string message) const {
  return dataLoss(where.empty() ? std::move(message) : where + ": " + message);
}

Status JsonCursor::error(std::string_view expected) const {
  return fail("expected " + std::string(expected) + ", found " + describeJson(*value));
}

Status JsonCursor::expectObject() const { return value->is_object() ? Status() : error("an object"); }

bool JsonCursor::has(std::string_view key) const { return value->is_object() && value->contains(key); }

StatusOr<JsonCursor> JsonCursor::at(std::string_view key) const {
  VITRIFY_RETURN_IF_ERROR(expectObject());
  auto it = value->find(key);
  if (it == value->end())
    return fail("key '" + std::string(key) + "' is missing");
  return JsonCursor(*it, where.empty() ? std::string(key) : where + "." + std::string(key));
}

JsonCursor JsonCursor::operator[](size_t i) const {
  return JsonCursor((*value)[i], where + "[" + std::to_string(i) + "]");
}

StatusOr<size_t> JsonCursor::arraySize() const {
  if (!value->is_array())
    return error("an array");
  return value->size();
}

Status JsonCursor::refuseOtherKeys(const std::set<std::string_view> &known) const {
  VITRIFY_RETURN_IF_ERROR(expectObject());
  for (const auto &[key, member] : value->items())
    if (!known.count(key))
      return fail("unknown key '" + key.substr(0, 80) + "'");
  return {};
}

StatusOr<std::string> JsonCursor::asString() const {
  if (!value->is_string())
    return error("a string");
  return value->get<std::string>();
}

StatusOr<int64_t> JsonCursor::asInteger(int64_t min, int64_t max) const {
  bool tooLarge = value->is_number_unsigned() && value->get<uint64_t>() > static_cast<uint64_t>(INT64_MAX);
  if (!value->is_number_integer() || tooLarge || value->get<int64_t>() < min || value->get<int64_t>() > max) {
    if (min == INT64_MIN && max == INT64_MAX)
      return error("an integer");
    if (max == INT64_MAX)
      return error("an integer of at least " + std::to_string(min));
    return error("an integer from " + std::to_string(min) + " to " + std::to_string(max));
  }
  return value->get<int64_t>();
}

StatusOr<double> JsonCursor::asNumber() const {
  if (!value->is_number() || !std::isfinite(value->get<double>()))
    return error("a finite number");
  return value->get<double>();
}

StatusOr<bool> JsonCursor::asBool() const {
  if (!value->is_boolean())
    return error("true or false");
  return value->get<bool>();
}

StatusOr<std::string> JsonCursor::string(std::string_view key) const {
  VITRIFY_ASSIGN_OR_RETURN(JsonCursor member, at(key));
  return member.asString();
}

StatusOr<int64_t> JsonCursor::integer(std::string_view key, int64_t min, int64_t max) const {
  VITRIFY_ASSIGN_OR_RETURN(JsonCursor member, at(key));
  return member.asInteger(min, max);
}

StatusOr<double> JsonCursor::number(std::string_view key) const {
  VITRIFY_ASSIGN_OR_RETURN(JsonCursor member, at(key));
  return member.asNumber();
}
