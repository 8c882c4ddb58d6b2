//===- WeightsToRecipeTest.cpp - recipes against the interpreter ---------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// The reference interpreter is the oracle of derived weights: each weight of a module that uses every recipe op is
// evaluated by it and by the recipe, and has the same bits.
#include "vitrify/Conversion/WeightsToRecipe/WeightsToRecipe.h"
#include "vitrify/Dialect/ViT/Reference/Interpreter.h"
#include "vitrify/Support/Float8.h"

#include "../Support/TempFolder.h"
#include "mlir/Parser/Parser.h"

#include <cstring>
#include <gtest/gtest.h>
#include <random>

using namespace mlir;
using namespace vitrify;
using vitrify::test::TempFolder;

namespace {
constexpr const char *kModule = R"(
vit.source @ckpt path "m.safetensors" size SIZE header_sha256 "DIGEST"
vit.weight @w : tensor<12x8xf32> { %0 = vit.read @ckpt "w" : tensor<12x8xf32>  vit.yield %0 : tensor<12x8xf32> }
vit.weight @half : tensor<12x8xbf16> {
  %0 = vit.get @w : tensor<12x8xf32>
  %1 = vit.cast %0 : tensor<12x8xf32> -> tensor<12x8xbf16>
  vit.yield %1 : tensor<12x8xbf16> }
vit.weight @f16 : tensor<8x12xf16> {
  %0 = vit.get @w : tensor<12x8xf32>
  %1 = vit.transpose %0 : tensor<12x8xf32> -> tensor<8x12xf32>
  %2 = vit.cast %1 : tensor<8x12xf32> -> tensor<8x12xf16>
  vit.yield %2 : tensor<8x12xf16> }
vit.weight @joined : tensor<17x8xf32> {
  %0 = vit.get @w : tensor<12x8xf32>
  %1 = vit.slice %0 axis 0 from 3 to 8 : tensor<12x8xf32> -> tensor<5x8xf32>
  %2 = vit.gather %0 axis 0 [11, 0, 5, 5, 1, 2, 3, 4, 6, 7, 8, 9] : tensor<12x8xf32> -> tensor<12x8xf32>
  %3 = vit.concat %1, %2 axis 0 : tensor<5x8xf32>, tensor<12x8xf32> -> tensor<17x8xf32>
  vit.yield %3 : tensor<17x8xf32> }
vit.weight @columns : tensor<12x11xf32> {
  %0 = vit.get @w : tensor<12x8xf32>
  %1 = vit.slice %0 axis 1 from 1 to 4 : tensor<12x8xf32> -> tensor<12x3xf32>
  %2 = vit.gather %0 axis 1 [7, 6, 5, 4, 3, 2, 1, 0] : tensor<12x8xf32> -> tensor<12x8xf32>
  %3 = vit.concat %1, %2 axis 1 : tensor<12x3xf32>, tensor<12x8xf32> -> tensor<12x11xf32>
  vit.yield %3 : tensor<12x11xf32> }
vit.weight @s : tensor<12xf32> {
  %0 = vit.get @w : tensor<12x8xf32>
  %1 = vit.amax %0 axis 1 div 448.0 : tensor<12x8xf32> -> tensor<12xf32>
  vit.yield %1 : tensor<12xf32> }
vit.weight @one : tensor<1xf32> {
  %0 = vit.get @half : tensor<12x8xbf16>
  %1 = vit.amax %0 div 448.0 : tensor<12x8xbf16> -> tensor<1xf32>
  vit.yield %1 : tensor<1xf32> }
vit.weight @inverse : tensor<12xf32> {
  %0 = vit.get @s : tensor<12xf32>
  %1 = vit.recip %0 : tensor<12xf32> -> tensor<12xf32>
  vit.yield %1 : tensor<12xf32> }
vit.weight @q : tensor<12x16xf8E4M3FN> {
  %0 = vit.get @w : tensor<12x8xf32>
  %1 = vit.get @s : tensor<12xf32>
  %2 = vit.pad %0 axis 1 to_multiple 16 : tensor<12x8xf32> -> tensor<12x16xf32>
  %3 = vit.round %2, %1 : tensor<12x16xf32>, tensor<12xf32> -> tensor<12x16xf8E4M3FN>
  vit.yield %3 : tensor<12x16xf8E4M3FN> }
vit.weight @qtensor : tensor<12x8xf8E4M3FN> {
  %0 = vit.get @half : tensor<12x8xbf16>
  %1 = vit.get @one : tensor<1xf32>
  %2 = vit.round %0, %1 : tensor<12x8xbf16>, tensor<1xf32> -> tensor<12x8xf8E4M3FN>
  vit.yield %2 : tensor<12x8xf8E4M3FN> }
vit.weight @qblock : tensor<12x8xf8E4M3FN> {
  %0 = vit.get @w : tensor<12x8xf32>
  %1 = vit.literal dense<[[0.01, 0.5], [0.003, 0.25], [2.0, 0.007]]> : tensor<3x2xf32>
  %2 = vit.round %0, %1 block [5, 6] : tensor<12x8xf32>, tensor<3x2xf32> -> tensor<12x8xf8E4M3FN>
  vit.yield %2 : tensor<12x8xf8E4M3FN> }
vit.weight @back : tensor<12x16xf32> {
  %0 = vit.get @q : tensor<12x16xf8E4M3FN>
  %1 = vit.get @s : tensor<12xf32>
  %2 = vit.dequant %0, %1 : tensor<12x16xf8E4M3FN>, tensor<12xf32> -> tensor<12x16xf32>
  vit.yield %2 : tensor<12x16xf32> }
vit.weight @sums : tensor<12xf32> {
  %0 = vit.get @back : tensor<12x16xf32>
  %1 = vit.sum %0 : tensor<12x16xf32> -> tensor<12xf32>
  vit.yield %1 : tensor<12xf32> }
vit.weight @mixed : tensor<96x1xf32> {
  %0 = vit.get @w : tensor<12x8xf32>
  %1 = vit.get @s : tensor<12xf32>
  %2 = vit.mul %0, %1 : tensor<12x8xf32>, tensor<12xf32> -> tensor<12x8xf32>
  %3 = vit.literal dense<[1.0, 2.0, -3.0, 0.5, 0.25, 9.0, 1.0e-3, 7.0]> : tensor<8xf32>
  %4 = vit.add %2, %3 columns : tensor<12x8xf32>, tensor<8xf32> -> tensor<12x8xf32>
  %5 = vit.sub %4, %0 : tensor<12x8xf32>, tensor<12x8xf32> -> tensor<12x8xf32>
  %6 = vit.literal dense<0.1> : tensor<1xf32>
  %7 = vit.mul %5, %6 : tensor<12x8xf32>, tensor<1xf32> -> tensor<12x8xf32>
  %8 = vit.reshape %7 : tensor<12x8xf32> -> tensor<96x1xf32>
  vit.yield %8 : tensor<96x1xf32> }
)";

