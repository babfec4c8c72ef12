#include "server/gateway/negotiation.h"

#include <algorithm>
#include <set>

#include "absl/strings/match.h"

#include "base/limits.h"
#include "base/limits_gateway.h"
#include "imaging/dicom/sop_class.h"
#include "server/gateway/commitment_dataset.h"
#include "server/gateway/receiver.h"

namespace narthex::gateway {
namespace {

constexpr absl::string_view kDicomRoot = "1.2.840.10008.";
// Where the standard puts new storage classes, also those that are younger than our table.
constexpr absl::string_view kStorageRoot = "1.2.840.10008.5.1.4.1.1.";

// The answer for one context; `refused` are the SOP classes whose proposer does not want to send.
PresentationContext Answer(const PresentationContext& proposed, const std::set<std::string>& refused) {
  PresentationContext answer;
  answer.id = proposed.id;
  // An answer always names a transfer syntax; of a rejected context it does not count (PS3.8 9.3.3.2).
  answer.transfer_syntaxes = {proposed.transfer_syntaxes.front()};
  const bool verification = proposed.abstract_syntax == dicom::kVerificationSopClass;
  const bool commitment = proposed.abstract_syntax == kCommitmentSopClass;
  if (!verification && !commitment && !IsAcceptedForStorage(proposed.abstract_syntax)) {
    answer.result = ContextResult::kAbstractSyntaxNotSupported;
    return answer;
  }
  if (refused.count(proposed.abstract_syntax) != 0) {
    answer.result = ContextResult::kUserRejection;
    return answer;
  }
  const auto first = std::find_if(proposed.transfer_syntaxes.begin(), proposed.transfer_syntaxes.end(),
                                  [commitment](const std::string& uid) {
                                    // Its data sets are read here, and in these syntaxes only.
                                    if (commitment)
                                      return uid == kExplicitLittleEndian || uid == kImplicitLittleEndian;
                                    return IsUid(uid);
                                  });
  if (first == proposed.transfer_syntaxes.end()) {
    answer.result = ContextResult::kTransferSyntaxesNotSupported;
    return answer;
  }
  answer.transfer_syntaxes = {*first};
  return answer;
}

AsyncWindow AnswerWindow(const AsyncWindow& proposed) {
  AsyncWindow answer;
  answer.invoked = proposed.invoked == 0 ? limits::kAsyncWindowMax
                                         : std::min(proposed.invoked, limits::kAsyncWindowMax.get());
  answer.performed = 1;  // nothing is ever asked of the sender
  return answer;
}

}  // namespace

bool IsUid(absl::string_view text) {
  return !text.empty() && text.size() <= limits::kUidMaxBytes &&
         std::all_of(text.begin(), text.end(), [](char c) { return (c >= '0' && c <= '9') || c == '.'; });
}

bool IsAcceptedForStorage(absl::string_view sop_class_uid) {
  if (!IsUid(sop_class_uid)) return false;
  if (!absl::StartsWith(sop_class_uid, kDicomRoot)) return true;
  if (sop_class_uid == dicom::kMediaStorageDirectoryStorage) return false;
  return absl::StartsWith(sop_class_uid, kStorageRoot) || dicom::IsStorageSopClass(sop_class_uid);
}

Associate Negotiate(const Associate& request) {
  Associate answer;
  answer.called_ae_title = request.called_ae_title;
  answer.calling_ae_title = request.calling_ae_title;
  answer.max_pdu_bytes = limits::kPduMaxBytes;
  answer.implementation_class_uid = std::string(kImplementationClassUid);
  answer.implementation_version = std::string(kImplementationVersionName);
  if (request.async_window) answer.async_window = AnswerWindow(*request.async_window);

  // We are never a sender: the SCP role is not granted to anybody.
  std::set<std::string> refused;
  for (const RoleSelection& role : request.roles) {
    answer.roles.push_back({role.sop_class_uid, role.scu, false});
    if (!role.scu) refused.insert(role.sop_class_uid);
  }
  answer.contexts.reserve(request.contexts.size());
  for (const PresentationContext& context : request.contexts)
    answer.contexts.push_back(Answer(context, refused));
  return answer;
}

std::optional<Reject> CheckProtocol(const Associate& request) {
  if ((request.protocol_version & 1) == 0) return kRejectProtocolVersion;
  if (request.application_context != kApplicationContextUid) return kRejectApplicationContext;
  return std::nullopt;
}

std::string LoggedAeTitle(absl::string_view title) {
  if (title.empty()) return "";
  return IsAeTitle(title) ? std::string(title) : "(invalid)";
}

}  // namespace narthex::gateway
