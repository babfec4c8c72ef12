// What the tests of staging share.
#pragma once

#include <stdlib.h>

#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include <gtest/gtest.h>

#include "base/error.h"
#include "storage/fs/file_system.h"
#include "storage/staging/staging.h"

namespace narthex::staging {

// `size` bytes that differ by `seed`.
inline std::string Bytes(size_t size, uint64_t seed) {
  std::string bytes(size, '\0');
  std::mt19937_64 random(seed * 1000003 + size);
  for (size_t i = 0; i < size; i += 8) {
    const uint64_t word = random();
    for (size_t j = i; j < std::min(size, i + 8); ++j) bytes[j] = static_cast<char>(word >> (8 * (j - i)));
  }
  return bytes;
}

inline absl::StatusOr<StoredObject> Put(SessionLog& log, absl::string_view bytes, absl::string_view meta,
                                        size_t piece = 100'000) {
  auto writer = log.StartObject();
  if (!writer.ok()) return writer.status();
  for (size_t at = 0; at < bytes.size(); at += piece) {
    const absl::Status status = (*writer)->Append(bytes.substr(at, piece));
    if (!status.ok()) return status;
  }
  return (*writer)->Finish(meta);
}

// The object's bytes, or the reason why they cannot be read.
inline std::string Get(SessionLog& log, const StoredObject& object) {
  std::string bytes;
  const absl::Status status = log.Read(object, [&](absl::string_view piece) {
    EXPECT_LE(piece.size(), size_t{1} << 20);
    bytes.append(piece.data(), piece.size());
    return absl::OkStatus();
  });
  return status.ok() ? bytes : ErrorReason(status);
}

inline std::vector<FoundObject> ScanAll(StagingStore& store, absl::string_view id, Position after = {}) {
  std::vector<FoundObject> found;
  const absl::Status status = store.Scan(id, after, [&](FoundObject object) {
    found.push_back(std::move(object));
    return absl::OkStatus();
  });
  EXPECT_TRUE(status.ok()) << status;
  return found;
}

inline std::string NewTestDirectory() {
  std::string pattern = absl::StrCat(::testing::TempDir(), "/narthex_staging_XXXXXX");
  return ::mkdtemp(pattern.data());
}

inline std::unique_ptr<StagingStore> OpenStore(fs::FileSystem& files, const StagingStore::Options& options) {
  auto store = StagingStore::Open(options, files);
  EXPECT_TRUE(store.ok()) << store.status();
  return store.ok() ? *std::move(store) : nullptr;
}

}  // namespace narthex::staging
