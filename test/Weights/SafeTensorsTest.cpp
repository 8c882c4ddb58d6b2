//===- SafeTensorsTest.cpp - safetensors files, whole and broken ---------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "../Support/TempFolder.h"
#include "vitrify/Weights/SafeTensors.h"

#include <gtest/gtest.h>

using namespace vitrify;
using vitrify::test::TempFolder;

namespace {
/// A file from its header's text and its data, as any writer of the format makes it.
std::string file(const std::string &header, const std::string &data) {
  std::string length(8, '\0');
  for (size_t i = 0; i < 8; ++i)
    length[i] = static_cast<char>(header.size() >> (8 * i));
  return length + header + data;
}

StatusOr<SafeTensorsHeader> parse(const std::string &bytes) {
  return parseSafeTensorsHeader(std::as_bytes(std::span(bytes)), bytes.size());
}

std::string messageOf(const std::string &bytes) {
  auto header = parse(bytes);
  return header.ok() ? "(accepted)" : header.status().message();
}

std::string tensor(const std::string &name, const std::string &dtype, const std::string &shape, int begin, int end) {
  return "\"" + name + "\":{\"dtype\":\"" + dtype + "\",\"shape\":" + shape + ",\"data_offsets\":[" +
         std::to_string(begin) + "," + std::to_string(end) + "]}";
}

std::vector<std::byte> filled(size_t size, int value) { return std::vector<std::byte>(size, static_cast<std::byte>(value)); }

const std::string kTwo = "{" + tensor("b", "F32", "[2]", 4, 12) + "," + tensor("a", "BF16", "[2,1]", 0, 4) +
                         ",\"__metadata__\":{\"format\":\"pt\"}}   ";
} // namespace

TEST(SafeTensors, ParsesInOrderOfPosition) {
  auto header = parse(file(kTwo, std::string(12, 'x')));
  ASSERT_TRUE(header.ok()) << header.status().message();
  ASSERT_EQ(header->tensors.size(), 2u);
  EXPECT_EQ(header->tensors[0].name, "a");
  EXPECT_EQ(header->tensors[0].dtype, DType::BF16);
  EXPECT_EQ(header->tensors[1].shape, std::vector<int64_t>{2});
  EXPECT_EQ(header->tensors[1].begin, 8 + kTwo.size() + 4);
  EXPECT_EQ(header->metadata.at("format"), "pt");
  EXPECT_EQ(header->digest, sha256(file(kTwo, "")));
  EXPECT_TRUE(parse(file("{}", "")).ok());
}

TEST(SafeTensors, TakesEveryElementType) {
  for (const char *dtype : {"BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0"})
    EXPECT_TRUE(parse(file("{" + tensor("t", dtype, "[3]", 0, 3) + "}", "abc")).ok()) << dtype;
  EXPECT_TRUE(parse(file("{" + tensor("t", "F4", "[2,3]", 0, 3) + "}", "abc")).ok());
  EXPECT_TRUE(parse(file("{" + tensor("t", "F6_E2M3", "[4]", 0, 3) + "}", "abc")).ok());
  EXPECT_TRUE(parse(file("{" + tensor("t", "F64", "[]", 0, 8) + "}", "abcdefgh")).ok());
  EXPECT_TRUE(parse(file("{" + tensor("t", "C64", "[1]", 0, 8) + "}", "abcdefgh")).ok());
  EXPECT_TRUE(parse(file("{" + tensor("t", "F32", "[0, 5]", 0, 0) + "}", "")).ok());
  EXPECT_EQ(messageOf(file("{" + tensor("t", "F4", "[3]", 0, 1) + "}", "a")),
            "'t': tensor of F4 [3] does not fill whole bytes");
}

TEST(SafeTensors, RefusesEveryTruncation) {
  std::string whole = file(kTwo, std::string(12, 'x'));
  for (size_t size = 0; size < whole.size(); ++size)
    EXPECT_FALSE(parse(whole.substr(0, size)).ok()) << size;
  EXPECT_NE(messageOf(whole + "x").find("the file has"), std::string::npos);
}

