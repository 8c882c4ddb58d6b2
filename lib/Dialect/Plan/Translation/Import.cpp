//===- Import.cpp - from the plan of a bundle to the plan dialect -------------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "vitrify/Dialect/Plan/Translation/Translation.h"

#include "Names.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/Verifier.h"

using namespace mlir;
using namespace vitrify;
using namespace vitrify::plan;

namespace {
class Importer {
public:
  explicit Importer(const Plan &plan, MLIRContext &context) : plan(plan), context(context), b(&context) {}

  StatusOr<OwningOpRef<ModuleOp>> run() {
    OwningOpRef<ModuleOp> module = ModuleOp::create(b.getUnknownLoc());
    b.setInsertionPointToEnd(module->getBody());
    auto target = TargetOp::create(b, loc(), plan.target);
    b.setInsertionPointToEnd(&target.getBody().emplaceBlock());
    for (const PlanKernel &kernel : plan.kernels)
      VITRIFY_RETURN_IF_ERROR(addKernel(kernel));
    for (const PlanWeight &weight : plan.weights)
      WeightOp::create(b, loc(), weight.name, weight.tensor, weight.layout,
                       RankedTensorType::get(weight.shape, elementOfDType(context, weight.dtype)));
    for (const PlanProgram &program : plan.programs) {
      OpBuilder::InsertionGuard guard(b);
      VITRIFY_RETURN_IF_ERROR(addProgram(program));
    }
    std::string message;
    ScopedDiagnosticHandler handler(&context, [&](Diagnostic &diagnostic) {
      if (message.empty())
        message = diagnostic.str();
    });
    if (failed(mlir::verify(*module)))
      return invalidArgument("plan for " + plan.target + ": " + message);
    return module;
  }

private:
  Location loc() { return b.getUnknownLoc(); }

  Status addKernel(const PlanKernel &kernel) {
    std::optional<Precision> precision = symbolizePrecision(kernel.precision);
    if (!precision)
      return invalidArgument("kernel " + kernel.name + ": unknown precision '" + kernel.precision + "'");
    SmallVector<NamedAttribute> metrics;
    for (const auto &[name, value] : kernel.metrics)
      metrics.push_back(b.getNamedAttr(name, b.getI64IntegerAttr(value)));
    KernelOp::create(b, loc(), kernel.name, kernel.layer_kind, *precision, kernel.sha256, kernel.num_scalars,
                     kernel.num_buffers, metrics.empty() ? DictionaryAttr() : b.getDictionaryAttr(metrics));
    return {};
  }

  Status addProgram(const PlanProgram &p) {
    program = &p;
    buffers.clear();
    SmallVector<Attribute> symbols;
    for (const PlanSymbol &symbol : p.symbols) {
      auto attr = SymbolAttr::getChecked([&] { return emitError(loc()); }, &context, StringRef(symbol.name), symbol.min, symbol.tuned,
                                         symbol.max);
      if (!attr)
        return invalidArgument("program " + p.name + ": symbol '" + symbol.name + "' is no identifier, or its bounds are wrong");
      symbols.push_back(attr);
    }
    auto op = ProgramOp::create(b, loc(), p.name, b.getArrayAttr(symbols), expr(p.arena_bytes));
    b.setInsertionPointToEnd(&op.getBody().emplaceBlock());
    std::map<unsigned, std::string> arguments;
    for (const PlanArgument &input : p.inputs) {
      if (!arguments.empty() && arguments.rbegin()->first >= input.buffer)
        return invalidArgument("program " + p.name + ": inputs are not in the order of their buffers");
      arguments[input.buffer] = input.name;
    }
    for (const PlanArgument &output : p.outputs)
      arguments[output.buffer] = output.name;
    for (const auto &[i, buffer] : llvm::enumerate(p.buffers)) {
      auto argument = arguments.find(i);
      VITRIFY_RETURN_IF_ERROR(addBuffer(buffer, argument == arguments.end() ? "" : argument->second));
    }
    VITRIFY_RETURN_IF_ERROR(addSteps(p.steps));
    SmallVector<Value> outputs;
    for (const PlanArgument &output : p.outputs)
      outputs.push_back(buffers[output.buffer]);
    ReturnOp::create(b, loc(), outputs);
    return {};
  }

