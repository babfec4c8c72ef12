// The table of `narthex prearchive watch` on a terminal, whatever the terminal's size.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

#include "clients/cpp/connection.h"

namespace narthex::cli {

struct TerminalSize {
  size_t columns = 80;
  size_t rows = 24;
};

// The size of the terminal behind standard output; 80 by 24 where nobody knows.
TerminalSize StandardOutputSize();

// The lines to show: how many sessions are in which state and `remark`, then a line a session, in the order
// given. None is longer than the terminal is wide, nor are there more than fit: columns that matter less are
// left out, and sessions at the end, which the last line counts.
std::vector<std::string> LiveTable(const std::vector<v1::PrearchiveSession>& sessions,
                                   absl::string_view remark, TerminalSize size);

// What draws `lines` over those that were drawn before, without flicker.
std::string DrawOver(const std::vector<std::string>& lines);

}  // namespace narthex::cli
