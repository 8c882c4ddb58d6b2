//===- StatusTest.cpp - errors as values ------------------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "vitrify/Support/Status.h"

#include <gtest/gtest.h>

using namespace vitrify;

static StatusOr<int> half(int n) {
  if (n % 2)
    return invalidArgument("expected an even number, found " + std::to_string(n));
  return n / 2;
}

static StatusOr<int> quarter(int n) {
  VITRIFY_ASSIGN_OR_RETURN(int h, half(n));
  return half(h);
}

TEST(Status, ErrorsPassThroughUnchanged) {
  EXPECT_EQ(*quarter(12), 3);
  auto odd = quarter(6);
  ASSERT_FALSE(odd.ok());
  EXPECT_EQ(odd.status().code(), StatusCode::InvalidArgument);
  EXPECT_EQ(odd.status().message(), "expected an even number, found 3");
}

TEST(Status, PrefixKeepsSuccess) {
  EXPECT_TRUE(Status().prefixed("x").ok());
  EXPECT_EQ(notFound("y").prefixed("x").message(), "x: y");
}
