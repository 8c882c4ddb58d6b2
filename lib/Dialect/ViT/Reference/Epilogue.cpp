//===- Epilogue.cpp - evaluates epilogue regions -----------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// A value of the region stands for all its instances in a piece of the accumulator at
// once: one for each row and group of columns, each a scalar or a vector of lanes.
//===----------------------------------------------------------------------===//
#include "Evaluate.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "llvm/ADT/TypeSwitch.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <mutex>

using namespace mlir;
using namespace vitrify;
using namespace vitrify::vit;
using namespace vitrify::vit::reference;

namespace {
/// All instances of one value: count x lanes, instance by instance. Integers and truth values are held as floats.
struct Instances {
  int64_t lanes = 1;
  std::vector<float> data;
};

int64_t lanesOf(Type type) {
  auto vector = dyn_cast<VectorType>(type);
  return vector ? vector.getNumElements() : 1;
}

/// Evaluates the body for rows [begin, end) of the accumulator.
class Body {
public:
  Body(EpilogueOpInterface owner, const RefTensor &accumulator, const Environment &outer, int64_t begin, int64_t end)
      : op(owner), acc(accumulator), outer(outer), begin(begin), group(owner.getGroup()),
        groups(accumulator.columns() / group), count((end - begin) * groups) {}

  /// The yielded values, or the op that could not be evaluated.
  FailureOr<std::vector<Instances>> run(Operation *&culprit) {
    Block &block = op.getEpilogue().front();
    loadArguments(block);
    for (Operation &step : block) {
      if (auto yield = dyn_cast<YieldOp>(step)) {
        std::vector<Instances> results;
        for (Value value : yield.getOperands())
          results.push_back(values[value]);
        return results;
      }
      culprit = &step;
      std::optional<Instances> result = evaluateStep(step);
      if (!result)
        return failure();
      DType dtype = dtypeOf(getElementTypeOrSelf(step.getResult(0).getType())).value_or(DType::I32);
      if ((isFloat(dtype) && dtype != DType::F32) || dtype == DType::I8)
        for (float &x : result->data)
          x = roundTo(dtype, x);
      values[step.getResult(0)] = std::move(*result);
    }
    return failure();
  }

private:
  void loadArguments(Block &block) {
    Instances first{static_cast<int64_t>(group), {}};
    first.data.assign(acc.floats.begin() + begin * acc.columns(), acc.floats.begin() + begin * acc.columns() + count * group);
    values[block.getArgument(0)] = std::move(first);
    auto ins = op.getEpilogueIns();
    auto maps = op.getMaps().getAsValueRange<AffineMapAttr>();
    for (auto [number, operand, map] : llvm::enumerate(ins, maps)) {
      Value argument = block.getArgument(number + 1);
      const RefTensor &tensor = outer[operand];
      Instances loaded{lanesOf(argument.getType()), std::vector<float>(count * lanesOf(argument.getType()))};
      for (int64_t i = 0; i < count; ++i)
        for (int64_t lane = 0; lane < loaded.lanes; ++lane) {
          int64_t m = begin + i / groups, n = i % groups * static_cast<int64_t>(group) + lane, at = 0;
          for (auto [d, result] : llvm::enumerate(map.getResults()))
            at = at * tensor.shape[d] + valueOf(result, m, n);
          loaded.data[i * loaded.lanes + lane] = tensor.isFloatKind() ? tensor.floats[at] : tensor.ints[at];
        }
      values[argument] = std::move(loaded);
    }
  }

  /// A result of an operand's map at (m, n).
  static int64_t valueOf(AffineExpr expr, int64_t m, int64_t n) {
    if (auto dim = dyn_cast<AffineDimExpr>(expr))
      return dim.getPosition() == 0 ? m : n;
    if (auto constant = dyn_cast<AffineConstantExpr>(expr))
      return constant.getValue();
    auto binary = cast<AffineBinaryOpExpr>(expr); // floordiv: the verifier allows no other
    return valueOf(binary.getLHS(), m, n) / valueOf(binary.getRHS(), m, n);
  }

  template <typename F> Instances map1(Value a, F f) {
    Instances result = values[a];
    for (float &x : result.data)
      x = f(x);
    return result;
  }
  template <typename F> Instances map2(Value a, Value b, F f) {
    Instances result = values[a];
    const Instances &other = values[b];
    for (size_t i = 0; i < result.data.size(); ++i)
      result.data[i] = f(result.data[i], other.data[i]);
    return result;
  }
  template <typename F> Instances map3(Value a, Value b, Value c, F f) {
    Instances result = values[a];
    const Instances &second = values[b], &third = values[c];
    for (size_t i = 0; i < result.data.size(); ++i)
      result.data[i] = f(result.data[i], second.data[i], third.data[i]);
    return result;
  }
  /// One instance's lanes to another number of lanes.
  template <typename F> Instances relane(Value a, int64_t lanes, F f) {
    const Instances &from = values[a];
    Instances result{lanes, std::vector<float>(count * lanes)};
    for (int64_t i = 0; i < count; ++i)
      f(from.data.data() + i * from.lanes, result.data.data() + i * lanes, from.lanes);
    return result;
  }

