//===- InspectPrint.cpp - a bundle's report for people -------------------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "vitrify/Bundle/Inspect.h"

#include <algorithm>

using namespace vitrify;

namespace {
std::string text(const Json &value) {
  return value.is_string() ? value.get<std::string>() : value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

/// "12,345,678".
std::string grouped(uint64_t value) {
  std::string digits = std::to_string(value);
  for (size_t at = digits.size(); at > 3;)
    digits.insert(at -= 3, ",");
  return digits;
}

/// "1,234 bytes (1.2 KiB)"; plain below 1 KiB.
std::string bytes(const Json &value) {
  uint64_t count = value.get<uint64_t>();
  std::string result = grouped(count) + " bytes";
  if (count < 1024)
    return result;
  double scaled = static_cast<double>(count) / 1024;
  const char *unit = "KiB";
  for (const char *next : {"MiB", "GiB"})
    if (scaled >= 1024) {
      scaled /= 1024;
      unit = next;
    }
  char rounded[32];
  std::snprintf(rounded, sizeof rounded, "%.1f", scaled);
  return result + " (" + rounded + " " + unit + ")";
}

std::string joined(const Json &list, std::string_view separator = ", ") {
  std::string result;
  for (const Json &item : list)
    result += (result.empty() ? "" : std::string(separator)) + text(item);
  return result;
}

/// ["*", "images", 197] as "images * 197".
std::string expression(const Json &value) {
  if (!value.is_array())
    return text(value);
  std::string op = text(value[0]), lhs = expression(value[1]), rhs = expression(value[2]);
  if (op.size() > 1)
    return op + "(" + lhs + ", " + rhs + ")";
  auto inner = [](const Json &side, const std::string &printed) {
    return side.is_array() && text(side[0]).size() == 1 ? "(" + printed + ")" : printed;
  };
  return inner(value[1], lhs) + " " + op + " " + inner(value[2], rhs);
}

/// Rows of cells, each column as wide as its widest cell.
class Table {
public:
  explicit Table(std::vector<std::string> head) { rows.push_back(std::move(head)); }
  void add(std::vector<std::string> row) { rows.push_back(std::move(row)); }

  std::string print() const {
    std::vector<size_t> widths(rows[0].size());
    for (const auto &row : rows)
      for (size_t i = 0; i < row.size(); ++i)
        widths[i] = std::max(widths[i], row[i].size());
    std::string result;
    for (const auto &row : rows) {
      std::string line = " ";
      for (size_t i = 0; i < row.size(); ++i)
        line += " " + row[i] + std::string(i + 1 == row.size() ? 0 : widths[i] - row[i].size() + 1, ' ');
      result += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
    }
    return result;
  }

private:
  std::vector<std::vector<std::string>> rows;
};

std::string arguments(const Json &list) {
  std::string result;
  for (const Json &argument : list) {
    std::string shape;
    for (const Json &dim : argument["shape"])
      shape += (shape.empty() ? "" : ", ") + expression(dim);
    result += (result.empty() ? "" : ", ") + text(argument["name"]) + " " + text(argument["dtype"]) + "[" + shape + "]";
  }
  return result;
}

void printSteps(const Json &steps, const std::string &number, Table &table) {
  for (size_t i = 0; i < steps.size(); ++i) {
    const Json &step = steps[i];
    std::string mine = number + std::to_string(i);
    std::string what = step.contains("kernel") ? text(step["kernel"]) : text(step["kind"]);
    if (step.contains("callee"))
      what += " " + text(step["callee"]);
    std::string grid = step.contains("grid") ? joined(step["grid"], "x") : "";
    table.add({mine, what, grid, joined(step["layers"]), joined(step["reads"]), joined(step["writes"])});
    if (step.contains("body"))
      printSteps(step["body"], mine + ".", table);
  }
}

std::string fixed(double value, int digits) {
  char buffer[64];
  std::snprintf(buffer, sizeof buffer, "%.*f", digits, value);
  return buffer;
}

/// What a GPU's kernels take, and what they were really built of.
std::string gpuKernels(const Json &kernels) {
  Table table({"kernel", "registers", "spilled", "shared", "threads", "tensor instructions", "built for", "counted from", "sha256 of its PTX"});
  for (const Json &kernel : kernels) {
    const Json &metrics = kernel["metrics"];
    auto metric = [&](const char *name) { return metrics.contains(name) ? text(metrics[name]) : std::string("-"); };
    std::string tensor = text(kernel["tensor_instructions"]), built = text(kernel["built_precision"]);
    table.add({text(kernel["name"]), metric("registers"), metric("spill_bytes"), metric("static_shared_bytes"), metric("threads"),
               tensor.empty() ? "-" : tensor, built.empty() ? "-" : built, text(kernel["counted_from"]),
               text(kernel["sha256"]).substr(0, 16)});
  }
  return table.print();
}

/// Launches that run at the tuned shapes, those in bodies of If steps among them.
template <typename Visit> void eachEstimated(const Json &steps, const Visit &visit) {
  for (const Json &step : steps) {
    if (step.contains("estimates"))
      visit(step);
    if (step.contains("body"))
      eachEstimated(step["body"], visit);
  }
}

/// The launch model's columns of every launch, a table for each chip.
std::string printModel(const Json &program) {
  const Json &traffic = program["traffic"];
  int64_t bytesMoved = traffic["bytes"].get<int64_t>(), least = traffic["minimum_bytes"].get<int64_t>();
  std::string result = "\n  Moves " + bytes(traffic["bytes"]) + " at the tuned shapes, each operand once a launch";
  if (least > 0)
    result += "; the least is " + bytes(traffic["minimum_bytes"]) + ", " + fixed(double(bytesMoved) / double(least), 3) + " times that";
  if (int64_t blocks = traffic["blocks"].get<int64_t>())
    result += "; " + text(traffic["launches_of_blocks"]) + " launches in " + std::to_string(blocks) + " encoder blocks";
  result += "\n";
  for (size_t chip = 0; chip < program["estimates"].size(); ++chip) {
    const Json &total = program["estimates"][chip];
    double kernels = total["kernels_us"].get<double>(), gaps = total["gaps_us"].get<double>();
    result += "\n  Estimate for " + text(total["chip"]) + " (by the launch model, not measured): kernels " + fixed(kernels, 1) + " us when every operand comes from memory, " +
              fixed(total["warm_kernels_us"].get<double>(), 1) + " us with what the launches before leave in L2 (" + bytes(total["warm_bytes"]) +
              " from and to memory), gaps between them " + fixed(gaps, 1) + " us\n";
    Table table({"layers", "useful", "filled", "pipe", "epilogue", "resident", "rounds", "limited by", "us", "with L2", "us"});
    auto row = [&](const Json &step) {
      const Json &e = step["estimates"][chip];
      table.add({joined(step["layers"]), fixed(e["useful_share"].get<double>(), 3), fixed(e["fill_share"].get<double>(), 3),
                 fixed(e["pipe_ceiling"].get<double>(), 3), fixed(e["epilogue_share"].get<double>(), 3), text(e["resident_blocks"]),
                 fixed(e["rounds"].get<double>(), 0), text(e["limiter"]), fixed(e["us"].get<double>(), 2), text(e["warm_limiter"]),
                 fixed(e["warm_us"].get<double>(), 2)});
    };
    eachEstimated(program["steps"], row);
    result += table.print();
  }
  return result;
}

std::string printTarget(const Json &target) {
  std::string result = "\nTarget " + text(target["name"]) + " (" + text(target["device"]) + "), code " +
                       bytes(target["code_bytes"]) + ", made with " + text(target["toolchain"]) + "\n  needs " +
                       joined(target["needs"]) + "\n";
  if (!text(target["driver"]).empty())
    result += "  oldest driver " + text(target["driver"]) + "\n";
  if (!target["layers"].empty()) {
    Table layers({"layer", "precision", "instructions", "kernel", "scale", "note"});
    for (const Json &layer : target["layers"])
      layers.add({text(layer["name"]), text(layer["precision"]), text(layer["instructions"]), text(layer["kernel"]),
                  text(layer["scale"]), text(layer["note"])});
    result += "\n" + layers.print();
  }
  if (text(target["device"]) == "cuda")
    result += "\n" + gpuKernels(target["kernels"]);
  Table kernels({"kernel", "kind", "instructions", "steps", "metrics"});
  for (const Json &kernel : target["kernels"]) {
    std::string metrics;
    for (const auto &[name, value] : kernel["metrics"].items())
      metrics += (metrics.empty() ? "" : ", ") + name + " " + text(value);
    kernels.add({text(kernel["name"]), text(kernel["kind"]), text(kernel["precision"]), text(kernel["steps"]), metrics});
  }
  result += "\n" + kernels.print();
  const Json &shared = target["shared_weights"];
  if (!shared.empty()) {
    uint64_t saved = 0;
    Table table({"shared tensor", "bytes", "steps", "saved", "layers"});
    for (const Json &tensor : shared) {
      saved += tensor["saved_bytes"].get<uint64_t>();
      table.add({text(tensor["tensor"]), grouped(tensor["bytes"].get<uint64_t>()), text(tensor["steps"]),
                 grouped(tensor["saved_bytes"].get<uint64_t>()), joined(tensor["layers"])});
    }
    result += "\n  Weights that several steps read, stored once: " + bytes(saved) + " saved\n" + table.print();
  }
  for (const Json &program : target["programs"]) {
    result += "\n  Program " + text(program["name"]) + ": " + std::to_string(program["steps"].size()) +
              " steps, arena " + bytes(program["arena_bytes"]["tuned"]) + " at the tuned shapes, " +
              bytes(program["arena_bytes"]["max"]) + " at the largest\n";
    Table steps({"step", "what", "grid", "layers", "reads", "writes"});
    printSteps(program["steps"], "", steps);
    result += steps.print() + printModel(program);
  }
  return result;
}
} // namespace

std::string vitrify::printInspection(const Json &report) {
  const Json &model = report["model"], &weights = report["weights"];
  std::string result = text(report["path"]) + ": bundle version " + text(report["version"]) + " by " +
                       text(report["producer"]) + ", precision " + text(report["precision"]) + "\nModel " +
                       text(model["name"]) + " (" + text(model["family"]) + "), licence " + text(model["license"]) +
                       ", from " + text(model["source"]) + "\n";
  for (const Json &entry : report["entries"]) {
    result += "Entry " + text(entry["name"]) + "(" + arguments(entry["inputs"]) + ") -> (" +
              arguments(entry["outputs"]) + ")\n";
    for (const Json &symbol : entry["symbols"])
      result += "  " + text(symbol["name"]) + " from " + text(symbol["min"]) + " to " + text(symbol["max"]) +
                ", tuned for " + text(symbol["tuned"]) + "\n";
  }
  result += "Weights " + bytes(weights["file_bytes"]) + " in the file, " + bytes(weights["tensor_bytes"]) + " in " +
            std::to_string(weights["tensors"].size()) + " tensors, " + bytes(weights["saved_by_sharing"]) +
            " saved by sharing\n";
  Table types({"dtype", "bytes"});
  for (const auto &[type, count] : weights["bytes_by_dtype"].items())
    types.add({type, grouped(count.get<uint64_t>())});
  result += types.print() + "\n";
  Table tensors({"tensor", "dtype", "shape", "bytes", "shared with"});
  for (const Json &tensor : weights["tensors"])
    tensors.add({text(tensor["name"]), text(tensor["dtype"]), "[" + joined(tensor["shape"]) + "]",
                 grouped(tensor["bytes"].get<uint64_t>()), joined(tensor["shared_with"])});
  result += tensors.print();
  for (const Json &target : report["targets"])
    result += printTarget(target);
  return result;
}
