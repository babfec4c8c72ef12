#include "server/app/workflow.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

#include "base/crash_point.h"
#include "base/error.h"
#include "base/log.h"
#include "base/status.h"
#include "server/prearchive/build.h"
#include "storage/metadata/access.h"

namespace narthex::app {
namespace {

using prearchive::Event;
using prearchive::SessionRow;
using prearchive::State;

// Numbers of narthex.v1.AutoArchive.Mode.
constexpr int kManual = 1;
constexpr int kAuto = 2;
constexpr int kOverwrite = 3;

// XNAT's prearchive codes 0, 4 and 5.
int ModeOf(metadata::AutoArchive auto_archive) {
  switch (auto_archive) {
    case metadata::AutoArchive::kManual:
      return kManual;
    case metadata::AutoArchive::kAuto:
      return kAuto;
    case metadata::AutoArchive::kOverwrite:
      return kOverwrite;
  }
  return kManual;
}

}  // namespace

void Workflow::Register(operations::Operations::Handler import_inbox) {
  with_.operations.Register("build", [this](const operations::Operation& operation, operations::Progress&) {
    return RunBuild(operation);
  });
  with_.operations.Register("archive",
                            [this](const operations::Operation& operation, operations::Progress& progress) {
                              auto archived = with_.archiver.Archive(operation, progress);
                              if (archived.ok() && with_.on_archived)
                                with_.on_archived(archiving::ArchiveResult::FromText(*archived).accession_id);
                              return archived;
                            });
  with_.operations.Register("split",
                            [this](const operations::Operation& operation, operations::Progress& progress) {
                              return RunSplit(operation, progress);
                            });
  with_.operations.Register(operations::kImportInbox, std::move(import_inbox));
}

absl::StatusOr<std::string> Workflow::StartBuild(const std::string& session, const std::string& user,
                                                 const std::string& completion,
                                                 const std::string& request_id) {
  const auto row = with_.prearchive.Get(session);
  if (absl::IsNotFound(row.status())) return std::string();
  if (!row.ok()) return row.status();
  operations::Operation operation;
  operation.kind = "build";
  operation.target = session;
  operation.user = user;
  operation.project = row->key().project();
  auto started = with_.operations.Start(std::move(operation), request_id, [&](const std::string& id) {
    return with_.prearchive
        .Apply(session, Event::kBuild,
               [&](SessionRow& changed) {
                 changed.set_operation(id);
                 // Building again what was complete already ends nothing.
                 if (!changed.completion().empty()) return;
                 changed.set_completion(completion);
                 changed.set_completion_time_us(absl::ToUnixMicros(absl::Now()));
               })
        .status();
  });
  if (ErrorReason(started.status()) == "ILLEGAL_STATE" || absl::IsNotFound(started.status()))
    return std::string();
  if (!started.ok()) return started.status();
  return started->id;
}

absl::StatusOr<std::string> Workflow::RunBuild(const operations::Operation& operation) {
  const auto row = with_.prearchive.Get(operation.target);
  if (!row.ok()) return row.status();
  if (row->state() != static_cast<int>(State::kBuilding)) {
    // After a crash: the build was finished, what follows it was not.
    if (row->state() == static_cast<int>(State::kReady) && row->operation() == operation.id) {
      GoOn(*row, operation.user);
    }
    // Or the process died between the operation's row and the session's: what was asked for is done now.
    if (row->operation() == operation.id ||
        !prearchive::Next(static_cast<State>(row->state()), Event::kBuild)) {
      return operation.target;
    }
    NX_RETURN_IF_ERROR(with_.prearchive
                           .Apply(operation.target, Event::kBuild,
                                  [&](SessionRow& changed) { changed.set_operation(operation.id); })
                           .status());
  }
  PausePoint("build.begun");
  const auto built = prearchive::Build(with_.prearchive, with_.types, operation.target);
  // The session is BUILDING still.
  if (operations::PassesByItself(built.status())) return operations::Postponed(built.status().message());
  if (!built.ok()) return built.status();
  CrashPoint("build.built");
  if (built->state() == static_cast<int>(State::kReady)) GoOn(*built, operation.user);
  return operation.target;
}

void Workflow::GoOn(const SessionRow& built, const std::string& user) {
  const session::BuildOptions options = with_.prearchive.BuildOptionsOf(built.key().project());
  if (options.pet_mr != session::PetMr::kSeparate || !prearchive::MixesPetAndMr(built)) {
    ArchiveIfWanted(built, user);
    return;
  }
  const auto started = StartSplit(built, user, true, "");
  if (!started.ok())
    Log(LogLevel::kWarning, "split not started", {{"session", built.id()}, {"error", started.status()}});
}

absl::StatusOr<operations::Operation> Workflow::StartSplit(const SessionRow& session, const std::string& user,
                                                           bool then_archive, const std::string& request_id) {
  operations::Operation operation;
  operation.kind = "split";
  operation.target = session.id();
  operation.user = user;
  operation.project = session.key().project();
  if (then_archive) operation.arguments["then_archive"] = "1";
  return with_.operations.Start(std::move(operation), request_id, [&](const std::string& id) -> absl::Status {
    NX_ASSIGN_OR_RETURN(const SessionRow row, with_.prearchive.Get(session.id()));
    if (row.built() && !prearchive::MixesPetAndMr(row)) {
      return FailedPrecondition("NOTHING_TO_SPLIT",
                                absl::StrCat("session ", row.id(), " does not hold both PET and MR"),
                                {{"session", row.id()}});
    }
    return with_.prearchive
        .Apply(session.id(), Event::kSplit,
               [&](SessionRow& changed) {
                 changed.set_operation(id);
                 changed.set_split_into(with_.prearchive.NewId());
               })
        .status();
  });
}

absl::StatusOr<std::string> Workflow::RunSplit(const operations::Operation& operation,
                                               operations::Progress& progress) {
  const std::string& id = operation.target;
  NX_ASSIGN_OR_RETURN(SessionRow row, with_.prearchive.Get(id));
  const bool archives = operation.arguments.count("then_archive") > 0;
  if (row.state() != static_cast<int>(State::kSeparating)) {
    // After a crash: it was done, or it had not begun.
    if (row.operation() == operation.id) return absl::StrCat(id, ",", row.split_into());
    NX_ASSIGN_OR_RETURN(row, with_.prearchive.Apply(id, Event::kSplit, [&](SessionRow& changed) {
      changed.set_operation(operation.id);
      changed.set_split_into(with_.prearchive.NewId());
    }));
  }
  PausePoint("split.begun");
  const auto parts = prearchive::SplitPetMr(with_.prearchive, with_.types, id,
                                            [&] { return !progress.SleepFor(absl::ZeroDuration()); });
  if (!parts.ok()) {
    if (ErrorReason(parts.status()) == "SHUTTING_DOWN") return parts.status();
    const auto failed = with_.prearchive.Apply(id, Event::kSplitFailed, [&](SessionRow& changed) {
      changed.set_error(std::string(parts.status().message()));
    });
    if (operations::PassesByItself(failed.status())) return operations::Postponed(failed.status().message());
    if (!failed.ok())
      Log(LogLevel::kError, "state not changed", {{"session", id}, {"error", failed.status()}});
    return parts.status();
  }
  Log(LogLevel::kInfo, "session split",
      {{"session", id}, {"made", parts->made.id()}, {"operation", operation.id}});
  if (archives) {
    ArchiveIfWanted(parts->remaining, operation.user);
    ArchiveIfWanted(parts->made, operation.user);
  }
  return absl::StrCat(id, ",", parts->made.id());
}

void Workflow::ArchiveIfWanted(const SessionRow& session, const std::string& user) {
  if (session.key().project().empty()) return;
  int mode = session.key().auto_archive();
  if (mode == 0) {
    const auto project = with_.projects.Get(session.key().project());
    if (!project) return;
    mode = ModeOf(project->auto_archive);
  }
  // A trusted receiver's sessions are looked at by nobody before they are archived.
  if (session.key().direct_archive()) mode = std::max(mode, kAuto);
  if (mode < kAuto) return;
  // As XNAT: both merge into a session that is there; only OVERWRITE replaces what it has.
  const auto policy =
      mode == kOverwrite ? archiving::ConflictPolicy::kOverwrite : archiving::ConflictPolicy::kAppend;
  const auto started = StartArchive(session, user, policy, false, "");
  if (!started.ok())
    Log(LogLevel::kWarning, "auto-archive not started",
        {{"session", session.id()}, {"error", started.status()}});
}

absl::StatusOr<operations::Operation> Workflow::StartArchive(const SessionRow& session,
                                                             const std::string& user,
                                                             archiving::ConflictPolicy policy,
                                                             bool quarantine, const std::string& request_id) {
  operations::Operation operation;
  operation.kind = "archive";
  operation.target = session.id();
  operation.user = user;
  operation.project = session.key().project();
  operation.arguments["policy"] = absl::StrCat(static_cast<int>(policy));
  if (quarantine) operation.arguments["quarantine"] = "1";
  return with_.operations.Start(std::move(operation), request_id, [&](const std::string& id) -> absl::Status {
    NX_ASSIGN_OR_RETURN(const SessionRow row, with_.prearchive.Get(session.id()));
    if (row.key().project().empty()) {
      return FailedPrecondition(
          "UNASSIGNED",
          absl::StrCat("session ", row.id(), " belongs to no project; narthex prearchive update ", row.id(),
                       " --project P"),
          {{"session", row.id()}});
    }
    return with_.prearchive
        .Apply(session.id(), Event::kArchive, [&](SessionRow& changed) { changed.set_operation(id); })
        .status();
  });
}

absl::StatusOr<std::vector<SessionRow>> Workflow::Reconcile() {
  std::vector<SessionRow> rows;
  std::vector<SessionRow> not_archived;
  prearchive::ListQuery query;
  for (State state : {State::kBuilding, State::kArchiving, State::kSeparating}) {
    query.state = state;
    query.limit = 1 << 30;
    NX_ASSIGN_OR_RETURN(const auto found, with_.prearchive.List(query));
    rows.insert(rows.end(), found.begin(), found.end());
  }
  for (const SessionRow& row : rows) {
    const auto operation = with_.operations.Get(row.operation());
    if (operation.ok() && !operation->done) continue;  // it goes on
    if (row.state() == static_cast<int>(State::kBuilding)) {
      // Nobody was told of a build: the session goes on receiving, and its idle timer builds it.
      NX_RETURN_IF_ERROR(with_.prearchive.Apply(row.id(), Event::kBuiltDirty).status());
      continue;
    }
    if (row.state() == static_cast<int>(State::kSeparating)) {
      NX_RETURN_IF_ERROR(with_.prearchive
                             .Apply(row.id(), Event::kSplitFailed,
                                    [](SessionRow& changed) {
                                      changed.set_error(
                                          "the server stopped before the split began; build it again");
                                    })
                             .status());
      continue;
    }
    NX_ASSIGN_OR_RETURN(SessionRow failed,
                        with_.prearchive.Apply(row.id(), Event::kArchiveFailed, [](SessionRow& changed) {
                          changed.set_error("the server stopped before the operation began; start it again");
                        }));
    not_archived.push_back(std::move(failed));
  }
  return not_archived;
}

absl::Status Workflow::Resume() {
  NX_ASSIGN_OR_RETURN(const std::vector<SessionRow> not_archived, Reconcile());
  NX_RETURN_IF_ERROR(with_.archiver.RemoveLeftovers([this](const std::string& id) {
    const auto operation = with_.operations.Get(id);
    return operation.ok() && operation->done;
  }));
  NX_RETURN_IF_ERROR(with_.operations.Resume());
  // Nobody asked for these archives by hand, so nobody would ask again.
  for (const SessionRow& row : not_archived) ArchiveIfWanted(row, "system");
  with_.prearchive.OnIdle([this](const std::string& session) {
    const metadata::SystemScope scope;
    const auto started = StartBuild(session, "system", "idle", "");
    if (!started.ok())
      Log(LogLevel::kError, "idle session not built", {{"session", session}, {"error", started.status()}});
  });
  return absl::OkStatus();
}

}  // namespace narthex::app
