//===- Arguments.cpp - the caller's buffers and the entry's types ---------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "Arguments.h"

#include "vitrify/Support/Float8.h"

#include <algorithm>
#include <cstring>
#include <span>

using namespace vitrify;

namespace {

/// "images", "images * 197".
std::string exprText(const PlanExpr &expr, const std::vector<PlanSymbol> &symbols, int32_t node) {
  static constexpr const char *names[] = {"", "", "+", "-", "*", "ceildiv", "floordiv", "mod", "min", "max"};
  const PlanExpr::Node &n = expr.nodes[size_t(node)];
  if (n.kind == PlanExpr::Kind::Constant)
    return std::to_string(n.value);
  if (n.kind == PlanExpr::Kind::Symbol)
    return symbols[size_t(n.value)].name;
  return exprText(expr, symbols, n.lhs) + " " + names[int(n.kind)] + " " + exprText(expr, symbols, n.rhs);
}

/// The symbol that a dimension is, or null.
const PlanSymbol *bareSymbol(const PlanExpr &dim, const std::vector<PlanSymbol> &symbols) {
  bool bare = dim.nodes.size() == 1 && dim.nodes[0].kind == PlanExpr::Kind::Symbol;
  return bare ? &symbols[size_t(dim.nodes[0].value)] : nullptr;
}

/// "[images, 3, 224, 224]".
std::string expectedShape(const ManifestEntry &entry, const ManifestArgument &argument, bool frames) {
  std::vector<PlanExpr> dims = argument.shape;
  if (frames && dims.size() == 4 && argument.dtype != DType::U8)
    std::rotate(dims.begin() + 1, dims.begin() + 2, dims.end());
  std::string text;
  for (const PlanExpr &dim : dims)
    text += (text.empty() ? "" : ", ") + exprText(dim, entry.symbols, int32_t(dim.nodes.size()) - 1);
  return "[" + text + "]";
}

std::string foundShape(const vitrify_tensor &tensor) {
  return shapeString(std::span(tensor.shape, size_t(std::clamp<int32_t>(tensor.rank, 0, VITRIFY_MAX_RANK))));
}

bool knownDType(vitrify_dtype dtype) { return int(dtype) >= 0 && dtype <= VITRIFY_I64; }

bool isConvertible(DType type) { return type == DType::F32 || type == DType::F16 || type == DType::BF16; }

/// The tensor's shape in the argument's order of dimensions. An argument of bytes takes frames as they are.
std::vector<int64_t> shapeOf(const ManifestArgument &argument, const vitrify_tensor &tensor) {
  std::vector<int64_t> shape(tensor.shape, tensor.shape + tensor.rank);
  if (tensor.frames && shape.size() == 4 && argument.dtype != DType::U8)
    shape = {shape[0], shape[3], shape[1], shape[2]};
  return shape;
}

void toFloats(DType type, const std::byte *in, float *out, size_t n) {
  switch (type) {
  case DType::F16: decodeF16(reinterpret_cast<const uint16_t *>(in), out, n); break;
  case DType::BF16: decodeBF16(reinterpret_cast<const uint16_t *>(in), out, n); break;
  default: std::memcpy(out, in, n * 4); break;
  }
}

void fromFloats(DType type, const float *in, std::byte *out, size_t n) {
  switch (type) {
  case DType::F16: encodeF16(in, reinterpret_cast<uint16_t *>(out), n); break;
  case DType::BF16: encodeBF16(in, reinterpret_cast<uint16_t *>(out), n); break;
  default: std::memcpy(out, in, n * 4); break;
  }
}

void convert(DType from, const std::byte *in, DType to, std::byte *out, size_t n) {
  constexpr size_t kPart = 1024;
  float buffer[kPart];
  const size_t inBytes = dtypeBits(from) / 8, outBytes = dtypeBits(to) / 8;
  for (size_t i = 0; i < n; i += kPart) {
    size_t part = std::min(kPart, n - i);
    toFloats(from, in + i * inBytes, buffer, part);
    fromFloats(to, buffer, out + i * outBytes, part);
  }
}

/// [B, H, W, C] bytes to [B, C, H, W]: times rescale, minus mean, by deviation, as Hugging Face's image processors do.
void normalise(const ScheduledArgument &scheduled, const uint8_t *in, const Preprocess &preprocess, std::byte *out) {
  const int64_t channels = scheduled.shape[1], pixels = scheduled.shape[2] * scheduled.shape[3];
  const size_t outBytes = dtypeBits(scheduled.dtype) / 8;
  std::vector<float> row(static_cast<size_t>(scheduled.shape[3]));
  std::vector<float> table(256);
  for (int64_t channel = 0; channel < channels; ++channel) {
    const size_t c = size_t(channel);
    for (int value = 0; value < 256; ++value) {
      double x = value * preprocess.rescale;
      if (!preprocess.mean.empty())
        x = (x - preprocess.mean[c]) / preprocess.std[c];
      table[size_t(value)] = float(x);
    }
    for (int64_t image = 0; image < scheduled.shape[0]; ++image) {
      const uint8_t *from = in + image * pixels * channels + channel;
      std::byte *to = out + size_t((image * channels + channel) * pixels) * outBytes;
      for (int64_t y = 0; y < scheduled.shape[2]; ++y) {
        for (float &x : row) {
          x = table[*from];
          from += channels;
        }
        fromFloats(scheduled.dtype, row.data(), to, row.size());
        to += row.size() * outBytes;
      }
    }
  }
}

} // namespace

