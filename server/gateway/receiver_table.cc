#include "server/gateway/receiver_table.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

#include "base/status.h"

namespace narthex::gateway {

absl::StatusOr<ReceiverTable> ReceiverTable::Make(const std::vector<ReceiverConfig>& configs) {
  NX_RETURN_IF_ERROR(CheckReceivers(configs));
  ReceiverTable table;
  table.configs_ = configs;
  for (const ReceiverConfig& config : configs) {
    std::vector<AllowedCaller>& allowed = table.allowed_.emplace_back();
    for (const std::string& text : config.allowed_callers) {
      NX_ASSIGN_OR_RETURN(AllowedCaller caller, AllowedCaller::Parse(text));
      allowed.push_back(std::move(caller));
    }
  }
  return table;
}

std::variant<Admission, Refusal> ReceiverTable::Admit(const Associate& request,
                                                      absl::string_view peer_address, uint16_t local_port,
                                                      absl::string_view certificate_name) const {
  const std::string& calling = request.calling_ae_title;
  for (size_t i = 0; i < configs_.size(); ++i) {
    const ReceiverConfig& config = configs_[i];
    if (config.port != local_port || config.ae_title != request.called_ae_title) continue;
    if (!calling.empty() && !IsAeTitle(calling)) {
      return Refusal{kRejectCallingAe, "the calling AE title is none (PS3.5 6.2)"};
    }
    const bool welcome = allowed_[i].empty() || std::any_of(allowed_[i].begin(), allowed_[i].end(),
                                                            [&](const AllowedCaller& caller) {
                                                              return caller.Matches(calling, peer_address);
                                                            });
    if (!welcome) {
      return Refusal{kRejectCallingAe,
                     "the receiver's allow-list has neither this AE title nor this address"};
    }
    if (config.tls_client_certificate && (calling.empty() || calling != certificate_name)) {
      return Refusal{kRejectCallingAe, certificate_name.empty() ? "the caller shows no certificate"
                                                                : "the certificate is of another AE title"};
    }
    return Admission{config.destination, config.refuses_filtered};
  }
  return Refusal{kRejectCalledAe,
                 absl::StrCat("no receiver that is enabled has this AE title on port ", local_port)};
}

}  // namespace narthex::gateway
