// Session documents: what is read can be written, and what was written reads back the same.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "absl/strings/string_view.h"

#include "imaging/session/document.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto& types = narthex::session::TypeRegistry::BuiltIn();
  const auto first = narthex::session::ReadSessionDocument(
      absl::string_view(reinterpret_cast<const char*>(data), size), types);
  if (!first.ok()) return 0;
  const std::string xml = narthex::session::WriteSessionDocument(first->session, first->facts);
  const auto second = narthex::session::ReadSessionDocument(xml, types);
  if (!second.ok() || second->session.scans.size() != first->session.scans.size()) std::abort();
  return 0;
}
