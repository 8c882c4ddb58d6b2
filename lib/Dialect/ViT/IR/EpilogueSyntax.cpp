//===- EpilogueSyntax.cpp - text form of epilogue regions -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "EpilogueSyntax.h"

#include "mlir/IR/AffineMap.h"
#include "mlir/IR/Builders.h"

using namespace mlir;

ParseResult vitrify::vit::parseEpilogue(OpAsmParser &parser, SmallVectorImpl<OpAsmParser::UnresolvedOperand> &ins,
                                        SmallVectorImpl<Type> &types, ArrayAttr &maps, IntegerAttr &group,
                                        Region &region) {
  Builder &builder = parser.getBuilder();
  maps = builder.getArrayAttr({});
  group = builder.getI64IntegerAttr(1);
  if (failed(parser.parseOptionalKeyword("epilogue")))
    return success();
  SmallVector<Attribute> parsedMaps;
  auto parseOne = [&]() -> ParseResult {
    AffineMap map;
    if (parser.parseOperand(ins.emplace_back()) || parser.parseLSquare() || parser.parseAffineMap(map) ||
        parser.parseRSquare() || parser.parseColonType(types.emplace_back()))
      return failure();
    parsedMaps.push_back(AffineMapAttr::get(map));
    return success();
  };
  int64_t columns = 1;
  if (parser.parseCommaSeparatedList(OpAsmParser::Delimiter::Paren, parseOne) || parser.parseKeyword("group") ||
      parser.parseInteger(columns) || parser.parseRegion(region))
    return failure();
  maps = builder.getArrayAttr(parsedMaps);
  group = builder.getI64IntegerAttr(columns);
  return success();
}

void vitrify::vit::printEpilogue(OpAsmPrinter &printer, Operation *, OperandRange ins, TypeRange types, ArrayAttr maps,
                                 IntegerAttr group, Region &region) {
  if (region.empty())
    return;
  printer << "epilogue(";
  llvm::interleaveComma(llvm::zip(ins, types, maps.getAsValueRange<AffineMapAttr>()), printer, [&](auto entry) {
    printer << std::get<0>(entry) << " [" << std::get<2>(entry) << "] : " << std::get<1>(entry);
  });
  printer << ") group " << group.getInt() << ' ';
  printer.printRegion(region);
}
