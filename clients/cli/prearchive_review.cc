#include "clients/cli/prearchive_review.h"

#include <memory>
#include <optional>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

#include "base/ids.h"
#include "base/status.h"
#include "clients/cli/calls.h"
#include "clients/cli/resource_tables.h"

namespace narthex::cli {
namespace {

using Stub = v1::PrearchiveService::StubInterface;

struct ReviewFlags {
  std::string id;
  std::optional<std::string> project, subject, label, date, auto_archive;
  std::optional<std::string> scan, type, quality, note, contested;
  bool accept_leftovers = false;
  bool exclude = false;
  bool include = false;
  std::string instance;
  std::string study, claim_label, claim_date, claim_project;
};
using Flags = std::shared_ptr<ReviewFlags>;

void AddScanEdit(const ReviewFlags& flags, v1::UpdatePrearchiveSessionRequest& request) {
  if (!flags.scan) return;
  v1::ScanEdit& edit = *request.add_scans();
  edit.set_scan(*flags.scan);
  if (flags.type) edit.set_type(*flags.type);
  if (flags.quality) edit.set_quality(*flags.quality);
  if (flags.note) edit.set_note(*flags.note);
  if (flags.exclude || flags.include) edit.set_exclude(flags.exclude);
}

absl::StatusOr<ExitCode> Update(Program& program, const ReviewFlags& flags) {
  v1::UpdatePrearchiveSessionRequest request;
  request.set_name(PrearchiveName(flags.id));
  if (flags.project) request.set_project(*flags.project);
  if (flags.subject) request.set_subject(*flags.subject);
  if (flags.label) request.set_label(*flags.label);
  if (flags.date) request.set_session_date(*flags.date);
  if (flags.auto_archive) {
    v1::AutoArchive::Mode mode = v1::AutoArchive::MODE_UNSPECIFIED;
    v1::AutoArchive::Mode_Parse(absl::AsciiStrToUpper(*flags.auto_archive), &mode);
    request.set_auto_archive(mode);
  }
  if (flags.contested) {
    request.set_contested(*flags.contested == "first" ? v1::ContestedInstances::FIRST
                                                      : v1::ContestedInstances::LAST);
  }
  if (flags.accept_leftovers) request.set_leftovers_accepted(true);
  AddScanEdit(flags, request);
  request.set_request_id(NewUuid());
  NX_ASSIGN_OR_RETURN(auto connection, program.Connect());
  NX_ASSIGN_OR_RETURN(v1::PrearchiveSession session,
                      connection->Call(connection->prearchive(), &Stub::UpdatePrearchiveSession, request));
  return program.Print(session, [&](std::ostream& out) { PrintPrearchiveSession(out, session); });
}

std::string PixelsText(const v1::DiffInstanceResponse& response) {
  switch (response.pixels()) {
    case v1::DiffInstanceResponse::SAME:
      return "the same";
    case v1::DiffInstanceResponse::DIFFERENT:
      return "different";
    case v1::DiffInstanceResponse::NONE:
      return "none";
    default:
      return absl::StrCat("unknown: ", response.pixels_detail());
  }
}

void PrintDiff(std::ostream& out, const v1::DiffInstanceResponse& response) {
  Table versions({"RECEIVED", "OUTCOME", ">SIZE", "TRANSFER SYNTAX", "DIGEST", ""});
  for (const v1::InstanceVersion& v : response.versions()) {
    versions.Add({HumanTime(v.receive_time()), Lower(v1::ObjectOutcome::Outcome_Name(v.outcome())),
                  HumanSize(v.size_bytes()), v.transfer_syntax_uid(), v.digest(),
                  v.current() ? "archived" : ""});
  }
  versions.Print(out);
  out << "\n";
  if (response.only_transfer_syntax_differs()) {
    out << "only the transfer syntax differs: headers and pixels are the same\n";
    return;
  }
  out << "pixels: " << PixelsText(response) << "\n";
  if (response.changes_size() == 0) {
    out << "headers: the same\n";
    return;
  }
  out << "\n";
  Table changes({"TAG", "KEYWORD", "ACTION", "OLDER", "NEWER"});
  for (const v1::AttributeChange& c : response.changes()) {
    changes.Add({c.path(), c.keyword(), c.action(), c.before(), c.after()});
  }
  changes.Print(out);
}

absl::StatusOr<ExitCode> Diff(Program& program, const ReviewFlags& flags) {
  v1::DiffInstanceRequest request;
  request.set_name(PrearchiveName(flags.id));
  request.set_instance_uid(flags.instance);
  NX_ASSIGN_OR_RETURN(auto connection, program.Connect());
  NX_ASSIGN_OR_RETURN(v1::DiffInstanceResponse response,
                      connection->Call(connection->prearchive(), &Stub::DiffInstance, request));
  return program.Print(response, [&](std::ostream& out) { PrintDiff(out, response); });
}

absl::StatusOr<ExitCode> Claim(Program& program, const ReviewFlags& flags) {
  v1::ClaimPrearchiveSessionRequest request;
  request.set_project(flags.claim_project);
  request.set_study_instance_uid(flags.study);
  request.set_label(flags.claim_label);
  request.set_session_date(flags.claim_date);
  request.set_request_id(NewUuid());
  NX_ASSIGN_OR_RETURN(auto connection, program.Connect());
  NX_ASSIGN_OR_RETURN(v1::PrearchiveSession session,
                      connection->Call(connection->prearchive(), &Stub::ClaimPrearchiveSession, request));
  return program.Print(session, [&](std::ostream& out) { PrintPrearchiveSession(out, session); });
}

void AddUpdate(CLI::App* group, Program& program, const Flags& flags) {
  CLI::App* update = group->add_subcommand(
      "update", "changes where a session will go and what is archived of it; holds over builds");
  update->add_option("ID", flags->id, "the session in the prearchive")->required();
  update->add_option("--project", flags->project, "project id or alias");
  update->add_option("--subject", flags->subject, "subject label");
  update->add_option("--label", flags->label, "session label");
  update->add_option("--date", flags->date, "session date, YYYY-MM-DD; empty: that of the headers");
  update->add_flag("--accept-leftovers", flags->accept_leftovers,
                   "identifiers that anonymization left were looked at, and may stay");
  update->add_option("--auto-archive", flags->auto_archive, "manual, auto or overwrite")
      ->check(CLI::IsMember({"manual", "auto", "overwrite"}));
  CLI::Option* scan = update->add_option("--scan", flags->scan, "the scan that what follows is about");
  update->add_option("--type", flags->type, "its type; empty: that of the headers")->needs(scan);
  update->add_option("--quality", flags->quality, "usable, questionable, unusable")->needs(scan);
  update->add_option("--note", flags->note, "a note about it")->needs(scan);
  CLI::Option* exclude =
      update->add_flag("--exclude", flags->exclude, "leave the scan out of the archive")->needs(scan);
  update->add_flag("--include", flags->include, "take it in again")->needs(scan)->excludes(exclude);
  update
      ->add_option("--contested", flags->contested,
                   "of instances that came with several contents, archive the first or the last")
      ->check(CLI::IsMember({"first", "last"}));
  program.OnChosen(update, [&program, flags] { return Update(program, *flags); });
}

}  // namespace

void AddPrearchiveReviewCommands(CLI::App* group, Program& program) {
  auto flags = std::make_shared<ReviewFlags>();
  AddUpdate(group, program, flags);
  CLI::App* diff = group->add_subcommand("diff", "compares the contents that one instance came with");
  diff->add_option("ID", flags->id, "the session in the prearchive")->required();
  diff->add_option("--instance", flags->instance, "SOP Instance UID")->required();
  program.OnChosen(diff, [&program, flags] { return Diff(program, *flags); });
  CLI::App* claim = group->add_subcommand("claim", "takes an unassigned session into a project of yours");
  claim->add_option("--project", flags->claim_project, "project id or alias")->required();
  claim->add_option("--study", flags->study, "Study Instance UID of the session");
  claim->add_option("--label", flags->claim_label, "its label (with --date)");
  claim->add_option("--date", flags->claim_date, "its date, YYYY-MM-DD");
  program.OnChosen(claim, [&program, flags] { return Claim(program, *flags); });
}

}  // namespace narthex::cli
