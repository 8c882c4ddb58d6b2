//===- BundleTest.cpp - bundles written, damaged and replaced ------------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "../Support/TempFolder.h"
#include "SamplePlan.h"

#include <nlohmann/json.hpp>

#include <signal.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

using namespace vitrify;
using namespace vitrify::test;
namespace fs = std::filesystem;
using json = nlohmann::ordered_json;

namespace {
/// What a loader and a full check say, or "" when the bundle is good.
std::string check(const std::string &path) {
  auto bundle = Bundle::open(path);
  return bundle.ok() ? bundle->verifyAll().message() : bundle.status().message();
}

std::vector<std::string> filesIn(const std::string &path) {
  std::vector<std::string> names;
  for (const auto &entry : fs::recursive_directory_iterator(path))
    if (entry.is_regular_file())
      names.push_back(fs::relative(entry.path(), path).generic_string());
  std::sort(names.begin(), names.end());
  return names;
}
} // namespace

TEST(Bundle, HoldsWhatWasWritten) {
  TempFolder folder;
  std::string path = folder.path("m.vitrify");
  Status status = writeSampleBundle(path);
  ASSERT_TRUE(status.ok()) << status.message();
  EXPECT_EQ(check(path), "");
  EXPECT_EQ(filesIn(path), (std::vector<std::string>{"manifest.json", "preprocess.json", "targets/x86-64-v3/kernels.so",
                                                     "targets/x86-64-v3/plan.json", "targets/x86-64-v4/kernels.so",
                                                     "targets/x86-64-v4/plan.json", "weights.safetensors", "weights.sha256"}));
  auto bundle = Bundle::open(path);
  const Manifest &manifest = bundle->manifest();
  ASSERT_EQ(manifest.targets.size(), 2u);
  ASSERT_EQ(manifest.entries.size(), 1u);
  EXPECT_EQ(manifest.entries[0].inputs[0].name, "pixels");
  ASSERT_EQ(manifest.weights.aliases.size(), 1u);
  EXPECT_EQ(manifest.weights.aliases[0].name, "b1.w");
  EXPECT_EQ(manifest.weights.aliases[0].why, "recipe");
  auto weights = bundle->openWeights();
  ASSERT_TRUE(weights.ok()) << weights.status().message();
  auto tensor = weights->tensor("b0.w");
  ASSERT_TRUE(tensor.ok());
  EXPECT_EQ(tensor->size(), 16u * 8 * 4);
  EXPECT_EQ(weights->tensor("b9.w").status().code(), StatusCode::NotFound);
  auto plan = bundle->loadPlan(manifest.targets[1], weights->file().header());
  ASSERT_TRUE(plan.ok()) << plan.status().message();
  EXPECT_EQ(printPlan(*plan), printPlan(samplePlan("x86-64-v4")));
  EXPECT_TRUE(**bundle->loadPreprocess() == samplePreprocess());
  auto code = bundle->openFile(manifest.targets[0].code);
  ASSERT_TRUE(code.ok());
  EXPECT_GE(code->descriptor(), 0);
}

TEST(Bundle, TwoWritesGiveEqualBytes) {
  TempFolder folder;
  ASSERT_TRUE(writeSampleBundle(folder.path("a")).ok());
  ASSERT_TRUE(writeSampleBundle(folder.path("b")).ok());
  for (const std::string &name : filesIn(folder.path("a")))
    EXPECT_EQ(TempFolder::read(folder.path("a/" + name)), TempFolder::read(folder.path("b/" + name))) << name;
}

