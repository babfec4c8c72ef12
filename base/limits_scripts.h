// Limits of the product, continued: anonymization scripts and what they do to one object.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/limit.h"

namespace narthex::limits {

// Anonymization scripts. Lower values hold for new ones; those that are stored run on.
inline constinit Limit<size_t> kScriptMaxBytes{1 << 20, 256, 3 << 20};  // it must fit into a message
inline constinit Limit<int> kScriptMaxNesting{64, 4, 256};              // blocks in blocks, calls in calls
inline constinit Limit<size_t> kScriptMaxDiagnostics{100, 1, 10'000};   // then the parser gives up
inline constexpr size_t kTagPathMaxSteps = 64;  // (fixed: as deep as headers are by default) of one path

// What a script does to one object. An object beyond these is refused.
inline constinit Limit<int64_t> kScriptStepsMax{20'000'000, 10'000, 10'000'000'000};  // work done
inline constinit Limit<size_t> kScriptOutputMaxBytes{8 << 20, 4096, 1 << 30};         // values written
inline constinit Limit<size_t> kScriptNewItemsMax{1000, 1, 1'000'000};  // that one index may add
inline constinit Limit<size_t> kScriptEchoesMax{1000, 0, 1'000'000};    // lines of echo; more are left out
inline constinit Limit<size_t> kScriptPixelEditsMax{10'000, 1, 1'000'000};  // rectangles

// What is shown and found.
inline constinit Limit<size_t> kDiffMaxChanges{20'000, 100, 1'000'000};  // of two headers that are compared
inline constinit Limit<size_t> kDiffValueMaxBytes{1024, 16, 64 << 10};   // of a value in it; then it is cut
inline constinit Limit<size_t> kLeftoverTermsMax{2000, 1, 100'000};      // identifiers that are looked for
inline constinit Limit<size_t> kLeftoverTermMaxBytes{256, 16, 4096};     // of one; longer ones are prose
inline constinit Limit<size_t> kLeftoversMax{1000, 1, 100'000};          // that one object's report names

}  // namespace narthex::limits
