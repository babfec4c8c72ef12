// Receivers and series filters between the API and the database. Pure functions.
#pragma once

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "imaging/identify/series_filter.h"
#include "narthex/v1/receiver_service.pb.h"
#include "narthex/v1/routing_service.pb.h"
#include "storage/metadata/records.h"

namespace narthex::rpc {

// ScriptStore's kind of series import filters.
inline constexpr char kFilterKind[] = "series-filter";

// The receiver as it is kept: identity and project in columns, the rest as JSON.
metadata::Receiver ToRecord(const v1::Receiver& receiver);
// Settings that cannot be read (of a newer server) are left out with a warning.
v1::Receiver FromRecord(const metadata::Receiver& record);
// Fills in what is unset: enabled and anonymize.
void FillDefaults(v1::Receiver* receiver);

// INVALID_ARGUMENT (INVALID_FIELD): labels, numbers or lengths that cannot be. AE title, callers and rules
// are checked by who uses them.
absl::Status CheckReceiverFields(const v1::Receiver& receiver);

metadata::Script ToRecord(const v1::SeriesFilter& filter);
v1::SeriesFilter FromRecord(const metadata::Script& record);
identify::FilterMode ModeOf(const v1::SeriesFilter& filter);

}  // namespace narthex::rpc
