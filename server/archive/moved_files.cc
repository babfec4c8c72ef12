#include "server/archive/moved_files.h"

#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "base/error.h"
#include "base/limits.h"
#include "base/status.h"
#include "imaging/anonymize/diff.h"
#include "imaging/session/document.h"
#include "server/archive/filed_header.h"
#include "server/archive/filing.h"

namespace narthex::archiving {
namespace {

// Enough behind the header that the element which holds the bulk data is seen for what it is.
constexpr uint64_t kBulkHeadBytes = 64 << 10;
constexpr size_t kPieceBytes = 1 << 20;
// Files that are handed to the writer at once.
constexpr size_t kPortion = 2000;

absl::Status OfFile(const metadata::File& file, const absl::Status& status) {
  return Annotate(status, absl::StrCat("file ", file.path, " stays as it is, and so does the session"));
}

absl::Status ReadPieces(fs::FileSystem& files, const std::string& place, uint64_t length,
                        const std::function<absl::Status(absl::string_view)>& sink) {
  NX_ASSIGN_OR_RETURN(const std::unique_ptr<fs::File> file, files.Open(place, {}));
  std::string piece(kPieceBytes, '\0');
  for (uint64_t at = 0; at < length;) {
    const size_t wanted = static_cast<size_t>(std::min<uint64_t>(piece.size(), length - at));
    NX_ASSIGN_OR_RETURN(const size_t got, file->ReadAt(at, piece.data(), wanted));
    if (got == 0) break;
    NX_RETURN_IF_ERROR(sink(absl::string_view(piece.data(), got)));
    at += got;
  }
  return absl::OkStatus();
}

dicom::AttributeSet WantedOf(const session::TypeRegistry& types) {
  const std::vector<dicom::TagPath> more(types.wanted().begin(), types.wanted().end());
  return dicom::AttributeSet::Default().With(more);
}

bool IsStudyMixed(const absl::Status& status) { return ErrorReason(status) == "SESSION_NOT_UNIQUE"; }

}  // namespace

struct MovedFiles::Header {
  dicom::HeaderFacts before, after;
  bool changed = false;
  bool repeated = false;
};

MovedFiles::MovedFiles(const Dependencies& with, std::shared_ptr<const deidentify::Plan> plan,
                       anonymize::Variables variables)
    : with_(with),
      plan_(std::move(plan)),
      variables_(std::move(variables)),
      attributes_(WantedOf(with.types)),
      before_(with.types, {}),
      after_(with.types, {}) {}

deidentify::PlanEditor::Options MovedFiles::OptionsOf(const std::string& path) const {
  deidentify::PlanEditor::Options options;
  options.variables = variables_;
  options.seed = absl::StrCat(with_.work.contents().session.accession_id, "/", path);
  options.repeat_recorded = true;
  return options;
}

absl::StatusOr<MovedFiles::Header> MovedFiles::Run(const metadata::File& file) {
  const std::string place = with_.work.Place(file.path);
  auto before = ReadFacts(with_.files, place, attributes_);
  if (!before.ok()) {
    return DataLoss("ARCHIVED_BYTES_CORRUPT",
                    absl::StrCat("file ", file.path, " cannot be read: ", before.status().message()),
                    {{"path", file.path}});
  }
  // A deflated header ends where the object does.
  const uint64_t wanted = before->is_deflated() ? file.size_bytes : before->header_bytes() + kBulkHeadBytes;
  std::string head;
  NX_RETURN_IF_ERROR(ReadPieces(with_.files, place,
                                std::min<uint64_t>(wanted, limits::kHeaderMaxBytes.most()),
                                [&head](absl::string_view piece) {
                                  head.append(piece.data(), piece.size());
                                  return absl::OkStatus();
                                }));
  deidentify::PlanEditor::Options options = OptionsOf(file.path);
  options.keep_data_sets = true;
  deidentify::PlanEditor editor(plan_, std::move(options));
  dicom::ScanOptions scan;
  scan.attributes = &attributes_;
  scan.origin = Origin::kStored;
  scan.transfer_syntax_uid = deidentify::UntoldSyntax(*before);
  auto after = deidentify::EditHead(editor, head, scan);
  NX_RETURN_IF_ERROR(OfFile(file, after.status()));
  Header header{*std::move(before), *std::move(after)};
  header.repeated = editor.repeated();
  for (const auto& [target, value] : editor.outcome().exports) exports_.Add(target, value.Reveal());
  header.changed = !header.repeated || !anonymize::DiffDataSets(*editor.before(), *editor.after()).empty();
  return header;
}

absl::StatusOr<std::string> MovedFiles::NameOf(const metadata::File& file, const dicom::HeaderFacts& facts) {
  const std::string folder = fs::ParentPath(file.path);
  const auto [names, added] = names_.try_emplace(folder);
  if (added) {
    NX_ASSIGN_OR_RETURN(const auto there, with_.files.List(with_.work.Place(folder)));
    for (const fs::DirectoryEntry& entry : there) names->second.Take(entry.name);
  }
  const std::string name = archive::InstanceFileName(
      {facts.study_instance_uid(), facts.Get(dicom::tags::kSeriesNumber),
       facts.Get(dicom::tags::kInstanceNumber), facts.sop_class_uid(), facts.sop_instance_uid()});
  return absl::StrCat(folder, "/", names->second.Take(name));
}

// What the session and its scans say is made of all headers.
absl::Status MovedFiles::AddFacts(const metadata::File& file, const Header& header) {
  // Another study that was merged into this session says nothing of it, neither before nor after.
  const absl::Status was = before_.Add(header.before, 0);
  if (!was.ok() && !IsStudyMixed(was)) return OfFile(file, was);
  if (was.ok()) NX_RETURN_IF_ERROR(OfFile(file, after_.Add(header.after, 0)));
  std::unique_ptr<session::SessionBuilder>& scan = scan_builders_[file.scan_id];
  if (scan == nullptr) scan = std::make_unique<session::SessionBuilder>(with_.types, session::BuildOptions());
  const absl::Status added = scan->Add(header.after, 0);
  return IsStudyMixed(added) ? absl::OkStatus() : OfFile(file, added);
}

absl::Status MovedFiles::LookAt(const metadata::File& file) {
  NX_ASSIGN_OR_RETURN(const Header header, Run(file));
  NX_RETURN_IF_ERROR(AddFacts(file, header));
  if (header.repeated) ++repeated_;
  if (!header.changed) return absl::OkStatus();
  Changed changed{file, file.path, deidentify::UntoldSyntax(header.before)};
  NX_ASSIGN_OR_RETURN(changed.file.path, NameOf(file, header.after));
  changed.file.instance_uid = std::string(header.after.sop_instance_uid());
  changed.file.sop_class_uid = std::string(header.after.sop_class_uid());
  if (file.received_identity.empty() && changed.file.instance_uid != file.instance_uid)
    changed.file.received_identity = with_.plans.Fingerprint(file.instance_uid);
  changed_scans_.insert(file.scan_id);
  changed_.push_back(std::move(changed));
  return absl::OkStatus();
}

absl::Status MovedFiles::Look() {
  for (const metadata::Resource& resource : with_.work.contents().resources) {
    const metadata::ResourceKey key{resource.scan_id, resource.label};
    NX_ASSIGN_OR_RETURN(files_[key], with_.work.FilesOf(key));
    const size_t before = changed_.size();
    for (const metadata::File& file : files_[key]) {
      if (!file.instance_uid.empty()) NX_RETURN_IF_ERROR(LookAt(file));
    }
    if (changed_.size() > before) resources_[key] = resource;
  }
  if (changed_.empty()) return absl::OkStatus();
  NX_ASSIGN_OR_RETURN(model_before_, before_.Finish());
  NX_ASSIGN_OR_RETURN(model_, after_.Finish());
  for (const std::string& id : changed_scans_) {
    NX_ASSIGN_OR_RETURN(session::SessionModel scan, scan_builders_[id]->Finish());
    if (!scan.scans.empty()) scans_[id] = std::move(scan.scans.front());
  }
  exported_ = ExportedFieldsOf(exports_, with_.definitions);
  archiving::Describe(exported_, model_);
  metadata::Session session = with_.work.contents().session;
  FillIn(exported_, session.note, session.fields);
  return absl::OkStatus();
}

absl::Status MovedFiles::WriteOne(const Changed& changed, const archive::ByteSink& sink) {
  deidentify::PlanEditor::Options options = OptionsOf(changed.old_path);
  options.check_leftovers = true;
  deidentify::PlanEditor editor(plan_, std::move(options));
  dicom::HeaderRewriter rewriter(editor, sink, {changed.transfer_syntax_uid, Origin::kStored});
  absl::Status written = ReadPieces(with_.files, with_.work.Place(changed.old_path), UINT64_MAX,
                                    [&rewriter](absl::string_view piece) { return rewriter.Add(piece); });
  if (written.ok()) written = rewriter.Finish();
  NX_RETURN_IF_ERROR(OfFile(changed.file, written));
  // Of one that went through the script before, what identifies are the labels that it had.
  if (!editor.repeated()) {
    absl::MutexLock lock(&mutex_);
    leftovers_.Add({}, editor.outcome().leftovers);
  }
  if (rewriter.header().data->TextOrEmpty(dicom::tags::kSOPInstanceUID) == changed.file.instance_uid)
    return absl::OkStatus();
  return Internal("INTERNAL", absl::StrCat("file ", changed.old_path,
                                           ": the script gives another SOP Instance UID at its second run"));
}

absl::Status MovedFiles::Write(const metadata::Change& change) {
  archive::SessionWriter& writer = with_.work.writer();
  std::vector<std::string> old_paths;
  for (size_t begin = 0; begin < changed_.size(); begin += kPortion) {
    std::vector<archive::FileSource> sources;
    for (size_t i = begin; i < std::min(begin + kPortion, changed_.size()); ++i) {
      const Changed* changed = &changed_[i];
      old_paths.push_back(changed->old_path);
      sources.push_back({changed->file.path, [this, changed](const archive::ByteSink& sink) {
                           return WriteOne(*changed, sink);
                         }});
    }
    NX_RETURN_IF_ERROR(writer.WriteFiles(sources));
  }
  NX_RETURN_IF_ERROR(CheckLeftovers());
  absl::flat_hash_map<std::string, archive::WrittenFile> written;
  for (archive::WrittenFile& file : writer.files()) {
    std::string path = file.path;
    written.emplace(std::move(path), std::move(file));
  }
  for (Changed& changed : changed_) {
    const archive::WrittenFile& bytes = written.at(changed.file.path);
    changed.file.size_bytes = static_cast<int64_t>(bytes.size_bytes);
    changed.file.md5 = bytes.md5;
    changed.file.sha256 = bytes.sha256;
    changed.file.xxh3_stored = bytes.xxh3;
  }
  NX_RETURN_IF_ERROR(WriteCatalogs(change));
  return writer.Supersede(old_paths);
}

absl::Status MovedFiles::CheckLeftovers() const {
  const auto site = with_.plans.Site();
  const bool hold = plan_->leftovers == deidentify::Leftovers::kHold ||
                    (site.ok() && *site != nullptr && (*site)->leftovers == deidentify::Leftovers::kHold);
  absl::MutexLock lock(&mutex_);
  if (!hold || leftovers_.empty() || with_.accept_leftovers) return absl::OkStatus();
  std::vector<std::string> remarks;
  leftovers_.AddRemarks(remarks);
  return FailedPrecondition(
      "LEFTOVERS_FOUND",
      absl::StrCat("session ", with_.work.contents().session.accession_id,
                   " stays where it is, as it is: ", leftovers_.Summary(), ": ", absl::StrJoin(remarks, "; "),
                   "; change the script, or say that they may pass (--accept-leftovers)"),
      {{"session", with_.work.contents().session.accession_id}});
}

absl::Status MovedFiles::WriteCatalogs(const metadata::Change& change) {
  for (const metadata::Scan& scan : Scans(with_.work.contents().scans)) with_.work.Describe(scan);
  absl::flat_hash_map<std::string, const metadata::File*> now;  // by old path
  for (const Changed& changed : changed_) now[changed.old_path] = &changed.file;
  for (auto& [key, resource] : resources_) {
    std::vector<metadata::File> files = files_[key];
    resource.file_count = static_cast<int64_t>(files.size());
    resource.size_bytes = 0;
    for (metadata::File& file : files) {
      if (const auto changed = now.find(file.path); changed != now.end()) file = *changed->second;
      resource.size_bytes += file.size_bytes;
    }
    NX_RETURN_IF_ERROR(with_.work.WriteCatalog(resource, files, change));
  }
  return absl::OkStatus();
}

// The rows of scans whose files change. What people said of them stays, and so do their ids.
std::vector<metadata::Scan> MovedFiles::Scans(const std::vector<metadata::Scan>& now) const {
  std::vector<metadata::Scan> scans;
  for (const metadata::Scan& row : now) {
    const auto made = scans_.find(row.id);
    if (made == scans_.end()) continue;
    metadata::Scan scan = ToRow(made->second);
    scan.id = row.id;
    // A type that is the series description must not outlive it.
    scan.type = row.type == row.series_description ? scan.type : row.type;
    scan.xsi_type = row.xsi_type;
    scan.quality = row.quality;
    scan.note = row.note;
    scan.frames = row.frames;
    scans.push_back(std::move(scan));
  }
  return scans;
}

// What the headers say of the session unless somebody else said it, with what the script exports.
std::vector<std::pair<std::string session::SessionModel::*, const std::string*>> MovedFiles::GivenTexts()
    const {
  return {{&session::SessionModel::acquisition_site, &exported_.acquisition_site},
          {&session::SessionModel::operator_name, &exported_.operator_name},
          {&session::SessionModel::session_type, &exported_.session_type}};
}

absl::StatusOr<Phi<std::string>> MovedFiles::Document(const SessionContents& now) const {
  session::SessionDocument document;
  session::SessionModel model = model_;
  model.scans.clear();
  auto former = session::ReadSessionDocument(now.document.Reveal(), with_.types);
  if (former.ok()) {
    document.facts = std::move(former->facts);
    model.type_name = former->session.type_name;
    model.xsi_type = former->session.xsi_type;
    model.element = former->session.element;
    model.modality = former->session.modality;
    for (const auto& [field, exported] : GivenTexts()) {
      if (exported->empty() && former->session.*field != model_before_.*field)
        model.*field = former->session.*field;
    }
  }
  for (const metadata::Scan& row : now.scans) {
    if (const auto made = scans_.find(row.id); made != scans_.end()) {
      model.scans.push_back(made->second);
      model.scans.back().id = row.id;
    } else if (former.ok()) {
      for (const session::ScanModel& scan : former->session.scans) {
        if (scan.id == row.id) model.scans.push_back(scan);
      }
    }
  }
  document.session = std::move(model);
  return Phi<std::string>(session::WriteSessionDocument(document.session, document.facts));
}

absl::Status MovedFiles::Describe(const SessionContents& now, metadata::SessionUpdate& update) const {
  update.scans = Scans(now.scans);
  for (const auto& [key, resource] : resources_) update.resources.push_back(resource);
  for (const Changed& changed : changed_) {
    update.files.push_back(changed.file);
    update.superseded_paths.push_back(changed.old_path);
  }
  metadata::Session described = now.session;
  described.study_instance_uid = model_.study_instance_uid;
  // A date that a person gave stays.
  if (described.session_date == model_before_.date) described.session_date = model_.date;
  described.session_time = model_.time;
  described.scanner = model_.scanner.station;
  described.scanner_manufacturer = model_.scanner.manufacturer;
  described.scanner_model = model_.scanner.model;
  if (described.acquisition_site == model_before_.acquisition_site || !exported_.acquisition_site.empty())
    described.acquisition_site = model_.acquisition_site;
  if (described.description == model_before_.session_type || !exported_.session_type.empty())
    described.description = model_.session_type;
  update.described = std::move(described);
  if (!exports_.empty()) {
    ExportedFields exported = exported_;
    if (!update.note) update.note = now.session.note;
    if (!update.fields) update.fields = now.session.fields;
    FillIn(exported, *update.note, *update.fields);
  }
  NX_ASSIGN_OR_RETURN(update.document, Document(now));
  update.after["files.anonymized"] = absl::StrCat(changed_.size());
  return absl::OkStatus();
}

std::string MovedFiles::Note() const {
  std::string note = absl::StrCat(absl::StrJoin(plan_->summary, "; "), " applied to ", changed_.size(),
                                  changed_.size() == 1 ? " file" : " files");
  if (repeated_ > 0)
    absl::StrAppend(&note, "; ", repeated_, " had gone through it before, and were only given new labels");
  std::vector<std::string> remarks = exported_.remarks;
  {
    absl::MutexLock lock(&mutex_);
    leftovers_.AddRemarks(remarks);
  }
  for (const std::string& remark : remarks) absl::StrAppend(&note, "; ", remark);
  return note;
}

}  // namespace narthex::archiving
