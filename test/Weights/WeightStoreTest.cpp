//===- WeightStoreTest.cpp - deriving, sharing and writing weights -------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "../Support/TempFolder.h"
#include "RecipeOracle.h"
#include "vitrify/Weights/WeightStore.h"

#include <random>
#include <sys/resource.h>

using namespace vitrify;
using vitrify::test::elementAt;
using vitrify::test::TempFolder;
using Sharing = WrittenWeight::Sharing;

namespace {
/// Writes tensors [rows, columns] of F32 noise; equal seeds give equal tensors.
std::string makeCheckpoint(const TempFolder &folder, std::vector<std::pair<std::string, unsigned>> tensors, int64_t rows,
                           int64_t columns, const std::string &name = "model.safetensors") {
  std::string path = folder.path(name);
  auto writer = SafeTensorsWriter::create(path, 100 * tensors.size() + 1000);
  EXPECT_TRUE(writer.ok());
  for (const auto &[name, seed] : tensors) {
    std::mt19937 random(seed);
    std::vector<float> values(static_cast<size_t>(rows * columns));
    for (float &value : values)
      value = static_cast<float>(static_cast<int32_t>(random())) * 0x1p-33f;
    EXPECT_TRUE(writer->begin(name, DType::F32, {rows, columns}).ok());
    EXPECT_TRUE(writer->write(std::as_bytes(std::span(values))).ok());
    EXPECT_TRUE(writer->end().ok());
  }
  EXPECT_TRUE(writer->finish().ok());
  return path;
}

Recipe readOf(const std::string &tensor, TensorType type) {
  Recipe recipe;
  EXPECT_TRUE(recipe.yield(*recipe.read("ckpt", tensor, std::move(type))).ok());
  return recipe;
}

/// NAME.s and NAME.q: scale by row and codes of a tensor.
void addQuantised(WeightStore &store, const std::string &name, const std::string &tensor, const TensorType &type) {
  Recipe scale, codes;
  ASSERT_TRUE(scale.yield(*scale.amax(*scale.read("ckpt", tensor, type), true, 448)).ok());
  RecipeValue w = *codes.read("ckpt", tensor, type);
  ASSERT_TRUE(codes.yield(*codes.round(w, *codes.get(name + ".s", {DType::F32, {type.shape[0]}}))).ok());
  ASSERT_TRUE(store.addWeight(name + ".s", std::move(scale)).ok());
  ASSERT_TRUE(store.addWeight(name + ".q", std::move(codes)).ok());
}

WeightWriteOptions with(int64_t budget, unsigned threads) {
  WeightWriteOptions options;
  options.budgetBytes = budget;
  options.threads = threads;
  return options;
}

const TensorType kType{DType::F32, {96, 40}};
} // namespace

TEST(WeightStore, SharesEqualRecipesAndEqualBytes) {
  TempFolder folder;
  WeightStore store;
  ASSERT_TRUE(store.addSource("ckpt", makeCheckpoint(folder, {{"a", 1}, {"b", 2}, {"twin of a", 1}}, 96, 40)).ok());
  addQuantised(store, "x", "a", kType);
  addQuantised(store, "y", "b", kType);
  addQuantised(store, "x again", "a", kType);    // the same recipe, through weights of other names
  addQuantised(store, "x twin", "twin of a", kType); // another recipe, the same bytes
  ASSERT_TRUE(store.check().ok());
  EXPECT_EQ(*store.recipeKey("x.q"), *store.recipeKey("x again.q"));
  EXPECT_NE(*store.recipeKey("x.q"), *store.recipeKey("x twin.q"));

  std::vector<WeightRequest> requests;
  for (const char *name : {"y.q", "x.q", "x again.q", "x twin.q", "x.s", "x twin.s", "x.q"})
    requests.push_back({name, 64});
  requests[0].alignment = 4096;
  auto report = store.write(folder.path("weights.safetensors"), requests, with(5000, 2));
  ASSERT_TRUE(report.ok()) << report.status().message();
  auto sharing = [&](size_t i) { return std::pair(report->weights[i].tensor, report->weights[i].sharing); };
  EXPECT_EQ(sharing(0), std::pair(std::string("y.q"), Sharing::Own));
  EXPECT_EQ(sharing(1), std::pair(std::string("x.q"), Sharing::Own));
  EXPECT_EQ(sharing(2), std::pair(std::string("x.q"), Sharing::SameRecipe));
  EXPECT_EQ(sharing(3), std::pair(std::string("x.q"), Sharing::SameBytes));
  EXPECT_EQ(sharing(4), std::pair(std::string("x.s"), Sharing::Own));
  EXPECT_EQ(sharing(5), std::pair(std::string("x.s"), Sharing::SameBytes));
  EXPECT_EQ(sharing(6), std::pair(std::string("x.q"), Sharing::SameRecipe));
  EXPECT_EQ(report->tensorBytes, 2u * 96 * 40 + 96 * 4);
  EXPECT_EQ(report->sharedBytes, 3u * 96 * 40 + 96 * 4);

  auto file = SafeTensorsFile::open(folder.path("weights.safetensors"));
  ASSERT_TRUE(file.ok()) << file.status().message();
  EXPECT_EQ(file->mapped().size(), report->fileBytes);
  ASSERT_EQ(file->tensors().size(), 3u);
  EXPECT_EQ(file->tensors()[0].name, "y.q"); // order of use
  EXPECT_EQ(file->tensors()[0].begin % 4096, 0u);
  for (const TensorInfo &info : file->tensors()) {
    auto expected = store.evaluate(info.name);
    ASSERT_TRUE(expected.ok());
    auto found = file->data(info);
    EXPECT_TRUE(std::equal(found.begin(), found.end(), expected->data.begin(), expected->data.end())) << info.name;
  }
}

