//===- PlanTest.cpp - plans: text, expressions, every field refused ------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "SamplePlan.h"
#include "vitrify/Support/Json.h"

#include <random>

using namespace vitrify;
using namespace vitrify::test;
using Kind = PlanExpr::Kind;

TEST(Plan, PrintsWhatItParses) {
  Plan plan = samplePlan();
  ASSERT_TRUE(verifyPlan(plan).ok()) << verifyPlan(plan).message();
  std::string text = printPlan(plan);
  auto parsed = parsePlan(text);
  ASSERT_TRUE(parsed.ok()) << parsed.status().message() << "\n" << text;
  EXPECT_EQ(printPlan(*parsed), text);
  EXPECT_EQ(text.back(), '\n');
  // One line a step, so that two plans compare well.
  EXPECT_NE(text.find("\n    {\"kind\":\"copy\""), std::string::npos) << text;
  EXPECT_EQ(parsed->programs[0].steps[4].body[0].weights, std::vector<unsigned>{1});
  EXPECT_EQ(parsed->programs[0].steps[5].threshold, 0.9f);
  EXPECT_EQ(parsed->kernels[0].metrics.at("registers"), 24);
}

TEST(Plan, ExpressionsEvaluate) {
  auto at = [](Kind kind, int64_t a, int64_t b) {
    PlanExpr expr = PlanExpr::binary(kind, PlanExpr::symbol(0), PlanExpr::symbol(1));
    return expr.evaluate({a, b});
  };
  EXPECT_EQ(*at(Kind::Add, 3, 4), 7);
  EXPECT_EQ(*at(Kind::Sub, 3, 4), -1);
  EXPECT_EQ(*at(Kind::Mul, 3, 4), 12);
  EXPECT_EQ(*at(Kind::Min, 3, 4), 3);
  EXPECT_EQ(*at(Kind::Max, 3, 4), 4);
  // Division rounds towards minus or plus infinity, for every sign; the remainder has the divisor's sign.
  for (int64_t a = -9; a <= 9; ++a)
    for (int64_t b = -4; b <= 4; ++b) {
      if (b == 0)
        continue;
      double quotient = static_cast<double>(a) / static_cast<double>(b);
      EXPECT_EQ(*at(Kind::FloorDiv, a, b), static_cast<int64_t>(std::floor(quotient)));
      EXPECT_EQ(*at(Kind::CeilDiv, a, b), static_cast<int64_t>(std::ceil(quotient)));
      EXPECT_EQ(*at(Kind::Mod, a, b), a - b * static_cast<int64_t>(std::floor(quotient)));
    }
  EXPECT_EQ(*at(Kind::Mod, INT64_MIN, INT64_MAX), INT64_MAX - 1);
  EXPECT_EQ(at(Kind::Add, INT64_MAX, 1).status().message(), "overflow in 9223372036854775807 + 1");
  EXPECT_FALSE(at(Kind::Sub, INT64_MIN, 1).ok());
  EXPECT_FALSE(at(Kind::Mul, INT64_MAX, 2).ok());
  EXPECT_FALSE(at(Kind::FloorDiv, INT64_MIN, -1).ok());
  for (Kind kind : {Kind::FloorDiv, Kind::CeilDiv, Kind::Mod})
    EXPECT_NE(at(kind, 5, 0).status().message().find("division by zero in 5"), std::string::npos);
  EXPECT_FALSE(PlanExpr::symbol(2).evaluate({1, 2}).ok());
  // Constants fold, and neutral elements vanish.
  EXPECT_TRUE(PlanExpr::binary(Kind::Mul, PlanExpr(3), PlanExpr(4)).isConstant());
  EXPECT_EQ(PlanExpr::binary(Kind::Mul, images(), PlanExpr(1)).nodes.size(), 1u);
  EXPECT_EQ(PlanExpr::binary(Kind::Add, PlanExpr(0), images()).nodes.size(), 1u);
  EXPECT_FALSE(PlanExpr::binary(Kind::Mul, PlanExpr(INT64_MAX), PlanExpr(4)).evaluate({}).ok());
}

