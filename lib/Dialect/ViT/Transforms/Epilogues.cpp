//===- Epilogues.cpp - linears with one more step at the start of their epilogue -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "Epilogues.h"

#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/IRMapping.h"

using namespace mlir;
using namespace vitrify::vit;

LinearOp vitrify::vit::prependToEpilogue(LinearOp op, Value input, Value weight, Value operand, AffineMap map,
                                         llvm::function_ref<Value(OpBuilder &, Value, Value)> step) {
  Location loc = op.getLoc();
  OpBuilder builder(op);
  SmallVector<Value> ins = {operand};
  ins.append(op.getEpilogueIns().begin(), op.getEpilogueIns().end());
  SmallVector<AffineMap> maps = {map};
  llvm::append_range(maps, op.getMaps().getAsValueRange<AffineMapAttr>());
  auto made = LinearOp::create(builder, loc, op.getResultTypes(), input, weight, op.getXScales(), op.getWScales(),
                               op.getActive(), op.getLayers(), ins, builder.getAffineMapArrayAttr(maps),
                               op.getGroupAttr());
  for (NamedAttribute attribute : op->getDiscardableAttrs())
    made->setAttr(attribute.getName(), attribute.getValue());
  Block &block = made.getEpilogue().emplaceBlock();
  int64_t group = op.getGroup();
  auto typeOf = [&](Type element, bool vector) { return vector ? Type(VectorType::get({group}, element)) : element; };
  bool byColumn = map.isFunctionOfDim(1);
  Type elementType = getElementTypeOrSelf(operand.getType());
  Value acc = block.addArgument(typeOf(builder.getF32Type(), group > 1), loc);
  Value element = block.addArgument(typeOf(elementType, group > 1 && byColumn), loc);
  builder.setInsertionPointToStart(&block);
  if (group > 1 && !byColumn)
    element = vector::BroadcastOp::create(builder, loc, typeOf(elementType, true), element);
  Value first = step(builder, acc, element);
  if (op.getEpilogue().empty()) {
    YieldOp::create(builder, loc, first);
  } else {
    Block &old = op.getEpilogue().front();
    IRMapping mapping;
    mapping.map(old.getArgument(0), first);
    for (BlockArgument argument : old.getArguments().drop_front())
      mapping.map(argument, block.addArgument(argument.getType(), loc));
    for (Operation &inner : old)
      builder.clone(inner, mapping);
  }
  op.replaceAllUsesWith(made.getResults());
  op.erase();
  return made;
}
