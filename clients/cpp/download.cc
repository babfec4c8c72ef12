#include "clients/cpp/download.h"

#include <algorithm>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"

#include "base/digest.h"
#include "base/limits.h"
#include "base/status.h"
#include "clients/cpp/file_sink.h"
#include "clients/cpp/open_file.h"
#include "clients/cpp/safe_names.h"

namespace narthex::client {
namespace {

namespace fs = std::filesystem;

constexpr size_t kPathMaxBytes = 4096;  // fixed: the system's PATH_MAX
// Of one request's skip_paths; more are received and thrown away.
constexpr size_t kSkipMaxBytes = 3 << 20;  // fixed: it fits into a message
// More are also counted: a list that changed in between then costs files that are fetched twice.
constexpr size_t kSkipMaxCount = 10'000;  // fixed: when another way is shorter
constexpr size_t kReadBytes = 1 << 20;

bool HasContent(const std::string& path, const v1::File& file) {
  if (file.sha256().empty()) return false;
  std::error_code error;
  if (fs::file_size(path, error) != static_cast<uintmax_t>(file.size_bytes()) || error) return false;
  auto local = OpenFile::Open(path, kReadBytes);
  if (!local.ok()) return false;
  CryptoHasher hasher = CryptoHasher::Sha256();
  std::string buffer;
  for (int64_t offset = 0; offset < file.size_bytes();) {
    buffer.resize(std::min<size_t>(kReadBytes, static_cast<size_t>(file.size_bytes() - offset)));
    if (!local->Read(offset, absl::MakeSpan(buffer.data(), buffer.size())).ok()) return false;
    hasher.Update(buffer);
    offset += static_cast<int64_t>(buffer.size());
  }
  return absl::BytesToHexString(hasher.Finish()) == file.sha256();
}

// One run of DownloadSession.
class Download {
 public:
  Download(Connection& connection, const DownloadOptions& options)
      : connection_(connection), options_(options), hasher_(CryptoHasher::Sha256()) {}

  absl::StatusOr<DownloadReport> Run();

 private:
  absl::Status ListAll();
  absl::Status CheckWanted(const std::set<std::string>& scans, const std::set<std::string>& resources) const;
  absl::Status OpenSink();
  void FindPresent();
  absl::Status TakeFromPartial(const std::string& partial);
  absl::Status CopyEntry(const v1::File& file,
                         const std::function<absl::StatusOr<absl::string_view>()>& next);
  absl::Status ReceiveRest();
  absl::Status ReceiveStream();
  void AddSkips(v1::DownloadSessionRequest& request) const;
  absl::Status ReceiveRestOfFile();
  absl::Status Begin(const v1::File& file);
  absl::Status Take(absl::string_view data);
  absl::Status End();
  void Report() {
    if (options_.on_progress) options_.on_progress(progress_);
  }

