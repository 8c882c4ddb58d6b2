//===- Recipe.cpp - building recipes -------------------------------------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "vitrify/Weights/Recipe.h"

#include "vitrify/Support/Json.h"

#include <algorithm>
#include <cmath>

using namespace vitrify;
using Kind = RecipeNode::Kind;

std::string TensorType::str() const { return std::string(dtypeName(dtype)) + shapeString(shape); }

int64_t TensorType::rowBits() const {
  int64_t bits = dtypeBits(dtype);
  for (size_t i = 1; i < shape.size(); ++i)
    bits *= shape[i];
  return bits;
}

namespace {
constexpr std::string_view kNames[] = {"read", "literal", "get",  "slice", "gather", "concat", "transpose", "reshape", "cast",
                                       "amax", "sum",     "recip", "add",  "sub",    "mul",    "round",     "dequant", "pad",  "blocks"};

std::string_view nameOfKind(Kind kind) { return kNames[static_cast<size_t>(kind)]; }

/// Types that recipes compute with.
bool isReal(DType type) {
  return type == DType::F32 || type == DType::F16 || type == DType::BF16 || type == DType::F64;
}

/// A type that can be stored and cut into rows of whole bytes.
Status checkType(const TensorType &type) {
  for (int64_t dim : type.shape)
    if (dim < 1)
      return invalidArgument("type " + type.str() + " has a dimension below 1");
  VITRIFY_ASSIGN_OR_RETURN(int64_t bytes, tensorBytes(type.dtype, type.shape));
  (void)bytes;
  return type.rowBits() % 8 == 0 ? Status() : invalidArgument("rows of " + type.str() + " do not fill whole bytes");
}

RecipeNode makeNode(Kind kind, TensorType type, std::vector<RecipeValue> operands = {}) {
  RecipeNode node;
  node.kind = kind;
  node.type = std::move(type);
  node.operands = std::move(operands);
  return node;
}

int64_t ceilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

std::string quoted(const std::string &text) { return Json(text).dump(-1, ' ', false, Json::error_handler_t::replace); }
} // namespace

/// One line of a node, its operands numbered by `number`.
static std::string lineOf(const RecipeNode &node, const std::function<std::string(RecipeValue)> &number,
                          const Recipe::Rename &nameOf, const Recipe::Rename &sourceOf) {
  std::string line(nameOfKind(node.kind));
  for (RecipeValue operand : node.operands)
    line += " " + number(operand);
  auto list = [](const std::vector<int64_t> &values) {
    if (values.size() <= 16)
      return shapeString(values);
    return "[" + std::to_string(values.size()) + " indices, sha256 " + toHex(sha256(std::as_bytes(std::span(values)))) +
           "]";
  };
  auto axis = [&] { return " axis " + std::to_string(node.axis); };
  switch (node.kind) {
  case Kind::Read:
    line += " " + quoted(sourceOf ? sourceOf(node.name) : node.name) + " " + quoted(node.tensor);
    break;
  case Kind::Literal: line += " sha256 " + toHex(sha256(*node.literal)); break;
  case Kind::Get: line += " " + quoted(nameOf ? nameOf(node.name) : node.name); break;
  case Kind::Slice: line += axis() + " from " + std::to_string(node.begin) + " to " + std::to_string(node.end); break;
  case Kind::Gather: line += axis() + " " + list(node.indices); break;
  case Kind::Concat: line += axis(); break;
  case Kind::Amax:
    line += node.block.empty() ? (node.axis == 1 ? " rows" : " all") : " block " + shapeString(node.block);
    line += " div " + Json(node.number).dump();
    break;
  case Kind::Add:
  case Kind::Sub:
  case Kind::Mul: line += node.axis == 1 ? " columns" : ""; break;
  case Kind::Round:
  case Kind::Dequant: line += node.block.empty() ? "" : " block " + shapeString(node.block); break;
  case Kind::Pad: line += axis() + " to_multiple " + std::to_string(node.begin); break;
  case Kind::Transpose:
  case Kind::Reshape:
  case Kind::Cast:
  case Kind::Sum:
  case Kind::Recip:
  case Kind::Blocks: break;
  }
  return line + " : " + node.type.str();
}