TEST(WeightStore, ScalesAndCodesAreTheDefinition) {
  TempFolder folder;
  WeightStore store;
  ASSERT_TRUE(store.addSource("ckpt", makeCheckpoint(folder, {{"a", 7}}, 96, 40)).ok());
  addQuantised(store, "w", "a", kType);
  ASSERT_TRUE(store.addWeight("w", readOf("a", kType)).ok());
  ASSERT_TRUE(store.check().ok());
  auto w = store.evaluate("w"), s = store.evaluate("w.s"), q = store.evaluate("w.q");
  ASSERT_TRUE(w.ok() && s.ok() && q.ok());
  for (int64_t row = 0; row < 96; ++row) {
    float most = 0;
    for (int64_t i = 0; i < 40; ++i)
      most = std::max(most, std::fabs(elementAt(*w, row * 40 + i)));
    float scale = most / 448.0f;
    ASSERT_EQ(elementAt(*s, row), scale);
    for (int64_t i = 0; i < 40; ++i)
      ASSERT_EQ(static_cast<uint8_t>(q->data[row * 40 + i]),
                encodeE4M3(elementAt(*w, row * 40 + i) * (1.0f / scale)));
  }
}

TEST(WeightStore, ThreadsAndBudgetDoNotChangeTheFile) {
  TempFolder folder;
  WeightStore store;
  ASSERT_TRUE(store.addSource("ckpt", makeCheckpoint(folder, {{"a", 1}, {"b", 2}}, 96, 40)).ok());
  addQuantised(store, "x", "a", kType);
  addQuantised(store, "y", "b", kType);
  std::vector<WeightRequest> requests = {{"x.q"}, {"x.s"}, {"y.q"}, {"y.s"}};
  std::string first;
  for (unsigned threads : {1u, 2u, 5u})
    for (int64_t budget : {int64_t(1), int64_t(3000), int64_t(1) << 30}) {
      ASSERT_TRUE(store.write(folder.path("w"), requests, with(budget, threads)).ok());
      std::string bytes = TempFolder::read(folder.path("w"));
      if (first.empty())
        first = bytes;
      EXPECT_TRUE(bytes == first) << threads << " threads, " << budget << " bytes";
    }
}

TEST(WeightStore, MemoryStaysWithinTheBudget) {
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
  GTEST_SKIP() << "sanitizers keep freed memory";
#endif
  TempFolder folder;
  // 256 MiB of weights in four tensors.
  TensorType type{DType::F32, {8192, 2048}};
  WeightStore store;
  ASSERT_TRUE(store.addSource("ckpt", makeCheckpoint(folder, {{"a", 1}, {"b", 2}, {"c", 3}, {"d", 4}}, 8192, 2048)).ok());
  std::vector<WeightRequest> requests;
  for (std::string name : {"a", "b", "c", "d"}) {
    addQuantised(store, name, name, type);
    requests.insert(requests.end(), {{name + ".s"}, {name + ".q"}});
  }
  auto resident = [] {
    std::string status = TempFolder::read("/proc/self/status");
    return std::stol(status.substr(status.find("VmHWM:") + 6)); // KiB, the most there was
  };
  if (std::ofstream reset("/proc/self/clear_refs"); !(reset << "5" && reset.flush()))
    GTEST_SKIP() << "the kernel does not reset the high-water mark";
  long before = resident();
  ASSERT_TRUE(store.write(folder.path("w"), requests, with(int64_t(24) << 20, 2)).ok());
  // The allocator keeps some of what it got back.
  EXPECT_LT(resident() - before, 64 * 1024);
}