StatusOr<std::vector<int64_t>> vitrify::bindSymbols(const ManifestEntry &entry, const vitrify_tensor *inputs,
                                                    size_t count) {
  if (count != entry.inputs.size()) {
    std::string names;
    for (const ManifestArgument &argument : entry.inputs)
      names += (names.empty() ? "" : ", ") + argument.name;
    return invalidArgument("entry '" + entry.name + "' takes " + std::to_string(entry.inputs.size()) + " inputs (" +
                           names + "), found " + std::to_string(count));
  }
  std::vector<int64_t> values(entry.symbols.size(), -1);
  auto mismatch = [&](size_t i) {
    return invalidArgument("input '" + entry.inputs[i].name + "': expected " +
                           expectedShape(entry, entry.inputs[i], inputs[i].frames) + ", found " +
                           foundShape(inputs[i]));
  };
  for (size_t i = 0; i < count; ++i) {
    const ManifestArgument &argument = entry.inputs[i];
    const vitrify_tensor &tensor = inputs[i];
    if (tensor.rank < 0 || tensor.rank > VITRIFY_MAX_RANK || !knownDType(tensor.dtype))
      return invalidArgument("input '" + argument.name + "': rank or dtype is out of range");
    std::vector<int64_t> shape = shapeOf(argument, tensor);
    if (shape.size() != argument.shape.size())
      return mismatch(i);
    for (size_t d = 0; d < shape.size(); ++d) {
      const PlanSymbol *symbol = bareSymbol(argument.shape[d], entry.symbols);
      if (!symbol)
        continue;
      if (shape[d] < symbol->min || shape[d] > symbol->max)
        return invalidArgument("input '" + argument.name + "': " + symbol->name + " is " + std::to_string(shape[d]) +
                               ", expected " + std::to_string(symbol->min) + " to " + std::to_string(symbol->max));
      int64_t &value = values[size_t(symbol - entry.symbols.data())];
      if (value >= 0 && value != shape[d])
        return invalidArgument("input '" + argument.name + "': " + symbol->name + " is " + std::to_string(shape[d]) +
                               ", but " + std::to_string(value) + " in an earlier dimension");
      value = shape[d];
    }
  }
  for (size_t s = 0; s < values.size(); ++s)
    if (values[s] < 0)
      return unsupported("entry '" + entry.name + "': no input's shape says " + entry.symbols[s].name);
  // With all symbols known, what is a number or computed from them must fit too.
  for (size_t i = 0; i < count; ++i) {
    std::vector<int64_t> shape = shapeOf(entry.inputs[i], inputs[i]);
    for (size_t d = 0; d < shape.size(); ++d) {
      VITRIFY_ASSIGN_OR_RETURN(int64_t expected, entry.inputs[i].shape[d].evaluate(values));
      if (expected != shape[d])
        return mismatch(i);
    }
  }
  return values;
}

