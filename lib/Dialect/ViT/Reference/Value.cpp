//===- Value.cpp - a tensor of the reference interpreter --------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "vitrify/Dialect/ViT/Reference/Value.h"

#include "vitrify/Support/Float8.h"

#include <algorithm>
#include <cmath>
#include <cstring>

using namespace mlir;
using namespace vitrify;
using namespace vitrify::vit;

RefTensor::RefTensor(DType type, std::vector<int64_t> dims) : dtype(type), shape(std::move(dims)) {
  if (isFloatKind())
    floats.resize(elements());
  else
    ints.resize(elements());
}

int64_t RefTensor::elements() const {
  int64_t count = 1;
  for (int64_t size : shape)
    count *= size;
  return count;
}

float vit::roundTo(DType dtype, float value) {
  switch (dtype) {
  case DType::F16: return decodeF16(encodeF16(value));
  case DType::BF16: return decodeBF16(encodeBF16(value));
  case DType::F8E4M3: return decodeE4M3(encodeE4M3(value));
  case DType::F4E2M1: return decodeE2M1(encodeE2M1(value));
  case DType::I8: return std::isnan(value) ? 0 : std::nearbyint(std::clamp(value, -kI8Max, kI8Max));
  default: return value;
  }
}

RefTensor vit::roundTo(DType dtype, RefTensor tensor) {
  if (!tensor.isFloatKind()) {
    tensor.floats.assign(tensor.ints.begin(), tensor.ints.end());
    tensor.ints.clear();
  }
  if (dtype != DType::F32)
    for (float &value : tensor.floats)
      value = roundTo(dtype, value);
  tensor.dtype = dtype;
  if (!tensor.isFloatKind()) {
    tensor.ints.assign(tensor.floats.begin(), tensor.floats.end());
    tensor.floats.clear();
  }
  return tensor;
}

FailureOr<RefTensor> vit::fromAttribute(ElementsAttr attribute) {
  auto type = attribute.getShapedType();
  std::optional<DType> dtype = dtypeOf(type.getElementType());
  auto dense = dyn_cast<DenseElementsAttr>(attribute);
  if (!dtype || !dense)
    return failure();
  RefTensor result(*dtype, type.getShape().vec());
  if (!result.isFloatKind()) {
    for (auto [to, from] : llvm::zip(result.ints, dense.getValues<APInt>()))
      to = from.getSExtValue();
    return result;
  }
  for (auto [to, from] : llvm::zip(result.floats, dense.getValues<APFloat>())) {
    APFloat value = from;
    bool lossy = false;
    value.convert(APFloat::IEEEsingle(), APFloat::rmNearestTiesToEven, &lossy);
    to = value.convertToFloat();
  }
  return result;
}

StatusOr<RefTensor> vit::fromBytes(DType dtype, std::span<const int64_t> shape, std::span<const std::byte> bytes) {
  VITRIFY_ASSIGN_OR_RETURN(int64_t expected, tensorBytes(dtype, shape));
  if (static_cast<uint64_t>(expected) != bytes.size())
    return invalidArgument("expected " + std::to_string(expected) + " bytes for " + std::string(dtypeName(dtype)) + " " +
                           shapeString(shape) + ", found " + std::to_string(bytes.size()));
  RefTensor result(dtype == DType::F64 ? DType::F32 : dtype, {shape.begin(), shape.end()});
  auto load = [&](auto sample, int64_t i) {
    std::memcpy(&sample, bytes.data() + i * sizeof(sample), sizeof(sample));
    return sample;
  };
  for (int64_t i = 0, n = result.elements(); i < n; ++i) {
    switch (dtype) {
    case DType::F32: result.floats[i] = load(float(), i); break;
    case DType::F64: result.floats[i] = static_cast<float>(load(double(), i)); break;
    case DType::F16: result.floats[i] = decodeF16(load(uint16_t(), i)); break;
    case DType::BF16: result.floats[i] = decodeBF16(load(uint16_t(), i)); break;
    case DType::F8E4M3: result.floats[i] = decodeE4M3(load(uint8_t(), i)); break;
    case DType::F4E2M1: result.floats[i] = decodeE2M1((load(uint8_t(), i / 2) >> (i % 2 * 4)) & 15); break;
    case DType::I8: result.ints[i] = load(int8_t(), i); break;
    case DType::U8: result.ints[i] = load(uint8_t(), i); break;
    case DType::I32: result.ints[i] = load(int32_t(), i); break;
    case DType::I64: result.ints[i] = load(int64_t(), i); break;
    default: return unsupported("no tensor of the vit dialect has the element type " + std::string(dtypeName(dtype)));
    }
  }
  return result;
}

NpyArray vit::toNpy(const RefTensor &tensor) {
  NpyArray array;
  array.shape = tensor.shape;
  auto store = [&](const auto *data, size_t count) {
    array.data.resize(count * sizeof(*data));
    std::memcpy(array.data.data(), data, array.data.size());
  };
  if (tensor.isFloatKind()) {
    array.dtype = DType::F32;
    store(tensor.floats.data(), tensor.floats.size());
    return array;
  }
  array.dtype = tensor.dtype;
  if (tensor.dtype == DType::I8) {
    std::vector<int8_t> narrow(tensor.ints.begin(), tensor.ints.end());
    store(narrow.data(), narrow.size());
  } else if (tensor.dtype == DType::U8) {
    std::vector<uint8_t> narrow(tensor.ints.begin(), tensor.ints.end());
    store(narrow.data(), narrow.size());
  } else if (tensor.dtype == DType::I32) {
    std::vector<int32_t> narrow(tensor.ints.begin(), tensor.ints.end());
    store(narrow.data(), narrow.size());
  } else {
    store(tensor.ints.data(), tensor.ints.size());
  }
  return array;
}
