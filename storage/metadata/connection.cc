#include "storage/metadata/connection.h"

#include <algorithm>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include <arpa/inet.h>

#include "base/error.h"
#include "base/limits_storage.h"
#include "base/status.h"
#include "storage/metadata/access.h"
#include "storage/metadata/connection_security.h"

namespace narthex::metadata {
namespace {

// From pg_type.dat; fixed for ever.
constexpr Oid kTextOid = 25;
constexpr Oid kTextArrayOid = 1009;
constexpr Oid kInt8Oid = 20;
constexpr Oid kInt8ArrayOid = 1016;
constexpr Oid kByteaOid = 17;
constexpr Oid kByteaArrayOid = 1001;

constexpr size_t kPreparedSqlMax = 8192;  // fixed: which way a statement takes; both are good

void PutInt32(std::string& out, int32_t value) {
  const uint32_t bytes = htonl(static_cast<uint32_t>(value));
  out.append(reinterpret_cast<const char*>(&bytes), 4);
}

void PutInt64(std::string& out, int64_t value) {
  PutInt32(out, static_cast<int32_t>(value >> 32));
  PutInt32(out, static_cast<int32_t>(value & 0xffffffff));
}

// Length of the UTF-8 character at the start of `text` that PostgreSQL accepts; 0: none (NUL is none, too).
size_t CharacterLength(absl::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return lead == 0 ? 0 : 1;
  const size_t length = lead >= 0xc2 && lead <= 0xdf   ? 2
                        : (lead & 0xf0) == 0xe0        ? 3
                        : lead >= 0xf0 && lead <= 0xf4 ? 4
                                                       : 0;
  if (length == 0 || text.size() < length) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
  }
  if (lead == 0xe0 && byte(1) < 0xa0) return 0;  // overlong
  if (lead == 0xed && byte(1) > 0x9f) return 0;  // surrogates
  if (lead == 0xf0 && byte(1) < 0x90) return 0;  // overlong
  if (lead == 0xf4 && byte(1) > 0x8f) return 0;  // beyond U+10FFFF
  return length;
}

bool IsDatabaseText(absl::string_view text) {
  while (!text.empty()) {
    const size_t length = CharacterLength(text);
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
}

// What PostgreSQL would refuse (NUL, bytes that are not UTF-8) becomes '?': a header in an undeclared
// character set must not keep a session out of the archive.
std::string ToDatabaseText(absl::string_view text) {
  if (IsDatabaseText(text)) return std::string(text);
  std::string out;
  while (!text.empty()) {
    const size_t length = CharacterLength(text);
    out.append(length == 0 ? "?" : std::string(text.substr(0, length)));
    text.remove_prefix(std::max<size_t>(length, 1));
  }
  return out;
}

// Dimensions, null flag, element type, then length and lower bound of the one dimension.
void PutArrayHead(std::string& out, size_t length, bool has_null, Oid element) {
  PutInt32(out, length == 0 ? 0 : 1);
  PutInt32(out, has_null ? 1 : 0);
  PutInt32(out, static_cast<int32_t>(element));
  if (length == 0) return;
  PutInt32(out, static_cast<int32_t>(length));
  PutInt32(out, 1);
}

std::string VariableArray(absl::Span<const absl::string_view> values, Oid element) {
  size_t total = 32;
  bool has_null = false;
  for (absl::string_view value : values) {
    total += value.size() + 4;
    has_null |= value.data() == nullptr;
  }
  std::string out;
  out.reserve(total);
  PutArrayHead(out, values.size(), has_null, element);
  for (absl::string_view value : values) {
    if (value.data() == nullptr) {
      PutInt32(out, -1);
    } else if (element == kTextOid && !IsDatabaseText(value)) {
      const std::string text = ToDatabaseText(value);
      PutInt32(out, static_cast<int32_t>(text.size()));
      out.append(text);
    } else {
      PutInt32(out, static_cast<int32_t>(value.size()));
      out.append(value.data(), value.size());
    }
  }
  return out;
}

absl::string_view Field(const PGresult* result, int code) {
  const char* text = PQresultErrorField(result, code);
  return text == nullptr ? absl::string_view() : absl::string_view(text);
}

absl::StatusCode CodeOfOurState(absl::string_view state) {
  if (state == "NX400") return absl::StatusCode::kInvalidArgument;
  if (state == "NX404") return absl::StatusCode::kNotFound;
  if (state == "NX409") return absl::StatusCode::kAlreadyExists;
  if (state == "NX410") return absl::StatusCode::kAborted;
  return absl::StatusCode::kFailedPrecondition;
}

absl::Status Translate(absl::string_view state, absl::string_view primary, absl::string_view constraint) {
  using Code = absl::StatusCode;
  const ErrorMetadata metadata = {{"sqlstate", std::string(state)}, {"constraint", std::string(constraint)}};
  const std::string suffix =
      absl::StrCat(" (SQLSTATE ", state, constraint.empty() ? "" : ", constraint ", constraint, ")");
  if (absl::StartsWith(state, "NX")) {
    return Error(CodeOfOurState(state), primary, absl::StrCat("the database refuses this: ", primary),
                 metadata);
  }
  if (absl::StartsWith(state, "08") || absl::StartsWith(state, "57P") || state == "53300") {
    return Error(Code::kUnavailable, "DATABASE_UNAVAILABLE", absl::StrCat("PostgreSQL went away", suffix),
                 metadata);
  }
  if (state == "23505") {
    return Error(Code::kAlreadyExists, "UNIQUE_VIOLATION", absl::StrCat("this exists already", suffix),
                 metadata);
  }
  if (state == "23503") {
    return Error(Code::kFailedPrecondition, "REFERENCE_VIOLATION",
                 absl::StrCat("what this refers to does not exist, or is still in use", suffix), metadata);
  }
  if (absl::StartsWith(state, "22") || absl::StartsWith(state, "23") || state == "2200N") {
    return Error(Code::kInvalidArgument, "VALUE_REFUSED",
                 absl::StrCat("the database refuses a value", suffix), metadata);
  }
  if (absl::StartsWith(state, "40")) {
    return Error(Code::kAborted, "TRANSACTION_CONFLICT", absl::StrCat("lost a race; try again", suffix),
                 metadata);
  }
  if (state == "42501") {
    return Error(Code::kPermissionDenied, "PERMISSION_DENIED",
                 absl::StrCat("the database does not allow this to this user", suffix), metadata);
  }
  if (state == "57014") {
    return Error(Code::kDeadlineExceeded, "STATEMENT_TIMEOUT",
                 absl::StrCat("the query took too long", suffix), metadata);
  }
  if (absl::StartsWith(state, "53")) {
    return Error(Code::kResourceExhausted, "DATABASE_FULL",
                 absl::StrCat("PostgreSQL is out of space or memory", suffix), metadata);
  }
  // Our own mistakes (class 42) name tables and columns, never values.
  const absl::string_view detail = absl::StartsWith(state, "42") ? primary : absl::string_view("see its log");
  return Error(Code::kInternal, "DATABASE_ERROR", absl::StrCat("PostgreSQL failed: ", detail, suffix),
               metadata);
}

}  // namespace

Statement& Statement::Text(absl::string_view value) {
  values_.push_back({ToDatabaseText(value), false, 0});
  return *this;
}

Statement& Statement::Null() {
  values_.push_back({std::nullopt, false, 0});
  return *this;
}

Statement& Statement::Bytes(absl::string_view value) {
  values_.push_back({std::string(value), true, kByteaOid});
  return *this;
}

Statement& Statement::Time(absl::Time value) {
  if (value == absl::InfiniteFuture()) return Text("infinity");
  return Text(absl::FormatTime("%Y-%m-%d %H:%M:%E6S+00", value, absl::UTCTimeZone()));
}

Statement& Statement::TextArray(absl::Span<const absl::string_view> values) {
  values_.push_back({VariableArray(values, kTextOid), true, kTextArrayOid});
  return *this;
}

Statement& Statement::TextArray(const std::vector<std::string>& values) {
  std::vector<absl::string_view> views;
  views.reserve(values.size());
  for (const std::string& value : values) views.emplace_back(value.data(), value.size());
  return TextArray(views);
}

Statement& Statement::BytesArray(absl::Span<const absl::string_view> values) {
  values_.push_back({VariableArray(values, kByteaOid), true, kByteaArrayOid});
  return *this;
}

Statement& Statement::IntArray(absl::Span<const int64_t> values) {
  std::string out;
  out.reserve(32 + values.size() * 12);
  PutArrayHead(out, values.size(), false, kInt8Oid);
  for (int64_t value : values) {
    PutInt32(out, 8);
    PutInt64(out, value);
  }
  values_.push_back({std::move(out), true, kInt8ArrayOid});
  return *this;
}

absl::string_view Rows::View(int row, int column) const {
  return absl::string_view(PQgetvalue(result_.get(), row, column),
                           static_cast<size_t>(PQgetlength(result_.get(), row, column)));
}

int64_t Rows::Int(int row, int column) const {
  int64_t value = 0;
  return absl::SimpleAtoi(View(row, column), &value) ? value : 0;
}

std::string Rows::Bytes(int row, int column) const {
  const absl::string_view text = View(row, column);
  if (text.size() < 2) return std::string();
  return absl::HexStringToBytes(text.substr(2));  // "\x00ff..."
}

absl::Time Rows::Time(int row, int column) const {
  return IsNull(row, column) ? absl::InfiniteFuture() : absl::FromUnixMicros(Int(row, column));
}

std::vector<std::string> Rows::Texts(int row, int column) const {
  std::vector<std::string> out;
  const absl::string_view text = View(row, column);  // {a,"b \" c"}
  size_t i = 1;
  while (i < text.size() && text[i] != '}') {
    std::string item;
    const bool quoted = text[i] == '"';
    if (quoted) ++i;
    while (i < text.size() && (quoted ? text[i] != '"' : text[i] != ',' && text[i] != '}')) {
      if (text[i] == '\\' && i + 1 < text.size()) ++i;
      item.push_back(text[i++]);
    }
    if (quoted) ++i;
    if (i < text.size() && text[i] == ',') ++i;
    out.push_back(std::move(item));
  }
  return out;
}

int64_t Rows::affected() const {
  int64_t value = 0;
  return absl::SimpleAtoi(PQcmdTuples(result_.get()), &value) ? value : 0;
}

bool IsConnectionLost(const absl::Status& status) {
  return absl::IsUnavailable(status) && ErrorReason(status) == "DATABASE_UNAVAILABLE";
}

absl::StatusOr<std::unique_ptr<Connection>> Connection::Connect(const std::string& conninfo,
                                                                absl::Duration timeout,
                                                                absl::Duration statement_timeout,
                                                                const std::string& role) {
  const absl::Time deadline = absl::Now() + timeout;
  absl::Duration pause = absl::Milliseconds(20);
  const std::string ssl_mode = SslModeOf(conninfo);
  while (true) {
    // Later keys win over the same keys in conninfo, which "dbname" expands to; empty values do not.
    const char* keys[] = {
        "dbname", "connect_timeout", "tcp_user_timeout", "application_name", "client_encoding", "sslmode",
        nullptr};
    const char* values[] = {conninfo.c_str(), "5", "20000", "narthex", "UTF8", ssl_mode.c_str(), nullptr};
    std::unique_ptr<Connection> made(new Connection(PQconnectdbParams(keys, values, 1)));
    if (PQstatus(made->connection_.get()) == CONNECTION_OK) {
      // Notices go nowhere: they may quote values.
      PQsetNoticeProcessor(
          made->connection_.get(), [](void*, const char*) {}, nullptr);
      NX_RETURN_IF_ERROR(made->RunScript(
          absl::StrCat("SET statement_timeout = ", absl::ToInt64Milliseconds(statement_timeout),
                       "; SET timezone = 'UTC'; SET datestyle = 'ISO'",
                       role.empty() ? "" : absl::StrCat("; SET ROLE ", role))));
      return made;
    }
    if (absl::Now() + pause > deadline) {
      return Error(absl::StatusCode::kUnavailable, "DATABASE_UNAVAILABLE",
                   absl::StrCat("cannot connect to PostgreSQL: ",
                                absl::StripAsciiWhitespace(PQerrorMessage(made->connection_.get()))));
    }
    absl::SleepFor(pause);
    pause = std::min(pause * 2, absl::Seconds(1));
  }
}

absl::Status Connection::Lost() {
  return Error(absl::StatusCode::kUnavailable, "DATABASE_UNAVAILABLE",
               "the connection to PostgreSQL broke; the server may be restarting: try again");
}

absl::Status Connection::Failure(const PGresult* result) {
  const absl::string_view state = Field(result, PG_DIAG_SQLSTATE);
  if (state.empty()) return Lost();
  return Translate(state, Field(result, PG_DIAG_MESSAGE_PRIMARY), Field(result, PG_DIAG_CONSTRAINT_NAME));
}

absl::Status Connection::Send(const Statement& statement, std::vector<std::string>& prepared) {
  PGconn* c = connection_.get();
  const size_t count = statement.values_.size();
  std::vector<const char*> values(count);
  std::vector<int> lengths(count), formats(count);
  std::vector<Oid> types(count);
  for (size_t i = 0; i < count; ++i) {
    const Statement::Value& value = statement.values_[i];
    values[i] = value.bytes ? value.bytes->c_str() : nullptr;
    lengths[i] = value.bytes ? static_cast<int>(value.bytes->size()) : 0;
    formats[i] = value.binary ? 1 : 0;
    types[i] = value.type;
  }
  const int n = static_cast<int>(count);
  auto found = prepared_.find(statement.sql_);
  if (found == prepared_.end() && (statement.once_ || prepared_.size() >= limits::kPreparedMax ||
                                   statement.sql_.size() > kPreparedSqlMax)) {
    return PQsendQueryParams(c, statement.sql_.c_str(), n, types.data(), values.data(), lengths.data(),
                             formats.data(), 0)
               ? absl::OkStatus()
               : Lost();
  }
  if (found == prepared_.end()) {
    found = prepared_.emplace(statement.sql_, absl::StrCat("s", next_name_++)).first;
    if (!PQsendPrepare(c, found->second.c_str(), statement.sql_.c_str(), n, types.data())) return Lost();
    prepared.push_back(statement.sql_);
  } else {
    prepared.emplace_back();
  }
  return PQsendQueryPrepared(c, found->second.c_str(), n, values.data(), lengths.data(), formats.data(), 0)
             ? absl::OkStatus()
             : Lost();
}

// The result of one sent command, and the null that ends it.
absl::StatusOr<Rows> Connection::Receive() {
  PGresult* result = PQgetResult(connection_.get());
  if (result == nullptr) return Lost();
  Rows rows(result);
  const ExecStatusType status = PQresultStatus(result);
  if (status == PGRES_PIPELINE_SYNC) return rows;
  // A broken connection ends with results of its own and never with another null.
  while (PGresult* more = PQgetResult(connection_.get())) {
    PQclear(more);
    if (PQstatus(connection_.get()) != CONNECTION_OK) return Lost();
  }
  if (status == PGRES_PIPELINE_ABORTED) return absl::CancelledError("an earlier statement failed");
  if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK) return Failure(result);
  return rows;
}