TEST(WeightStore, CheckRefusesByName) {
  TempFolder folder;
  std::string path = makeCheckpoint(folder, {{"a", 1}}, 96, 40);
  auto messageOf = [&](auto add) {
    WeightStore store;
    EXPECT_TRUE(store.addSource("ckpt", path).ok());
    add(store);
    Status status = store.check();
    EXPECT_FALSE(store.write(folder.path("w"), std::vector<WeightRequest>{}, {}).ok());
    return status.message();
  };
  EXPECT_EQ(messageOf([](WeightStore &s) { (void)s.addWeight("x", readOf("none", kType)); }).find("weight 'x': no tensor 'none'"), 0u);
  EXPECT_EQ(messageOf([](WeightStore &s) { (void)s.addWeight("x", readOf("a", {DType::F32, {96, 41}})); }),
            "weight 'x': tensor 'a' is F32[96, 40], expected F32[96, 41]");
  EXPECT_EQ(messageOf([](WeightStore &s) { (void)s.addWeight("x", readOf("a", {DType::BF16, {96, 40}})); }),
            "weight 'x': tensor 'a' is F32[96, 40], expected BF16[96, 40]");
  auto get = [](WeightStore &s, const std::string &name, const std::string &other, int64_t size = 4) {
    Recipe recipe;
    ASSERT_TRUE(recipe.yield(*recipe.get(other, {DType::F32, {size}})).ok());
    ASSERT_TRUE(s.addWeight(name, std::move(recipe)).ok());
  };
  EXPECT_EQ(messageOf([&](WeightStore &s) { get(s, "x", "y"); }), "weight 'x': no weight 'y'");
  EXPECT_EQ(messageOf([&](WeightStore &s) { get(s, "x", "x"); }), "weight 'x' derives from itself, through 'x'");
  EXPECT_NE(messageOf([&](WeightStore &s) { get(s, "x", "y"), get(s, "y", "z"), get(s, "z", "x"); }).find("derives from itself"),
            std::string::npos);
  EXPECT_EQ(messageOf([&](WeightStore &s) {
              get(s, "x", "y");
              Recipe recipe;
              ASSERT_TRUE(recipe.yield(*recipe.literal({DType::F32, {5}}, std::vector<std::byte>(20))).ok());
              ASSERT_TRUE(s.addWeight("y", std::move(recipe)).ok());
            }),
            "weight 'x': weight 'y' is F32[5], expected F32[4]");
  EXPECT_NE(messageOf([&](WeightStore &s) {
              for (int i = 0; i < 1000; ++i)
                get(s, std::to_string(i), std::to_string(i + 1));
              Recipe recipe;
              ASSERT_TRUE(recipe.yield(*recipe.literal({DType::F32, {4}}, std::vector<std::byte>(16))).ok());
              ASSERT_TRUE(s.addWeight("1000", std::move(recipe)).ok());
            }).find("chain of more than"),
            std::string::npos);
}

TEST(WeightStore, SourcesMustBeWhatWasImported) {
  TempFolder folder;
  std::string path = makeCheckpoint(folder, {{"a", 1}}, 96, 40);
  auto file = SafeTensorsFile::open(path);
  WeightStore store;
  EXPECT_TRUE(store.addSource("ok", path, file->mapped().size(), file->header().digest).ok());
  EXPECT_NE(store.addSource("size", path, 17).message().find("expected 17"), std::string::npos);
  EXPECT_NE(store.addSource("digest", path, {}, Digest{}).message().find("the file changed"), std::string::npos);
  EXPECT_FALSE(store.addSource("ok", path).ok());
  EXPECT_FALSE(store.addSource("none", folder.path("none")).ok());
  EXPECT_TRUE(store.addWeight("x", readOf("a", kType)).ok());
  EXPECT_FALSE(store.addWeight("x", readOf("a", kType)).ok());
}

