#include "clients/cli/progress.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace narthex::cli {
namespace {

constexpr int kBarColumns = 24;
constexpr absl::Duration kDrawInterval = absl::Milliseconds(100);
// Erases the line from the cursor on.
constexpr char kErase[] = "\r\x1b[K";

}  // namespace

ProgressBar::~ProgressBar() {
  if (drawn_ != absl::InfinitePast()) program_.err() << kErase << std::flush;
}

void ProgressBar::Draw(absl::string_view text) {
  if (!program_.draws() || absl::Now() - drawn_ < kDrawInterval) return;
  drawn_ = absl::Now();
  program_.err() << kErase << Printable(text) << std::flush;
}

void ProgressBar::DrawBytes(int64_t done, int64_t total, absl::string_view text) {
  if (!program_.draws()) return;
  if (start_bytes_ < 0) start_bytes_ = done;
  const double share =
      total > 0 ? std::clamp(static_cast<double>(done) / static_cast<double>(total), 0.0, 1.0) : 1.0;
  const double seconds = std::max(absl::ToDoubleSeconds(absl::Now() - start_), 0.001);
  const double rate = static_cast<double>(done - start_bytes_) / seconds;
  const std::string eta =
      rate > 0 ? HumanDuration(absl::Seconds(static_cast<double>(total - done) / rate)) : std::string("?");
  const int filled = static_cast<int>(share * kBarColumns);
  Draw(absl::StrFormat("[%s%s] %3.0f%%  %s/s  %s left  %s", std::string(filled, '='),
                       std::string(kBarColumns - filled, ' '), share * 100,
                       HumanSize(static_cast<int64_t>(std::max(rate, 0.0))), eta, text));
}

}  // namespace narthex::cli
