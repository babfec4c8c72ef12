// Limits of the product, continued: routing rules and series import filters.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/limit.h"

namespace narthex::limits {

// Routing rules and series import filters. Lower values hold for new ones; those that are stored stay in
// force.
inline constinit Limit<size_t> kRulesMaxBytes{64 << 10, 256, 1 << 20};  // of one list of rules
inline constinit Limit<size_t> kRulesMax{1000, 1, 100'000};             // of one list
inline constinit Limit<size_t> kRuleReplacementMaxBytes{256, 16, 4096};
inline constinit Limit<size_t> kRuleReplacedMaxBytes{4096, 64, 64 << 10};  // of a value that is replaced in
inline constinit Limit<size_t> kSeriesFilterMaxBytes{64 << 10, 256, 1 << 20};
inline constinit Limit<size_t> kSeriesFilterLinesMax{1000, 1, 100'000};
inline constinit Limit<size_t> kFilterExpressionMaxBytes{10'000, 64, 100'000};
inline constinit Limit<int> kFilterExpressionMaxDepth{32, 1, 256};  // parentheses in each other
inline constinit Limit<size_t> kRegexMaxBytes{1000, 32, 10'000};    // people's are below 100
inline constexpr int64_t kRegexMemoryBytes =
    1 << 20;  // (fixed: what is stored must go on compiling) program and DFA caches of one expression
inline constinit Limit<size_t> kProjectCandidateMaxBytes{
    255, 64, 4096};  // aliases may be longer than ids; nothing longer can be one

}  // namespace narthex::limits
