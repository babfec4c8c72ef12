// A catalog that is accepted is the same after writing and reading it again, and so is its audit's grammar.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "absl/strings/string_view.h"

#include "storage/archive/catalog.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view text(reinterpret_cast<const char*>(data), size);
  const auto audit = narthex::archive::ReadAudit(text);
  if (narthex::archive::ReadAudit(narthex::archive::WriteAudit(audit)) != audit) abort();
  const auto catalog = narthex::archive::ReadCatalog(text);
  if (!catalog.ok()) return 0;
  const std::string written = narthex::archive::WriteCatalog(*catalog);
  const auto again = narthex::archive::ReadCatalog(written);
  if (!again.ok() || narthex::archive::WriteCatalog(*again) != written) abort();
  return 0;
}