TEST(Plan, RandomExpressionsSurviveTheText) {
  std::mt19937 random(5);
  for (int i = 0; i < 200; ++i) {
    PlanExpr expr = images();
    for (unsigned step = 0; step < random() % 20; ++step) {
      PlanExpr other = random() % 2 ? images() : PlanExpr(static_cast<int64_t>(random() % 100) + 1);
      Kind kind = static_cast<Kind>(2 + random() % 8);
      expr = random() % 2 ? PlanExpr::binary(kind, expr, other) : PlanExpr::binary(kind, other, expr);
    }
    Plan plan = samplePlan();
    plan.programs[0].steps[4].condition = expr;
    if (!verifyPlan(plan).ok()) // overflow or division by zero somewhere
      continue;
    auto parsed = parsePlan(printPlan(plan));
    ASSERT_TRUE(parsed.ok()) << parsed.status().message();
    for (int64_t n : {1, 7, 64}) {
      auto before = expr.evaluate({n}), after = parsed->programs[0].steps[4].condition.evaluate({n});
      EXPECT_EQ(before.ok(), after.ok());
      if (before.ok())
        EXPECT_EQ(*before, *after);
    }
  }
}

namespace {
/// Sets the value at a JSON pointer of the sample plan's text and parses it; "" removes the key.
std::string afterChange(const std::string &pointer, const std::string &value) {
  auto json = nlohmann::ordered_json::parse(printPlan(samplePlan()));
  auto at = nlohmann::ordered_json::json_pointer(pointer);
  EXPECT_TRUE(json.contains(at) || pointer.back() == '-' || value.find("extra") != std::string::npos) << pointer;
  if (value.empty())
    json[at.parent_pointer()].erase(at.back());
  else
    json[at] = nlohmann::ordered_json::parse(value);
  auto plan = parsePlan(json.dump());
  return plan.ok() ? "(accepted)" : plan.status().message();
}
} // namespace

