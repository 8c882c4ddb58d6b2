//===- HostDevice.h - the CPU as a device -----------------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Runs the kernels of kernels.so on this machine's cores.
//===----------------------------------------------------------------------===//
#pragma once

#include "vitrify/Runtime/Device.h"
#include "vitrify/Runtime/Devices/HostX86/CpuFeatures.h"

#include <memory>

namespace vitrify {

/// `features` decides which targets may run; tests give other ones than this machine's.
std::unique_ptr<Device> createHostDevice(const DeviceOptions &options, CpuFeatures features = detectCpuFeatures());

} // namespace vitrify
