//===- PlanSyntax.cpp - text form of expressions and variants -------------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "PlanSyntax.h"

using namespace mlir;
using namespace vitrify::plan;

/// Recursion of the parser: brackets nest no deeper than expressions may be.
static constexpr unsigned kMaxNesting = kMaxExprDepth;

namespace {
class ExprParser {
public:
  explicit ExprParser(AsmParser &parser) : parser(parser) {}

  ParseResult parseSum(ExprAttr &result) {
    if (++nesting > kMaxNesting)
      return tooDeep();
    if (parseProduct(result))
      return failure();
    while (true) {
      ExprKind kind = ExprKind::Add;
      if (failed(parser.parseOptionalPlus())) {
        if (failed(parser.parseOptionalMinus()))
          break;
        kind = ExprKind::Sub;
      }
      ExprAttr rhs;
      if (parseProduct(rhs) || join(kind, result, rhs))
        return failure();
    }
    --nesting;
    return success();
  }

private:
  ParseResult parseProduct(ExprAttr &result) {
    if (parseFactor(result))
      return failure();
    while (true) {
      ExprKind kind;
      if (succeeded(parser.parseOptionalStar()))
        kind = ExprKind::Mul;
      else if (succeeded(parser.parseOptionalKeyword("ceildiv")))
        kind = ExprKind::CeilDiv;
      else if (succeeded(parser.parseOptionalKeyword("floordiv")))
        kind = ExprKind::FloorDiv;
      else if (succeeded(parser.parseOptionalKeyword("mod")))
        kind = ExprKind::Mod;
      else
        return success();
      ExprAttr rhs;
      if (parseFactor(rhs) || join(kind, result, rhs))
        return failure();
    }
  }

  ParseResult parseFactor(ExprAttr &result) {
    if (succeeded(parser.parseOptionalLParen()))
      return failure(parseSum(result) || parser.parseRParen());
    int64_t constant;
    if (OptionalParseResult number = parser.parseOptionalInteger(constant); number.has_value()) {
      result = ExprAttr::get(parser.getContext(), constant);
      return *number;
    }
    SMLoc loc = parser.getCurrentLocation();
    StringRef name;
    if (failed(parser.parseOptionalKeyword(&name)))
      return parser.emitError(loc, "expected an integer, a symbol, min, max or '('");
    if (name != "min" && name != "max") {
      result = ExprAttr::get(parser.getContext(), name);
      return success();
    }
    ExprKind kind = name == "min" ? ExprKind::Min : ExprKind::Max;
    ExprAttr rhs;
    return failure(parser.parseLParen() || parseSum(result) || parser.parseComma() || parseSum(rhs) ||
                   parser.parseRParen() || join(kind, result, rhs));
  }

  ParseResult join(ExprKind kind, ExprAttr &lhs, ExprAttr rhs) {
    lhs = ExprAttr::get(kind, lhs, rhs);
    return lhs.depth() > kMaxExprDepth ? tooDeep() : success();
  }

  ParseResult tooDeep() {
    return parser.emitError(parser.getCurrentLocation(), "expression is deeper than ") << kMaxExprDepth;
  }

  AsmParser &parser;
  unsigned nesting = 0;
};

/// How strongly a node binds: sums, products, everything else.
unsigned strength(ExprKind kind) {
  switch (kind) {
  case ExprKind::Add:
  case ExprKind::Sub:
    return 1;
  case ExprKind::Mul:
  case ExprKind::CeilDiv:
  case ExprKind::FloorDiv:
  case ExprKind::Mod:
    return 2;
  default:
    return 3;
  }
}

StringRef spelling(ExprKind kind) {
  switch (kind) {
  case ExprKind::Add:
    return "+";
  case ExprKind::Sub:
    return "-";
  case ExprKind::Mul:
    return "*";
  default:
    return stringifyExprKind(kind);
  }
}

void print(AsmPrinter &printer, ExprAttr expr, unsigned needed) {
  switch (expr.getKind()) {
  case ExprKind::Constant:
    printer << expr.getValue();
    return;
  case ExprKind::Symbol:
    printer << expr.getSymbol().getValue();
    return;
  case ExprKind::Min:
  case ExprKind::Max:
    printer << spelling(expr.getKind()) << '(';
    print(printer, expr.left(), 1);
    printer << ", ";
    print(printer, expr.right(), 1);
    printer << ')';
    return;
  default:
    break;
  }
  unsigned own = strength(expr.getKind());
  if (own < needed)
    printer << '(';
  print(printer, expr.left(), own);
  printer << ' ' << spelling(expr.getKind()) << ' ';
  print(printer, expr.right(), own + 1);
  if (own < needed)
    printer << ')';
}
} // namespace

