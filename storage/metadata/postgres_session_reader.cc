// Finding archived sessions in PostgreSQL.
#include <optional>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

#include "base/error.h"
#include "base/limits.h"
#include "base/status.h"
#include "storage/metadata/names.h"
#include "storage/metadata/page_token.h"
#include "storage/metadata/postgres_stores.h"
#include "storage/metadata/session_rows.h"
#include "storage/metadata/session_search_sql.h"

namespace narthex::metadata {
namespace {

constexpr int kFilePageMax = 100000;  // fixed: a page for ourselves

Statement BindVisible(std::string sql, const Visibility& visible) {
  Statement statement(std::move(sql));
  return std::move(statement.TextArray(visible.projects).TextArray(visible.quarantine_projects));
}

std::vector<std::string> KeysOf(const Rows& rows, int row, int first, size_t count) {
  std::vector<std::string> values;
  for (size_t k = 0; k < count; ++k) values.push_back(rows.Text(row, first + static_cast<int>(k)));
  return values;
}

class PostgresSessionReader : public SessionReader {
 public:
  explicit PostgresSessionReader(Pool& pool) : pool_(pool) {}

  absl::StatusOr<Session> Get(absl::string_view ref, const Visibility& visible) override {
    const size_t slash = ref.find('/');
    const bool by_label = slash != absl::string_view::npos;
    Statement select = BindVisible(
        absl::StrCat("SELECT ", kSessionColumns, " FROM ", kSessionTables, " WHERE ", VisibleSql(visible),
                     " AND ", by_label ? kOfLabel : "s.session_id = $3",
                     // Of several deleted ones with a label the living one, then the newest counts.
                     " ORDER BY s.status = 'DELETED', s.create_time DESC LIMIT 1"),
        visible);
    select.Text(by_label ? ref.substr(0, slash) : ref);
    if (by_label) select.Text(ref.substr(slash + 1));
    NX_ASSIGN_OR_RETURN(Rows rows, pool_.Read(select));
    if (rows.size() > 0) return ToSession(rows, 0);
    return NotFound(
        "SESSION_NOT_FOUND",
        absl::StrCat("there is no session ", ref.substr(0, 200), "; `narthex session search` lists them"),
        {{"session", std::string(ref.substr(0, 200))}});
  }

  absl::StatusOr<Phi<std::string>> GetDocument(absl::string_view accession_id) override {
    Statement select(
        "SELECT d.document::text FROM sessions s JOIN session_documents d USING (project_id, session_id) "
        "WHERE s.session_id = $1 "
        "ORDER BY d.version DESC LIMIT 1");
    NX_ASSIGN_OR_RETURN(Rows rows, pool_.Read(select.Text(accession_id)));
    return Phi<std::string>(rows.size() == 0 ? std::string() : rows.Text(0, 0));
  }

  absl::StatusOr<std::vector<Session>> FindStudy(absl::string_view project,
                                                 absl::string_view study_instance_uid) override {
    Statement select(
        absl::StrCat("SELECT ", kSessionColumns, " FROM ", kSessionTables,
                     " WHERE s.project_id = $1 AND s.study_instance_uid = $2 AND s.status <> 'DELETED' "
                     "ORDER BY s.create_time, s.session_id"));
    NX_ASSIGN_OR_RETURN(Rows rows, pool_.Read(select.Text(project).Text(study_instance_uid)));
    std::vector<Session> sessions;
    for (int i = 0; i < rows.size(); ++i) sessions.push_back(ToSession(rows, i));
    return sessions;
  }

