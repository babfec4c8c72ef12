// Limits of the product, continued: what getURL in anonymization scripts may fetch.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/limit.h"

namespace narthex::limits {

// What getURL in anonymization scripts may fetch.
inline constinit Limit<int64_t> kUrlFetchMs{10'000, 10,
                                            600'000};  // connecting and answering; then the object is refused
inline constinit Limit<size_t> kUrlAnswerMaxBytes{64 << 10, 1, 1 << 20};  // one value; a pseudonym has dozens
inline constinit Limit<size_t> kUrlMaxBytes{4096, 64, 64 << 10};          // of the URL itself
inline constinit Limit<int> kUrlRedirectsMax{3, 0, 20};                   // each to a host that is allowed
inline constinit Limit<int> kUrlFetchesMax{8, 1, 1000};  // at once; more wait, within url_fetch_ms
inline constinit Limit<int> kUrlFetchesPerObjectMax{
    16, 1, 10'000};  // so that one object holds its sender up for so long
inline constinit Limit<int64_t> kUrlCacheSeconds{300, 0, 86400};  // a study of thousands of objects asks once
inline constinit Limit<int64_t> kUrlFailureCacheSeconds{
    5, 0, 86400};  // a host that is down costs one object's time, not all's
inline constinit Limit<size_t> kUrlCacheMaxEntries{
    4096, 1, 1'000'000};  // answers that are kept; with their limit 256 MiB, really some KiB

}  // namespace narthex::limits
