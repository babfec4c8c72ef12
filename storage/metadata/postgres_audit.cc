// The audit trail in PostgreSQL.
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

#include "base/digest.h"
#include "base/error.h"
#include "base/limits.h"
#include "base/status.h"
#include "storage/metadata/names.h"
#include "storage/metadata/page_token.h"
#include "storage/metadata/postgres_stores.h"

namespace narthex::metadata {
namespace {

constexpr int kVerifyBatch = 5000;
constexpr char kColumns[] = "project_id, sequence, time_us, user_name, action, object, details, hash";

AuditEvent ToEvent(const Rows& rows, int row) {
  AuditEvent event;
  event.project = rows.Text(row, 0);
  event.sequence = rows.Int(row, 1);
  event.time = absl::FromUnixMicros(rows.Int(row, 2));
  event.user = rows.Text(row, 3);
  event.action = rows.Text(row, 4);
  event.object = rows.Text(row, 5);
  event.details_json = rows.Text(row, 6);
  event.hash = rows.Bytes(row, 7);
  return event;
}

absl::Status Broken(absl::string_view project, int64_t sequence, absl::string_view what) {
  return DataLoss("AUDIT_CHAIN_BROKEN",
                  absl::StrCat("audit event ", sequence, " of ",
                               project.empty() ? "the site" : absl::StrCat("project ", project), " ", what,
                               ": the trail was changed outside of this program; compare with a backup"),
                  {{"project", std::string(project)}, {"sequence", absl::StrCat(sequence)}});
}

class PostgresAuditStore : public AuditStore {
 public:
  explicit PostgresAuditStore(Pool& pool) : pool_(pool) {}

  absl::StatusOr<AuditEvent> Append(const AuditEvent& event) override {
    NX_RETURN_IF_ERROR(CheckAuditEvent(event));
    Statement append(absl::StrCat("SELECT ", kColumns, " FROM append_audit($1, $2, $3, $4, $5)"));
    append.Text(event.project)
        .Text(event.user)
        .Text(event.action)
        .Text(event.object)
        .Text(event.details_json);
    NX_ASSIGN_OR_RETURN(Pool::Lease lease, pool_.Acquire());
    // Not repeated on a broken connection: one event must not be counted twice.
    NX_ASSIGN_OR_RETURN(Rows rows, lease->Run(append));
    return ToEvent(rows, 0);
  }

  absl::StatusOr<List> ListEvents(absl::string_view project, const Page& page) override {
    const int size = PageSize(page, limits::kPageSizeMax);
    const std::string list_name = absl::StrCat("audit/", project);
    int64_t after = 0;
    if (!page.token.empty()) {
      NX_ASSIGN_OR_RETURN(std::vector<std::string> values, DecodePageToken(list_name, page.token, 1));
      if (!absl::SimpleAtoi(values.front(), &after))
        return InvalidArgument("PAGE_TOKEN_INVALID", "not a page of this list", {});
    }
    NX_ASSIGN_OR_RETURN(List list, Fetch(project, after, size + 1));
    if (static_cast<int>(list.events.size()) > size) {
      list.events.pop_back();
      list.next_page_token = EncodePageToken(list_name, {absl::StrCat(list.events.back().sequence)});
    }
    return list;
  }

  absl::StatusOr<std::vector<std::string>> ListChains() override {
    // A chain without head is broken, and must be named all the same.
    NX_ASSIGN_OR_RETURN(Rows rows,
                        pool_.Read(Statement("SELECT project_id FROM audit_heads UNION SELECT DISTINCT "
                                             "project_id FROM audit_events ORDER BY 1")));
    std::vector<std::string> chains;
    for (int i = 0; i < rows.size(); ++i) chains.push_back(rows.Text(i, 0));
    return chains;
  }

  absl::StatusOr<Chain> VerifyChain(absl::string_view project) override {
    int64_t last = 0;
    std::string hash;
    while (true) {
      NX_ASSIGN_OR_RETURN(List list, Fetch(project, last, kVerifyBatch));
      if (list.events.empty()) break;
      for (const AuditEvent& event : list.events) {
        if (event.sequence != last + 1) return Broken(project, last + 1, "is missing");
        if (event.hash != AuditHash(hash, event))
          return Broken(project, event.sequence, "does not fit its hash");
        last = event.sequence;
        hash = event.hash;
      }
    }
    Statement head("SELECT sequence, hash FROM audit_heads WHERE project_id = $1");
    NX_ASSIGN_OR_RETURN(Rows rows, pool_.Read(head.Text(project)));
    const int64_t expected = rows.size() == 0 ? 0 : rows.Int(0, 0);
    // Events may have been appended since; fewer than promised means that the end was cut off.
    if (expected < last) return Broken(project, last, "is behind the end of its chain");
    if (expected == last && rows.size() > 0 && rows.Bytes(0, 1) != hash)
      return Broken(project, last, "is not the end of its chain");
    if (expected > last) {
      NX_ASSIGN_OR_RETURN(List more, Fetch(project, last, 1));
      if (more.events.empty()) return Broken(project, last + 1, "is missing");
    }
    return Chain{last, hash};
  }

 private:
  absl::StatusOr<List> Fetch(absl::string_view project, int64_t after, int count) {
    Statement select(absl::StrCat(
        "SELECT ", kColumns,
        " FROM audit_events WHERE project_id = $1 AND sequence > $2 ORDER BY sequence LIMIT $3"));
    NX_ASSIGN_OR_RETURN(Rows rows, pool_.Read(select.Text(project).Int(after).Int(count)));
    List list;
    for (int i = 0; i < rows.size(); ++i) list.events.push_back(ToEvent(rows, i));
    return list;
  }

  Pool& pool_;
};

}  // namespace

std::unique_ptr<AuditStore> NewPostgresAuditStore(Pool& pool) {
  return std::make_unique<PostgresAuditStore>(pool);
}

}  // namespace narthex::metadata