StatusOr<RecipeValue> Recipe::add(RecipeNode node) {
  if (yielded)
    return internalError("a node was added after the recipe's result was set");
  if (Status type = checkType(node.type); !type.ok())
    return type.prefixed(nameOfKind(node.kind));
  std::string line = lineOf(node, [](RecipeValue v) { return "%" + std::to_string(v); }, {}, {});
  auto [it, isNew] = known.emplace(std::move(line), static_cast<RecipeValue>(nodes.size()));
  if (isNew)
    nodes.push_back(std::move(node));
  return it->second;
}

StatusOr<const TensorType *> Recipe::operand(RecipeValue value, std::string_view op) const {
  if (value >= nodes.size())
    return internalError(std::string(op) + ": operand " + std::to_string(value) + " of " +
                         std::to_string(nodes.size()));
  return &nodes[value].type;
}

static Status wrong(std::string_view op, std::string message) {
  return invalidArgument(std::string(op) + ": " + std::move(message));
}

static Status checkAxis(std::string_view op, const TensorType &type, int64_t axis) {
  if (axis >= 0 && axis < static_cast<int64_t>(type.shape.size()))
    return {};
  return wrong(op, "axis " + std::to_string(axis) + " of " + type.str());
}

StatusOr<RecipeValue> Recipe::read(std::string source, std::string tensor, TensorType type) {
  RecipeNode node = makeNode(Kind::Read, std::move(type));
  node.name = std::move(source);
  node.tensor = std::move(tensor);
  return add(std::move(node));
}

StatusOr<RecipeValue> Recipe::literal(TensorType type, std::vector<std::byte> bytes) {
  VITRIFY_RETURN_IF_ERROR(checkType(type).prefixed("literal"));
  VITRIFY_ASSIGN_OR_RETURN(int64_t expected, tensorBytes(type.dtype, type.shape));
  if (bytes.size() != static_cast<uint64_t>(expected))
    return wrong("literal", "expected " + std::to_string(expected) + " bytes for " + type.str() + ", found " +
                                std::to_string(bytes.size()));
  RecipeNode node = makeNode(Kind::Literal, std::move(type));
  node.literal = std::make_shared<const std::vector<std::byte>>(std::move(bytes));
  return add(std::move(node));
}

StatusOr<RecipeValue> Recipe::get(std::string weight, TensorType type) {
  RecipeNode node = makeNode(Kind::Get, std::move(type));
  node.name = std::move(weight);
  return add(std::move(node));
}

StatusOr<RecipeValue> Recipe::slice(RecipeValue x, int64_t axis, int64_t begin, int64_t end) {
  VITRIFY_ASSIGN_OR_RETURN(const TensorType *type, operand(x, "slice"));
  VITRIFY_RETURN_IF_ERROR(checkAxis("slice", *type, axis));
  if (begin < 0 || begin >= end || end > type->shape[axis])
    return wrong("slice", "range " + std::to_string(begin) + " to " + std::to_string(end) + " of axis " +
                              std::to_string(axis) + " of " + type->str());
  RecipeNode node = makeNode(Kind::Slice, *type, {x});
  node.axis = axis;
  node.begin = begin;
  node.end = end;
  node.type.shape[axis] = end - begin;
  return add(std::move(node));
}

StatusOr<RecipeValue> Recipe::gather(RecipeValue x, int64_t axis, std::vector<int64_t> indices) {
  VITRIFY_ASSIGN_OR_RETURN(const TensorType *type, operand(x, "gather"));
  VITRIFY_RETURN_IF_ERROR(checkAxis("gather", *type, axis));
  for (int64_t index : indices)
    if (index < 0 || index >= type->shape[axis])
      return wrong("gather", "index " + std::to_string(index) + " of axis " + std::to_string(axis) + " of " +
                                 type->str());
  RecipeNode node = makeNode(Kind::Gather, *type, {x});
  node.axis = axis;
  node.type.shape[axis] = static_cast<int64_t>(indices.size());
  node.indices = std::move(indices);
  return add(std::move(node));
}

