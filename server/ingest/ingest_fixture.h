// What the tests of ingest stand on: a prearchive over segments on a file system in memory and an index in
// memory whose writes can be made to fail. For tests.
#pragma once

#include <algorithm>
#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/memory/memory.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/crc32c.h"
#include "base/digest.h"
#include "base/error.h"
#include "base/limits.h"
#include "imaging/phantom/phantom.h"
#include "server/ingest/object_stream.h"
#include "server/ingest/uploads.h"
#include "server/prearchive/prearchive.h"
#include "storage/fs/memory.h"
#include "storage/staging/index.h"
#include "storage/staging/staging.h"

namespace narthex::ingest {

// The index in memory, with writes that fail on demand. Thread-safe.
class FailingIndex : public staging::Index {
 public:
  void FailWrites(bool fail) { fail_ = fail; }

  absl::Status Write(const staging::IndexBatch& batch, staging::Durability durability) override {
    if (fail_) return Internal("INDEX_ERROR", "the test says so");
    return index_->Write(batch, durability);
  }
  absl::StatusOr<std::optional<std::string>> Get(staging::Table table, absl::string_view key) const override {
    return index_->Get(table, key);
  }
  absl::Status Scan(
      staging::Table table, absl::string_view begin, absl::string_view end,
      const std::function<bool(absl::string_view key, absl::string_view value)>& visit) const override {
    return index_->Scan(table, begin, end, visit);
  }
  absl::Status SyncAll() override { return index_->SyncAll(); }
  absl::Status Checkpoint(const std::string& directory) override { return index_->Checkpoint(directory); }
  void LosePower() override { index_->LosePower(); }

 private:
  std::unique_ptr<staging::Index> index_ = staging::Index::NewInMemory();
  std::atomic<bool> fail_{false};
};

// Policies with the default attributes and a router without rules.
class FixedPolicy : public PolicySource {
 public:
  explicit FixedPolicy(uint64_t object_max_bytes = limits::kObjectMaxBytes, bool clears_preambles = false) {
    auto policy = std::make_shared<Policy>();
    policy->attributes = std::make_shared<dicom::AttributeSet>(dicom::AttributeSet::Default());
    auto router = identify::Router::Create({});
    policy->router = std::make_shared<identify::Router>(*std::move(router));
    policy->object_max_bytes = object_max_bytes;
    policy->clears_preambles = clears_preambles;
    policy_ = std::move(policy);
  }
  std::shared_ptr<const Policy> Current() const override { return policy_; }

 private:
  std::shared_ptr<const Policy> policy_;
};

// P1 and P2, and nothing else.
class TwoProjects : public identify::ProjectDirectory {
 public:
  std::optional<std::string> Resolve(absl::string_view candidate) const override {
    if (candidate == "P1" || candidate == "P2") return std::string(candidate);
    return std::nullopt;
  }
};

class IngestTest : public testing::Test {
 protected:
  IngestTest() { Open(); }

  // Opens what the segments and the index hold, as a process does that starts.
  void Open(uint64_t free_space_min_bytes = 0) {
    prearchive_.reset();
    store_.reset();
    staging::StagingStore::Options options;
    options.directory = "/staging";
    options.free_space_min_bytes = free_space_min_bytes;
    auto store = staging::StagingStore::Open(options, *files_);
    ASSERT_TRUE(store.ok()) << store.status();
    store_ = *std::move(store);
    auto prearchive =
        prearchive::Prearchive::Open({.idle_build = absl::Seconds(60)}, *store_, index_, clock_);
    ASSERT_TRUE(prearchive.ok()) << prearchive.status();
    prearchive_ = *std::move(prearchive);
  }

  static phantom::Study Study(int slices = 3, int rows = 16, const std::string& project = "") {
    phantom::Options options;
    options.slices = slices;
    options.rows = rows;
    options.columns = rows;
    options.project = project;
    return phantom::Study(options);
  }
  // An object that is too large to be held.
  static std::string LargeObject() {
    phantom::Options options;
    options.slices = 1;
    options.rows = options.columns = 1200;
    options.seed = 2;
    return phantom::Study(options).Instance(0, 0);
  }

  prearchive::UploadRow NewUpload(const std::string& project = "P1", const std::string& label = "",
                                  DigestAlgorithm algorithm = DigestAlgorithm::kXxh3) {
    prearchive::UploadRow row;
    row.set_user("tester");
    row.set_kind("grpc");
    row.set_digest_algorithm(static_cast<int>(algorithm));
    row.mutable_destination()->set_project(project);
    row.mutable_destination()->set_label(label);
    auto created = uploads_.Create(row, "");
    EXPECT_TRUE(created.ok()) << created.status();
    return *created;
  }