  absl::StatusOr<std::vector<std::string>> FindReceived(absl::string_view project,
                                                        const std::vector<std::string>& digests) override {
    Statement select(
        "SELECT DISTINCT f.xxh3_received FROM files f JOIN sessions s USING (project_id, session_id) "
        "WHERE f.xxh3_received = ANY($2::bytea[]) AND f.xxh3_received <> '' AND f.project_id = $1 "
        "AND s.status <> 'DELETED'");
    const std::vector<absl::string_view> views(digests.begin(), digests.end());
    NX_ASSIGN_OR_RETURN(Rows rows, pool_.Read(select.Text(project).BytesArray(views)));
    std::vector<std::string> found;
    for (int i = 0; i < rows.size(); ++i) found.push_back(rows.Bytes(i, 0));
    return found;
  }

  absl::StatusOr<std::vector<Instance>> FindInstances(
      const std::vector<std::string>& instance_uids,
      const std::vector<std::string>& received_identities) override {
    Statement select(
        "SELECT f.instance_uid, f.sop_class_uid, f.received_identity FROM files f JOIN sessions s USING "
        "(project_id, session_id) WHERE f.instance_uid = ANY($1::text[]) AND f.instance_uid <> '' AND "
        "s.status "
        "<> 'DELETED' UNION SELECT f.instance_uid, f.sop_class_uid, f.received_identity FROM files f JOIN "
        "sessions s USING (project_id, session_id) WHERE f.received_identity = ANY($2::bytea[]) AND "
        "f.received_identity <> '' AND s.status <> 'DELETED'");
    const std::vector<absl::string_view> identities(received_identities.begin(), received_identities.end());
    NX_ASSIGN_OR_RETURN(Rows rows, pool_.Read(select.TextArray(instance_uids).BytesArray(identities)));
    std::vector<Instance> found;
    for (int i = 0; i < rows.size(); ++i)
      found.push_back({rows.Text(i, 0), rows.Text(i, 1), rows.Bytes(i, 2)});
    return found;
  }

  absl::StatusOr<std::vector<Scan>> ListScans(absl::string_view accession_id) override {
    Statement select(absl::StrCat("SELECT ", kScanColumns, " FROM scans c WHERE ", kOfSession,
                                  " ORDER BY number_of(scan_id) NULLS LAST, scan_id"));
    NX_ASSIGN_OR_RETURN(Rows rows, pool_.Read(select.Text(accession_id)));
    std::vector<Scan> scans;
    for (int i = 0; i < rows.size(); ++i) scans.push_back(ToScan(rows, i));
    return scans;
  }

  absl::StatusOr<std::vector<Resource>> ListResources(absl::string_view accession_id) override {
    Statement select(absl::StrCat("SELECT ", kResourceColumns, " FROM resources WHERE ", kOfSession,
                                  " ORDER BY number_of(scan_id) NULLS LAST, scan_id, label"));
    NX_ASSIGN_OR_RETURN(Rows rows, pool_.Read(select.Text(accession_id)));
    std::vector<Resource> resources;
    for (int i = 0; i < rows.size(); ++i) resources.push_back(ToResource(rows, i));
    return resources;
  }

  absl::StatusOr<std::vector<ChosenScanType>> ListChosenScanTypes(absl::string_view project) override {
    Statement select(
        "SELECT k, modality, frames, type FROM (SELECT DISTINCT ON (scan_type_key(c.series_description), "
        "c.modality, "
        "c.frames) scan_type_key(c.series_description) AS k, c.modality, c.frames, c.type, s.update_time "
        "FROM scans c "
        "JOIN sessions s USING (project_id, session_id) WHERE c.project_id = $1 AND c.type <> "
        "c.series_description AND "
        "c.type <> 'unknown' AND s.status <> 'DELETED' ORDER BY scan_type_key(c.series_description), "
        "c.modality, "
        "c.frames, s.update_time DESC, c.scan_id) t ORDER BY update_time DESC, k LIMIT 10000");
    NX_ASSIGN_OR_RETURN(const Rows rows, pool_.Read(select.Text(project)));
    std::vector<ChosenScanType> types;
    for (int i = 0; i < rows.size(); ++i) {
      types.push_back({rows.Text(i, 0), rows.Text(i, 1), rows.Int(i, 2), rows.Text(i, 3)});
    }
    return types;
  }

