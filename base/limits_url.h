// Limits of the product, continued: what getURL in anonymization scripts may fetch. Each with its unit and
// its reason.
#pragma once

#include <cstddef>
#include <cstdint>

namespace narthex::limits {

// What getURL in anonymization scripts may fetch.
inline constexpr int64_t kUrlFetchMs = 10'000;  // connecting and answering; then the object is refused
inline constexpr size_t kUrlAnswerMaxBytes = 64 << 10;  // one value; a pseudonym has some dozens
inline constexpr size_t kUrlMaxBytes = 4096;            // of the URL itself
inline constexpr int kUrlRedirectsMax = 3;              // each to a host that is allowed
inline constexpr int kUrlFetchesMax = 8;                // at once; more wait, within kUrlFetchMs
inline constexpr int kUrlFetchesPerObjectMax = 16;      // so that one object holds its sender up for so long
inline constexpr int64_t kUrlCacheSeconds = 300;        // a study of thousands of objects asks once
inline constexpr int64_t kUrlFailureCacheSeconds =
    5;  // a host that is down costs one object's time, not all's
inline constexpr size_t kUrlCacheMaxEntries =
    4096;  // answers that are kept; with their limit 256 MiB, really some KiB

}  // namespace narthex::limits
