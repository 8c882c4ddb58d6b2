//===- EmulateOptions.cpp - the command line of vitrify-emulate *- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Options are the driver's (lib/Emulator/Driver/Options.cpp) by another spelling, and
// those of a single kernel.
//===----------------------------------------------------------------------===//
#include "EmulateOptions.h"

#include "vitrify/Support/File.h"
#include "vitrify/Support/Float8.h"

#include <charconv>
#include <cstring>

namespace vitrify::emulate {

const char *const kHelp =
    R"(usage: vitrify-emulate MODULE --kernel NAME --grid X[,Y,Z] --block X[,Y,Z] [--arg ARG]... [options]
       vitrify-emulate [options] -- PROGRAM [arguments]

Runs PTX on an emulated GPU with every check on, and says what is wrong: out of bounds, uninitialised reads, races, missing
waits, deadlock. The first form runs one kernel of a PTX or fatbin file; the second a program that uses the CUDA driver
API (libcuda.so.1), unchanged.

kernel:
  --kernel NAME        the kernel (may be left out if the module has one)
  --grid, --block      numbers of blocks and threads
  --smem N             bytes of dynamic shared memory
  --cooperative        a cooperative launch: all blocks are resident at once
  --arg ARG            the next parameter, one of
      FILE.npy             an array, by its address
      inout:FILE.npy[=TO]  the same; it is written to TO afterwards
      out:TYPE:SHAPE[=TO]  an array without contents, e.g. out:f32:128x64=y.npy
      zero:TYPE:SHAPE[=TO] an array of zeros
      TYPE:VALUE           a number: i8 u8 i16 u16 i32 u32 i64 u64 f16 bf16 f32 f64
  -o FILE              where the next array without =TO goes, in the order of the parameters

options:
  --chip NAME          "RTX 4090", sm_89, ... ; several for a program: sm_89,sm_90
  --checks LIST        memory, init, race, sync, all, none, or -CLASS to leave one out (default all)
  --check-kernels LIST only kernels whose names contain one of these words are checked
  --limit N            keep the first N reports of a launch (default 100)
  --on-fault WHAT      stop (default) or continue after a memory fault
  --error-exitcode N   exit with N if anything was found
  --counters           what the kernel did, as a table: instructions, bank conflicts, sectors, tensor work
  --lines N            busiest lines in that table (default 20)
  --json FILE          reports and counters as JSON; - for the standard output
  --seed N             another schedule of warps and blocks, the same for the same N
  --approx WHAT        exact (default), or perturb: randomise ex2, rcp, tanh, ... inside the ISA's error bounds
  --arithmetic WHAT    chip (default): sums of tensor cores as the chip forms them; plain: multiply-adds in f32
  --threads N          host threads (default: all cores)
  --memory SIZE        device memory, e.g. 2G (default: the chip's)
  --max-instructions N warp instructions of a launch before it is stopped
  --polling WHAT       grids in which every thread only polls: report them as deadlocks, wait, or auto (default of programs):
                       report where no thread of the host can write
  --quiet              do not print reports
  --help               this text

examples:
  vitrify-emulate axpy.ptx --kernel axpy --grid 4 --block 256 --arg i32:1000 --arg f32:2 --arg x.npy \
                  --arg inout:y.npy=y2.npy
  vitrify-emulate gemm.fatbin --kernel gemm --grid 8,8 --block 128 --smem 32768 --arg a.npy --arg b.npy \
                  --arg out:f32:1024x1024 -o c.npy --counters --seed 7 --error-exitcode 9
  vitrify-emulate --chip sm_89 --checks race,sync --json found.json -- ./my_program --size 64
)";

namespace {

Status wrong(std::string_view option, std::string_view value, std::string_view expected) {
  return invalidArgument(std::string(option) + ": expected " + std::string(expected) + ", found '" +
                         std::string(value) + "'");
}

template <typename T> bool number(std::string_view text, T &out, int base = 10) {
  if constexpr (std::is_integral_v<T>) {
    auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out, base);
    return error == std::errc() && end == text.data() + text.size();
  } else {
    auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
    return error == std::errc() && end == text.data() + text.size();
  }
}

Status dimensions(std::string_view option, std::string_view text, std::array<unsigned, 3> &out) {
  std::array<unsigned, 3> values = {1, 1, 1};
  std::string_view rest = text;
  for (size_t i = 0; i < 3; ++i) {
    size_t comma = rest.find(',');
    if (!number(rest.substr(0, comma), values[i]) || values[i] == 0)
      return wrong(option, text, "one to three positive numbers X[,Y[,Z]]");
    if (comma == rest.npos) {
      out = values;
      return {};
    }
    rest.remove_prefix(comma + 1);
  }
  return wrong(option, text, "one to three positive numbers X[,Y[,Z]]");
}

std::string upper(std::string_view text) {
  std::string out(text);
  for (char &c : out)
    c = c >= 'a' && c <= 'z' ? char(c - 32) : c;
  return out;
}

template <typename T> std::vector<std::byte> bytesOf(T value) {
  std::vector<std::byte> out(sizeof value);
  std::memcpy(out.data(), &value, sizeof value);
  return out;
}

template <typename T> StatusOr<std::vector<std::byte>> scalar(std::string_view argument, std::string_view text) {
  T value{};
  bool hex = std::is_integral_v<T> && text.starts_with("0x");
  if (!(hex ? number(text.substr(2), value, 16) : number(text, value)))
    return wrong("--arg", argument, std::is_integral_v<T> ? "a whole number that fits the type" : "a number");
  return bytesOf(value);
}

StatusOr<std::vector<std::byte>> scalarOf(std::string_view argument, std::string_view type, std::string_view text) {
  if (type == "i8")
    return scalar<int8_t>(argument, text);
  if (type == "u8")
    return scalar<uint8_t>(argument, text);
  if (type == "i16")
    return scalar<int16_t>(argument, text);
  if (type == "u16")
    return scalar<uint16_t>(argument, text);
  if (type == "i32")
    return scalar<int32_t>(argument, text);
  if (type == "u32")
    return scalar<uint32_t>(argument, text);
  if (type == "i64")
    return scalar<int64_t>(argument, text);
  if (type == "u64")
    return scalar<uint64_t>(argument, text);
  if (type == "f64")
    return scalar<double>(argument, text);
  if (type == "f32")
    return scalar<float>(argument, text);
  if (type == "f16" || type == "bf16") {
    float value = 0;
    if (!number(text, value))
      return wrong("--arg", argument, "a number");
    return bytesOf(type == "f16" ? encodeF16(value) : encodeBF16(value));
  }
  return wrong("--arg", argument,
               "FILE.npy, inout:FILE.npy, out:TYPE:SHAPE, zero:TYPE:SHAPE, or TYPE:VALUE with i8 u8 i16 u16 i32 u32 "
               "i64 u64 f16 bf16 f32 f64");
}

/// "f32:128x64"
Status typeAndShape(const std::string &argument, std::string_view text, NpyArray &array) {
  size_t colon = text.find(':');
  if (colon == text.npos)
    return wrong("--arg", argument, "TYPE:SHAPE, e.g. f32:128x64");
  auto type = parseDType(upper(text.substr(0, colon)));
  if (!type)
    return wrong("--arg", argument, "f16, f32, f64, u8, i8, i32 or i64 as an array's type");
  array.dtype = *type;
  std::string_view rest = text.substr(colon + 1);
  for (;;) {
    size_t x = rest.find('x');
    int64_t size = 0;
    if (!number(rest.substr(0, x), size) || size < 1)
      return wrong("--arg", argument, "a shape of positive numbers, e.g. 128x64");
    array.shape.push_back(size);
    if (x == rest.npos)
      break;
    rest.remove_prefix(x + 1);
  }
  auto bytes = tensorBytes(array.dtype, array.shape);
  if (!bytes)
    return bytes.status().prefixed("--arg " + argument);
  array.data.resize(size_t(*bytes));
  return {};
}

} // namespace

