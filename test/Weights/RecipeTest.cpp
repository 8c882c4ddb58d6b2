//===- RecipeTest.cpp - recipes: types, rows, keys -----------------------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "RecipeOracle.h"

#include <random>

using namespace vitrify;
using namespace vitrify::test;
using Kind = RecipeNode::Kind;

namespace {
/// A tensor of noise; one in five values is 0.
TensorData noise(TensorType type, std::mt19937 &random) {
  int64_t count = *elementCount(type.shape);
  std::normal_distribution<float> normal;
  TensorData tensor{type, TensorBytes(static_cast<size_t>(type.bytesOfRows(type.rows())))};
  for (int64_t i = 0; i < count; ++i) {
    float value = random() % 5 == 0 ? 0.0f : normal(random);
    uint16_t half = type.dtype == DType::BF16 ? encodeBF16(value) : encodeF16(value);
    uint8_t code = encodeE4M3(value);
    switch (dtypeBits(type.dtype)) {
    case 32: std::memcpy(tensor.data.data() + 4 * i, &value, 4); break;
    case 16: std::memcpy(tensor.data.data() + 2 * i, &half, 2); break;
    default: std::memcpy(tensor.data.data() + i, &code, 1); break;
    }
  }
  return tensor;
}

/// Builds random recipes over what one table of inputs holds.
class Generator {
public:
  explicit Generator(unsigned seed) : random(seed) {}

  MemoryInputs inputs;
  Recipe recipe;

  void build(unsigned steps) {
    RecipeValue value = read(pick({3, 8, 17}), pick({4, 9, 32}));
    for (unsigned i = 0; i < steps; ++i)
      value = step(value);
    ASSERT_TRUE(recipe.yield(value).ok());
  }
  int64_t below(int64_t n) { return static_cast<int64_t>(random() % static_cast<uint64_t>(n)); }

private:
  int64_t pick(std::vector<int64_t> values) { return values[static_cast<size_t>(below(static_cast<int64_t>(values.size())))]; }
  const TensorType &typeOf(RecipeValue value) { return recipe.allNodes()[value].type; }

  RecipeValue read(int64_t rows, int64_t columns) {
    DType dtype = std::vector{DType::F32, DType::BF16, DType::F16}[static_cast<size_t>(below(3))];
    std::string name = "t" + std::to_string(inputs.tensors.size());
    TensorType type{dtype, {rows, columns}};
    inputs.tensors["s/" + name] = noise(type, random);
    return *recipe.read("s", name, type);
  }
  RecipeValue vector(int64_t size) {
    std::string name = "w" + std::to_string(inputs.weights.size());
    TensorType type{DType::F32, {size}};
    TensorData values = noise(type, random);
    for (int64_t i = 0; i < size; ++i) { // positive, so that it serves as a scale
      float value = std::fabs(elementAt(values, i)) + 0.01f;
      std::memcpy(values.data.data() + 4 * i, &value, 4);
    }
    inputs.weights[name] = values;
    return *recipe.get(name, type);
  }

