#include "server/archive/session_document.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

#include "base/error.h"
#include "base/status.h"
#include "imaging/session/document.h"

namespace narthex::archiving {
namespace {

session::ResourceCatalog ToCatalog(const metadata::Resource& resource) {
  return {.label = resource.label,
          .uri = resource.catalog_path,
          .format = resource.format,
          .content = resource.content,
          .file_count = static_cast<uint64_t>(resource.file_count),
          .file_size = static_cast<uint64_t>(resource.size_bytes)};
}

void ApplyFacts(const SessionContents& contents, session::DocumentFacts& facts) {
  const metadata::Session& row = contents.session;
  facts.id = row.accession_id;
  facts.project = row.project;
  facts.label = row.label;
  facts.subject_id = row.subject_id;
  facts.fields = row.fields;
  facts.note = row.note;
  facts.shares.clear();
  for (const metadata::Share& share : row.shares) facts.shares.emplace_back(share.project, share.label);
  facts.resources.clear();
  facts.scan_resources.clear();
  for (const metadata::Resource& resource : contents.resources) {
    auto& list = resource.scan_id.empty() ? facts.resources : facts.scan_resources[resource.scan_id];
    list.push_back(ToCatalog(resource));
  }
}

// What only the header said (operator, requested procedure, ...) stays.
void ApplyScan(const metadata::Scan& row, session::ScanModel& scan) {
  scan.id = row.id;
  scan.type = row.type;
  scan.xsi_type = row.xsi_type;
  scan.quality = row.quality;
  scan.note = row.note;
}

void ApplyScans(const std::vector<metadata::Scan>& rows, session::SessionModel& model) {
  std::vector<session::ScanModel> scans;
  for (const metadata::Scan& row : rows) {
    const auto known = std::find_if(model.scans.begin(), model.scans.end(),
                                    [&](const session::ScanModel& scan) { return scan.id == row.id; });
    session::ScanModel scan;
    if (known != model.scans.end()) {
      scan = *known;
    } else {
      scan.series_instance_uid = row.series_instance_uid;
      scan.series_description = row.series_description;
      scan.modality = row.modality;
      scan.frames = row.frames;
      scan.start_time = row.start_time;
      scan.scanner = {row.scanner, row.scanner_manufacturer, row.scanner_model, ""};
      scan.body_part_examined = row.body_part;
      scan.protocol_name = row.protocol_name;
    }
    ApplyScan(row, scan);
    scans.push_back(std::move(scan));
  }
  model.scans = std::move(scans);
}

absl::StatusOr<session::SessionDocument> Read(const SessionContents& contents,
                                              const session::TypeRegistry& types) {
  return session::ReadSessionDocument(contents.document.Reveal(), types);
}

void Apply(const SessionContents& contents, session::SessionDocument& document) {
  ApplyFacts(contents, document.facts);
  ApplyScans(contents.scans, document.session);
  document.session.date = contents.session.session_date;
}

}  // namespace

absl::StatusOr<SessionContents> ReadContents(metadata::SessionReader& reader,
                                             const std::string& accession_id) {
  SessionContents contents;
  NX_ASSIGN_OR_RETURN(contents.session, reader.Get(accession_id, metadata::Visibility::All(true)));
  NX_ASSIGN_OR_RETURN(contents.scans, reader.ListScans(accession_id));
  NX_ASSIGN_OR_RETURN(contents.resources, reader.ListResources(accession_id));
  NX_ASSIGN_OR_RETURN(contents.document, reader.GetDocument(accession_id));
  return contents;
}

absl::StatusOr<Phi<std::string>> UpdatedDocument(const SessionContents& contents,
                                                 const session::TypeRegistry& types) {
  NX_ASSIGN_OR_RETURN(session::SessionDocument document, Read(contents, types));
  Apply(contents, document);
  return Phi<std::string>(session::WriteSessionDocument(document.session, document.facts));
}

absl::StatusOr<bool> DocumentAgrees(const SessionContents& contents, const session::TypeRegistry& types) {
  NX_ASSIGN_OR_RETURN(session::SessionDocument document, Read(contents, types));
  const std::string before = session::WriteSessionDocument(document.session, document.facts);
  Apply(contents, document);
  return before == session::WriteSessionDocument(document.session, document.facts);
}

absl::StatusOr<Phi<std::string>> ScanDocument(const SessionContents& contents, const std::string& scan_id,
                                              const session::TypeRegistry& types) {
  NX_ASSIGN_OR_RETURN(const session::SessionDocument document, Read(contents, types));
  for (const session::ScanModel& scan : document.session.scans) {
    if (scan.id == scan_id) return Phi<std::string>(session::WriteScanFragment(scan, document.facts));
  }
  return ScanNotFound(contents.session, scan_id);
}

absl::Status ScanNotFound(const metadata::Session& session, const std::string& scan_id) {
  return NotFound("SCAN_NOT_FOUND",
                  absl::StrCat("session ", session.accession_id, " has no scan ", scan_id.substr(0, 64),
                               "; `narthex session scans` lists them"),
                  {{"session", session.accession_id}, {"scan", scan_id.substr(0, 64)}});
}

}  // namespace narthex::archiving
