// ImportInbox: the request, and the operation that does the work.

#include <fcntl.h>
#include <unistd.h>

#include <filesystem>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include <sys/stat.h>

#include "base/error.h"
#include "base/limits_server.h"
#include "base/log.h"
#include "base/status.h"
#include "server/ingest/archive_import.h"
#include "server/rpc/convert.h"
#include "server/rpc/operations_service.h"
#include "server/rpc/upload_service.h"

namespace narthex::rpc {
namespace {

namespace stdfs = std::filesystem;

constexpr size_t kPieceBytes = 1 << 20;

absl::Status InboxPath(absl::string_view path, absl::string_view what) {
  return InvalidArgument("INBOX_PATH",
                         absl::StrCat("inbox path ", path, ": ", what, "; give one below the inbox"),
                         {{"path", std::string(path)}});
}

bool IsBelow(const stdfs::path& folder, const stdfs::path& real) {
  const auto mismatch = std::mismatch(folder.begin(), folder.end(), real.begin(), real.end());
  return mismatch.first == folder.end() && real != folder;
}

// The real path of `path` below `root`; links that lead out of it are refused. `only`: the folder of the
// inbox that it must lie in or be; "": any.
absl::StatusOr<std::string> ResolveInbox(const std::string& root, const std::string& path,
                                         const std::string& only) {
  std::error_code error;
  const stdfs::path real_root = stdfs::canonical(root, error);
  if (error) return InboxPath(path, "the inbox does not exist");
  const stdfs::path real = stdfs::canonical(real_root / path, error);
  const stdfs::path folder = real_root / only;
  // Whether another project has such a file is nobody's business.
  if (!only.empty() && (error || (real != folder && !IsBelow(folder, real)))) {
    return InboxPath(path, absl::StrCat("there is no such thing in ", only, "/, the project's folder"));
  }
  if (error) return InboxPath(path, "it does not exist");
  if (!IsBelow(real_root, real)) return InboxPath(path, "it is not below the inbox");
  return real.string();
}

absl::Status ImportFile(const std::string& path, ingest::ObjectStream& objects, int64_t* sequence) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (fd < 0) return InboxPath(path, "it cannot be read");
  const absl::Cleanup close = [fd] { ::close(fd); };
  struct stat about = {};
  if (::fstat(fd, &about) != 0 || !S_ISREG(about.st_mode)) {
    return InboxPath(path, "it is no file");  // a pipe would be waited for
  }
  std::string buffer(kPieceBytes, '\0');
  std::string head(512, '\0');
  const ssize_t head_size = ::pread(fd, head.data(), head.size(), 0);
  head.resize(head_size > 0 ? static_cast<size_t>(head_size) : 0);
  const ByteSource source = [&]() -> absl::StatusOr<absl::string_view> {
    const ssize_t size = ::read(fd, buffer.data(), buffer.size());
    if (size < 0) return InboxPath(path, "it cannot be read to its end");
    return absl::string_view(buffer.data(), static_cast<size_t>(size));
  };
  return LooksLikeArchive(head) ? ingest::ImportArchive(source, objects, sequence)
                                : ingest::ImportObject(source, objects, sequence);
}

std::vector<std::string> FilesBelow(const std::string& path) {
  std::error_code error;
  if (!stdfs::is_directory(path, error)) return {path};
  std::vector<std::string> files;
  for (auto it =
           stdfs::recursive_directory_iterator(path, stdfs::directory_options::skip_permission_denied, error);
       !error && it != stdfs::recursive_directory_iterator(); it.increment(error)) {
    if (it->is_regular_file(error) && !it->is_symlink(error)) files.push_back(it->path().string());
  }
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace

grpc::Status UploadServiceImpl::ImportInbox(grpc::ServerContext* context,
                                            const v1::ImportInboxRequest* request,
                                            google::longrunning::Operation* response) {
  return with_.gate.Unary(
      context, response, [&](const auth::Caller& caller) -> absl::StatusOr<google::longrunning::Operation> {
        if (request->destination().project().empty())
          return InvalidField("destination.project", "it must be set");
        v1::ArrivalSource source;
        NX_ASSIGN_OR_RETURN(prearchive::UploadRow row,
                            NewRow(caller, AddressOf(*context), request->destination(), 0, source));
        // What lies in the inbox belongs to the project whose folder it is in; only administrators choose.
        const std::string only = caller.is_admin() ? "" : row.destination().project();
        NX_RETURN_IF_ERROR(ResolveInbox(with_.inbox_root, request->path(), only).status());
        row.set_kind("inbox");
        NX_ASSIGN_OR_RETURN(row, with_.streams.uploads.Create(std::move(row), request->request_id()));
        operations::Operation operation;
        operation.kind = operations::kImportInbox;
        operation.target = request->path();
        operation.user = caller.user();
        operation.project = row.destination().project();
        operation.arguments["upload"] = row.id();
        operation.arguments["only"] = only;
        if (request->delete_after()) operation.arguments["delete"] = "1";
        NX_ASSIGN_OR_RETURN(operation, with_.operations.Start(std::move(operation), request->request_id()));
        return OperationToProto(operation, nullptr);
      });
}

absl::StatusOr<std::string> UploadServiceImpl::RunInboxImport(const operations::Operation& operation,
                                                              operations::Progress& progress) const {
  const auto only = operation.arguments.find("only");
  NX_ASSIGN_OR_RETURN(const std::string path,
                      ResolveInbox(with_.inbox_root, operation.target,
                                   only == operation.arguments.end() ? "" : only->second));
  NX_ASSIGN_OR_RETURN(const prearchive::UploadRow row,
                      with_.streams.uploads.Get(operation.arguments.at("upload")));
  // The right to the project was checked when the operation was started.
  const FixedProject projects(row.destination().project());
  v1::ImportArchiveResponse answer;
  bool all_kept = true;
  ingest::ObjectStream objects(with_.streams, row, projects, true,
                               [&](const std::vector<prearchive::OutcomeRow>& outcomes) {
                                 for (const auto& outcome : outcomes) {
                                   if (outcome.outcome() <= static_cast<int>(prearchive::Outcome::kReplaced))
                                     continue;
                                   all_kept = false;
                                   if (answer.not_kept_size() < limits::kNotKeptMax)
                                     *answer.add_not_kept() = ToProto(outcome);
                                 }
                               });
  int64_t sequence = 0;
  const std::vector<std::string> files = FilesBelow(path);
  absl::Status imported;
  for (size_t i = 0; i < files.size() && imported.ok(); ++i) {
    if (progress.cancelled()) {
      imported = Error(absl::StatusCode::kCancelled, "OPERATION_CANCELLED", "the import was cancelled");
      break;
    }
    imported = ImportFile(files[i], objects, &sequence);
    progress.Report(static_cast<int64_t>(i + 1), static_cast<int64_t>(files.size()));
  }
  NX_RETURN_IF_ERROR(objects.Finish());
  NX_RETURN_IF_ERROR(imported);
  NX_ASSIGN_OR_RETURN(const auto committed, Commit(operation.user, row, 0, {}, operation.id));
  *answer.mutable_upload() = committed.upload();
  if (operation.arguments.count("delete") > 0 && all_kept) {
    std::error_code error;
    stdfs::remove_all(path, error);
    if (error) Log(LogLevel::kWarning, "imported files not removed", {{"operation", operation.id}});
  }
  return answer.SerializeAsString();
}

}  // namespace narthex::rpc
