#include "storage/metadata/session_rows.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"

#include "base/error.h"
#include "base/limits.h"
#include "base/limits_storage.h"
#include "base/status.h"
#include "storage/metadata/json.h"
#include "storage/metadata/names.h"

namespace narthex::metadata {
namespace {

constexpr size_t kRowsPerStatement = 10000;  // about 5 MB of parameters

// One array parameter for one column of many rows.
template <typename Row, typename Member>
void BindTexts(Statement& statement, absl::Span<const Row> rows, Member member, bool empty_is_null = false) {
  std::vector<absl::string_view> values;
  values.reserve(rows.size());
  for (const Row& row : rows) {
    const std::string& value = row.*member;
    values.push_back(empty_is_null && value.empty() ? absl::string_view()
                                                    : absl::string_view(value.data(), value.size()));
  }
  statement.TextArray(values);
}

template <typename Row, typename Member>
void BindBytes(Statement& statement, absl::Span<const Row> rows, Member member) {
  std::vector<absl::string_view> values;
  values.reserve(rows.size());
  for (const Row& row : rows) values.emplace_back((row.*member).data(), (row.*member).size());
  statement.BytesArray(values);
}

template <typename Row>
void BindInts(Statement& statement, absl::Span<const Row> rows, int64_t Row::*member) {
  std::vector<int64_t> values;
  values.reserve(rows.size());
  for (const Row& row : rows) values.push_back(row.*member);
  statement.IntArray(values);
}

absl::Status Invalid(absl::string_view what) {
  return InvalidArgument("SESSION_INVALID", absl::StrCat("cannot file this session: ", what), {});
}

bool IsDate(absl::string_view text) {
  absl::CivilDay day;
  return text.empty() || (text.size() == 10 && absl::ParseCivilTime(text, &day) && day.year() >= 1);
}

bool IsClockTime(absl::string_view text) {
  absl::Time time;
  std::string error;
  return text.empty() || (text.size() <= 15 && absl::ParseTime("%H:%M:%E*S", text, &time, &error));
}

bool Fit(std::initializer_list<absl::string_view> texts) {
  return std::all_of(texts.begin(), texts.end(),
                     [](absl::string_view text) { return text.size() <= limits::kColumnMaxBytes; });
}

bool IsSafePath(absl::string_view path) {
  if (path.empty() || path.size() > limits::kFilePathMaxBytes || path.front() == '/' ||
      path.find('\0') != absl::string_view::npos)
    return false;
  return !absl::StrContains(absl::StrCat("/", path, "/"), "/../") && !absl::StrContains(path, "//");
}

}  // namespace

const char kSessionTables[] =
    "sessions s LEFT JOIN subjects u ON u.project_id = s.project_id AND u.subject_id = s.subject_id";

const char kSessionColumns[] =
    "s.session_id, s.uid, s.project_id, coalesce(u.label, ''), s.subject_id, s.label, s.study_instance_uid, "
    "s.modality, "
    "s.session_type, "
    "coalesce(s.session_date::text, ''), coalesce(s.session_time::text, ''), s.scanner, "
    "s.scanner_manufacturer, s.scanner_model, "
    "s.acquisition_site, s.description, s.fields, s.folder, s.scan_count, s.file_count, s.size_bytes, "
    "s.status, s.version, "
    "unix_us(s.create_time), unix_us(s.update_time), s.note, s.purge_state, "
    "ARRAY(SELECT h.project_id || '/' || h.label FROM session_shares h WHERE h.session_id = s.session_id "
    "ORDER "
    "BY 1)";

Session ToSession(const Rows& rows, int row) {
  Session session;
  int column = 0;
  for (std::string* text :
       {&session.accession_id, &session.uid, &session.project, &session.subject, &session.subject_id,
        &session.label, &session.study_instance_uid, &session.modality, &session.session_type,
        &session.session_date, &session.session_time, &session.scanner, &session.scanner_manufacturer,
        &session.scanner_model, &session.acquisition_site, &session.description}) {
    *text = rows.Text(row, column++);
  }
  session.fields = ParseJsonObject(rows.View(row, column++));
  session.folder = rows.Text(row, column++);
  session.scan_count = rows.Int(row, column++);
  session.file_count = rows.Int(row, column++);
  session.size_bytes = rows.Int(row, column++);
  session.status = ParseSessionStatus(rows.View(row, column++));
  session.etag = rows.Text(row, column++);
  session.create_time = rows.Time(row, column++);
  session.update_time = rows.Time(row, column++);
  session.note = rows.Text(row, column++);
  const absl::string_view purge = rows.View(row, column++);
  if (!purge.empty()) session.purge_state = purge == "PURGED" ? PurgeState::kPurged : PurgeState::kPurging;
  for (const std::string& share : rows.Texts(row, column++)) {
    const size_t slash = share.find('/');
    session.shares.push_back({share.substr(0, slash), share.substr(slash + 1)});
  }
  return session;
}

const char kScanColumns[] =
    "c.scan_id, c.type, c.xsi_type, c.series_instance_uid, c.series_description, c.modality, c.quality, "
    "c.note, coalesce(c.start_time::text, ''), c.scanner, c.scanner_manufacturer, c.scanner_model, "
    "c.body_part, c.protocol_name, c.parameters, c.frames, c.file_count, c.size_bytes";

Scan ToScan(const Rows& rows, int row) {
  Scan scan;
  int column = 0;
  for (std::string* text :
       {&scan.id, &scan.type, &scan.xsi_type, &scan.series_instance_uid, &scan.series_description,
        &scan.modality, &scan.quality, &scan.note, &scan.start_time, &scan.scanner,
        &scan.scanner_manufacturer, &scan.scanner_model, &scan.body_part, &scan.protocol_name}) {
    *text = rows.Text(row, column++);
  }
  scan.parameters = ParseJsonObject(rows.View(row, column++));
  scan.frames = rows.Int(row, column++);
  scan.file_count = rows.Int(row, column++);
  scan.size_bytes = rows.Int(row, column++);
  return scan;
}

const char kResourceColumns[] = "scan_id, label, format, content, catalog_path, file_count, size_bytes";

Resource ToResource(const Rows& rows, int row) {
  return {rows.Text(row, 0), rows.Text(row, 1), rows.Text(row, 2), rows.Text(row, 3),
          rows.Text(row, 4), rows.Int(row, 5),  rows.Int(row, 6)};
}

const char kFileColumns[] =
    "path, scan_id, resource, instance_uid, sop_class_uid, instance_number, size_bytes, md5, sha256, "
    "xxh3_received, xxh3_stored, "
    "format, received_identity, file_no";

File ToFile(const Rows& rows, int row) {
  File file;
  file.path = rows.Text(row, 0);
  file.scan_id = rows.Text(row, 1);
  file.resource = rows.Text(row, 2);
  file.instance_uid = rows.Text(row, 3);
  file.sop_class_uid = rows.Text(row, 4);
  file.instance_number = rows.Int(row, 5);
  file.size_bytes = rows.Int(row, 6);
  file.md5 = rows.Bytes(row, 7);
  file.sha256 = rows.Bytes(row, 8);
  file.xxh3_received = rows.Bytes(row, 9);
  file.xxh3_stored = rows.Bytes(row, 10);
  file.format = rows.Text(row, 11);
  file.received_identity = rows.Bytes(row, 12);
  return file;
}

Statement InsertSession(const Session& session) {
  Statement insert(
      "INSERT INTO sessions (project_id, session_id, uid, subject_id, label, study_instance_uid, modality, "
      "session_type, session_date, "
      "session_time, scanner, scanner_manufacturer, scanner_model, acquisition_site, description, fields, "
      "folder, scan_count, "
      "note, file_count, size_bytes, status) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, "
      "$14, "
      "$15, $16, $17, 0, $18, 0, 0, "
      "CASE WHEN $19 OR (SELECT p.quarantine FROM projects p WHERE p.project_id = $1) THEN 'QUARANTINE' ELSE "
      "'ACTIVE' END)");
  insert.Text(session.project)
      .Text(session.accession_id)
      .Text(session.uid)
      .Text(session.subject_id)
      .Text(session.label);
  insert.Text(session.study_instance_uid).Text(session.modality).Text(session.session_type);
  insert.TextOrNull(session.session_date)
      .TextOrNull(session.session_time)
      .Text(session.scanner)
      .Text(session.scanner_manufacturer);
  insert.Text(session.scanner_model)
      .Text(session.acquisition_site)
      .Text(session.description)
      .Text(JsonObject(session.fields));
  insert.Text(session.folder).Text(session.note).Bool(session.status == SessionStatus::kQuarantine);
  return insert;
}

Statement UpsertScans(absl::string_view project, absl::string_view session_id,
                      const std::vector<Scan>& scans) {
  Statement insert(
      "INSERT INTO scans (project_id, session_id, scan_id, type, xsi_type, series_instance_uid, "
      "series_description, modality, frames, "
      "quality, note, start_time, scanner, scanner_manufacturer, scanner_model, body_part, protocol_name, "
      "parameters) "
      "SELECT $1, $2, a, b, c, d, e, f, g, h, i, j::time, k, l, m, n, o, p::jsonb FROM unnest($3::text[], "
      "$4::text[], $5::text[], "
      "$6::text[], $7::text[], $8::text[], $9::bigint[], $10::text[], $11::text[], $12::text[], $13::text[], "
      "$14::text[], "
      "$15::text[], $16::text[], $17::text[], $18::text[]) AS t(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, "
      "p) "
      "ON CONFLICT (project_id, session_id, scan_id) DO UPDATE SET type = excluded.type, xsi_type = "
      "excluded.xsi_type, "
      "series_instance_uid = excluded.series_instance_uid, series_description = excluded.series_description, "
      "modality = excluded.modality, frames = excluded.frames, quality = excluded.quality, note = "
      "excluded.note, "
      "start_time = excluded.start_time, scanner = excluded.scanner, scanner_manufacturer = "
      "excluded.scanner_manufacturer, "
      "scanner_model = excluded.scanner_model, body_part = excluded.body_part, protocol_name = "
      "excluded.protocol_name, "
      "parameters = excluded.parameters");
  const absl::Span<const Scan> rows = scans;
  insert.Text(project).Text(session_id);
  for (auto member : {&Scan::id, &Scan::type, &Scan::xsi_type, &Scan::series_instance_uid,
                      &Scan::series_description, &Scan::modality}) {
    BindTexts(insert, rows, member);
  }
  BindInts(insert, rows, &Scan::frames);
  BindTexts(insert, rows, &Scan::quality);
  BindTexts(insert, rows, &Scan::note);
  BindTexts(insert, rows, &Scan::start_time, /*empty_is_null=*/true);
  for (auto member : {&Scan::scanner, &Scan::scanner_manufacturer, &Scan::scanner_model, &Scan::body_part,
                      &Scan::protocol_name}) {
    BindTexts(insert, rows, member);
  }
  std::vector<std::string> parameters;
  for (const Scan& scan : scans) parameters.push_back(JsonObject(scan.parameters));
  return std::move(insert.TextArray(parameters));
}

Statement UpsertResources(absl::string_view project, absl::string_view session_id,
                          const std::vector<Resource>& resources) {
  Statement insert(
      "INSERT INTO resources (project_id, session_id, scan_id, label, format, content, catalog_path) SELECT "
      "$1, $2, a, b, c, d, e FROM "
      "unnest($3::text[], $4::text[], $5::text[], $6::text[], $7::text[]) AS t(a, b, c, d, e) ON CONFLICT "
      "(project_id, session_id, "
      "scan_id, label) DO UPDATE SET format = excluded.format, content = excluded.content, catalog_path = "
      "excluded.catalog_path");
  const absl::Span<const Resource> rows = resources;
  insert.Text(project).Text(session_id);
  for (auto member : {&Resource::scan_id, &Resource::label, &Resource::format, &Resource::content,
                      &Resource::catalog_path}) {
    BindTexts(insert, rows, member);
  }
  return insert;
}

std::vector<Statement> InsertFiles(absl::string_view project, absl::string_view session_id,
                                   int64_t first_number, const std::vector<File>& files) {
  std::vector<Statement> statements;
  for (size_t begin = 0; begin < files.size(); begin += kRowsPerStatement) {
    const absl::Span<const File> rows = absl::MakeConstSpan(files).subspan(begin, kRowsPerStatement);
    Statement insert(
        "INSERT INTO files (project_id, session_id, file_no, path, scan_id, resource, instance_uid, "
        "sop_class_uid, instance_number, "
        "size_bytes, md5, sha256, xxh3_received, xxh3_stored, format, received_identity) SELECT $1, $2, $3 + "
        "n - "
        "1, a, b, c, d, e, f, g, h, i, j, k, l, m "
        "FROM unnest($4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::bigint[], "
        "$10::bigint[], $11::bytea[], "
        "$12::bytea[], $13::bytea[], $14::bytea[], $15::text[], $16::bytea[]) WITH ORDINALITY AS t(a, b, c, "
        "d, "
        "e, f, g, h, i, j, k, l, m, n)");
    insert.Text(project).Text(session_id).Int(first_number + static_cast<int64_t>(begin));
    for (auto member :
         {&File::path, &File::scan_id, &File::resource, &File::instance_uid, &File::sop_class_uid}) {
      BindTexts(insert, rows, member);
    }
    BindInts(insert, rows, &File::instance_number);
    BindInts(insert, rows, &File::size_bytes);
    for (auto member : {&File::md5, &File::sha256, &File::xxh3_received, &File::xxh3_stored})
      BindBytes(insert, rows, member);
    BindTexts(insert, rows, &File::format);
    BindBytes(insert, rows, &File::received_identity);
    statements.push_back(std::move(insert));
  }
  return statements;
}

std::vector<Statement> CountFiles(absl::string_view project, absl::string_view session_id) {
  std::vector<Statement> statements;
  statements.emplace_back(
      "UPDATE resources r SET file_count = coalesce(n, 0), size_bytes = coalesce(b, 0) FROM resources q LEFT "
      "JOIN (SELECT scan_id, "
      "resource, count(*) AS n, sum(size_bytes) AS b FROM files WHERE project_id = $1 AND session_id = $2 "
      "GROUP BY 1, 2) f ON "
      "f.scan_id = q.scan_id AND f.resource = q.label WHERE q.project_id = $1 AND q.session_id = $2 AND "
      "r.project_id = q.project_id "
      "AND r.session_id = q.session_id AND r.scan_id = q.scan_id AND r.label = q.label");
  statements.emplace_back(
      "UPDATE scans c SET file_count = coalesce(n, 0), size_bytes = coalesce(b, 0) FROM scans q LEFT JOIN "
      "(SELECT scan_id, "
      "sum(file_count) AS n, sum(size_bytes) AS b FROM resources WHERE project_id = $1 AND session_id = $2 "
      "GROUP BY 1) f ON "
      "f.scan_id = q.scan_id WHERE q.project_id = $1 AND q.session_id = $2 AND c.project_id = q.project_id "
      "AND c.session_id = "
      "q.session_id AND c.scan_id = q.scan_id");
  statements.emplace_back(
      "UPDATE sessions s SET scan_count = (SELECT count(*) FROM scans WHERE project_id = $1 AND session_id = "
      "$2), file_count = n, "
      "size_bytes = b FROM (SELECT coalesce(sum(file_count), 0) AS n, coalesce(sum(size_bytes), 0) AS b FROM "
      "resources WHERE "
      "project_id = $1 AND session_id = $2) f WHERE s.project_id = $1 AND s.session_id = $2");
  for (Statement& statement : statements) statement.Text(project).Text(session_id);
  return statements;
}

Statement InsertDocument(absl::string_view project, absl::string_view session_id, int64_t version,
                         const Phi<std::string>& document) {
  Statement insert(
      "INSERT INTO session_documents (project_id, session_id, version, document) VALUES ($1, $2, $3, "
      "XMLPARSE(DOCUMENT $4::text))");
  return std::move(insert.Text(project).Text(session_id).Int(version).Text(document.Reveal()));
}

Statement InsertHistory(absl::string_view project, absl::string_view session_id, absl::string_view action,
                        absl::string_view old_row, const Change& change, const HistoryDetails& details) {
  Statement insert(
      "INSERT INTO session_history (project_id, session_id, number, user_name, action, note, request_id, "
      "old_row, new_row) SELECT $1, "
      "$2, s.version, $3, $4, $5, $6, $7::jsonb || $8::jsonb, to_jsonb(s) || $9::jsonb FROM sessions s WHERE "
      "s.project_id = $1 AND s.session_id = $2");
  insert.Text(project)
      .Text(session_id)
      .Text(change.user)
      .Text(action)
      .Text(change.note)
      .Text(change.request_id);
  insert.TextOrNull(old_row).Text(JsonObject(details.before));
  return std::move(insert.Text(JsonObject(details.after)));
}

absl::Status CheckSession(const Session& session) {
  if (!IsLabel(session.label)) return Invalid("its label is not 1 to 64 of letters, digits and _ . -");
  if (!IsLabel(session.subject)) return Invalid("its subject is not 1 to 64 of letters, digits and _ . -");
  if (session.study_instance_uid.size() > limits::kUidMaxBytes)
    return Invalid("its Study Instance UID is longer than 64");
  if (!IsDate(session.session_date)) return Invalid("its date is not YYYY-MM-DD");
  if (!IsClockTime(session.session_time)) return Invalid("its time is not HH:MM:SS");
  if (!IsSafePath(session.folder)) return Invalid("its folder is not a relative path");
  if (!Fit({session.modality, session.session_type, session.scanner, session.scanner_manufacturer,
            session.scanner_model, session.acquisition_site, session.description, session.note})) {
    return Invalid("a text is longer than 16 KiB");
  }
  return absl::OkStatus();
}

absl::Status CheckContents(const std::vector<Scan>& scans, const std::vector<Resource>& resources,
                           const std::vector<File>& files) {
  std::set<std::string> ids;
  for (const Scan& scan : scans) {
    if (scan.id.empty() || scan.id.size() > 255) return Invalid("a scan's id is not 1 to 255 bytes");
    if (!ids.insert(scan.id).second) return Invalid("two scans have one id");
    if (!IsClockTime(scan.start_time)) return Invalid("a scan's start time is not HH:MM:SS");
    if (scan.series_instance_uid.size() > limits::kUidMaxBytes)
      return Invalid("a Series Instance UID is longer than 64");
    if (!Fit({scan.type, scan.series_description, scan.quality, scan.note, scan.scanner, scan.body_part,
              scan.protocol_name})) {
      return Invalid("a scan's text is longer than 16 KiB");
    }
  }
  std::set<std::pair<std::string, std::string>> keys;
  for (const Resource& resource : resources) {
    if (resource.label.empty() || resource.label.size() > 255)
      return Invalid("a resource's label is not 1 to 255 bytes");
    if (!keys.emplace(resource.scan_id, resource.label).second)
      return Invalid("two resources of a scan have one label");
  }
  for (const File& file : files) {
    if (!IsSafePath(file.path)) return Invalid("a file's path is not relative, or too long");
    if (file.md5.size() != 16 || file.sha256.size() != 32) return Invalid("a file's digests are missing");
    if (file.size_bytes < 0) return Invalid("a file's size is negative");
  }
  return absl::OkStatus();
}

}  // namespace narthex::metadata
