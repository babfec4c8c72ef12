#include "server/gateway/store_status.h"

#include <algorithm>
#include <iterator>

#include "absl/strings/str_cat.h"

#include "base/error.h"
#include "narthex/v1/errors.pb.h"
#include "server/gateway/dimse.h"

namespace narthex::gateway {
namespace {

// Sending the object again later, unchanged, may succeed.
bool IsLack(v1::ErrorReason reason) {
  switch (reason) {
    case v1::ERROR_REASON_DISK_FULL:
    case v1::ERROR_REASON_OVERLOADED:
    case v1::ERROR_REASON_DIGEST_MISMATCH:  // damaged between gateway and server
    case v1::ERROR_REASON_OBJECT_ABANDONED:
    case v1::ERROR_REASON_SESSION_BUSY:  // deleted or archived while the object arrived
    case v1::ERROR_REASON_DATABASE_UNAVAILABLE:
    case v1::ERROR_REASON_SEGMENT_FAILED:
    case v1::ERROR_REASON_INDEX_CORRUPT:
    case v1::ERROR_REASON_STORAGE_ERROR:
    case v1::ERROR_REASON_INTERNAL:
    case v1::ERROR_REASON_SHUTTING_DOWN:
      return true;
    default:
      return false;
  }
}

bool IsMismatch(v1::ErrorReason reason) {
  switch (reason) {
    case v1::ERROR_REASON_MISSING_SOP_CLASS_UID:
    case v1::ERROR_REASON_MISSING_SOP_INSTANCE_UID:
    case v1::ERROR_REASON_MISSING_STUDY_INSTANCE_UID:
    case v1::ERROR_REASON_INVALID_UID:
    case v1::ERROR_REASON_TRANSFER_SYNTAX_MISMATCH:
      return true;
    default:
      return false;
  }
}

StoreStatus StatusOfReason(const std::string& name) {
  v1::ErrorReason reason = v1::ERROR_REASON_UNSPECIFIED;
  if (!v1::ErrorReason_Parse(absl::StrCat("ERROR_REASON_", name), &reason))
    reason = v1::ERROR_REASON_UNSPECIFIED;
  if (IsLack(reason)) return {kStatusOutOfResources, name};
  if (IsMismatch(reason)) return {kStatusDataSetMismatch, name};
  const int number = std::min<int>(reason, 0xfff);
  return {static_cast<uint16_t>(kStatusCannotUnderstand + number), name};
}

}  // namespace

StoreStatus StoreStatusOf(const v1::ObjectOutcome& outcome, absl::string_view expected_instance_uid,
                          bool refuses_filtered) {
  switch (outcome.outcome()) {
    case v1::ObjectOutcome::STORED:
    case v1::ObjectOutcome::DUPLICATE:
    case v1::ObjectOutcome::REPLACED:
      break;
    case v1::ObjectOutcome::FILTERED:
      if (refuses_filtered) return StatusOfReason(outcome.reason());
      break;
    case v1::ObjectOutcome::CONFLICT:
      return {kStatusDuplicateSopInstance, outcome.reason()};
    default:
      return StatusOfReason(outcome.reason());
  }
  const std::string& uid = outcome.sop_instance_uid();
  if (!expected_instance_uid.empty() && !uid.empty() && uid != expected_instance_uid)
    return {kStatusDataSetMismatch, "SOP_INSTANCE_UID_DIFFERS"};
  return {kStatusSuccess, ""};
}

StoreStatus StoreStatusOf(const absl::Status& upload_error) {
  std::string reason = ErrorReason(upload_error);
  if (reason.empty()) reason = absl::StrCat("UPLOAD_", absl::StatusCodeToString(upload_error.code()));
  const bool refused = absl::IsUnauthenticated(upload_error) || absl::IsPermissionDenied(upload_error);
  return {refused ? kStatusNotAuthorized : kStatusOutOfResources, reason};
}

}  // namespace narthex::gateway
