// Filters and orders as SQL. Values and map keys are always bound, never part of the text.
#include <algorithm>
#include <cmath>
#include <functional>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/time/civil_time.h"
#include "absl/time/time.h"

#include "base/error.h"
#include "base/limits_storage.h"
#include "base/status.h"
#include "storage/metadata/json.h"
#include "storage/metadata/session_fields.h"
#include "storage/metadata/session_filter.h"

namespace narthex::metadata {
namespace {

using Type = SessionField::Type;
using Op = FilterNode::Op;

struct Column {
  Type type;
  absl::string_view sql;
};

const absl::flat_hash_map<std::string, Column>& SessionColumns() {
  static const auto* const kColumns = new absl::flat_hash_map<std::string, Column>{
      {"accession_id", {Type::kText, "s.session_id"}},
      {"uid", {Type::kText, "s.uid::text"}},
      {"project", {Type::kText, "s.project_id"}},
      {"subject", {Type::kText, "u.label"}},
      {"subject_id", {Type::kText, "s.subject_id"}},
      {"subject_uid", {Type::kText, "u.uid::text"}},
      {"subject_create_time", {Type::kTimestamp, "u.create_time"}},
      {"project_title", {Type::kText, "p.name"}},
      {"project_description", {Type::kText, "p.description"}},
      {"project_accessibility", {Type::kText, "p.accessibility"}},
      {"project_create_time", {Type::kTimestamp, "p.create_time"}},
      {"label", {Type::kText, "s.label"}},
      {"study_instance_uid", {Type::kText, "s.study_instance_uid"}},
      {"modality", {Type::kText, "s.modality"}},
      {"session_type", {Type::kText, "s.session_type"}},
      {"session_date", {Type::kDate, "s.session_date"}},
      {"session_time", {Type::kTime, "s.session_time"}},
      {"scanner", {Type::kText, "s.scanner"}},
      {"scanner_manufacturer", {Type::kText, "s.scanner_manufacturer"}},
      {"scanner_model", {Type::kText, "s.scanner_model"}},
      {"acquisition_site", {Type::kText, "s.acquisition_site"}},
      {"description", {Type::kText, "s.description"}},
      {"scan_count", {Type::kNumber, "s.scan_count"}},
      {"file_count", {Type::kNumber, "s.file_count"}},
      {"size_bytes", {Type::kNumber, "s.size_bytes"}},
      {"status", {Type::kStatus, "s.status"}},
      {"create_time", {Type::kTimestamp, "s.create_time"}},
      {"update_time", {Type::kTimestamp, "s.update_time"}},
  };
  return *kColumns;
}

const absl::flat_hash_map<std::string, Column>& ScanColumns() {
  static const auto* const kColumns = new absl::flat_hash_map<std::string, Column>{
      {"id", {Type::kText, "c.scan_id"}},
      {"type", {Type::kText, "c.type"}},
      {"xsi_type", {Type::kText, "c.xsi_type"}},
      {"series_instance_uid", {Type::kText, "c.series_instance_uid"}},
      {"series_description", {Type::kText, "c.series_description"}},
      {"modality", {Type::kText, "c.modality"}},
      {"frames", {Type::kNumber, "c.frames"}},
      {"quality", {Type::kText, "c.quality"}},
      {"note", {Type::kText, "c.note"}},
      {"start_time", {Type::kTime, "c.start_time"}},
      {"scanner", {Type::kText, "c.scanner"}},
      {"scanner_manufacturer", {Type::kText, "c.scanner_manufacturer"}},
      {"scanner_model", {Type::kText, "c.scanner_model"}},
      {"body_part", {Type::kText, "c.body_part"}},
      {"protocol_name", {Type::kText, "c.protocol_name"}},
      {"file_count", {Type::kNumber, "c.file_count"}},
      {"size_bytes", {Type::kNumber, "c.size_bytes"}},
  };
  return *kColumns;
}

// sessionDate -> session_date
std::string ToSnake(absl::string_view name) {
  std::string out;
  for (const char c : name) {
    if (absl::ascii_isupper(c) && !out.empty()) out.push_back('_');
    out.push_back(absl::ascii_tolower(c));
  }
  return out;
}

bool ParseNumber(absl::string_view text, double* value) {
  // Decimal only: SimpleAtod would also take inf, nan and hexadecimal.
  if (text.empty() || text.size() > 40 ||
      text.find_first_not_of("0123456789+-.eE") != absl::string_view::npos)
    return false;
  return absl::SimpleAtod(text, value) && std::isfinite(*value);
}

bool IsDate(absl::string_view text) {
  absl::CivilDay day;
  return text.size() == 10 && absl::ParseCivilTime(text, &day) && day.year() >= 1;
}

bool IsClockTime(absl::string_view text) {
  absl::Time time;
  std::string error;
  return text.size() <= 15 && (absl::ParseTime("%H:%M", text, &time, &error) ||
                               absl::ParseTime("%H:%M:%E*S", text, &time, &error));
}

bool IsTimestamp(absl::string_view text) {
  absl::Time time;
  std::string error;
  // Years of four digits: others would not be PostgreSQL's.
  const bool rfc3339 = text.size() >= 20 && text.size() <= 40 && text[4] == '-' &&
                       absl::ParseTime(absl::RFC3339_full, text, &time, &error);
  return IsDate(text) || (rfc3339 && time > absl::UnixEpoch() - absl::Hours(24 * 365 * 1900));
}

// What a shared session has where it comes from.
bool IsOfHome(absl::string_view column) {
  return column == "s.project_id" || column == "s.label" || column == "s.subject_id";
}

class Compiler {
 public:
  Compiler(int first, FilterTarget target, Shares shares) : next_(first), target_(target), shares_(shares) {}

