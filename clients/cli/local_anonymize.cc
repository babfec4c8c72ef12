#include "clients/cli/local_anonymize.h"

#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <set>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"

#include "base/error.h"
#include "base/ids.h"
#include "base/status.h"
#include "clients/cpp/open_file.h"
#include "imaging/anonymize/diff.h"
#include "imaging/anonymize/record.h"
#include "imaging/pixels/pixel_editor.h"

namespace narthex::cli {
namespace {

using Stub = v1::AnonymizationService::StubInterface;

constexpr size_t kPieceBytes = 1 << 20;
constexpr int kSecretBytes = 32;

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
      changed_.insert(change.keyword.empty() ? "private attributes" : change.keyword);
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

}  // namespace

absl::StatusOr<std::unique_ptr<LocalAnonymizer>> LocalAnonymizer::Open(client::Connection& connection,
                                                                       const Destination& destination) {
  std::string folder = (std::filesystem::temp_directory_path() / "narthex-anonymized-XXXXXX").string();
  if (::mkdtemp(folder.data()) == nullptr)
    return Internal("STORAGE_ERROR", absl::StrCat("cannot make a folder ", folder));
  auto local = absl::WrapUnique(new LocalAnonymizer(folder, {{"project", destination.project},
                                                             {"subject", destination.subject},
                                                             {"session", destination.session}}));
  NX_RETURN_IF_ERROR(local->Fetch(connection, ""));
  NX_RETURN_IF_ERROR(local->Fetch(connection, destination.project));
  return local;
}

LocalAnonymizer::~LocalAnonymizer() {
  std::error_code ignored;
  std::filesystem::remove_all(folder_, ignored);
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
  trusted_ = trusted_ && script.trusted();
  if (!script.enabled()) return absl::OkStatus();
  const std::string whose = project.empty() ? "site" : "project";
  Step step;
  // Whom the server does not trust, it does not tell the secret: then UIDs map alike within this upload only.
  step.plan.secret = script.secret().empty() ? RandomBytes(kSecretBytes) : script.secret();
  step.plan.dates_by_subject = !project.empty();
  if (!script.profile().empty()) {
    NX_ASSIGN_OR_RETURN(const auto options, anonymize::ProfileOptions::Parse(script.profile()));
    step.plan.profile = std::make_shared<anonymize::Profile>(options);
    steps_.push_back(absl::StrCat(whose, " profile ", options.ToString()));
  }
  if (!script.text().empty()) {
    NX_ASSIGN_OR_RETURN(auto compiled, anonymize::Script::Compile(script.text()));
    steps_.push_back(absl::StrCat(whose, " script ", anonymize::CodeOf(compiled).value));
    step.plan.script = std::make_shared<anonymize::Script>(std::move(compiled));
  }
  if (!script.lookup_table().empty()) {
    NX_ASSIGN_OR_RETURN(auto table, anonymize::ParseLookupTable(script.lookup_table()));
    step.lookup = std::make_shared<const anonymize::LookupTable>(std::move(table));
  }
  plans_.push_back(std::move(step));
  return absl::OkStatus();
}

absl::StatusOr<client::LocalFile> LocalAnonymizer::Copy(const client::LocalFile& file) {
  NX_ASSIGN_OR_RETURN(const client::OpenFile in, client::OpenFile::Open(file.path, file.size_bytes));
  client::LocalFile copy;
  copy.path = absl::StrCat(folder_, "/", files_++, ".dcm");
  std::ofstream out(copy.path, std::ios::binary);
  std::set<std::string> changed;
  std::vector<anonymize::ApplyContext> contexts(plans_.size());
  std::vector<std::unique_ptr<Editor>> editors;
  std::vector<std::unique_ptr<dicom::HeaderRewriter>> rewriters;
  // The last one first: each puts out into the one behind it.
  dicom::HeaderRewriter::Output output = [&out, &copy](absl::string_view piece) -> absl::Status {
    out.write(piece.data(), static_cast<std::streamsize>(piece.size()));
    copy.size_bytes += static_cast<int64_t>(piece.size());
    return out ? absl::OkStatus() : Internal("STORAGE_ERROR", "cannot write the anonymized copy");
  };
  for (size_t i = plans_.size(); i-- > 0;) {
    contexts[i].key = plans_[i].plan.secret;
    contexts[i].lookup = plans_[i].lookup;
    editors.push_back(std::make_unique<Editor>(plans_[i].plan, variables_, contexts[i], changed));
    rewriters.push_back(std::make_unique<dicom::HeaderRewriter>(*editors.back(), output));
    output = [next = rewriters.back().get()](absl::string_view piece) { return next->Add(piece); };
  }
  std::string buffer(kPieceBytes, '\0');
  for (int64_t offset = 0; offset < in.size_bytes();) {
    const size_t size = static_cast<size_t>(std::min<int64_t>(kPieceBytes, in.size_bytes() - offset));
    NX_RETURN_IF_ERROR(in.Read(offset, absl::MakeSpan(buffer.data(), size)));
    NX_RETURN_IF_ERROR(output(absl::string_view(buffer.data(), size)));
    offset += static_cast<int64_t>(size);
  }
  // The first one first: what it still holds goes through the others.
  for (size_t i = rewriters.size(); i-- > 0;) NX_RETURN_IF_ERROR(rewriters[i]->Finish());
  if (!out.flush()) return Internal("STORAGE_ERROR", "cannot write the anonymized copy");
  for (const std::string& keyword : changed) ++changed_[keyword];
  copy.modified_ns = file.modified_ns;
  return copy;
}

}  // namespace narthex::cli
