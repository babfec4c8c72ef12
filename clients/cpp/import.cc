#include <algorithm>

#include "base/status.h"
#include "clients/cpp/open_file.h"
#include "clients/cpp/uploader.h"

namespace narthex::client {
namespace {

constexpr int64_t kPieceBytes = 1 << 20;

}  // namespace

absl::StatusOr<v1::ImportArchiveResponse> ImportArchiveFile(Connection& connection, const std::string& path,
                                                            const v1::ImportOptions& options,
                                                            const std::function<void(int64_t)>& on_progress) {
  NX_ASSIGN_OR_RETURN(OpenFile file, OpenFile::Open(path, 4 * kPieceBytes));
  auto context = connection.NewContext();
  v1::ImportArchiveResponse response;
  auto writer = connection.uploads().ImportArchive(context.get(), &response);
  v1::ImportArchiveRequest request;
  *request.mutable_options() = options;
  bool open = writer->Write(request);
  absl::Status read;
  for (int64_t offset = 0; open && offset < file.size_bytes();) {
    std::string& data = *request.mutable_data();
    data.resize(static_cast<size_t>(std::min(kPieceBytes, file.size_bytes() - offset)));
    read = file.Read(offset, absl::MakeSpan(data.data(), data.size()));
    if (!read.ok()) break;
    open = writer->Write(request);
    offset += static_cast<int64_t>(data.size());
    if (on_progress) on_progress(offset);
  }
  if (read.ok()) {
    writer->WritesDone();
  } else {
    context->TryCancel();
  }
  const absl::Status status = FromGrpcStatus(writer->Finish());
  NX_RETURN_IF_ERROR(read);
  NX_RETURN_IF_ERROR(status);
  return response;
}

}  // namespace narthex::client
