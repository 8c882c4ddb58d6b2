//===- Signature.cpp - who made a bundle ----------------------------------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "Signature.h"

#include <memory>
#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

using namespace vitrify;

namespace {
template <auto Free> struct Deleter {
  template <typename T> void operator()(T *pointer) const { Free(pointer); }
};
using Bio = std::unique_ptr<BIO, Deleter<&BIO_free>>;
using Key = std::unique_ptr<EVP_PKEY, Deleter<&EVP_PKEY_free>>;
using Digester = std::unique_ptr<EVP_MD_CTX, Deleter<&EVP_MD_CTX_free>>;

const unsigned char *bytesOf(const std::string &text) { return reinterpret_cast<const unsigned char *>(text.data()); }
} // namespace

Status vitrify::checkSignature(const Bundle &bundle, const std::string &keyPath) {
  VITRIFY_ASSIGN_OR_RETURN(std::string pem, readFile(keyPath, 1 << 16));
  Bio bio(BIO_new_mem_buf(pem.data(), int(pem.size())));
  Key key(bio ? PEM_read_bio_PUBKEY(bio.get(), nullptr, nullptr, nullptr) : nullptr);
  if (!key || EVP_PKEY_get_id(key.get()) != EVP_PKEY_ED25519)
    return invalidArgument("'" + keyPath + "' is not a PEM file with an Ed25519 public key");
  auto signature = readFile(bundle.folder() + "/manifest.json.sig", 1 << 10);
  if (!signature.ok())
    return dataLoss("a signature is required, but the bundle has no readable manifest.json.sig");
  VITRIFY_ASSIGN_OR_RETURN(std::string text, readFile(bundle.folder() + "/manifest.json"));
  // The file may have been replaced since the bundle was opened: what was signed must say what was opened.
  VITRIFY_ASSIGN_OR_RETURN(Manifest manifest, parseManifest(text));
  Digester digester(EVP_MD_CTX_new());
  if (!digester || EVP_DigestVerifyInit(digester.get(), nullptr, nullptr, nullptr, key.get()) != 1)
    return internalError("OpenSSL cannot check Ed25519 signatures");
  if (signature->size() != 64 ||
      EVP_DigestVerify(digester.get(), bytesOf(*signature), signature->size(), bytesOf(text), text.size()) != 1 ||
      printManifest(manifest) != printManifest(bundle.manifest()))
    return dataLoss("the bundle's signature was not made with the key of '" + keyPath + "'");
  return {};
}