TEST(Plan, EveryWrongFieldIsRefusedByItsPath) {
  struct Change {
    const char *pointer, *value, *message;
  };
  const Change changes[] = {
      {"/version", "2", "version 2"},
      {"/extra", "\"extra\"", "unknown key 'extra'"},
      {"/target", "\"\"", "target: expected a name"},
      {"/target", "\"x 86\"", "target: expected a name"},
      {"/kernels/0/name", "\"a b\"", "kernels[0].name"},
      {"/kernels/0/kind", "\"\"", "kernels[0].kind"},
      {"/kernels/0/precision", "\"fp8\"", "kernels[0].precision: expected f32, bf16"},
      {"/kernels/0/sha256", "\"abc\"", "kernels[0].sha256"},
      {"/kernels/0/scalars", "2", "steps[0].args: expected 2 scalars"},
      {"/kernels/0/scalars", "-1", "kernels[0].scalars"},
      {"/kernels/0/buffers", "4", "expected 4 weights, reads and writes"},
      {"/kernels/0/metrics/registers", "\"many\"", "kernels[0].metrics.registers"},
      {"/weights/0/name", "\"b1.w\"", "weights[1].name: name 'b1.w' occurs twice"},
      {"/weights/0/tensor", "\"\"", "weights[0].tensor"},
      {"/weights/0/dtype", "\"F64\"", "weights[0].dtype"},
      {"/weights/0/shape", "[16, -8]", "weights[0].shape: negative"},
      {"/weights/0/shape", "[4611686018427387904, 4]", "weights[0].shape"},
      {"/weights/0/layout", "\"\"", "weights[0].layout"},
      {"/programs", "[]", "programs: expected at least one"},
      {"/programs/0/name", "\"\"", "programs[0].name"},
      {"/programs/0/symbols/0/name", "\"batch\"", "unknown symbol 'images'"},
      {"/programs/0/symbols/0/min", "9", "expected 0 <= min <= tuned <= max"},
      {"/programs/0/symbols/0/min", "-1", "expected 0 <= min <= tuned <= max"},
      {"/programs/0/symbols/0/tuned", "65", "expected 0 <= min <= tuned <= max"},
      {"/programs/0/symbols/0/max", "65", "no kernel serves 65"},
      {"/programs/0/symbols/0/max", "1000000000000000000", "overflow"},
      {"/programs/0/inputs/0/buffer", "1", "buffer 'b0.out' is not of kind input"},
      {"/programs/0/inputs/0/buffer", "5", "programs[0].inputs[0].buffer: index 5 is not below the 5 buffers"},
      {"/programs/0/inputs", "[]", "buffer 'pixels' is not among the inputs"},
      {"/programs/0/inputs/-", "{\"name\": \"again\", \"buffer\": 0}", "is already an argument"},
      {"/programs/0/inputs/-", "{\"name\": \"pixels\", \"buffer\": 0}", "occurs twice"},
      {"/programs/0/outputs", "[]", "buffer 'logits' is not among the outputs"},
      {"/programs/0/arena_bytes", "[\"*\", \"images\", 127]", "leaves the arena"},
      {"/programs/0/arena_bytes", "-1", "programs[0].arena_bytes: negative"},
      {"/programs/0/arena_bytes", "[\"*\", \"images\", \"rows\"]", "arena_bytes[2]: unknown symbol 'rows'"},
      {"/programs/0/arena_bytes", "[\"**\", \"images\", 2]", "expected one of + - *"},
      {"/programs/0/arena_bytes", "[\"*\", \"images\"]", "expected an integer, a symbol or [operator, lhs, rhs]"},
      {"/programs/0/buffers/1/name", "\"b1.out\"", "occurs twice"},
      {"/programs/0/buffers/1/kind", "\"heap\"", "programs[0].buffers[1].kind: expected one of arena input output"},
      {"/programs/0/buffers/1/dtype", "\"F9\"", "programs[0].buffers[1].dtype"},
      {"/programs/0/buffers/1/shape/1", "17", "its shape [1, 17] needs 68"},
      {"/programs/0/buffers/1/shape/1", "-3", "negative dimension"},
      {"/programs/0/buffers/1/offset", "32", "expected a multiple of 64, found 32"},
      {"/programs/0/buffers/1/offset", "-64", "expected a multiple of 64, found -64"},
      {"/programs/0/buffers/1/offset", "[\"*\", \"images\", 64]", "'b0.out' and 'b1.out' overlap"},
      {"/programs/0/buffers/1/offset", "[\"*\", \"images\", 128]", "leaves the arena"},
      {"/programs/0/buffers/1/size", "[\"*\", \"images\", 60]", "has 60 bytes, its shape [1, 16] needs 64"},
      {"/programs/0/buffers/0/offset", "64", "expected 0 for an argument"},
      {"/programs/0/buffers/0/size", "[\"*\", \"images\", 128]", "argument 'pixels' has 128 bytes, its shape has 64"},
      {"/programs/0/buffers/1/numeric", "\"F8\"", "programs[0].buffers[1].numeric"},
      {"/programs/0/buffers/1/dtype", "\"I32\"", "F8_E4M3 values are not held in I32"},
      {"/programs/0/buffers/1/scale", "\"none\"", "no weight 'none'"},
      {"/programs/0/steps/0/kind", "\"jump\"", "steps[0].kind: expected one of launch copy if exit_if call"},
      {"/programs/0/steps/0/layers/0", "\"\"", "steps[0].layers[0]"},
      {"/programs/0/steps/0/dispatch", "0", "no kernel serves 0"},
      {"/programs/0/steps/0/variants", "[]", "expected at least one kernel"},
      {"/programs/0/steps/0/variants/0/kernel", "1", "variants[0].kernel: index 1"},
      {"/programs/0/steps/0/variants/0/min", "2", "no kernel serves 1, the ranges go from 2 to 64"},
      {"/programs/0/steps/0/variants/0/min", "65", "empty range from 65 to 64"},
      {"/programs/0/steps/0/variants/0/max", "63", "no kernel serves 64"},
      {"/programs/0/steps/0/variants/0/grid/0", "0", "grid[0]: expected 1 to"},
      {"/programs/0/steps/0/variants/0/grid/1", "2", "grid[1]: expected 1 to 1"},
      {"/programs/0/steps/0/variants/0/grid", "[1, 1]", "expected 3 sizes, found 2"},
      {"/programs/0/steps/0/variants/0/grid/0", "[\"floordiv\", 8, [\"-\", \"images\", 1]]", "division by zero in 8"},
      {"/programs/0/steps/0/variants/0/block/0", "2", "block: expected sizes from 1 to 1"},
      {"/programs/0/steps/0/variants/0/shared_bytes", "1", "shared_bytes: expected 0 to 0"},
      {"/programs/0/steps/0/args", "[]", "expected 1 scalars"},
      {"/programs/0/steps/0/args/0", "[\"*\", 9223372036854775807, \"images\"]", "overflow"},
      {"/programs/0/steps/0/weights/0", "3", "weights[0]: index 3 is not below the 3 weights"},
      {"/programs/0/steps/0/weights", "[]", "expected 3 weights, reads and writes"},
      {"/programs/0/steps/0/reads/0/buffer", "9", "reads[0].buffer: index 9"},
      {"/programs/0/steps/0/reads/0/buffer", "2", "buffer 'b1.out' is read before it is written"},
      {"/programs/0/steps/0/reads/0/offset", "64", "leave buffer 'pixels' of 64"},
      {"/programs/0/steps/0/reads/0/offset", "-1", "leave buffer 'pixels'"},
      {"/programs/0/steps/0/writes/0/buffer", "0", "writes the input 'pixels'"},
      {"/programs/0/steps/3/bytes", "[\"*\", \"images\", 68]", "leave buffer"},
      {"/programs/0/steps/3/bytes", "-4", "bytes: negative"},
      {"/programs/0/steps/3/reads", "[]", "expected 1 operand, found 0"},
      {"/programs/0/steps/3/writes/0/buffer", "1", "buffer 'logits' is read before it is written"},
      {"/programs/0/steps/4/body", "[]", "body: expected at least one step"},
      {"/programs/0/steps/4/condition", "[\"mod\", 1, 0]", "division by zero"},
      {"/programs/0/steps/4/body/0/reads/0/offset", "64", "steps[4].body[0].reads[0]"},
      {"/programs/0/steps/5/threshold", "1e39", "does not fit"},
      {"/programs/0/steps/5/threshold", "\"high\"", "expected a finite number"},
      {"/programs/0/steps/5/reads", "[]", "expected 1 operand"},
      {"/programs/0/steps/5/reads/0/offset", "61", "leave buffer 'logits'"},
  };
  for (const Change &change : changes) {
    std::string message = afterChange(change.pointer, change.value);
    EXPECT_NE(message.find(change.message), std::string::npos) << change.pointer << " = " << change.value << ": " << message;
  }
}

