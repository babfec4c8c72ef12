// Association PDUs: what is accepted must survive encoding and parsing again, and the gateway must find an
// answer.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "absl/strings/string_view.h"

#include "server/gateway/negotiation.h"
#include "server/gateway/pdu.h"

namespace gateway = narthex::gateway;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view bytes(reinterpret_cast<const char*>(data), size);
  for (const auto type : {gateway::PduType::kAssociateRq, gateway::PduType::kAssociateAc}) {
    absl::StatusOr<gateway::Associate> first = gateway::ParseAssociate(type, bytes);
    if (!first.ok()) continue;
    // Encoding cuts what is too long; from then on nothing may change any more.
    const std::string once = gateway::EncodeAssociate(type, *first);
    absl::StatusOr<gateway::Associate> second =
        gateway::ParseAssociate(type, absl::string_view(once).substr(gateway::kPduHeaderBytes));
    if (!second.ok()) continue;  // too much for 16 bit lengths, or a UID that is cut to nothing
    const std::string twice = gateway::EncodeAssociate(type, *second);
    absl::StatusOr<gateway::Associate> third =
        gateway::ParseAssociate(type, absl::string_view(twice).substr(gateway::kPduHeaderBytes));
    if (!third.ok() || !(*third == *second)) std::abort();
    if (type == gateway::PduType::kAssociateRq) {
      const gateway::Associate answer = gateway::Negotiate(*first);
      if (answer.contexts.size() != first->contexts.size()) std::abort();
      (void)gateway::CheckProtocol(*first);
    }
  }
  return 0;
}
