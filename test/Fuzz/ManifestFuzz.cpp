//===- ManifestFuzz.cpp - manifests and preprocessing from outside -------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "Fuzz.h"

#include "vitrify/Bundle/Manifest.h"
#include "vitrify/Bundle/Preprocess.h"
#include "vitrify/Support/ContentHash.h"
#include "vitrify/Support/File.h"

using namespace vitrify;

static void checkManifest(const std::string &text) {
  auto manifest = parseManifest(text);
  if (!manifest.ok()) {
    FUZZ_CHECK(!manifest.status().message().empty());
    return;
  }
  auto again = parseManifest(printManifest(*manifest));
  FUZZ_CHECK(again.ok());
  FUZZ_CHECK(printManifest(*again) == printManifest(*manifest));
  for (const ManifestTarget &target : manifest->targets)
    FUZZ_CHECK(isSafeRelativePath(target.plan.path) && isSafeRelativePath(target.code.path));
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  std::string text(reinterpret_cast<const char *>(data), size);
  checkManifest(text);
  // Nearly no mutation has the right digest at its end: give it one.
  if (size_t end = text.rfind(",\n \"sha256\": \""); end != std::string::npos)
    text.resize(end);
  checkManifest(text + ",\n \"sha256\": \"" + toHex(sha256(text)) + "\"\n}\n");
  if (auto preprocess = parsePreprocess({reinterpret_cast<const char *>(data), size}); preprocess.ok()) {
    auto again = parsePreprocess(printPreprocess(*preprocess));
    FUZZ_CHECK(again.ok() && *again == *preprocess);
  }
  return 0;
}
