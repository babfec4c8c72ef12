#include "base/error.h"

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace narthex {
namespace {

constexpr char kReasonUrl[] = "narthex/reason";
constexpr char kMetadataUrl[] = "narthex/metadata";
constexpr char kFieldEnd = '\x1f';
constexpr char kEntryEnd = '\x1e';

}  // namespace

absl::Status Error(absl::StatusCode code, absl::string_view reason, absl::string_view message,
                   const ErrorMetadata& metadata) {
  absl::Status status(code, message);
  status.SetPayload(kReasonUrl, absl::Cord(reason));
  if (!metadata.empty()) {
    std::string encoded;
    for (const auto& [key, value] : metadata) {
      absl::StrAppend(&encoded, key, std::string(1, kFieldEnd), value, std::string(1, kEntryEnd));
    }
    status.SetPayload(kMetadataUrl, absl::Cord(encoded));
  }
  return status;
}

std::string ErrorReason(const absl::Status& status) {
  auto payload = status.GetPayload(kReasonUrl);
  return payload ? std::string(*payload) : std::string();
}

ErrorMetadata ErrorMetadataOf(const absl::Status& status) {
  ErrorMetadata metadata;
  auto payload = status.GetPayload(kMetadataUrl);
  if (!payload) return metadata;
  const std::string encoded(*payload);
  for (absl::string_view entry : absl::StrSplit(encoded, kEntryEnd, absl::SkipEmpty())) {
    std::pair<std::string, std::string> pair = absl::StrSplit(entry, absl::MaxSplits(kFieldEnd, 1));
    metadata.insert(std::move(pair));
  }
  return metadata;
}

absl::Status InvalidArgument(absl::string_view reason, absl::string_view message,
                             const ErrorMetadata& metadata) {
  return Error(absl::StatusCode::kInvalidArgument, reason, message, metadata);
}
absl::Status NotFound(absl::string_view reason, absl::string_view message, const ErrorMetadata& metadata) {
  return Error(absl::StatusCode::kNotFound, reason, message, metadata);
}
absl::Status FailedPrecondition(absl::string_view reason, absl::string_view message,
                                const ErrorMetadata& metadata) {
  return Error(absl::StatusCode::kFailedPrecondition, reason, message, metadata);
}
absl::Status ResourceExhausted(absl::string_view reason, absl::string_view message,
                               const ErrorMetadata& metadata) {
  return Error(absl::StatusCode::kResourceExhausted, reason, message, metadata);
}
absl::Status DataLoss(absl::string_view reason, absl::string_view message, const ErrorMetadata& metadata) {
  return Error(absl::StatusCode::kDataLoss, reason, message, metadata);
}
absl::Status Internal(absl::string_view reason, absl::string_view message, const ErrorMetadata& metadata) {
  return Error(absl::StatusCode::kInternal, reason, message, metadata);
}

absl::Status Annotate(const absl::Status& status, absl::string_view context) {
  if (status.ok()) return status;
  absl::Status annotated(status.code(), absl::StrCat(context, ": ", status.message()));
  status.ForEachPayload(
      [&](absl::string_view url, const absl::Cord& payload) { annotated.SetPayload(url, payload); });
  return annotated;
}

}  // namespace narthex