ParseResult vitrify::plan::parseExpr(AsmParser &parser, ExprAttr &expr) { return ExprParser(parser).parseSum(expr); }
void vitrify::plan::printExpr(AsmPrinter &printer, ExprAttr expr) { print(printer, expr, 1); }

ParseResult vitrify::plan::parseExprs(AsmParser &parser, SmallVectorImpl<ExprAttr> &exprs) {
  return parser.parseCommaSeparatedList(AsmParser::Delimiter::Paren,
                                        [&] { return parseExpr(parser, exprs.emplace_back()); });
}

void vitrify::plan::printExprs(AsmPrinter &printer, ArrayRef<ExprAttr> exprs) {
  printer << '(';
  llvm::interleaveComma(exprs, printer, [&](ExprAttr expr) { printExpr(printer, expr); });
  printer << ')';
}

ParseResult vitrify::plan::parseExpr(OpAsmParser &parser, ExprAttr &expr) {
  return parseExpr(static_cast<AsmParser &>(parser), expr);
}

void vitrify::plan::printExpr(OpAsmPrinter &printer, Operation *, ExprAttr expr) {
  printExpr(static_cast<AsmPrinter &>(printer), expr);
}

ParseResult vitrify::plan::parseExprList(OpAsmParser &parser, ArrayAttr &exprs) {
  SmallVector<ExprAttr> list;
  if (parseExprs(parser, list))
    return failure();
  exprs = parser.getBuilder().getArrayAttr(SmallVector<Attribute>(list.begin(), list.end()));
  return success();
}

void vitrify::plan::printExprList(OpAsmPrinter &printer, Operation *, ArrayAttr exprs) {
  printExprs(printer, llvm::to_vector(exprs.getAsRange<ExprAttr>()));
}

ParseResult vitrify::plan::parseOptionalOffset(OpAsmParser &parser, ExprAttr &offset) {
  if (failed(parser.parseOptionalKeyword("offset")))
    return success();
  return failure(parser.parseLParen() || parseExpr(parser, offset) || parser.parseRParen());
}

void vitrify::plan::printOptionalOffset(OpAsmPrinter &printer, Operation *op, ExprAttr offset) {
  if (!offset)
    return;
  printer << " offset(";
  printExpr(printer, op, offset);
  printer << ')';
}

Attribute ExprAttr::parse(AsmParser &parser, Type) {
  ExprAttr expr;
  if (parser.parseLess() || parseExpr(parser, expr) || parser.parseGreater())
    return {};
  return expr;
}

void ExprAttr::print(AsmPrinter &printer) const {
  printer << '<';
  printExpr(printer, *this);
  printer << '>';
}

Attribute VariantAttr::parse(AsmParser &parser, Type) {
  SMLoc loc = parser.getCurrentLocation();
  StringAttr kernel;
  int64_t min, max, shared;
  SmallVector<ExprAttr> grid;
  SmallVector<int64_t> block;
  auto parseSize = [&] { return parser.parseInteger(block.emplace_back()); };
  if (parser.parseLess() || parser.parseSymbolName(kernel) || parser.parseComma() || parser.parseInteger(min) ||
      parser.parseKeyword("to") || parser.parseInteger(max) || parser.parseComma() || parser.parseKeyword("grid") ||
      parseExprs(parser, grid) || parser.parseComma() || parser.parseKeyword("block") ||
      parser.parseCommaSeparatedList(AsmParser::Delimiter::Paren, parseSize) || parser.parseComma() ||
      parser.parseKeyword("shared") || parser.parseInteger(shared) || parser.parseGreater())
    return {};
  return VariantAttr::getChecked([&] { return parser.emitError(loc); }, parser.getContext(),
                                 FlatSymbolRefAttr::get(kernel), min, max, ArrayRef<ExprAttr>(grid),
                                 ArrayRef<int64_t>(block), shared);
}

void VariantAttr::print(AsmPrinter &printer) const {
  printer << '<' << getKernel() << ", " << getMin() << " to " << getMax() << ", grid";
  printExprs(printer, getGrid());
  printer << ", block(";
  llvm::interleaveComma(getBlock(), printer);
  printer << "), shared " << getShared() << '>';
}
