//===- Status.cpp - errors as values --------------------------------------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "vitrify/Support/Status.h"

using namespace vitrify;

std::string_view vitrify::statusCodeName(StatusCode code) {
  switch (code) {
  case StatusCode::Ok: return "ok";
  case StatusCode::InvalidArgument: return "invalid argument";
  case StatusCode::NotFound: return "not found";
  case StatusCode::DataLoss: return "data loss";
  case StatusCode::Unsupported: return "unsupported";
  case StatusCode::ResourceExhausted: return "resource exhausted";
  case StatusCode::Internal: return "internal error";
  case StatusCode::Device: return "device error";
  case StatusCode::Cancelled: return "cancelled";
  }
  return "unknown";
}

Status Status::prefixed(std::string_view prefix) const {
  if (ok())
    return *this;
  return Status(code_, std::string(prefix) + ": " + message_);
}
