//===- WeightOps.cpp - verifiers of sources, weights and symbol uses -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "vitrify/Dialect/ViT/IR/ViT.h"

#include "llvm/ADT/StringExtras.h"

using namespace mlir;
using namespace vitrify::vit;

LogicalResult SourceOp::verify() {
  // source_c1
  if (getPath().empty())
    return emitOpError("expected a path");
  // source_c2
  if (getSizeAttr().getInt() <= 8)
    return emitOpError() << "expected a size above 8, found " << getSizeAttr().getInt();
  // source_c3
  StringRef digest = getHeaderSha256();
  if (digest.size() != 64 || !llvm::all_of(digest, llvm::isHexDigit))
    return emitOpError() << "expected 64 hexadecimal digits of header_sha256, found '" << digest << "'";
  return success();
}

LogicalResult WeightOp::verify() {
  // weight_c3
  auto type = cast<RankedTensorType>(getType());
  if (!type.hasStaticShape())
    return emitOpError() << "expected a static type, found " << type;
  // weight_c2
  Block &block = getBody().front();
  for (Operation &op : block)
    if (!isa<GetOp, ReadOp, LiteralOp, SliceOp, GatherOp, ConcatOp, TransposeOp, ReshapeOp, CastOp, AmaxOp, SumOp, RecipOp,
             MulOp, AddOp, SubOp, RoundOp, DequantOp, PadOp, BlocksOp, YieldOp>(op))
      return emitOpError("expected recipe ops only").attachNote(op.getLoc()) << "found " << op.getName();
  // weight_c1
  auto yield = block.empty() ? YieldOp() : dyn_cast<YieldOp>(block.back());
  if (!yield || block.getNumArguments())
    return emitOpError("expected a region without arguments that ends with vit.yield");
  if (yield.getNumOperands() != 1 || yield.getOperand(0).getType() != type)
    return emitOpError() << "expected one yielded value of " << type << ", found "
                         << (yield.getNumOperands() == 1 ? "another type" : "another count");
  return success();
}

/// Weights that a weight's region reads.
static void collectReads(WeightOp weight, SmallVectorImpl<FlatSymbolRefAttr> &reads) {
  for (auto get : weight.getBody().getOps<GetOp>())
    reads.push_back(get.getNameAttr());
}

LogicalResult GetOp::verifySymbolUses(SymbolTableCollection &symbols) {
  // get_c1
  auto weight = symbols.lookupNearestSymbolFrom<WeightOp>(*this, getNameAttr());
  if (!weight)
    return emitOpError() << getNameAttr() << " is no weight of this module";
  // get_c2
  if (weight.getType() != getResult().getType()) {
    InFlightDiagnostic error = emitOpError() << "expected the weight's type " << weight.getType() << ", found "
                                             << getResult().getType();
    error.attachNote(weight.getLoc()) << "weight is declared here";
    return error;
  }
  // weight_c4: from what this weight reads, no way leads back to it.
  auto user = (*this)->getParentOfType<WeightOp>();
  if (!user)
    return success();
  SmallVector<FlatSymbolRefAttr> open = {getNameAttr()};
  DenseSet<Attribute> seen;
  while (!open.empty()) {
    FlatSymbolRefAttr name = open.pop_back_val();
    if (!seen.insert(name).second)
      continue;
    auto next = symbols.lookupNearestSymbolFrom<WeightOp>(*this, name);
    if (next == user)
      return emitOpError() << "weight @" << user.getSymName() << " derives from itself";
    if (next)
      collectReads(next, open);
  }
  return success();
}

LogicalResult ReadOp::verify() {
  // read_c2
  if (!getResult().getType().hasStaticShape() || getTensor().empty())
    return emitOpError() << "expected a tensor's name and a static type, found '" << getTensor() << "' and "
                         << getResult().getType();
  return success();
}

LogicalResult ReadOp::verifySymbolUses(SymbolTableCollection &symbols) {
  // read_c1
  if (!symbols.lookupNearestSymbolFrom<SourceOp>(*this, getSourceAttr()))
    return emitOpError() << getSourceAttr() << " is no source of this module";
  return success();
}

LogicalResult LiteralOp::verify() {
  // literal_c1
  constexpr int64_t kMost = 65536;
  if (!getValue().isSplat() && getValue().getNumElements() > kMost)
    return emitOpError() << "expected at most " << kMost << " elements, found " << getValue().getNumElements();
  // literal_c2
  return isa<DenseElementsAttr>(getValue()) ? success() : emitOpError("expected dense elements");
}