  Status addBuffer(const PlanBuffer &buffer, const std::string &argument) {
    NumericAttr numeric;
    if (!buffer.numeric.empty()) {
      std::optional<Numeric> kind = numericOfName(buffer.numeric);
      if (!kind)
        return invalidArgument("buffer " + buffer.name + ": unknown numeric '" + buffer.numeric + "'");
      numeric = NumericAttr::get(&context, *kind);
    }
    bool arena = buffer.kind == PlanBuffer::Kind::Arena;
    auto op = BufferOp::create(b, loc(), BufferType::get(&context, elementOfDType(context, buffer.dtype)),
                               static_cast<BufferKind>(buffer.kind), b.getStringAttr(buffer.name),
                               argument.empty() ? StringAttr() : b.getStringAttr(argument), exprs(buffer.shape),
                               arena ? expr(buffer.offset) : ExprAttr(), expr(buffer.size), numeric,
                               buffer.scale.empty() ? FlatSymbolRefAttr() : FlatSymbolRefAttr::get(&context, buffer.scale));
    buffers.push_back(op.getResult());
    return {};
  }

  Status addSteps(const std::vector<PlanStep> &steps) {
    for (const PlanStep &step : steps)
      VITRIFY_RETURN_IF_ERROR(addStep(step));
    return {};
  }

  Status addStep(const PlanStep &step) {
    SmallVector<StringRef> names(step.layers.begin(), step.layers.end());
    ArrayAttr layers = b.getStrArrayAttr(names), some = names.empty() ? ArrayAttr() : layers;
    SmallVector<Value> reads = operands(step.reads), writes = operands(step.writes);
    switch (step.kind) {
    case PlanStep::Kind::Launch: {
      SmallVector<Attribute> variants, weights;
      for (size_t i = 0; i < step.kernels.size(); ++i) {
        SmallVector<ExprAttr> grid;
        for (const PlanExpr &size : step.grids[i])
          grid.push_back(expr(size));
        variants.push_back(VariantAttr::get(&context, FlatSymbolRefAttr::get(&context, plan.kernels[step.kernels[i]].name),
                                            step.ranges[i].first, step.ranges[i].second, grid, step.blocks[i],
                                            step.shared_bytes[i]));
      }
      for (unsigned weight : step.weights)
        weights.push_back(FlatSymbolRefAttr::get(&context, plan.weights[weight].name));
      LaunchOp::create(b, loc(), layers, expr(step.dispatch), b.getArrayAttr(variants), exprs(step.args),
                       b.getArrayAttr(weights), reads, writes);
      return {};
    }
    case PlanStep::Kind::Copy:
      CopyOp::create(b, loc(), reads[0], writes[0], expr(step.bytes), layers);
      return {};
    case PlanStep::Kind::If: {
      auto op = IfOp::create(b, loc(), expr(step.condition), some);
      OpBuilder::InsertionGuard guard(b);
      b.setInsertionPointToEnd(&op.getBody().emplaceBlock());
      return addSteps(step.body);
    }
    case PlanStep::Kind::ExitIf:
      ExitIfOp::create(b, loc(), reads[0], b.getF32FloatAttr(step.threshold), some);
      return {};
    case PlanStep::Kind::Call:
      CallOp::create(b, loc(), FlatSymbolRefAttr::get(&context, step.callee), some, reads, writes);
      return {};
    }
    return internalError("unknown kind of step");
  }

  SmallVector<Value> operands(const std::vector<PlanOperand> &list) {
    SmallVector<Value> values;
    for (const PlanOperand &operand : list) {
      ExprAttr offset = expr(operand.offset);
      Value buffer = buffers[operand.buffer];
      values.push_back(offset.constant() == 0 ? buffer : ViewOp::create(b, loc(), buffer.getType(), buffer, offset).getResult());
    }
    return values;
  }

  ExprAttr expr(const PlanExpr &value) {
    SmallVector<ExprAttr> nodes;
    for (const PlanExpr::Node &node : value.nodes) {
      if (node.kind == PlanExpr::Kind::Constant)
        nodes.push_back(ExprAttr::get(&context, node.value));
      else if (node.kind == PlanExpr::Kind::Symbol)
        nodes.push_back(ExprAttr::get(&context, StringRef(program->symbols[node.value].name)));
      else
        nodes.push_back(ExprAttr::get(static_cast<ExprKind>(node.kind), nodes[node.lhs], nodes[node.rhs]));
    }
    return nodes.back();
  }

  ArrayAttr exprs(const std::vector<PlanExpr> &list) {
    SmallVector<Attribute> attrs;
    for (const PlanExpr &value : list)
      attrs.push_back(expr(value));
    return b.getArrayAttr(attrs);
  }

  const Plan &plan;
  MLIRContext &context;
  OpBuilder b;
  const PlanProgram *program = nullptr;
  SmallVector<Value> buffers;
};
} // namespace

StatusOr<OwningOpRef<ModuleOp>> vitrify::plan::importPlan(const Plan &plan, MLIRContext &context) {
  // Indices are trusted below.
  VITRIFY_RETURN_IF_ERROR(verifyPlan(plan));
  context.loadDialect<PlanDialect>();
  return Importer(plan, context).run();
}
