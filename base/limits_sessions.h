// Limits of the product, continued: what sessions are made of.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/limit.h"

namespace narthex::limits {

// Session documents.
inline constexpr size_t kDocumentMaxBytes =
    64 << 20;  // (fixed: what was written stays readable) of a session's document
inline constexpr int kDocumentMaxDepth = 64;                     // (fixed: likewise) elements in each other
inline constinit Limit<size_t> kSeriesMax{10'000, 10, 100'000};  // of a session
inline constinit Limit<size_t> kSessionWarningsMax{100, 1, 10'000};  // that a build tells
inline constinit Limit<size_t> kDocumentTextMaxBytes{
    4096, 256, 16 << 10};  // of a value that goes into a document; real ones are far shorter
inline constinit Limit<int> kAttributeValuesMax{64, 1, 10'000};  // of one attribute; real ones have below 10

// Files of session types.
inline constinit Limit<size_t> kTypeFilesMax{100, 1, 10'000};
inline constinit Limit<size_t> kTypeFileMaxBytes{1 << 20, 4096, 64 << 20};
inline constinit Limit<size_t> kTypesMax{1000, 200, 100'000};              // of all files together
inline constinit Limit<size_t> kTypeAttributesMax{5000, 1000, 1'000'000};  // likewise
inline constinit Limit<size_t> kTypeSourcesMax{16, 4, 1000};               // of one attribute

}  // namespace narthex::limits