  absl::StatusOr<FileList> ListFiles(absl::string_view accession_id, const FileQuery& query) override {
    const int size = PageSize(query.page, kFilePageMax);
    const std::string list_name = absl::StrCat("files/", accession_id, "/", query.scan_id.value_or("*"), "/",
                                               query.resource.value_or("*"), "/", query.path.value_or("*"));
    int64_t after = 0;
    if (!query.page.token.empty()) {
      NX_ASSIGN_OR_RETURN(std::vector<std::string> values, DecodePageToken(list_name, query.page.token, 1));
      if (!absl::SimpleAtoi(values.front(), &after))
        return InvalidArgument("PAGE_TOKEN_INVALID", "not a page of this list", {});
    }
    std::string sql =
        absl::StrCat("SELECT ", kFileColumns, " FROM files WHERE ", kOfSession, " AND file_no > $2");
    int next = 4;
    if (query.scan_id) absl::StrAppend(&sql, " AND scan_id = $", next++);
    if (query.resource) absl::StrAppend(&sql, " AND resource = $", next++);
    if (query.path) absl::StrAppend(&sql, " AND path = $", next++);
    Statement select(absl::StrCat(sql, " ORDER BY file_no LIMIT $3"));
    select.Text(accession_id).Int(after).Int(size + 1);
    for (const auto* value : {&query.scan_id, &query.resource, &query.path}) {
      if (*value) select.Text(**value);
    }
    NX_ASSIGN_OR_RETURN(Rows rows, pool_.Read(select));
    FileList list;
    for (int i = 0; i < rows.size() && i < size; ++i) list.files.push_back(ToFile(rows, i));
    if (rows.size() > size)
      list.next_page_token = EncodePageToken(list_name, {rows.Text(size - 1, kFileNumberColumn)});
    return list;
  }

  absl::StatusOr<SearchResult> Search(const SearchRequest& request, const Visibility& visible) override {
    const int size = PageSize(request.page, limits::kPageSizeMax);
    NX_ASSIGN_OR_RETURN(const bool shares, AnyShares());
    NX_ASSIGN_OR_RETURN(const SessionSearch search,
                        SessionSearch::Make(request, visible, shares, FilterTarget::kSessions));
    NX_ASSIGN_OR_RETURN(const std::vector<Rows> rows, ReadPage(search, size, request.count_total));
    SearchResult result;
    for (int i = 0; i < rows[0].size() && i < size; ++i) result.sessions.push_back(ToSession(rows[0], i));
    if (rows[0].size() > size) {
      result.next_page_token =
          search.TokenAfter(KeysOf(rows[0], size - 1, kSessionColumnCount, search.key_count()));
    }
    if (request.count_total) result.total_count = rows[1].Int(0, 0);
    return result;
  }

  absl::StatusOr<ScanSearchResult> SearchScans(const SearchRequest& request,
                                               const Visibility& visible) override {
    const int size = PageSize(request.page, limits::kPageSizeMax);
    NX_ASSIGN_OR_RETURN(const bool shares, AnyShares());
    NX_ASSIGN_OR_RETURN(const SessionSearch search,
                        SessionSearch::Make(request, visible, shares, FilterTarget::kScans));
    NX_ASSIGN_OR_RETURN(const std::vector<Rows> rows, ReadPage(search, size, request.count_total));
    ScanSearchResult result;
    for (int i = 0; i < rows[0].size() && i < size; ++i) {
      constexpr int kNext = kScanColumnCount;
      result.scans.push_back({rows[0].Text(i, kNext), rows[0].Text(i, kNext + 1), rows[0].Text(i, kNext + 2),
                              rows[0].Text(i, kNext + 3), ToScan(rows[0], i)});
    }
    if (rows[0].size() > size) {
      result.next_page_token =
          search.TokenAfter(KeysOf(rows[0], size - 1, kScanColumnCount + 4, search.key_count()));
    }
    if (request.count_total) result.total_count = rows[1].Int(0, 0);
    return result;
  }

