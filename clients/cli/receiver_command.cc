// narthex receiver list|show|create|update|delete
#include <fstream>
#include <sstream>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"

#include "base/error.h"
#include "base/ids.h"
#include "base/status.h"
#include "clients/cli/calls.h"
#include "clients/cli/program.h"

namespace narthex::cli {
namespace {

using Stub = v1::ReceiverService::StubInterface;

struct ReceiverFlags {
  std::string ae_title;
  std::optional<int> port;
  std::optional<std::string> enabled, project, subject, anonymize, auto_archive, direct_archive,
      filtered_status, description, tls, tls_client_certificate;
  std::optional<std::string> project_rules, subject_rules, session_rules;  // files
  std::optional<int> idle_build_seconds;
  std::vector<std::string> allow;
  std::vector<std::string> commitment;
  bool allow_all = false;
};

// The rules of FILE ("-": none).
absl::Status ReadRules(const std::string& path, std::string* rules) {
  if (path == "-") return absl::OkStatus();
  std::ifstream file(path);
  std::ostringstream text;
  if (!file || !(text << file.rdbuf())) {
    return absl::InvalidArgumentError(absl::StrCat("the file ", path, " cannot be read or is empty"));
  }
  *rules = text.str();
  return absl::OkStatus();
}

// The receiver that the flags describe; `mask` gets the names of what was given.
absl::StatusOr<v1::Receiver> FromFlags(const ReceiverFlags& flags, google::protobuf::FieldMask* mask) {
  v1::Receiver receiver;
  receiver.set_name(absl::StrCat("receivers/", flags.ae_title));
  receiver.set_ae_title(flags.ae_title);
  const auto given = [&](bool has, const char* field) {
    if (has) mask->add_paths(field);
    return has;
  };
  if (given(flags.port.has_value(), "port")) receiver.set_port(*flags.port);
  if (given(flags.enabled.has_value(), "enabled")) receiver.set_enabled(*flags.enabled == "on");
  if (given(flags.project.has_value(), "project")) receiver.set_project(*flags.project);
  if (given(flags.subject.has_value(), "subject")) receiver.set_subject(*flags.subject);
  if (given(flags.anonymize.has_value(), "anonymize")) receiver.set_anonymize(*flags.anonymize == "on");
  if (given(flags.description.has_value(), "description")) receiver.set_description(*flags.description);
  if (given(flags.direct_archive.has_value(), "direct_archive")) {
    receiver.set_direct_archive(*flags.direct_archive == "on");
  }
  if (given(flags.tls.has_value(), "tls")) receiver.set_tls(*flags.tls == "on");
  if (given(flags.tls_client_certificate.has_value(), "tls_client_certificate")) {
    receiver.set_tls_client_certificate(*flags.tls_client_certificate == "on");
  }
  if (given(flags.idle_build_seconds.has_value(), "idle_build_seconds")) {
    receiver.set_idle_build_seconds(*flags.idle_build_seconds);
  }
  if (given(flags.auto_archive.has_value(), "auto_archive")) {
    v1::AutoArchive::Mode mode = v1::AutoArchive::MODE_UNSPECIFIED;
    v1::AutoArchive::Mode_Parse(absl::AsciiStrToUpper(*flags.auto_archive), &mode);
    receiver.set_auto_archive(mode);
  }
  if (given(flags.filtered_status.has_value(), "filtered_status")) {
    v1::Receiver::FilteredStatus status = v1::Receiver::FILTERED_STATUS_UNSPECIFIED;
    v1::Receiver::FilteredStatus_Parse(absl::AsciiStrToUpper(*flags.filtered_status), &status);
    receiver.set_filtered_status(status);
  }
  given(flags.allow_all || !flags.allow.empty(), "allowed_callers");
  for (const std::string& caller : flags.allow) receiver.add_allowed_callers(caller);
  given(!flags.commitment.empty(), "commitment_addresses");
  for (const std::string& entry : flags.commitment) {
    const std::pair<std::string, std::string> pair = absl::StrSplit(entry, absl::MaxSplits('=', 1));
    if (!pair.second.empty()) (*receiver.mutable_commitment_addresses())[pair.first] = pair.second;
  }
  if (given(flags.project_rules.has_value(), "project_rules")) {
    NX_RETURN_IF_ERROR(ReadRules(*flags.project_rules, receiver.mutable_project_rules()));
  }
  if (given(flags.subject_rules.has_value(), "subject_rules")) {
    NX_RETURN_IF_ERROR(ReadRules(*flags.subject_rules, receiver.mutable_subject_rules()));
  }
  if (given(flags.session_rules.has_value(), "session_rules")) {
    NX_RETURN_IF_ERROR(ReadRules(*flags.session_rules, receiver.mutable_session_rules()));
  }
  return receiver;
}

ExitCode Answer(Program& program, const v1::Receiver& receiver) {
  return program.Print(receiver, [&](std::ostream& out) {
    PrintFields(
        out,
        {{"AE title", receiver.ae_title()},
         {"port", receiver.port() == 0 ? "default" : absl::StrCat(receiver.port())},
         {"enabled", receiver.enabled() ? "yes" : "no"},
         {"description", receiver.description()},
         {"allowed callers",
          receiver.allowed_callers().empty() ? "everybody" : absl::StrJoin(receiver.allowed_callers(), ", ")},
         {"project", receiver.project()},
         {"subject", receiver.subject()},
         {"project rules", receiver.project_rules()},
         {"subject rules", receiver.subject_rules()},
         {"session rules", receiver.session_rules()},
         {"anonymize", receiver.anonymize() ? "yes" : "no"},
         {"auto-archive", Lower(v1::AutoArchive::Mode_Name(receiver.auto_archive()))},
         {"idle",
          receiver.idle_build_seconds() == 0 ? "" : absl::StrCat(receiver.idle_build_seconds(), " s")},
         {"direct archive", receiver.direct_archive() ? "yes" : ""},
         {"TLS", !receiver.tls()                     ? ""
                 : receiver.tls_client_certificate() ? "yes, with the caller's certificate"
                                                     : "yes"},
         {"filtered objects", receiver.refuses_filtered() ? "refused" : "answered with success"},
         {"not listened for", receiver.listen_error()}});
  });
}

absl::StatusOr<v1::ListReceiversResponse> ListAll(Program& program) {
  NX_ASSIGN_OR_RETURN(auto connection, program.Connect());
  return connection->Call(connection->receivers(), &Stub::ListReceivers, v1::ListReceiversRequest());
}

absl::StatusOr<ExitCode> List(Program& program, const ReceiverFlags& /*flags*/) {
  NX_ASSIGN_OR_RETURN(v1::ListReceiversResponse response, ListAll(program));
  return program.Print(response, [&](std::ostream& out) {
    Table table({"AE TITLE", ">PORT", "STATE", "PROJECT", "ALLOWED CALLERS"});
    for (const v1::Receiver& receiver : response.receivers()) {
      table.Add({receiver.ae_title(), receiver.port() == 0 ? "default" : absl::StrCat(receiver.port()),
                 !receiver.enabled()               ? "disabled"
                 : receiver.listen_error().empty() ? "enabled"
                                                   : "not listened for",
                 receiver.project(), absl::StrJoin(receiver.allowed_callers(), " ")});
    }
    table.Print(out);
  });
}

absl::StatusOr<ExitCode> Show(Program& program, const ReceiverFlags& flags) {
  NX_ASSIGN_OR_RETURN(v1::ListReceiversResponse response, ListAll(program));
  for (const v1::Receiver& receiver : response.receivers()) {
    if (receiver.ae_title() == flags.ae_title) return Answer(program, receiver);
  }
  return NotFound("NOT_FOUND", absl::StrCat("there is no receiver ", flags.ae_title),
                  {{"receiver", flags.ae_title}});
}

absl::StatusOr<ExitCode> Create(Program& program, const ReceiverFlags& flags) {
  v1::CreateReceiverRequest request;
  google::protobuf::FieldMask mask;
  NX_ASSIGN_OR_RETURN(*request.mutable_receiver(), FromFlags(flags, &mask));
  request.set_request_id(NewUuid());
  NX_ASSIGN_OR_RETURN(auto connection, program.Connect());
  NX_ASSIGN_OR_RETURN(v1::Receiver made,
                      connection->Call(connection->receivers(), &Stub::CreateReceiver, request));
  return Answer(program, made);
}

absl::StatusOr<ExitCode> Update(Program& program, const ReceiverFlags& flags) {
  v1::UpdateReceiverRequest request;
  NX_ASSIGN_OR_RETURN(*request.mutable_receiver(), FromFlags(flags, request.mutable_update_mask()));
  request.set_request_id(NewUuid());
  NX_ASSIGN_OR_RETURN(auto connection, program.Connect());
  NX_ASSIGN_OR_RETURN(v1::Receiver changed,
                      connection->Call(connection->receivers(), &Stub::UpdateReceiver, request));
  return Answer(program, changed);
}

absl::StatusOr<ExitCode> Delete(Program& program, const ReceiverFlags& flags) {
  v1::DeleteReceiverRequest request;
  request.set_name(absl::StrCat("receivers/", flags.ae_title));
  request.set_request_id(NewUuid());
  NX_ASSIGN_OR_RETURN(auto connection, program.Connect());
  NX_ASSIGN_OR_RETURN(auto empty, connection->Call(connection->receivers(), &Stub::DeleteReceiver, request));
  return program.Print(
      empty, [&](std::ostream& out) { out << "receiver " << Printable(flags.ae_title) << " is no more\n"; });
}

void AddFieldFlags(CLI::App* command, ReceiverFlags& flags) {
  const CLI::IsMember on_off({"on", "off"});
  command->add_option("--port", flags.port, "a port of its own; 0: the server's DICOM port")
      ->check(CLI::Range(0, 65535));
  command
      ->add_option("--allow", flags.allow,
                   "who may call: AE, ADDRESS[/BITS] or AE@ADDRESS[/BITS]; may be repeated; else everybody")
      ->allow_extra_args(false);
  command->add_flag("--allow-all", flags.allow_all, "everybody may call");
  command->add_option("--project", flags.project, "everything goes to this project; \"\": routing decides");
  command->add_option("--subject", flags.subject,
                      "everything belongs to this subject; \"\": routing decides");
  command->add_option("--project-rules", flags.project_rules, "FILE of routing rules; \"-\": none");
  command->add_option("--subject-rules", flags.subject_rules, "FILE of routing rules; \"-\": none");
  command->add_option("--session-rules", flags.session_rules, "FILE of routing rules; \"-\": none");
  command->add_option("--anonymize", flags.anonymize, "apply the site's script: on (default) or off")
      ->check(on_off);
  command
      ->add_option("--auto-archive", flags.auto_archive,
                   "what happens to built sessions: manual, auto, overwrite; \"\": as else decided")
      ->check(CLI::IsMember({"manual", "auto", "overwrite", ""}));
  command->add_option("--idle", flags.idle_build_seconds,
                      "build a session after so many seconds without an object; 0: as the site");
  command->add_option("--direct-archive", flags.direct_archive, "no waiting in the prearchive: on or off")
      ->check(on_off);
  command
      ->add_option("--filtered", flags.filtered_status,
                   "what senders of filtered objects are told: success, refusal; \"\": as the site")
      ->check(CLI::IsMember({"success", "refusal", ""}));
  command
      ->add_option("--commitment", flags.commitment,
                   "AE_TITLE=HOST:PORT, where a requester of storage commitment listens for reports; may be "
                   "repeated; \"\": none")
      ->allow_extra_args(false);
  command->add_option("--tls", flags.tls, "associations over TLS only: on or off")->check(on_off);
  command
      ->add_option("--tls-client-certificate", flags.tls_client_certificate,
                   "callers show a certificate whose common name is their AE title: on or off")
      ->check(on_off);
  command->add_option("--enabled", flags.enabled, "whether it accepts associations: on or off")
      ->check(on_off);
  command->add_option("--description", flags.description, "for people");
}

}  // namespace

void AddReceiverCommands(CLI::App& app, Program& program) {
  auto flags = std::make_shared<ReceiverFlags>();
  CLI::App* group = app.add_subcommand("receiver", "the AE titles that scanners send to; for administrators");
  group->require_subcommand(1);
  using Handler = absl::StatusOr<ExitCode> (*)(Program&, const ReceiverFlags&);
  const auto add = [&](const char* name, const char* help, Handler handler, bool named) {
    CLI::App* command = group->add_subcommand(name, help);
    if (named) command->add_option("AE_TITLE", flags->ae_title, "its AE title")->required();
    program.OnChosen(command, [&program, flags, handler] { return handler(program, *flags); });
    return command;
  };
  add("list", "lists the receivers", List, false);
  add("show", "shows a receiver", Show, true);
  AddFieldFlags(add("create", "makes a receiver; it is listened for at once", Create, true), *flags);
  AddFieldFlags(add("update", "changes what is given of a receiver", Update, true), *flags);
  add("delete", "removes a receiver and closes its port", Delete, true);
}

}  // namespace narthex::cli