  // A stream whose outcomes go to `outcomes_`, which is emptied; look at them after Finish.
  std::unique_ptr<ObjectStream> NewStream(const prearchive::UploadRow& upload, bool resumed = false,
                                          ObjectStream::Acks acks = ObjectStream::Acks::kOnThread) {
    outcomes_.clear();
    return std::make_unique<ObjectStream>(
        StreamDependencies{*prearchive_, uploads_, *policies_}, upload, projects_, resumed,
        [this](const std::vector<prearchive::OutcomeRow>& outcomes) {
          outcomes_.insert(outcomes_.end(), outcomes.begin(), outcomes.end());
        },
        acks);
  }

  static absl::Status SendWhole(ObjectStream& stream, int64_t sequence, absl::string_view bytes) {
    return stream.Whole(sequence, bytes, Xxh3(bytes), "");
  }

  static ObjectStream::Chunk ChunkOf(int64_t sequence, absl::string_view bytes, size_t offset, size_t size) {
    ObjectStream::Chunk chunk;
    chunk.sequence = sequence;
    chunk.offset = static_cast<int64_t>(offset);
    chunk.data = bytes.substr(offset, size);
    chunk.crc32c = Crc32c(chunk.data);
    return chunk;
  }

  // Sends `bytes` in chunks of `chunk_size`; `spoil` may change each before it is sent.
  static absl::Status SendChunks(ObjectStream& stream, int64_t sequence, absl::string_view bytes,
                                 size_t chunk_size,
                                 const std::function<void(ObjectStream::Chunk&)>& spoil = nullptr) {
    const std::string digest = Xxh3(bytes);
    for (size_t offset = 0; offset < bytes.size(); offset += chunk_size) {
      ObjectStream::Chunk chunk = ChunkOf(sequence, bytes, offset, chunk_size);
      chunk.last = offset + chunk_size >= bytes.size();
      if (chunk.last) chunk.digest = digest;
      if (chunk.last) chunk.size_bytes = static_cast<int64_t>(bytes.size());
      if (spoil) spoil(chunk);
      if (absl::Status sent = stream.Add(chunk); !sent.ok()) return sent;
    }
    return absl::OkStatus();
  }

  // One object through a stream of its own.
  prearchive::OutcomeRow SendOne(const prearchive::UploadRow& upload, int64_t sequence,
                                 absl::string_view bytes) {
    auto stream = NewStream(upload);
    EXPECT_TRUE(SendWhole(*stream, sequence, bytes).ok());
    EXPECT_TRUE(stream->Finish().ok());
    EXPECT_EQ(outcomes_.size(), 1u);
    return outcomes_.empty() ? prearchive::OutcomeRow() : outcomes_.front();
  }

  // "0:STORED 1:REJECTED/NOT_DICOM", by sequence.
  std::string Told() const {
    std::vector<prearchive::OutcomeRow> sorted = outcomes_;
    std::stable_sort(sorted.begin(), sorted.end(),
                     [](const auto& a, const auto& b) { return a.sequence() < b.sequence(); });
    std::string told;
    for (const prearchive::OutcomeRow& outcome : sorted) {
      absl::StrAppend(&told, told.empty() ? "" : " ", outcome.sequence(), ":",
                      prearchive::OutcomeName(static_cast<prearchive::Outcome>(outcome.outcome())),
                      outcome.reason().empty() ? "" : "/", outcome.reason());
    }
    return told;
  }

  std::vector<prearchive::SessionRow> Sessions() {
    auto rows = prearchive_->List({});
    EXPECT_TRUE(rows.ok()) << rows.status();
    return rows.ok() ? *rows : std::vector<prearchive::SessionRow>();
  }

  // Neither a session nor a folder of one.
  void ExpectNothingIsKept() {
    EXPECT_TRUE(Sessions().empty());
    EXPECT_TRUE(store_->ListSessions()->empty());
  }

  std::string BytesOf(const std::string& session, const std::string& uid) {
    const auto row = prearchive_->FindObject(session, uid);
    if (!row.ok()) return std::string(row.status().message());
    const auto log = prearchive_->OpenLog(session);
    if (!log.ok()) return std::string(log.status().message());
    std::string bytes;
    const absl::Status read =
        (*log)->Read(prearchive::Prearchive::StoredObjectOf(*row), [&](absl::string_view piece) {
          bytes.append(piece.data(), piece.size());
          return absl::OkStatus();
        });
    EXPECT_TRUE(read.ok()) << read;
    return bytes;
  }

  FakeClock clock_;
  std::unique_ptr<fs::InMemoryFileSystem> files_ = fs::NewInMemory();
  FailingIndex index_;
  std::unique_ptr<staging::StagingStore> store_;
  std::unique_ptr<prearchive::Prearchive> prearchive_;
  Uploads uploads_{index_, clock_};
  std::unique_ptr<PolicySource> policies_ = std::make_unique<FixedPolicy>();
  TwoProjects projects_;
  std::vector<prearchive::OutcomeRow> outcomes_;
};

}  // namespace narthex::ingest
