// Objects of the DICOM gateway in this process: into an ObjectStream, without the way over gRPC.
// docs/adr/0007-feed-objects-of-the-own-gateway-directly.md says what that saves.
#pragma once

#include <functional>

#include "absl/status/statusor.h"

#include "server/auth/project_cache.h"
#include "server/gateway/object_sink.h"
#include "server/ingest/object_stream.h"
#include "server/rpc/upload_service.h"
#include "storage/metadata/records.h"

namespace narthex::app {

// Borrowed; outlives the sinks.
struct DirectSinkDependencies {
  const rpc::UploadServiceImpl& uploads;
  ingest::StreamDependencies streams;
  std::function<absl::StatusOr<metadata::Identity>()> sender;  // as whom objects are sent
  const auth::ProjectCache& projects;
};

// Sinks with the behaviour of gateway::UploadSinks: the same rows, rights, routing and outcomes.
gateway::SinkFactory DirectSinks(DirectSinkDependencies dependencies);

}  // namespace narthex::app