StatusOr<RecipeValue> Recipe::concat(std::vector<RecipeValue> parts, int64_t axis) {
  if (parts.empty())
    return wrong("concat", "expected at least one operand");
  VITRIFY_ASSIGN_OR_RETURN(const TensorType *first, operand(parts[0], "concat"));
  VITRIFY_RETURN_IF_ERROR(checkAxis("concat", *first, axis));
  TensorType type = *first;
  for (size_t i = 1; i < parts.size(); ++i) {
    VITRIFY_ASSIGN_OR_RETURN(const TensorType *part, operand(parts[i], "concat"));
    TensorType expected = *part;
    if (part->shape.size() == type.shape.size())
      expected.shape[axis] = first->shape[axis];
    if (expected != *first)
      return wrong("concat", "operand " + std::to_string(i) + " is " + part->str() + ", expected " + first->str() +
                                 " but for axis " + std::to_string(axis));
    if (__builtin_add_overflow(type.shape[axis], part->shape[axis], &type.shape[axis]))
      return wrong("concat", "axis " + std::to_string(axis) + " overflows");
  }
  RecipeNode node = makeNode(Kind::Concat, std::move(type), std::move(parts));
  node.axis = axis;
  return add(std::move(node));
}

StatusOr<RecipeValue> Recipe::transpose(RecipeValue x) {
  VITRIFY_ASSIGN_OR_RETURN(const TensorType *type, operand(x, "transpose"));
  if (type->shape.size() != 2 || dtypeBits(type->dtype) % 8 != 0)
    return wrong("transpose", "expected a matrix of whole bytes, found " + type->str());
  RecipeNode node = makeNode(Kind::Transpose, {type->dtype, {type->shape[1], type->shape[0]}}, {x});
  return add(std::move(node));
}

StatusOr<RecipeValue> Recipe::reshape(RecipeValue x, std::vector<int64_t> shape) {
  VITRIFY_ASSIGN_OR_RETURN(const TensorType *type, operand(x, "reshape"));
  TensorType result{type->dtype, std::move(shape)};
  VITRIFY_RETURN_IF_ERROR(checkType(result).prefixed("reshape"));
  VITRIFY_ASSIGN_OR_RETURN(int64_t from, elementCount(type->shape));
  VITRIFY_ASSIGN_OR_RETURN(int64_t to, elementCount(result.shape));
  if (from != to)
    return wrong("reshape", type->str() + " has " + std::to_string(from) + " elements, " + result.str() + " has " +
                                std::to_string(to));
  return add(makeNode(Kind::Reshape, std::move(result), {x}));
}

StatusOr<RecipeValue> Recipe::cast(RecipeValue x, DType to) {
  VITRIFY_ASSIGN_OR_RETURN(const TensorType *type, operand(x, "cast"));
  if (to != DType::F32 && to != DType::F16 && to != DType::BF16)
    return wrong("cast", "expected F32, F16 or BF16, found " + std::string(dtypeName(to)));
  if (!isReal(type->dtype) && type->dtype != DType::F8E4M3 && type->dtype != DType::F8E5M2 &&
      type->dtype != DType::F8E8M0 && type->dtype != DType::F4E2M1)
    return wrong("cast", "expected floating-point elements, found " + type->str());
  return add(makeNode(Kind::Cast, {to, type->shape}, {x}));
}

StatusOr<RecipeValue> Recipe::amax(RecipeValue x, bool perRow, double divisor) {
  VITRIFY_ASSIGN_OR_RETURN(const TensorType *type, operand(x, "amax"));
  if (!isReal(type->dtype) || (perRow && type->shape.size() != 2))
    return wrong("amax", std::string("expected ") + (perRow ? "a matrix of reals" : "reals") + ", found " + type->str());
  if (!(divisor > 0) || !std::isfinite(divisor))
    return wrong("amax", "expected a positive divisor, found " + std::to_string(divisor));
  std::vector<int64_t> shape{perRow ? type->shape[0] : 1};
  RecipeNode node = makeNode(Kind::Amax, {DType::F32, std::move(shape)}, {x});
  node.axis = perRow ? 1 : -1;
  node.number = divisor;
  return add(std::move(node));
}

StatusOr<RecipeValue> Recipe::amaxBlocks(RecipeValue x, std::vector<int64_t> block, double divisor) {
  VITRIFY_ASSIGN_OR_RETURN(const TensorType *type, operand(x, "amax"));
  if (!isReal(type->dtype) || type->shape.size() != 2 || block.size() != 2 || block[0] < 1 || block[1] < 1)
    return wrong("amax", "expected a matrix of reals and a block of two positive sizes, found " + type->str() + " and " + shapeString(block));
  if (!(divisor > 0) || !std::isfinite(divisor))
    return wrong("amax", "expected a positive divisor, found " + std::to_string(divisor));
  RecipeNode node = makeNode(Kind::Amax, {DType::F32, {ceilDiv(type->shape[0], block[0]), ceilDiv(type->shape[1], block[1])}}, {x});
  node.axis = 1;
  node.block = std::move(block);
  node.number = divisor;
  return add(std::move(node));
}