TEST(Plan, EveryKeyIsNeededAndOfItsKind) {
  // Removes every key, and gives every value another kind: no plan comes out.
  auto sample = nlohmann::ordered_json::parse(printPlan(samplePlan()));
  size_t tried = 0;
  auto flat = sample.flatten();
  for (const auto &[pointer, value] : flat.items()) {
    if (pointer.find("/metrics/") == std::string::npos && !std::isdigit(pointer.back())) {
      EXPECT_NE(afterChange(pointer, "").find("is missing"), std::string::npos) << pointer << ": " << afterChange(pointer, "");
      ++tried;
    }
    EXPECT_NE(afterChange(pointer, "{\"odd\": [1]}"), "(accepted)") << pointer;
    EXPECT_NE(afterChange(pointer, "null"), "(accepted)") << pointer;
    if (pointer.find("/threshold") == std::string::npos)
      EXPECT_NE(afterChange(pointer, "0.5"), "(accepted)") << pointer;
  }
  EXPECT_GT(tried, 60u);
}

TEST(Plan, CopiesDoNotOverlapThemselves) {
  Plan plan = samplePlan();
  PlanStep copy = plan.programs[0].steps[3];
  copy.reads = copy.writes = {whole(2)};
  copy.bytes = times(images(), 32);
  copy.writes[0].offset = times(images(), 32);
  plan.programs[0].steps.insert(plan.programs[0].steps.begin() + 2, copy);
  EXPECT_TRUE(verifyPlan(plan).ok()) << verifyPlan(plan).message();
  plan.programs[0].steps[2].writes[0].offset = times(images(), 31);
  EXPECT_NE(verifyPlan(plan).message().find("one buffer that overlap"), std::string::npos) << verifyPlan(plan).message();
}

