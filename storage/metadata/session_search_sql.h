// The SQL of searches: which sessions or scans somebody sees, in which order, and one page of them. No I/O.
// Thread-compatible.
//
// What people see is put together from arms: the sessions of their projects, and those that are shared with
// them. In the arm of shares, project and label are those that the reader knows, in conditions, orders and
// page tokens alike.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "storage/metadata/connection.h"
#include "storage/metadata/records.h"
#include "storage/metadata/session_filter.h"
#include "storage/metadata/session_store.h"

namespace narthex::metadata {

// Whether the row `s` of sessions may be seen, also where it is shared to. $1: projects, $2: projects whose
// quarantined sessions may be seen.
std::string VisibleSql(const Visibility& visible);

class SessionSearch {
 public:
  // `shares`: whether the reader sees any share. INVALID_ARGUMENT (ORDER_BY_INVALID, PAGE_TOKEN_INVALID).
  static absl::StatusOr<SessionSearch> Make(const SearchRequest& request, const Visibility& visible,
                                            bool shares, FilterTarget target);

  // At most `limit` rows: session columns (session_rows.h), or scan columns, accession id, project, subject
  // and label; then the keys as texts.
  Statement Page(int limit) const;

  // The same rows, if `limit` of them are found soon; fewer say nothing. It walks the projects in order and
  // judges session by session, which is quick where Page collects everything that fits to sort it, and gives
  // up at once where few fit. nullopt: not for this search.
  std::optional<Statement> NearPage(int limit) const;

  Statement Count() const;

  size_t key_count() const { return arms_.front().keys.size(); }
  // Of the page behind the row with these keys.
  std::string TokenAfter(const std::vector<std::string>& keys) const;

 private:
  struct Arm {
    std::string visible;         // over s
    std::string fits;            // the filter
    std::vector<OrderKey> keys;  // the same types and directions in all arms
    std::string project, label;  // as the reader knows them
    std::string after = "TRUE";  // behind the page before
  };

  SessionSearch(const Visibility& visible, FilterTarget target) : visible_(visible), target_(target) {}

  absl::Status AddArm(const SearchRequest& request, std::string visible, Shares shares);
  absl::Status SetAfter(absl::string_view token);
  Statement Bind(std::string sql, const std::vector<std::string>& values) const;
  std::string From(const Arm& arm) const;
  std::string Rows(const Arm& arm, int limit) const;
  std::string Shown(absl::string_view rows) const;

  Visibility visible_;
  FilterTarget target_;
  std::string list_name_;
  SessionFilter filter_;
  std::vector<Arm> arms_;            // of shares last
  std::vector<std::string> values_;  // from $3: the filter's, then the page token's
  size_t filter_value_count_ = 0;
};

}  // namespace narthex::metadata