  RecipeValue step(RecipeValue x) {
    TensorType type = typeOf(x);
    int64_t rows = type.shape[0], columns = type.shape[1];
    auto axis = below(2);
    int64_t size = type.shape[static_cast<size_t>(axis)];
    switch (below(15)) {
    case 0: {
      int64_t begin = below(size);
      return *recipe.slice(x, axis, begin, begin + 1 + below(size - begin));
    }
    case 1: {
      std::vector<int64_t> indices(static_cast<size_t>(1 + below(2 * size)));
      for (int64_t &index : indices)
        index = below(size);
      return *recipe.gather(x, axis, indices);
    }
    case 2: {
      RecipeValue other = *recipe.cast(read(axis == 0 ? 5 : rows, axis == 0 ? columns : 3), DType::F32);
      return *recipe.concat({other, type.dtype == DType::F32 ? x : *recipe.cast(x, DType::F32)}, axis);
    }
    case 3: return *recipe.transpose(x);
    case 4: {
      RecipeValue wide = *recipe.reshape(x, {rows * columns, 1});
      return below(2) ? wide : *recipe.reshape(wide, {columns, rows});
    }
    case 5: return *recipe.cast(x, std::vector{DType::F32, DType::BF16, DType::F16}[static_cast<size_t>(below(3))]);
    case 6: {
      bool i8 = below(2);
      RecipeValue scale = *recipe.amax(x, below(2), i8 ? 127.0 : 448.0);
      return *recipe.dequant(*recipe.round(x, scale, {}, i8 ? DType::I8 : DType::F8E4M3), scale);
    }
    case 7: {
      std::vector<int64_t> block{1 + below(5), 1 + below(7)};
      RecipeValue scale = *recipe.reshape(
          vector(((rows + block[0] - 1) / block[0]) * ((columns + block[1] - 1) / block[1])),
          {(rows + block[0] - 1) / block[0], (columns + block[1] - 1) / block[1]});
      return *recipe.dequant(*recipe.round(x, scale, block), scale, block);
    }
    case 8: return *recipe.binary(Kind::Mul, x, *recipe.recip(vector(rows)));
    case 9: return *recipe.binary(Kind::Add, x, vector(columns), /*columns=*/true);
    case 10: return *recipe.binary(Kind::Sub, x, below(2) ? x : *recipe.amax(x, false, 2.0));
    case 11: return *recipe.pad(x, axis, 1 + below(6));
    case 12: return *recipe.amaxBlocks(x, {1 + below(4), 1 + below(5)}, 6.0);
    case 13: { // codes of 4 bits, two a byte
      RecipeValue even = *recipe.pad(x, 1, 2);
      int64_t width = 2 * (1 + below(8)), across = (typeOf(even).shape[1] + width - 1) / width;
      RecipeValue scale = *recipe.amaxBlocks(even, {1, width}, 6.0);
      EXPECT_EQ(typeOf(scale).shape[1], across);
      return *recipe.dequant(*recipe.round(even, scale, {1, width}, DType::F4E2M1), scale, {1, width});
    }
    default: return *recipe.reshape(*recipe.sum(x), {rows, 1});
    }
  }

  std::mt19937 random;
};
} // namespace

TEST(Recipe, RowsEqualTheDefinitionForRandomRecipes) {
  for (unsigned seed = 0; seed < 300; ++seed) {
    Generator generator(seed);
    generator.build(1 + seed % 6);
    const Recipe &recipe = generator.recipe;
    if (*elementCount(recipe.type().shape) > 4000)
      continue;
    auto whole = evaluateRows(recipe, 0, recipe.type().rows(), generator.inputs);
    ASSERT_TRUE(whole.ok()) << "seed " << seed << ": " << whole.status().message() << "\n" << recipe.text();
    Oracle oracle(recipe, generator.inputs);
    for (int64_t flat = 0; flat < *elementCount(recipe.type().shape); flat += 1 + generator.below(37)) {
      float expected = oracle.at(recipe.result(), Oracle::unflatten(flat, recipe.type().shape));
      ASSERT_EQ(elementAt(*whole, flat), expected) << "seed " << seed << ", element " << flat << "\n" << recipe.text();
    }
  }
}

TEST(Recipe, PiecesEqualTheWholeForRandomHeights) {
  for (unsigned seed = 1000; seed < 1400; ++seed) {
    Generator generator(seed);
    generator.build(1 + seed % 8);
    const Recipe &recipe = generator.recipe;
    int64_t rows = recipe.type().rows();
    auto whole = evaluateRows(recipe, 0, rows, generator.inputs);
    ASSERT_TRUE(whole.ok()) << whole.status().message() << "\n" << recipe.text();
    // Small pieces inside the operations too.
    RecipeEvaluator evaluator(recipe, generator.inputs, 1 + generator.below(400));
    TensorBytes joined;
    for (int64_t row = 0; row < rows;) {
      int64_t end = std::min(rows, row + 1 + generator.below(rows));
      auto piece = evaluator.rows(row, end);
      ASSERT_TRUE(piece.ok()) << piece.status().message();
      EXPECT_EQ(piece->type.shape[0], end - row);
      joined.insert(joined.end(), piece->data.begin(), piece->data.end());
      row = end;
    }
    ASSERT_EQ(joined, whole->data) << "seed " << seed << "\n" << recipe.text();
  }
}

TEST(Recipe, ZeroRowsGetAScaleOfOne) {
  Recipe recipe;
  std::vector<std::byte> bytes(2 * 4 * 4);
  float value = -8.96f;
  std::memcpy(bytes.data() + 20, &value, 4);
  RecipeValue x = *recipe.literal({DType::F32, {2, 4}}, bytes);
  ASSERT_TRUE(recipe.yield(*recipe.amax(x, true, 448.0)).ok());
  auto scales = evaluateRows(recipe, 0, 2, MemoryInputs());
  ASSERT_TRUE(scales.ok());
  EXPECT_EQ(elementAt(*scales, 0), 1.0f);
  EXPECT_EQ(elementAt(*scales, 1), 8.96f / 448.0f);
}