TEST(Plan, DepthIsBounded) {
  std::string deep = "\"images\"";
  for (int i = 0; i < 70; ++i)
    deep = "[\"+\", " + deep + ", 1]";
  EXPECT_NE(afterChange("/programs/0/arena_bytes", deep).find("deeper than 64"), std::string::npos);
  std::string body = printPlan(samplePlan());
  auto inner = nlohmann::ordered_json::parse(body)["programs"][0]["steps"][4];
  for (int i = 0; i < 10; ++i) {
    auto outer = inner;
    outer["body"] = {inner};
    inner = outer;
  }
  EXPECT_NE(afterChange("/programs/0/steps/4", inner.dump()).find("nested deeper than 8"), std::string::npos);
}

TEST(Plan, GpuLimitsDiffer) {
  Plan plan = samplePlan("sm_89");
  for (PlanStep *step : {&plan.programs[0].steps[0], &plan.programs[0].steps[1]}) {
    step->blocks = {{128, 2, 1}};
    step->shared_bytes = {65536};
    step->grids[0][1] = PlanExpr(18);
  }
  EXPECT_TRUE(verifyPlan(plan).ok()) << verifyPlan(plan).message();
  plan.programs[0].steps[0].blocks = {{512, 4, 1}};
  EXPECT_NE(verifyPlan(plan).message().find("at most 1024 threads, found 2048"), std::string::npos);
  plan.programs[0].steps[0].blocks = {{128, 1, 1}};
  plan.programs[0].steps[0].shared_bytes = {1 << 20};
  EXPECT_NE(verifyPlan(plan).message().find("shared_bytes"), std::string::npos);
}

TEST(Plan, ListsOfALaunchMustAgree) {
  Plan plan = samplePlan();
  plan.programs[0].steps[0].grids.clear();
  EXPECT_NE(verifyPlan(plan).message().find("expected 1 grids, found 0"), std::string::npos);
  plan = samplePlan();
  PlanStep &step = plan.programs[0].steps[0];
  step.kernels = {0, 0};
  step.grids.push_back(step.grids[0]);
  step.blocks.push_back(step.blocks[0]);
  step.shared_bytes.push_back(0);
  step.ranges = {{1, 16}, {17, 64}};
  EXPECT_TRUE(verifyPlan(plan).ok()) << verifyPlan(plan).message();
  step.ranges = {{1, 16}, {18, 64}};
  EXPECT_NE(verifyPlan(plan).message().find("variants[1].min: expected 16 + 1, found 18"), std::string::npos);
  plan = samplePlan();
  plan.programs[0].buffers[0].size.nodes.clear();
  EXPECT_NE(verifyPlan(plan).message().find("empty expression"), std::string::npos);
  plan = samplePlan();
  plan.programs[0].buffers[0].size.nodes.back().lhs = 7;
  EXPECT_NE(verifyPlan(plan).message().find("comes after its user"), std::string::npos);
  plan = samplePlan();
  plan.programs[0].buffers[0].size.nodes.back().rhs = plan.programs[0].buffers[0].size.nodes.back().lhs;
  EXPECT_NE(verifyPlan(plan).message().find("has two users"), std::string::npos);
}