  std::string Node(const FilterNode& node) {
    switch (node.kind) {
      case FilterNode::Kind::kNot: {
        ++negations_;
        std::string inner = Node(node.children[0]);
        --negations_;
        return absl::StrCat("(NOT ", inner, ")");
      }
      case FilterNode::Kind::kAnd:
        return Join(node, " AND ");
      case FilterNode::Kind::kOr:
        return Join(node, " OR ");
      case FilterNode::Kind::kCompare:
        break;
    }
    if (node.field.empty()) return LoneText(node.value);
    const std::optional<SessionField> field = FindField(node.field);
    if (!field) return "FALSE";  // Parse has refused it
    if (field->of_scan) {
      return Scan([&] { return Compare(*field, node); });
    }
    if (RowOf(*field) == 'd') return Related("session_facts d", "d", [&] { return Compare(*field, node); });
    if (RowOf(*field) == 'p') {
      // There are few projects: found first, their sessions by index. Those that are only known tell nothing.
      const bool named = shares_ == Shares::kNamedProjects;
      return absl::StrCat("(s.project_id = ANY(ARRAY(SELECT p.project_id FROM projects p WHERE ",
                          named ? "p.project_id = ANY($1) AND " : "",
                          Inside([&] { return Compare(*field, node); }), ")))");
    }
    return Compare(*field, node);
  }

  std::vector<std::string> TakeParameters() { return std::move(parameters_); }

 private:
  std::string Bind(std::string value) {
    parameters_.push_back(std::move(value));
    return absl::StrCat("$", next_++);
  }

  std::string Join(const FilterNode& node, absl::string_view with) {
    std::vector<std::string> parts;
    for (const FilterNode& child : node.children) parts.push_back(Node(child));
    return absl::StrCat("(", absl::StrJoin(parts, with), ")");
  }

  // `condition` makes one about the row `c`.
  std::string Scan(const std::function<std::string()>& condition) {
    return target_ == FilterTarget::kScans ? condition() : Related("scans c", "c", condition);
  }

  // Whether some row of `table` that belongs to the session fulfils `condition`. Never NULL.
  std::string Related(absl::string_view table, absl::string_view row,
                      const std::function<std::string()>& condition) {
    return absl::StrCat("EXISTS (SELECT 1 FROM ", table, " WHERE ", row, ".project_id = s.project_id AND ",
                        row, ".session_id = s.session_id AND ", Inside(condition), ")");
  }

  // A condition within a sub-select, outside of which the negations stand.
  std::string Inside(const std::function<std::string()>& condition) {
    const int outside = std::exchange(negations_, 0);
    std::string inner = condition();
    negations_ = outside;
    return inner;
  }

  // What has no value fulfils no condition, so that NOT of it holds. Where nothing is negated, NULL does the
  // same, and indexes can be used.
  std::string Truth(absl::string_view condition) const {
    return negations_ > 0 ? absl::StrCat("((", condition, ") IS TRUE)") : absl::StrCat("(", condition, ")");
  }

