//===- Checkpoint.cpp - the files of a checkpoint folder -----------------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "vitrify/Support/Json.h"
#include "vitrify/Weights/SafeTensors.h"

#include <filesystem>

using namespace vitrify;
namespace fs = std::filesystem;

static StatusOr<CheckpointFiles> openSingle(const std::string &path) {
  CheckpointFiles checkpoint;
  VITRIFY_ASSIGN_OR_RETURN(SafeTensorsFile file, SafeTensorsFile::open(path));
  for (const TensorInfo &tensor : file.tensors())
    checkpoint.fileOfTensor.emplace(tensor.name, 0);
  checkpoint.files.push_back(std::move(file));
  return checkpoint;
}

static StatusOr<CheckpointFiles> openIndex(const std::string &path) {
  VITRIFY_ASSIGN_OR_RETURN(std::string text, readFile(path, uint64_t(256) << 20));
  auto fail = [&](std::string message) { return dataLoss("'" + path + "': " + message); };
  auto document = parseJson(text);
  if (!document.ok())
    return document.status().prefixed("'" + path + "'");
  auto map = JsonCursor(*document).at("weight_map");
  if (!map.ok())
    return map.status().prefixed("'" + path + "'");
  if (auto object = map->expectObject(); !object.ok())
    return object.prefixed("'" + path + "'");

  CheckpointFiles checkpoint;
  std::map<std::string, size_t> opened;
  for (const auto &[tensor, value] : map->json().items()) {
    if (!value.is_string())
      return fail("weight_map." + tensor + ": expected a file name, found " + describeJson(value));
    const auto &name = value.get_ref<const std::string &>();
    if (!isSafeRelativePath(name))
      return fail("weight_map." + tensor + ": '" + name.substr(0, 200) + "' is not a file below the checkpoint's folder");
    auto [it, isNew] = opened.emplace(name, checkpoint.files.size());
    if (isNew) {
      VITRIFY_ASSIGN_OR_RETURN(SafeTensorsFile file,
                               SafeTensorsFile::open((fs::path(path).parent_path() / name).string()));
      checkpoint.files.push_back(std::move(file));
    }
    if (!checkpoint.files[it->second].find(tensor))
      return fail("tensor '" + tensor + "' is not in '" + name + "'");
    checkpoint.fileOfTensor.emplace(tensor, it->second);
  }
  for (size_t i = 0; i < checkpoint.files.size(); ++i)
    for (const TensorInfo &tensor : checkpoint.files[i].tensors()) {
      auto it = checkpoint.fileOfTensor.find(tensor.name);
      if (it == checkpoint.fileOfTensor.end())
        return fail("tensor '" + tensor.name + "' of '" + checkpoint.files[i].path() + "' is not in the index");
      if (it->second != i)
        return fail("tensor '" + tensor.name + "' is in two files, '" + checkpoint.files[it->second].path() +
                    "' and '" + checkpoint.files[i].path() + "'");
    }
  return checkpoint;
}

StatusOr<CheckpointFiles> vitrify::openCheckpoint(const std::string &path) {
  std::error_code code;
  if (!fs::is_directory(path, code))
    return fs::path(path).extension() == ".json" ? openIndex(path) : openSingle(path);
  for (const char *name : {"model.safetensors.index.json", "model.safetensors"}) {
    fs::path file = fs::path(path) / name;
    if (fs::exists(file, code))
      return openCheckpoint(file.string());
  }
  return notFound("'" + path + "' holds neither model.safetensors nor model.safetensors.index.json");
}