  Connection& connection_;
  const DownloadOptions& options_;
  std::vector<v1::File> listed_;
  SafeNames names_;
  absl::flat_hash_set<std::string> done_;
  std::unique_ptr<FileSink> sink_;
  // The file that is being received; unset between files and while a file that is there is thrown away.
  std::optional<v1::File> current_;
  int64_t current_bytes_ = 0;
  CryptoHasher hasher_;
  DownloadProgress progress_;
  DownloadReport report_;
};

absl::StatusOr<DownloadReport> Download::Run() {
  NX_RETURN_IF_ERROR(ListAll());
  NX_RETURN_IF_ERROR(OpenSink());
  Report();
  if (done_.size() < listed_.size()) NX_RETURN_IF_ERROR(ReceiveRest());
  NX_RETURN_IF_ERROR(sink_->Finish(report_.damaged.empty()));
  Report();
  return report_;
}

absl::Status Download::OpenSink() {
  if (IsArchiveDestination(options_.destination)) {
    const std::string partial = PartialArchive(options_.destination), former = absl::StrCat(partial, ".old");
    std::error_code error;
    // Of two broken runs the one with more in it is of use.
    if (fs::exists(partial, error) &&
        (!fs::exists(former, error) || fs::file_size(partial, error) >= fs::file_size(former, error))) {
      fs::rename(partial, former, error);
    }
    NX_ASSIGN_OR_RETURN(sink_, NewArchiveSink(options_.destination));
    if (fs::exists(former, error)) NX_RETURN_IF_ERROR(TakeFromPartial(former));
    fs::remove(former, error);
    return absl::OkStatus();
  }
  std::error_code error;
  fs::create_directories(options_.destination, error);
  if (error) {
    return absl::UnknownError(
        absl::StrCat("cannot make the folder ", options_.destination, ": ", error.message()));
  }
  sink_ = NewFolderSink(options_.destination);
  FindPresent();
  return absl::OkStatus();
}

absl::Status Download::ListAll() {
  v1::ListFilesRequest request;
  request.set_session(options_.session);
  request.set_page_size(limits::kPageSizeMax);
  const std::set<std::string> scans(options_.scans.begin(), options_.scans.end());
  const std::set<std::string> resources(options_.resources.begin(), options_.resources.end());
  do {
    NX_ASSIGN_OR_RETURN(
        v1::ListFilesResponse page,
        connection_.Call(connection_.archive(), &v1::ArchiveService::StubInterface::ListFiles, request));
    for (v1::File& file : *page.mutable_files()) {
      if (!IsSafeRelativePath(file.path())) {
        return absl::DataLossError("the server names a file outside the destination; nothing was written");
      }
      if ((!scans.empty() && scans.count(file.scan()) == 0) ||
          (!resources.empty() && resources.count(file.resource()) == 0)) {
        continue;
      }
      if (names_.For(file.path()) != file.path()) ++report_.renamed_count;
      progress_.total_bytes += file.size_bytes();
      listed_.push_back(std::move(file));
    }
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty());
  progress_.file_count = static_cast<int64_t>(listed_.size());
  return CheckWanted(scans, resources);
}

absl::Status Download::CheckWanted(const std::set<std::string>& scans,
                                   const std::set<std::string>& resources) const {
  std::set<std::string> missing_scans = scans, missing_resources = resources;
  for (const v1::File& file : listed_) {
    missing_scans.erase(file.scan());
    missing_resources.erase(file.resource());
  }
  if (!missing_scans.empty()) {
    return absl::NotFoundError(absl::StrCat("the session has no scan ", *missing_scans.begin(),
                                            " with such files; `narthex session scans` lists its scans"));
  }
  if (!missing_resources.empty()) {
    return absl::NotFoundError(absl::StrCat("the session has no resource ", *missing_resources.begin(),
                                            " there; `narthex session resource list` lists them"));
  }
  return absl::OkStatus();
}

void Download::FindPresent() {
  for (const v1::File& file : listed_) {
    if (!HasContent(absl::StrCat(options_.destination, "/", names_.For(file.path())), file)) continue;
    done_.insert(file.path());
    ++report_.skipped_count;
    ++progress_.done_count;
    progress_.done_bytes += file.size_bytes();
  }
}

// A zip or tar file that a broken run left: complete files with the right digest are copied, not fetched.
absl::Status Download::TakeFromPartial(const std::string& partial) {
  absl::flat_hash_map<std::string, const v1::File*> by_name;
  for (const v1::File& file : listed_) {
    if (!file.sha256().empty()) by_name.emplace(names_.For(file.path()), &file);
  }
  // Read twice: an entry's digest is known only at its end, and what was given to the new file stays in it.
  absl::flat_hash_set<std::string> right;
  NX_RETURN_IF_ERROR(ReadArchive(partial, [&](const std::string& name, const auto& next) -> absl::Status {
    CryptoHasher hasher = CryptoHasher::Sha256();
    while (true) {
      NX_ASSIGN_OR_RETURN(const absl::string_view bytes, next());
      if (bytes.empty()) break;
      hasher.Update(bytes);
    }
    const auto file = by_name.find(name);
    if (file != by_name.end() && absl::BytesToHexString(hasher.Finish()) == file->second->sha256()) {
      right.insert(name);
    }
    return absl::OkStatus();
  }));
  return ReadArchive(partial, [&](const std::string& name, const auto& next) -> absl::Status {
    const auto file = by_name.find(name);
    if (right.erase(name) == 0 || file == by_name.end()) return absl::OkStatus();
    return CopyEntry(*file->second, next);
  });
}

absl::Status Download::CopyEntry(const v1::File& file,
                                 const std::function<absl::StatusOr<absl::string_view>()>& next) {
  NX_RETURN_IF_ERROR(sink_->Begin(file, names_.For(file.path())));
  while (true) {
    NX_ASSIGN_OR_RETURN(const absl::string_view bytes, next());
    if (bytes.empty()) break;
    NX_RETURN_IF_ERROR(sink_->Write(bytes));
  }
  NX_RETURN_IF_ERROR(sink_->Keep());
  done_.insert(file.path());
  ++report_.skipped_count;
  ++progress_.done_count;
  progress_.done_bytes += file.size_bytes();
  return absl::OkStatus();
}

absl::Status Download::ReceiveRest() {
  int attempt = 0;
  while (true) {
    const int64_t before = progress_.done_bytes;
    absl::Status status = current_ ? ReceiveRestOfFile() : ReceiveStream();
    if (status.ok() && !current_) {
      if (done_.size() >= listed_.size()) return absl::OkStatus();
      status = absl::UnavailableError("the server sent fewer files than it lists; try again");
    }
    if (status.ok()) continue;
    attempt = progress_.done_bytes > before ? 1 : attempt + 1;
    if (!IsTransient(status) || attempt > options_.max_reconnects) return status;
    absl::SleepFor(connection_.Backoff(attempt));
  }
}

absl::Status Download::ReceiveStream() {
  v1::DownloadSessionRequest request;
  request.set_session(options_.session);
  for (const std::string& scan : options_.scans) request.add_scans(scan);
  for (const std::string& resource : options_.resources) request.add_resources(resource);
  AddSkips(request);
  auto context = connection_.NewContext();
  auto reader = connection_.archive().DownloadSession(context.get(), request);
  v1::DownloadSessionResponse response;
  absl::Status local;
  while (local.ok() && reader->Read(&response)) {
    if (response.has_file()) {
      local = End();
      if (local.ok()) local = Begin(response.file());
    }
    if (local.ok()) local = Take(response.data());
  }
  if (!local.ok()) context->TryCancel();
  const absl::Status remote = FromGrpcStatus(reader->Finish());
  NX_RETURN_IF_ERROR(local);
  NX_RETURN_IF_ERROR(remote);
  return End();
}

// The files come in the order of the list: those at its beginning are counted, the others named.
void Download::AddSkips(v1::DownloadSessionRequest& request) const {
  size_t first = 0;
  while (first < listed_.size() && done_.contains(listed_[first].path())) ++first;
  if (done_.size() > kSkipMaxCount) {
    request.set_skip_count(static_cast<int64_t>(first));
  } else {
    first = 0;
  }
  size_t bytes = 0;
  for (size_t i = first; i < listed_.size() && bytes < kSkipMaxBytes; ++i) {
    if (!done_.contains(listed_[i].path())) continue;
    bytes += listed_[i].path().size() + 4;
    request.add_skip_paths(listed_[i].path());
  }
}

// After a break in the middle of a file: its remaining bytes.
absl::Status Download::ReceiveRestOfFile() {
  v1::ReadFileRequest request;
  request.set_session(options_.session);
  request.set_path(current_->path());
  request.set_offset(current_bytes_);
  auto context = connection_.NewContext();
  auto reader = connection_.archive().ReadFile(context.get(), request);
  v1::ReadFileResponse response;
  absl::Status local;
  while (local.ok() && reader->Read(&response)) local = Take(response.data());
  if (!local.ok()) context->TryCancel();
  const absl::Status remote = FromGrpcStatus(reader->Finish());
  NX_RETURN_IF_ERROR(local);
  NX_RETURN_IF_ERROR(remote);
  return End();
}

absl::Status Download::Begin(const v1::File& file) {
  if (!IsSafeRelativePath(file.path())) {
    return absl::DataLossError("the server sends a file outside the destination; it was not written");
  }
  if (done_.contains(file.path())) return absl::OkStatus();
  NX_RETURN_IF_ERROR(sink_->Begin(file, names_.For(file.path())));
  current_ = file;
  current_bytes_ = 0;
  hasher_ = CryptoHasher::Sha256();
  return absl::OkStatus();
}

absl::Status Download::Take(absl::string_view data) {
  if (!current_ || data.empty()) return absl::OkStatus();
  current_bytes_ += static_cast<int64_t>(data.size());
  if (current_bytes_ > current_->size_bytes()) return absl::OkStatus();  // End finds the wrong size.
  if (options_.verify) hasher_.Update(data);
  progress_.done_bytes += static_cast<int64_t>(data.size());
  NX_RETURN_IF_ERROR(sink_->Write(data));
  Report();
  return absl::OkStatus();
}

absl::Status Download::End() {
  if (!current_) return absl::OkStatus();
  const v1::File file = *std::exchange(current_, std::nullopt);
  const bool right_size = current_bytes_ == file.size_bytes();
  const bool right_bytes =
      !options_.verify || file.sha256().empty() || absl::BytesToHexString(hasher_.Finish()) == file.sha256();
  done_.insert(file.path());
  ++progress_.done_count;
  if (!right_size || !right_bytes) {
    report_.damaged.push_back(file.path());
    return sink_->Drop();
  }
  ++report_.file_count;
  report_.size_bytes += file.size_bytes();
  return sink_->Keep();
}

}  // namespace

bool IsSafeRelativePath(absl::string_view path) {
  if (path.empty() || path.size() > kPathMaxBytes) return false;
  for (char c : path) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f || c == '\\') return false;
  }
  for (absl::string_view part : absl::StrSplit(path, '/')) {
    if (part.empty() || part == "." || part == ".." || part.size() > 255) return false;
  }
  return true;
}

absl::StatusOr<DownloadReport> DownloadSession(Connection& connection, const DownloadOptions& options) {
  return Download(connection, options).Run();
}

}  // namespace narthex::client
