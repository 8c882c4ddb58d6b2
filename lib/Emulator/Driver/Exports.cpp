//===- Exports.cpp - the names of libcuda.so.1 ---------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Each exported name jumps to the emulated driver's function. Jumps, because a
// definition would have to repeat every parameter list with names.
//===----------------------------------------------------------------------===//
#include "State.h"

#if defined(__x86_64__)
#define VITRIFY_JUMP "jmp "
#elif defined(__aarch64__)
#define VITRIFY_JUMP "b "
#else
#error "no jump instruction known for this machine"
#endif

#define VITRIFY_EXPORT(symbol, target)                                                                                 \
  asm(".text\n.globl " #symbol "\n.type " #symbol ", %function\n" #symbol ":\n" VITRIFY_JUMP #target                   \
      "\n.size " #symbol ", .-" #symbol "\n");

#define VITRIFY_CU(name, symbol, params) VITRIFY_EXPORT(symbol, vitrifyEmulated_##name)
#define VITRIFY_CU_OPTIONAL(name, symbol, params) VITRIFY_EXPORT(symbol, vitrifyEmulated_##name)
#include "vitrify/Runtime/CudaSymbols.def"
#define VITRIFY_CU_VERSION(name, symbol, from, until, params) VITRIFY_EXPORT(symbol, vitrifyEmulatedVersion_##symbol)
#include "VersionSymbols.def"

// Those of the per-thread stream jump through a pointer: what they run has no name of its own.
#if defined(__x86_64__)
#define VITRIFY_JUMP_THROUGH(pointer) "jmp *" #pointer "(%rip)"
#else
#define VITRIFY_JUMP_THROUGH(pointer) "adrp x16, " #pointer "\nldr x16, [x16, :lo12:" #pointer "]\nbr x16"
#endif
#define VITRIFY_EXPORT_THROUGH(symbol, pointer)                                                                        \
  asm(".text\n.globl " #symbol "\n.type " #symbol ", %function\n" #symbol ":\n" VITRIFY_JUMP_THROUGH(pointer)           \
      "\n.size " #symbol ", .-" #symbol "\n");
#define VITRIFY_CU_PER_THREAD(name, symbol) VITRIFY_EXPORT_THROUGH(symbol, vitrifyPerThread_##symbol)
#include "PerThreadSymbols.def"
