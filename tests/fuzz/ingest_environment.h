// What the fuzzers of ingest stand on: a new prearchive in memory for each input, and what must hold when the
// input is through.
#pragma once

#include <cstdlib>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/digest.h"
#include "server/ingest/object_stream.h"
#include "server/ingest/uploads.h"
#include "server/prearchive/prearchive.h"
#include "storage/fs/memory.h"
#include "storage/staging/index.h"
#include "storage/staging/staging.h"

namespace narthex::fuzz {

inline void Require(bool holds) {
  if (!holds) std::abort();
}

// Single-threaded, but for the stream's own thread.
class IngestEnvironment : public ingest::PolicySource, public identify::ProjectDirectory {
 public:
  IngestEnvironment() {
    static const auto* policy = [] {
      auto made = std::make_shared<ingest::Policy>();
      made->attributes = std::make_shared<dicom::AttributeSet>(dicom::AttributeSet::Default());
      made->router = std::make_shared<identify::Router>(*identify::Router::Create({}));
      made->object_max_bytes = 8 << 20;
      return new std::shared_ptr<const ingest::Policy>(std::move(made));
    }();
    policy_ = *policy;
    staging::StagingStore::Options options;
    options.directory = "/staging";
    options.free_space_min_bytes = 0;
    options.buffer_pool_bytes = 4 << 20;
    options.writer_threads = 0;
    store_ = *staging::StagingStore::Open(options, *files_);
    prearchive_ = *prearchive::Prearchive::Open({}, *store_, *index_, clock_);
    upload_ = *uploads_.Create({}, "");
  }

  std::shared_ptr<const ingest::Policy> Current() const override { return policy_; }
  std::optional<std::string> Resolve(absl::string_view candidate) const override {
    if (candidate == "P1") return "P1";
    return std::nullopt;
  }

  std::unique_ptr<ingest::ObjectStream> NewStream(bool resumed) {
    return std::make_unique<ingest::ObjectStream>(
        ingest::StreamDependencies{*prearchive_, uploads_, *this}, upload_, *this, resumed,
        [this](const std::vector<prearchive::OutcomeRow>& outcomes) {
          outcomes_.insert(outcomes_.end(), outcomes.begin(), outcomes.end());
        });
  }

  const std::vector<prearchive::OutcomeRow>& outcomes() const { return outcomes_; }

  // What was told to be stored is there, with the bytes that were received, and there is nothing else.
  void CheckConsistent() {
    const auto sessions = prearchive_->List({.limit = 1'000'000});
    Require(sessions.ok());
    size_t kept = 0;
    for (const prearchive::SessionRow& session : *sessions) {
      Require(session.object_count() > 0);
      uint32_t objects = 0;
      Require(prearchive_
                  ->ForEachObject(session.id(),
                                  [&](const prearchive::ObjectRow& row) {
                                    ++objects;
                                    CheckBytes(session.id(), row);
                                    return absl::OkStatus();
                                  })
                  .ok());
      Require(objects == session.object_count());
      Require(session.outcome_counts().at(static_cast<int>(prearchive::Outcome::kStored)) == objects);
      kept += objects;
    }
    std::set<std::string> stored;  // a resumed stream may tell of an object again
    for (const auto& outcome : outcomes_) {
      if (outcome.outcome() != static_cast<int>(prearchive::Outcome::kStored)) continue;
      stored.insert(outcome.session() + "/" + outcome.sop_instance_uid());
      Require(prearchive_->FindObject(outcome.session(), outcome.sop_instance_uid()).ok());
    }
    Require(stored.size() == kept);
    Require(store_->ListSessions()->size() == sessions->size());
  }

 private:
  void CheckBytes(const std::string& session, const prearchive::ObjectRow& row) {
    const auto log = prearchive_->OpenLog(session);
    Require(log.ok());
    Xxh3Hasher hasher;
    Require((*log)
                ->Read(prearchive::Prearchive::StoredObjectOf(row),
                       [&](absl::string_view piece) {
                         hasher.Update(piece);
                         return absl::OkStatus();
                       })
                .ok());
    Require(hasher.Finish() == row.received_xxh3());
  }

  FakeClock clock_;
  std::shared_ptr<const ingest::Policy> policy_;
  std::unique_ptr<fs::InMemoryFileSystem> files_ = fs::NewInMemory();
  std::unique_ptr<staging::Index> index_ = staging::Index::NewInMemory();
  ingest::Uploads uploads_{*index_, clock_};
  std::unique_ptr<staging::StagingStore> store_;
  std::unique_ptr<prearchive::Prearchive> prearchive_;
  prearchive::UploadRow upload_;
  std::vector<prearchive::OutcomeRow> outcomes_;
};

}  // namespace narthex::fuzz
