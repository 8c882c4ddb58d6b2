//===- Sources.cpp - the bytes behind vit.read, for passes that look at values -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "Sources.h"

#include "llvm/ADT/SmallString.h"
#include "llvm/Support/Path.h"

using namespace mlir;
using namespace vitrify;
using namespace vitrify::vit;

SourceFiles::SourceFiles(ModuleOp module, StringRef folder) {
  SmallString<256> base(folder);
  if (base.empty())
    if (auto where = dyn_cast<FileLineColLoc>(module.getLoc()))
      base = llvm::sys::path::parent_path(where.getFilename().getValue());
  for (auto source : module.getOps<SourceOp>()) {
    SmallString<256> path(source.getPath());
    if (llvm::sys::path::is_relative(path) && !base.empty()) {
      path = base;
      llvm::sys::path::append(path, source.getPath());
    }
    std::string name = source.getSymName().str();
    auto file = SafeTensorsFile::open(path.str().str());
    if (!file)
      reasons[name] = file.status().message();
    else if (file->mapped().size() != uint64_t(source.getSize()) ||
             !source.getHeaderSha256().equals_insensitive(toHex(file->header().digest)))
      reasons[name] = "'" + path.str().str() + "' is not the file that was imported";
    else
      files.emplace(name, std::move(*file));
  }
}

const TensorInfo *SourceFiles::find(ReadOp read) const {
  auto file = files.find(read.getSource().str());
  const TensorInfo *info = file == files.end() ? nullptr : file->second.find(read.getTensor().str());
  auto type = cast<RankedTensorType>(read.getType());
  if (!info || dtypeOf(type.getElementType()) != info->dtype || type.getShape() != ArrayRef<int64_t>(info->shape))
    return nullptr;
  return info;
}

std::span<const std::byte> SourceFiles::bytes(ReadOp read) const {
  const TensorInfo *info = find(read);
  return info ? files.at(read.getSource().str()).data(*info) : std::span<const std::byte>();
}

void SourceFiles::release(ReadOp read) const {
  if (const TensorInfo *info = find(read))
    files.at(read.getSource().str()).mapped().release(info->begin, info->bytes());
}

ReadOp vitrify::vit::readOf(WeightOp weight) {
  ReadOp read;
  for (Operation &op : weight.getBody().front())
    if (auto found = dyn_cast<ReadOp>(op)) {
      if (read)
        return {};
      read = found;
    } else if (!isa<CastOp, ReshapeOp, YieldOp>(op)) {
      return {};
    }
  return read;
}
