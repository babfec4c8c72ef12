// Between rows and API messages. Pure functions.
#pragma once

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include <google/protobuf/timestamp.pb.h>

#include "narthex/v1/archive_service.pb.h"
#include "narthex/v1/prearchive_service.pb.h"
#include "narthex/v1/project_service.pb.h"
#include "narthex/v1/resources.pb.h"
#include "narthex/v1/upload_service.pb.h"
#include "server/ingest/uploads.h"
#include "server/prearchive/prearchive.h"
#include "storage/metadata/records.h"

namespace narthex::rpc {

void SetTime(absl::Time time, google::protobuf::Timestamp* to);

v1::ObjectOutcome ToProto(const prearchive::OutcomeRow& row);
v1::Conflict ToProto(const prearchive::ConflictRow& row);
v1::Scan ToProto(const prearchive::ScanRow& row);
v1::ExportedField ToProto(const prearchive::ExportedRow& row);
// `with_scans`: also the scans. `build_after`: see Prearchive::BuildAfter.
v1::PrearchiveSession ToProto(const prearchive::SessionRow& row, std::optional<absl::Time> build_after,
                              bool with_scans);
v1::Upload ToProto(const prearchive::UploadRow& row, const ingest::UploadProgress& progress);
v1::Session ToProto(const metadata::Session& session);
v1::Scan ToProto(const metadata::Scan& scan);
v1::Resource ToProto(const metadata::Resource& resource);
v1::File ToProto(const metadata::File& file);
v1::Project ToProto(const metadata::Project& project);
// Field by field what was and what is (history.cc).
v1::HistoryEntry ToProto(const metadata::HistoryEntry& entry);

// "prearchiveSessions/abc" with `collection` "prearchiveSessions" gives "abc". INVALID_ARGUMENT
// (INVALID_FIELD).
absl::StatusOr<std::string> IdOf(absl::string_view name, absl::string_view collection,
                                 absl::string_view field);

// sessions/<accession id> or projects/<project>/sessions/<label>, as SessionReader::Get takes them.
absl::StatusOr<std::string> SessionRef(absl::string_view name, absl::string_view field);

// Page size as asked for: 0 becomes the default, more than the maximum becomes that. INVALID_ARGUMENT:
// negative.
absl::StatusOr<int> PageSize(int32_t asked);

absl::Status InvalidField(absl::string_view field, absl::string_view what);

}  // namespace narthex::rpc
