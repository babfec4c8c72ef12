// A filter that is accepted prints to text that parses to an equal one, and compiles.
#include <cstdint>
#include <cstdlib>

#include "storage/metadata/session_filter.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view text(reinterpret_cast<const char*>(data), size);
  (void)narthex::metadata::CompileOrder(text);
  const auto filter = narthex::metadata::SessionFilter::Parse(text);
  if (!filter.ok() || filter->empty()) return 0;
  const auto again = narthex::metadata::SessionFilter::Parse(filter->ToString());
  // Printing may add parentheses and blanks; only the limit on length may stand in the way.
  if (!again.ok() && filter->ToString().size() <= 8192) abort();
  if (again.ok() && !(*again->root() == *filter->root())) abort();
  (void)narthex::metadata::CompileFilter(*filter, 1);
  return 0;
}
