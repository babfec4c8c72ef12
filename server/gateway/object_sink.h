// Where the objects of one association go. The seam between DICOM and the upload: UploadSinks over the
// network, the server's own ones in its process, others for measuring.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "clients/cpp/connection.h"
#include "narthex/v1/upload_service.pb.h"

namespace narthex::gateway {

// For one thread, like the association. Outcomes may come from another one. After an error of any call all
// objects without outcome are lost, and nothing calls the callback until the next Begin.
class ObjectSink {
 public:
  using OutcomeCallback = std::function<void(const v1::ObjectOutcome&)>;

  virtual ~ObjectSink() = default;

  // Starts an object and returns its sequence, under which its outcome comes. Opens the upload if that has
  // not been done, or goes on with it over a new stream if the former one broke. Blocks. ABORTED: the stream
  // broke since the former object; call again. Else the errors of the RPC Upload. No object is begun then.
  virtual absl::StatusOr<int64_t> Begin() = 0;
  // Adds bytes. Blocks while too much waits for outcomes.
  virtual absl::Status Append(absl::string_view data) = 0;
  // Ends the object. Its outcome comes by the callback, perhaps before this returns.
  virtual absl::Status End() = 0;
  // Gives the object up; nothing of it is kept. No effect if none was begun.
  virtual void Abandon() = 0;
  // Waits for all outcomes and closes the stream; the upload stays open, and Begin goes on with it. When this
  // returns, nothing calls the callback any more.
  virtual absl::Status Finish() = 0;
};

struct SinkRequest {
  v1::Destination destination;
  v1::ArrivalSource source;
  ObjectSink::OutcomeCallback on_outcome;
  // The sender waits for each answer before it sends the next object.
  bool one_at_a_time = false;
};

// Makes the sink of one association; does not block. Thread-safe.
using SinkFactory = std::function<std::unique_ptr<ObjectSink>(SinkRequest)>;

// Sinks that are Uploads of narthexd. The upload is made with the first object.
SinkFactory UploadSinks(std::shared_ptr<client::Connection> connection);

}  // namespace narthex::gateway
