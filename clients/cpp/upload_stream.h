// One Upload stream: sends objects, receives their outcomes. Objects are never held whole, whatever their
// size.
//
// Many objects at full speed (outcomes arrive through the callback):
//   NX_ASSIGN_OR_RETURN(auto stream, UploadStream::Open(connection, open, {}, on_outcome));
//   NX_RETURN_IF_ERROR(stream->SendObject({.sequence = 0}, bytes));
//   NX_RETURN_IF_ERROR(stream->Finish());
//
// One object at a time, of unknown size, answered as soon as it is durable (what a C-STORE needs):
//   NX_RETURN_IF_ERROR(stream->BeginObject({.sequence = n, .transfer_syntax_uid = "1.2.840.10008.1.2.1"}));
//   NX_RETURN_IF_ERROR(stream->Append(fragment));                        // as often as fragments come
//   NX_ASSIGN_OR_RETURN(v1::ObjectOutcome outcome, stream->EndObjectAndWait());
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"

#include "base/limits.h"
#include "clients/cpp/connection.h"
#include "narthex/v1/upload_service.pb.h"

namespace narthex::client {

struct UploadStreamOptions {
  // Payload of one chunk, 1 to limits::kChunkMaxBytes.
  size_t chunk_bytes = 1 << 20;
  // SendObject collects objects up to this size into packs; larger ones go in chunks. 0: no packs.
  size_t packed_object_max_bytes = 256 << 10;
  // Payload at which a pack is sent, up to limits::kChunkMaxBytes.
  size_t pack_bytes = 1 << 20;
  // A pack that does not fill is sent after so long.
  absl::Duration pack_linger = absl::Milliseconds(2);
  // Sending blocks while so much waits for outcomes. A larger object goes alone.
  size_t unacked_max_bytes = limits::kUploadUnackedMaxBytes;
  size_t unacked_max_objects = limits::kUploadUnackedMaxObjects;
};

// What is known of an object before its bytes.
struct ObjectStart {
  // Unique within the upload, from 0.
  int64_t sequence = 0;
  // Of a data set without Part 10 header; empty: the server finds it.
  std::string transfer_syntax_uid = {};
  // 0: not known. If it is, the object must turn out to have it.
  int64_t size_bytes = 0;
};

// Sending (SendObject, BeginObject to EndObjectAndWait, Flush, Finish) is for one thread at a time;
// WaitForOutcome and Cancel may be called from any thread at any time. Outcomes are delivered from a thread
// of the stream, one after the other, without a lock held; the callback may block, which slows the stream,
// but must not call the stream.
//
// Every call fails with the stream's error once the stream is broken; UNAVAILABLE means that a new stream on
// the same upload may go on, with the objects that have no outcome yet (IsTransient of rpc_status.h).
class UploadStream {
 public:
  using OutcomeCallback = std::function<void(const v1::ObjectOutcome&)>;

  // Opens the stream and waits for the server's answer. `on_outcome` may be null. Errors: those of the RPC
  // Upload.
  static absl::StatusOr<std::unique_ptr<UploadStream>> Open(std::shared_ptr<Connection> connection,
                                                            const v1::UploadOpen& open,
                                                            const UploadStreamOptions& options = {},
                                                            OutcomeCallback on_outcome = nullptr);
  // Cancels what was not finished.
  ~UploadStream();
  UploadStream(const UploadStream&) = delete;
  UploadStream& operator=(const UploadStream&) = delete;

  // The upload as the server described it when it was opened: name, destination, digest algorithm, durable.
  const v1::Upload& upload() const;

  // Sends a whole object; blocks while too much waits for outcomes. It may stay in a pack for
  // options.pack_linger. `digest`: of `data` by the upload's algorithm; empty: computed here.
  absl::Status SendObject(const ObjectStart& start, absl::string_view data, absl::string_view digest = {});

  // Starts an object that is sent piece by piece. FAILED_PRECONDITION: the former one was not ended.
  absl::Status BeginObject(const ObjectStart& start);
  // Adds bytes; they are copied once, and sent whenever a chunk is full.
  absl::Status Append(absl::string_view data);
  // As Append without the copy: room for 1 to options.chunk_bytes bytes that the caller fills and then
  // confirms with Appended(count), count <= the room's size. The room lives until the next call of the
  // stream.
  absl::StatusOr<absl::Span<char>> AppendRoom();
  absl::Status Appended(size_t count);
  // Sends the last chunk at once, with size and digest.
  absl::Status EndObject();
  // Ends the object and waits until it is durable or refused. The callback sees the outcome, too.
  absl::StatusOr<v1::ObjectOutcome> EndObjectAndWait();
  // Gives the object up. The server answers with REJECTED, OBJECT_ABANDONED. No effect if none was begun.
  absl::Status AbandonObject();

  // Sends a pack that is not full.
  absl::Status Flush();

  // Half-closes, waits for all outcomes and for the end of the stream. Safe to repeat. UNAVAILABLE: the
  // server ended the stream although objects have no outcome.
  absl::Status Finish();

  // Ends the stream at once; every call then returns CANCELLED.
  void Cancel();

  // Objects and bytes that were sent and have no outcome yet.
  int64_t unacked_objects() const;
  int64_t unacked_bytes() const;

 private:
  class Impl;
  explicit UploadStream(std::unique_ptr<Impl> impl);

  const std::unique_ptr<Impl> impl_;
};

}  // namespace narthex::client