TEST(Plan, ReadsInsideABodyCountAtTheIf) {
  Plan plan = samplePlan();
  // b0.out shares bytes with b2.out, which is live at the if: using b0.out in the body makes them live together.
  plan.programs[0].steps[4].body[0].reads[0].buffer = 1;
  EXPECT_NE(verifyPlan(plan).message().find("'b0.out' and 'b2.out' overlap"), std::string::npos) << verifyPlan(plan).message();
  // What only a body writes may not be read after it.
  plan = samplePlan();
  std::swap(plan.programs[0].steps[3], plan.programs[0].steps[4]);
  plan.programs[0].steps[4].reads[0].buffer = 4;
  plan.programs[0].steps[4].writes[0].buffer = 2;
  EXPECT_NE(verifyPlan(plan).message().find("buffer 'logits' is read before it is written"), std::string::npos)
      << verifyPlan(plan).message();
  // An early exit needs the outputs.
  plan = samplePlan();
  std::swap(plan.programs[0].steps[2], plan.programs[0].steps[5]);
  plan.programs[0].steps[2].reads[0].buffer = 2;
  EXPECT_NE(verifyPlan(plan).message().find("steps[2]: output 'logits' is not written"), std::string::npos);
}

TEST(Plan, CallsKeepTheirMemoryApart) {
  Plan plan = samplePlan();
  PlanProgram caller = plan.programs[0];
  caller.name = "twice";
  PlanStep call;
  call.kind = PlanStep::Kind::Call;
  call.callee = "forward";
  call.reads = {whole(0)};
  call.writes = {whole(4)};
  caller.steps = {call};
  plan.programs.push_back(caller);
  EXPECT_TRUE(verifyPlan(plan).ok()) << verifyPlan(plan).message();
  auto parsed = parsePlan(printPlan(plan));
  EXPECT_TRUE(parsed.ok()) << parsed.status().message();

  auto messageWith = [&](auto change) {
    Plan changed = plan;
    change(changed.programs[1]);
    return verifyPlan(changed).message();
  };
  EXPECT_NE(messageWith([](PlanProgram &p) { p.steps[0].callee = "twice"; }).find("no program 'twice' before"), std::string::npos);
  EXPECT_NE(messageWith([](PlanProgram &p) { p.steps[0].reads.clear(); }).find("inputs of the callee"), std::string::npos);
  EXPECT_NE(messageWith([](PlanProgram &p) { p.symbols[0].max = 65; }).find("stays within its bounds"), std::string::npos);
  EXPECT_NE(messageWith([](PlanProgram &p) {
              p.arena_bytes = PlanExpr(0);
              for (PlanBuffer &b : p.buffers)
                if (b.kind == PlanBuffer::Kind::Arena)
                  b.size = b.offset = PlanExpr(0), b.shape = {PlanExpr(0)};
            }).find("needs an arena of"),
            std::string::npos);
  // b0.out is written before and read after the call, in the callee's memory.
  std::string message = messageWith([&](PlanProgram &p) {
    p.steps.insert(p.steps.begin(), launch(0, {0}, 0, 1));
    p.steps.push_back(launch(0, {0}, 1, 4));
  });
  EXPECT_NE(message.find("is live and overlaps"), std::string::npos) << message;
}

TEST(Plan, ValuesBetweenTheBoundsCanBeChecked) {
  Plan plan = samplePlan();
  // Right at the bounds, wrong at every multiple of 7.
  PlanExpr odd = PlanExpr::binary(Kind::Mod, images(), PlanExpr(7)); // 1, 1 and 1 at the bounds
  plan.programs[0].buffers[2].offset = PlanExpr::binary(Kind::Mul, times(images(), 64), PlanExpr::binary(Kind::Min, odd, PlanExpr(1)));
  EXPECT_TRUE(verifyPlan(plan).ok()) << verifyPlan(plan).message();
  EXPECT_TRUE(verifyProgramAt(plan, 0, {2}).ok());
  EXPECT_NE(verifyProgramAt(plan, 0, {7}).message().find("overlap and both live at step 1, when images = 7"), std::string::npos)
      << verifyProgramAt(plan, 0, {7}).message();
  EXPECT_FALSE(verifyProgramAt(plan, 0, {65}).ok());
  EXPECT_FALSE(verifyProgramAt(plan, 0, {}).ok());
  EXPECT_FALSE(verifyProgramAt(plan, 1, {1}).ok());
}

