//===- vitrify-inspect.cpp - shows what a bundle holds -------------------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "vitrify/Bundle/Inspect.h"

#include <cstdio>
#include <string>
#include <string_view>

using namespace vitrify;

static constexpr std::string_view kHelp = R"(usage: vitrify-inspect DIR [--json] [--verify]

Shows what a bundle holds: layers with their real precision, kernels, sizes, memory, weights with sharing, plan steps. All
figures are read from the bundle; its code is never loaded.

  --json     one JSON object instead of tables
  --verify   checks every file, every weight and that there is no other file, before anything is shown
  --help     this text

examples:
  vitrify-inspect model.vitrify
  vitrify-inspect model.vitrify --verify --json > report.json
)";

static Status inspect(const std::string &folder, bool json, bool verify) {
  VITRIFY_ASSIGN_OR_RETURN(Bundle bundle, Bundle::open(folder));
  if (verify)
    VITRIFY_RETURN_IF_ERROR(bundle.verifyAll());
  VITRIFY_ASSIGN_OR_RETURN(Json report, inspectBundle(bundle));
  report["verified"] = verify;
  std::string text = json ? report.dump(1, ' ', false, Json::error_handler_t::replace) + "\n" : printInspection(report);
  if (verify && !json)
    text += "\nVerified: every file has its digest.\n";
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0)
    return resourceExhausted("cannot write to the standard output");
  return {};
}

int main(int argc, char **argv) {
  bool json = false, verify = false;
  std::string folder;
  Status status;
  for (int i = 1; i < argc && status.ok(); ++i) {
    std::string_view argument = argv[i];
    if (argument == "--help" || argument == "-h") {
      std::fwrite(kHelp.data(), 1, kHelp.size(), stdout);
      return 0;
    }
    if (argument == "--json")
      json = true;
    else if (argument == "--verify")
      verify = true;
    else if (argument.starts_with("-"))
      status = invalidArgument("unknown option '" + std::string(argument) + "', expected --json, --verify or --help");
    else if (!folder.empty())
      status = invalidArgument("expected one bundle, found '" + folder + "' and '" + std::string(argument) + "'");
    else
      folder = argument;
  }
  if (status.ok() && folder.empty())
    status = invalidArgument("expected a bundle, as in: vitrify-inspect model.vitrify");
  if (status.ok())
    status = inspect(folder, json, verify);
  if (status.ok())
    return 0;
  std::fprintf(stderr, "error: %s\n", status.message().c_str());
  return 1;
}