  // A LIKE pattern that matches `text` literally.
  static std::string Escape(absl::string_view text) {
    std::string out;
    for (const char c : text) {
      if (c == '%' || c == '_' || c == '\\') out.push_back('\\');
      out.push_back(c);
    }
    return out;
  }

  std::string LoneText(absl::string_view text) {
    const std::string pattern = Bind(absl::StrCat("%", Escape(text), "%"));
    const std::string own = shares_ == Shares::kNamedProjects ? " AND s.project_id = ANY($1)" : "";
    return absl::StrCat("((s.label ILIKE ", pattern, own, ") OR u.label ILIKE ", pattern,
                        " OR s.description ILIKE ", pattern, " OR ", Scan([&] {
                          return absl::StrCat("(c.series_description ILIKE ", pattern, " OR c.type ILIKE ",
                                              pattern, ")");
                        }),
                        ")");
  }

  std::string Compare(const SessionField& field, const FilterNode& node) {
    static constexpr absl::string_view kOperators[] = {"=", "<>", "<", "<=", ">", ">=", "="};
    const absl::string_view op = kOperators[static_cast<size_t>(node.op)];
    double number;
    int64_t whole;
    if (field.type == Type::kMap && (node.quoted || !ParseNumber(node.value, &number)) && IsExactText(node)) {
      return Truth(
          absl::StrCat(field.column, " @> ", Bind(JsonObject({{field.key, node.value}})), "::jsonb"));
    }
    const std::string text = field.type == Type::kMap
                                 ? absl::StrCat("(", field.column, " ->> ", Bind(field.key), ")")
                                 : field.column;
    if (node.op == Op::kHas && node.value == "*" && !node.quoted) {
      const bool textual =
          field.type == Type::kText || field.type == Type::kStatus || field.type == Type::kMap;
      return textual ? Truth(absl::StrCat(text, " <> ''")) : absl::StrCat("(", text, " IS NOT NULL)");
    }
    switch (field.type) {
      case Type::kNumber:
        // The columns' own type, so that their indexes serve.
        return absl::StrCat("(", text, " ", op, " ", Bind(node.value),
                            absl::SimpleAtoi(node.value, &whole) ? "::bigint)" : "::double precision)");
      case Type::kDate:
        return Truth(absl::StrCat(text, " ", op, " ", Bind(node.value), "::date"));
      case Type::kTime:
        return Truth(absl::StrCat(text, " ", op, " ", Bind(node.value), "::time"));
      case Type::kTimestamp:
        return Truth(absl::StrCat(text, " ", op, " ", Bind(node.value), "::timestamptz"));
      case Type::kStatus:
        return absl::StrCat("(", text, " ", op, " ", Bind(absl::AsciiStrToUpper(node.value)), ")");
      case Type::kText:
      case Type::kMap:
        break;
    }
    if (field.type == Type::kMap && !node.quoted && node.op != Op::kHas && ParseNumber(node.value, &number)) {
      return Truth(absl::StrCat("number_of(", text, ") ", op, " ", Bind(node.value), "::double precision"));
    }
    std::string condition = CompareText(text, node, op);
    // Whoever sees a share may not guess its name at home.
    if (shares_ == Shares::kNamedProjects && IsOfHome(field.column)) {
      condition = node.op == Op::kNe ? absl::StrCat("(", condition, " OR s.project_id <> ALL($1))")
                                     : absl::StrCat("(", condition, " AND s.project_id = ANY($1))");
    }
    // A shared session is in each of its projects. As an array, so that indexes serve both sides.
    if (field.column != "s.project_id" || node.op == Op::kNe || shares_ == Shares::kNone) return condition;
    return absl::StrCat("(", condition,
                        " OR s.session_id = ANY(ARRAY(SELECT h.session_id FROM session_shares h WHERE ",
                        CompareText("h.project_id", node, op), ")))");
  }

  std::string CompareText(const std::string& text, const FilterNode& node, absl::string_view op) {
    if (node.op == Op::kHas)
      return Truth(absl::StrCat(text, " ILIKE ", Bind(absl::StrCat("%", Escape(node.value), "%"))));
    if ((node.op == Op::kEq || node.op == Op::kNe) && (node.open_start || node.open_end)) {
      absl::string_view value = node.value;
      if (node.open_start) value.remove_prefix(1);
      if (node.open_end) value.remove_suffix(1);
      const std::string pattern =
          Bind(absl::StrCat(node.open_start ? "%" : "", Escape(value), node.open_end ? "%" : ""));
      return Truth(absl::StrCat(text, node.op == Op::kNe ? " NOT LIKE " : " LIKE ", pattern));
    }
    return Truth(absl::StrCat(text, " ", op, " ", Bind(node.value)));
  }

