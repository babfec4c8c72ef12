#include "server/verify/outcome_check.h"

#include <map>
#include <optional>
#include <set>
#include <string>

#include "absl/strings/str_cat.h"

#include "base/status.h"
#include "server/prearchive/keys.h"
#include "server/prearchive/prearchive.h"

namespace narthex::verify {
namespace {

namespace keys = prearchive::keys;
using prearchive::Outcome;
using prearchive::SessionRow;
using staging::Table;

using Counts = std::map<int32_t, uint64_t>;  // by outcome

class OutcomeCheck {
 public:
  OutcomeCheck(const staging::Index& index, Report& report) : index_(index), report_(report) {}

  absl::Status Run() {
    NX_RETURN_IF_ERROR(ReadSessions());
    NX_RETURN_IF_ERROR(ReadRemoved());
    NX_RETURN_IF_ERROR(ReadUploads());
    NX_RETURN_IF_ERROR(ReadForgotten());
    for (const auto& [id, told] : told_) CompareSession(id, told);
    for (const auto& [id, counted] : counted_) CountRetold(counted, told_[id]);
    return absl::OkStatus();
  }

 private:
  void Remember(const std::string& id, const SessionRow& row) {
    Counts& counts = counted_[id];
    for (const auto& [outcome, count] : row.outcome_counts()) counts[outcome] = count;
  }

  absl::Status ReadSessions() {
    return index_.Scan(Table::kSessions, "", "", [&](absl::string_view key, absl::string_view value) {
      SessionRow row;
      if (row.ParseFromArray(value.data(), static_cast<int>(value.size()))) Remember(std::string(key), row);
      return true;  // CheckIndex says what it cannot read
    });
  }

  // The last event of a session that went shows it as it was.
  absl::Status ReadRemoved() {
    return index_.Scan(Table::kEvents, "", "", [&](absl::string_view key, absl::string_view value) {
      if (!oldest_event_) oldest_event_ = keys::LastNumber(key);
      prearchive::EventRow event;
      if (!event.ParseFromArray(value.data(), static_cast<int>(value.size()))) {
        report_.Find("ROW_DAMAGED", absl::StrCat(keys::LastNumber(key)), "the event cannot be read");
      } else if (event.removed()) {
        Remember(event.session(), event.row());
      }
      return true;
    });
  }

  absl::Status ReadUploads() {
    std::set<std::string> uploads;
    NX_RETURN_IF_ERROR(index_.Scan(Table::kUploads, "", "", [&](absl::string_view key, absl::string_view) {
      uploads.emplace(key);
      return true;
    }));
    std::map<std::string, uint64_t> strays;
    NX_RETURN_IF_ERROR(
        index_.Scan(Table::kUploadObjects, "", "", [&](absl::string_view key, absl::string_view value) {
          const std::string upload(key.substr(0, key.find('\0')));
          if (uploads.count(upload) == 0) ++strays[upload];
          prearchive::OutcomeRow outcome;
          if (!outcome.ParseFromArray(value.data(), static_cast<int>(value.size()))) {
            report_.Find("ROW_DAMAGED", upload, "an outcome cannot be read");
          } else if (!outcome.session().empty()) {
            ++told_[outcome.session()][outcome.outcome()];
          } else if (!MayBeInNoSession(outcome.outcome())) {
            report_.Find("UPLOAD_OUTCOME", upload,
                         absl::StrCat("object ", keys::LastNumber(key), " is kept in no session"));
          }
          return true;
        }));
    for (const auto& [upload, count] : strays)
      report_.Find("UPLOAD_ROW", upload, absl::StrCat(count, " outcomes of an upload that is not there"));
    return absl::OkStatus();
  }

  // Of uploads of long ago only the counts are left, and those only of sessions whose going is known.
  absl::Status ReadForgotten() {
    const std::string prefix = keys::ForgottenTally("");
    return index_.Scan(Table::kMeta, prefix, keys::EndOf(prefix),
                       [&](absl::string_view key, absl::string_view value) {
                         const std::string id(key.substr(prefix.size()));
                         SessionRow row;
                         if (!row.ParseFromArray(value.data(), static_cast<int>(value.size()))) {
                           report_.Find("ROW_DAMAGED", id, "the counts of forgotten uploads cannot be read");
                           return true;
                         }
                         if (counted_.count(id) == 0) return true;
                         for (const auto& [outcome, count] : row.outcome_counts())
                           told_[id][outcome] += count;
                         return true;
                       });
  }

  static bool MayBeInNoSession(int32_t outcome) {
    return outcome == static_cast<int>(Outcome::kFiltered) || outcome == static_cast<int>(Outcome::kRejected);
  }

  void CompareSession(const std::string& id, const Counts& told) {
    const auto counted = counted_.find(id);
    if (counted == counted_.end()) {
      // Its last event is one of those that are no longer kept.
      if (oldest_event_ && *oldest_event_ > 1) return;
      report_.Find("SESSION_UNKNOWN", id, "outcomes name this session, which never was");
      return;
    }
    for (const auto& [outcome, count] : told) {
      const auto claimed = counted->second.find(outcome);
      const uint64_t claim = claimed == counted->second.end() ? 0 : claimed->second;
      if (claim >= count) continue;
      report_.Find("SESSION_OUTCOMES", id,
                   absl::StrCat("counted ", claim, " objects as ",
                                prearchive::OutcomeName(static_cast<Outcome>(outcome)),
                                ", uploads were told of ", count));
    }
  }

  void CountRetold(const Counts& counted, const Counts& told) {
    for (const auto& [outcome, count] : counted) {
      if (outcome == static_cast<int>(Outcome::kRejected))
        continue;  // what is sent again after that counts anew
      const auto heard = told.find(outcome);
      const uint64_t known = heard == told.end() ? 0 : heard->second;
      if (count > known) report_.retold_outcome_count += count - known;
    }
  }

  const staging::Index& index_;
  Report& report_;
  std::map<std::string, Counts> counted_;  // by session, as it says
  std::map<std::string, Counts> told_;     // by session, as uploads were told
  std::optional<uint64_t> oldest_event_;
};

}  // namespace

absl::Status CheckOutcomes(const staging::Index& index, Report& report) {
  return OutcomeCheck(index, report).Run();
}

}  // namespace narthex::verify
