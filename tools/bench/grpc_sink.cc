// narthex-bench-sink: an UploadService that throws bytes away and calls every object stored at once. What a
// client reaches against it is what client, gRPC and loopback allow.
#include <atomic>
#include <iostream>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "grpcpp/grpcpp.h"

#include "CLI/CLI.hpp"
#include "base/limits.h"
#include "narthex/v1/upload_service.grpc.pb.h"

namespace narthex::bench {
namespace {

class Sink : public v1::UploadService::Service {
 public:
  grpc::Status CreateUpload(grpc::ServerContext*, const v1::CreateUploadRequest* request,
                            v1::Upload* response) override {
    *response = Named(absl::StrCat("uploads/", ++uploads_));
    *response->mutable_destination() = request->destination();
    return grpc::Status::OK;
  }

  grpc::Status GetUpload(grpc::ServerContext*, const v1::GetUploadRequest* request,
                         v1::Upload* response) override {
    *response = Named(request->name());
    return grpc::Status::OK;
  }

  grpc::Status CommitUpload(grpc::ServerContext*, const v1::CommitUploadRequest* request,
                            v1::CommitUploadResponse* response) override {
    *response->mutable_upload() = Named(request->name());
    response->mutable_upload()->set_state(v1::Upload::COMMITTED);
    return grpc::Status::OK;
  }

  grpc::Status Upload(grpc::ServerContext*,
                      grpc::ServerReaderWriter<v1::UploadResponse, v1::UploadRequest>* stream) override {
    v1::UploadRequest request;
    v1::UploadResponse response;
    if (!stream->Read(&request)) return grpc::Status::OK;
    *response.mutable_opened() =
        Named(request.open().name().empty() ? absl::StrCat("uploads/", ++uploads_) : request.open().name());
    stream->Write(response);
    while (stream->Read(&request)) {
      response.Clear();
      for (const v1::WholeObject& object : request.pack().objects()) {
        Stored(object.sequence(), object.digest(), static_cast<int64_t>(object.data().size()), response);
      }
      const v1::ObjectChunk& chunk = request.chunk();
      if (chunk.last()) Stored(chunk.sequence(), chunk.digest(), chunk.size_bytes(), response);
      if (response.outcomes_size() > 0) stream->Write(response);
    }
    return grpc::Status::OK;
  }

 private:
  static v1::Upload Named(const std::string& name) {
    v1::Upload upload;
    upload.set_name(name);
    upload.set_state(v1::Upload::OPEN);
    upload.set_digest_algorithm(v1::DIGEST_ALGORITHM_XXH3_128);
    return upload;
  }

  static void Stored(int64_t sequence, const std::string& digest, int64_t bytes,
                     v1::UploadResponse& response) {
    v1::ObjectOutcome& outcome = *response.add_outcomes();
    outcome.set_sequence(sequence);
    outcome.set_outcome(v1::ObjectOutcome::STORED);
    outcome.set_digest(absl::BytesToHexString(digest));
    outcome.set_size_bytes(bytes);
  }

  std::atomic<int> uploads_ = 0;
};

}  // namespace
}  // namespace narthex::bench

int main(int argc, char** argv) {
  std::string listen = "127.0.0.1:0";
  CLI::App app("Answers uploads without keeping anything.", "narthex-bench-sink");
  app.add_option("--listen", listen, "ADDRESS:PORT")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  narthex::bench::Sink sink;
  int port = 0;
  grpc::ServerBuilder builder;
  builder.AddListeningPort(listen, grpc::InsecureServerCredentials(), &port);
  builder.SetMaxReceiveMessageSize(static_cast<int>(narthex::limits::kMessageMaxBytes));
  builder.RegisterService(&sink);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr || port == 0) {
    std::cerr << "narthex-bench-sink: cannot listen on " << listen << "\n";
    return 1;
  }
  std::cout << "{\"port\": " << port << "}" << std::endl;
  server->Wait();
  return 0;
}
