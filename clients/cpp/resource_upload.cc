#include "clients/cpp/resource_upload.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

#include "base/digest.h"
#include "base/status.h"
#include "clients/cpp/open_file.h"

namespace narthex::client {
namespace {

namespace fs = std::filesystem;

constexpr size_t kPieceBytes = 1 << 20;

using Writer = grpc::ClientWriterInterface<v1::AddResourceFilesRequest>;

absl::Status AddFile(const std::string& name, const fs::path& path,
                     std::map<std::string, std::string>& files) {
  if (files.emplace(name, path.string()).second) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("two files are called ", name, "; send them one after the other"));
}

// Name in the resource to local path.
absl::StatusOr<std::map<std::string, std::string>> Collect(const std::vector<std::string>& paths) {
  std::map<std::string, std::string> files;
  for (const std::string& path : paths) {
    std::error_code error;
    if (!fs::exists(path, error)) return absl::NotFoundError(absl::StrCat("there is no ", path));
    if (!fs::is_directory(path, error)) {
      NX_RETURN_IF_ERROR(AddFile(fs::path(path).filename().string(), path, files));
      continue;
    }
    for (auto it = fs::recursive_directory_iterator(path, error); it != fs::recursive_directory_iterator();
         it.increment(error)) {
      if (error)
        return absl::PermissionDeniedError(absl::StrCat("cannot read ", path, ": ", error.message()));
      if (!it->is_regular_file(error)) continue;
      NX_RETURN_IF_ERROR(AddFile(fs::relative(it->path(), path, error).generic_string(), it->path(), files));
    }
  }
  if (files.empty()) return absl::InvalidArgumentError("there is no file to send");
  return files;
}

// Calls `take` with the bytes of a file.
absl::Status ForEachPiece(const OpenFile& file, const std::function<absl::Status(const std::string&)>& take) {
  std::string piece;
  for (int64_t offset = 0; offset < file.size_bytes();) {
    piece.resize(std::min<size_t>(kPieceBytes, static_cast<size_t>(file.size_bytes() - offset)));
    NX_RETURN_IF_ERROR(file.Read(offset, absl::MakeSpan(piece.data(), piece.size())));
    NX_RETURN_IF_ERROR(take(piece));
    offset += static_cast<int64_t>(piece.size());
  }
  return absl::OkStatus();
}

// A stream that broke says why only at its end.
absl::Status Send(Writer& writer, const v1::AddResourceFilesRequest& message) {
  return writer.Write(message) ? absl::OkStatus() : absl::UnavailableError("the stream broke");
}

absl::Status SendFile(Writer& writer, const std::string& name, const std::string& path,
                      const std::string& format, const std::function<void(int64_t)>& sent) {
  NX_ASSIGN_OR_RETURN(const OpenFile file, OpenFile::Open(path, kPieceBytes));
  CryptoHasher hasher = CryptoHasher::Sha256();
  NX_RETURN_IF_ERROR(ForEachPiece(file, [&](const std::string& piece) {
    hasher.Update(piece);
    return absl::OkStatus();
  }));
  v1::AddResourceFilesRequest message;
  message.mutable_file()->set_path(name);
  message.mutable_file()->set_size_bytes(file.size_bytes());
  message.mutable_file()->set_sha256(absl::BytesToHexString(hasher.Finish()));
  message.mutable_file()->set_format(format);
  NX_RETURN_IF_ERROR(Send(writer, message));
  return ForEachPiece(file, [&](const std::string& piece) {
    message.set_data(piece);
    sent(static_cast<int64_t>(piece.size()));
    return Send(writer, message);
  });
}

}  // namespace

absl::StatusOr<v1::AddResourceFilesResponse> AddResourceFiles(Connection& connection,
                                                              const ResourceUploadOptions& options) {
  NX_ASSIGN_OR_RETURN(const auto files, Collect(options.paths));
  int64_t total = 0, done = 0;
  for (const auto& [name, path] : files) {
    std::error_code error;
    total += static_cast<int64_t>(fs::file_size(path, error));
  }
  const auto sent = [&](int64_t bytes) {
    done += bytes;
    if (options.on_progress) options.on_progress(done, total);
  };
  v1::AddResourceFilesResponse response;
  const auto context = connection.NewContext();
  const auto writer = connection.resources().AddResourceFiles(context.get(), &response);
  v1::AddResourceFilesRequest message;
  v1::AddResourceFilesRequest::Open* open = message.mutable_open();
  open->set_session(options.session);
  open->set_scan(options.scan);
  open->set_resource(options.resource);
  open->set_format(options.format);
  open->set_content(options.content);
  open->set_comment(options.comment);
  absl::Status local = Send(*writer, message);
  for (const auto& [name, path] : files) {
    if (local.ok()) local = SendFile(*writer, name, path, options.format, sent);
  }
  if (local.ok()) {
    message.mutable_finish();
    local = Send(*writer, message);
  }
  writer->WritesDone();
  if (!local.ok() && !absl::IsUnavailable(local)) context->TryCancel();
  const absl::Status remote = FromGrpcStatus(writer->Finish());
  if (!local.ok() && !absl::IsUnavailable(local)) return local;
  NX_RETURN_IF_ERROR(remote);
  NX_RETURN_IF_ERROR(local);
  return response;
}

}  // namespace narthex::client