Status vitrify::checkInput(const ManifestArgument &argument, const ScheduledArgument &scheduled,
                           const vitrify_tensor &tensor, const std::optional<Preprocess> &preprocess,
                           bool &needsCopy) {
  const std::string name = "input '" + argument.name + "'";
  const DType type = DType(tensor.dtype);
  VITRIFY_ASSIGN_OR_RETURN(int64_t bytes, tensorBytes(type, std::span(tensor.shape, size_t(tensor.rank))));
  if (!tensor.data || tensor.bytes < uint64_t(bytes))
    return invalidArgument(name + ": needs " + std::to_string(bytes) + " bytes for " + foundShape(tensor) + " " +
                           std::string(dtypeName(type)) + ", found " +
                           (tensor.data ? std::to_string(tensor.bytes) : std::string("no memory")));
  needsCopy = false;
  if (tensor.frames) {
    if (type != DType::U8 || tensor.rank != 4)
      return invalidArgument(name + ": frames are U8 [images, height, width, channels], found " +
                             std::string(dtypeName(type)) + " " + foundShape(tensor));
    if (scheduled.dtype == DType::U8)
      return {};
    if (tensor.memory == VITRIFY_DEVICE)
      return unsupported(name + ": frames must be in host memory");
    if (!preprocess)
      return invalidArgument(name + ": the bundle has no preprocess.json, so frames cannot be normalised");
    if (!preprocess->mean.empty() && int64_t(preprocess->mean.size()) != scheduled.shape[1])
      return invalidArgument(name + ": preprocess.json has " + std::to_string(preprocess->mean.size()) +
                             " means, the input has " + std::to_string(scheduled.shape[1]) + " channels");
    if (!isConvertible(scheduled.dtype))
      return unsupported(name + ": frames cannot become " + std::string(dtypeName(scheduled.dtype)));
    needsCopy = true;
    return {};
  }
  if (type == scheduled.dtype)
    return {};
  needsCopy = true;
  if (!isConvertible(type) || !isConvertible(scheduled.dtype) || tensor.memory == VITRIFY_DEVICE)
    return invalidArgument(name + ": expected " + std::string(dtypeName(scheduled.dtype)) + ", found " +
                           std::string(dtypeName(type)) + (type == DType::U8 ? " that are not marked as frames" : ""));
  return {};
}

Status vitrify::checkOutput(const ManifestArgument &argument, const ScheduledArgument &scheduled,
                            const vitrify_tensor &tensor, bool &needsCopy) {
  const std::string name = "output '" + argument.name + "'";
  if (!knownDType(tensor.dtype))
    return invalidArgument(name + ": dtype is out of range");
  const DType type = DType(tensor.dtype);
  needsCopy = type != scheduled.dtype;
  if (needsCopy && (!isConvertible(type) || !isConvertible(scheduled.dtype) || tensor.memory == VITRIFY_DEVICE))
    return invalidArgument(name + ": is " + std::string(dtypeName(scheduled.dtype)) + ", found room for " +
                           std::string(dtypeName(type)));
  VITRIFY_ASSIGN_OR_RETURN(int64_t bytes, tensorBytes(type, scheduled.shape));
  if (!tensor.data || tensor.bytes < uint64_t(bytes))
    return invalidArgument(name + ": needs " + std::to_string(bytes) + " bytes for " + shapeString(scheduled.shape) +
                           " " + std::string(dtypeName(type)) + ", found " +
                           (tensor.data ? std::to_string(tensor.bytes) : std::string("no memory")));
  return {};
}

void vitrify::convertInput(const ScheduledArgument &scheduled, const vitrify_tensor &tensor,
                           const std::optional<Preprocess> &preprocess, std::byte *out) {
  if (tensor.frames)
    return normalise(scheduled, static_cast<const uint8_t *>(tensor.data), *preprocess, out);
  size_t elements = size_t(scheduled.bytes) * 8 / dtypeBits(scheduled.dtype);
  convert(DType(tensor.dtype), static_cast<const std::byte *>(tensor.data), scheduled.dtype, out, elements);
}

void vitrify::convertOutput(const ScheduledArgument &scheduled, const std::byte *in, const vitrify_tensor &tensor) {
  size_t elements = size_t(scheduled.bytes) * 8 / dtypeBits(scheduled.dtype);
  convert(scheduled.dtype, in, DType(tensor.dtype), static_cast<std::byte *>(tensor.data), elements);
}
