// The data set of an N-ACTION that asks for storage commitment, in both kinds of VR. What is accepted and
// needs no repair is the same in a report about it.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "absl/strings/string_view.h"

#include "base/error.h"
#include "server/gateway/commitment_dataset.h"

namespace gateway = narthex::gateway;
namespace v1 = narthex::v1;

namespace {

void Require(bool holds) {
  if (!holds) std::abort();
}

// A UID without padding at its end; the parser cuts long ones, so that padding from within can be there.
bool IsPlain(const std::string& uid) { return uid.back() != ' ' && uid.back() != '\0'; }

bool IsPlain(const v1::RequestCommitmentRequest& request) {
  return IsPlain(request.transaction_uid()) &&
         std::all_of(request.instances().begin(), request.instances().end(), [](const auto& instance) {
           return IsPlain(instance.sop_class_uid()) && IsPlain(instance.sop_instance_uid());
         });
}

void Run(absl::string_view bytes, bool explicit_vr) {
  const auto request = gateway::ParseCommitmentRequest(bytes, explicit_vr);
  if (!request.ok()) {
    Require(narthex::ErrorReason(request.status()) == "INVALID_FIELD");
    return;
  }
  if (!IsPlain(*request)) return;
  v1::CommitmentReport report;
  report.set_transaction_uid(request->transaction_uid());
  *report.mutable_instances() = request->instances();
  const auto again =
      gateway::ParseCommitmentRequest(gateway::EncodeCommitmentReport(report, explicit_vr), explicit_vr);
  Require(again.ok() && again->SerializeAsString() == request->SerializeAsString());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view bytes(reinterpret_cast<const char*>(data), size);
  Run(bytes, true);
  Run(bytes, false);
  return 0;
}