TEST(Bundle, AChangedByteAnywhereIsFound) {
  TempFolder folder;
  std::string path = folder.path("m.vitrify");
  ASSERT_TRUE(writeSampleBundle(path).ok());
  for (const std::string &name : filesIn(path)) {
    std::string whole = TempFolder::read(path + "/" + name);
    size_t step = std::max<size_t>(1, whole.size() / 40);
    for (size_t at = 0; at < whole.size(); at += step) {
      std::string changed = whole;
      changed[at] = static_cast<char>(changed[at] ^ 1);
      folder.write("m.vitrify/" + name, changed);
      EXPECT_NE(check(path), "") << name << " at " << at;
    }
    if (name == "manifest.json") {
      folder.write("m.vitrify/" + name, whole);
      continue;
    }
    folder.write("m.vitrify/" + name, whole.substr(0, whole.size() - 1));
    EXPECT_NE(check(path).find("the manifest says"), std::string::npos) << name << ": " << check(path);
    folder.write("m.vitrify/" + name, whole + "x");
    EXPECT_NE(check(path).find("the manifest says"), std::string::npos) << name << ": " << check(path);
    fs::remove(path + "/" + name);
    EXPECT_NE(check(path).find("'" + name + "' is missing from bundle"), std::string::npos) << check(path);
    folder.write("m.vitrify/" + name, whole);
    EXPECT_EQ(check(path), "");
  }
}

TEST(Bundle, BadWeightsFailAtFirstUseByTensorAndOffset) {
  TempFolder folder;
  std::string path = folder.path("m.vitrify");
  // Weights of several chunks: one of zeros, one of noise.
  auto writer = BundleWriter::create(path);
  ASSERT_TRUE(writer.ok());
  WeightStore store;
  addSampleWeights(store);
  Recipe recipe;
  ASSERT_TRUE(recipe.yield(*recipe.literal({DType::U8, {3000, 1000}}, std::vector<std::byte>(3'000'000))).ok());
  ASSERT_TRUE(store.addWeight("large", std::move(recipe)).ok());
  auto report = store.write(writer->weightsPath(), std::vector<WeightRequest>{{"b0.w"}, {"b0.sx"}, {"large", 4096}}, {});
  ASSERT_TRUE(report.ok()) << report.status().message();
  ASSERT_TRUE(writer->addWeights(*report).ok());
  std::string code = "code";
  ASSERT_TRUE(writer->addTarget(sampleTarget("x86-64-v3"), samplePlan(), std::as_bytes(std::span(code)), "kernels.so").ok());
  Status committed = writer->commit(sampleManifest());
  ASSERT_TRUE(committed.ok()) << committed.message();
  std::string weights = TempFolder::read(path + "/weights.safetensors");
  weights[2'500'000] = 1;
  folder.write("m.vitrify/weights.safetensors", weights);

  auto bundle = Bundle::open(path);
  ASSERT_TRUE(bundle.ok()); // nothing was read yet
  auto opened = bundle->openWeights();
  ASSERT_TRUE(opened.ok()) << opened.status().message();
  EXPECT_TRUE(opened->tensor("b0.w").ok());
  Status status = opened->tensor("large").status();
  EXPECT_EQ(status.code(), StatusCode::DataLoss);
  EXPECT_NE(status.message().find("chunk 2 at byte 2097152"), std::string::npos) << status.message();
  EXPECT_NE(status.message().find("in tensor 'large'"), std::string::npos) << status.message();
  EXPECT_FALSE(opened->verifyAll().ok());
  EXPECT_FALSE(opened->verify(0, weights.size() + 1).ok());

  // A file that loses its end after it was opened is an error, not a signal.
  ASSERT_EQ(truncate((path + "/weights.safetensors").c_str(), 1 << 20), 0);
  status = opened->tensor("large").status();
  EXPECT_EQ(status.code(), StatusCode::DataLoss);
  EXPECT_NE(status.message().find("was cut to 1048576 bytes while it was in use"), std::string::npos) << status.message();
}

TEST(Bundle, TwoThreadsMayVerifyAtOnce) {
  TempFolder folder;
  ASSERT_TRUE(writeSampleBundle(folder.path("m")).ok());
  auto bundle = Bundle::open(folder.path("m"));
  auto weights = bundle->openWeights();
  std::thread other([&] { EXPECT_TRUE(weights->verifyAll().ok()); });
  EXPECT_TRUE(weights->verifyAll().ok());
  other.join();
}

