//===- Linear.cpp - linear layers and patch embedding on x86 -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// A linear's work units are blocks of rows times panels of columns, panel by panel, so a thread reads its panels in
// order and once, and one row of a wide layer still gives every thread something to do. A patch embedding unfolds a
// block of patches on the stack and meets all panels with it.
//===----------------------------------------------------------------------===//
#include "ScaledTile.h"
#include "SparseTile.h"

using namespace mlir;
using namespace vitrify;
using namespace vitrify::x86;

/// The largest unfolded block of a patch embedding, well below the stack that a kernel may use.
static constexpr int64_t kPatchScratch = 160 * 1024;

static std::optional<MicroTile> microTileOf(KernelFrame &frame, DType activations, RankedTensorType weight) {
  int64_t group = cast<vit::EpilogueOpInterface>(frame.op).getGroup();
  MicroTile micro{chooseMicroKernel(frame.row, activations, weight.getElementType()), {}, frame.row.lanes};
  auto tile = chooseLinearTile(weight.getDimSize(0), group, frame.row.lanes, frame.row.registers,
                               weight.getDimSize(1) * int64_t(dtypeBits(micro.panelType())) / 8);
  if (!tile) {
    frame.fail("an epilogue of group " + std::to_string(group) + ", which divides no panel width");
    return std::nullopt;
  }
  micro.tile = *tile;
  frame.fail(EpilogueEmitter::whyUnsupported(frame.op, micro.width(), frame.row.lanes));
  return micro;
}

static bool isWeightElement(Type element) {
  return element.isF32() || element.isBF16() || element.isF16() || isa<Float8E4M3FNType>(element) || element.isInteger(8);
}

static StringRef precisionOf(const MicroTile &micro) {
  return micro.codes() ? "int8" : micro.kind == MicroKernel::DotBF16 ? "bf16" : "f32";
}

static std::string linearPrefix(StringRef name, const MicroTile &micro, int64_t n, int64_t k) {
  return (name + "_" + precisionOf(micro) + "_n" + Twine(n) + "_k" + Twine(k)).str();
}

//===----------------------------------------------------------------------===//
// vit.linear
//===----------------------------------------------------------------------===//

/// Codes of E2M1 whose scales of 16 columns are applied when panels are made of them; 0 or more: the scales' operand.
static int nvfp4Scales(vit::LinearOp linear) {
  auto w = cast<RankedTensorType>(linear.getWeight().getType());
  auto scales = linear.getWScales() ? cast<RankedTensorType>(linear.getWScales().getType()) : RankedTensorType();
  bool is = isa<Float4E2M1FNType>(w.getElementType()) && scales && isa<Float8E4M3FNType>(scales.getElementType()) &&
            scales.getDimSize(0) == w.getDimSize(0) && scales.getDimSize(1) * 16 == w.getDimSize(1);
  return is ? int(linear.getWScalesMutable()[0].getOperandNumber()) : -1;
}

static std::optional<MicroTile> linearTile(KernelFrame &frame) {
  auto linear = cast<vit::LinearOp>(frame.op);
  auto x = cast<RankedTensorType>(linear.getInput().getType());
  auto w = cast<RankedTensorType>(linear.getWeight().getType());
  std::string numeric;
  auto activations = storageType(x.getElementType(), numeric);
  if (!activations || *activations == DType::I32) {
    frame.fail("activations of element type " + typeText(x.getElementType()));
    return std::nullopt;
  }
  bool nvfp4 = nvfp4Scales(linear) >= 0;
  if (nvfp4 && (linear.getXScales() || !isWeight(linear.getWScales()))) {
    frame.fail(linear.getXScales() ? "codes of 4 bits with scales of the activations along K" : "scales of the second factor that are no weight of the module");
    return std::nullopt;
  }
  if (!nvfp4 && !isWeightElement(w.getElementType())) {
    bool four = isa<Float4E2M1FNType>(w.getElementType());
    frame.fail("weights of element type " + typeText(w.getElementType()) + (four ? " without scales in f8E4M3FN of 16 columns each" : ""));
    return std::nullopt;
  }
  if (w.getElementType().isInteger(8) && w.getDimSize(1) >= 1 << 16) {
    frame.fail("a sum over " + std::to_string(w.getDimSize(1)) + " products of codes, which 32 bits may not hold");
    return std::nullopt;
  }
  return microTileOf(frame, *activations, w);
}

