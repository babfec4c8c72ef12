// Command sets: what is accepted must survive encoding and parsing again, and the response to it, too.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "absl/strings/string_view.h"

#include "server/gateway/dimse.h"
#include "server/gateway/uid_probe.h"

namespace gateway = narthex::gateway;

namespace {

// What the encoding carries, by PS3.7: not everything that a parser may find in a foreign command set.
bool SameOnTheWire(const gateway::Command& a, const gateway::Command& b) {
  return gateway::EncodeCommand(a) == gateway::EncodeCommand(b);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view bytes(reinterpret_cast<const char*>(data), size);
  absl::StatusOr<gateway::Command> command = gateway::ParseCommand(bytes);
  if (command.ok()) {
    absl::StatusOr<gateway::Command> again = gateway::ParseCommand(gateway::EncodeCommand(*command));
    if (!again.ok() || !SameOnTheWire(*again, *command)) std::abort();
    const gateway::Command response = gateway::ResponseTo(*command, gateway::kStatusOutOfResources, bytes);
    if (!gateway::ParseCommand(gateway::EncodeCommand(response)).ok()) std::abort();
  }
  for (const char* syntax : {"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"}) {
    gateway::UidProbe whole(syntax);
    (void)whole.Feed(bytes);
    gateway::UidProbe pieces(syntax);
    for (size_t at = 0; at < size && pieces.Feed(bytes.substr(at, 3)); at += 3) {
    }
    if (whole.sop_instance_uid() != pieces.sop_instance_uid()) std::abort();
  }
  return 0;
}
