#include "storage/staging/index_log.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace narthex::staging {
namespace {

constexpr size_t kLineMaxBytes = 4096;  // fixed: the size of an array; the rest of a message is left out

}  // namespace

IndexLog::IndexLog(const std::string& directory, size_t max_bytes)
    : rocksdb::Logger(rocksdb::InfoLogLevel::INFO_LEVEL),
      path_(absl::StrCat(directory, "/LOG")),
      max_bytes_(max_bytes) {
  absl::MutexLock lock(&mutex_);
  Begin();
}

IndexLog::~IndexLog() {
  absl::MutexLock lock(&mutex_);
  if (file_ != nullptr) std::fclose(file_);
}

void IndexLog::Begin() {
  if (file_ != nullptr) std::fclose(file_);
  std::rename(path_.c_str(), absl::StrCat(path_, ".old").c_str());  // there may be none
  file_ = std::fopen(path_.c_str(), "we");
  size_bytes_ = 0;
  // Each line is one write: a line that does not fit is dropped, and not kept back for the next.
  if (file_ != nullptr) std::setvbuf(file_, nullptr, _IONBF, 0);
}

void IndexLog::Logv(const char* format, va_list arguments) {
  char text[kLineMaxBytes];
  const int wanted = std::vsnprintf(text, sizeof(text), format, arguments);
  if (wanted < 0) return;
  const size_t size = std::min(static_cast<size_t>(wanted), sizeof(text) - 1);
  std::string line = absl::StrCat(absl::FormatTime("%Y-%m-%dT%H:%M:%E6SZ ", absl::Now(), absl::UTCTimeZone()),
                                  absl::string_view(text, size));
  if (line.back() != '\n') line += '\n';
  absl::MutexLock lock(&mutex_);
  if (size_bytes_ >= max_bytes_) Begin();
  if (file_ == nullptr) return;
  size_bytes_ += std::fwrite(line.data(), 1, line.size(), file_);
  std::clearerr(file_);
}

size_t IndexLog::GetLogFileSize() const {
  absl::MutexLock lock(&mutex_);
  return size_bytes_;
}

}  // namespace narthex::staging