TEST(Bundle, LinksAndStrayFilesAreRefused) {
  TempFolder folder;
  std::string path = folder.path("m");
  ASSERT_TRUE(writeSampleBundle(path).ok());
  auto replaceByLink = [&](const std::string &name) {
    fs::rename(path + "/" + name, folder.path("outside"));
    fs::create_symlink(folder.path("outside"), path + "/" + name);
    std::string message = check(path);
    fs::remove(path + "/" + name);
    fs::rename(folder.path("outside"), path + "/" + name);
    return message;
  };
  for (const char *name : {"manifest.json", "weights.safetensors", "weights.sha256", "targets/x86-64-v3/kernels.so",
                           "targets/x86-64-v3", "targets"})
    EXPECT_NE(replaceByLink(name).find("is a link"), std::string::npos) << name;
  EXPECT_EQ(check(path), "");
  folder.write("m/targets/extra.so", "x");
  EXPECT_NE(check(path).find("extra.so' is not named by the manifest"), std::string::npos);
}

TEST(Bundle, PlanAndManifestMustAgree) {
  TempFolder folder;
  std::string path = folder.path("m");
  auto messageWith = [&](auto changePlan, auto changeTarget, auto changeManifest) {
    auto writer = BundleWriter::create(path);
    WeightStore store;
    addSampleWeights(store);
    auto report = store.write(writer->weightsPath(), std::vector<WeightRequest>{{"b0.w"}, {"b0.sx"}}, {});
    EXPECT_TRUE(writer->addWeights(*report).ok());
    Plan plan = samplePlan();
    ManifestTarget target = sampleTarget("x86-64-v3");
    Manifest manifest = sampleManifest();
    manifest.entries = entriesOf(plan);
    changePlan(plan);
    changeTarget(target);
    changeManifest(manifest);
    Status added = writer->addTarget(target, plan, {}, "kernels.so");
    std::string message = added.ok() ? writer->commit(manifest).message() : added.message();
    EXPECT_EQ(fs::exists(path), message.empty());
    fs::remove_all(path);
    return message;
  };
  auto plan = [&](auto change) { return messageWith(change, [](ManifestTarget &) {}, [](Manifest &) {}); };
  EXPECT_EQ(plan([](Plan &) {}), "");
  EXPECT_NE(plan([](Plan &p) { p.weights[0].tensor = "none"; }).find("weight 'b0.w': no tensor 'none'"), std::string::npos);
  EXPECT_NE(plan([](Plan &p) { p.weights[0].shape = {8, 16}; }).find("is F32[8, 16], tensor 'b0.w' is F32[16, 8]"), std::string::npos);
  EXPECT_NE(plan([](Plan &p) { p.weights[2].dtype = DType::I32; }).find("is I32[1], tensor"), std::string::npos);
  EXPECT_NE(plan([](Plan &p) { p.programs[0].name = "encode"; }).find("no program for the entry 'forward'"), std::string::npos);
  EXPECT_NE(plan([](Plan &p) { p.programs[0].symbols[0].tuned = 9; }).find("has other arguments"), std::string::npos);
  EXPECT_NE(plan([](Plan &p) { p.programs[0].inputs[0].name = "image"; }).find("has other arguments"), std::string::npos);
  EXPECT_NE(plan([](Plan &p) { p.programs[0].buffers[0].shape[1] = PlanExpr(15), p.programs[0].buffers[0].size = times(images(), 60); })
                .find("has other arguments"), std::string::npos);
  EXPECT_NE(plan([](Plan &p) { p.target = "x86-64-v4"; }).find("plan for target 'x86-64-v4'"), std::string::npos);
  EXPECT_NE(plan([](Plan &p) { p.programs[0].steps.clear(); }).find("is not written"), std::string::npos);
  EXPECT_NE(messageWith([](Plan &) {}, [](ManifestTarget &t) { t.layers[0].kernel = "none"; }, [](Manifest &) {})
                .find("names kernel 'none'"), std::string::npos);
  EXPECT_NE(messageWith([](Plan &) {}, [](ManifestTarget &t) { t.device = "abacus"; }, [](Manifest &) {}).find("device"),
            std::string::npos);
  EXPECT_NE(messageWith([](Plan &) {}, [](ManifestTarget &t) { t.name = "../up"; }, [](Manifest &) {}).find("no name for a target"),
            std::string::npos);
}