absl::StatusOr<std::vector<Rows>> Connection::Run(absl::Span<const Statement> batch) {
  std::vector<const Statement*> all;
  all.reserve(batch.size() + 1);
  for (const Statement& statement : batch) all.push_back(&statement);
  // Inside a transaction, its first batch has said for whom it works.
  if (PQtransactionStatus(connection_.get()) == PQTRANS_INTRANS) return RunAll(all);
  NX_ASSIGN_OR_RETURN(const Statement enter, AccessScope::Enter());
  const auto at = all.begin() + (!batch.empty() && batch.front().sql() == "BEGIN" ? 1 : 0);
  const auto position = at - all.begin();
  all.insert(at, &enter);
  NX_ASSIGN_OR_RETURN(std::vector<Rows> rows, RunAll(all));
  rows.erase(rows.begin() + position);
  return rows;
}

absl::StatusOr<std::vector<Rows>> Connection::RunAll(absl::Span<const Statement* const> batch) {
  PGconn* c = connection_.get();
  if (!PQenterPipelineMode(c)) return Lost();
  std::vector<std::string> prepared;  // for each statement: the SQL that is prepared right before it, or ""
  for (const Statement* statement : batch) {
    const size_t before = prepared.size();
    NX_RETURN_IF_ERROR(Send(*statement, prepared));
    if (prepared.size() == before) prepared.emplace_back();  // not worth preparing
  }
  if (!PQpipelineSync(c)) return Lost();
  ++round_trips_;

  absl::Status failure;
  std::vector<Rows> all;
  for (size_t i = 0; i < batch.size(); ++i) {
    if (!prepared[i].empty()) {
      absl::StatusOr<Rows> answer = Receive();
      if (!answer.ok()) prepared_.erase(prepared[i]);
      if (!answer.ok() && failure.ok()) failure = answer.status();
    }
    absl::StatusOr<Rows> answer = Receive();
    if (!answer.ok() && failure.ok()) failure = answer.status();
    if (answer.ok()) all.push_back(*std::move(answer));
    if (PQstatus(c) != CONNECTION_OK) return IsConnectionLost(failure) ? failure : Lost();
  }
  absl::StatusOr<Rows> sync = Receive();
  if (!sync.ok() || !PQexitPipelineMode(c)) return Lost();
  if (!failure.ok()) {
    Rollback();
    return failure;
  }
  return all;
}

absl::StatusOr<Rows> Connection::Run(const Statement& statement) {
  NX_ASSIGN_OR_RETURN(std::vector<Rows> all, Run(absl::MakeConstSpan(&statement, 1)));
  return std::move(all.front());
}

void Connection::Rollback() {
  if (PQtransactionStatus(connection_.get()) == PQTRANS_IDLE) return;
  PQclear(PQexec(connection_.get(), "ROLLBACK"));
}

absl::Status Connection::RunScript(const std::string& sql) {
  ++round_trips_;
  std::unique_ptr<PGresult, void (*)(PGresult*)> result(PQexec(connection_.get(), sql.c_str()), PQclear);
  const ExecStatusType status = PQresultStatus(result.get());
  if (status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK || status == PGRES_EMPTY_QUERY)
    return absl::OkStatus();
  const absl::Status failure = Failure(result.get());
  Rollback();
  return failure;
}

bool Connection::reusable() const {
  return PQstatus(connection_.get()) == CONNECTION_OK &&
         PQtransactionStatus(connection_.get()) == PQTRANS_IDLE &&
         PQpipelineStatus(connection_.get()) == PQ_PIPELINE_OFF;
}

}  // namespace narthex::metadata
