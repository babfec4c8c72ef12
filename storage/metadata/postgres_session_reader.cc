// Finding archived sessions in PostgreSQL.
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "base/error.h"
#include "base/limits.h"
#include "base/status.h"
#include "storage/metadata/names.h"
#include "storage/metadata/page_token.h"
#include "storage/metadata/postgres_stores.h"
#include "storage/metadata/session_rows.h"

namespace narthex::metadata {
namespace {

constexpr int kFilePageMax = 100000;

// Parameters and the text that refers to them.
class Query {
 public:
  explicit Query(std::string sql) : sql_(std::move(sql)) {}

  std::string Bind(const std::string& value) {
    values_.push_back(value);
    return absl::StrCat("$", values_.size() + arrays_);
  }
  int next() const { return static_cast<int>(values_.size()) + arrays_ + 1; }

  std::string sql_;
  std::vector<std::string> values_;
  static constexpr int arrays_ = 2;  // the projects of a Visibility come first
};

// $1: projects, $2: projects whose quarantined sessions may be seen. `shares`: whether any session is shared.
std::string VisibleSql(const Visibility& visible, bool shares = true) {
  const std::string deleted = visible.deleted ? "TRUE" : "s.status <> 'DELETED'";
  if (visible.all_projects)
    return absl::StrCat("($1::text[] IS NOT NULL AND $2::text[] IS NOT NULL AND ", deleted, ")");
  const std::string own = absl::StrCat(
      "(s.project_id = ANY($1) AND (s.status IN ('ACTIVE', 'LOCKED') OR s.project_id = ANY($2)) AND ",
      deleted, ")");
  if (!shares) return own;
  // Shared sessions are read where they are shared to, but for those in quarantine.
  return absl::StrCat(
      "(", own,
      " OR (s.status IN ('ACTIVE', 'LOCKED') AND s.session_id = ANY(ARRAY(SELECT v.session_id "
      "FROM session_shares v WHERE v.project_id = ANY($1)))))");
}

Shares SharesFor(const Visibility& visible, bool shares) {
  if (!shares) return Shares::kNone;
  return visible.all_projects ? Shares::kAll : Shares::kNamedProjects;
}

// The session's project or label (`column`) as the reader knows it: its own, else that of a share.
std::string KnownAs(const Visibility& visible, absl::string_view column) {
  if (visible.all_projects) return absl::StrCat("s.", column);
  return absl::StrCat("CASE WHEN s.project_id = ANY($1) THEN s.", column, " ELSE (SELECT h.", column,
                      " FROM session_shares h WHERE h.session_id = s.session_id AND h.project_id = ANY($1) "
                      "ORDER BY h.project_id LIMIT 1) END");
}

Statement BindVisible(std::string sql, const Visibility& visible) {
  Statement statement(std::move(sql));
  return std::move(statement.TextArray(visible.projects).TextArray(visible.quarantine_projects));
}

// Rows behind the ones of the page token: (a, b) < ($3, $4), or OR-ed where directions differ.
std::string AfterSql(const std::vector<OrderKey>& keys, const std::vector<std::string>& values,
                     Query& query) {
  std::vector<std::string> expressions, bound;
  bool same = true;
  for (size_t i = 0; i < keys.size(); ++i) {
    expressions.push_back(keys[i].expression);
    bound.push_back(absl::StrCat(query.Bind(values[i]), "::", keys[i].type));
    same &= keys[i].descending == keys[0].descending;
  }
  if (same) {
    return absl::StrCat("(", absl::StrJoin(expressions, ", "), ") ", keys[0].descending ? "<" : ">", " (",
                        absl::StrJoin(bound, ", "), ")");
  }
  std::vector<std::string> cases;
  for (size_t i = 0; i < keys.size(); ++i) {
    std::string one;
    for (size_t j = 0; j < i; ++j) absl::StrAppend(&one, expressions[j], " = ", bound[j], " AND ");
    cases.push_back(
        absl::StrCat("(", one, expressions[i], keys[i].descending ? " < " : " > ", bound[i], ")"));
  }
  return absl::StrCat("(", absl::StrJoin(cases, " OR "), ")");
}

// The keys as columns ", a::text, b::text" and behind ORDER BY.
struct Ordering {
  std::string columns;
  std::string order;
};

Ordering OrderSql(const std::vector<OrderKey>& keys) {
  Ordering ordering;
  for (const OrderKey& key : keys) {
    absl::StrAppend(&ordering.columns, ", (", key.expression, ")::text");
    absl::StrAppend(&ordering.order, ordering.order.empty() ? "" : ", ", key.expression,
                    key.descending ? " DESC" : "");
  }
  return ordering;
}

// The rows s and u of a page. Only those on the page get their subject, unless subjects decide which those
// are.
std::string SessionsOf(const std::string& conditions, const std::string& order) {
  if (absl::StrContains(conditions, "u.")) return absl::StrCat(kSessionTables, conditions);
  return absl::StrCat("(SELECT s.* FROM sessions s", conditions,
                      ") s LEFT JOIN subjects u USING (project_id, subject_id) ORDER BY ", order);
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
    NX_ASSIGN_OR_RETURN(const std::vector<OrderKey> keys, CompileOrder(request.order_by));
    const int size = PageSize(request.page, limits::kPageSizeMax);
    const std::string list_name =
        absl::StrCat("sessions\n", request.filter.ToString(), "\n", request.order_by);
    NX_ASSIGN_OR_RETURN(const bool shares, AnyShares());
    Query query("");
    const SqlFragment filter =
        CompileFilter(request.filter, query.next(), FilterTarget::kSessions, SharesFor(visible, shares));
    query.values_ = filter.parameters;
    const std::string matching = absl::StrCat(VisibleSql(visible, shares), " AND ", filter.sql);

    std::vector<Statement> batch;
    Statement count =
        BindVisible(absl::StrCat("SELECT count(*) FROM ", kSessionTables, " WHERE ", matching), visible);
    for (const std::string& value : query.values_) count.Text(value);

    std::string after = "TRUE";
    if (!request.page.token.empty()) {
      NX_ASSIGN_OR_RETURN(std::vector<std::string> values,
                          DecodePageToken(list_name, request.page.token, keys.size()));
      after = AfterSql(keys, values, query);
    }
    const Ordering ordering = OrderSql(keys);
    const std::string conditions =
        absl::StrCat(" WHERE ", matching, " AND ", after, " ORDER BY ", ordering.order, " LIMIT ", size + 1);
    Statement select = BindVisible(absl::StrCat("SELECT ", kSessionColumns, ordering.columns, " FROM ",
                                                SessionsOf(conditions, ordering.order)),
                                   visible);
    for (const std::string& value : query.values_) select.Text(value);
    batch.push_back(std::move(select.Once()));
    if (request.count_total) batch.push_back(std::move(count.Once()));
    NX_ASSIGN_OR_RETURN(std::vector<Rows> rows, pool_.Read(batch));
    return ToResult(rows, request, list_name, keys.size(), size);
  }

