//===- NpyFuzz.cpp - npy files from outside ------------------------------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "Fuzz.h"

#include "vitrify/Support/Npy.h"

using namespace vitrify;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  auto array = parseNpy(std::as_bytes(std::span(data, size)));
  if (!array.ok()) {
    FUZZ_CHECK(!array.status().message().empty());
    return 0;
  }
  auto bytes = tensorBytes(array->dtype, array->shape);
  FUZZ_CHECK(bytes.ok() && static_cast<size_t>(*bytes) == array->data.size() && array->data.size() < size);
  if (auto floats = array->toFloats(); floats.ok())
    FUZZ_CHECK(floats->size() == array->data.size() * 8 / dtypeBits(array->dtype));
  return 0;
}