TEST(SafeTensors, RefusesByName) {
  auto refused = [](const std::string &header, size_t data, const std::string &part) {
    std::string message = messageOf(file(header, std::string(data, 'x')));
    EXPECT_NE(message.find(part), std::string::npos) << header << ": " << message;
  };
  std::string huge = file(kTwo, std::string(12, 'x'));
  huge[7] = 0x10; // a header of 2^60 bytes
  EXPECT_NE(messageOf(huge).find("safetensors header of 1152921504606847"), std::string::npos) << messageOf(huge);
  huge[7] = '\xff';
  EXPECT_FALSE(parse(huge).ok());
  refused("{" + tensor("a", "U8", "[4]", 0, 4) + "," + tensor("b", "U8", "[4]", 2, 6) + "}", 6, "'a' and 'b' overlap");
  refused("{" + tensor("a", "U8", "[4]", 0, 4) + "," + tensor("b", "U8", "[4]", 0, 4) + "}", 4, "overlap");
  refused("{" + tensor("a", "U8", "[2]", 0, 2) + "," + tensor("b", "U8", "[2]", 4, 6) + "}", 6, "belong to no tensor");
  refused("{" + tensor("a", "U8", "[2]", 1, 3) + "}", 3, "belong to no tensor");
  refused("{" + tensor("a", "U8", "[2]", 0, 2) + "," + tensor("a", "U8", "[2]", 2, 4) + "}", 4, "'a' occurs twice");
  refused("{" + tensor("a", "F32", "[2]", 0, 4) + "}", 4, "has 4 bytes, expected 8 for F32 [2]");
  refused("{" + tensor("a", "F32", "[2]", 0, 8) + "}", 4, "expected an integer from 0 to 4");
  refused("{" + tensor("a", "U8", "[2]", 2, 0) + "}", 2, "data_offsets[1]");
  refused("{" + tensor("a", "Q8", "[2]", 0, 2) + "}", 2, "unknown element type 'Q8'");
  refused("{" + tensor("a", "U8", "[-2]", 0, 2) + "}", 2, "shape[0]");
  refused("{" + tensor("a", "U8", "[2.0]", 0, 2) + "}", 2, "shape[0]");
  refused("{" + tensor("a", "U8", "[4294967296,4294967296]", 0, 2) + "}", 2, "more than 2^63 elements");
  refused("{\"a\":{\"dtype\":\"U8\",\"shape\":[1]}}", 1, "'data_offsets' is missing");
  refused("{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1],\"x\":0}}", 1, "unknown key 'x'");
  refused("{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0]}}", 1, "expected [begin, end]");
  refused("{\"a\":3}", 0, "expected an object");
  refused("{\"__metadata__\":{\"a\":3}}", 0, "expected a string");
  refused("{\"__metadata__\":3}", 0, "expected an object");
  refused("[]", 0, "does not start with '{'");
  refused(" {}", 0, "does not start with '{'");
  refused("{\"a\":", 0, "invalid JSON");
  refused("{\"a\":{\"dtype\":\"U8\",\"shape\":[[[[[[[[1]]]]]]]],\"data_offsets\":[0,1]}}", 1, "nested deeper");
}

TEST(SafeTensors, WriterAlignsPadsAndDiscards) {
  TempFolder folder;
  std::vector<std::pair<std::string, size_t>> names = {{"first", 1}, {"second", 2}, {"gone", 1}, {"chunk", 1}};
  std::string path = folder.path("w.safetensors");
  auto writer = SafeTensorsWriter::create(path, SafeTensorsWriter::headerBytes(names));
  ASSERT_TRUE(writer.ok());
  auto put = [&](const std::string &name, DType type, std::vector<int64_t> shape, uint64_t align, int value) {
    ASSERT_TRUE(writer->begin(name, type, shape, align).ok());
    auto bytes = filled(static_cast<size_t>(*tensorBytes(type, shape)), value);
    ASSERT_TRUE(writer->write(std::span(bytes).first(bytes.size() / 2)).ok());
    EXPECT_EQ(writer->end().code(), StatusCode::Internal); // not complete
    ASSERT_TRUE(writer->write(std::span(bytes).subspan(bytes.size() / 2)).ok());
    EXPECT_FALSE(writer->write(filled(1, 0)).ok()); // too much
  };
  put("first", DType::F8E4M3, {10}, 64, 1);
  ASSERT_TRUE(writer->end().ok());
  put("second", DType::F32, {3, 5}, 64, 2);
  ASSERT_TRUE(writer->end().ok());
  put("gone", DType::U8, {100}, 4096, 3);
  ASSERT_TRUE(writer->discard().ok());
  put("chunk", DType::BF16, {7}, 4096, 4);
  std::byte back[1];
  ASSERT_TRUE(writer->readAt(writer->current().begin, back).ok());
  EXPECT_EQ(back[0], std::byte{4});
  EXPECT_FALSE(writer->finish().ok()); // still open
  ASSERT_TRUE(writer->end().ok());
  EXPECT_FALSE(writer->begin("__pad.0", DType::U8, {1}).ok());
  EXPECT_FALSE(writer->begin("x", DType::U8, {1}, 48).ok());
  EXPECT_FALSE(writer->begin("x", DType::U8, {1}, 8192).ok());
  EXPECT_FALSE(std::filesystem::exists(path));
  ASSERT_TRUE(writer->finish({{"made by", "a \"test\""}}).ok());

  auto read = SafeTensorsFile::open(path);
  ASSERT_TRUE(read.ok()) << read.status().message();
  ASSERT_EQ(read->tensors().size(), 3u);
  EXPECT_EQ(read->header().metadata.at("made by"), "a \"test\"");
  EXPECT_EQ(read->find("gone"), nullptr);
  for (const TensorInfo &info : read->tensors())
    EXPECT_EQ(info.begin % (info.name == "chunk" ? 4096 : 64), 0u) << info.name;
  const TensorInfo *second = read->find("second");
  ASSERT_NE(second, nullptr);
  EXPECT_EQ(second->shape, (std::vector<int64_t>{3, 5}));
  for (std::byte byte : read->data(*second))
    EXPECT_EQ(byte, std::byte{2});
  EXPECT_EQ(folder.count(), 1u);
}

