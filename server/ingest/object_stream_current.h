// The object of a stream that arrives in chunks, and what the stream's source files share. Within this folder
// only.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

#include "base/digest.h"
#include "base/error.h"
#include "server/ingest/object_stream.h"
#include "server/ingest/site_stage.h"

namespace narthex::ingest {

inline absl::Status Mismatch(absl::string_view what) {
  return DataLoss("DIGEST_MISMATCH", absl::StrCat(what, "; send the object again"));
}

// Whether an object was refused by a series import filter, which is no rejection.
inline bool IsFiltered(const absl::Status& why) { return ErrorReason(why) == "SERIES_FILTER"; }

// Smaller objects are held until they are complete.
inline constexpr size_t kStreamedMinBytes = 64 << 10;

// An object that arrives in chunks.
struct ObjectStream::Current {
  Current(Admission* limits, std::string whose) : admission(limits), sender(std::move(whose)) {}
  ~Current() { Let(); }
  Current(const Current&) = delete;
  Current& operator=(const Current&) = delete;

  // Takes room for `held` beyond what every stream may hold. RESOURCE_EXHAUSTED (OVERLOADED).
  absl::Status Hold(uint64_t bytes) {
    if (admission == nullptr) return absl::OkStatus();
    if (absl::Status room = admission->Hold(sender, bytes); !room.ok()) return room;
    taken += bytes;
    return absl::OkStatus();
  }
  void Let() {
    if (taken > 0) admission->Release(sender, taken);
    taken = 0;
  }

  Admission* const admission;
  const std::string sender;  // whose share of the memory it takes
  uint64_t taken = 0;
  int64_t sequence = 0;
  std::string transfer_syntax_uid;
  std::string held;                      // its bytes so far, until its header is there
  size_t next_scan = kStreamedMinBytes;  // so many held bytes are looked at for the end of the header
  uint64_t received = 0;
  Xxh3Hasher xxh3;
  // Of a streamed object:
  Xxh3Hasher data_set;                // what stands behind its meta group
  Xxh3Hasher bulk;                    // from its bulk data on
  std::string head;                   // as it is stored: its header, and a little more
  std::optional<Xxh3Hasher> cleared;  // all of it behind a preamble that is not kept as it came
  std::optional<CryptoHasher> sha256;
  bool streaming = false;  // bytes go through `stage`, if there is one, to `reception`
  prearchive::ArrivingObject object;
  std::unique_ptr<SiteStage> stage;
  std::unique_ptr<prearchive::Reception> reception;  // with a stage: once it has done the header
  prearchive::OutcomeRow outcome;
  std::string facts;
  absl::Status filtered;  // a streamed object that no filter lets in: why
};

}  // namespace narthex::ingest
