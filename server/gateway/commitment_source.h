// Who knows what is durable, and keeps reports until they are delivered. The seam between DICOM and the
// CommitmentService.
#pragma once

#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "clients/cpp/connection.h"
#include "narthex/v1/commitment_service.pb.h"

namespace narthex::gateway {

// Thread-safe.
class CommitmentSource {
 public:
  enum class Delivery {
    kDone,
    kFailed,       // it will be due again later
    kInterrupted,  // the association ended without it: it is due at once
  };

  virtual ~CommitmentSource() = default;

  // What is durable of these objects. Blocks. The report waits, also over restarts, until Conclude.
  virtual absl::StatusOr<v1::CommitmentReport> Request(const v1::RequestCommitmentRequest& request) = 0;
  // Reports that are due.
  virtual absl::StatusOr<std::vector<v1::CommitmentReport>> Claim() = 0;
  // What became of one. An error means that it will be due again.
  virtual absl::Status Conclude(const v1::CommitmentReport& report, Delivery delivery,
                                absl::string_view error) = 0;
};

// That of narthexd.
std::shared_ptr<CommitmentSource> ServerCommitments(std::shared_ptr<client::Connection> connection);

}  // namespace narthex::gateway
