//===- Family.cpp - how operands become arguments -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "Family.h"

#include "EpilogueGelu.h"

#include "vitrify/Support/ContentHash.h"

#include "llvm/Support/raw_ostream.h"

using namespace mlir;
using namespace vitrify;
using namespace vitrify::nvptx;

FailureOr<Arguments> nvptx::argumentsOf(Operation *op, std::string &reason) {
  Arguments args;
  args.ofOperand.assign(op->getNumOperands(), -1);
  args.rowStride.assign(op->getNumOperands(), 0);
  for (auto role : {KernelOperand::Role::Weight, KernelOperand::Role::Read}) {
    for (auto [i, value] : llvm::enumerate(op->getOperands())) {
      if (isWeight(value) != (role == KernelOperand::Role::Weight))
        continue;
      auto type = cast<RankedTensorType>(value.getType());
      auto dtype = dtypeOf(type.getElementType());
      if (!dtype) {
        llvm::raw_string_ostream(reason) << "operands of " << type.getElementType();
        return failure();
      }
      // Images, caches and rotary positions have no rows: what reads them finds its way by their dimensions.
      if (type.getRank() <= 2 && !(isa<vit::RopeOp>(op) && i == 1)) {
        auto view = rowViewOf(value, reason);
        if (failed(view))
          return failure();
        args.rowStride[i] = view->rowStride;
      }
      args.ofOperand[i] = args.operands.size();
      args.operands.push_back({role, static_cast<unsigned>(i), *dtype, "", "nk"});
    }
  }
  for (auto [i, type] : llvm::enumerate(op->getResultTypes())) {
    auto dtype = dtypeOf(cast<RankedTensorType>(type).getElementType());
    if (!dtype) {
      llvm::raw_string_ostream(reason) << "results of " << type;
      return failure();
    }
    args.ofResult.push_back(args.operands.size());
    args.operands.push_back({KernelOperand::Role::Write, static_cast<unsigned>(i), *dtype, "", "nk"});
  }
  return args;
}

Arguments nvptx::argumentsOf(Operation *op) {
  std::string reason;
  auto args = argumentsOf(op, reason);
  assert(succeeded(args) && "expected an op that a family supports");
  return *args;
}

SmallVector<EpilogueOperand> nvptx::epilogueIns(vit::EpilogueOpInterface op, const Arguments &arguments,
                                                ValueRange pointers) {
  SmallVector<EpilogueOperand> ins;
  OperandRange values = op.getEpilogueIns();
  if (values.empty())
    return ins;
  unsigned first = values.getBeginOperandIndex();
  for (auto [i, map] : llvm::enumerate(op.getMaps().getAsValueRange<AffineMapAttr>())) {
    auto type = cast<RankedTensorType>(values[i].getType());
    EpilogueOperand in{Value(), type.getElementType(), map, arguments.rowStride[first + i]};
    if (!pointers.empty())
      in.pointer = pointers[arguments.ofOperand[first + i]];
    ins.push_back(in);
  }
  return ins;
}

SmallVector<EpilogueOperand> nvptx::epilogueResults(Operation *op, const Arguments &arguments, ValueRange pointers) {
  SmallVector<EpilogueOperand> results;
  for (auto [i, type] : llvm::enumerate(op->getResultTypes())) {
    auto tensor = cast<RankedTensorType>(type);
    EpilogueOperand out{Value(), tensor.getElementType(), AffineMap(), tensor.getDimSize(tensor.getRank() - 1)};
    if (!pointers.empty())
      out.pointer = pointers[arguments.ofResult[i]];
    results.push_back(out);
  }
  return results;
}

bool nvptx::supportsEpilogue(vit::EpilogueOpInterface op, std::string &reason) {
  if (op.getEpilogue().empty())
    return true;
  if (op.getGroup() > 2) {
    reason = "an epilogue over groups of " + std::to_string(op.getGroup()) + " columns";
    return false;
  }
  for (Value in : op.getEpilogueIns())
    if (!getElementTypeOrSelf(in.getType()).isF32() && !getElementTypeOrSelf(in.getType()).isF16() &&
        !getElementTypeOrSelf(in.getType()).isBF16()) {
      llvm::raw_string_ostream(reason) << "epilogue operands of " << getElementTypeOrSelf(in.getType());
      return false;
    }
  for (Operation &inner : op.getEpilogue().front())
    if (!isa<arith::ArithDialect>(inner.getDialect()) && inner.getName().getDialectNamespace() != "math" &&
        inner.getName().getDialectNamespace() != "vector" && !isa<vit::ActOp, vit::ConvertOp, vit::YieldOp>(inner)) {
      reason = "'" + inner.getName().getStringRef().str() + "' in an epilogue";
      return false;
    }
  return true;
}

std::string nvptx::keyOf(Operation *op, const Arguments &arguments) {
  std::string key;
  llvm::raw_string_ostream os(key);
  os << op->getName() << " (";
  for (auto [i, value] : llvm::enumerate(op->getOperands()))
    os << value.getType() << (isWeight(value) ? " w " : " ") << arguments.rowStride[i] << "; ";
  os << ") -> (" << op->getResultTypes() << ") ";
  for (NamedAttribute attribute : op->getAttrDictionary())
    if (attribute.getName() != "layers" && !attribute.getName().getValue().starts_with("vit."))
      os << attribute.getName().getValue() << "=" << attribute.getValue() << ' ';
  // What a kernel makes of the numbers that recipes give.
  if (auto epilogue = dyn_cast<vit::EpilogueOpInterface>(op); epilogue && findScaledGelu(epilogue))
    os << "short gelu ";
  // Values of the region are numbered in order: names and positions in the function do not matter.
  DenseMap<Value, unsigned> number;
  for (Region &region : op->getRegions()) {
    for (Block &block : region) {
      for (BlockArgument argument : block.getArguments()) {
        os << '%' << (number[argument] = number.size()) << ':' << argument.getType() << ' ';
      }
      for (Operation &inner : block) {
        os << "{" << inner.getName();
        for (Value operand : inner.getOperands())
          os << " %" << number.lookup(operand);
        os << ' ' << inner.getAttrDictionary() << ' ' << inner.getResultTypes() << '}';
        for (Value result : inner.getResults())
          number[result] = number.size();
      }
    }
  }
  return key;
}

std::string nvptx::kernelName(const std::string &readable, const std::string &key) {
  return readable + "_" + toHex(sha256(key)).substr(0, 16);
}
