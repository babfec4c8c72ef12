#include "clients/cli/local_anonymize.h"

#include <fstream>
#include <functional>
#include <set>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "base/digest.h"
#include "base/error.h"
#include "base/limits.h"
#include "base/status.h"
#include "clients/cpp/open_file.h"
#include "imaging/anonymize/diff.h"
#include "imaging/anonymize/record.h"
#include "imaging/anonymize/uids.h"
#include "imaging/dicom/header_scanner.h"
#include "imaging/pixels/pixel_editor.h"

namespace narthex::cli {
namespace {

using Stub = v1::AnonymizationService::StubInterface;

constexpr size_t kPieceBytes = 1 << 20;
constexpr size_t kPseudonymBytes = 8;

// Runs one plan, and notes what it changes.
class Editor : public dicom::HeaderEditor {
 public:
  Editor(const anonymize::AnonymizationPlan& plan, const anonymize::Variables& variables,
         anonymize::ApplyContext& context, std::set<std::string>& changed)
      : anonymizer_(plan, variables, context), pixels_(anonymizer_), changed_(changed) {}

  absl::Status EditHeader(dicom::ObjectHeader& header) override {
    NX_ASSIGN_OR_RETURN(const auto before, header.data->Clone());
    NX_RETURN_IF_ERROR(pixels_.EditHeader(header));
    for (const anonymize::AttributeChange& change : anonymize::DiffDataSets(*before, *header.data))
      changed_.insert(change.keyword.empty() ? "private" : change.keyword);
    // Uploads carry objects and nothing beside them.
    for (const auto& [target, value] : anonymizer_.outcome().exports)
      changed_.insert(absl::StrCat("export ", target, " (not sent)"));
    return absl::OkStatus();
  }
  absl::Status AllowBulk(dicom::Tag tag) override { return pixels_.AllowBulk(tag); }
  absl::StatusOr<std::unique_ptr<dicom::BulkFilter>> FilterBulk(const dicom::BulkHead& bulk,
                                                                const dicom::ObjectHeader& header) override {
    return pixels_.FilterBulk(bulk, header);
  }
  absl::Status EditTrailing(dicom::DataSet& trailing, const dicom::ObjectHeader& header) override {
    return pixels_.EditTrailing(trailing, header);
  }

 private:
  anonymize::Anonymizer anonymizer_;
  pixels::PixelEditor pixels_;
  std::set<std::string>& changed_;
};

// The server finds the project; here nobody knows them.
class NoProjects : public identify::ProjectDirectory {
 public:
  std::optional<std::string> Resolve(absl::string_view) const override { return std::nullopt; }
};

}  // namespace

// All plans, one behind the other, at work on one object.
class LocalAnonymizer::Chain {
 public:
  Chain(const std::vector<Step>& plans, const anonymize::Variables& variables,
        dicom::HeaderRewriter::Output output, std::set<std::string>& changed)
      : contexts_(plans.size()) {
    // The last one first: each puts out into the one behind it.
    for (size_t i = plans.size(); i-- > 0;) {
      contexts_[i].key = plans[i].plan.secret;
      contexts_[i].lookup = plans[i].lookup;
      editors_.push_back(std::make_unique<Editor>(plans[i].plan, variables, contexts_[i], changed));
      rewriters_.push_back(std::make_unique<dicom::HeaderRewriter>(*editors_.back(), output));
      output = [next = rewriters_.back().get()](absl::string_view piece) { return next->Add(piece); };
    }
    input_ = std::move(output);
  }

  absl::Status Add(absl::string_view piece) { return input_(piece); }
  // The first one first: what it still holds goes through the others.
  absl::Status Finish() {
    for (size_t i = rewriters_.size(); i-- > 0;) NX_RETURN_IF_ERROR(rewriters_[i]->Finish());
    return absl::OkStatus();
  }

