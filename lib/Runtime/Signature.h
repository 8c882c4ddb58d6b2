//===- Signature.h - who made a bundle --------------------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// The optional detached signature of a bundle: manifest.json.sig holds 64 bytes,
// the Ed25519 signature of manifest.json, which carries the digests of all others.
//   openssl pkeyutl -sign -rawin -inkey private.pem -in manifest.json -out manifest.json.sig
//===----------------------------------------------------------------------===//
#pragma once

#include "vitrify/Bundle/Verifier.h"

#include <string>

namespace vitrify {

/// Ok if the signature fits the manifest that `bundle` was opened with and the PEM public key at `keyPath`.
Status checkSignature(const Bundle &bundle, const std::string &keyPath);

} // namespace vitrify
