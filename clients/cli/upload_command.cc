// narthex upload, narthex import and narthex inbox import
#include <algorithm>
#include <cstdio>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

#include "base/error.h"
#include "base/ids.h"
#include "base/status.h"
#include "clients/cli/calls.h"
#include "clients/cli/local_anonymize.h"
#include "clients/cli/operations.h"
#include "clients/cli/program.h"
#include "clients/cli/progress.h"
#include "clients/cli/upload_report.h"

namespace narthex::cli {
namespace {

using google::longrunning::Operation;
using UploadStub = v1::UploadService::StubInterface;
using PrearchiveStub = v1::PrearchiveService::StubInterface;

struct UploadFlags {
  std::vector<std::string> paths;
  std::string project;
  std::string subject;
  std::string session;
  std::string auto_archive;
  std::string duplicates;
  bool commit = false;  // the default, too
  bool no_commit = false;
  bool archive = false;
  bool no_wait = false;
  bool local_anonymize = false;
  int jobs = 3;
  std::string resume;
  bool skip_known = false;
  bool delete_after = false;
};

v1::Destination DestinationOf(const UploadFlags& flags) {
  v1::Destination destination;
  destination.set_project(flags.project);
  destination.set_subject(flags.subject);
  destination.set_session(flags.session);
  v1::AutoArchive::Mode mode = v1::AutoArchive::MODE_UNSPECIFIED;
  v1::AutoArchive::Mode_Parse(absl::AsciiStrToUpper(flags.auto_archive), &mode);
  destination.set_auto_archive(mode);
  v1::DuplicatePolicy::Mode duplicates = v1::DuplicatePolicy::MODE_UNSPECIFIED;
  v1::DuplicatePolicy::Mode_Parse(absl::AsciiStrToUpper(flags.duplicates), &duplicates);
  destination.set_duplicates(duplicates);
  return destination;
}

// What went through the scripts on this machine.
struct Copies {
  std::vector<client::LocalFile> files;
  std::vector<std::string> originals;

  // `copy` of the file that people know as `path`; what was refused goes into the report.
  void Add(const std::string& path, int64_t size_bytes, absl::StatusOr<client::LocalFile> copy,
           TransferReport& report) {
    if (copy.ok()) {
      files.push_back(*std::move(copy));
      originals.push_back(path);
      return;
    }
    client::FileOutcome refused{path, {}};
    refused.outcome.set_outcome(v1::ObjectOutcome::REJECTED);
    refused.outcome.set_reason(ErrorReason(copy.status()));
    refused.outcome.set_detail(std::string(copy.status().message()));
    refused.outcome.set_size_bytes(size_bytes);
    report.outcomes.push_back(std::move(refused));
  }
};

// One run of upload or import.
class Transfer {
 public:
  Transfer(Program& program, const UploadFlags& flags, std::shared_ptr<client::Connection> connection)
      : program_(program), flags_(flags), connection_(std::move(connection)) {}

  absl::Status SendFiles(const std::vector<client::LocalFile>& files);
  // Copies that went through the scripts of site and project. What they refuse is not sent.
  absl::Status SendAnonymized(const client::FileSet& found);
  absl::Status SendArchives(const std::vector<client::LocalFile>& archives);
  // Waits for builds and archives, as the flags say.
  absl::Status Settle();
  const TransferReport& report() const { return report_; }

 private:
  absl::Status CopyArchive(LocalAnonymizer& local, const client::LocalFile& archive, Copies& copies);
  absl::Status SendArchive(const client::LocalFile& archive);
  absl::Status CommitArchive(const v1::Upload& upload);
  void Touch(const v1::Upload& upload, const std::vector<std::string>& builds);
  absl::Status AwaitBuild(const std::string& name, const std::string& build);
  absl::StatusOr<v1::PrearchiveSession> Look(const std::string& name);
  absl::StatusOr<std::string> BeginArchive(const v1::PrearchiveSession& session);
  absl::Status AwaitArchive(v1::PrearchiveSession session, const std::string& operation);

