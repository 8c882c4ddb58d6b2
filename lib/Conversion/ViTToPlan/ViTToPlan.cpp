//===- ViTToPlan.cpp - a vit module and a target's kernels to a plan -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// One launch for each computing op, in the order of the function. Slices of columns are views of their buffer. Values
// that the function returns are written where the caller wants them; a returned argument or view is copied.
//===----------------------------------------------------------------------===//
#include "vitrify/Conversion/ViTToPlan/ViTToPlan.h"

#include "Shapes.h"
#include "vitrify/Dialect/ViT/IR/ElementTypes.h"
#include "vitrify/Dialect/ViT/IR/ViT.h"
#include "vitrify/Target/KnownTargets.h"
#include "vitrify/Weights/Recipe.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"

using namespace mlir;
using namespace vitrify;
using Kind = PlanExpr::Kind;

namespace {

/// Told to the target while it chooses kernels: row counts that can occur, in order. No part of a kernel's key.
constexpr StringLiteral kRowsAttr = "vit.rows";

class Planner {
public:
  Planner(ModuleOp module, const Target &target, ModuleOp kernels) : module(module), target(target), kernels(kernels) {}

  FailureOr<PlannedModule> run();

private:
  LogicalResult planFunction(func::FuncOp func);
  LogicalResult planOp(Operation *op);
  LogicalResult planLaunch(Operation *op, MutableArrayRef<KernelSpec> specs, std::optional<unsigned> &scratch);
  SmallVector<int64_t> sampleRows(Operation *op);
  unsigned scratchBuffer(Operation *op, DType dtype, const PlanExpr &bytes);
  LogicalResult planReturn(func::ReturnOp op);
  unsigned bufferOf(Value value, DType dtype, StringRef numeric);
  unsigned kernelIndex(const KernelSpec &spec);
  FailureOr<unsigned> weightIndex(Operation *user, const KernelOperand &operand);
  FailureOr<unsigned> weightIndex(Operation *user, StringRef name, RankedTensorType type, StringRef layout);
  std::string nameOf(Value value) const;
  FailureOr<PlanOperand> read(Operation *op, const KernelOperand &operand);

  ModuleOp module;
  const Target &target;
  ModuleOp kernels;
  PlannedModule out;