StatusOr<Argument> parseArgument(const std::string &text) {
  Argument argument;
  argument.text = text;
  std::string_view rest = text;
  auto prefix = [&](std::string_view word) {
    bool has = rest.starts_with(word);
    if (has)
      rest.remove_prefix(word.size());
    return has;
  };
  auto takePath = [&] {
    size_t equals = rest.find('=');
    if (equals == rest.npos)
      return;
    argument.path = rest.substr(equals + 1);
    rest = rest.substr(0, equals);
  };
  bool out = prefix("out:"), zero = !out && prefix("zero:");
  if (out || zero) {
    argument.kind = out ? Argument::Kind::Out : Argument::Kind::Zero;
    takePath();
    VITRIFY_RETURN_IF_ERROR(typeAndShape(text, rest, argument.array));
    return argument;
  }
  if (prefix("inout:")) {
    argument.kind = Argument::Kind::InOut;
    takePath();
  } else if (rest.ends_with(".npy")) {
    argument.kind = Argument::Kind::In;
  } else {
    size_t colon = rest.find(':');
    auto value = scalarOf(text, rest.substr(0, colon), colon == rest.npos ? "" : rest.substr(colon + 1));
    if (!value)
      return value.status();
    argument.scalar = std::move(*value);
    return argument;
  }
  VITRIFY_ASSIGN_OR_RETURN(argument.array, readNpy(std::string(rest)));
  return argument;
}