static void describeLinear(KernelFrame &frame) {
  auto linear = cast<vit::LinearOp>(frame.op);
  if (!isWeight(linear.getWeight()))
    return frame.fail("a second factor that is no weight of the module");
  std::optional<MicroTile> micro = linearTile(frame);
  if (!micro)
    return;
  auto w = cast<RankedTensorType>(linear.getWeight().getType());
  frame.usePanels(linear.getWeightMutable().getOperandNumber(), micro->width(), micro->depth(), micro->panelType(),
                  nvfp4Scales(linear));
  frame.use(linear.getInputMutable().getOperandNumber());
  if (nvfp4Scales(linear) < 0 && (linear.getXScales() || linear.getWScales())) {
    if (!scaleBlocksOf(frame, linear, *micro))
      return;
    for (MutableOperandRange scales : {linear.getXScalesMutable(), linear.getWScalesMutable()})
      for (OpOperand &operand : scales)
        frame.use(operand.getOperandNumber());
  }
  frame.useEpilogue();
  frame.useResults();
  PlanExpr rows = frame.operandDim(linear.getInputMutable().getOperandNumber(), 0);
  PlanExpr blocks = PlanExpr::binary(PlanExpr::Kind::CeilDiv, rows, PlanExpr(micro->tile.rowsPerUnit));
  int64_t panels = llvm::divideCeil(w.getDimSize(0), micro->width());
  frame.finish(linearPrefix("linear", *micro, w.getDimSize(0), w.getDimSize(1)), "linear",
               precisionOf(*micro), PlanExpr::binary(PlanExpr::Kind::Mul, blocks, PlanExpr(panels)));
  frame.spec.panels = panels;
}

static void buildLinear(KernelFrame &frame, LaneBuilder &b) {
  auto linear = cast<vit::LinearOp>(frame.op);
  MicroTile micro = *linearTile(frame);
  auto w = cast<RankedTensorType>(linear.getWeight().getType());
  unsigned input = linear.getInputMutable().getOperandNumber();
  Value a = frame.operand(input), panels = frame.operand(linear.getWeightMutable().getOperandNumber());
  Value rows = frame.dimValue(b, false, input, 0);
  Value blocks = b.ceilDivIndex(rows, micro.tile.rowsPerUnit);
  PanelPrefetch prefetch = preparePrefetch(b, micro, w.getDimSize(1), panels, rows);
  for (auto [i, map] : llvm::enumerate(linear.getMaps().getAsValueRange<AffineMapAttr>())) {
    int64_t block;
    if (classifyMap(map, block) == OperandMap::Element)
      prefetch.tiles.push_back(frame.operand(linear.getEpilogueIns().getBeginOperandIndex() + i));
  }
  // A result of fewer columns than the accumulator (scales of groups) is small.
  for (unsigned i = 0; i < linear->getNumResults(); ++i)
    if (cast<RankedTensorType>(linear->getResult(i).getType()).getDimSize(1) == w.getDimSize(0))
      prefetch.tiles.push_back(frame.result(i));
  EpilogueEmitter epilogue = frame.epilogue(b);
  auto given = [&](MutableOperandRange operands) { return operands.empty() ? Value() : frame.operand(operands[0].getOperandNumber()); };
  Value xScales = given(linear.getXScalesMutable()), wScales = nvfp4Scales(linear) < 0 ? given(linear.getWScalesMutable()) : Value();
  std::optional<ScaleBlocks> scales;
  if (xScales || wScales)
    scales = scaleBlocksOf(frame, linear, micro);
  Value steps;
  if (!scales && skipsZeros(linear, micro))
    steps = b.scratch({w.getDimSize(1) / micro.depth() + b.lanes}, b.getI32Type());
  std::optional<TilePipeline> pipeline;
  Value scratch;
  if (scales || steps)
    scratch = b.scratch({micro.tile.rows, micro.width()}, b.getF32Type());
  else
    pipeline.emplace(b, micro, w.getDimSize(1), panels, w.getDimSize(0), epilogue, &prefetch);
  b.loop(frame.begin, frame.end, 1, [&](Value unit) {
    Value panel = arith::DivUIOp::create(b, unit, blocks);
    Value block = arith::RemUIOp::create(b, unit, blocks);
    Value first = b.mulIndex(block, micro.tile.rowsPerUnit);
    Value last = b.minIndex(b.addIndex(first, micro.tile.rowsPerUnit), rows);
    auto scaled = [&](int64_t count, Value m) {
      emitScaledTile(b, linear, micro, *scales, count, a, m, panels, panel, xScales, wScales, scratch);
    };
    auto sparse = [&](int64_t count, Value m) {
      emitSparseTile(b, micro, count, a, m, w.getDimSize(1), panels, panel, steps, scratch, &prefetch);
    };
    if (!pipeline)
      emitPanelRows(b, micro, panel, w.getDimSize(0), first, last, scratch, epilogue, scales ? TileBody(scaled) : TileBody(sparse));
    else
      pipeline->emitRows(a, b.index(0), panel, first, last);
  });
  if (pipeline)
    pipeline->finish();
}