  // Of the function being planned.
  PlanProgram program;
  ShapeTable shapes;
  DenseMap<Value, unsigned> buffers;
  DenseMap<Value, unsigned> outputs; ///< value -> the result it is, for values returned once
  SmallVector<std::string> outputNames;
};

/// The name of a value: the last layer of the op that makes it, with the result's number when there are several.
std::string Planner::nameOf(Value value) const {
  if (auto result = dyn_cast<OpResult>(value)) {
    // A conversion that stayed apart has no layer of its own.
    std::string name = result.getOwner()->getName().stripDialect().str();
    if (isa<vit::ConvertOp>(result.getOwner())) {
      llvm::raw_string_ostream os(name = nameOf(result.getOwner()->getOperand(0)));
      os << '#' << getElementTypeOrSelf(result.getType());
    }
    if (auto layers = result.getOwner()->getAttrOfType<ArrayAttr>("layers"); layers && !layers.empty())
      name = cast<StringAttr>(layers[layers.size() - 1]).str();
    if (auto names = result.getOwner()->getAttrOfType<ArrayAttr>("vit.value_names"))
      name = cast<StringAttr>(names[result.getResultNumber()]).str();
    else if (result.getOwner()->getNumResults() > 1)
      name += "." + std::to_string(result.getResultNumber());
    return name;
  }
  return program.inputs[cast<BlockArgument>(value).getArgNumber()].name;
}

unsigned Planner::bufferOf(Value value, DType dtype, StringRef numeric) {
  auto found = buffers.find(value);
  if (found != buffers.end())
    return found->second;
  PlanBuffer buffer;
  buffer.name = nameOf(value);
  buffer.dtype = dtype;
  buffer.numeric = numeric.str();
  buffer.shape = shapes.shapeOf(value);
  if (auto result = dyn_cast<OpResult>(value))
    if (auto scales = result.getOwner()->getAttrOfType<ArrayAttr>("vit.scales"))
      if (auto name = dyn_cast<FlatSymbolRefAttr>(scales[result.getResultNumber()]))
        buffer.scale = name.getValue().str();
  PlanExpr elements(1);
  for (const PlanExpr &dim : buffer.shape)
    elements = simplified(Kind::Mul, elements, dim);
  buffer.size = simplified(Kind::Mul, elements, PlanExpr(int64_t(dtypeBits(dtype) / 8)));
  if (outputs.count(value)) {
    buffer.kind = PlanBuffer::Kind::Output;
    buffer.name = outputNames[outputs[value]];
  }
  unsigned index = program.buffers.size();
  buffers[value] = index;
  program.buffers.push_back(std::move(buffer));
  return index;
}

unsigned Planner::kernelIndex(const KernelSpec &spec) {
  for (auto [i, kernel] : llvm::enumerate(out.plan.kernels))
    if (kernel.name == spec.name)
      return i;
  PlanKernel kernel;
  kernel.name = spec.name;
  kernel.layer_kind = spec.layerKind;
  kernel.precision = spec.precision;
  kernel.num_scalars = spec.scalars.size();
  kernel.num_buffers = spec.operands.size();
  out.plan.kernels.push_back(std::move(kernel));
  return out.plan.kernels.size() - 1;
}

FailureOr<unsigned> Planner::weightIndex(Operation *user, const KernelOperand &operand) {
  auto get = user->getOperand(operand.index).getDefiningOp<vit::GetOp>();
  auto scales = operand.scales < 0 ? vit::GetOp() : user->getOperand(operand.scales).getDefiningOp<vit::GetOp>();
  if (!get || (operand.scales >= 0 && !scales))
    return user->emitOpError() << "reads as a weight what is none";
  auto type = cast<RankedTensorType>(get.getType());
  if (!scales)
    return weightIndex(get, get.getName(), type, operand.layout);
  // Codes and scales are read together, so they are stored together: one more weight of the module.
  auto stored = RankedTensorType::get({type.getDimSize(0), nvfp4Columns(type.getDimSize(1))}, type.getElementType());
  std::string name = (get.getName() + ".blocks").str();
  auto known = module.lookupSymbol<vit::WeightOp>(name);
  if (!known) {
    auto codes = module.lookupSymbol<vit::WeightOp>(get.getName());
    OpBuilder b(codes);
    b.setInsertionPointAfter(codes);
    known = vit::WeightOp::create(b, get.getLoc(), name, stored);
    b.setInsertionPointToStart(&known.getBody().emplaceBlock());
    Value c = vit::GetOp::create(b, get.getLoc(), type, get.getName());
    Value s = vit::GetOp::create(b, get.getLoc(), scales.getType(), scales.getName());
    vit::YieldOp::create(b, get.getLoc(), Value(vit::BlocksOp::create(b, get.getLoc(), stored, c, s)));
  }
  if (known.getType() != stored)
    return user->emitOpError() << "needs a weight named '" << name << "', but there is another one of this name";
  return weightIndex(get, name, stored, operand.layout);
}

FailureOr<unsigned> Planner::weightIndex(Operation *user, StringRef name, RankedTensorType type, StringRef layout) {
  bool isKnown = false;
  for (auto [i, weight] : llvm::enumerate(out.plan.weights)) {
    isKnown = isKnown || weight.tensor == name;
    if (weight.tensor == name && weight.layout == layout)
      return i;
  }
  auto dtype = dtypeOf(type.getElementType());
  if (!dtype)
    return user->emitOpError() << "has an element type that no bundle stores: " << type.getElementType();
  // One tensor that kernels read in two layouts, as a table that is looked up and multiplied by, has two names.
  std::string own = isKnown ? (name + "#" + layout).str() : name.str();
  PlanWeight weight{std::move(own), name.str(), *dtype, {type.getShape().begin(), type.getShape().end()}, layout.str()};
  out.plan.weights.push_back(std::move(weight));
  return out.plan.weights.size() - 1;
}

FailureOr<PlanOperand> Planner::read(Operation *op, const KernelOperand &operand) {
  Value value = op->getOperand(operand.index);
  Value base = value;
  int64_t offset = 0;
  if (value.getDefiningOp<tensor::ExtractSliceOp>()) {
    std::string reason;
    auto view = rowViewOf(value, reason);
    if (failed(view))
      return op->emitOpError() << "reads operand " << operand.index << ", but " << reason;
    base = view->base;
    offset = view->columnOffset;
  }
  auto found = buffers.find(base);
  if (found == buffers.end())
    return op->emitOpError() << "reads operand " << operand.index << ", which has no memory";
  const PlanBuffer &buffer = program.buffers[found->second];
  if (buffer.dtype != operand.dtype)
    return op->emitOpError() << "reads operand " << operand.index << " as " << std::string(dtypeName(operand.dtype))
                             << ", but it is stored as " << std::string(dtypeName(buffer.dtype));
  return PlanOperand{found->second, PlanExpr(offset * int64_t(dtypeBits(operand.dtype)) / 8)};
}

LogicalResult Planner::planOp(Operation *op) {
  if (failed(shapes.addResults(op))) {
    // Ops on indices compute sizes, which the table knows already.
    if (llvm::none_of(op->getResultTypes(), llvm::IsaPred<RankedTensorType>))
      return success();
    return op->emitOpError() << "has no rule for the size of its result in a plan";
  }
  if (isa<vit::GetOp, tensor::ExtractSliceOp>(op))
    return success();
  OpBuilder builder(op->getContext());
  op->setAttr(kRowsAttr, builder.getDenseI64ArrayAttr(sampleRows(op)));
  auto specs = target.kernelsFor(op);
  op->removeAttr(kRowsAttr);
  if (failed(specs))
    return failure();
  unsigned launches = 0;
  for (const KernelSpec &spec : *specs)
    launches = std::max(launches, spec.launch + 1);
  std::optional<unsigned> scratch;
  for (unsigned launch = 0; launch < launches; ++launch) {
    std::vector<KernelSpec> together;
    for (const KernelSpec &spec : *specs)
      if (spec.launch == launch)
        together.push_back(spec);
    if (failed(planLaunch(op, together, scratch)))
      return failure();
  }
  return success();
}

/// Values of the op's first dimension that tiles should suit: at sizes of the entry from the least to the largest.
SmallVector<int64_t> Planner::sampleRows(Operation *op) {
  SmallVector<int64_t> rows;
  const PlanExpr &expr = shapes.shapeOf(op->getResult(0)).front();
  auto at = [&](llvm::function_ref<int64_t(const PlanSymbol &)> pick) {
    std::vector<int64_t> values;
    for (const PlanSymbol &symbol : program.symbols)
      values.push_back(pick(symbol));
    if (auto value = expr.evaluate(values))
      rows.push_back(*value);
  };
  at([](const PlanSymbol &s) { return s.tuned; });
  at([](const PlanSymbol &s) { return s.max; });
  for (int64_t v = 1; v <= int64_t(1) << 20; v *= 2)
    at([&](const PlanSymbol &s) { return std::min(std::max(s.min, v), s.max); });
  llvm::sort(rows);
  rows.erase(llvm::unique(rows), rows.end());
  return rows;
}

/// 1 where the dispatch value is in a range of the specs, else 0; null when they serve all values.
static std::optional<PlanExpr> conditionOf(ArrayRef<KernelSpec> specs, const PlanExpr &dispatch) {
  std::optional<PlanExpr> condition;
  for (size_t i = 0; i < specs.size();) {
    int64_t from = specs[i].rangeMin, to = specs[i].rangeMax;
    for (++i; i < specs.size() && specs[i].rangeMin == to + 1; ++i)
      to = specs[i].rangeMax;
    if (from == 0 && to == INT64_MAX)
      return std::nullopt;
    auto clamp01 = [](const PlanExpr &e) {
      return PlanExpr::binary(Kind::Min, PlanExpr::binary(Kind::Max, e, PlanExpr(0)), PlanExpr(1));
    };
    PlanExpr inside = PlanExpr(1);
    if (from > 0)
      inside = clamp01(simplified(Kind::Sub, dispatch, PlanExpr(from - 1)));
    if (to < INT64_MAX)
      inside = simplified(Kind::Mul, clamp01(PlanExpr::binary(Kind::Sub, PlanExpr(to + 1), dispatch)), inside);
    condition = condition ? PlanExpr::binary(Kind::Add, *condition, inside) : inside;
  }
  return condition;
}

LogicalResult Planner::planLaunch(Operation *op, MutableArrayRef<KernelSpec> specs, std::optional<unsigned> &scratch) {
  PlanStep step;
  step.kind = PlanStep::Kind::Launch;
  if (auto layers = op->getAttrOfType<ArrayAttr>("layers"))
    for (auto name : layers.getAsRange<StringAttr>())
      step.layers.push_back(name.str());
  const KernelSpec &first = specs.front();
  std::vector<PlanExpr> scalars;
  for (const KernelScalar &scalar : first.scalars) {
    Value value = scalar.ofResult ? Value(op->getResult(scalar.index)) : op->getOperand(scalar.index);
    if (isWeight(value) || cast<RankedTensorType>(value.getType()).getDimSize(scalar.dim) != ShapedType::kDynamic)
      scalars.push_back(PlanExpr(cast<RankedTensorType>(value.getType()).getDimSize(scalar.dim)));
    else
      scalars.push_back(shapes.shapeOf(value)[scalar.dim]);
  }
  step.args = scalars;
  step.dispatch = substitute(first.dispatch, scalars);
  auto condition = first.launch ? conditionOf(specs, step.dispatch) : std::nullopt;
  if (condition) {
    // A step's ranges have no gaps: values that the condition keeps away go to a neighbour.
    specs.front().rangeMin = 0;
    for (size_t i = 0; i < specs.size(); ++i)
      specs[i].rangeMax = i + 1 < specs.size() ? specs[i + 1].rangeMin - 1 : INT64_MAX;
  }
  for (const KernelSpec &spec : specs) {
    if (spec.scalars != first.scalars || spec.operands.size() != first.operands.size())
      return op->emitOpError() << "has kernels for different sizes that take different arguments";
    if (failed(target.build(op, spec, kernels)))
      return failure();
    step.kernels.push_back(kernelIndex(spec));
    step.ranges.push_back({spec.rangeMin, spec.rangeMax});
    std::vector<PlanExpr> grid;
    for (const PlanExpr &dim : spec.grid)
      grid.push_back(substitute(dim, scalars));
    step.grids.push_back(std::move(grid));
    step.blocks.push_back({spec.block, 1, 1});
    step.shared_bytes.push_back(spec.sharedBytes);
  }
  for (const KernelOperand &operand : first.operands) {
    if (operand.role == KernelOperand::Role::Weight) {
      auto weight = weightIndex(op, operand);
      if (failed(weight))
        return failure();
      step.weights.push_back(*weight);
    } else if (operand.role == KernelOperand::Role::Read) {
      auto memory = read(op, operand);
      if (failed(memory))
        return failure();
      step.reads.push_back(*memory);
    } else if (operand.role == KernelOperand::Role::Scratch) {
      if (!scratch)
        scratch = scratchBuffer(op, operand.dtype, substitute(first.scratchBytes, scalars));
      (first.launch ? step.reads : step.writes).push_back({*scratch, PlanExpr(0)});
    } else {
      unsigned buffer = bufferOf(op->getResult(operand.index), operand.dtype, operand.numeric);
      // The scale of a buffer is stored for whoever looks at it: kernels take its reciprocal or its product.
      if (const std::string &scale = program.buffers[buffer].scale; !scale.empty()) {
        auto weight = SymbolTable::lookupNearestSymbolFrom<vit::WeightOp>(op, StringAttr::get(op->getContext(), scale));
        if (!weight || failed(weightIndex(op, scale, cast<RankedTensorType>(weight.getType()), "nk")))
          return op->emitOpError() << "has a scale '" << scale << "' that is no weight";
      }
      step.writes.push_back({buffer, PlanExpr(0)});
    }
  }
  if (first.launch == 0) {
    std::string scale = step.writes.empty() ? "" : program.buffers[step.writes[0].buffer].scale;
    auto note = op->getAttrOfType<StringAttr>("vit.precision_note");
    // A layer's precision is that of its numbers. Where E4M3 values are held in a wider type, the kernel's own precision
    // says what the instructions take.
    auto reads = [&](DType dtype) {
      return llvm::any_of(step.weights, [&](unsigned weight) { return out.plan.weights[weight].dtype == dtype; });
    };
    std::string precision = reads(DType::F4E2M1) ? "nvfp4" : reads(DType::F8E4M3) ? "f8e4m3" : first.precision;
    for (const std::string &layer : step.layers)
      out.layers.push_back({layer, precision, first.name, scale, note ? note.str() : ""});
  }
  if (condition) {
    PlanStep branch;
    branch.kind = PlanStep::Kind::If;
    branch.layers = step.layers;
    branch.condition = *condition;
    branch.body.push_back(std::move(step));
    step = std::move(branch);
  }
  program.steps.push_back(std::move(step));
  return success();
}

/// Memory that only the launches of one op use.
unsigned Planner::scratchBuffer(Operation *op, DType dtype, const PlanExpr &bytes) {
  PlanBuffer buffer;
  buffer.name = nameOf(op->getResult(0)) + "#parts";
  buffer.dtype = dtype;
  buffer.shape = {simplified(Kind::FloorDiv, bytes, PlanExpr(int64_t(dtypeBits(dtype) / 8)))};
  buffer.size = bytes;
  program.buffers.push_back(std::move(buffer));
  return program.buffers.size() - 1;
}

LogicalResult Planner::planReturn(func::ReturnOp op) {
  for (auto [i, value] : llvm::enumerate(op.getOperands())) {
    auto owned = outputs.find(value);
    if (owned != outputs.end() && owned->second == i && buffers.count(value)) {
      program.outputs.push_back({outputNames[i], buffers[value]});
      continue;
    }
    // An argument, a view or a value returned twice: its rows are copied to the caller's memory.
    auto found = buffers.find(value);
    if (found == buffers.end())
      return op.emitOpError() << "returns value " << i << " that is a view; return what it is a view of";
    PlanBuffer buffer = program.buffers[found->second];
    buffer.kind = PlanBuffer::Kind::Output;
    buffer.name = outputNames[i];
    PlanStep copy;
    copy.kind = PlanStep::Kind::Copy;
    copy.reads.push_back({found->second, PlanExpr(0)});
    copy.writes.push_back({static_cast<unsigned>(program.buffers.size()), PlanExpr(0)});
    copy.bytes = buffer.size;
    program.outputs.push_back({outputNames[i], static_cast<unsigned>(program.buffers.size())});
    program.buffers.push_back(std::move(buffer));
    program.steps.push_back(std::move(copy));
  }
  return success();
}

LogicalResult Planner::planFunction(func::FuncOp func) {
  program = PlanProgram();
  shapes = ShapeTable();
  buffers.clear();
  outputs.clear();
  outputNames.clear();
  program.name = func.getName().str();
  if (!func.getBody().hasOneBlock())
    return func.emitError() << "an entry must have one block";
  if (failed(shapes.addArguments(func)))
    return failure();
  program.symbols = shapes.symbols();
  for (BlockArgument argument : func.getArguments()) {
    auto name = func.getArgAttrOfType<StringAttr>(argument.getArgNumber(), "vit.name");
    auto dtype = dtypeOf(cast<RankedTensorType>(argument.getType()).getElementType());
    if (!dtype)
      return func.emitError() << "argument " << argument.getArgNumber() << " has an element type that no plan holds";
    unsigned index = program.buffers.size();
    program.inputs.push_back({name ? name.str() : "input" + std::to_string(argument.getArgNumber()), index});
    bufferOf(argument, *dtype, "");
    program.buffers[index].kind = PlanBuffer::Kind::Input;
  }
  auto ret = cast<func::ReturnOp>(func.getBody().front().getTerminator());
  for (auto [i, value] : llvm::enumerate(ret.getOperands())) {
    auto name = func.getResultAttrOfType<StringAttr>(i, "vit.name");
    outputNames.push_back(name ? name.str() : "output" + std::to_string(i));
    Operation *def = value.getDefiningOp();
    if (def && !isa<tensor::ExtractSliceOp, vit::GetOp>(def))
      outputs.try_emplace(value, i);
  }
  for (Operation &op : func.getBody().front().without_terminator())
    if (failed(planOp(&op)))
      return failure();
  if (failed(planReturn(ret)))
    return failure();
  if (failed(planMemory(program, [&] { return func.emitError(); })))
    return failure();
  out.plan.programs.push_back(std::move(program));
  return success();
}

FailureOr<PlannedModule> Planner::run() {
  out.plan.target = std::string(target.row().name);
  bool any = false;
  for (auto func : module.getOps<func::FuncOp>()) {
    if (!func.isPublic())
      continue;
    any = true;
    if (failed(planFunction(func)))
      return failure();
  }
  if (!any)
    return module.emitError() << "the module has no public function to compile";
  return std::move(out);
}

} // namespace

FailureOr<PlannedModule> vitrify::convertViTToPlan(ModuleOp module, const Target &target, ModuleOp kernels) {
  return Planner(module, target, kernels).run();
}

void vitrify::describeKernels(PlannedModule &planned, const KernelBinary &binary) {
  for (PlanKernel &kernel : planned.plan.kernels)
    for (const KernelInfo &info : binary.kernels)
      if (info.name == kernel.name) {
        kernel.precision = info.precision;
        kernel.sha256 = info.sha256;
        kernel.metrics = info.metrics;
      }
}