TEST(BundleWriter, ReplacesBundlesAndNothingElse) {
  TempFolder folder;
  std::string path = folder.path("m");
  ASSERT_TRUE(writeSampleBundle(path).ok());
  ASSERT_TRUE(writeSampleBundle(path).ok());
  EXPECT_EQ(check(path), "");
  fs::create_directory(folder.path("empty"));
  EXPECT_TRUE(writeSampleBundle(folder.path("empty")).ok());
  folder.write("home/photo.jpg", "dear");
  EXPECT_NE(writeSampleBundle(folder.path("home")).message().find("holds something else than a bundle"), std::string::npos);
  folder.write("other/manifest.json", "{\"format\": \"web app\"}");
  EXPECT_NE(writeSampleBundle(folder.path("other")).message().find("holds something else"), std::string::npos);
  folder.write("file", "x");
  EXPECT_NE(writeSampleBundle(folder.path("file")).message().find("is not a folder"), std::string::npos);
  EXPECT_NE(writeSampleBundle(folder.path("none/m")).message().find("no such file"), std::string::npos);
  EXPECT_EQ(TempFolder::read(folder.path("home/photo.jpg")), "dear");
  EXPECT_EQ(folder.count(), 5u);
}

TEST(BundleWriter, ANewerBundleIsABundleToo) {
  TempFolder folder;
  ASSERT_TRUE(writeSampleBundle(folder.path("m")).ok());
  json manifest = json::parse(TempFolder::read(folder.path("m/manifest.json")));
  manifest["version"]["major"] = 9;
  folder.write("m/manifest.json", manifest.dump());
  EXPECT_NE(check(folder.path("m")).find("bundle has version 9.0, this build reads version 1"), std::string::npos);
  EXPECT_TRUE(writeSampleBundle(folder.path("m")).ok());
  EXPECT_EQ(check(folder.path("m")), "");
}

TEST(BundleWriter, NeedsItsParts) {
  TempFolder folder;
  auto writer = BundleWriter::create(folder.path("m"));
  EXPECT_NE(writer->commit(sampleManifest()).message().find("no weights"), std::string::npos);
  EXPECT_FALSE(writer->addWeights({}).ok());
}

TEST(BundleWriter, AKilledWriterLeavesNoHalfBundle) {
  TempFolder folder;
  std::string path = folder.path("m");
  // Killed after ever longer times: before it, the old bundle or none; after it, the same or a whole new one.
  for (int round = 0; round < 30; ++round) {
    if (round == 15)
      ASSERT_TRUE(writeSampleBundle(path).ok());
    pid_t child = fork();
    if (child == 0) {
      for (int i = 0; i < 100; ++i)
        (void)writeSampleBundle(path);
      _exit(0);
    }
    usleep(static_cast<useconds_t>(300 * (round % 15)));
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
    if (fs::exists(path))
      EXPECT_EQ(check(path), "");
    else
      EXPECT_LT(round, 15);
    if (round < 15)
      fs::remove_all(path);
  }
  ASSERT_TRUE(writeSampleBundle(path).ok());
  EXPECT_EQ(folder.count(), 1u); // and what they left is swept
}

TEST(BundleWriter, TwoAtOnceIntoOneFolderGiveOneWholeBundle) {
  TempFolder folder;
  std::string path = folder.path("m");
  auto write = [&] {
    for (int i = 0; i < 15; ++i) {
      Status status = writeSampleBundle(path);
      EXPECT_TRUE(status.ok()) << status.message();
    }
  };
  std::thread other(write);
  write();
  other.join();
  EXPECT_EQ(check(path), "");
  EXPECT_EQ(folder.count(), 1u);
}

TEST(Bundle, WhatIsNoBundleIsRefused) {
  TempFolder folder;
  EXPECT_NE(check(folder.path("none")).find("does not exist"), std::string::npos);
  EXPECT_NE(check(folder.write("file", "")).find("is not a folder"), std::string::npos);
  fs::create_directory(folder.path("empty"));
  EXPECT_NE(check(folder.path("empty")).find("has no manifest.json"), std::string::npos);
  for (const char *text : {"", "{", "[]", "{}", "null", "{\"format\": 3}"}) {
    folder.write("bad/manifest.json", text);
    EXPECT_NE(check(folder.path("bad")), "") << text;
  }
}