/// As Quantize makes them: two levels of scales, a block of zeros, and one too small for its scale.
TEST(Recipe, BlocksOfNvfp4) {
  std::mt19937 random(3);
  TensorData w = noise({DType::F32, {5, 48}}, random);
  for (int64_t i = 0; i < 16; ++i) {
    float zero = 0, tiny = 1e-9f;
    std::memcpy(w.data.data() + 4 * (48 + i), &zero, 4);
    std::memcpy(w.data.data() + 4 * (112 + i), &tiny, 4);
  }
  Recipe recipe;
  RecipeValue x = *recipe.literal(w.type, {w.data.begin(), w.data.end()});
  RecipeValue t = *recipe.amax(x, false, 6 * 448);
  RecipeValue s = *recipe.round(*recipe.amaxBlocks(x, {1, 16}, 6), t);
  RecipeValue each = *recipe.binary(Kind::Mul, *recipe.cast(s, DType::F32), t);
  RecipeValue codes = *recipe.round(x, each, {1, 16}, DType::F4E2M1);
  ASSERT_TRUE(recipe.yield(*recipe.blocks(codes, s)).ok());
  EXPECT_EQ(recipe.type().str(), "F4[5, 54]");
  auto whole = evaluateRows(recipe, 0, 5, MemoryInputs()), last = evaluateRows(recipe, 4, 5, MemoryInputs());
  ASSERT_TRUE(whole.ok() && last.ok()) << whole.status().message();
  ASSERT_EQ(whole->data.size(), 5u * 27);
  EXPECT_TRUE(std::equal(last->data.begin(), last->data.end(), whole->data.begin() + 4 * 27));
  MemoryInputs none;
  Oracle oracle(recipe, none);
  double largest = 0, error = 0;
  for (int64_t n = 0; n < 5; ++n)
    for (int64_t k = 0; k < 48; ++k) {
      const auto *block = reinterpret_cast<const uint8_t *>(whole->data.data()) + n * 27 + k / 16 * 9;
      float value = decodeE2M1(block[k % 16 / 2] >> (k % 2 * 4) & 15) * decodeE4M3(block[8]) * oracle.at(t, {0});
      ASSERT_EQ(decodeE2M1(block[k % 16 / 2] >> (k % 2 * 4) & 15), oracle.at(codes, {n, k})) << n << ", " << k;
      ASSERT_EQ(decodeE4M3(block[8]), oracle.at(s, {n, k / 16}));
      // Half a step of the widest, 6 - 4, and what rounding the scale makes of it.
      error = std::max(error, double(std::fabs(value - elementAt(w, n * 48 + k))));
      largest = std::max(largest, double(std::fabs(elementAt(w, n * 48 + k))));
    }
  EXPECT_LE(error, largest * (1.0 / 6 + 1.0 / 16));
}

TEST(Recipe, CastsFromEveryFloat) {
  auto first = [](DType type, std::vector<std::byte> bytes, std::vector<int64_t> shape) {
    Recipe recipe;
    RecipeValue x = *recipe.literal({type, shape}, std::move(bytes));
    EXPECT_TRUE(recipe.yield(*recipe.cast(x, DType::F32)).ok());
    auto result = evaluateRows(recipe, 0, shape[0], MemoryInputs());
    EXPECT_TRUE(result.ok());
    return std::pair(elementAt(*result, 0), elementAt(*result, *elementCount(shape) - 1));
  };
  auto bytes = [](std::initializer_list<int> values) {
    std::vector<std::byte> out;
    for (int value : values)
      out.push_back(static_cast<std::byte>(value));
    return out;
  };
  EXPECT_EQ(first(DType::F4E2M1, bytes({0xa7}), {1, 2}), std::pair(6.0f, -1.0f)); // low half first
  EXPECT_EQ(first(DType::F8E5M2, bytes({0x3c, 0xbc}), {2}), std::pair(1.0f, -1.0f));
  EXPECT_EQ(first(DType::F8E8M0, bytes({127, 130}), {2}), std::pair(1.0f, 8.0f));
  EXPECT_EQ(first(DType::F8E4M3, bytes({0x38, 0x7e}), {2}), std::pair(1.0f, 448.0f));
  EXPECT_EQ(first(DType::F64, bytes({0, 0, 0, 0, 0, 0, 0xf0, 0x3f}), {1}), std::pair(1.0f, 1.0f));
}

