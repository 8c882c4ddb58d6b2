//===- SafeTensorsFuzz.cpp - safetensors files from outside --------------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "Fuzz.h"

#include "vitrify/Weights/SafeTensors.h"

using namespace vitrify;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  auto header = parseSafeTensorsHeader(std::as_bytes(std::span(data, size)), size);
  if (!header.ok()) {
    FUZZ_CHECK(!header.status().message().empty());
    return 0;
  }
  uint64_t last = header->dataBegin;
  for (const TensorInfo &tensor : header->tensors) {
    auto bytes = tensorBytes(tensor.dtype, tensor.shape);
    FUZZ_CHECK(bytes.ok() && static_cast<uint64_t>(*bytes) == tensor.bytes());
    FUZZ_CHECK(tensor.begin >= last && tensor.begin <= tensor.end && tensor.end <= size);
    last = tensor.end;
  }
  return 0;
}
