#include "clients/cli/prearchive_watch.h"

#include <map>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

#include "base/error.h"
#include "base/status.h"
#include "clients/cli/calls.h"
#include "clients/cli/live_table.h"

namespace narthex::cli {
namespace {

using Stub = v1::PrearchiveService::StubInterface;

constexpr int kReconnectsMax = 20;
constexpr char kClearScreen[] = "\x1b[2J";

// One run of the command.
class Watch {
 public:
  Watch(Program& program, client::Connection& connection, const std::string& name, const std::string& project,
        int64_t from)
      : program_(program), connection_(connection) {
    request_.set_name(name);
    request_.set_project(project);
    request_.set_from_sequence(from);
  }

  absl::StatusOr<ExitCode> Run() {
    int attempt = 0;
    while (true) {
      const int64_t before = request_.from_sequence();
      const absl::Status status = Follow();
      if (gone_ || status.ok()) return ExitCode::kDone;
      // A table can be loaded anew; a list of events would have a hole.
      if (program_.draws_tables() && ErrorReason(status) == "EVENTS_UNAVAILABLE" && before != 0) {
        request_.set_from_sequence(0);
        continue;
      }
      attempt = request_.from_sequence() > before ? 1 : attempt + 1;
      if (!client::IsTransient(status) || attempt > kReconnectsMax) return status;
      if (drawn_) Draw("the server cannot be reached, trying again");
      absl::SleepFor(connection_.Backoff(attempt));
    }
  }

 private:
  absl::Status LoadTable() {
    sessions_.clear();
    v1::ListPrearchiveSessionsRequest list;
    list.set_project(request_.project());
    NX_ASSIGN_OR_RETURN(auto response, CallAllPages(connection_, connection_.prearchive(),
                                                    &Stub::ListPrearchiveSessions, list));
    for (const v1::PrearchiveSession& session : response.prearchive_sessions()) {
      if (request_.name().empty() || session.name() == request_.name()) sessions_[session.name()] = session;
    }
    Draw();
    return absl::OkStatus();
  }

  absl::Status Follow() {
    auto context = connection_.NewContext();
    auto reader = connection_.prearchive().WatchPrearchiveSessions(context.get(), request_);
    reader->WaitForInitialMetadata();
    const auto& metadata = context->GetServerInitialMetadata();
    if (const auto it = metadata.find("narthex-next-sequence"); it != metadata.end()) {
      // Whatever happens from here on is in the stream, also after a reconnect.
      int64_t next = 0;
      if (absl::SimpleAtoi(absl::string_view(it->second.data(), it->second.size()), &next))
        request_.set_from_sequence(next);
      if (program_.draws_tables()) {
        if (absl::Status loaded = LoadTable(); !loaded.ok()) {
          context->TryCancel();
          reader->Finish();
          return loaded;
        }
      }
    }
    v1::PrearchiveEvent event;
    while (!gone_ && program_.out() && reader->Read(&event)) Take(event);
    // The reader of our output has gone, or the session has.
    if (gone_ || !program_.out()) {
      gone_ = true;
      context->TryCancel();
    }
    return client::FromGrpcStatus(reader->Finish());
  }

  void Take(const v1::PrearchiveEvent& event) {
    request_.set_from_sequence(event.sequence() + 1);
    const std::string& name = event.prearchive_session().name();
    if (!program_.draws_tables()) {
      program_.PrintLine(event);
    } else {
      if (event.removed()) {
        sessions_.erase(name);
      } else {
        sessions_[name] = event.prearchive_session();
      }
      Draw();
    }
    gone_ = event.removed() && name == request_.name();
  }

  // Newest first, as in `prearchive list`: later ids sort before earlier ones.
  void Draw(absl::string_view remark = "") {
    std::vector<v1::PrearchiveSession> rows;
    for (const auto& [name, session] : sessions_) rows.push_back(session);
    if (!drawn_) program_.out() << kClearScreen;
    drawn_ = true;
    program_.out() << DrawOver(LiveTable(rows, remark, StandardOutputSize())) << std::flush;
  }

  Program& program_;
  client::Connection& connection_;
  v1::WatchPrearchiveSessionsRequest request_;
  std::map<std::string, v1::PrearchiveSession> sessions_;
  bool gone_ = false;
  bool drawn_ = false;
};

}  // namespace

absl::StatusOr<ExitCode> WatchPrearchive(Program& program, const std::string& name,
                                         const std::string& project, int64_t from) {
  NX_ASSIGN_OR_RETURN(auto connection, program.Connect());
  return Watch(program, *connection, name, project, from).Run();
}

}  // namespace narthex::cli