  Instances constant(arith::ConstantOp op) {
    int64_t lanes = lanesOf(op.getType());
    std::vector<float> one;
    if (auto number = dyn_cast<FloatAttr>(op.getValue()))
      one = {static_cast<float>(number.getValueAsDouble())};
    else if (auto integer = dyn_cast<IntegerAttr>(op.getValue()))
      one = {static_cast<float>(integer.getInt())};
    else if (auto tensor = fromAttribute(cast<ElementsAttr>(op.getValue())); succeeded(tensor))
      one = tensor->isFloatKind() ? tensor->floats : std::vector<float>(tensor->ints.begin(), tensor->ints.end());
    Instances result{lanes, {}};
    for (int64_t i = 0; i < count; ++i)
      result.data.insert(result.data.end(), one.begin(), one.end());
    return result;
  }

  static float reduced(vector::CombiningKind kind, const float *from, int64_t lanes) {
    double sum = 0;
    float best = from[0];
    for (int64_t i = 0; i < lanes; ++i) {
      sum += from[i];
      if (kind == vector::CombiningKind::MAXIMUMF || kind == vector::CombiningKind::MAXNUMF)
        best = std::max(best, from[i]);
      else
        best = std::min(best, from[i]);
    }
    return kind == vector::CombiningKind::ADD ? static_cast<float>(sum) : best;
  }

  static bool compare(arith::CmpFPredicate predicate, float a, float b) {
    switch (predicate) {
    case arith::CmpFPredicate::OEQ: return a == b;
    case arith::CmpFPredicate::OGT: return a > b;
    case arith::CmpFPredicate::OGE: return a >= b;
    case arith::CmpFPredicate::OLT: return a < b;
    case arith::CmpFPredicate::OLE: return a <= b;
    case arith::CmpFPredicate::ONE: return a < b || a > b;
    case arith::CmpFPredicate::UNE: return a != b;
    case arith::CmpFPredicate::UNO: return std::isnan(a) || std::isnan(b);
    default: llvm_unreachable("refused before");
    }
  }
  static bool known(arith::CmpFPredicate p) {
    using P = arith::CmpFPredicate;
    return llvm::is_contained({P::OEQ, P::OGT, P::OGE, P::OLT, P::OLE, P::ONE, P::UNE, P::UNO}, p);
  }

  std::optional<Instances> evaluateStep(Operation &step);