TEST(WeightStore, FilesOfEqualHeadersAreToldApart) {
  // Two checkpoints of one architecture: same names, shapes and header, other values.
  TempFolder folder;
  WeightStore store;
  std::string one = makeCheckpoint(folder, {{"a", 1}}, 96, 40, "one"), two = makeCheckpoint(folder, {{"a", 2}}, 96, 40, "two");
  std::filesystem::create_symlink(one, folder.path("link"));
  ASSERT_TRUE(store.addSource("one", one).ok() && store.addSource("two", two).ok() && store.addSource("link", folder.path("link")).ok());
  for (const char *source : {"one", "two", "link"}) {
    Recipe recipe;
    ASSERT_TRUE(recipe.yield(*recipe.read(source, "a", kType)).ok());
    ASSERT_TRUE(store.addWeight(source, std::move(recipe)).ok());
  }
  auto report = store.write(folder.path("w"), std::vector<WeightRequest>{{"one"}, {"two"}, {"link"}}, {});
  ASSERT_TRUE(report.ok()) << report.status().message();
  EXPECT_EQ(report->weights[1].sharing, Sharing::Own);
  EXPECT_EQ(report->weights[2].sharing, Sharing::SameRecipe);
  EXPECT_NE(store.evaluate("one")->data, store.evaluate("two")->data);
}

TEST(WeightStore, WritesPanels) {
  TempFolder folder;
  WeightStore store;
  const TensorType type{DType::F32, {70, 9}};
  makeCheckpoint(folder, {{"a", 1}}, 70, 9);
  ASSERT_TRUE(store.addSource("ckpt", folder.path("model.safetensors")).ok());
  ASSERT_TRUE(store.addWeight("w", readOf("a", type)).ok());
  ASSERT_TRUE(store.addWeight("again", readOf("a", type)).ok());
  ASSERT_TRUE(store.addWeight("plain", readOf("a", type)).ok());
  // A budget of next to nothing: a panel a piece.
  const std::vector<WeightRequest> requests{{"w", 64, "panel:w16:k2:F32"}, {"again", 64, "panel:w16:k2:F32"}, {"plain"}};
  auto report = store.write(folder.path("out"), requests, with(1, 2));
  ASSERT_TRUE(report.ok()) << report.status().message();
  EXPECT_EQ(report->weights[0].type.str(), "F32[5, 5, 32]");
  EXPECT_EQ(report->weights[1].tensor, "w"); // one recipe in one layout
  EXPECT_EQ(report->weights[2].type, type);
  auto file = SafeTensorsFile::open(folder.path("out"));
  ASSERT_TRUE(file.ok());
  auto floats = [&](const char *name) { return reinterpret_cast<const float *>(file->data(*file->find(name)).data()); };
  for (int64_t n = 0; n < 80; ++n)
    for (int64_t k = 0; k < 10; ++k)
      ASSERT_EQ(floats("w")[((n / 16 * 5 + k / 2) * 16 + n % 16) * 2 + k % 2], n < 70 && k < 9 ? floats("plain")[n * 9 + k] : 0.0f)
          << n << ", " << k;
  auto refused = [&](WeightRequest request) {
    return store.write(folder.path("bad"), std::vector{std::move(request)}, {}).status().message();
  };
  EXPECT_NE(refused({"w", 64, "spiral"}).find("'spiral' is unknown"), std::string::npos);
  EXPECT_NE(refused({"w", 64, "nk:BF16"}).find("cannot be written as 'nk:BF16'"), std::string::npos);
  EXPECT_NE(refused({"w", 64, "panel:w16:k1:I8"}).find("cannot be made from F32"), std::string::npos);
}

TEST(WeightStore, AFailingWeightNamesItselfAndLeavesNoFile) {
  TempFolder folder;
  WeightStore store;
  float values[] = {1, NAN};
  auto bytes = std::as_bytes(std::span(values));
  Recipe recipe;
  RecipeValue x = *recipe.literal({DType::F32, {2}}, {bytes.begin(), bytes.end()});
  ASSERT_TRUE(recipe.yield(*recipe.amax(x, false, 448)).ok());
  ASSERT_TRUE(store.addWeight("b0.fc1.ws", std::move(recipe)).ok());
  auto report = store.write(folder.path("w"), std::vector<WeightRequest>{{"b0.fc1.ws"}}, {});
  EXPECT_NE(report.status().message().find("weight 'b0.fc1.ws'"), std::string::npos) << report.status().message();
  EXPECT_NE(report.status().message().find("NaN in row 0"), std::string::npos);
  EXPECT_EQ(store.write(folder.path("w"), std::vector<WeightRequest>{{"none"}}, {}).status().code(), StatusCode::NotFound);
  EXPECT_EQ(folder.count(), 0u);
}