std::string replaced(std::string text, const std::string &what, const std::string &by) {
  return text.replace(text.find(what), what.size(), by);
}

class WeightsToRecipe : public testing::Test {
protected:
  WeightsToRecipe() {
    context.loadDialect<vit::ViTDialect>();
    context.getDiagEngine().registerHandler([this](Diagnostic &diagnostic) {
      messages += diagnostic.str() + "\n";
      return success();
    });
    auto writer = SafeTensorsWriter::create(folder.path("m.safetensors"), 200);
    std::mt19937 random(3);
    std::vector<float> values(12 * 8);
    for (float &value : values) // row 4 is zero: its scale is 1
      value = &value >= &values[32] && &value < &values[40] ? 0 : static_cast<float>(static_cast<int32_t>(random())) * 0x1p-32f;
    EXPECT_TRUE(writer->begin("w", DType::F32, {12, 8}).ok());
    EXPECT_TRUE(writer->write(std::as_bytes(std::span(values))).ok());
    EXPECT_TRUE(writer->end().ok() && writer->finish().ok());
    auto file = SafeTensorsFile::open(folder.path("m.safetensors"));
    text = replaced(replaced(kModule, "SIZE", std::to_string(file->mapped().size())), "DIGEST", toHex(file->header().digest));
  }

  TempFolder folder;
  MLIRContext context;
  std::string text, messages;
};

/// The value of an element of a recipe's result.
double elementOf(const TensorData &tensor, size_t i) {
  const std::byte *at = tensor.data.data();
  float wide;
  uint16_t half;
  switch (tensor.type.dtype) {
  case DType::F32: std::memcpy(&wide, at + 4 * i, 4); return static_cast<double>(wide);
  case DType::BF16: std::memcpy(&half, at + 2 * i, 2); return static_cast<double>(decodeBF16(half));
  case DType::F16: std::memcpy(&half, at + 2 * i, 2); return static_cast<double>(decodeF16(half));
  default: return static_cast<double>(decodeE4M3(static_cast<uint8_t>(at[i])));
  }
}
} // namespace

TEST_F(WeightsToRecipe, EveryOpHasTheInterpretersBits) {
  OwningOpRef<ModuleOp> module = parseSourceString<ModuleOp>(text, &context);
  ASSERT_TRUE(module) << messages;
  WeightStore store;
  ASSERT_TRUE(succeeded(fillWeightStore(*module, folder.path(), store))) << messages;
  vit::Interpreter interpreter(*module, folder.path());
  size_t compared = 0;
  for (auto weight : module->getOps<vit::WeightOp>()) {
    std::string name = weight.getSymName().str();
    auto expected = interpreter.weight(FlatSymbolRefAttr::get(weight.getSymNameAttr()), weight);
    ASSERT_TRUE(succeeded(expected)) << name << ": " << messages;
    auto found = store.evaluate(name);
    ASSERT_TRUE(found.ok()) << found.status().message();
    const auto &values = (*expected)->floats;
    ASSERT_EQ(static_cast<int64_t>(values.size()), *elementCount(found->type.shape)) << name;
    for (size_t i = 0; i < values.size(); ++i)
      ASSERT_EQ(elementOf(*found, i), static_cast<double>(values[i])) << name << ", element " << i;
    ++compared;
  }
  EXPECT_EQ(compared, 14u);
}

TEST_F(WeightsToRecipe, ErrorsAreEmittedAtTheOp) {
  auto messageOf = [&](const std::string &changed) {
    messages.clear();
    OwningOpRef<ModuleOp> module = parseSourceString<ModuleOp>(changed, &context);
    EXPECT_TRUE(module) << messages;
    WeightStore store;
    EXPECT_TRUE(failed(fillWeightStore(*module, folder.path(), store)));
    return messages;
  };
  EXPECT_NE(messageOf(replaced(text, "m.safetensors", "none.safetensors")).find("none.safetensors"), std::string::npos) << messages;
  EXPECT_NE(messageOf(replaced(text, " size ", " size 1")).find("the file changed since it was imported"), std::string::npos) << messages;
  std::string digest = text.substr(text.find("header_sha256 \"") + 15, 64);
  EXPECT_NE(messageOf(replaced(text, digest, std::string(64, '0'))).find("the file changed"), std::string::npos) << messages;
  EXPECT_NE(messageOf(replaced(text, "@ckpt \"w\"", "@ckpt \"v\"")).find("no tensor 'v'"), std::string::npos) << messages;
}