 private:
  std::vector<anonymize::ApplyContext> contexts_;
  std::vector<std::unique_ptr<Editor>> editors_;
  std::vector<std::unique_ptr<dicom::HeaderRewriter>> rewriters_;
  dicom::HeaderRewriter::Output input_;
};

LocalAnonymizer::LocalAnonymizer(Options options, identify::Router router)
    : options_(std::move(options)),
      router_(std::move(router)),
      attributes_(dicom::AttributeSet::Default().With(
          std::vector<dicom::TagPath>(router_.wanted().begin(), router_.wanted().end()))) {}

absl::StatusOr<std::unique_ptr<LocalAnonymizer>> LocalAnonymizer::Open(client::Connection& connection,
                                                                       const Options& options) {
  NX_ASSIGN_OR_RETURN(identify::Router router, identify::Router::Create({}));
  auto local = absl::WrapUnique(new LocalAnonymizer(options, std::move(router)));
  local->summary_.trusted = true;
  NX_RETURN_IF_ERROR(local->Fetch(connection, ""));
  if (!options.project.empty()) NX_RETURN_IF_ERROR(local->Fetch(connection, options.project));
  absl::StrAppend(&local->made_with_, options.project, "\n", options.subject, "\n", options.session, "\n");
  NX_ASSIGN_OR_RETURN(local->copies_, LocalCopies::Open(options.keep_folder,
                                                        absl::BytesToHexString(Sha256(local->made_with_))));
  // Whom the server does not trust, it does not tell its secrets: then UIDs map alike within this upload
  // only.
  for (Step& step : local->plans_) {
    if (step.plan.secret.empty()) step.plan.secret = local->copies_->secret();
  }
  if (local->site_secret_.empty()) local->site_secret_ = local->copies_->secret();
  return local;
}

absl::Status LocalAnonymizer::Fetch(client::Connection& connection, const std::string& project) {
  v1::GetScriptRequest request;
  request.set_project(project);
  NX_ASSIGN_OR_RETURN(v1::AnonymizationScript script,
                      connection.Call(connection.anonymization(), &Stub::GetScript, request));
  if (script.trusted()) {
    request.set_with_secret(true);
    NX_ASSIGN_OR_RETURN(script, connection.Call(connection.anonymization(), &Stub::GetScript, request));
  }
  summary_.trusted = summary_.trusted && script.trusted();
  if (!script.enabled()) return absl::OkStatus();
  const std::string whose = project.empty() ? "site" : "project";
  Step step;
  step.plan.secret = script.secret();
  step.plan.dates_by_subject = !project.empty();
  if (project.empty()) site_secret_ = script.secret();
  if (!script.profile().empty()) {
    NX_ASSIGN_OR_RETURN(const auto options, anonymize::ProfileOptions::Parse(script.profile()));
    step.plan.profile = std::make_shared<anonymize::Profile>(options);
    summary_.steps.push_back(absl::StrCat(whose, " profile ", options.ToString()));
    profiles_ = true;
  }
  if (!script.text().empty()) {
    anonymize::CompileOptions kept;
    kept.origin = Origin::kStored;  // the server took it
    NX_ASSIGN_OR_RETURN(auto compiled, anonymize::Script::Compile(script.text(), kept));
    summary_.steps.push_back(absl::StrCat(whose, " script ", anonymize::CodeOf(compiled).value));
    step.plan.script = std::make_shared<anonymize::Script>(std::move(compiled));
  }
  if (!script.lookup_table().empty()) {
    NX_ASSIGN_OR_RETURN(auto table, anonymize::ParseLookupTable(script.lookup_table()));
    step.lookup = std::make_shared<const anonymize::LookupTable>(std::move(table));
  }
  absl::StrAppend(&made_with_, Sha256(script.text()), Sha256(script.lookup_table()), script.profile(), "\n",
                  Sha256(script.secret()), script.trusted() ? "trusted" : "", "\n");
  plans_.push_back(std::move(step));
  return absl::OkStatus();
}

// `head` is the object's beginning. UNAVAILABLE: too little of it to tell.
absl::StatusOr<anonymize::Variables> LocalAnonymizer::VariablesOf(absl::string_view head,
                                                                  bool complete) const {
  anonymize::Variables variables{{"project", options_.project.empty() ? "Unassigned" : options_.project},
                                 {"subject", options_.subject},
                                 {"session", options_.session}};
  if (!options_.subject.empty() && !options_.session.empty()) return variables;
  dicom::ScanOptions scan;
  scan.attributes = &attributes_;
  dicom::HeaderScanner scanner(scan);
  NX_ASSIGN_OR_RETURN(const dicom::ScanState state, scanner.Feed(head));
  if (state != dicom::ScanState::kHeaderDone && !complete)
    return absl::UnavailableError("the header goes on");
  NX_ASSIGN_OR_RETURN(const dicom::HeaderFacts facts, scanner.Finish());
  identify::ArrivalContext arrival;
  arrival.subject = options_.subject;
  arrival.label = options_.session;
  NX_ASSIGN_OR_RETURN(const identify::Destination to, router_.Route(facts, arrival, NoProjects()));
  // As the server's own: equal ones for whom it tells its secret.
  const auto label = [&](absl::string_view what, absl::string_view of, const std::string& text,
                         identify::Stage by) {
    if (!profiles_ || by != identify::Stage::kAttribute) return text;
    const std::string print =
        anonymize::Hmac(site_secret_, absl::StrCat("identity:", what, ":", of, ":", text));
    return absl::StrCat("anon-", absl::BytesToHexString(absl::string_view(print).substr(0, kPseudonymBytes)));
  };
  variables["session"] = label("session", facts.study_instance_uid(), to.label, to.label_by.stage);
  variables["subject"] =
      to.subject.empty() ? variables["session"] : label("subject", "", to.subject, to.subject_by.stage);
  return variables;
}

absl::StatusOr<client::LocalFile> LocalAnonymizer::Copy(const Source& source) {
  const std::string key = absl::StrCat(source.size_bytes, " ", source.modified_ns, " ", source.name);
  if (const LocalCopies::Made* made = copies_->Find(key)) {
    for (const std::string& keyword : made->changed) ++summary_.changed[keyword];
    ++summary_.files;
    ++summary_.reused;
    client::LocalFile file = made->file;
    file.modified_ns = source.modified_ns;
    return file;
  }
  LocalCopies::Made made;
  made.file.path = copies_->NewPath();
  made.file.modified_ns = source.modified_ns;
  std::ofstream out(made.file.path, std::ios::binary | std::ios::trunc);
  const dicom::HeaderRewriter::Output output = [&](absl::string_view piece) -> absl::Status {
    out.write(piece.data(), static_cast<std::streamsize>(piece.size()));
    made.file.size_bytes += static_cast<int64_t>(piece.size());
    return out ? absl::OkStatus() : Internal("STORAGE_ERROR", "cannot write the anonymized copy");
  };
  std::string head;
  std::optional<Chain> chain;
  const auto begin = [&](bool complete) -> absl::Status {
    auto variables = VariablesOf(head, complete);
    if (absl::IsUnavailable(variables.status())) {
      if (head.size() <= limits::kHeaderMaxBytes) return absl::OkStatus();
      return InvalidArgument("HEADER_TOO_LARGE", absl::StrCat("the header does not end within ",
                                                              limits::kHeaderMaxBytes.get(), " bytes"));
    }
    NX_RETURN_IF_ERROR(variables.status());
    chain.emplace(plans_, *variables, output, made.changed);
    return chain->Add(std::exchange(head, {}));
  };
  const absl::Status copied = [&]() -> absl::Status {
    while (true) {
      NX_ASSIGN_OR_RETURN(const absl::string_view piece, source.bytes());
      if (piece.empty()) break;
      if (chain) {
        NX_RETURN_IF_ERROR(chain->Add(piece));
      } else {
        head.append(piece.data(), piece.size());
        NX_RETURN_IF_ERROR(begin(false));
      }
    }
    if (!chain) NX_RETURN_IF_ERROR(begin(true));
    NX_RETURN_IF_ERROR(chain->Finish());
    return out.flush() ? absl::OkStatus() : Internal("STORAGE_ERROR", "cannot write the anonymized copy");
  }();
  if (!copied.ok()) {
    ++summary_.refused;
    return copied;
  }
  out.close();
  NX_RETURN_IF_ERROR(copies_->Add(key, made));
  ++summary_.files;
  for (const std::string& keyword : made.changed) ++summary_.changed[keyword];
  return made.file;
}

absl::StatusOr<client::LocalFile> LocalAnonymizer::Copy(const client::LocalFile& file) {
  NX_ASSIGN_OR_RETURN(const client::OpenFile in, client::OpenFile::Open(file.path, file.size_bytes));
  std::string buffer(kPieceBytes, '\0');
  int64_t at = 0;
  const ByteSource bytes = [&]() -> absl::StatusOr<absl::string_view> {
    const auto size = static_cast<size_t>(std::min<int64_t>(kPieceBytes, in.size_bytes() - at));
    if (size == 0) return absl::string_view();
    NX_RETURN_IF_ERROR(in.Read(at, absl::MakeSpan(buffer.data(), size)));
    at += static_cast<int64_t>(size);
    return absl::string_view(buffer.data(), size);
  };
  return Copy({file.path, file.size_bytes, file.modified_ns, bytes});
}

}  // namespace narthex::cli