StatusOr<RecipeValue> Recipe::sum(RecipeValue x) {
  VITRIFY_ASSIGN_OR_RETURN(const TensorType *type, operand(x, "sum"));
  if ((!isReal(type->dtype) && type->dtype != DType::F8E4M3) || type->shape.size() != 2)
    return wrong("sum", "expected a matrix of reals, found " + type->str());
  return add(makeNode(Kind::Sum, {DType::F32, {type->shape[0]}}, {x}));
}

StatusOr<RecipeValue> Recipe::recip(RecipeValue x) {
  VITRIFY_ASSIGN_OR_RETURN(const TensorType *type, operand(x, "recip"));
  if (type->dtype != DType::F32)
    return wrong("recip", "expected F32, found " + type->str());
  return add(makeNode(Kind::Recip, *type, {x}));
}

StatusOr<RecipeValue> Recipe::binary(Kind kind, RecipeValue x, RecipeValue y, bool columns) {
  std::string_view op = nameOfKind(kind);
  if (kind != Kind::Add && kind != Kind::Sub && kind != Kind::Mul)
    return internalError("'" + std::string(op) + "' is no binary operation");
  VITRIFY_ASSIGN_OR_RETURN(const TensorType *lhs, operand(x, op));
  VITRIFY_ASSIGN_OR_RETURN(const TensorType *rhs, operand(y, op));
  VITRIFY_ASSIGN_OR_RETURN(int64_t count, elementCount(rhs->shape));
  size_t rank = lhs->shape.size();
  bool one = count == 1 && rhs->shape.size() <= 1;
  bool vector = rhs->shape.size() == 1 && (rank == 1 || rank == 2) &&
                rhs->shape[0] == lhs->shape[columns ? rank - 1 : 0] && (!columns || rank == 2);
  if (!isReal(lhs->dtype) || !isReal(rhs->dtype) || !(one || vector || (!columns && lhs->shape == rhs->shape)))
    return wrong(op, "cannot combine " + lhs->str() + " and " + rhs->str() + (columns ? " by columns" : ""));
  RecipeNode node = makeNode(kind, {DType::F32, lhs->shape}, {x, y});
  node.axis = columns && !one ? 1 : 0;
  return add(std::move(node));
}

StatusOr<RecipeValue> Recipe::scaled(Kind kind, RecipeValue x, RecipeValue scale, std::vector<int64_t> block,
                                     DType to) {
  std::string_view op = nameOfKind(kind);
  VITRIFY_ASSIGN_OR_RETURN(const TensorType *type, operand(x, op));
  VITRIFY_ASSIGN_OR_RETURN(const TensorType *scales, operand(scale, op));
  bool round = kind == Kind::Round;
  auto isCode = [](DType dtype) { return dtype == DType::F8E4M3 || dtype == DType::I8 || dtype == DType::F4E2M1; };
  if (round && !isCode(to))
    return wrong(op, "expected codes of F8_E4M3, F4 or I8, found " + std::string(dtypeName(to)));
  if (round && isCode(type->dtype))
    return wrong(op, type->str() + " holds codes, which are never quantised again");
  if (round ? !isReal(type->dtype) : !isCode(type->dtype))
    return wrong(op, std::string("expected ") + (round ? "reals" : "F8_E4M3, F4 or I8") + ", found " + type->str());
  if (round ? scales->dtype != DType::F32 : !isReal(scales->dtype))
    return wrong(op, std::string("expected a scale of ") + (round ? "F32" : "reals") + ", found " + scales->str());
  const auto &have = scales->shape;
  if (!block.empty()) {
    if (block.size() != 2 || block[0] < 1 || block[1] < 1 || type->shape.size() != 2)
      return wrong(op, "expected a matrix and a block of two positive sizes, found " + type->str() + " and " +
                           shapeString(block));
    if ((round ? to : type->dtype) == DType::F4E2M1 && block[1] % 2 != 0)
      return wrong(op, "expected blocks of whole bytes, found " + std::to_string(block[1]) + " columns of F4");
    std::vector<int64_t> expected{ceilDiv(type->shape[0], block[0]), ceilDiv(type->shape[1], block[1])};
    if (have != expected)
      return wrong(op, "expected a scale " + shapeString(expected) + ", found " + scales->str());
  } else if (!(have.empty() || (have.size() == 1 && (have[0] == 1 || (!type->shape.empty() && have[0] == type->shape[0]))))) {
    return wrong(op, "expected a scale [1] or by row of " + type->str() + ", found " + scales->str());
  }
  RecipeNode node = makeNode(kind, {to, type->shape}, {x, scale});
  node.block = std::move(block);
  return add(std::move(node));
}

