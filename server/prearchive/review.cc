// What a person changes of a session that waits.

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

#include "base/error.h"
#include "base/status.h"
#include "server/prearchive/keys.h"
#include "server/prearchive/prearchive.h"

namespace narthex::prearchive {
namespace {

using staging::Durability;
using staging::IndexBatch;
using staging::Table;

// Notes the change of one scan, and shows it in the scan's row.
absl::Status EditScan(const ScanUpdate& update, SessionRow& row) {
  ScanRow* scan = nullptr;
  for (ScanRow& candidate : *row.mutable_scans()) {
    if (candidate.id() == update.scan) scan = &candidate;
  }
  if (scan == nullptr) {
    return NotFound("SCAN_NOT_FOUND",
                    row.built()
                        ? absl::StrCat("session ", row.id(), " has no such scan; `narthex prearchive show ",
                                       row.id(), "` lists them")
                        : absl::StrCat("session ", row.id(), " was not built yet, so it has no scans"),
                    {{"session", row.id()}, {"scan", update.scan}});
  }
  ScanEditRow& edit = (*row.mutable_edits()->mutable_scans())[ScanEditKey(*scan)];
  // An empty text takes the change back; what the headers say is shown with the next build.
  if (update.type) {
    edit.clear_type();
    if (!update.type->empty()) edit.set_type(*update.type);
    if (edit.has_type()) scan->set_type(edit.type());
  }
  if (update.quality) {
    edit.clear_quality();
    if (!update.quality->empty()) edit.set_quality(*update.quality);
    if (edit.has_quality()) scan->set_quality(edit.quality());
  }
  if (update.note) {
    edit.set_note(*update.note);
    scan->set_note(*update.note);
  }
  if (update.exclude) {
    edit.set_excluded(*update.exclude);
    scan->set_excluded(*update.exclude);
  }
  return absl::OkStatus();
}

void EditKey(const SessionUpdate& update, SessionKeyRow& key) {
  if (update.project) key.set_project(*update.project);
  if (update.subject) key.set_subject(*update.subject);
  if (update.label) key.set_label(*update.label);
  if (update.auto_archive) key.set_auto_archive(*update.auto_archive);
}

}  // namespace

std::string ScanEditKey(const ScanRow& scan) {
  return scan.series_instance_uid().empty() ? absl::StrCat("#", scan.id()) : scan.series_instance_uid();
}

absl::StatusOr<SessionRow> Prearchive::Update(absl::string_view id, const SessionUpdate& update) {
  NX_ASSIGN_OR_RETURN(const auto session, Load(id));
  absl::MutexLock lock(&session->mutex);
  if (session->gone || !session->persisted) return NoSession(id);
  if (!update.etag.empty() && update.etag != absl::StrCat(session->row.version())) {
    return Error(absl::StatusCode::kAborted, "ETAG_MISMATCH",
                 absl::StrCat("session ", id, " has changed since it was read; read it again"),
                 {{"session", std::string(id)}});
  }
  const std::optional<State> next = Next(session->state(), Event::kUpdate);
  if (!next) return Illegal(session->row, Event::kUpdate);
  SessionRow row = session->row;
  row.set_state(static_cast<int>(*next));
  EditKey(update, *row.mutable_key());
  if (update.leftovers_accepted) row.set_leftovers_accepted(*update.leftovers_accepted);
  if (update.session_date) {
    row.mutable_edits()->clear_session_date();
    if (!update.session_date->empty()) {
      row.mutable_edits()->set_session_date(*update.session_date);
      row.set_session_date(*update.session_date);
    }
  }
  for (const ScanUpdate& scan : update.scans) NX_RETURN_IF_ERROR(EditScan(scan, row));
  row.clear_conflicts();
  IndexBatch batch;
  NX_RETURN_IF_ERROR(Rekey(*session, row, batch));
  if (row.split_part() != 0 && keys::OfSession(row.key()) != keys::OfSession(session->row.key()))
    split_routes_->Rename(session->row.key(), row, batch);
  if (update.contested != ContestedChoice::kUndecided) {
    NX_RETURN_IF_ERROR(DecideContested(update.contested == ContestedChoice::kLast, row, batch));
  }
  NX_RETURN_IF_ERROR(WriteRow(*session, row, std::move(batch), Durability::kPowerLoss, true));
  return session->row;
}

// Lets the keys of the index follow when project or label change from what they are in `session`.
absl::Status Prearchive::Rekey(LiveSession& session, const SessionRow& row, IndexBatch& batch) {
  const std::string old_key = keys::OfSession(session.row.key());
  const std::string new_key = keys::OfSession(row.key());
  if (new_key != old_key) {
    NX_ASSIGN_OR_RETURN(const auto holder, index_.Get(Table::kSessionKeys, old_key));
    if (holder && *holder == session.id) batch.Delete(Table::kSessionKeys, old_key);
    NX_ASSIGN_OR_RETURN(const auto taken, index_.Get(Table::kSessionKeys, new_key));
    if (!taken) batch.Put(Table::kSessionKeys, new_key, session.id);
  }
  const std::string& old_project = session.row.key().project();
  if (row.key().project() == old_project) return absl::OkStatus();
  const std::string prefix = keys::Text(session.id);
  return index_.Scan(
      Table::kObjects, prefix, keys::EndOf(prefix), [&](absl::string_view, absl::string_view value) {
        ObjectRow object;
        object.ParseFromArray(value.data(), static_cast<int>(value.size()));
        if (object.superseded_by() != 0) return true;
        batch.Delete(Table::kDigests, keys::Digest(old_project, object.received_xxh3(), session.id));
        batch.Put(Table::kDigests, keys::Digest(row.key().project(), object.received_xxh3(), session.id),
                  keys::Number(object.number()));
        return true;
      });
}

}  // namespace narthex::prearchive