TEST(Recipe, ValuesThatAreNotFiniteAreRefused) {
  float values[] = {1, 2, NAN, 4}, scales[] = {1, INFINITY};
  auto bytes = [](auto &array) {
    auto span = std::as_bytes(std::span(array));
    return std::vector<std::byte>(span.begin(), span.end());
  };
  for (bool perRow : {false, true}) {
    Recipe recipe;
    RecipeValue x = *recipe.literal({DType::F32, {2, 2}}, bytes(values));
    ASSERT_TRUE(recipe.yield(*recipe.amax(x, perRow, 448)).ok());
    EXPECT_EQ(evaluateRows(recipe, 0, recipe.type().rows(), MemoryInputs()).status().message().find("amax: NaN"), 0u);
  }
  for (float bad : {0.0f, -1.0f, NAN, INFINITY, 1e-45f}) {
    scales[1] = bad;
    values[2] = 3;
    Recipe recipe;
    RecipeValue x = *recipe.literal({DType::F32, {2, 2}}, bytes(values));
    RecipeValue scale = *recipe.literal({DType::F32, {2}}, bytes(scales));
    ASSERT_TRUE(recipe.yield(*recipe.round(x, scale)).ok());
    auto result = evaluateRows(recipe, 0, 2, MemoryInputs());
    ASSERT_FALSE(result.ok()) << bad;
    EXPECT_NE(result.status().message().find("of row 1 is not a positive number"), std::string::npos);
  }
}

TEST(Recipe, BuildersRefuseWrongTypes) {
  Recipe r;
  RecipeValue m = *r.read("s", "m", {DType::F32, {4, 6}}), v = *r.read("s", "v", {DType::F32, {4}});
  RecipeValue i = *r.read("s", "i", {DType::I32, {4, 6}}), c = *r.read("s", "c", {DType::F8E4M3, {4, 6}});
  auto refused = [](const StatusOr<RecipeValue> &value, const std::string &part) {
    ASSERT_FALSE(value.ok()) << part;
    EXPECT_NE(value.status().message().find(part), std::string::npos) << value.status().message();
  };
  refused(r.slice(m, 2, 0, 1), "axis 2 of F32[4, 6]");
  refused(r.slice(m, 0, 2, 2), "range 2 to 2");
  refused(r.slice(m, 1, 0, 7), "range 0 to 7");
  refused(r.gather(m, 0, {4}), "index 4");
  refused(r.gather(m, 0, {}), "dimension below 1");
  refused(r.concat({}, 0), "at least one");
  refused(r.concat({m, v}, 0), "operand 1 is F32[4]");
  refused(r.concat({m, i}, 0), "operand 1 is I32");
  refused(r.transpose(v), "expected a matrix");
  refused(r.reshape(m, {5, 5}), "24 elements");
  refused(r.reshape(m, {24, 0}), "below 1");
  refused(r.cast(i, DType::F32), "floating-point");
  refused(r.cast(m, DType::F8E4M3), "expected F32, F16 or BF16");
  refused(r.amax(v, true, 448), "a matrix");
  refused(r.amax(m, true, 0), "positive divisor");
  refused(r.amax(i, false, 1), "reals");
  refused(r.sum(v), "a matrix");
  refused(r.recip(i), "expected F32");
  refused(r.binary(Kind::Mul, m, v, true), "by columns");
  refused(r.binary(Kind::Mul, m, i), "cannot combine");
  refused(r.binary(Kind::Cast, m, m), "no binary operation");
  refused(r.round(c, v), "never quantised again");
  refused(r.round(m, v, {}, DType::BF16), "expected codes of F8_E4M3, F4 or I8");
  refused(r.round(m, *r.read("s", "b", {DType::F32, {4, 2}}), {1, 3}, DType::F4E2M1), "expected blocks of whole bytes, found 3 columns of F4");
  refused(r.amaxBlocks(v, {1, 2}, 6), "expected a matrix of reals and a block");
  refused(r.amaxBlocks(m, {0, 2}, 6), "found F32[4, 6] and [0, 2]");
  refused(r.amaxBlocks(m, {1, 2}, 0), "positive divisor");
  RecipeValue four = *r.read("s", "f", {DType::F4E2M1, {4, 32}}), odd = *r.read("s", "o", {DType::F4E2M1, {4, 24}});
  refused(r.round(four, v), "never quantised again");
  refused(r.blocks(odd, c), "expected a matrix of F4 of a multiple of 16 columns, found F4[4, 24]");
  refused(r.blocks(m, c), "expected a matrix of F4");
  refused(r.blocks(four, c), "expected scales F8_E4M3[4, 2], found F8_E4M3[4, 6]");
  refused(r.round(m, m), "expected a scale [1] or by row");
  refused(r.round(m, v, {2, 2}), "expected a scale [2, 3]");
  refused(r.round(m, v, {2}), "block of two");
  refused(r.dequant(m, v), "expected F8_E4M3, F4 or I8");
  refused(r.pad(m, 1, 0), "multiple");
  refused(r.read("s", "x", {DType::F4E2M1, {4, 3}}), "whole bytes");
  refused(r.read("s", "x", {DType::F32, {int64_t(1) << 40, int64_t(1) << 40}}), "2^63");
  refused(r.literal({DType::F32, {2}}, std::vector<std::byte>(4)), "expected 8 bytes");
  refused(r.slice(99, 0, 0, 1), "operand 99");
  EXPECT_FALSE(r.yield(99).ok());
  ASSERT_TRUE(r.yield(m).ok());
  EXPECT_FALSE(r.yield(m).ok());
  EXPECT_FALSE(r.recip(m).ok());
  EXPECT_FALSE(evaluateRows(r, 0, 5, MemoryInputs()).ok());
  EXPECT_FALSE(evaluateRows(r, 1, 1, MemoryInputs()).ok());
  EXPECT_FALSE(evaluateRows(r, 0, 1, MemoryInputs()).ok());
}

