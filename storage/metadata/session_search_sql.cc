#include "storage/metadata/session_search_sql.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "base/status.h"
#include "storage/metadata/page_token.h"
#include "storage/metadata/session_fields.h"
#include "storage/metadata/session_rows.h"

namespace narthex::metadata {
namespace {

// docs/benchmarks.md, "Searches", has the measurements. Planning takes 0.3 ms a project.
constexpr size_t kNearProjectsMax = 12;  // fixed: which plan a search takes; both are good
// Sessions that NearPage judges at most, and at first.
constexpr int kNearSessions = 1000;
constexpr int kNearProbe = 100;
constexpr int kNearLimitMax = 200;  // fixed: which plan a search takes; both are good

constexpr int kFirstValue = 3;  // behind the arrays of a Visibility

bool MayOwn(const Visibility& visible, const std::string& project) {
  const auto& own = visible.quarantine_projects;
  return std::find(own.begin(), own.end(), project) != own.end();
}

// What is seen of a project by who owns it, or only reads it.
std::string StatusSql(const Visibility& visible, bool owner) {
  if (!owner) return "s.status IN ('ACTIVE', 'LOCKED')";
  return visible.deleted ? "TRUE" : "s.status <> 'DELETED'";
}

// Whose sessions they are. As in row-level security (migrations/0020_row_security.sql).
std::string OwnSql(const Visibility& visible) {
  const std::string deleted = visible.deleted ? "TRUE" : "s.status <> 'DELETED'";
  if (visible.all_projects) return deleted;
  return absl::StrCat(
      "(s.project_id = ANY($1) AND (s.status IN ('ACTIVE', 'LOCKED') OR s.project_id = ANY($2)) AND ",
      deleted, ")");
}

// Shared sessions are read where they are shared to, but for those in quarantine.
constexpr char kSharedSql[] =
    "(s.status IN ('ACTIVE', 'LOCKED') AND s.session_id = ANY(ARRAY(SELECT v.session_id FROM session_shares "
    "v "
    "WHERE v.project_id = ANY($1))))";

// Rows behind the ones of the page token: (a, b) < ($3, $4), or OR-ed where directions differ.
std::string AfterSql(const std::vector<OrderKey>& keys, const std::vector<std::string>& bound) {
  std::vector<std::string> expressions;
  bool same = true;
  for (const OrderKey& key : keys) {
    expressions.push_back(key.expression);
    same &= key.descending == keys[0].descending;
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

std::string OrderBy(const std::vector<OrderKey>& keys) {
  return absl::StrJoin(keys, ", ", [](std::string* out, const OrderKey& key) {
    absl::StrAppend(out, key.expression, key.descending ? " DESC" : "");
  });
}

// The same of rows that have the keys as columns k0, k1, ...
std::string OrderByColumns(const std::vector<OrderKey>& keys, absl::string_view row) {
  std::vector<std::string> columns;
  for (size_t i = 0; i < keys.size(); ++i) {
    columns.push_back(absl::StrCat(row, "k", i, keys[i].descending ? " DESC" : ""));
  }
  return absl::StrJoin(columns, ", ");
}

// ", a AS k0, b AS k1"
std::string KeyColumns(const std::vector<OrderKey>& keys) {
  std::string columns;
  for (size_t i = 0; i < keys.size(); ++i) {
    absl::StrAppend(&columns, ", (", keys[i].expression, ")::", keys[i].type, " AS k", i);
  }
  return columns;
}

// An index has a project's sessions in this order.
bool IsWalkable(const OrderKey& key) {
  return key.expression == "s.create_time" || key.expression == "s.label" ||
         absl::StartsWith(key.expression, "coalesce(s.session_date,");
}

std::vector<const FilterNode*> Conjuncts(const SessionFilter& filter) {
  std::vector<const FilterNode*> all;
  if (filter.empty()) return all;
  if (filter.root()->kind != FilterNode::Kind::kAnd) return {filter.root()};
  for (const FilterNode& child : filter.root()->children) all.push_back(&child);
  return all;
}

bool IsEquality(const FilterNode& node) {
  return node.kind == FilterNode::Kind::kCompare && node.op == FilterNode::Op::kEq && !node.open_start &&
         !node.open_end;
}

// An equality that few sessions fulfil: they are found by its index, better than by looking at one by one.
bool IsRare(const FilterNode& node) {
  if (!IsEquality(node)) return false;
  const auto field = FindField(node.field);
  if (!field) return false;
  if (field->type == SessionField::Type::kMap) return !field->of_scan && RowOf(*field) != 'p';
  static constexpr absl::string_view kRare[] = {"s.session_id",         "s.uid::text",  "s.label",
                                                "s.study_instance_uid", "s.project_id", "s.subject_id",
                                                "c.series_instance_uid"};
  return std::find(std::begin(kRare), std::end(kRare), field->column) != std::end(kRare);
}

}  // namespace

std::string VisibleSql(const Visibility& visible) {
  // Parameters need a type, used or not.
  if (visible.all_projects)
    return absl::StrCat("($1::text[] IS NOT NULL AND $2::text[] IS NOT NULL AND ", OwnSql(visible), ")");
  return absl::StrCat("(", OwnSql(visible), " OR ", kSharedSql, ")");
}

absl::StatusOr<SessionSearch> SessionSearch::Make(const SearchRequest& request, const Visibility& visible,
                                                  bool shares, FilterTarget target) {
  SessionSearch search(visible, target);
  search.filter_ = request.filter;
  search.list_name_ = absl::StrCat(target == FilterTarget::kScans ? "scans\n" : "sessions\n",
                                   request.filter.ToString(), "\n", request.order_by);
  NX_RETURN_IF_ERROR(search.AddArm(request, OwnSql(visible), shares ? Shares::kAll : Shares::kNone));
  if (shares && !visible.all_projects) {
    NX_RETURN_IF_ERROR(search.AddArm(request, absl::StrCat("(s.project_id <> ALL($1) AND ", kSharedSql, ")"),
                                     Shares::kNamedProjects));
  }
  search.filter_value_count_ = search.values_.size();
  if (!request.page.token.empty()) NX_RETURN_IF_ERROR(search.SetAfter(request.page.token));
  return search;
}

absl::Status SessionSearch::AddArm(const SearchRequest& request, std::string visible, Shares shares) {
  Arm arm;
  arm.visible = std::move(visible);
  SqlFragment filter =
      CompileFilter(request.filter, kFirstValue + static_cast<int>(values_.size()), target_, shares);
  arm.fits = std::move(filter.sql);
  values_.insert(values_.end(), filter.parameters.begin(), filter.parameters.end());
  NX_ASSIGN_OR_RETURN(arm.keys, CompileOrder(request.order_by, target_, shares));
  const bool foreign = shares == Shares::kNamedProjects;
  arm.project = foreign ? std::string(kKnownProject) : "s.project_id";
  arm.label = foreign ? std::string(kKnownLabel) : "s.label";
  arms_.push_back(std::move(arm));
  return absl::OkStatus();
}

absl::Status SessionSearch::SetAfter(absl::string_view token) {
  NX_ASSIGN_OR_RETURN(std::vector<std::string> keys, DecodePageToken(list_name_, token, key_count()));
  std::vector<std::string> bound;
  for (size_t i = 0; i < keys.size(); ++i) {
    values_.push_back(std::move(keys[i]));
    bound.push_back(absl::StrCat("$", kFirstValue + values_.size() - 1, "::", arms_.front().keys[i].type));
  }
  for (Arm& arm : arms_) arm.after = AfterSql(arm.keys, bound);
  return absl::OkStatus();
}

std::string SessionSearch::TokenAfter(const std::vector<std::string>& keys) const {
  return EncodePageToken(list_name_, keys);
}

Statement SessionSearch::Bind(std::string sql, const std::vector<std::string>& values) const {
  Statement statement(std::move(sql));
  statement.TextArray(visible_.projects).TextArray(visible_.quarantine_projects);
  for (const std::string& value : values) statement.Text(value);
  return std::move(statement.Once());
}

// Tables and conditions of an arm. Subjects only where they decide something.
std::string SessionSearch::From(const Arm& arm) const {
  const bool subjects = absl::StrContains(arm.fits, "u.") || absl::StrContains(OrderBy(arm.keys), "u.");
  return absl::StrCat(" FROM ", subjects ? kSessionTables : "sessions s",
                      target_ == FilterTarget::kScans
                          ? " JOIN scans c ON c.project_id = s.project_id AND c.session_id = s.session_id"
                          : "",
                      " WHERE ",
                      visible_.all_projects ? "$1::text[] IS NOT NULL AND $2::text[] IS NOT NULL AND " : "",
                      arm.visible, " AND ", arm.fits);
}

std::string SessionSearch::Rows(const Arm& arm, int limit) const {
  const bool scans = target_ == FilterTarget::kScans;
  return absl::StrCat(
      "(SELECT s.project_id, s.session_id",
      scans ? absl::StrCat(", c.scan_id, ", arm.project, " AS known_project, ", arm.label, " AS known_label")
            : "",
      KeyColumns(arm.keys), From(arm), " AND ", arm.after, " ORDER BY ", OrderBy(arm.keys), " LIMIT ", limit,
      ")");
}

// What is shown of `rows`, which have the ids and the keys.
std::string SessionSearch::Shown(absl::string_view rows) const {
  const std::vector<OrderKey>& keys = arms_.front().keys;
  const bool scans = target_ == FilterTarget::kScans;
  std::string columns =
      scans ? absl::StrCat(kScanColumns, ", m.session_id, m.known_project, u.label, m.known_label")
            : kSessionColumns;
  for (size_t i = 0; i < keys.size(); ++i) absl::StrAppend(&columns, ", m.k", i, "::text");
  return absl::StrCat(
      "SELECT ", columns, " FROM (", rows,
      ") m JOIN sessions s ON s.project_id = m.project_id AND s.session_id = m.session_id ",
      scans ? "JOIN scans c ON c.project_id = m.project_id AND c.session_id = m.session_id AND c.scan_id = "
              "m.scan_id "
            : "",
      "LEFT JOIN subjects u ON u.project_id = s.project_id AND u.subject_id = s.subject_id ORDER BY ",
      OrderByColumns(keys, "m."));
}

Statement SessionSearch::Page(int limit) const {
  std::vector<std::string> rows;
  for (const Arm& arm : arms_) rows.push_back(Rows(arm, limit));
  const std::string all =
      rows.size() == 1 ? rows[0]
                       : absl::StrCat("SELECT * FROM (", absl::StrJoin(rows, " UNION ALL "), ") a ORDER BY ",
                                      OrderByColumns(arms_.front().keys, ""), " LIMIT ", limit);
  return Bind(Shown(all), values_);
}

std::optional<Statement> SessionSearch::NearPage(int limit) const {
  const Arm& own = arms_.front();
  const std::vector<const FilterNode*> conditions = Conjuncts(filter_);
  if (target_ != FilterTarget::kSessions || visible_.all_projects || visible_.projects.empty() ||
      visible_.projects.size() > kNearProjectsMax || limit > kNearLimitMax || !IsWalkable(own.keys.front()) ||
      absl::StrContains(own.fits, "u.") || absl::StrContains(OrderBy(own.keys), "u.") ||
      std::any_of(conditions.begin(), conditions.end(),
                  [](const FilterNode* node) { return IsRare(*node); })) {
    return std::nullopt;
  }
  std::vector<std::string> more;
  const auto bind = [&](const std::string& value) {
    more.push_back(value);
    return absl::StrCat("$", kFirstValue + values_.size() + more.size() - 1);
  };
  // Modality is in an index with the project: sessions of another one are not looked at.
  std::string modality = "TRUE";
  for (const FilterNode* node : conditions) {
    if (IsEquality(*node) && node->field == "modality") modality = "s.modality = " + bind(node->value);
  }
  const std::vector<OrderKey>& keys = own.keys;
  const auto walk = [&](const Arm& arm, const std::string& visible, bool foreign) {
    return absl::StrCat("(SELECT s.*, ", foreign ? "TRUE" : "FALSE", " AS is_foreign", KeyColumns(arm.keys),
                        " FROM sessions s WHERE ", visible, " AND ", modality, " AND ", arm.after,
                        " ORDER BY ", OrderBy(arm.keys), " LIMIT ", kNearSessions, ")");
  };
  std::vector<std::string> walks;
  for (const std::string& project : visible_.projects) {
    walks.push_back(walk(own,
                         absl::StrCat("s.project_id = ", bind(project), " AND ",
                                      StatusSql(visible_, MayOwn(visible_, project))),
                         false));
  }
  if (arms_.size() > 1) walks.push_back(walk(arms_.back(), arms_.back().visible, true));
  std::string fits = own.fits;
  if (arms_.size() > 1) {
    fits = absl::StrCat("CASE WHEN s.is_foreign THEN ", arms_.back().fits, " ELSE ", own.fits, " END");
  }
  std::string names;
  for (size_t i = 0; i < keys.size(); ++i) absl::StrAppend(&names, ", s.k", i);
  // `judged` is read as far as it is asked for, in its order: no ORDER BY may stand behind it before the
  // LIMIT.
  const std::string rows = absl::StrCat(
      "WITH judged AS MATERIALIZED (SELECT s.project_id, s.session_id", names, ", ", fits,
      " AS fits FROM (SELECT * FROM (", absl::StrJoin(walks, " UNION ALL "), ") w ORDER BY ",
      OrderByColumns(keys, ""), " LIMIT ", kNearSessions, ") s) SELECT * FROM judged WHERE fits AND (SELECT ",
      "count(*) FROM (SELECT fits FROM judged LIMIT ", kNearProbe, ") probe WHERE fits) * ", kNearSessions,
      " >= ", limit, " * ", kNearProbe, " LIMIT ", limit);
  more.insert(more.begin(), values_.begin(), values_.end());
  return Bind(Shown(rows), more);
}

Statement SessionSearch::Count() const {
  std::vector<std::string> counts;
  for (const Arm& arm : arms_) counts.push_back(absl::StrCat("(SELECT count(*)", From(arm), ")"));
  // Without the values of the page token, which nothing names here.
  const auto end = values_.begin() + static_cast<std::ptrdiff_t>(filter_value_count_);
  return Bind(absl::StrCat("SELECT ", absl::StrJoin(counts, " + ")), {values_.begin(), end});
}

}  // namespace narthex::metadata
