#include "clients/cpp/uploader.h"

#include <unistd.h>

#include <algorithm>
#include <optional>
#include <thread>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"

#include "base/error.h"
#include "base/ids.h"
#include "base/limits.h"
#include "base/status.h"
#include "clients/cpp/object_hasher.h"
#include "clients/cpp/open_file.h"
#include "clients/cpp/resume_file.h"
#include "clients/cpp/upload_job.h"
#include "clients/cpp/upload_ledger.h"

namespace narthex::client {
namespace {

constexpr absl::Duration kTick = absl::Milliseconds(100);
constexpr absl::Duration kResumeInterval = absl::Seconds(2);
constexpr int kJobsMax = 16;  // fixed: the range of a user's option
constexpr int kDigestsPerCall = 10'000;

bool SameDestination(const v1::Destination& a, const v1::Destination& b) {
  return a.project() == b.project() && a.subject() == b.subject() && a.session() == b.session() &&
         a.auto_archive() == b.auto_archive();
}

// A file keeps its sequence if it is the same as in `former`; others get new ones.
std::vector<ResumeEntry> NumberFiles(const std::vector<LocalFile>& files, const ResumeState& former) {
  absl::flat_hash_map<absl::string_view, const ResumeEntry*> by_path;
  int64_t next = 0;
  for (const ResumeEntry& entry : former.entries) {
    by_path[entry.file.path] = &entry;
    next = std::max(next, entry.sequence + 1);
  }
  std::vector<ResumeEntry> entries;
  entries.reserve(files.size());
  for (const LocalFile& file : files) {
    auto it = by_path.find(file.path);
    const bool same = it != by_path.end() && it->second->file.size_bytes == file.size_bytes &&
                      it->second->file.modified_ns == file.modified_ns;
    entries.push_back({file, same ? it->second->sequence : next++});
  }
  return entries;
}

// One run of UploadFiles.
class Run {
 public:
  Run(std::shared_ptr<Connection> connection, const UploaderOptions& options)
      : connection_(std::move(connection)), options_(options) {}

  absl::StatusOr<UploadReport> Upload(const std::vector<LocalFile>& files);

 private:
  absl::Status OpenUpload(const std::vector<LocalFile>& files);
  absl::StatusOr<std::optional<ResumeState>> FormerState();
  absl::Status LeaveOutKnown();
  absl::Status FindMissing(const std::vector<std::string>& digests,
                           absl::flat_hash_set<std::string>* missing);
  void RunJobs();
  void SaveState();
  absl::Status FetchOutcomes();
  // Each fills in what the server said.
  absl::Status Commit(UploadReport& report);
  absl::Status Look(UploadReport& report);

