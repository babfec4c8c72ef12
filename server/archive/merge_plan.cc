#include "server/archive/merge_plan.h"

#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"

#include "base/status.h"
#include "imaging/session/builder.h"

namespace narthex::archiving {
namespace {

constexpr int kFilesPage = 50'000;

// The id in the archive of each incoming scan.
std::vector<std::string> PlaceScans(const ArchivedSession& there, const session::SessionModel& incoming) {
  absl::flat_hash_map<std::string, std::string> by_series;
  std::set<std::string> taken;
  for (const metadata::Scan& scan : there.scans) {
    taken.insert(scan.id);
    // Without a series UID, a number is all that a series has.
    by_series.emplace(scan.series_instance_uid.empty() ? "#" + scan.id : scan.series_instance_uid, scan.id);
  }
  std::vector<std::string> ids;
  for (const session::ScanModel& scan : incoming.scans) {
    const auto same =
        by_series.find(scan.series_instance_uid.empty() ? "#" + scan.id : scan.series_instance_uid);
    ids.push_back(same != by_series.end() ? same->second : session::FreeScanId(scan, taken));
    taken.insert(ids.back());
  }
  return ids;
}

// The bytes that came are the bytes that are there; no script was at work on them.
bool IsSame(const metadata::File& file, const prearchive::BuiltObject& object) {
  return !file.xxh3_received.empty() && file.xxh3_received == object.received_xxh3 &&
         file.xxh3_stored == file.xxh3_received;
}

}  // namespace

absl::StatusOr<ArchivedSession> ReadArchived(metadata::SessionReader& reader,
                                             absl::string_view accession_id) {
  ArchivedSession there;
  NX_ASSIGN_OR_RETURN(there.session, reader.Get(accession_id, metadata::Visibility::All()));
  NX_ASSIGN_OR_RETURN(there.scans, reader.ListScans(accession_id));
  NX_ASSIGN_OR_RETURN(there.resources, reader.ListResources(accession_id));
  metadata::SessionReader::FileQuery query;
  query.page.size = kFilesPage;
  do {
    NX_ASSIGN_OR_RETURN(auto list, reader.ListFiles(accession_id, query));
    for (metadata::File& file : list.files) there.files.push_back(std::move(file));
    query.page.token = std::move(list.next_page_token);
  } while (!query.page.token.empty());
  return there;
}

MergePlan PlanMerge(const ArchivedSession& there, const prearchive::BuiltSession& incoming, bool overwrite) {
  MergePlan plan;
  plan.scan_ids = PlaceScans(there, incoming.model);
  std::map<std::string, int64_t> left;  // files of each archived scan
  absl::flat_hash_map<std::string, std::vector<const metadata::File*>> by_instance;
  // A script need not give the same UID twice (newUID[]): what the sender called it tells its twin then.
  absl::flat_hash_map<std::string, std::string> by_identity;
  for (const metadata::File& file : there.files) {
    ++left[file.scan_id];
    if (file.instance_uid.empty()) continue;
    by_instance[file.instance_uid].push_back(&file);
    if (!file.received_identity.empty()) by_identity.emplace(file.received_identity, file.instance_uid);
  }
  absl::flat_hash_set<std::string> archived_scans;
  for (const metadata::Scan& scan : there.scans) archived_scans.insert(scan.id);

  for (size_t scan = 0; scan < incoming.model.scans.size(); ++scan) {
    for (const session::ScanObject& in_scan : incoming.model.scans[scan].objects) {
      const prearchive::BuiltObject& object = incoming.objects[in_scan.index];
      auto known = by_instance.find(object.sop_instance_uid);
      const auto twin = by_identity.find(object.received_identity);
      if (known == by_instance.end() && twin != by_identity.end()) known = by_instance.find(twin->second);
      if (known != by_instance.end() && (!overwrite || IsSame(*known->second.front(), object))) {
        ++plan.counts.kept;
        continue;
      }
      plan.filed.push_back({in_scan.index, scan, in_scan.primary});
      if (archived_scans.contains(plan.scan_ids[scan])) plan.joined_scans.insert(plan.scan_ids[scan]);
      ++left[plan.scan_ids[scan]];
      if (known == by_instance.end()) {
        ++plan.counts.added;
        continue;
      }
      ++plan.counts.replaced;
      for (const metadata::File* file : known->second) {
        plan.superseded.push_back(file);
        plan.joined_scans.insert(file->scan_id);
        --left[file->scan_id];
      }
      by_instance.erase(known);
    }
  }
  for (const auto& [scan, files] : left) {
    if (files == 0 && plan.joined_scans.erase(scan) > 0) plan.emptied_scans.insert(scan);
  }
  return plan;
}

}  // namespace narthex::archiving
