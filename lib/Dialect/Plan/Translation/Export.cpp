//===- Export.cpp - from the plan dialect to the plan of a bundle -------------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "vitrify/Dialect/Plan/Translation/Translation.h"

#include "Names.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace vitrify;
using namespace vitrify::plan;

namespace {
class Exporter {
public:
  Plan run(TargetOp target) {
    plan.target = target.getName().str();
    for (Operation &op : target.getBody().front())
      llvm::TypeSwitch<Operation *>(&op)
          .Case([&](KernelOp kernel) { addKernel(kernel); })
          .Case([&](WeightOp weight) { addWeight(weight); })
          .Case([&](ProgramOp program) { addProgram(program); });
    return std::move(plan);
  }

private:
  void addKernel(KernelOp op) {
    kernels[op.getSymName()] = plan.kernels.size();
    PlanKernel kernel;
    kernel.name = op.getSymName().str();
    kernel.layer_kind = op.getKind().str();
    kernel.precision = stringifyPrecision(op.getPrecision()).str();
    kernel.sha256 = op.getSha256().str();
    kernel.num_scalars = op.getScalars();
    kernel.num_buffers = op.getBuffers();
    if (DictionaryAttr metrics = op.getMetricsAttr())
      for (NamedAttribute metric : metrics)
        kernel.metrics[metric.getName().str()] = cast<IntegerAttr>(metric.getValue()).getInt();
    plan.kernels.push_back(std::move(kernel));
  }

  void addWeight(WeightOp op) {
    weights[op.getSymName()] = plan.weights.size();
    auto type = cast<RankedTensorType>(op.getType());
    plan.weights.push_back({op.getSymName().str(), op.getTensor().str(), dtypeOfElement(type.getElementType()),
                            type.getShape().vec(), op.getLayout().str()});
  }

  void addProgram(ProgramOp op) {
    PlanProgram program;
    program.name = op.getSymName().str();
    symbols.clear();
    buffers.clear();
    for (auto symbol : op.getSymbols().getAsRange<SymbolAttr>()) {
      symbols[symbol.getName()] = program.symbols.size();
      program.symbols.push_back({symbol.getName().str(), symbol.getMin(), symbol.getTuned(), symbol.getMax()});
    }
    for (auto buffer : op.getBody().getOps<BufferOp>()) {
      buffers[buffer] = program.buffers.size();
      if (buffer.getKind() == BufferKind::Input)
        program.inputs.push_back({buffer.getArgument()->str(), buffers[buffer]});
      program.buffers.push_back(exportBuffer(buffer));
    }
    for (BufferOp buffer : op.outputs())
      program.outputs.push_back({buffer.getArgument()->str(), buffers[buffer]});
    program.arena_bytes = expr(op.getArena());
    program.steps = exportSteps(op.getBody().front());
    plan.programs.push_back(std::move(program));
  }

  PlanBuffer exportBuffer(BufferOp op) {
    PlanBuffer buffer;
    buffer.name = op.getName().str();
    buffer.kind = static_cast<PlanBuffer::Kind>(op.getKind());
    buffer.dtype = dtypeOfElement(op.getType().getElement());
    buffer.shape = exprs(op.getShape());
    buffer.offset = op.getOffset() ? expr(*op.getOffset()) : PlanExpr(0);
    buffer.size = expr(op.getSize());
    if (op.getNumeric())
      buffer.numeric = nameOfNumeric(*op.getNumeric()).str();
    if (op.getScale())
      buffer.scale = op.getScale()->str();
    return buffer;
  }

  std::vector<PlanStep> exportSteps(Block &block) {
    std::vector<PlanStep> steps;
    for (Operation &op : block) {
      PlanStep step;
      bool isStep = llvm::TypeSwitch<Operation *, bool>(&op)
                        .Case<LaunchOp, CopyOp, IfOp, ExitIfOp, CallOp>([&](auto typed) {
                          if (ArrayAttr layers = typed.getLayersAttr())
                            for (auto layer : layers.template getAsRange<StringAttr>())
                              step.layers.push_back(layer.str());
                          fill(step, typed);
                          return true;
                        })
                        .Default([](Operation *) { return false; });
      if (isStep)
        steps.push_back(std::move(step));
    }
    return steps;
  }