  const std::shared_ptr<Connection> connection_;
  const UploaderOptions& options_;
  v1::Upload upload_;
  std::optional<UploadLedger> ledger_;
  int64_t resumed_count_ = 0;
  int64_t stale_count_ = 0;
  absl::Status save_status_;
};

absl::StatusOr<UploadReport> Run::Upload(const std::vector<LocalFile>& files) {
  NX_RETURN_IF_ERROR(OpenUpload(files));
  if (options_.find_missing) NX_RETURN_IF_ERROR(LeaveOutKnown());
  SaveState();
  NX_RETURN_IF_ERROR(save_status_);
  if (upload_.state() != v1::Upload::COMMITTED) RunJobs();
  SaveState();
  UploadReport report;
  report.upload = upload_;
  report.resumed_count = resumed_count_;
  report.broken_off = ledger_->status();
  if (report.broken_off.ok() && ledger_->outcomes_missing()) report.broken_off = FetchOutcomes();
  report.outcomes = ledger_->outcomes();
  if (report.broken_off.ok()) report.broken_off = options_.commit ? Commit(report) : Look(report);
  return report;
}

// The upload that the resume file names, if it is of this destination and the server still has it.
absl::StatusOr<std::optional<ResumeState>> Run::FormerState() {
  if (options_.resume_path.empty()) return std::nullopt;
  auto state = ReadResumeFile(options_.resume_path);
  if (absl::IsNotFound(state.status())) return std::nullopt;
  NX_RETURN_IF_ERROR(state.status());
  if (!SameDestination(state->destination, options_.destination)) {
    return absl::InvalidArgumentError(
        absl::StrCat(options_.resume_path,
                     " is of an upload to another destination; give the same one, or "
                     "another resume file"));
  }
  v1::GetUploadRequest request;
  request.set_name(state->upload);
  auto upload =
      connection_->Call(connection_->uploads(), &v1::UploadService::StubInterface::GetUpload, request);
  if (absl::IsNotFound(upload.status())) return std::nullopt;
  NX_RETURN_IF_ERROR(upload.status());
  upload_ = *std::move(upload);
  return *std::move(state);
}

absl::Status Run::OpenUpload(const std::vector<LocalFile>& files) {
  NX_ASSIGN_OR_RETURN(std::optional<ResumeState> former, FormerState());
  if (former) {
    ledger_.emplace(NumberFiles(files, *former));
    ledger_->SettleDurable(upload_);
    resumed_count_ = ledger_->progress().acknowledged_count;
    // Of files that are not among the arguments any more, or were changed.
    for (const v1::SequenceRange& range : upload_.durable()) stale_count_ += range.last() - range.first() + 1;
    stale_count_ -= ledger_->acknowledged_count();
    return absl::OkStatus();
  }
  v1::CreateUploadRequest request;
  *request.mutable_destination() = options_.destination;
  request.set_digest_algorithm(v1::DIGEST_ALGORITHM_XXH3_128);
  request.set_request_id(NewUuid());
  request.mutable_source()->set_kind("grpc");
  request.mutable_source()->set_locally_anonymized(options_.locally_anonymized);
  NX_ASSIGN_OR_RETURN(upload_, connection_->Call(connection_->uploads(),
                                                 &v1::UploadService::StubInterface::CreateUpload, request));
  ledger_.emplace(NumberFiles(files, {}));
  return absl::OkStatus();
}

absl::StatusOr<std::string> DigestOf(const LocalFile& local, std::string* buffer) {
  NX_ASSIGN_OR_RETURN(OpenFile file, OpenFile::Open(local.path, 4 << 20));
  ObjectHasher hasher(v1::DIGEST_ALGORITHM_XXH3_128);
  for (int64_t offset = 0; offset < file.size_bytes();) {
    buffer->resize(static_cast<size_t>(std::min<int64_t>(1 << 20, file.size_bytes() - offset)));
    NX_RETURN_IF_ERROR(file.Read(offset, absl::MakeSpan(buffer->data(), buffer->size())));
    hasher.Update(*buffer);
    offset += static_cast<int64_t>(buffer->size());
  }
  return hasher.Finish();
}

absl::Status Run::FindMissing(const std::vector<std::string>& digests,
                              absl::flat_hash_set<std::string>* missing) {
  v1::FindMissingRequest request;
  *request.mutable_destination() = options_.destination;
  for (const std::string& digest : digests) request.add_digests(digest);
  NX_ASSIGN_OR_RETURN(
      v1::FindMissingResponse response,
      connection_->Call(connection_->uploads(), &v1::UploadService::StubInterface::FindMissing, request));
  for (std::string& digest : *response.mutable_missing()) missing->insert(std::move(digest));
  return absl::OkStatus();
}

absl::Status Run::LeaveOutKnown() {
  std::string buffer;
  std::vector<UploadTask> tasks = ledger_->Take(kDigestsPerCall, INT64_MAX);
  std::vector<int64_t> to_send;
  while (!tasks.empty()) {
    std::vector<std::string> digests;
    for (const UploadTask& task : tasks) digests.push_back(DigestOf(*task.file, &buffer).value_or(""));
    absl::flat_hash_set<std::string> missing;
    NX_RETURN_IF_ERROR(FindMissing(digests, &missing));
    for (size_t i = 0; i < tasks.size(); ++i) {
      // A file that cannot be read is reported by the job that tries to send it.
      if (digests[i].empty() || missing.contains(digests[i])) {
        to_send.push_back(tasks[i].sequence);
      } else {
        ledger_->SettleKnown(tasks[i].sequence);
      }
    }
    tasks = ledger_->Take(kDigestsPerCall, INT64_MAX);
  }
  ledger_->Return(to_send);
  return absl::OkStatus();
}

void Run::RunJobs() {
  std::vector<std::thread> threads;
  const int jobs = std::clamp(options_.jobs, 1, kJobsMax);
  absl::Mutex mutex;
  int running = jobs;  // guarded by mutex
  for (int i = 0; i < jobs; ++i) {
    threads.emplace_back([this, &mutex, &running, i] {
      UploadJob job(i == 0 ? connection_ : connection_->Another(), upload_.name(), options_, *ledger_);
      job.Run();
      absl::MutexLock lock(&mutex);
      --running;
    });
  }
  const auto done = [&running] { return running == 0; };
  // Until the last job ends, not until the next tick after it: a small upload takes less than a tick.
  const auto wait_for_end = [&] {
    absl::MutexLock lock(&mutex);
    return mutex.AwaitWithTimeout(absl::Condition(&done), kTick);
  };
  absl::Time saved = absl::Now();
  absl::Duration interval = kResumeInterval;
  while (!wait_for_end()) {
    if (options_.on_progress) options_.on_progress(ledger_->progress());
    const absl::Time now = absl::Now();
    if (now - saved < interval) continue;
    SaveState();
    saved = absl::Now();
    interval = std::max(kResumeInterval, (saved - now) * 20);  // a large file must not keep us busy
  }
  for (std::thread& thread : threads) thread.join();
  if (options_.on_progress) options_.on_progress(ledger_->progress());
}

void Run::SaveState() {
  if (options_.resume_path.empty()) return;
  save_status_ =
      WriteResumeFile(options_.resume_path, {upload_.name(), options_.destination, ledger_->entries()});
}

absl::Status Run::FetchOutcomes() {
  NX_ASSIGN_OR_RETURN(std::vector<v1::ObjectOutcome> outcomes,
                      ListAllUploadOutcomes(*connection_, upload_.name()));
  for (const v1::ObjectOutcome& outcome : outcomes) ledger_->Settle(outcome);
  return absl::OkStatus();
}

absl::Status Run::Commit(UploadReport& report) {
  v1::CommitUploadRequest request;
  request.set_name(upload_.name());
  request.set_expected_count(ledger_->acknowledged_count() + stale_count_);
  request.set_request_id(NewUuid());
  NX_ASSIGN_OR_RETURN(
      v1::CommitUploadResponse response,
      connection_->Call(connection_->uploads(), &v1::UploadService::StubInterface::CommitUpload, request));
  report.upload = response.upload();
  report.build_operations.assign(response.build_operations().begin(), response.build_operations().end());
  report.committed = true;
  if (!options_.resume_path.empty()) ::unlink(options_.resume_path.c_str());
  return absl::OkStatus();
}

absl::Status Run::Look(UploadReport& report) {
  v1::GetUploadRequest request;
  request.set_name(upload_.name());
  NX_ASSIGN_OR_RETURN(
      report.upload,
      connection_->Call(connection_->uploads(), &v1::UploadService::StubInterface::GetUpload, request));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<UploadReport> UploadFiles(std::shared_ptr<Connection> connection,
                                         const std::vector<LocalFile>& files,
                                         const UploaderOptions& options) {
  return Run(std::move(connection), options).Upload(files);
}

absl::StatusOr<std::vector<v1::ObjectOutcome>> ListAllUploadOutcomes(Connection& connection,
                                                                     const std::string& upload) {
  std::vector<v1::ObjectOutcome> outcomes;
  v1::ListUploadOutcomesRequest request;
  request.set_name(upload);
  request.set_page_size(limits::kPageSizeMax);
  do {
    NX_ASSIGN_OR_RETURN(auto page,
                        connection.Call(connection.uploads(),
                                        &v1::UploadService::StubInterface::ListUploadOutcomes, request));
    for (v1::ObjectOutcome& outcome : *page.mutable_outcomes()) outcomes.push_back(std::move(outcome));
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty());
  return outcomes;
}

}  // namespace narthex::client