StatusOr<RecipeValue> Recipe::round(RecipeValue x, RecipeValue scale, std::vector<int64_t> block, DType to) {
  return scaled(Kind::Round, x, scale, std::move(block), to);
}

StatusOr<RecipeValue> Recipe::dequant(RecipeValue codes, RecipeValue scale, std::vector<int64_t> block) {
  return scaled(Kind::Dequant, codes, scale, std::move(block), DType::F32);
}

StatusOr<RecipeValue> Recipe::blocks(RecipeValue codes, RecipeValue scales) {
  VITRIFY_ASSIGN_OR_RETURN(const TensorType *type, operand(codes, "blocks"));
  VITRIFY_ASSIGN_OR_RETURN(const TensorType *given, operand(scales, "blocks"));
  if (type->dtype != DType::F4E2M1 || type->shape.size() != 2 || type->shape[1] % kNvfp4Block != 0)
    return wrong("blocks", "expected a matrix of F4 of a multiple of 16 columns, found " + type->str());
  TensorType expected{DType::F8E4M3, {type->shape[0], type->shape[1] / kNvfp4Block}};
  if (*given != expected)
    return wrong("blocks", "expected scales " + expected.str() + ", found " + given->str());
  return add(makeNode(Kind::Blocks, {DType::F4E2M1, {type->shape[0], nvfp4Columns(type->shape[1])}}, {codes, scales}));
}

StatusOr<RecipeValue> Recipe::pad(RecipeValue x, int64_t axis, int64_t multiple) {
  VITRIFY_ASSIGN_OR_RETURN(const TensorType *type, operand(x, "pad"));
  VITRIFY_RETURN_IF_ERROR(checkAxis("pad", *type, axis));
  if (multiple < 1 || multiple > INT32_MAX)
    return wrong("pad", "expected a multiple from 1 to 2^31 - 1, found " + std::to_string(multiple));
  RecipeNode node = makeNode(Kind::Pad, *type, {x});
  node.axis = axis;
  node.begin = multiple;
  node.type.shape[axis] = ceilDiv(type->shape[axis], multiple) * multiple;
  return add(std::move(node));
}

Status Recipe::yield(RecipeValue value) {
  VITRIFY_ASSIGN_OR_RETURN(const TensorType *type, operand(value, "yield"));
  (void)type;
  if (yielded)
    return internalError("the recipe's result was set twice");
  root = value;
  yielded = true;
  return {};
}

std::string Recipe::text(const Rename &nameOf, const Rename &sourceOf) const {
  std::string text;
  std::vector<size_t> numbers(nodes.size(), SIZE_MAX);
  size_t next = 0;
  // Depth first, operands in order: independent of the order in which the nodes were made.
  std::vector<std::pair<RecipeValue, size_t>> stack;
  if (root < nodes.size())
    stack.emplace_back(root, 0);
  while (!stack.empty()) {
    auto &[value, visited] = stack.back();
    const RecipeNode &node = nodes[value];
    if (numbers[value] == SIZE_MAX && visited < node.operands.size()) {
      RecipeValue operand = node.operands[visited++];
      if (numbers[operand] == SIZE_MAX)
        stack.emplace_back(operand, 0);
      continue;
    }
    if (numbers[value] == SIZE_MAX) {
      numbers[value] = next++;
      auto number = [&](RecipeValue v) { return "%" + std::to_string(numbers[v]); };
      text += "%" + std::to_string(numbers[value]) + " = " + lineOf(node, number, nameOf, sourceOf) + "\n";
    }
    stack.pop_back();
  }
  return text;
}