  absl::StatusOr<ScanSearchResult> SearchScans(const SearchRequest& request,
                                               const Visibility& visible) override {
    NX_ASSIGN_OR_RETURN(const std::vector<OrderKey> keys,
                        CompileOrder(request.order_by, FilterTarget::kScans));
    const int size = PageSize(request.page, limits::kPageSizeMax);
    const std::string list_name = absl::StrCat("scans\n", request.filter.ToString(), "\n", request.order_by);
    NX_ASSIGN_OR_RETURN(const bool shares, AnyShares());
    Query query("");
    const SqlFragment filter =
        CompileFilter(request.filter, query.next(), FilterTarget::kScans, SharesFor(visible, shares));
    query.values_ = filter.parameters;
    const std::string from =
        absl::StrCat(" FROM ", kSessionTables,
                     " JOIN scans c ON c.project_id = s.project_id AND c.session_id = s.session_id WHERE ",
                     VisibleSql(visible, shares), " AND ", filter.sql);
    Statement count = BindVisible(absl::StrCat("SELECT count(*)", from), visible);
    for (const std::string& value : query.values_) count.Text(value);
    std::string after = "TRUE";
    if (!request.page.token.empty()) {
      NX_ASSIGN_OR_RETURN(std::vector<std::string> values,
                          DecodePageToken(list_name, request.page.token, keys.size()));
      after = AfterSql(keys, values, query);
    }
    std::string columns = absl::StrCat(kScanColumns, ", s.session_id, ", KnownAs(visible, "project_id"),
                                       ", u.label, ", KnownAs(visible, "label"));
    const Ordering ordering = OrderSql(keys);
    Statement select = BindVisible(absl::StrCat("SELECT ", columns, ordering.columns, from, " AND ", after,
                                                " ORDER BY ", ordering.order, " LIMIT ", size + 1),
                                   visible);
    for (const std::string& value : query.values_) select.Text(value);
    std::vector<Statement> batch = {std::move(select.Once())};
    if (request.count_total) batch.push_back(std::move(count.Once()));
    NX_ASSIGN_OR_RETURN(std::vector<Rows> rows, pool_.Read(batch));
    ScanSearchResult result;
    for (int i = 0; i < rows[0].size() && i < size; ++i) {
      constexpr int kNext = kScanColumnCount;
      result.scans.push_back({rows[0].Text(i, kNext), rows[0].Text(i, kNext + 1), rows[0].Text(i, kNext + 2),
                              rows[0].Text(i, kNext + 3), ToScan(rows[0], i)});
    }
    if (rows[0].size() > size) {
      result.next_page_token =
          EncodePageToken(list_name, KeysOf(rows[0], size - 1, kScanColumnCount + 4, keys.size()));
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

  static SearchResult ToResult(const std::vector<Rows>& rows, const SearchRequest& request,
                               const std::string& list_name, size_t keys, int size) {
    SearchResult result;
    for (int i = 0; i < rows[0].size() && i < size; ++i) result.sessions.push_back(ToSession(rows[0], i));
    if (rows[0].size() > size) {
      result.next_page_token =
          EncodePageToken(list_name, KeysOf(rows[0], size - 1, kSessionColumnCount, keys));
    }
    if (request.count_total) result.total_count = rows[1].Int(0, 0);
    return result;
  }

  Pool& pool_;
};

}  // namespace

std::unique_ptr<SessionReader> NewPostgresSessionReader(Pool& pool) {
  return std::make_unique<PostgresSessionReader>(pool);
}

}  // namespace narthex::metadata
