// Files of objects: whatever they hold, no crash and no hang, an outcome for every object that was begun, and
// nothing is kept but what was told to be.
#include <algorithm>
#include <cstdint>

#include "absl/strings/string_view.h"

#include "base/error.h"
#include "server/ingest/archive_import.h"
#include "tests/fuzz/ingest_environment.h"

// The first byte says in how large pieces the rest arrives.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const size_t piece = size_t{1} << (data[0] % 17);
  absl::string_view rest(reinterpret_cast<const char*>(data) + 1, size - 1);
  narthex::fuzz::IngestEnvironment environment;
  auto stream = environment.NewStream(/*resumed=*/false);
  int64_t sequence = 0;
  const absl::Status imported = narthex::ingest::ImportArchive(
      [&]() -> absl::StatusOr<absl::string_view> {
        const absl::string_view next = rest.substr(0, piece);
        rest.remove_prefix(next.size());
        return next;
      },
      *stream, &sequence);
  narthex::fuzz::Require(imported.ok() || narthex::ErrorReason(imported) == "ARCHIVE_UNREADABLE");
  narthex::fuzz::Require(stream->Finish().ok());
  narthex::fuzz::Require(environment.outcomes().size() == static_cast<size_t>(sequence));
  environment.CheckConsistent();
  return 0;
}
