//===- JsonTest.cpp - strict JSON ----------------------------------------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "vitrify/Support/DType.h"
#include "vitrify/Support/Json.h"

#include <gtest/gtest.h>

using namespace vitrify;

static std::string messageOf(const std::string &text, unsigned depth = 8) {
  auto json = parseJson(text, depth);
  return json.ok() ? "(accepted)" : json.status().message();
}

TEST(Json, ParsesInOrder) {
  auto json = parseJson(R"({"b": [1, -2, 2.5, true, null, "x\u00e9"], "a": {"c": 18446744073709551615}})");
  ASSERT_TRUE(json.ok());
  EXPECT_EQ(json->dump(), "{\"b\":[1,-2,2.5,true,null,\"x\xc3\xa9\"],\"a\":{\"c\":18446744073709551615}}");
}

TEST(Json, RefusesByName) {
  EXPECT_EQ(messageOf(R"({"a": 1, "b": {"x": 1, "x": 2}})"), "key 'x' occurs twice in one object");
  EXPECT_EQ(messageOf("[[[]]]", 2), "nested deeper than 2");
  EXPECT_EQ(messageOf("[[]]", 2), "(accepted)");
  EXPECT_NE(messageOf("[123456789012345678901]").find("does not fit 64 bits"), std::string::npos);
  for (const char *bad : {"", "{", "[1,]", "{\"a\"}", "[1] x", "[1e999]", "[NaN]", "\"\xff\"", "'a'", "[01]", "// c\n1"})
    EXPECT_NE(messageOf(bad).find("at byte"), std::string::npos) << bad << ": " << messageOf(bad);
  EXPECT_FALSE(parseJson(std::string(1'000'000, '['), 64).ok());
}

TEST(Json, CursorNamesThePath) {
  auto json = parseJson(R"({"list": [{"n": 3}, {"n": "three"}], "big": 9223372036854775808, "f": 0.5})");
  ASSERT_TRUE(json.ok());
  JsonCursor root(*json);
  JsonCursor list = *root.at("list");
  EXPECT_EQ(*list[0].integer("n"), 3);
  EXPECT_EQ(list[1].integer("n").status().message(), "list[1].n: expected an integer, found 'three'");
  EXPECT_EQ(list[0].integer("n", 4, 9).status().message(), "list[0].n: expected an integer from 4 to 9, found 3");
  EXPECT_EQ(list[0].integer("n", 4).status().message(), "list[0].n: expected an integer of at least 4, found 3");
  EXPECT_EQ(root.integer("big").status().message(), "big: expected an integer, found 9223372036854775808");
  EXPECT_EQ(root.integer("f").status().message(), "f: expected an integer, found 0.5");
  EXPECT_EQ(*root.number("f"), 0.5);
  EXPECT_EQ(root.at("none").status().message(), "key 'none' is missing");
  EXPECT_EQ(list.at("x").status().message(), "list: expected an object, found an array of 2");
  EXPECT_EQ(root.refuseOtherKeys({"list", "big"}).message(), "unknown key 'f'");
  EXPECT_FALSE(root.arraySize().ok());
  EXPECT_FALSE(root.at("f")->asBool().ok());
  EXPECT_FALSE(root.at("f")->asString().ok());
  EXPECT_FALSE(list[1].number("n").ok());
}

TEST(DType, NamesAndSizes) {
  for (unsigned i = 0; i < 20; ++i) {
    DType type = static_cast<DType>(i);
    EXPECT_EQ(*parseDType(dtypeName(type)), type);
  }
  EXPECT_FALSE(parseDType("F33").ok());
  EXPECT_EQ(*tensorBytes(DType::F4E2M1, std::vector<int64_t>{3, 4}), 6);
  EXPECT_EQ(*tensorBytes(DType::F6E2M3, std::vector<int64_t>{4}), 3);
  EXPECT_EQ(*tensorBytes(DType::BF16, std::vector<int64_t>{}), 2);
  EXPECT_FALSE(tensorBytes(DType::F4E2M1, std::vector<int64_t>{3}).ok());
  EXPECT_FALSE(tensorBytes(DType::U8, std::vector<int64_t>{-1}).ok());
  EXPECT_FALSE(tensorBytes(DType::F32, std::vector<int64_t>{int64_t(1) << 60}).ok());
  EXPECT_FALSE(elementCount(std::vector<int64_t>{int64_t(1) << 40, int64_t(1) << 40}).ok());
  EXPECT_EQ(shapeString(std::vector<int64_t>{2, 3}), "[2, 3]");
}
