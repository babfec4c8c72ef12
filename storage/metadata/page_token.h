// Opaque page tokens: the last row's sort values, bound to the list they came from.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "storage/metadata/records.h"

namespace narthex::metadata {

// `list` names the list and all parameters that decide its order and content.
std::string EncodePageToken(absl::string_view list, const std::vector<std::string>& values);

// INVALID_ARGUMENT (PAGE_TOKEN_INVALID): not made by EncodePageToken for this list with `count` values.
absl::StatusOr<std::vector<std::string>> DecodePageToken(absl::string_view list, absl::string_view token,
                                                         size_t count);

// The rows of a page: page.size within its limits.
int PageSize(const Page& page, int max);

}  // namespace narthex::metadata