  Program& program_;
  const UploadFlags& flags_;
  const std::shared_ptr<client::Connection> connection_;
  TransferReport report_;
  bool locally_anonymized_ = false;
  // Sessions touched, each with the operation that builds it, or "".
  std::vector<std::pair<std::string, std::string>> touched_;
};

absl::Status Transfer::SendFiles(const std::vector<client::LocalFile>& files) {
  client::UploaderOptions options;
  options.destination = DestinationOf(flags_);
  options.jobs = flags_.jobs;
  options.resume_path = flags_.resume;
  options.find_missing = flags_.skip_known;
  options.commit = !flags_.no_commit;
  options.locally_anonymized = locally_anonymized_;
  absl::StatusOr<client::UploadReport> sent;
  {
    ProgressBar bar(program_);
    bool told = false;  // where there is no bar to say so, that the server is gone
    options.on_progress = [&](const client::UploadProgress& progress) {
      if (progress.reconnecting && !told && !program_.draws()) {
        told = true;
        program_.err() << "narthex: the connection to the server was lost; trying to go on for "
                       << HumanDuration(options.reconnect_timeout) << std::endl;
      }
      const std::string problems =
          progress.problem_count > 0 ? absl::StrCat(", ", progress.problem_count, " problems") : "";
      bar.DrawBytes(std::max(progress.sent_bytes, progress.acknowledged_bytes), progress.total_bytes,
                    absl::StrCat(progress.acknowledged_count, " of ", progress.object_count, " objects",
                                 problems, progress.reconnecting ? ", reconnecting" : ""));
    };
    sent = client::UploadFiles(connection_, files, options);
  }
  NX_RETURN_IF_ERROR(sent.status());
  report_.resumed_count = sent->resumed_count;
  for (client::FileOutcome& outcome : sent->outcomes) report_.outcomes.push_back(std::move(outcome));
  report_.broken_off = sent->broken_off;
  Touch(sent->upload, sent->build_operations);
  return absl::OkStatus();
}

// The objects of an archive, as those of a folder. One that cannot be read does not stop the others.
absl::Status Transfer::CopyArchive(LocalAnonymizer& local, const client::LocalFile& archive, Copies& copies) {
  const absl::Status walked =
      client::ForEachEntry(archive.path, [&](const std::string& name, const ByteSource& bytes) {
        const std::string path = absl::StrCat(archive.path, "/", name);
        copies.Add(path, archive.size_bytes,
                   local.Copy({path, archive.size_bytes, archive.modified_ns, bytes}), report_);
        return absl::OkStatus();
      });
  if (ErrorReason(walked) != "ARCHIVE_UNREADABLE") return walked;
  program_.err() << "narthex: " << Printable(walked.message()) << " (ARCHIVE_UNREADABLE)" << std::endl;
  report_.failures.emplace_back(archive.path, walked);
  return absl::OkStatus();
}

absl::Status Transfer::SendAnonymized(const client::FileSet& found) {
  LocalAnonymizer::Options options{flags_.project, flags_.subject, flags_.session, ""};
  if (!flags_.resume.empty()) options.keep_folder = absl::StrCat(flags_.resume, ".copies");
  NX_ASSIGN_OR_RETURN(const auto local, LocalAnonymizer::Open(*connection_, options));
  if (local->summary().steps.empty()) {
    local->Remove();
    return FailedPrecondition(
        "INVALID_SCRIPT",
        absl::StrCat("the site has no script or profile in force",
                     flags_.project.empty() ? "" : ", and the project neither", "; nothing was sent"));
  }
  if (local->restarted()) {
    program_.Note("the scripts are others than in the interrupted run: all files go through them again");
    std::remove(flags_.resume.c_str());
  }
  Copies copies;
  for (const client::LocalFile& file : found.files)
    copies.Add(file.path, file.size_bytes, local->Copy(file), report_);
  for (const client::LocalFile& archive : found.archives)
    NX_RETURN_IF_ERROR(CopyArchive(*local, archive, copies));
  report_.local = local->summary();
  locally_anonymized_ = local->summary().trusted;
  if (copies.files.empty()) {
    local->Remove();
    return absl::OkStatus();
  }
  const size_t before = report_.outcomes.size();
  NX_RETURN_IF_ERROR(SendFiles(copies.files));
  // People know the originals.
  for (size_t i = before; i < report_.outcomes.size(); ++i) {
    const int64_t sequence = report_.outcomes[i].outcome.sequence();
    if (sequence >= 0 && static_cast<size_t>(sequence) < copies.originals.size())
      report_.outcomes[i].path = copies.originals[static_cast<size_t>(sequence)];
  }
  if (report_.broken_off.ok()) local->Remove();
  return absl::OkStatus();
}

// One that cannot be read does not stop the others; if there is nothing else, its error is the command's.
absl::Status Transfer::SendArchives(const std::vector<client::LocalFile>& archives) {
  const bool alone = archives.size() == 1 && report_.uploads.empty();
  for (const client::LocalFile& archive : archives) {
    const absl::Status status = SendArchive(archive);
    if (status.ok()) continue;
    if (alone || ErrorReason(status) != "ARCHIVE_UNREADABLE") return status;
    program_.err() << "narthex: " << Printable(status.message()) << " (ARCHIVE_UNREADABLE)" << std::endl;
    report_.failures.emplace_back(archive.path, status);
  }
  return absl::OkStatus();
}

absl::Status Transfer::SendArchive(const client::LocalFile& archive) {
  v1::ImportOptions options;
  *options.mutable_destination() = DestinationOf(flags_);
  options.set_commit(!flags_.no_commit);
  absl::StatusOr<v1::ImportArchiveResponse> response;
  {
    ProgressBar bar(program_);
    response = client::ImportArchiveFile(*connection_, archive.path, options, [&](int64_t sent) {
      bar.DrawBytes(sent, archive.size_bytes, archive.path);
    });
  }
  if (!response.ok()) return Annotate(response.status(), archive.path);
  auto outcomes = client::ListAllUploadOutcomes(*connection_, response->upload().name());
  if (!outcomes.ok()) outcomes.emplace(response->not_kept().begin(), response->not_kept().end());
  for (v1::ObjectOutcome& outcome : *outcomes) report_.outcomes.push_back({archive.path, std::move(outcome)});
  if (!flags_.no_commit) return CommitArchive(response->upload());
  Touch(response->upload(), {});
  return absl::OkStatus();
}

// The import has committed already; repeating it tells the operations that build the sessions.
absl::Status Transfer::CommitArchive(const v1::Upload& upload) {
  v1::CommitUploadRequest request;
  request.set_name(upload.name());
  request.set_request_id(NewUuid());
  NX_ASSIGN_OR_RETURN(v1::CommitUploadResponse response,
                      connection_->Call(connection_->uploads(), &UploadStub::CommitUpload, request));
  Touch(response.upload(), {response.build_operations().begin(), response.build_operations().end()});
  return absl::OkStatus();
}

void Transfer::Touch(const v1::Upload& upload, const std::vector<std::string>& builds) {
  report_.uploads.push_back(upload);
  for (int i = 0; i < upload.prearchive_sessions_size(); ++i) {
    const std::string build = static_cast<size_t>(i) < builds.size() ? builds[i] : "";
    const std::string& name = upload.prearchive_sessions(i);
    auto same = [&](const auto& pair) { return pair.first == name; };
    auto known = std::find_if(touched_.begin(), touched_.end(), same);
    if (known == touched_.end()) {
      touched_.emplace_back(name, build);
    } else if (!build.empty()) {
      known->second = build;
    }
  }
}

// All are begun before the first is waited for, so that the server works on several at once.
absl::Status Transfer::Settle() {
  for (const auto& [name, build] : touched_) {
    const absl::Status status = AwaitBuild(name, build);
    if (!status.ok()) report_.failures.emplace_back(name, status);
    if (client::IsUnreachable(status)) return status;
  }
  if (!flags_.archive) return absl::OkStatus();
  std::vector<std::pair<v1::PrearchiveSession, absl::StatusOr<std::string>>> begun;
  for (v1::PrearchiveSession& session : std::exchange(report_.prearchive_sessions, {})) {
    const bool failed = session.state() == v1::PrearchiveSession::ERROR;
    absl::StatusOr<std::string> operation = failed ? absl::StatusOr<std::string>("") : BeginArchive(session);
    begun.emplace_back(std::move(session), std::move(operation));
  }
  for (const auto& [session, operation] : begun) {
    const absl::Status status = operation.ok() ? AwaitArchive(session, *operation) : operation.status();
    if (!operation.ok()) report_.prearchive_sessions.push_back(session);
    if (!status.ok()) report_.failures.emplace_back(session.name(), status);
    if (client::IsUnreachable(status)) return status;
  }
  return absl::OkStatus();
}

absl::Status Transfer::AwaitBuild(const std::string& name, const std::string& build) {
  absl::Status built;
  if (!build.empty() && (flags_.archive || !flags_.no_wait)) {
    built = AwaitResult<v1::PrearchiveSession>(program_, *connection_, build).status();
  }
  auto session = Look(name);
  // Archived meanwhile by the project's own setting.
  if (absl::IsNotFound(session.status())) return absl::OkStatus();
  NX_RETURN_IF_ERROR(session.status());
  report_.prearchive_sessions.push_back(*std::move(session));
  return built;
}

absl::StatusOr<v1::PrearchiveSession> Transfer::Look(const std::string& name) {
  v1::GetPrearchiveSessionRequest request;
  request.set_name(name);
  return connection_->Call(connection_->prearchive(), &PrearchiveStub::GetPrearchiveSession, request);
}

// The operation that archives the session.
absl::StatusOr<std::string> Transfer::BeginArchive(const v1::PrearchiveSession& session) {
  if (session.state() == v1::PrearchiveSession::ARCHIVING) return session.operation();
  v1::ArchivePrearchiveSessionRequest request;
  request.set_name(session.name());
  request.set_request_id(NewUuid());
  NX_ASSIGN_OR_RETURN(
      Operation operation,
      connection_->Call(connection_->prearchive(), &PrearchiveStub::ArchivePrearchiveSession, request));
  return operation.name();
}

// `operation` empty: the build failed, which was reported.
absl::Status Transfer::AwaitArchive(v1::PrearchiveSession session, const std::string& operation) {
  absl::Status status;
  if (!operation.empty()) {
    auto archived = AwaitResult<v1::Session>(program_, *connection_, operation);
    if (archived.ok()) {
      report_.sessions.push_back(*std::move(archived));
      return absl::OkStatus();
    }
    status = archived.status();
  }
  auto after = Look(session.name());
  report_.prearchive_sessions.push_back(after.ok() ? *std::move(after) : std::move(session));
  return status;
}

void NoteLeftOut(Program& program, const client::FileSet& files) {
  if (files.hidden_count > 0)
    program.Note(absl::StrCat(files.hidden_count, " hidden files or folders are left out"));
  if (files.special_count > 0) {
    program.Note(absl::StrCat(files.special_count, " links out of the folder or special files are left out"));
  }
  if (files.empty_count > 0) program.Note(absl::StrCat(files.empty_count, " empty files are left out"));
}

absl::StatusOr<ExitCode> Finish(Program& program, Transfer& transfer) {
  // What became of the objects is known, even if the server cannot be reached any more.
  const absl::Status broken_off = transfer.report().broken_off;
  const absl::Status settled = broken_off.ok() ? transfer.Settle() : broken_off;
  const ExitCode printed = PrintReport(program, transfer.report());
  return settled.ok() ? printed : program.Tell(settled);
}

// A mistake of the command line that only a look at the disk shows.
ExitCode Usage(Program& program, absl::string_view message) {
  program.err() << "narthex: " << Printable(message) << std::endl;
  return ExitCode::kUsage;
}

// CLI11 could say it, too, but its help then lists the flags in an order that changes from run to run.
constexpr char kCommitOrNot[] = "--no-commit goes neither with --commit nor with --archive";

bool Contradicts(const UploadFlags& flags) { return flags.no_commit && (flags.commit || flags.archive); }

absl::StatusOr<ExitCode> Upload(Program& program, const UploadFlags& flags) {
  if (Contradicts(flags)) return Usage(program, kCommitOrNot);
  auto found = client::CollectFiles(flags.paths);
  if (!found.ok()) return Usage(program, found.status().message());
  NoteLeftOut(program, *found);
  if (found->files.empty() && found->archives.empty()) return Usage(program, "there is no file to upload");
  NX_ASSIGN_OR_RETURN(auto connection, program.Connect());
  Transfer transfer(program, flags, connection);
  if (flags.local_anonymize) {
    NX_RETURN_IF_ERROR(transfer.SendAnonymized(*found));
    return Finish(program, transfer);
  }
  if (!found->files.empty()) NX_RETURN_IF_ERROR(transfer.SendFiles(found->files));
  if (transfer.report().broken_off.ok()) NX_RETURN_IF_ERROR(transfer.SendArchives(found->archives));
  return Finish(program, transfer);
}

absl::StatusOr<ExitCode> Import(Program& program, const UploadFlags& flags) {
  if (Contradicts(flags)) return Usage(program, kCommitOrNot);
  auto found = client::CollectFiles(flags.paths);
  if (!found.ok()) return Usage(program, found.status().message());
  if (!found->files.empty() || found->archives.empty()) {
    return Usage(program,
                 "import takes .zip, .tar, .tar.gz and .tgz files; `narthex upload` takes others, too");
  }
  NX_ASSIGN_OR_RETURN(auto connection, program.Connect());
  Transfer transfer(program, flags, connection);
  NX_RETURN_IF_ERROR(transfer.SendArchives(found->archives));
  return Finish(program, transfer);
}

absl::StatusOr<ExitCode> ImportInbox(Program& program, const UploadFlags& flags) {
  v1::ImportInboxRequest request;
  request.set_path(flags.paths.front());
  *request.mutable_destination() = DestinationOf(flags);
  request.set_delete_after(flags.delete_after);
  request.set_request_id(NewUuid());
  NX_ASSIGN_OR_RETURN(auto connection, program.Connect());
  NX_ASSIGN_OR_RETURN(Operation operation,
                      connection->Call(connection->uploads(), &UploadStub::ImportInbox, request));
  if (flags.no_wait)
    return program.Print(operation, [&](std::ostream& out) { PrintOperation(out, operation); });
  NX_ASSIGN_OR_RETURN(v1::ImportArchiveResponse response,
                      AwaitResult<v1::ImportArchiveResponse>(program, *connection, operation.name()));
  TransferReport report;
  for (const v1::ObjectOutcome& outcome : response.not_kept())
    report.outcomes.push_back({request.path(), outcome});
  if (!program.json()) {
    Table table({"OUTCOME", ">OBJECTS"});
    for (const auto& [name, count] : response.upload().outcome_counts())
      table.Add({Lower(name), absl::StrCat(count)});
    table.Print(program.out());
  } else {
    program.PrintJson(ToJson(response, false));
  }
  const auto& counts = response.upload().outcome_counts();
  return counts.count("REJECTED") + counts.count("CONFLICT") > 0 ? ExitCode::kRefused : ExitCode::kDone;
}

using Flags = std::shared_ptr<UploadFlags>;

void AddDestination(CLI::App* command, const Flags& flags, bool project_required) {
  command
      ->add_option("--project", flags->project, "project id or alias; else as the server's routing rules say")
      ->required(project_required);
  command->add_option("--subject", flags->subject, "subject label; else as the headers say");
  command->add_option("--session", flags->session, "session label; else as the headers say");
  command
      ->add_option("--auto-archive", flags->auto_archive,
                   "manual, auto or overwrite; else as the project says")
      ->check(CLI::IsMember({"manual", "auto", "overwrite"}));
  command
      ->add_option(
          "--duplicates", flags->duplicates,
          "other content under a SOP Instance UID that is there: keep, replace or conflict; else as the "
          "project says")
      ->check(CLI::IsMember({"keep", "replace", "conflict"}));
  command->add_flag("--no-wait", flags->no_wait, "do not wait for what the server goes on to do");
}

void AddCommit(CLI::App* command, const Flags& flags) {
  command->add_flag("--commit", flags->commit, "say that the upload is complete (default)");
  command->add_flag("--no-commit", flags->no_commit,
                    "do not; the server builds when nothing came for a while");
  command->add_flag("--archive", flags->archive, "then archive the sessions");
}

}  // namespace

void AddUploadCommands(CLI::App& app, Program& program) {
  auto flags = std::make_shared<UploadFlags>();
  CLI::App* upload = app.add_subcommand("upload", "uploads files, folders, .zip and .tar.gz files");
  upload->add_option("PATH", flags->paths, "files, folders, .zip, .tar, .tar.gz, .tgz")->required();
  AddDestination(upload, flags, false);
  AddCommit(upload, flags);
  upload->add_flag("--local-anonymize", flags->local_anonymize, "anonymize before sending");
  upload->add_option("--jobs", flags->jobs, "parallel streams")
      ->check(CLI::Range(1, 16))
      ->capture_default_str();
  upload->add_option("--resume", flags->resume,
                     "file that remembers what is done; an interrupted upload goes on");
  upload->add_flag("--skip-known", flags->skip_known,
                   "ask first what the server has; reads every file twice");
  program.OnChosen(upload, [&program, flags] { return Upload(program, *flags); });

  CLI::App* import = app.add_subcommand("import", "sends compressed files that the server unpacks");
  import->add_option("FILE", flags->paths, ".zip, .tar, .tar.gz or .tgz files")->required();
  AddDestination(import, flags, false);
  AddCommit(import, flags);
  program.OnChosen(import, [&program, flags] { return Import(program, *flags); });

  CLI::App* inbox = app.add_subcommand("inbox", "files that lie on the server");
  inbox->require_subcommand(1);
  CLI::App* take = inbox->add_subcommand("import", "takes in a file or folder below the server's inbox");
  take->add_option("PATH", flags->paths, "below the inbox, such as P1/incoming/a.zip")
      ->required()
      ->expected(1);
  AddDestination(take, flags, true);
  take->add_flag("--delete-after", flags->delete_after, "remove it after every object was kept");
  program.OnChosen(take, [&program, flags] { return ImportInbox(program, *flags); });
}

}  // namespace narthex::cli
