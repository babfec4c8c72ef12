#include "clients/cli/prearchive_watch.h"

#include <algorithm>
#include <map>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"

#include "base/error.h"
#include "base/status.h"
#include "clients/cli/calls.h"
#include "clients/cli/live_table.h"

namespace narthex::cli {
namespace {

using Stub = v1::PrearchiveService::StubInterface;

// Before it was reached for the first time, the server is taken for one that is not there.
constexpr int kFirstAttemptsMax = 60;  // fixed: tries of a person at a terminal
// Somebody looks: the connection has its own, longer waits.
constexpr absl::Duration kLongestWait = absl::Seconds(1);  // fixed: between two looks
constexpr absl::Duration kLookAtSize = absl::Milliseconds(250);
constexpr char kClearScreen[] = "\x1b[2J";

// One run of the command. Events come on the caller's thread; another one draws the table anew when the
// terminal has another size.
class Watch {
 public:
  Watch(Program& program, client::Connection& connection, const WatchOptions& options)
      : program_(program), connection_(connection), give_up_after_(options.give_up_after) {
    request_.set_name(options.name);
    request_.set_project(options.project);
    request_.set_from_sequence(options.from);
    if (program_.draws_tables()) resizer_ = std::thread([this] { FollowSize(); });
  }
  ~Watch() {
    {
      absl::MutexLock lock(&mutex_);
      ended_ = true;
    }
    if (resizer_.joinable()) resizer_.join();
  }

  absl::StatusOr<ExitCode> Run() {
    int attempt = 0;
    std::optional<absl::Time> away_since;
    while (true) {
      const int64_t before = request_.from_sequence();
      answered_ = false;
      const absl::Status status = Follow();
      if (gone_ || status.ok()) return ExitCode::kDone;
      // A table can be loaded anew; a list of events would have a hole.
      if (program_.draws_tables() && ErrorReason(status) == "EVENTS_UNAVAILABLE" && before != 0) {
        request_.set_from_sequence(0);
        continue;
      }
      if (!client::IsTransient(status)) return status;
      if (answered_) {
        attempt = 0;
        away_since.reset();
      }
      ++attempt;
      if (!away_since) {
        away_since = absl::Now();
        TellAway(*away_since);
      }
      const bool given_up = give_up_after_ ? absl::Now() - *away_since >= *give_up_after_
                                           : !reached_ && attempt > kFirstAttemptsMax;
      if (given_up) return status;
      absl::SleepFor(std::min(connection_.Backoff(attempt), kLongestWait));
    }
  }

 private:
  void TellAway(absl::Time since) {
    const std::string remark =
        absl::StrCat("the server cannot be reached since ",
                     absl::FormatTime("%H:%M:%S", since, absl::LocalTimeZone()), ", trying again");
    if (!program_.draws_tables() || !reached_) {
      program_.Note(remark);
      told_away_ = reached_;
      return;
    }
    absl::MutexLock lock(&mutex_);
    remark_ = remark;
    if (drawn_) Draw();
  }

  // The server speaks: it is there (again).
  void TellThere() {
    answered_ = true;
    reached_ = true;
    if (told_away_) program_.Note("the server is there again; what happened meanwhile follows");
    told_away_ = false;
    absl::MutexLock lock(&mutex_);
    remark_.clear();
  }

  void FollowSize() {
    absl::MutexLock lock(&mutex_);
    while (!mutex_.AwaitWithTimeout(absl::Condition(&ended_), kLookAtSize)) {
      const TerminalSize size = StandardOutputSize();
      if (!drawn_ || (size.columns == size_.columns && size.rows == size_.rows)) continue;
      drawn_ = false;  // what the terminal made of the old lines goes
      Draw();
    }
  }

  absl::Status LoadTable() {
    v1::ListPrearchiveSessionsRequest list;
    list.set_project(request_.project());
    NX_ASSIGN_OR_RETURN(auto response, CallAllPages(connection_, connection_.prearchive(),
                                                    &Stub::ListPrearchiveSessions, list));
    absl::MutexLock lock(&mutex_);
    sessions_.clear();
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
      TellThere();
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
      absl::MutexLock lock(&mutex_);
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
  void Draw() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    std::vector<v1::PrearchiveSession> rows;
    for (const auto& [name, session] : sessions_) rows.push_back(session);
    if (!drawn_) program_.out() << kClearScreen;
    drawn_ = true;
    size_ = StandardOutputSize();
    program_.out() << DrawOver(LiveTable(rows, remark_, size_)) << std::flush;
  }

  Program& program_;
  client::Connection& connection_;
  v1::WatchPrearchiveSessionsRequest request_;
  const std::optional<absl::Duration> give_up_after_;
  bool gone_ = false;
  bool reached_ = false;    // at any time
  bool answered_ = false;   // this time
  bool told_away_ = false;  // in a note

  absl::Mutex mutex_;
  std::map<std::string, v1::PrearchiveSession> sessions_ ABSL_GUARDED_BY(mutex_);
  std::string remark_ ABSL_GUARDED_BY(mutex_);
  TerminalSize size_ ABSL_GUARDED_BY(mutex_);
  bool drawn_ ABSL_GUARDED_BY(mutex_) = false;
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread resizer_;
};

}  // namespace

absl::StatusOr<ExitCode> WatchPrearchive(Program& program, const WatchOptions& options) {
  NX_ASSIGN_OR_RETURN(auto connection, program.Connect());
  return Watch(program, *connection, options).Run();
}

}  // namespace narthex::cli