  void fill(PlanStep &step, LaunchOp op) {
    step.kind = PlanStep::Kind::Launch;
    step.dispatch = expr(op.getDispatch());
    for (auto variant : op.getVariants().getAsRange<VariantAttr>()) {
      step.kernels.push_back(kernels.lookup(variant.getKernel().getValue()));
      step.ranges.push_back({variant.getMin(), variant.getMax()});
      step.grids.emplace_back();
      for (ExprAttr size : variant.getGrid())
        step.grids.back().push_back(expr(size));
      step.blocks.push_back(variant.getBlock().vec());
      step.shared_bytes.push_back(variant.getShared());
    }
    step.args = exprs(op.getArgs());
    for (auto weight : op.getWeights().getAsRange<FlatSymbolRefAttr>())
      step.weights.push_back(weights.lookup(weight.getValue()));
    step.reads = operands(op.getReads());
    step.writes = operands(op.getWrites());
  }

  void fill(PlanStep &step, CopyOp op) {
    step.kind = PlanStep::Kind::Copy;
    step.reads = operands(op.getSource());
    step.writes = operands(op.getDestination());
    step.bytes = expr(op.getBytes());
  }

  void fill(PlanStep &step, IfOp op) {
    step.kind = PlanStep::Kind::If;
    step.condition = expr(op.getCondition());
    step.body = exportSteps(op.getBody().front());
  }

  void fill(PlanStep &step, ExitIfOp op) {
    step.kind = PlanStep::Kind::ExitIf;
    step.reads = operands(op.getValue());
    step.threshold = op.getThreshold().convertToFloat();
  }

  void fill(PlanStep &step, CallOp op) {
    step.kind = PlanStep::Kind::Call;
    step.callee = op.getCallee().str();
    step.reads = operands(op.getReads());
    step.writes = operands(op.getWrites());
  }

  std::vector<PlanOperand> operands(ValueRange values) {
    std::vector<PlanOperand> list;
    for (Value value : values) {
      ExprAttr offset;
      for (auto view = value.getDefiningOp<ViewOp>(); view; view = view.getSource().getDefiningOp<ViewOp>())
        offset = offset ? simplified(ExprKind::Add, view.getOffset(), offset) : view.getOffset();
      list.push_back({buffers.lookup(baseBuffer(value)), offset ? expr(offset) : PlanExpr(0)});
    }
    return list;
  }

  PlanExpr expr(ExprAttr attr) {
    PlanExpr result;
    result.nodes.clear();
    append(result, attr);
    return result;
  }

  /// Appends the nodes of an expression as they are written: nothing is folded. Returns the root's index.
  int32_t append(PlanExpr &result, ExprAttr attr) {
    PlanExpr::Node node;
    node.kind = static_cast<PlanExpr::Kind>(attr.getKind());
    if (attr.getKind() == ExprKind::Constant) {
      node.value = attr.getValue();
    } else if (attr.getKind() == ExprKind::Symbol) {
      node.value = symbols.lookup(attr.getSymbol().getValue());
    } else {
      node.lhs = append(result, attr.left());
      node.rhs = append(result, attr.right());
    }
    result.nodes.push_back(node);
    return static_cast<int32_t>(result.nodes.size()) - 1;
  }

  std::vector<PlanExpr> exprs(ArrayAttr list) {
    std::vector<PlanExpr> result;
    for (auto attr : list.getAsRange<ExprAttr>())
      result.push_back(expr(attr));
    return result;
  }

  Plan plan;
  llvm::StringMap<unsigned> kernels, weights, symbols;
  llvm::DenseMap<Operation *, unsigned> buffers;
};
} // namespace

Plan vitrify::plan::exportPlan(TargetOp target) { return Exporter().run(target); }
