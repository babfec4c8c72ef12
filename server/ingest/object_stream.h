// Objects of one upload on their way to staging: bytes are checked, headers read, objects routed and
// appended, and outcomes given back once they are durable.
//
// One thread feeds the stream; a thread of the stream's own syncs what was appended (all that has come
// together meanwhile, in one go) and hands the outcomes out. Feeding blocks while too much waits for its
// sync: that is the back-pressure on the sender. For a sender that waits for each outcome before it goes on,
// the feeding thread does that itself, which saves two changes of threads an object.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"

#include "base/digest.h"
#include "imaging/dicom/attribute_set.h"
#include "imaging/dicom/header_scanner.h"
#include "imaging/identify/router.h"
#include "server/deidentify/plans.h"
#include "server/ingest/admission.h"
#include "server/ingest/policy.h"
#include "server/ingest/uploads.h"
#include "server/prearchive/prearchive.h"

namespace narthex::ingest {

// What the streams of a server share. Borrowed; outlives the streams.
struct StreamDependencies {
  prearchive::Prearchive& prearchive;
  Uploads& uploads;
  const PolicySource& policies;
  // What the site's script and profile do to everything that comes; null: nothing.
  const deidentify::PlanSource* plans = nullptr;
  Admission* admission = nullptr;      // null: nothing is limited
  SessionRulesSource rules = nullptr;  // null: none but the defaults
};

class SiteStage;

class ObjectStream {
 public:
  // Gets outcomes that are durable, several at once, on the stream's own thread (kOnThread) or within the
  // call that completed the object (kAtOnce). With kOnThread also those of objects that could not be made
  // durable: REJECTED, with the stream's error.
  using OutcomeSink = std::function<void(const std::vector<prearchive::OutcomeRow>&)>;

  enum class Acks { kOnThread, kAtOnce };

  // `projects` says which projects the sender may use; borrowed. `resumed`: objects that are settled already
  // are answered as they were.
  ObjectStream(StreamDependencies dependencies, prearchive::UploadRow upload,
               const identify::ProjectDirectory& projects, bool resumed, OutcomeSink sink,
               Acks acks = Acks::kOnThread);
  // Objects that were not complete leave nothing behind.
  ~ObjectStream();

  // One whole object; `digest` by the upload's algorithm. The views need to live until it returns.
  // INVALID_ARGUMENT (UPLOAD_PROTOCOL): ends the stream; what was sent before is still answered. The stream's
  // own error, as Finish, once it has one: more of its objects would be received in vain.
  absl::Status Whole(int64_t sequence, absl::string_view data, absl::string_view digest,
                     absl::string_view transfer_syntax_uid);

  // The same for bytes that came to nobody but this process: their digest is made here, not compared.
  absl::Status Own(int64_t sequence, absl::string_view data);

  struct Chunk {
    int64_t sequence = 0;
    int64_t offset = 0;
    absl::string_view data;
    uint32_t crc32c = 0;
    bool last = false;
    int64_t size_bytes = 0;    // 0: not known yet
    absl::string_view digest;  // "": not known yet
    bool abandon = false;
    absl::string_view transfer_syntax_uid;
    bool own = false;  // its bytes came to nobody but this process: there is nothing to compare them with
  };
  // A piece of an object. Once its header is there, its bytes go to its session as they come. Errors as
  // Whole.
  absl::Status Add(const Chunk& chunk);

  // No more objects. Blocks until every outcome was handed out. The stream's own error, if it had one:
  // nothing after it was acknowledged. Call it once.
  absl::Status Finish();

 private:
  struct Current;

  void Settle(prearchive::Arrived arrived, uint64_t size_bytes);
  void Reject(int64_t sequence, const absl::Status& why, uint64_t size_bytes, absl::string_view digest);
  absl::Status WholeChecked(int64_t sequence, absl::string_view data, absl::string_view digest,
                            absl::string_view xxh3, absl::string_view transfer_syntax_uid);
  absl::StatusOr<prearchive::ArrivingObject> Receive(const dicom::HeaderFacts& facts, int64_t sequence,
                                                     prearchive::OutcomeRow& outcome);
  bool Anonymizes() const;
  bool Profiles() const;
  std::string Pseudonym(absl::string_view what, const prearchive::ArrivingObject& object,
                        const std::string& original) const;
  void Rename(const dicom::HeaderFacts* stored, prearchive::ArrivingObject& object) const;
  absl::Status Route(const dicom::HeaderFacts& facts, prearchive::ArrivingObject& object);
  absl::StatusOr<std::unique_ptr<SiteStage>> NewStage(prearchive::ArrivingObject& object,
                                                      absl::string_view transfer_syntax_uid);
  absl::StatusOr<std::unique_ptr<prearchive::Reception>> Join(prearchive::ArrivingObject object,
                                                              const dicom::HeaderFacts& stored,
                                                              prearchive::OutcomeRow& outcome);
  absl::Status Stream(absl::string_view data);
  absl::Status JoinStaged();
  absl::Status Conclude(prearchive::Arrived& arrived, prearchive::ObjectRow row,
                        absl::Span<const absl::string_view> pieces, absl::string_view head);
  absl::Status BeginObject(int64_t sequence);
  absl::Status BeginStreaming();
  absl::Status FinishChunked(const Chunk& chunk);
  absl::Status AddToCurrent(absl::string_view data);
  void RunAcks();
  void Commit(std::vector<prearchive::Arrived> batch);
  void TellNotKept(std::vector<prearchive::OutcomeRow> objects, const absl::Status& why);
  bool Answered(int64_t sequence);
  absl::Status Failed();
  // With kAtOnce: what became of the object that was completed just now.
  absl::Status CommittedAtOnce();

  const StreamDependencies dependencies_;
  const prearchive::UploadRow upload_;
  const identify::ProjectDirectory& projects_;
  const bool resumed_;
  const OutcomeSink sink_;
  std::shared_ptr<const Policy> policy_;
  std::shared_ptr<const identify::Router> router_;  // the receiver's, as long as it can be had
  // Whence the object that was routed last, and joins its session next, has labels that must be made anew of
  // what the site's script leaves.
  struct Named {
    bool label_by_patient = false;    // PatientID, because nothing else gave one
    bool subject_by_patient = false;  // PatientName, likewise
    bool subject_is_label = false;
  };
  Named named_;
  // The session of the last object: opening it for each one costs a third of what receiving costs.
  std::shared_ptr<const void> at_hand_;
  // What a filter refused last, until Reject tells of it.
  std::optional<prearchive::Arrived> filtered_;
  std::unique_ptr<Current> current_;
  int64_t skipping_ = -1;  // sequence of an object whose remaining chunks are ignored

  absl::Mutex mutex_;
  std::vector<prearchive::Arrived> waiting_ ABSL_GUARDED_BY(mutex_);
  uint64_t waiting_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
  std::thread acks_;  // none with kAtOnce
};

}  // namespace narthex::ingest
