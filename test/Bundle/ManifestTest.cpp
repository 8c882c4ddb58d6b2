//===- ManifestTest.cpp - manifest.json and preprocess.json --------------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "SamplePlan.h"

#include <nlohmann/json.hpp>

using namespace vitrify;
using namespace vitrify::test;
using json = nlohmann::ordered_json;

namespace {
Manifest fullManifest() {
  Manifest manifest = sampleManifest();
  manifest.entries = entriesOf(samplePlan());
  manifest.states = {{"loop", "forward", "pixels", "logits"}};
  ManifestTarget target = sampleTarget("x86-64-v3");
  std::string digest(64, 'b');
  target.plan = {"targets/x86-64-v3/plan.json", 10, digest};
  target.code = {"targets/x86-64-v3/kernels.so", 20, digest};
  manifest.targets = {target};
  manifest.weights.bytes = 5000;
  manifest.weights.tensorBytes = 600;
  manifest.weights.digests = {"weights.sha256", 65, digest};
  manifest.weights.aliases = {{"b1.w", "b0.w", "bytes"}};
  manifest.preprocess = BundleFile{"preprocess.json", 30, digest};
  return manifest;
}

std::string afterChange(const std::string &pointer, const std::string &value) {
  json document = json::parse(printManifest(fullManifest()));
  json::json_pointer at(pointer);
  if (value.empty())
    document[at.parent_pointer()].erase(at.back());
  else
    document[at] = json::parse(value);
  auto manifest = parseManifest(sealed(document));
  return manifest.ok() ? "(accepted)" : manifest.status().message();
}
} // namespace

TEST(Manifest, PrintsWhatItParses) {
  std::string text = printManifest(fullManifest());
  auto parsed = parseManifest(text);
  ASSERT_TRUE(parsed.ok()) << parsed.status().message() << text;
  EXPECT_EQ(printManifest(*parsed), text);
  EXPECT_EQ(parsed->targets[0].layers[1].note, "asked for");
  EXPECT_EQ(*parsed->entries[0].inputs[0].shape[0].evaluate({5}), 5);
  Manifest none = fullManifest();
  none.preprocess.reset();
  none.states.clear();
  EXPECT_FALSE(parseManifest(printManifest(none))->preprocess.has_value());
}

TEST(Manifest, VersionsAreToldApart) {
  EXPECT_EQ(afterChange("/version/major", "2"), "bundle has version 2.0, this build reads version 1: use a newer vitrify");
  EXPECT_EQ(afterChange("/version/major", "0"), "bundle has version 0.0, this build reads version 1: compile the model again");
  EXPECT_EQ(afterChange("/version/minor", "7"), "(accepted)");
  // A newer minor version may have more keys; this one may not.
  EXPECT_EQ(afterChange("/hint", "1"), "unknown key 'hint'");
  EXPECT_EQ(afterChange("/targets/0/hint", "1"), "targets[0]: unknown key 'hint'");
  json newer = json::parse(printManifest(fullManifest()));
  newer["version"]["minor"] = 7;
  newer["hint"] = 1;
  newer["targets"][0]["hint"] = 1;
  newer["entries"][0]["symbols"][0]["hint"] = 1;
  newer["weights"]["digests"]["hint"] = 1;
  auto parsed = parseManifest(sealed(newer));
  EXPECT_TRUE(parsed.ok()) << parsed.status().message();
}

TEST(Manifest, AChangedByteIsFound) {
  std::string text = printManifest(fullManifest());
  for (size_t at = 0; at < text.size(); ++at)
    for (char flip : {1, 0x20}) {
      std::string changed = text;
      changed[at] = static_cast<char>(changed[at] ^ flip);
      EXPECT_FALSE(parseManifest(changed).ok()) << at << ": " << changed.substr(at, 40);
    }
  for (size_t size = 0; size < text.size(); ++size)
    EXPECT_FALSE(parseManifest(text.substr(0, size)).ok()) << size;
  EXPECT_FALSE(parseManifest(text + " ").ok());
  std::string other = text;
  other.replace(other.find("vitrify test"), 12, "vitrify best");
  EXPECT_NE(parseManifest(other).status().message().find("the manifest was changed: its SHA-256 is"), std::string::npos);
}