TEST(Plan, RandomLifetimesMatchABruteForceCheck) {
  std::mt19937 random(11);
  auto below = [&](int64_t n) { return static_cast<int64_t>(random() % static_cast<uint64_t>(n)); };
  int overlapping = 0, apart = 0;
  for (int round = 0; round < 2000; ++round) {
    // A chain in which step i writes buffer i and reads some earlier ones; at random places in a small arena.
    Plan plan = samplePlan();
    PlanProgram &program = plan.programs[0];
    program.symbols.clear();
    program.buffers.resize(1);
    program.buffers[0].shape = {PlanExpr(16)};
    program.buffers[0].size = PlanExpr(64);
    program.arena_bytes = PlanExpr(64 * 12);
    program.steps.clear();
    int64_t count = 2 + below(6);
    std::vector<std::vector<int64_t>> uses(static_cast<size_t>(count)); // steps that touch each buffer
    std::vector<std::pair<int64_t, int64_t>> places;
    for (int64_t i = 0; i < count; ++i) {
      PlanBuffer b = buffer("x" + std::to_string(i), PlanBuffer::Kind::Arena, 16, 0);
      int64_t size = 64 * (1 + below(2)), offset = 64 * below(11);
      b.shape = {PlanExpr(16)};
      b.offset = PlanExpr(offset);
      b.size = PlanExpr(size);
      places.emplace_back(offset, offset + size);
      program.buffers.push_back(b);
    }
    for (int64_t i = 0; i < count; ++i) {
      PlanStep step;
      step.kind = PlanStep::Kind::Copy;
      step.bytes = PlanExpr(64);
      int64_t read = i == 0 ? -1 : below(i);
      step.reads = {whole(static_cast<unsigned>(read + 1))};
      step.writes = {whole(static_cast<unsigned>(i + 1))};
      if (read >= 0)
        uses[static_cast<size_t>(read)].push_back(i);
      uses[static_cast<size_t>(i)].push_back(i);
      program.steps.push_back(step);
    }
    PlanBuffer out = buffer("out", PlanBuffer::Kind::Output, 16, 0);
    out.shape = {PlanExpr(16)};
    out.size = PlanExpr(64);
    program.buffers.push_back(out);
    program.outputs = {{"logits", static_cast<unsigned>(count + 1)}};
    PlanStep last = program.steps.back();
    int64_t source = below(count);
    last.reads = {whole(static_cast<unsigned>(source + 1))};
    last.writes = {whole(static_cast<unsigned>(count + 1))};
    uses[static_cast<size_t>(source)].push_back(count);
    program.steps.push_back(last);

    // Brute force: byte by byte, step by step, who owns it.
    bool clash = false;
    for (int64_t byte = 0; byte < 64 * 12 && !clash; byte += 64)
      for (int64_t step = 0; step <= count; ++step) {
        int owners = 0;
        for (size_t b = 0; b < places.size(); ++b)
          owners += places[b].first <= byte && byte < places[b].second && uses[b].front() <= step && step <= uses[b].back();
        clash |= owners > 1;
      }
    Status status = verifyPlan(plan);
    EXPECT_EQ(status.ok(), !clash) << status.message() << "\n" << printPlan(plan);
    if (clash)
      EXPECT_NE(status.message().find("overlap and both live"), std::string::npos) << status.message();
    ++(clash ? overlapping : apart);
  }
  EXPECT_GT(overlapping, 200);
  EXPECT_GT(apart, 200);
}
