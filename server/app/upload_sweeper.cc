#include "server/app/upload_sweeper.h"

#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"

#include "base/log.h"
#include "base/metrics.h"
#include "server/ingest/upload_retention.h"
#include "server/rpc/convert.h"

namespace narthex::app {
namespace {

constexpr int64_t kKeepDaysDefault = 90;
constexpr int64_t kKeepDaysMax = 36500;  // fixed: the range of a setting
constexpr absl::Duration kSweepInterval = absl::Hours(1);

}  // namespace

UploadSweeper::UploadSweeper(staging::Index& index, const Clock& clock)
    : index_(index), clock_(clock), thread_([this] { Run(); }) {}

UploadSweeper::~UploadSweeper() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  thread_.join();
}

rpc::SettingSpec UploadSweeper::Setting() {
  return {"uploads.keep_days",
          absl::StrCat(
              "uploads are forgotten, with the outcomes of their objects, when their last object came so "
              "many days ago and nothing of them waits in the prearchive; 0: never; at most ",
              kKeepDaysMax),
          absl::StrCat(kKeepDaysDefault), [this](const std::string& text) {
            int64_t days = 0;
            if (!absl::SimpleAtoi(text, &days) || days < 0 || days > kKeepDaysMax)
              return rpc::InvalidField("value", absl::StrCat("expected 0 to ", kKeepDaysMax, " (days)"));
            absl::MutexLock lock(&mutex_);
            keep_days_ = days;
            changed_ = true;
            return absl::OkStatus();
          }};
}

void UploadSweeper::Run() {
  while (true) {
    int64_t keep_days = 0;
    {
      absl::MutexLock lock(&mutex_);
      mutex_.AwaitWithTimeout(absl::Condition(this, &UploadSweeper::Wanted), kSweepInterval);
      if (stopping_) return;
      changed_ = false;
      keep_days = keep_days_;
    }
    if (keep_days > 0) Sweep(keep_days);
  }
}

void UploadSweeper::Sweep(int64_t keep_days) {
  ingest::UploadRetention retention(index_);
  const auto forgotten = retention.Forget(clock_.Now() - keep_days * absl::Hours(24));
  if (!forgotten.ok()) {
    Log(LogLevel::kError, "old uploads not forgotten", {{"error", forgotten.status()}});
    return;
  }
  if (forgotten->upload_count == 0) return;
  Metrics::Global().Count("uploads_forgotten_total", "Uploads of long ago that were forgotten.",
                          static_cast<double>(forgotten->upload_count));
  Log(LogLevel::kInfo, "old uploads forgotten",
      {{"uploads", forgotten->upload_count}, {"objects", forgotten->object_count}});
}

}  // namespace narthex::app