  EpilogueOpInterface op;
  const RefTensor &acc;
  const Environment &outer;
  int64_t begin;
  int64_t group, groups, count;
  llvm::DenseMap<Value, Instances> values;
};

float maximum(float a, float b) { return std::isnan(a) || std::isnan(b) ? NAN : std::max(a, b); }
float minimum(float a, float b) { return std::isnan(a) || std::isnan(b) ? NAN : std::min(a, b); }

std::optional<Instances> Body::evaluateStep(Operation &step) {
  using Result = std::optional<Instances>;
  auto operand = [&](unsigned i) { return step.getOperand(i); };
  return llvm::TypeSwitch<Operation *, Result>(&step)
      .Case([&](arith::ConstantOp op) { return constant(op); })
      .Case([&](arith::AddFOp) { return map2(operand(0), operand(1), [](float a, float b) { return a + b; }); })
      .Case([&](arith::SubFOp) { return map2(operand(0), operand(1), [](float a, float b) { return a - b; }); })
      .Case([&](arith::MulFOp) { return map2(operand(0), operand(1), [](float a, float b) { return a * b; }); })
      .Case([&](arith::DivFOp) { return map2(operand(0), operand(1), [](float a, float b) { return a / b; }); })
      .Case([&](arith::MaximumFOp) { return map2(operand(0), operand(1), maximum); })
      .Case([&](arith::MinimumFOp) { return map2(operand(0), operand(1), minimum); })
      .Case([&](arith::MaxNumFOp) { return map2(operand(0), operand(1), [](float a, float b) { return std::fmax(a, b); }); })
      .Case([&](arith::MinNumFOp) { return map2(operand(0), operand(1), [](float a, float b) { return std::fmin(a, b); }); })
      .Case([&](arith::NegFOp) { return map1(operand(0), [](float a) { return -a; }); })
      .Case<arith::TruncFOp, arith::ExtFOp>([&](auto) { return values[operand(0)]; }) // rounded to the type by run()
      .Case([&](arith::CmpFOp op) -> Result {
        if (!known(op.getPredicate()))
          return std::nullopt;
        return map2(operand(0), operand(1), [&](float a, float b) { return compare(op.getPredicate(), a, b) ? 1.0f : 0.0f; });
      })
      .Case([&](arith::SelectOp) {
        return map3(operand(0), operand(1), operand(2), [](float c, float a, float b) { return c != 0 ? a : b; });
      })
      .Case([&](math::FmaOp) {
        return map3(operand(0), operand(1), operand(2), [](float a, float b, float c) { return std::fmaf(a, b, c); });
      })
      .Case([&](math::ExpOp) { return map1(operand(0), [](float a) { return static_cast<float>(std::exp(double(a))); }); })
      .Case([&](math::TanhOp) { return map1(operand(0), [](float a) { return static_cast<float>(std::tanh(double(a))); }); })
      .Case([&](math::ErfOp) { return map1(operand(0), [](float a) { return static_cast<float>(std::erf(double(a))); }); })
      .Case([&](math::SqrtOp) { return map1(operand(0), [](float a) { return std::sqrt(a); }); })
      .Case([&](math::RsqrtOp) { return map1(operand(0), [](float a) { return static_cast<float>(1 / std::sqrt(double(a))); }); })
      .Case([&](math::AbsFOp) { return map1(operand(0), [](float a) { return std::fabs(a); }); })
      .Case([&](ActOp op) {
        return map1(operand(0), [&](float a) { return static_cast<float>(activate(op.getKind(), a)); });
      })
      .Case([&](ConvertOp) { return values[operand(0)]; }) // rounded to the type by run()
      .Case([&](vector::BroadcastOp op) -> Result {
        if (lanesOf(op.getSourceType()) != 1)
          return std::nullopt;
        return relane(operand(0), lanesOf(op.getType()), [&](const float *from, float *to, int64_t) {
          std::fill_n(to, lanesOf(op.getType()), from[0]);
        });
      })
      .Case([&](vector::ReductionOp op) -> Result {
        using K = vector::CombiningKind;
        if (op.getAcc() ||
            !llvm::is_contained({K::ADD, K::MAXIMUMF, K::MAXNUMF, K::MINIMUMF, K::MINNUMF}, op.getKind()))
          return std::nullopt;
        return relane(operand(0), 1, [&](const float *from, float *to, int64_t lanes) { *to = reduced(op.getKind(), from, lanes); });
      })
      .Case([&](vector::ExtractOp op) -> Result {
        if (op.hasDynamicPosition() || op.getStaticPosition().size() != 1)
          return std::nullopt;
        return relane(operand(0), 1, [&](const float *from, float *to, int64_t) { *to = from[op.getStaticPosition()[0]]; });
      })
      .Case([&](vector::ShuffleOp op) {
        const Instances &a = values[operand(0)], &b = values[operand(1)];
        ArrayRef<int64_t> mask = op.getMask();
        Instances result{static_cast<int64_t>(mask.size()), std::vector<float>(count * mask.size())};
        for (int64_t i = 0; i < count; ++i)
          for (auto [lane, from] : llvm::enumerate(mask))
            result.data[i * result.lanes + lane] =
                from < a.lanes ? a.data[i * a.lanes + from] : b.data[i * b.lanes + from - a.lanes];
        return Result(std::move(result));
      })
      .Case([&](vector::FromElementsOp op) {
        Instances result{lanesOf(op.getType()), std::vector<float>(count * lanesOf(op.getType()))};
        for (auto [lane, element] : llvm::enumerate(op.getElements()))
          for (int64_t i = 0; i < count; ++i)
            result.data[i * result.lanes + lane] = values[element].data[i];
        return Result(std::move(result));
      })
      .Default([](Operation *) { return std::nullopt; });
}
} // namespace

FailureOr<Results> reference::applyEpilogue(EpilogueOpInterface op, RefTensor accumulator, const Environment &outer) {
  Results results;
  if (op.getEpilogue().empty()) {
    results.push_back(roundToType(std::move(accumulator), op->getResult(0).getType()));
    return results;
  }
  constexpr int64_t kRows = 32; // rows a piece
  int64_t rows = accumulator.rows(), groups = accumulator.columns() / static_cast<int64_t>(op.getGroup());
  Block &block = op.getEpilogue().front();
  for (auto [result, yielded] : llvm::zip(op->getResults(), block.getTerminator()->getOperands()))
    results.emplace_back(*dtypeOf(getElementTypeOrSelf(result.getType())),
                         std::vector<int64_t>{rows, groups * lanesOf(yielded.getType())});
  std::mutex mutex;
  Operation *failedAt = nullptr;
  parallel(op, (rows + kRows - 1) / kRows, [&](int64_t piece) {
    int64_t begin = piece * kRows, end = std::min(rows, begin + kRows);
    Operation *culprit = nullptr;
    FailureOr<std::vector<Instances>> yielded = Body(op, accumulator, outer, begin, end).run(culprit);
    if (failed(yielded)) {
      std::lock_guard lock(mutex);
      failedAt = culprit;
      return;
    }
    for (auto [result, instances] : llvm::zip(results, *yielded)) {
      if (result.isFloatKind())
        std::copy(instances.data.begin(), instances.data.end(), result.floats.begin() + begin * result.columns());
      else
        std::copy(instances.data.begin(), instances.data.end(), result.ints.begin() + begin * result.columns());
    }
  });
  if (failedAt)
    return failedAt->emitOpError("is not evaluated by the reference interpreter in an epilogue");
  return results;
}
