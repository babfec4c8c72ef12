// Storage commitment: what is durable of the objects that somebody asks about, and the reports that wait for
// their delivery. Knows nothing of DICOM's messages. Thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

#include "base/clock.h"
#include "server/ingest/commitment_row.pb.h"
#include "server/prearchive/prearchive.h"
#include "storage/staging/index.h"

namespace narthex::ingest {

class Commitments {
 public:
  // (0008,1197), PS3.3 C.14.1.1.
  static constexpr int kNoSuchInstance = 0x0112;
  static constexpr int kClassInstanceConflict = 0x0119;
  // Who claims a report has so long for its delivery.
  static constexpr absl::Duration kLease = absl::Minutes(2);

  struct ArchivedInstance {
    std::string sop_instance_uid, sop_class_uid;
    std::string received_identity;  // what stands for the UID that a script replaced; "" if none did
  };
  struct Dependencies {
    prearchive::Prearchive& prearchive;
    staging::Index& index;
    const Clock& clock;
    // Which of these instances the archive holds, in sessions that are not deleted; by UID, or by what stands
    // for the UID that a script replaced.
    std::function<absl::StatusOr<std::vector<ArchivedInstance>>(const std::vector<std::string>& uids,
                                                                const std::vector<std::string>& identities)>
        archived;
    // What stands for a UID that a script replaces; may be empty.
    std::function<std::string(absl::string_view uid)> fingerprint;
  };
  explicit Commitments(Dependencies dependencies) : with_(std::move(dependencies)) {}

  // Makes due at once what somebody had claimed when the server ended. At the start.
  absl::Status ReleaseClaims();

  struct Answer {
    CommitmentRow row;
    std::vector<std::string> sessions;  // of the prearchive, that hold some of the objects
  };
  // Fills in what is durable, and keeps the report until it is concluded; it is not due before kLease. `row`
  // needs UIDs and titles. RESOURCE_EXHAUSTED (OVERLOADED): too many reports wait.
  absl::StatusOr<Answer> Request(CommitmentRow row);

  // Reports that are due, oldest first, at most `limit`; they are not due again before kLease.
  absl::StatusOr<std::vector<CommitmentRow>> Claim(int limit);

  // The report was delivered: it is forgotten. OK if it is not there.
  absl::Status Delivered(absl::string_view id);
  // It was not: it is due at once (`failed` false) or later, and forgotten after limits::kCommitmentTriesMax
  // failures. NOT_FOUND.
  absl::Status NotDelivered(absl::string_view id, bool failed, absl::string_view why);

 private:
  absl::Status CheckStaged(CommitmentRow& row, std::vector<std::string>& sessions) const;
  absl::Status CheckSession(const prearchive::SessionRow& session, std::vector<CommittedInstanceRow*>& open,
                            bool* holds) const;
  absl::Status CheckArchived(CommitmentRow& row) const;
  absl::Status Write(const CommitmentRow& row);

  const Dependencies with_;
  absl::Mutex mutex_;  // one change of rows at a time
};

}  // namespace narthex::ingest
