// What merging a prearchive session into an archived one will do, object by object: a pure function of what
// is there and what comes. docs/states.md and docs/formats/archive.md tell the rules. Inside server/archive.
#pragma once

#include <cstddef>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "server/prearchive/build.h"
#include "storage/metadata/records.h"
#include "storage/metadata/session_store.h"

namespace narthex::archiving {

// A session of the archive, as the database has it.
struct ArchivedSession {
  metadata::Session session;
  std::vector<metadata::Scan> scans;
  std::vector<metadata::Resource> resources;
  std::vector<metadata::File> files;
};

// Errors of the reader.
absl::StatusOr<ArchivedSession> ReadArchived(metadata::SessionReader& reader, absl::string_view accession_id);

struct MergePlan {
  struct Filed {
    size_t object = 0;  // index into the incoming session's objects
    size_t scan = 0;    // index into the incoming model's scans
    bool primary = true;
  };
  std::vector<std::string> scan_ids;   // in the archive, of the incoming model's scans
  std::set<std::string> joined_scans;  // ids of archived scans that objects are added to or taken from
  std::vector<Filed> filed;            // objects that become files
  std::vector<const metadata::File*> superseded;  // files that they replace, of ArchivedSession::files
  std::set<std::string> emptied_scans;            // archived scans that are left without a file
  metadata::MergeCounts counts;
};

// A scan that has the same series UID takes in the objects of its series, whatever its number is; any other
// gets an id that is free (XNAT: `4` is taken, so `4-MR1`). An object whose SOP Instance UID, as it is filed
// or as it was sent, the archive has is left out, or (overwrite) takes the place of what is there, in the
// scan of its series; the very bytes that are there already are left out in both cases. `plan.superseded`
// points into `there`.
MergePlan PlanMerge(const ArchivedSession& there, const prearchive::BuiltSession& incoming, bool overwrite);

}  // namespace narthex::archiving