TEST(SafeTensors, HeaderRoomIsAlwaysEnough) {
  TempFolder folder;
  // Names that escape badly, and a padding before every tensor but the first.
  std::vector<std::pair<std::string, size_t>> names;
  for (int i = 0; i < 300; ++i)
    names.emplace_back(std::string(20, '\x01') + "\"" + std::to_string(i), 8);
  auto writer = SafeTensorsWriter::create(folder.path("w"), SafeTensorsWriter::headerBytes(names));
  for (const auto &[name, rank] : names) {
    ASSERT_TRUE(writer->begin(name, DType::U8, std::vector<int64_t>(rank, 1)).ok());
    ASSERT_TRUE(writer->write(filled(1, 0)).ok());
    ASSERT_TRUE(writer->end().ok());
  }
  ASSERT_TRUE(writer->finish().ok());
  EXPECT_EQ(SafeTensorsFile::open(folder.path("w"))->tensors().size(), 300u);
}

TEST(SafeTensors, ReadsWhatTheLibraryWrites) {
  // library.safetensors is made by make_library_file.py: 0 to 5 in every element type.
  auto file = SafeTensorsFile::open(VITRIFY_TEST_DATA "/library.safetensors");
  ASSERT_TRUE(file.ok()) << file.status().message();
  EXPECT_EQ(file->tensors().size(), 18u);
  EXPECT_EQ(file->header().metadata.at("made"), "by the library");
  std::pair<const char *, DType> types[] = {
      {"f64", DType::F64},    {"f32", DType::F32},    {"f16", DType::F16}, {"bf16", DType::BF16},
      {"e4m3", DType::F8E4M3}, {"e5m2", DType::F8E5M2}, {"i8", DType::I8},   {"u8", DType::U8},
      {"i16", DType::I16},    {"u16", DType::U16},    {"i32", DType::I32}, {"u32", DType::U32},
      {"i64", DType::I64},    {"u64", DType::U64},    {"bool", DType::Bool}, {"c64", DType::C64}};
  for (auto [name, type] : types) {
    const TensorInfo *info = file->find(name);
    ASSERT_NE(info, nullptr) << name;
    EXPECT_EQ(info->dtype, type) << name;
    EXPECT_EQ(info->shape, (std::vector<int64_t>{2, 3})) << name;
  }
  EXPECT_EQ(file->data(*file->find("u8"))[5], std::byte{5});
  EXPECT_EQ(file->data(*file->find("e4m3"))[2], std::byte{0x40}); // 2.0
  EXPECT_TRUE(file->find("scalar")->shape.empty());
  EXPECT_EQ(file->find("empty")->bytes(), 0u);
}

TEST(Checkpoint, OpensFilesFoldersAndIndices) {
  TempFolder folder;
  std::string one = file("{" + tensor("a", "U8", "[2]", 0, 2) + "}", "aa");
  std::string two = file("{" + tensor("b", "U8", "[2]", 0, 2) + "}", "bb");
  EXPECT_EQ(openCheckpoint(folder.path()).status().code(), StatusCode::NotFound);
  folder.write("model.safetensors", one);
  EXPECT_EQ(openCheckpoint(folder.path())->files.size(), 1u);
  EXPECT_EQ(openCheckpoint(folder.path("model.safetensors"))->fileOfTensor.size(), 1u);
  folder.write("m-1.safetensors", one);
  folder.write("parts/m-2.safetensors", two);
  std::string index = "model.safetensors.index.json";
  auto with = [&](const std::string &map) {
    folder.write(index, "{\"metadata\": {}, \"weight_map\": " + map + "}");
    auto opened = openCheckpoint(folder.path());
    return opened.ok() ? std::to_string(opened->fileOfTensor.size()) : opened.status().message();
  };
  EXPECT_EQ(with(R"({"a": "m-1.safetensors", "b": "parts/m-2.safetensors"})"), "2");
  auto refused = [&](const std::string &map, const std::string &part) {
    EXPECT_NE(with(map).find(part), std::string::npos) << with(map);
  };
  refused(R"({"a": "../m-1.safetensors"})", "is not a file below the checkpoint's folder");
  refused(R"({"a": "/etc/passwd"})", "is not a file below the checkpoint's folder");
  refused(R"({"a": "parts/../../x"})", "is not a file below the checkpoint's folder");
  refused(R"({"a": "none.safetensors"})", "none.safetensors");
  refused(R"({"x": "m-1.safetensors"})", "tensor 'x' is not in 'm-1.safetensors'");
  refused(R"({"b": "parts/m-2.safetensors", "a": 3})", "expected a file name, found 3");
  refused("3", "expected an object");
  refused("{", "invalid JSON");
  folder.write("m-1.safetensors",
               file("{" + tensor("a", "U8", "[1]", 0, 1) + "," + tensor("b", "U8", "[1]", 1, 2) + "}", "ab"));
  refused(R"({"a": "m-1.safetensors", "b": "parts/m-2.safetensors"})", "is in two files");
  refused(R"({"a": "m-1.safetensors"})", "'b' of '");
}