  // An equality without wildcards.
  static bool IsExactText(const FilterNode& node) {
    return node.op == Op::kEq && !node.open_start && !node.open_end;
  }

  int next_;
  const FilterTarget target_;
  const Shares shares_;
  int negations_ = 0;
  std::vector<std::string> parameters_;
};

// A key that may stand in SQL as it is.
bool IsPlainKey(absl::string_view key) {
  return key.size() <= 64 && std::all_of(key.begin(), key.end(), [](char c) {
           return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '.' || c == '-';
         });
}

absl::Status OrderError(absl::string_view what) {
  return InvalidArgument("ORDER_BY_INVALID",
                         absl::StrCat("order_by: ", what, "; it reads like \"sessionDate desc, label\""), {});
}

// The column of a text or a timestamp as an expression over s and u that is never null. A shared session's
// subject and project are not shown.
std::string OfRow(const SessionField& field, absl::string_view without) {
  switch (RowOf(field)) {
    case 'p':
      return absl::StrCat("coalesce((SELECT ", field.column,
                          " FROM projects p WHERE p.project_id = s.project_id), ", without, ")");
    case 'u':
      return absl::StrCat("coalesce(", field.column, ", ", without, ")");
    default:
      return field.column;
  }
}

// The same of a shared session.
std::string OfShare(const SessionField& field, absl::string_view without) {
  if (field.column == "s.project_id") return kKnownProject;
  if (field.column == "s.label") return kKnownLabel;
  if (IsOfHome(field.column) || RowOf(field) == 'p' || RowOf(field) == 'u') return std::string(without);
  return field.column;
}

absl::StatusOr<OrderKey> CompileKey(absl::string_view item, FilterTarget target, Shares shares) {
  const std::vector<absl::string_view> words =
      absl::StrSplit(item, absl::ByAnyChar(" \t"), absl::SkipWhitespace());
  if (words.empty() || words.size() > 2) return OrderError("each part is a field and asc or desc");
  const std::optional<SessionField> field = FindField(words[0]);
  if (field && field->of_scan && target != FilterTarget::kScans) {
    return OrderError("a session has many scans, so only scans are ordered by fields of scans; search those");
  }
  if (!field || (field->type == Type::kMap && !IsPlainKey(field->key))) {
    return OrderError("there is no such field to order by");
  }
  if (words.size() == 2 && words[1] != "asc" && words[1] != "desc")
    return OrderError("a direction is asc or desc");
  if (RowOf(*field) == 'd') return OrderError("what documents say is for filters only");
  const auto of_row = shares == Shares::kNamedProjects ? OfShare : OfRow;
  OrderKey key;
  key.descending = words.size() == 2 && words[1] == "desc";
  switch (field->type) {
    case Type::kDate:
      key.expression = absl::StrCat("coalesce(", field->column, ", '-infinity'::date)");
      key.type = "date";
      break;
    case Type::kTime:
      key.expression = absl::StrCat("coalesce(", field->column, ", '00:00'::time)");
      key.type = "time";
      break;
    case Type::kTimestamp:
      key.expression = of_row(*field, "'-infinity'::timestamptz");
      key.type = "timestamptz";
      break;
    case Type::kMap:
      // Parameters of scans are mostly numbers, fields that people made mostly texts.
      if (field->of_scan) {
        key.expression = absl::StrCat("coalesce(number_of(", field->column, " ->> '", field->key,
                                      "'), '-Infinity'::double precision)");
        key.type = "double precision";
      } else {
        SessionField member = *field;
        member.column = absl::StrCat(field->column, " ->> '", field->key, "'");
        key.expression = RowOf(*field) == 's' ? absl::StrCat("coalesce(", member.column, ", '')")
                                              : of_row(member, "''::text");
        key.type = "text";
      }
      break;
    case Type::kNumber:
      key.expression = field->column;
      key.type = "bigint";
      break;
    default:
      key.expression = of_row(*field, "''::text");
      key.type = "text";
  }
  return key;
}

}  // namespace

const char kKnownProject[] =
    "coalesce((SELECT h.project_id FROM session_shares h WHERE h.session_id = s.session_id AND h.project_id "
    "= "
    "ANY($1) ORDER BY h.project_id LIMIT 1), '')";
const char kKnownLabel[] =
    "coalesce((SELECT h.label FROM session_shares h WHERE h.session_id = s.session_id AND h.project_id = "
    "ANY($1) ORDER BY h.project_id LIMIT 1), '') COLLATE \"C\"";

std::optional<SessionField> FindField(absl::string_view name) {
  if (name.size() > 200) return std::nullopt;
  for (const auto& [prefix, column] : {std::pair<absl::string_view, absl::string_view>{"fields.", "s.fields"},
                                       {"subject.fields.", "u.fields"},
                                       {"project.fields.", "p.fields"},
                                       {"document.", "d.facts"},
                                       {"scans.parameters.", "c.parameters"}}) {
    absl::string_view key = name;
    if (!absl::ConsumePrefix(&key, prefix)) continue;
    if (key.empty()) return std::nullopt;
    return SessionField{Type::kMap, std::string(column), column[0] == 'c', std::string(key)};
  }
  absl::string_view rest = name;
  const bool of_scan = absl::ConsumePrefix(&rest, "scans.");
  const auto& columns = of_scan ? ScanColumns() : SessionColumns();
  const auto found = columns.find(ToSnake(rest));
  if (found == columns.end()) return std::nullopt;
  return SessionField{found->second.type, std::string(found->second.sql), of_scan, ""};
}

std::string CheckRestriction(const FilterNode& node) {
  const std::optional<SessionField> field = FindField(node.field);
  if (!field)
    return "there is no such field; fields are label, subject, sessionDate, scans.modality, "
           "scans.parameters.tr, ...";
  if (node.op == Op::kHas && node.value == "*" && !node.quoted) return "";
  double number;
  switch (field->type) {
    case Type::kNumber:
      return ParseNumber(node.value, &number) ? "" : "this field needs a number";
    case Type::kDate:
      return IsDate(node.value) ? "" : "this field needs a date like \"2024-01-31\"";
    case Type::kTime:
      return IsClockTime(node.value) ? "" : "this field needs a time like \"14:30:00\"";
    case Type::kTimestamp:
      return IsTimestamp(node.value) ? "" : "this field needs a time like \"2024-01-31T14:30:00Z\"";
    case Type::kStatus: {
      const std::string status = absl::AsciiStrToUpper(node.value);
      const bool known =
          status == "ACTIVE" || status == "QUARANTINE" || status == "LOCKED" || status == "DELETED";
      if (!known) return "a status is ACTIVE, QUARANTINE, LOCKED or DELETED";
      return node.op == Op::kEq || node.op == Op::kNe || node.op == Op::kHas
                 ? ""
                 : "a status is compared with = or !=";
    }
    case Type::kText:
    case Type::kMap:
      break;
  }
  return "";
}

SqlFragment CompileFilter(const SessionFilter& filter, int first, FilterTarget target, Shares shares) {
  if (filter.empty()) return {"TRUE", {}};
  Compiler compiler(first, target, shares);
  SqlFragment fragment;
  fragment.sql = compiler.Node(*filter.root());
  fragment.parameters = compiler.TakeParameters();
  return fragment;
}

absl::StatusOr<std::vector<OrderKey>> CompileOrder(absl::string_view order_by, FilterTarget target,
                                                   Shares shares) {
  std::vector<OrderKey> keys;
  if (absl::StripAsciiWhitespace(order_by).empty()) order_by = "createTime desc";
  const std::vector<absl::string_view> items = absl::StrSplit(order_by, ',');
  if (items.size() > limits::kOrderFieldsMax)
    return OrderError(absl::StrCat("at most ", limits::kOrderFieldsMax.get(), " fields"));
  for (absl::string_view item : items) {
    NX_ASSIGN_OR_RETURN(OrderKey key, CompileKey(item, target, shares));
    keys.push_back(std::move(key));
  }
  const bool descending = keys.back().descending;
  keys.push_back({"s.session_id", "text", descending});
  if (target == FilterTarget::kScans) keys.push_back({"c.scan_id", "text", descending});
  return keys;
}

}  // namespace narthex::metadata
