// A catalog that is accepted is the same after writing and reading it again.
#include <cstdint>
#include <cstdlib>

#include "storage/archive/catalog.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto catalog =
      narthex::archive::ReadCatalog(absl::string_view(reinterpret_cast<const char*>(data), size));
  if (!catalog.ok()) return 0;
  const std::string written = narthex::archive::WriteCatalog(*catalog);
  const auto again = narthex::archive::ReadCatalog(written);
  if (!again.ok() || narthex::archive::WriteCatalog(*again) != written) abort();
  return 0;
}
