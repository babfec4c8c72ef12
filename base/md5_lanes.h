// The MD5 digests (RFC 1321) of many messages side by side: one in each lane of the CPU's vectors.
//
// One MD5 is a chain of steps that wait for each other, so a core can do no more than 0.6 GB/s of it, one
// message after the other. The catalogs of the archive need one of every file (XNAT's form): sixteen files at
// once take little more time than one. docs/benchmarks.md has the measurement.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace narthex {

// How many messages this CPU computes side by side: 16, 8, or 1 (no vectors: OpenSSL does it).
size_t Md5LaneCount();

// The digest of each of `messages`, in their order: 16 bytes each. Messages may differ in length; a lane that
// is done takes the next one. `lanes_max`: use no wider vectors than these. Thread-safe.
std::vector<std::string> Md5Each(absl::Span<const absl::string_view> messages, size_t lanes_max = 16);

}  // namespace narthex
