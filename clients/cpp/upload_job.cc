#include "clients/cpp/upload_job.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/time/clock.h"

#include "base/error.h"
#include "base/status.h"

namespace narthex::client {
namespace {

constexpr size_t kBatchFiles = 16;
constexpr int64_t kBatchBytes = 8 << 20;
constexpr int64_t kReadaheadBytes = 4 << 20;
// A connection that breaks in the middle may show as one of these codes; that it does so again and again does
// not mean a connection.
constexpr int kOddErrorsMax = 3;  // fixed: tries of the client

bool IsOddTransportError(const absl::Status& status) {
  return ErrorReason(status).empty() &&
         (absl::IsInternal(status) || absl::IsUnknown(status) || absl::IsCancelled(status));
}

}  // namespace

UploadJob::UploadJob(std::shared_ptr<Connection> connection, std::string upload,
                     const UploaderOptions& options, UploadLedger& ledger)
    : connection_(std::move(connection)), upload_(std::move(upload)), options_(options), ledger_(ledger) {}

void UploadJob::Run() {
  int attempt = 0;
  while (ledger_.HasWaiting()) {
    const absl::Time before = ledger_.last_settled();
    const absl::Status status = RunStream();
    if (status.ok()) continue;
    ReturnUnsettled();
    attempt = ledger_.last_settled() > before ? 1 : attempt + 1;
    if (!MayGoOn(status, attempt)) return ledger_.Stop(status);
    ledger_.SetReconnecting(true);
    if (ledger_.WaitForStop(connection_->Backoff(attempt))) return;
    // What became durable although its outcome was lost need not be sent again.
    v1::GetUploadRequest request;
    request.set_name(upload_);
    auto upload =
        connection_->Call(connection_->uploads(), &v1::UploadService::StubInterface::GetUpload, request);
    if (upload.ok()) ledger_.SettleDurable(*upload);
  }
}

bool UploadJob::MayGoOn(const absl::Status& status, int attempt) const {
  if (ledger_.stopped()) return false;
  if (IsOddTransportError(status)) return attempt <= kOddErrorsMax;
  return IsTransient(status) && absl::Now() - ledger_.last_settled() < options_.reconnect_timeout;
}

void UploadJob::ReturnUnsettled() {
  absl::MutexLock lock(&mutex_);
  std::vector<int64_t> sequences(unsettled_.begin(), unsettled_.end());
  std::sort(sequences.begin(), sequences.end());
  ledger_.Return(sequences);
  unsettled_.clear();
}

absl::Status UploadJob::RunStream() {
  v1::UploadOpen open;
  open.set_name(upload_);
  auto on_outcome = [this](const v1::ObjectOutcome& outcome) {
    ledger_.Settle(outcome);
    absl::MutexLock lock(&mutex_);
    unsettled_.erase(outcome.sequence());
  };
  NX_ASSIGN_OR_RETURN(auto stream, UploadStream::Open(connection_, open, options_.stream, on_outcome));
  ledger_.SetReconnecting(false);
  while (true) {
    const std::vector<UploadTask> tasks = ledger_.Take(kBatchFiles, kBatchBytes);
    if (tasks.empty()) break;
    {
      absl::MutexLock lock(&mutex_);
      for (const UploadTask& task : tasks) unsettled_.insert(task.sequence);
    }
    NX_RETURN_IF_ERROR(SendBatch(*stream, tasks));
  }
  if (ledger_.stopped()) return absl::CancelledError("the upload was stopped");
  return stream->Finish();
}

absl::Status UploadJob::SendBatch(UploadStream& stream, const std::vector<UploadTask>& tasks) {
  // All are opened first, so that the disk reads the next ones while the first goes out.
  std::vector<absl::StatusOr<OpenFile>> files;
  for (const UploadTask& task : tasks) files.push_back(OpenFile::Open(task.file->path, kReadaheadBytes));
  for (size_t i = 0; i < tasks.size(); ++i) {
    if (ledger_.stopped()) return absl::CancelledError("the upload was stopped");
    if (files[i].ok()) {
      NX_RETURN_IF_ERROR(SendFile(stream, tasks[i], *files[i]));
      files[i] = absl::CancelledError();  // closes it
    } else {
      ledger_.Fail(tasks[i].sequence, files[i].status().message(), false);
      absl::MutexLock lock(&mutex_);
      unsettled_.erase(tasks[i].sequence);
    }
  }
  return absl::OkStatus();
}

absl::Status UploadJob::SendFile(UploadStream& stream, const UploadTask& task, const OpenFile& file) {
  if (file.size_bytes() <= static_cast<int64_t>(options_.stream.packed_object_max_bytes)) {
    return SendWhole(stream, task, file);
  }
  return SendPieces(stream, task, file);
}

absl::Status UploadJob::SendWhole(UploadStream& stream, const UploadTask& task, const OpenFile& file) {
  buffer_.resize(static_cast<size_t>(file.size_bytes()));
  absl::Status read = file.Read(0, absl::MakeSpan(buffer_.data(), buffer_.size()));
  if (read.ok()) read = file.CheckUnchanged();
  if (!read.ok()) {
    ledger_.Fail(task.sequence, read.message(), false);
    absl::MutexLock lock(&mutex_);
    unsettled_.erase(task.sequence);
    return absl::OkStatus();
  }
  ledger_.CountSent(task.sequence, file.size_bytes());
  return stream.SendObject({.sequence = task.sequence, .size_bytes = file.size_bytes()}, buffer_);
}

absl::Status UploadJob::SendPieces(UploadStream& stream, const UploadTask& task, const OpenFile& file) {
  NX_RETURN_IF_ERROR(stream.BeginObject({.sequence = task.sequence, .size_bytes = file.size_bytes()}));
  absl::Status read;
  for (int64_t offset = 0; offset < file.size_bytes() && read.ok();) {
    if (ledger_.stopped()) return absl::CancelledError("the upload was stopped");
    NX_ASSIGN_OR_RETURN(absl::Span<char> room, stream.AppendRoom());
    read = file.Read(offset, room);
    if (!read.ok()) break;
    NX_RETURN_IF_ERROR(stream.Appended(room.size()));
    offset += static_cast<int64_t>(room.size());
    ledger_.CountSent(task.sequence, static_cast<int64_t>(room.size()));
  }
  if (read.ok()) read = file.CheckUnchanged();
  if (read.ok()) return stream.EndObject();
  ledger_.Fail(task.sequence, read.message(), true);
  return stream.AbandonObject();
}

}  // namespace narthex::client