TEST(Recipe, TextIsCanonical) {
  Recipe a, b;
  // b makes a node it does not use, and its operands in another order.
  RecipeValue scaleB = *b.get("scale", {DType::F32, {4}});
  (void)*b.read("s", "unused", {DType::F32, {4, 6}});
  RecipeValue wA = *a.read("s", "w", {DType::F32, {4, 6}}), wB = *b.read("s", "w", {DType::F32, {4, 6}});
  ASSERT_TRUE(a.yield(*a.round(wA, *a.get("scale", {DType::F32, {4}}))).ok());
  ASSERT_TRUE(b.yield(*b.round(wB, scaleB)).ok());
  EXPECT_EQ(a.text(), "%0 = read \"s\" \"w\" : F32[4, 6]\n%1 = get \"scale\" : F32[4]\n"
                      "%2 = round %0 %1 : F8_E4M3[4, 6]\n");
  EXPECT_EQ(a.text(), b.text());
  auto upper = [](const std::string &name) { return name + "!"; };
  EXPECT_EQ(a.text(upper, {}).find("get \"scale!\""), a.text().find("get \"scale\""));

  // Every field that changes the result changes the text.
  std::vector<std::string> texts;
  auto add = [&](auto build) {
    Recipe r;
    RecipeValue x = *r.read("s", "w", {DType::F32, {4, 6}});
    ASSERT_TRUE(r.yield(*build(r, x)).ok());
    texts.push_back(r.text());
  };
  add([](Recipe &r, RecipeValue x) { return r.slice(x, 0, 0, 2); });
  add([](Recipe &r, RecipeValue x) { return r.slice(x, 0, 1, 3); });
  add([](Recipe &r, RecipeValue x) { return r.amax(x, true, 448); });
  add([](Recipe &r, RecipeValue x) { return r.amax(x, true, 447); });
  add([](Recipe &r, RecipeValue x) { return r.amax(x, false, 448); });
  add([](Recipe &r, RecipeValue x) { return r.gather(x, 0, {0, 1}); });
  add([](Recipe &r, RecipeValue x) { return r.gather(x, 0, {1, 0}); });
  add([](Recipe &r, RecipeValue x) { return r.gather(x, 0, std::vector<int64_t>(20, 1)); });
  add([](Recipe &r, RecipeValue x) { return r.gather(x, 0, std::vector<int64_t>(20, 2)); });
  add([](Recipe &r, RecipeValue x) { return r.pad(x, 1, 8); });
  add([](Recipe &r, RecipeValue x) { return r.pad(x, 1, 16); });
  add([](Recipe &r, RecipeValue x) { return r.binary(Kind::Add, x, *r.literal({DType::F32, {1}}, std::vector<std::byte>(4))); });
  add([](Recipe &r, RecipeValue x) { return r.binary(Kind::Add, x, *r.literal({DType::F32, {1}}, std::vector<std::byte>(4, std::byte{1}))); });
  for (size_t i = 0; i < texts.size(); ++i)
    for (size_t j = 0; j < i; ++j)
      EXPECT_NE(texts[i], texts[j]);
}