TEST(Manifest, EveryWrongFieldIsRefused) {
  struct Change {
    const char *pointer, *value, *message;
  };
  const Change changes[] = {
      {"/format", "\"zip\"", "not a vitrify bundle"},
      {"/targets/0/plan/path", "\"../plan.json\"", "targets[0].plan: path '../plan.json' is not a file below"},
      {"/targets/0/plan/path", "\"/etc/passwd\"", "is not a file below"},
      {"/targets/0/plan/path", "\"targets/other/plan.json\"", "is not in 'targets/x86-64-v3/'"},
      {"/targets/0/code/path", "\"targets/x86-64-v3/plan.json\"", "occurs twice"},
      {"/targets/0/code/bytes", "-1", "targets[0].code.bytes"},
      {"/targets/0/code/sha256", "\"00\"", "targets[0].code: sha256: expected 64"},
      {"/targets/0/device", "\"tpu\"", "device: expected 'cpu' or 'cuda', found 'tpu'"},
      {"/targets/0/needs", "\"avx2\"", "targets[0].needs: expected an array"},
      {"/targets/0/layers/1/name", "\"b0\"", "layers of target 'x86-64-v3': name 'b0'"},
      {"/weights/path", "\"a/../b\"", "weights: path"},
      {"/weights/bytes", "100", "weights.tensor_bytes: expected an integer from 0 to 100"},
      {"/weights/chunk_bytes", "0", "weights.chunk_bytes: expected an integer from 4096"},
      {"/weights/digests/path", "\"weights.safetensors\"", "occurs twice"},
      {"/weights/aliases/0/name", "\"\"", "weights.aliases: name '' is empty"},
      {"/preprocess/path", "\"manifest.json\"", "occurs twice"},
      {"/entries/0/symbols/0/min", "9", "0 <= min <= tuned <= max"},
      {"/entries/0/inputs/0/shape/0", "\"rows\"", "entries[0].inputs[0].shape[0]: unknown symbol 'rows'"},
      {"/entries/0/inputs/0/dtype", "\"C64\"", "unknown element type 'C64'"},
      {"/states/0/entry", "\"decode\"", "states: 'loop' ties no input and output"},
      {"/states/0/output", "\"pixels\"", "states: 'loop' ties no input and output"},
  };
  for (const Change &change : changes) {
    std::string message = afterChange(change.pointer, change.value);
    EXPECT_NE(message.find(change.message), std::string::npos) << change.pointer << " = " << change.value << ": " << message;
  }
}

TEST(Manifest, EveryKeyIsNeededAndOfItsKind) {
  json flat = json::parse(printManifest(fullManifest())).flatten();
  flat.erase("/sha256");
  size_t tried = 0;
  for (const auto &[pointer, value] : flat.items()) {
    if (!std::isdigit(pointer.back()) || pointer.ends_with("sha256")) {
      EXPECT_NE(afterChange(pointer, ""), "(accepted)") << pointer;
      ++tried;
    }
    for (const char *odd : {"{\"odd\": [1]}", "null", "0.5", "true"})
      EXPECT_NE(afterChange(pointer, odd), "(accepted)") << pointer << " = " << odd;
  }
  EXPECT_GT(tried, 40u);
  for (const char *part : {"/model", "/version", "/entries", "/targets", "/weights", "/states", "/targets/0/plan"})
    EXPECT_NE(afterChange(part, "").find("is missing"), std::string::npos) << part;
}

TEST(Preprocess, PrintsWhatItParses) {
  Preprocess shortest = samplePreprocess();
  shortest.resize = Preprocess::Resize::ShortestEdge;
  shortest.edge = 256;
  shortest.centerCrop = true;
  shortest.interpolation = Preprocess::Interpolation::Bicubic;
  Preprocess exact = samplePreprocess();
  exact.resize = Preprocess::Resize::Exact;
  exact.resizeHeight = exact.resizeWidth = 4;
  exact.rescale = 0.00392156862745098;
  Preprocess colour = samplePreprocess();
  colour.channels = 3;
  colour.mean = {0.485, 0.456, 0.406};
  colour.std = {0.229, 0.224, 0.225};
  for (const Preprocess &p : {samplePreprocess(), shortest, exact, colour}) {
    auto parsed = parsePreprocess(printPreprocess(p));
    ASSERT_TRUE(parsed.ok()) << parsed.status().message();
    EXPECT_TRUE(*parsed == p) << printPreprocess(*parsed);
  }
}

TEST(Preprocess, EveryWrongFieldIsRefused) {
  auto with = [](const std::string &pointer, const std::string &value) {
    json document = json::parse(printPreprocess(samplePreprocess()));
    document[json::json_pointer(pointer)] = json::parse(value);
    auto parsed = parsePreprocess(document.dump());
    return parsed.ok() ? "(accepted)" : parsed.status().message();
  };
  auto refused = [&](const std::string &pointer, const std::string &value, const std::string &part) {
    EXPECT_NE(with(pointer, value).find(part), std::string::npos) << pointer << " = " << value << ": " << with(pointer, value);
  };
  refused("/version", "2", "version 2");
  refused("/channels", "2", "channels: expected 1 or 3");
  refused("/channels", "4", "channels: expected an integer from 1 to 3");
  refused("/channels", "3", "expected mean and std to be empty or to have 3 numbers");
  refused("/height", "0", "height");
  refused("/width", "1000000", "width");
  refused("/resize/mode", "\"stretch\"", "expected one of none exact shortest_edge");
  refused("/resize/mode", "\"exact\"", "'height' is missing");
  refused("/resize/mode", "\"shortest_edge\"", "'edge' is missing");
  refused("/resize/interpolation", "\"cubic\"", "expected one of nearest box bilinear hamming bicubic lanczos");
  refused("/resize", "{\"mode\": \"exact\", \"height\": 5, \"width\": 5, \"interpolation\": \"box\"}", "resize gives 5 x 5");
  refused("/center_crop", "1", "expected true or false");
  refused("/rescale", "0", "rescale: expected a positive number");
  refused("/rescale", "-1", "rescale: expected a positive number");
  refused("/mean", "[0.1, 0.2]", "found 2 and 1");
  refused("/std", "[0]", "std: expected positive numbers");
  refused("/labels", "[1]", "labels[0]: expected a string");
  refused("/extra", "1", "unknown key 'extra'");
}
