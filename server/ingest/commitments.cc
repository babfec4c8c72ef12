#include "server/ingest/commitments.h"

#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"

#include "base/error.h"
#include "base/ids.h"
#include "base/limits_gateway.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/status.h"
#include "imaging/dicom/header_facts.h"
#include "server/prearchive/keys.h"

namespace narthex::ingest {
namespace {

using prearchive::SessionRow;
using staging::Table;

constexpr absl::string_view kPrefix = "commitment/";
constexpr int kSessionsPage = 1000;

// How long a report rests after its n-th failure: a minute, then twice as long each time, up to six hours.
absl::Duration Rest(int failures) {
  const absl::Duration longest = absl::Hours(6);
  return std::min(longest, absl::Minutes(1) * (int64_t{1} << std::min(failures - 1, 20)));
}

void Settle(absl::string_view sop_class_uid, CommittedInstanceRow& instance) {
  instance.set_failure_reason(
      sop_class_uid == instance.sop_class_uid() ? 0 : Commitments::kClassInstanceConflict);
}

}  // namespace

// Takes out of `open` what the session holds.
absl::Status Commitments::CheckSession(const SessionRow& session, std::vector<CommittedInstanceRow*>& open,
                                       bool* holds) const {
  absl::Status failed;
  const auto held = [&](CommittedInstanceRow* instance) {
    auto row = with_.prearchive.FindObject(session.id(), instance->sop_instance_uid());
    if (absl::IsNotFound(row.status()) && with_.fingerprint) {
      const std::string name =
          prearchive::keys::InstanceName("", with_.fingerprint(instance->sop_instance_uid()));
      row = with_.prearchive.FindObject(session.id(), name);
    }
    if (absl::IsNotFound(row.status())) return false;
    if (!row.ok()) {
      failed.Update(row.status());
      return false;
    }
    // Rows reach the index when their bytes are durable.
    if (row->stored_xxh3().empty()) return false;
    const auto facts = dicom::HeaderFacts::Decode(row->facts());
    Settle(facts.ok() ? facts->sop_class_uid() : "", *instance);
    return true;
  };
  const auto rest = std::remove_if(open.begin(), open.end(), held);
  *holds = rest != open.end();
  open.erase(rest, open.end());
  return failed;
}

absl::Status Commitments::CheckStaged(CommitmentRow& row, std::vector<std::string>& sessions) const {
  std::vector<CommittedInstanceRow*> open;
  for (CommittedInstanceRow& instance : *row.mutable_instances()) {
    if (instance.failure_reason() == kNoSuchInstance) open.push_back(&instance);
  }
  prearchive::ListQuery query;
  query.limit = kSessionsPage;
  while (!open.empty()) {
    NX_ASSIGN_OR_RETURN(const std::vector<SessionRow> page, with_.prearchive.List(query));
    for (const SessionRow& session : page) {
      bool holds = false;
      NX_RETURN_IF_ERROR(CheckSession(session, open, &holds));
      if (holds) sessions.push_back(session.id());
      if (open.empty()) break;
    }
    if (static_cast<int>(page.size()) < kSessionsPage) break;
    query.after = page.back().id();
  }
  return absl::OkStatus();
}

absl::Status Commitments::CheckArchived(CommitmentRow& row) const {
  std::vector<std::string> uids, identities;
  absl::flat_hash_map<std::string, std::string> uid_of;  // by identity
  for (const CommittedInstanceRow& instance : row.instances()) {
    if (instance.failure_reason() == 0) continue;
    uids.push_back(instance.sop_instance_uid());
    if (!with_.fingerprint) continue;
    identities.push_back(with_.fingerprint(instance.sop_instance_uid()));
    uid_of.emplace(identities.back(), instance.sop_instance_uid());
  }
  if (uids.empty()) return absl::OkStatus();
  NX_ASSIGN_OR_RETURN(const auto archived, with_.archived(uids, identities));
  absl::flat_hash_map<absl::string_view, absl::string_view> classes;
  for (const ArchivedInstance& instance : archived) {
    classes[instance.sop_instance_uid] = instance.sop_class_uid;
    const auto sent_as = uid_of.find(instance.received_identity);
    if (sent_as != uid_of.end()) classes[sent_as->second] = instance.sop_class_uid;
  }
  for (CommittedInstanceRow& instance : *row.mutable_instances()) {
    const auto found = classes.find(instance.sop_instance_uid());
    if (instance.failure_reason() != 0 && found != classes.end()) Settle(found->second, instance);
  }
  return absl::OkStatus();
}

absl::StatusOr<Commitments::Answer> Commitments::Request(CommitmentRow row) {
  int waiting = 0;
  const std::string prefix(kPrefix);
  NX_RETURN_IF_ERROR(with_.index.Scan(
      Table::kMeta, prefix, prearchive::keys::EndOf(prefix),
      [&](absl::string_view, absl::string_view) { return ++waiting < limits::kCommitmentsMax; }));
  if (waiting >= limits::kCommitmentsMax) {
    return ResourceExhausted("OVERLOADED", "too many storage commitment reports wait for their delivery");
  }
  Answer answer;
  for (CommittedInstanceRow& instance : *row.mutable_instances()) {
    instance.set_failure_reason(kNoSuchInstance);
  }
  // A session that is archived meanwhile is in one of the two: it leaves staging after it is in the archive.
  NX_RETURN_IF_ERROR(CheckStaged(row, answer.sessions));
  NX_RETURN_IF_ERROR(CheckArchived(row));
  row.set_id(NewRandomId(10));
  row.set_create_time_us(absl::ToUnixMicros(with_.clock.Now()));
  row.set_due_time_us(absl::ToUnixMicros(with_.clock.Now() + kLease));
  absl::MutexLock lock(&mutex_);
  NX_RETURN_IF_ERROR(Write(row));
  answer.row = std::move(row);
  return answer;
}

absl::Status Commitments::Write(const CommitmentRow& row) {
  staging::IndexBatch batch;
  batch.Put(Table::kMeta, absl::StrCat(kPrefix, row.id()), row.SerializeAsString());
  return with_.index.Write(batch, staging::Durability::kPowerLoss);
}

absl::StatusOr<std::vector<CommitmentRow>> Commitments::Claim(int limit) {
  absl::MutexLock lock(&mutex_);
  const int64_t now = absl::ToUnixMicros(with_.clock.Now());
  std::vector<CommitmentRow> due;
  const std::string prefix(kPrefix);
  NX_RETURN_IF_ERROR(with_.index.Scan(Table::kMeta, prefix, prearchive::keys::EndOf(prefix),
                                      [&](absl::string_view, absl::string_view value) {
                                        CommitmentRow row;
                                        row.ParseFromArray(value.data(), static_cast<int>(value.size()));
                                        if (row.due_time_us() <= now) due.push_back(std::move(row));
                                        return true;
                                      }));
  std::sort(due.begin(), due.end(), [](const CommitmentRow& a, const CommitmentRow& b) {
    return a.create_time_us() < b.create_time_us();
  });
  if (static_cast<int>(due.size()) > limit) due.resize(static_cast<size_t>(limit));
  for (CommitmentRow& row : due) {
    row.set_due_time_us(absl::ToUnixMicros(with_.clock.Now() + kLease));
    NX_RETURN_IF_ERROR(Write(row));
  }
  return due;
}

absl::Status Commitments::ReleaseClaims() {
  absl::MutexLock lock(&mutex_);
  const absl::Time now = with_.clock.Now();
  const std::string prefix(kPrefix);
  staging::IndexBatch batch;
  NX_RETURN_IF_ERROR(with_.index.Scan(Table::kMeta, prefix, prearchive::keys::EndOf(prefix),
                                      [&](absl::string_view key, absl::string_view value) {
                                        CommitmentRow row;
                                        row.ParseFromArray(value.data(), static_cast<int>(value.size()));
                                        // What rests after a failure may be due a little early.
                                        if (absl::FromUnixMicros(row.due_time_us()) - now > kLease)
                                          return true;
                                        row.set_due_time_us(absl::ToUnixMicros(now));
                                        batch.Put(Table::kMeta, key, row.SerializeAsString());
                                        return true;
                                      }));
  if (batch.empty()) return absl::OkStatus();
  return with_.index.Write(batch, staging::Durability::kPowerLoss);
}

absl::Status Commitments::Delivered(absl::string_view id) {
  absl::MutexLock lock(&mutex_);
  staging::IndexBatch batch;
  batch.Delete(Table::kMeta, absl::StrCat(kPrefix, id));
  return with_.index.Write(batch, staging::Durability::kPowerLoss);
}

absl::Status Commitments::NotDelivered(absl::string_view id, bool failed, absl::string_view why) {
  CommitmentRow row;
  {
    absl::MutexLock lock(&mutex_);
    NX_ASSIGN_OR_RETURN(const auto bytes, with_.index.Get(Table::kMeta, absl::StrCat(kPrefix, id)));
    if (!bytes || !row.ParseFromString(*bytes)) {
      return NotFound("NOT_FOUND", absl::StrCat("there is no commitment report ", id));
    }
    const absl::Time now = with_.clock.Now();
    if (failed) row.set_failures(row.failures() + 1);
    row.set_due_time_us(absl::ToUnixMicros(failed ? now + Rest(row.failures()) : now));
    if (row.failures() < limits::kCommitmentTriesMax) return Write(row);
  }
  Log(LogLevel::kError, "storage commitment report given up",
      {{"called", row.called_ae_title()},
       {"calling", row.calling_ae_title()},
       {"transaction", row.transaction_uid()},
       {"failures", row.failures()},
       {"error", std::string(why)}});
  Metrics::Global().Count("commitment_reports_given_up_total",
                          "Storage commitment reports that could not be delivered.", 1, {});
  return Delivered(id);
}

}  // namespace narthex::ingest
