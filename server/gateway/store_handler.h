// The C-STORE service of one association: passes data sets on as Part 10 objects and answers for each.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"

#include "server/gateway/dimse.h"
#include "server/gateway/object_sink.h"
#include "server/gateway/responder.h"
#include "server/gateway/store_status.h"
#include "server/gateway/uid_probe.h"

namespace narthex::gateway {

// What happened on an association.
struct StoreCounts {
  int64_t stored_count = 0;   // answered with 0x0000
  int64_t refused_count = 0;  // answered otherwise
  int64_t data_bytes = 0;     // of data sets
};

struct StoreOptions {
  std::string calling_ae_title;
  v1::Destination destination;
  v1::ArrivalSource source;
  // Objects that may wait for their answer.
  int window = 1;
  // What FILTERED is answered with: a failure, else 0x0000.
  bool refuses_filtered = false;
};

// For one thread. Answers go out from the thread that brings the outcome: each object then costs one change
// of threads less, and an association with an asynchronous window fills whole batches.
class StoreHandler {
 public:
  // Borrows the responder.
  StoreHandler(StoreOptions options, const SinkFactory& sinks, Responder& responder);
  ~StoreHandler();

  // Starts the object of a C-STORE-RQ that came on context `context_id`, whose syntaxes are given. Blocks
  // while `window` objects wait. Never fails: an object that cannot be taken is answered at its end.
  void Begin(const Command& request, uint8_t context_id, absl::string_view abstract_syntax,
             absl::string_view transfer_syntax);
  // The next bytes of its data set.
  void Append(absl::string_view data);
  // The data set is complete. The answer goes out when the outcome comes. An error means that it cannot be
  // sent.
  absl::Status End();
  // The data set will not be completed: gives the object up. No effect if none was begun.
  void Abandon();

  // Whether answers are outstanding.
  bool HasPending() const;
  // Waits for outstanding outcomes and answers them; those that got none with 0xA700.
  void Drain();

  StoreCounts counts() const;

 private:
  // An object that waits for its outcome.
  struct Waiting {
    Command request;
    uint8_t context_id = 0;
  };
  struct Current {
    Waiting object;
    int64_t sequence = 0;
    // Set: the rest of the data set is dropped, and this is the answer.
    std::optional<StoreStatus> refusal;
    UidProbe probe;
    bool probing = true;
  };

  std::optional<StoreStatus> StartObject(absl::string_view abstract_syntax,
                                         absl::string_view transfer_syntax);
  void Probe(absl::string_view data);
  // The sink failed: the current object, if there is one, and all that wait are lost.
  void SinkFailed(const absl::Status& status);
  void WaitForRoom();
  void OnOutcome(const v1::ObjectOutcome& outcome);
  void AnswerLost(const StoreStatus& status);
  absl::Status Answer(const Waiting& object, const StoreStatus& status);

  const StoreOptions options_;
  Responder& responder_;
  std::optional<Current> current_;
  int64_t data_bytes_ = 0;

  mutable absl::Mutex mutex_;
  std::map<int64_t, Waiting> waiting_ ABSL_GUARDED_BY(mutex_);
  // The object whose data set is being received, and its outcome if that came before its end.
  std::optional<int64_t> receiving_ ABSL_GUARDED_BY(mutex_);
  std::optional<v1::ObjectOutcome> early_ ABSL_GUARDED_BY(mutex_);
  StoreCounts counts_ ABSL_GUARDED_BY(mutex_);  // without data_bytes

  // Last: its threads end before anything above goes.
  const std::unique_ptr<ObjectSink> sink_;
};

}  // namespace narthex::gateway
