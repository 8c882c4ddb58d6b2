//===- vitrify-translate.cpp - plan.json to the plan dialect and back ------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "vitrify/Dialect/Plan/Translation/Translation.h"

#include "mlir/IR/BuiltinOps.h"
#include "mlir/Tools/mlir-translate/MlirTranslateMain.h"
#include "mlir/Tools/mlir-translate/Translation.h"
#include "llvm/Support/SourceMgr.h"

using namespace mlir;
using namespace vitrify;

static LogicalResult planToJson(ModuleOp module, llvm::raw_ostream &out) {
  auto targets = llvm::to_vector(module.getOps<plan::TargetOp>());
  if (targets.size() != 1)
    return emitError(module.getLoc()) << "expected one plan.target, found " << targets.size();
  Plan plan = plan::exportPlan(targets[0]);
  if (Status status = verifyPlan(plan); !status.ok())
    return emitError(targets[0].getLoc()) << status.message();
  out << printPlan(plan);
  return success();
}

static OwningOpRef<ModuleOp> jsonToPlan(llvm::SourceMgr &sources, MLIRContext *context) {
  llvm::StringRef text = sources.getMemoryBuffer(sources.getMainFileID())->getBuffer();
  StatusOr<Plan> plan = parsePlan({text.data(), text.size()});
  if (!plan.ok()) {
    emitError(UnknownLoc::get(context)) << plan.status().message();
    return {};
  }
  StatusOr<OwningOpRef<ModuleOp>> module = plan::importPlan(*plan, *context);
  if (!module.ok()) {
    emitError(UnknownLoc::get(context)) << module.status().message();
    return {};
  }
  return std::move(*module);
}

int main(int argc, char **argv) {
  TranslateFromMLIRRegistration toJson("plan-to-json", "a plan.target to plan.json", planToJson,
                                       [](DialectRegistry &registry) { registry.insert<plan::PlanDialect>(); });
  TranslateToMLIRRegistration fromJson("json-to-plan", "plan.json to a plan.target", jsonToPlan,
                                       [](DialectRegistry &registry) { registry.insert<plan::PlanDialect>(); });
  return mlirTranslateMain(argc, argv, "vitrify translation").succeeded() ? 0 : 1;
}
