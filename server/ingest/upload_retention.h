// Forgets uploads of long ago: their rows, one an object, would fill the index otherwise. Thread-compatible.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

#include "server/prearchive/rows.pb.h"
#include "storage/staging/index.h"

namespace narthex::ingest {

struct ForgottenUploads {
  int64_t upload_count = 0;
  int64_t object_count = 0;
};

class UploadRetention {
 public:
  explicit UploadRetention(staging::Index& index) : index_(index) {}

  // Forgets uploads that began, and whose last object came, before `before`, and of which nothing waits in
  // the prearchive. What sessions that went were told of by them is kept as counts, as long as the event of
  // their going is, so that narthex-verify can still add up. Repeating the request that made such an upload
  // makes another one. Durable when it returns, upload by upload. Errors are those of the index.
  absl::StatusOr<ForgottenUploads> Forget(absl::Time before);

 private:
  absl::StatusOr<bool> MayGo(const prearchive::UploadRow& upload, int64_t before_us) const;
  absl::StatusOr<int64_t> ForgetOne(absl::string_view id);
  absl::Status ForgetRequests();
  absl::Status ForgetTallies();

  staging::Index& index_;
};

}  // namespace narthex::ingest
