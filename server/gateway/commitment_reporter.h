// Delivers storage commitment reports whose association has ended: on associations of its own, to where the
// receiver's settings say that the requester listens.
#pragma once

#include <memory>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

#include "server/gateway/commitment_source.h"
#include "server/gateway/socket.h"

namespace narthex::gateway {

// How reports travel: over TLS for receivers with TLS, else in plain text.
struct ReportTransport {
  std::shared_ptr<TlsServer> tls;  // our certificate, and the authorities of requesters; null: none
  bool plaintext_allowed = false;  // also to other machines
};

// Opens an association to report.address, sends the report and waits for its answer, all within `timeout`.
// With report.tls the requester must show a certificate of the authorities, for its AE title or its host.
// Errors say why it is not delivered: FAILED_PRECONDITION (PLAINTEXT_REFUSED): it would be plain text to
// another machine; CANCELLED: `stop` was set.
absl::Status SendCommitmentReport(const v1::CommitmentReport& report, const ReportTransport& transport,
                                  absl::Duration timeout, const StopSignal& stop);

// Thread-safe.
class CommitmentReporter {
 public:
  // Looks for reports every `poll`. Borrows `stop`, which ends a delivery.
  CommitmentReporter(std::shared_ptr<CommitmentSource> source, ReportTransport transport, absl::Duration poll,
                     const StopSignal& stop);
  ~CommitmentReporter();

  // Looks now.
  void Wake();

 private:
  void Run();
  // Whether there were any.
  bool DeliverDue();

  const std::shared_ptr<CommitmentSource> source_;
  const ReportTransport transport_;
  const absl::Duration poll_;
  const StopSignal& stop_;
  absl::Mutex mutex_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  bool woken_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace narthex::gateway