Status parseOptions(int argc, char **argv, Options &options, bool &help) {
  // Options that go to the driver as they are.
  static constexpr std::pair<std::string_view, const char *> kDriver[] = {{"--chip", "devices"},
                                                                          {"--checks", "checks"},
                                                                          {"--check-kernels", "kernels"},
                                                                          {"--limit", "limit"},
                                                                          {"--seed", "seed"},
                                                                          {"--approx", "approx"},
                                                                          {"--arithmetic", "arithmetic"},
                                                                          {"--threads", "threads"},
                                                                          {"--memory", "memory"},
                                                                          {"--max-instructions", "max_instructions"},
                                                                          {"--on-fault", "on_fault"},
                                                                          {"--polling", "polling"}};
  std::vector<std::string> results;
  for (int i = 1; i < argc; ++i) {
    std::string option = argv[i], value;
    if (option == "--") {
      options.program.assign(argv + i + 1, argv + argc);
      if (options.program.empty())
        return invalidArgument("expected a program after --");
      break;
    }
    if (option == "--help" || option == "-h") {
      help = true;
      return {};
    }
    if (option == "--counters") {
      options.counters = true;
      options.driver.emplace_back("counters", "on");
      continue;
    }
    if (option == "--quiet") {
      options.driver.emplace_back("quiet", "on");
      continue;
    }
    if (option == "--cooperative") {
      options.cooperative = true;
      continue;
    }
    if (!option.starts_with("-")) {
      if (!options.module.empty())
        return invalidArgument("expected one module, found '" + options.module + "' and '" + option + "'");
      options.module = option;
      continue;
    }
    // Everything else takes a value, as the next word or behind '='.
    size_t equals = option.find('=');
    if (option.starts_with("--") && equals != option.npos) {
      value = option.substr(equals + 1);
      option.resize(equals);
    } else if (i + 1 < argc) {
      value = argv[++i];
    } else {
      return invalidArgument(option + ": expected a value, or it is no option (--help lists them)");
    }
    bool known = false;
    for (auto [name, driverName] : kDriver)
      if (option == name) {
        emulator::DriverOptions probe;
        VITRIFY_RETURN_IF_ERROR(emulator::setDriverOption(probe, driverName, value).prefixed(option));
        options.driver.emplace_back(driverName, value);
        known = true;
      }
    if (known)
      continue;
    if (option == "--kernel")
      options.kernel = value;
    else if (option == "--grid" || option == "--block")
      VITRIFY_RETURN_IF_ERROR(dimensions(option, value, option == "--grid" ? options.grid : options.block));
    else if (option == "--smem") {
      if (!number(value, options.shared))
        return wrong(option, value, "a number of bytes");
    } else if (option == "--lines") {
      if (!number(value, options.lines))
        return wrong(option, value, "a number of lines");
    } else if (option == "--error-exitcode") {
      int code = 0;
      if (!number(value, code) || code < 0 || code > 255)
        return wrong(option, value, "a number from 0 to 255");
      options.errorExitCode = code;
    } else if (option == "--json")
      options.json = value;
    else if (option == "-o")
      results.push_back(value);
    else if (option == "--arg") {
      VITRIFY_ASSIGN_OR_RETURN(Argument argument, parseArgument(value));
      options.arguments.push_back(std::move(argument));
    } else
      return invalidArgument("unknown option '" + option + "'; --help lists them");
  }
  size_t next = 0;
  for (Argument &argument : options.arguments)
    if (argument.kind > Argument::Kind::In && argument.path.empty() && next < results.size())
      argument.path = results[next++];
  if (next < results.size())
    return invalidArgument("-o " + results[next] + ": there is no output left for it");
  if (!options.program.empty()) {
    if (!options.module.empty() || !options.arguments.empty() || !options.kernel.empty())
      return invalidArgument("a module and a program: give one of them");
    return {};
  }
  if (options.module.empty())
    return invalidArgument("expected a PTX or fatbin file, or -- and a program; --help explains");
  if (!options.grid[0] || !options.block[0])
    return invalidArgument("expected --grid and --block");
  return {};
}

Status writeJson(const Options &options, const std::string &text) {
  if (options.json.empty())
    return {};
  if (options.json == "-")
    return std::fwrite(text.data(), 1, text.size(), stdout) == text.size()
               ? Status()
               : resourceExhausted("cannot write to the standard output");
  return writeFileAtomically(options.json, text);
}

int exitStatus(const Options &options, uint64_t faults, int status) {
  return faults && options.errorExitCode ? *options.errorExitCode : status;
}

} // namespace vitrify::emulate