const Family x86::kLinear = {describeLinear, buildLinear};

//===----------------------------------------------------------------------===//
// vit.patch_embed
//===----------------------------------------------------------------------===//

namespace {
struct PatchShape {
  MicroTile micro;
  int64_t k;
  int64_t rowsPerUnit; ///< patches unfolded at once
  int64_t padded;      ///< elements of a row of the unfolded block
};
} // namespace

static std::optional<PatchShape> patchShape(KernelFrame &frame) {
  auto embed = cast<vit::PatchEmbedOp>(frame.op);
  Type pixel = cast<RankedTensorType>(embed.getPixels().getType()).getElementType();
  auto w = cast<RankedTensorType>(embed.getWeight().getType());
  std::string numeric;
  auto activations = storageType(pixel, numeric);
  if (!activations || *activations == DType::I32) {
    frame.fail("pixels of element type " + typeText(pixel));
    return std::nullopt;
  }
  if (!isWeightElement(w.getElementType())) {
    frame.fail("weights of element type " + typeText(w.getElementType()));
    return std::nullopt;
  }
  if (cast<RankedTensorType>(embed.getPixels().getType()).isDynamicDim(embed.channelAxis())) {
    frame.fail("a dynamic number of channels");
    return std::nullopt;
  }
  if (pixel.isUnsignedInteger())
    activations = DType::F32; // bytes of frames are numbers once they are unfolded
  // Pixels are narrowed while they are unfolded where the weight is.
  if (*activations == DType::F32 && w.getElementType().isBF16() && frame.row.has(MicroKernel::DotBF16))
    activations = DType::BF16;
  auto micro = microTileOf(frame, *activations, w);
  if (!micro)
    return std::nullopt;
  PatchShape shape{*micro, w.getDimSize(1), 0, 0};
  // A whole vector may be stored at the last element.
  shape.padded = llvm::alignTo(shape.k, frame.row.lanes) + frame.row.lanes;
  int64_t bytes = shape.padded * (micro->kind == MicroKernel::DotBF16 ? 2 : 4);
  int64_t fit = kPatchScratch / bytes;
  if (fit < 1) {
    frame.fail("patches of " + std::to_string(shape.k) + " values");
    return std::nullopt;
  }
  int64_t tile = std::min(fit, micro->tile.rows);
  shape.micro.tile.rows = tile;
  shape.rowsPerUnit = std::min<int64_t>(fit / tile * tile, llvm::alignTo(24, tile));
  return shape;
}

static void describePatchEmbed(KernelFrame &frame) {
  auto embed = cast<vit::PatchEmbedOp>(frame.op);
  if (!isWeight(embed.getWeight()))
    return frame.fail("a second factor that is no weight of the module");
  std::optional<PatchShape> shape = patchShape(frame);
  if (!shape)
    return;
  auto w = cast<RankedTensorType>(embed.getWeight().getType());
  frame.usePanels(embed.getWeightMutable().getOperandNumber(), shape->micro.width(), shape->micro.depth(),
                  shape->micro.panelType());
  unsigned pixels = embed.getPixelsMutable().getOperandNumber();
  frame.use(pixels, /*flat=*/true);
  frame.useEpilogue();
  frame.useResults();
  using Kind = PlanExpr::Kind;
  PlanExpr down = PlanExpr::binary(Kind::FloorDiv, frame.operandDim(pixels, embed.heightAxis()), PlanExpr(int64_t(embed.getPatchHeight())));
  PlanExpr across = PlanExpr::binary(Kind::FloorDiv, frame.operandDim(pixels, embed.widthAxis()), PlanExpr(int64_t(embed.getPatchWidth())));
  PlanExpr rows = PlanExpr::binary(Kind::Mul, frame.operandDim(pixels, 0), PlanExpr::binary(Kind::Mul, down, across));
  frame.finish(linearPrefix("patch_embed", shape->micro, w.getDimSize(0), w.getDimSize(1)), "linear",
               precisionOf(shape->micro),
               PlanExpr::binary(Kind::CeilDiv, rows, PlanExpr(shape->rowsPerUnit)));
}

