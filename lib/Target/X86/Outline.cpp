//===- Outline.cpp - pieces of kernels as functions of their own -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "KernelFrame.h"

#include "mlir/Dialect/SCF/Utils/Utils.h"
#include "mlir/IR/PatternMatch.h"

using namespace mlir;
using namespace vitrify;

static constexpr llvm::StringLiteral kPiece = "vitrify.piece";

void x86::separately(LaneBuilder &b, StringRef suffix, llvm::function_ref<void()> body) {
  auto piece = scf::ExecuteRegionOp::create(b, TypeRange());
  piece->setAttr(kPiece, b.getStringAttr(suffix));
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToEnd(&piece.getRegion().emplaceBlock());
  body();
  scf::YieldOp::create(b);
}

LogicalResult x86::outlinePieces(func::FuncOp kernel) {
  SmallVector<scf::ExecuteRegionOp> pieces;
  kernel.walk([&](scf::ExecuteRegionOp op) {
    if (op->hasAttr(kPiece))
      pieces.push_back(op);
  });
  IRRewriter rewriter(kernel.getContext());
  llvm::StringMap<unsigned> used;
  Operation *last = kernel;
  for (scf::ExecuteRegionOp piece : pieces) {
    std::string name = (kernel.getName() + "." + piece->getAttrOfType<StringAttr>(kPiece).getValue()).str();
    if (unsigned again = used[name]++)
      name += "." + std::to_string(again);
    func::CallOp call;
    auto function = outlineSingleBlockRegion(rewriter, piece.getLoc(), piece.getRegion(), name, &call);
    if (failed(function))
      return piece.emitError("a piece of a kernel cannot be outlined");
    function->setPrivate();
    (*function)->moveAfter(last);
    last = *function;
    call->moveBefore(piece);
    rewriter.eraseOp(piece);
  }
  return success();
}
