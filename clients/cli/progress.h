// One line on standard error that is drawn again and again; nothing if standard error is no terminal or the
// run is quiet. Single-threaded.
#pragma once

#include <cstdint>

#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

#include "clients/cli/program.h"

namespace narthex::cli {

class ProgressBar {
 public:
  explicit ProgressBar(Program& program) : program_(program) {}
  // Clears the line.
  ~ProgressBar();

  void Draw(absl::string_view text);
  // A bar with share, rate and time left; `text` follows it.
  void DrawBytes(int64_t done, int64_t total, absl::string_view text);

 private:
  Program& program_;
  const absl::Time start_ = absl::Now();
  absl::Time drawn_ = absl::InfinitePast();
  int64_t start_bytes_ = -1;
};

}  // namespace narthex::cli
