//===- Status.h - errors as values ------------------------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Status and StatusOr: how the parts that see no MLIR (Support, Weights, Bundle,
// Runtime, Emulator) report errors. No exception crosses a library's border.
//===----------------------------------------------------------------------===//
#pragma once

#include <cassert>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace vitrify {

/// Why an operation failed; the C API uses the same numbers.
enum class StatusCode : int {
  Ok = 0,
  InvalidArgument = 1,    ///< the caller's value is wrong (option, shape, dtype)
  NotFound = 2,           ///< a file, tensor, kernel or symbol is missing
  DataLoss = 3,           ///< a file is damaged: digest, truncation, format
  Unsupported = 4,        ///< well formed, but this build or device cannot do it
  ResourceExhausted = 5,  ///< out of memory or disk; says needed and free bytes
  Internal = 6,           ///< a bug of vitrify
  Device = 7,             ///< the driver or the device returned an error
  Cancelled = 8,          ///< stopped by the caller or by a time limit
};

/// The code's name, e.g. "invalid argument".
std::string_view statusCodeName(StatusCode code);

/// An error code and one message (lower case, no final period, found and expected named), or success.
class [[nodiscard]] Status {
public:
  Status() = default;
  Status(StatusCode code, std::string message) : code_(code), message_(std::move(message)) {}

  bool ok() const { return code_ == StatusCode::Ok; }
  explicit operator bool() const { return ok(); }
  StatusCode code() const { return code_; }
  const std::string &message() const { return message_; }
  /// The same error with `prefix: ` before its message; success stays success.
  Status prefixed(std::string_view prefix) const;

private:
  StatusCode code_ = StatusCode::Ok;
  std::string message_;
};

inline Status invalidArgument(std::string m) { return {StatusCode::InvalidArgument, std::move(m)}; }
inline Status notFound(std::string m) { return {StatusCode::NotFound, std::move(m)}; }
inline Status dataLoss(std::string m) { return {StatusCode::DataLoss, std::move(m)}; }
inline Status unsupported(std::string m) { return {StatusCode::Unsupported, std::move(m)}; }
inline Status resourceExhausted(std::string m) { return {StatusCode::ResourceExhausted, std::move(m)}; }
inline Status internalError(std::string m) { return {StatusCode::Internal, std::move(m)}; }
inline Status deviceError(std::string m) { return {StatusCode::Device, std::move(m)}; }

/// A value or the Status that says why there is none.
template <typename T> class [[nodiscard]] StatusOr {
public:
  StatusOr(Status status) : status_(std::move(status)) { assert(!status_.ok() && "StatusOr needs a value or an error"); }
  StatusOr(T value) : value_(std::move(value)) {}

  bool ok() const { return value_.has_value(); }
  explicit operator bool() const { return ok(); }
  const Status &status() const { return status_; }
  T &operator*() { return *value_; }
  const T &operator*() const { return *value_; }
  T *operator->() { return &*value_; }
  const T *operator->() const { return &*value_; }

private:
  Status status_;
  std::optional<T> value_;
};

} // namespace vitrify

#define VITRIFY_RETURN_IF_ERROR(expr)                                                                                  \
  do {                                                                                                                 \
    if (::vitrify::Status vitrifyStatus = (expr); !vitrifyStatus.ok())                                                 \
      return vitrifyStatus;                                                                                            \
  } while (false)

#define VITRIFY_CONCAT_(a, b) a##b
#define VITRIFY_CONCAT(a, b) VITRIFY_CONCAT_(a, b)
#define VITRIFY_ASSIGN_OR_RETURN(lhs, expr)                                                                            \
  auto VITRIFY_CONCAT(vitrifyOr, __LINE__) = (expr);                                                                   \
  if (!VITRIFY_CONCAT(vitrifyOr, __LINE__).ok())                                                                       \
    return VITRIFY_CONCAT(vitrifyOr, __LINE__).status();                                                               \
  lhs = std::move(*VITRIFY_CONCAT(vitrifyOr, __LINE__))
