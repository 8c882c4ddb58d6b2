//===- CudaDevice.h - an NVIDIA GPU as a device -----------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Runs the kernels of kernels.fatbin through the CUDA driver API. The driver's
// functions come as a table: from libcuda.so.1 by dlopen, from the emulator's
// library of the same name, or from a test that records the calls.
//===----------------------------------------------------------------------===//
#pragma once

#include "vitrify/Runtime/CudaApi.h"
#include "vitrify/Runtime/Device.h"

#include <memory>
#include <string>

namespace vitrify {

/// Opens the driver library `driver` ("": libcuda.so.1) and its device `index`. NotFound says that there is no driver or
/// no such device; Unsupported that the driver is too old.
StatusOr<std::unique_ptr<Device>> createCudaDevice(const DeviceOptions &options, const std::string &driver, int index);

/// The same with a table that the caller keeps alive.
StatusOr<std::unique_ptr<Device>> createCudaDevice(const DeviceOptions &options, const cuda::CudaApi &api, int index);

/// Parameters of every GPU kernel, in this order: the step's scalars as 64-bit integers, then one pointer for each weight,
/// read and written operand.
///
/// The target of a bundle for compute capability major.minor: its own ("sm_89"), an architecture-specific one
/// ("sm_90a"), else the portable one, whose PTX the driver compiles: "sm_89" for every newer chip.
StatusOr<const ManifestTarget *> chooseCudaTarget(const Manifest &manifest, int major, int minor);

} // namespace vitrify
