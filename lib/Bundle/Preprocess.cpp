//===- Preprocess.cpp - preprocess.json ----------------------------------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "vitrify/Bundle/Preprocess.h"

#include "JsonLists.h"
#include "PlanJson.h"

using namespace vitrify;

namespace {
constexpr int64_t kVersion = 1;
constexpr int64_t kMaxSide = 1 << 16;
constexpr std::array<std::string_view, 3> kResizes = {"none", "exact", "shortest_edge"};
constexpr std::array<std::string_view, 6> kInterpolations = {"nearest", "box",     "bilinear",
                                                             "hamming", "bicubic", "lanczos"};
} // namespace

std::string_view vitrify::interpolationName(Preprocess::Interpolation interpolation) {
  return kInterpolations[static_cast<size_t>(interpolation)];
}

std::string vitrify::printPreprocess(const Preprocess &p) {
  Json resize = {{"mode", kResizes[static_cast<size_t>(p.resize)]}};
  if (p.resize == Preprocess::Resize::Exact) {
    resize["height"] = p.resizeHeight;
    resize["width"] = p.resizeWidth;
  }
  if (p.resize == Preprocess::Resize::ShortestEdge)
    resize["edge"] = p.edge;
  resize["interpolation"] = interpolationName(p.interpolation);
  Json json = {{"version", kVersion}, {"channels", p.channels}, {"height", p.height}, {"width", p.width},
               {"resize", resize},    {"center_crop", p.centerCrop}, {"rescale", p.rescale}};
  json["mean"] = p.mean;
  json["std"] = p.std;
  json["labels"] = p.labels;
  return json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

StatusOr<Preprocess> vitrify::parsePreprocess(std::string_view text) {
  VITRIFY_ASSIGN_OR_RETURN(Json document, parseJson(text, 8));
  JsonCursor json(document);
  VITRIFY_ASSIGN_OR_RETURN(int64_t version, json.integer("version"));
  if (version != kVersion)
    return unsupported("preprocess.json has version " + std::to_string(version) + ", this build reads version " +
                       std::to_string(kVersion));
  VITRIFY_RETURN_IF_ERROR(json.refuseOtherKeys(
      {"version", "channels", "height", "width", "resize", "center_crop", "rescale", "mean", "std", "labels"}));
  Preprocess p;
  VITRIFY_ASSIGN_OR_RETURN(p.channels, json.integer("channels", 1, 3));
  if (p.channels == 2)
    return json.fail("channels: expected 1 or 3, found 2");
  VITRIFY_ASSIGN_OR_RETURN(p.height, json.integer("height", 1, kMaxSide));
  VITRIFY_ASSIGN_OR_RETURN(p.width, json.integer("width", 1, kMaxSide));
  VITRIFY_ASSIGN_OR_RETURN(JsonCursor resize, json.at("resize"));
  VITRIFY_RETURN_IF_ERROR(resize.refuseOtherKeys({"mode", "height", "width", "edge", "interpolation"}));
  VITRIFY_ASSIGN_OR_RETURN(JsonCursor modeJson, resize.at("mode"));
  VITRIFY_ASSIGN_OR_RETURN(size_t mode, parseName(modeJson, kResizes));
  p.resize = static_cast<Preprocess::Resize>(mode);
  VITRIFY_ASSIGN_OR_RETURN(JsonCursor interpolationJson, resize.at("interpolation"));
  VITRIFY_ASSIGN_OR_RETURN(size_t interpolation, parseName(interpolationJson, kInterpolations));
  p.interpolation = static_cast<Preprocess::Interpolation>(interpolation);
  if (p.resize == Preprocess::Resize::Exact) {
    VITRIFY_ASSIGN_OR_RETURN(p.resizeHeight, resize.integer("height", 1, kMaxSide));
    VITRIFY_ASSIGN_OR_RETURN(p.resizeWidth, resize.integer("width", 1, kMaxSide));
  }
  if (p.resize == Preprocess::Resize::ShortestEdge) {
    VITRIFY_ASSIGN_OR_RETURN(p.edge, resize.integer("edge", 1, kMaxSide));
  }
  VITRIFY_ASSIGN_OR_RETURN(JsonCursor crop, json.at("center_crop"));
  VITRIFY_ASSIGN_OR_RETURN(p.centerCrop, crop.asBool());
  if (p.resize == Preprocess::Resize::Exact && !p.centerCrop && (p.resizeHeight != p.height || p.resizeWidth != p.width))
    return json.fail("resize gives " + std::to_string(p.resizeHeight) + " x " + std::to_string(p.resizeWidth) +
                     " without a crop, the model takes " + std::to_string(p.height) + " x " + std::to_string(p.width));
  VITRIFY_ASSIGN_OR_RETURN(p.rescale, json.number("rescale"));
  if (!(p.rescale > 0))
    return json.fail("rescale: expected a positive number, found " + std::to_string(p.rescale));
  auto number = [](const JsonCursor &element) { return element.asNumber(); };
  VITRIFY_ASSIGN_OR_RETURN(p.mean, parseJsonList<double>(json, "mean", number));
  VITRIFY_ASSIGN_OR_RETURN(p.std, parseJsonList<double>(json, "std", number));
  if (p.mean.size() != p.std.size() || (!p.mean.empty() && p.mean.size() != static_cast<size_t>(p.channels)))
    return json.fail("expected mean and std to be empty or to have " + std::to_string(p.channels) +
                     " numbers each, found " + std::to_string(p.mean.size()) + " and " + std::to_string(p.std.size()));
  for (double value : p.std)
    if (value <= 0)
      return json.fail("std: expected positive numbers, found " + std::to_string(value));
  VITRIFY_ASSIGN_OR_RETURN(p.labels, parseStrings(json, "labels"));
  return p;
}
