// Merging a prearchive session into one that is archived: all or nothing, also over a crash. The files are
// written beside the session's folder, linked into it under new names, and named by the database in one
// transaction; what they replace stays until then. The hold on the session keeps others away meanwhile, and
// the session's version, which the transaction checks, tells if one came all the same.
#include <algorithm>
#include <memory>
#include <set>
#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"

#include "base/crash_point.h"
#include "base/error.h"
#include "base/log.h"
#include "base/status.h"
#include "imaging/dicom/attribute_set.h"
#include "imaging/session/builder.h"
#include "imaging/session/document.h"
#include "server/archive/filed_header.h"
#include "server/archive/filing.h"
#include "storage/archive/layout.h"

namespace narthex::archiving {
namespace {

constexpr char kPurpose[] = "merge";

bool Overwrites(const operations::Operation& operation) {
  const auto policy = operation.arguments.find("policy");
  return policy != operation.arguments.end() &&
         policy->second == absl::StrCat(static_cast<int>(ConflictPolicy::kOverwrite));
}

// Somebody was faster: what is there must be looked at again.
bool MustPlanAgain(const absl::Status& status) {
  static const auto* const kReasons =
      new std::set<std::string>{"ETAG_MISMATCH", "SESSION_DELETED", "SESSION_NOT_FOUND", "FOLDER_NOT_FOUND"};
  return kReasons->count(ErrorReason(status)) > 0;
}

// Fills what the archived session does not know.
void FillSession(const session::TypeRegistry& types, const session::SessionModel& incoming,
                 absl::string_view xsi_type, session::SessionModel& model) {
  for (auto field : {&session::SessionModel::date, &session::SessionModel::time,
                     &session::SessionModel::acquisition_site, &session::SessionModel::operator_name,
                     &session::SessionModel::session_type, &session::SessionModel::study_id,
                     &session::SessionModel::study_comments, &session::SessionModel::patient_weight}) {
    if ((model.*field).empty()) model.*field = incoming.*field;
  }
  for (auto field : {&session::SessionModel::accession_number, &session::SessionModel::patient_id,
                     &session::SessionModel::patient_name, &session::SessionModel::patient_birth_date}) {
    if ((model.*field).Reveal().empty()) model.*field = incoming.*field;
  }
  if (model.scanner.manufacturer.empty() && model.scanner.model.empty()) model.scanner = incoming.scanner;
  if (const session::SessionType* type = session::MergedSessionType(types, xsi_type, incoming)) {
    if (type->xsi_type != xsi_type) model.modality = type->modality;
    model.type_name = type->name;
    model.xsi_type = type->xsi_type;
    model.element = type->element;
  }
  for (const session::Parameter& parameter : incoming.parameters) {
    if (session::ParameterValue(model.parameters, parameter.name).empty())
      model.parameters.push_back(parameter);
  }
}

}  // namespace

absl::StatusOr<metadata::CommittedSession> Archiver::Merge(const operations::Operation& operation,
                                                           operations::Progress& progress,
                                                           const prearchive::SessionRow& row,
                                                           const std::string& accession_id) {
  if (const absl::Status held = with_.database.holds().Hold(accession_id, operation.id, kPurpose);
      !held.ok()) {
    return absl::IsAborted(held) ? operations::Postponed(held.message()) : held;
  }
  auto merged = MergeHeld(operation, progress, row, accession_id);
  return MustPlanAgain(merged.status()) ? operations::Postponed(merged.status().message()) : merged;
}

absl::StatusOr<metadata::CommittedSession> Archiver::MergeHeld(const operations::Operation& operation,
                                                               operations::Progress& progress,
                                                               const prearchive::SessionRow& row,
                                                               const std::string& accession_id) {
  Filing filing;
  NX_ASSIGN_OR_RETURN(filing.there, ReadArchived(with_.database.session_reader(), accession_id));
  filing.folder = filing.there->session.folder;
  if (filing.there->session.status == metadata::SessionStatus::kLocked) {
    return FailedPrecondition("SESSION_LOCKED",
                              absl::StrCat("session ", accession_id, " is locked; unlock it first"),
                              {{"session", accession_id}});
  }
  NX_RETURN_IF_ERROR(BuildFiled(filing, row));
  filing.plan = PlanMerge(*filing.there, filing.built, Overwrites(operation));
  filing.scan_ids = filing.plan.scan_ids;
  archive::SessionWriter::Options options;
  options.archive_root = with_.archive_root;
  options.operation_id = operation.id;
  options.folder = filing.folder;
  options.into_existing = true;
  options.base_version = filing.there->session.etag;
  NX_ASSIGN_OR_RETURN(const auto writer, archive::SessionWriter::Open(options, with_.file_system));
  absl::Status done = WriteMerge(filing, *writer, row, operation, progress);
  absl::StatusOr<metadata::CommittedSession> committed;
  if (filing.objects.empty()) filing.exported = ExportedFields();
  FillIn(filing.exported, filing.there->session.note, filing.there->session.fields);
  if (done.ok()) {
    CrashPoint("merge.written");
    auto addition = DescribeMerge(filing, *writer, operation);
    done = addition.status();
    if (done.ok()) {
      metadata::Change change;
      change.user = operation.user;
      change.request_id = operation.id;
      const metadata::MergeCounts& counts = filing.plan.counts;
      change.note = absl::StrCat("merged: ", counts.added, " files added, ", counts.replaced, " replaced, ",
                                 counts.kept, " kept as they were");
      if (const std::string note = NoteOf(filing, row); !note.empty())
        absl::StrAppend(&change.note, "; ", note);
      committed = with_.database.sessions().Merge(*addition, change);
      done = committed.status();
    }
  }
  if (!done.ok()) {
    // Unknown, unavailable or stopped: the files stay, and the next attempt (or start) goes on from here.
    if (!absl::IsUnavailable(done)) NX_RETURN_IF_ERROR(writer->Abandon());
    return done;
  }
  CrashPoint("merge.committed");
  NX_RETURN_IF_ERROR(OnlyTidyingLeft(writer->Finish()));
  return committed;
}

absl::Status Archiver::WriteMerge(Filing& filing, archive::SessionWriter& writer,
                                  const prearchive::SessionRow& row, const operations::Operation& operation,
                                  operations::Progress& progress) {
  NX_RETURN_IF_ERROR(NameMerged(filing, writer));
  NX_RETURN_IF_ERROR(WriteObjects(filing, writer, row, progress));
  for (const FiledObject& filed : filing.objects) {
    if (filing.written.count(filed.path) == 0)
      return Internal("INTERNAL", absl::StrCat("file ", filed.path, " was not written"));
  }
  CountMerged(filing);
  if (writer.state() == archive::SessionWriter::State::kPublished) return absl::OkStatus();
  NX_RETURN_IF_ERROR(WriteMergedCatalogs(filing, writer, operation));
  std::vector<std::string> superseded;
  for (const metadata::File* file : filing.plan.superseded) superseded.push_back(file->path);
  for (const metadata::Resource& resource : filing.there->resources) {
    if (filing.plan.emptied_scans.count(resource.scan_id) > 0) superseded.push_back(resource.catalog_path);
  }
  NX_RETURN_IF_ERROR(writer.Supersede(superseded));
  return writer.Publish();
}

// What the headers of these archived scans say, with what is filed into them.
absl::StatusOr<session::SessionModel> Archiver::ScanAgain(const Filing& filing,
                                                          const archive::SessionWriter& writer,
                                                          const std::set<std::string>& scans) {
  const dicom::AttributeSet attributes = dicom::AttributeSet::Default().With(with_.types.wanted());
  absl::flat_hash_set<std::string> gone;
  for (const metadata::File* file : filing.plan.superseded) gone.insert(file->path);
  session::SessionBuilder builder(with_.types, {});
  std::vector<const std::string*> scan_of;  // by the index that the builder gives back
  const auto add = [&](const std::string& place, const std::string& scan) -> absl::Status {
    auto facts = ReadFacts(with_.file_system, place, attributes);
    if (!facts.ok()) return facts.status();
    scan_of.push_back(&scan);
    return builder.Add(*facts, scan_of.size() - 1);
  };
  const std::string folder = fs::JoinPath(with_.archive_root, filing.folder);
  for (const metadata::File& file : filing.there->files) {
    if (file.instance_uid.empty() || scans.count(file.scan_id) == 0 || gone.contains(file.path)) continue;
    if (const absl::Status added = add(fs::JoinPath(folder, file.path), file.scan_id); !added.ok()) {
      return DataLoss("ARCHIVED_BYTES_CORRUPT",
                      absl::StrCat("file ", file.path, " of session ", filing.there->session.accession_id,
                                   " cannot be read: ", added.message()),
                      {{"session", filing.there->session.accession_id}, {"path", file.path}});
    }
  }
  for (const FiledObject& filed : filing.objects) {
    if (scans.count(filing.ScanId(filed)) == 0) continue;
    NX_RETURN_IF_ERROR(add(writer.PlaceOf(filed.path), filing.ScanId(filed)));
  }
  if (scan_of.empty()) return session::SessionModel();
  NX_ASSIGN_OR_RETURN(session::SessionModel model, builder.Finish());
  for (session::ScanModel& scan : model.scans) {
    scan.id = *scan_of[scan.objects.front().index];
    // What people said of the scan stays.
    for (const metadata::Scan& row : filing.there->scans) {
      if (row.id != scan.id) continue;
      scan.type = row.type;
      scan.quality = row.quality;
      scan.note = row.note;
    }
  }
  return model;
}

// The session document as it will be. Scans that nothing is added to stay as they are written in it.
absl::StatusOr<session::SessionDocument> Archiver::MergeDocument(const Filing& filing,
                                                                 const archive::SessionWriter& writer) {
  const ArchivedSession& there = *filing.there;
  NX_ASSIGN_OR_RETURN(const auto text,
                      with_.database.session_reader().GetDocument(there.session.accession_id));
  auto document = session::ReadSessionDocument(text.Reveal(), with_.types);
  std::set<std::string> scans = filing.plan.joined_scans;
  if (!document.ok()) {
    for (const metadata::Scan& scan : there.scans) {
      if (filing.plan.emptied_scans.count(scan.id) == 0) scans.insert(scan.id);
    }
  }
  NX_ASSIGN_OR_RETURN(session::SessionModel again, ScanAgain(filing, writer, scans));
  session::SessionDocument merged;
  if (document.ok()) {
    merged = *std::move(document);
  } else {
    merged.session = again;
    merged.session.scans.clear();
  }
  std::vector<session::ScanModel>& all = merged.session.scans;
  const auto made_again = [&](const session::ScanModel& scan) {
    return scans.count(scan.id) > 0 || filing.plan.emptied_scans.count(scan.id) > 0;
  };
  all.erase(std::remove_if(all.begin(), all.end(), made_again), all.end());
  all.insert(all.end(), again.scans.begin(), again.scans.end());
  std::set<std::string> known;
  for (const metadata::Scan& scan : there.scans) known.insert(scan.id);
  std::set<size_t> filed;
  for (const FiledObject& object : filing.objects) filed.insert(object.scan);
  for (const size_t scan : filed) {
    if (known.count(filing.scan_ids[scan]) > 0) continue;
    all.push_back(filing.built.model.scans[scan]);
    all.back().id = filing.scan_ids[scan];
  }
  session::SortScans(all);
  FillSession(with_.types, filing.built.model, there.session.session_type, merged.session);
  return merged;
}

absl::StatusOr<metadata::SessionAddition> Archiver::DescribeMerge(const Filing& filing,
                                                                  const archive::SessionWriter& writer,
                                                                  const operations::Operation& operation) {
  const ArchivedSession& there = *filing.there;
  metadata::SessionAddition addition;
  addition.accession_id = there.session.accession_id;
  addition.etag = there.session.etag;
  addition.counts = filing.plan.counts;
  addition.quarantine = operation.arguments.count("quarantine") > 0;
  if (filing.objects.empty()) return addition;  // nothing but the record that it was tried

  NX_ASSIGN_OR_RETURN(session::SessionDocument document, MergeDocument(filing, writer));
  std::set<std::string> changed = filing.plan.joined_scans;
  for (const FiledObject& filed : filing.objects) changed.insert(filing.ScanId(filed));
  for (const session::ScanModel& scan : document.session.scans) {
    if (changed.count(scan.id) > 0) addition.scans.push_back(ToRow(scan));
  }
  session::DocumentFacts& facts = document.facts;
  facts.id = there.session.accession_id;
  facts.project = there.session.project;
  facts.label = there.session.label;
  facts.subject_id = there.session.subject_id;
  facts.fields = there.session.fields;
  facts.note = there.session.note;
  if (!filing.built.exported.empty()) {
    addition.fields = there.session.fields;
    addition.note = there.session.note;
  }
  facts.scan_resources.clear();
  facts.resources.clear();
  for (const auto& [key, resource] : filing.resources) {
    (key.first.empty() ? facts.resources : facts.scan_resources[key.first])
        .push_back({resource.label, resource.catalog_path, resource.format, resource.content,
                    static_cast<uint64_t>(resource.file_count), static_cast<uint64_t>(resource.size_bytes)});
    if (changed.count(key.first) > 0) addition.resources.push_back(resource);
  }
  if (document.session.xsi_type != there.session.session_type) {
    addition.session_type = document.session.xsi_type;
    addition.modality = document.session.modality;
  }
  addition.document = Phi<std::string>(session::WriteSessionDocument(document.session, facts));
  for (const metadata::File* file : filing.plan.superseded) addition.removed_paths.push_back(file->path);
  addition.removed_scans.assign(filing.plan.emptied_scans.begin(), filing.plan.emptied_scans.end());
  for (const FiledObject& filed : filing.objects) {
    addition.files.push_back(ToRow(filed, filing.ScanId(filed), filing.written.at(filed.path)));
  }
  return addition;
}

}  // namespace narthex::archiving