  absl::StatusOr<std::vector<HistoryEntry>> ListHistory(absl::string_view accession_id) override {
    Statement select(
        "SELECT number, unix_us(change_time), user_name, action, note, coalesce(old_row::text, ''), "
        "new_row::text FROM session_history WHERE session_id = $1 ORDER BY number LIMIT 10000");
    NX_ASSIGN_OR_RETURN(Rows rows, pool_.Read(select.Text(accession_id)));
    std::vector<HistoryEntry> entries;
    for (int i = 0; i < rows.size(); ++i) {
      entries.push_back({rows.Int(i, 0), rows.Time(i, 1), rows.Text(i, 2), rows.Text(i, 3), rows.Text(i, 4),
                         rows.Text(i, 5), rows.Text(i, 6)});
    }
    return entries;
  }

  absl::StatusOr<std::vector<std::string>> ListPurging() override {
    Statement select("SELECT session_id FROM sessions WHERE purge_state = 'PURGING' ORDER BY session_id");
    NX_ASSIGN_OR_RETURN(Rows rows, pool_.Read(select));
    std::vector<std::string> ids;
    for (int i = 0; i < rows.size(); ++i) ids.push_back(rows.Text(i, 0));
    return ids;
  }

  absl::StatusOr<std::vector<RemovedFile>> ListRemovedFiles(absl::string_view accession_id,
                                                            absl::string_view request_id) override {
    Statement select(
        absl::StrCat("SELECT number, path, stored_path, size_bytes, sha256 FROM removed_files WHERE ",
                     kOfSession, " AND ($2 = '' OR request_id = $2) ORDER BY number, path"));
    NX_ASSIGN_OR_RETURN(Rows rows, pool_.Read(select.Text(accession_id).Text(request_id)));
    std::vector<RemovedFile> files;
    for (int i = 0; i < rows.size(); ++i) {
      files.push_back({rows.Int(i, 0), rows.Text(i, 1), rows.Text(i, 2), rows.Int(i, 3), rows.Bytes(i, 4)});
    }
    return files;
  }

 private:
  // A page and one row more, and the count if asked for.
  absl::StatusOr<std::vector<Rows>> ReadPage(const SessionSearch& search, int size, bool count) {
    const std::optional<Statement> near = search.NearPage(size + 1);
    std::vector<Statement> batch = {near ? *near : search.Page(size + 1)};
    if (count) batch.push_back(search.Count());
    NX_ASSIGN_OR_RETURN(std::vector<Rows> rows, pool_.Read(batch));
    if (near && rows[0].size() <= size) {
      NX_ASSIGN_OR_RETURN(rows[0], pool_.Read(search.Page(size + 1)));
    }
    return rows;
  }

  // Whether the asking user may see any share. Mostly there is none, and then indexes on projects serve
  // better.
  absl::StatusOr<bool> AnyShares() {
    NX_ASSIGN_OR_RETURN(const Rows rows,
                        pool_.Read(Statement("SELECT EXISTS (SELECT 1 FROM session_shares)")));
    return rows.Bool(0, 0);
  }

  // $3: a project, $4: a label, its own or that of a share.
  static constexpr char kOfLabel[] =
      "((s.project_id = $3 AND lower(s.label) = lower($4)) OR s.session_id = (SELECT h.session_id FROM "
      "session_shares h WHERE h.project_id = $3 AND lower(h.label) = lower($4)))";

  // $1: the accession id. The project comes first in every key.
  static constexpr char kOfSession[] =
      "(project_id, session_id) = (SELECT s.project_id, s.session_id FROM sessions s WHERE s.session_id = "
      "$1)";

  Pool& pool_;
};

}  // namespace

std::unique_ptr<SessionReader> NewPostgresSessionReader(Pool& pool) {
  return std::make_unique<PostgresSessionReader>(pool);
}

}  // namespace narthex::metadata