static void buildPatchEmbed(KernelFrame &frame, LaneBuilder &b) {
  auto embed = cast<vit::PatchEmbedOp>(frame.op);
  PatchShape shape = *patchShape(frame);
  auto w = cast<RankedTensorType>(embed.getWeight().getType());
  // Interleaved channels are one channel of lines that many times as long.
  int64_t channels = embed.getInterleaved() ? 1 : embed.channels(), apart = embed.getInterleaved() ? embed.channels() : 1;
  int64_t ph = embed.getPatchHeight(), pw = embed.getPatchWidth() * apart;
  bool bytes = getElementTypeOrSelf(embed.getPixels().getType()).isUnsignedInteger();
  unsigned index = embed.getPixelsMutable().getOperandNumber();
  Value pixels = frame.operand(index), panels = frame.operand(embed.getWeightMutable().getOperandNumber());
  Value height = frame.dimValue(b, false, index, embed.heightAxis());
  Value width = b.mulIndex(frame.dimValue(b, false, index, embed.widthAxis()), apart);
  Value down = b.divIndex(height, ph), across = b.divIndex(width, pw);
  Value patches = arith::MulIOp::create(b, down, across);
  Value rows = arith::MulIOp::create(b, frame.dimValue(b, false, index, 0), patches);
  Value plane = arith::MulIOp::create(b, height, width);
  bool dot = shape.micro.kind == MicroKernel::DotBF16;
  Value unfolded = b.scratch({shape.rowsPerUnit, shape.padded}, dot ? Type(b.getBF16Type()) : Type(b.getF32Type()));
  EpilogueEmitter epilogue = frame.epilogue(b);
  TilePipeline pipeline(b, shape.micro, shape.k, panels, w.getDimSize(0), epilogue);
  b.loop(frame.begin, frame.end, 1, [&](Value unit) {
    Value first = b.mulIndex(unit, shape.rowsPerUnit);
    Value last = b.minIndex(b.addIndex(first, shape.rowsPerUnit), rows);
    b.loop(first, last, 1, [&](Value row) {
      Value image = arith::DivUIOp::create(b, row, patches);
      Value patch = arith::RemUIOp::create(b, row, patches);
      Value top = b.mulIndex(arith::DivUIOp::create(b, patch, across), ph);
      Value left = b.mulIndex(arith::RemUIOp::create(b, patch, across), pw);
      Value local = b.subIndex(row, first);
      b.loop(b.index(0), b.index(channels), 1, [&](Value channel) {
        Value planeIndex = b.addIndex(b.mulIndex(image, channels), channel);
        Value planeStart = arith::MulIOp::create(b, planeIndex, plane);
        b.loop(b.index(0), b.index(ph), 1, [&](Value y) {
          Value line = arith::MulIOp::create(b, b.addIndex(top, y), width);
          Value from = b.addIndex(planeStart, b.addIndex(line, left));
          Value to = b.mulIndex(b.addIndex(b.mulIndex(channel, ph), y), pw);
          b.forColumns(pw, [&](Value x, unsigned valid) {
            Value part = b.load(pixels, b.addIndex(from, x), valid);
            if (bytes) // which are read as codes plus 128
              part = b.add(part, b.splat(128.0f));
            // Whole vectors: what lies beyond is written again, or is padding.
            b.store(part, unfolded, {local, b.addIndex(to, x)}, b.lanes);
          });
        });
      });
    });
    b.loop(b.index(0), b.index(llvm::divideCeil(w.getDimSize(0), shape.micro.width())), 1, [&](Value panel) {
      pipeline.emitRows(unfolded, first, panel, first, last);
    });
  });
  pipeline.finish();
}

const Family x86::kPatchEmbed = {describePatchEmbed, buildPatchEmbed};
