// Resources as people read them.
#pragma once

#include <ostream>
#include <vector>

#include "clients/cli/console.h"
#include "narthex/v1/archive_service.pb.h"
#include "narthex/v1/resources.pb.h"

namespace narthex::cli {

Table PrearchiveTable(const std::vector<v1::PrearchiveSession>& sessions);
Table SessionTable(const std::vector<v1::Session>& sessions);
Table ScanTable(const google::protobuf::RepeatedPtrField<v1::Scan>& scans);
Table FileTable(const google::protobuf::RepeatedPtrField<v1::File>& files);
Table ConflictTable(const google::protobuf::RepeatedPtrField<v1::Conflict>& conflicts);
Table SubjectTable(const google::protobuf::RepeatedPtrField<v1::Subject>& subjects);
Table HistoryTable(const google::protobuf::RepeatedPtrField<v1::HistoryEntry>& entries);
Table ProjectTable(const google::protobuf::RepeatedPtrField<v1::Project>& projects);

void PrintPrearchiveSession(std::ostream& out, const v1::PrearchiveSession& session);
// What scripts exported for a session.
void PrintExported(std::ostream& out, const google::protobuf::RepeatedPtrField<v1::ExportedField>& exported);
void PrintSession(std::ostream& out, const v1::Session& session);
void PrintProject(std::ostream& out, const v1::Project& project);
void PrintSubject(std::ostream& out, const v1::Subject& subject);

// "STORED 12, REJECTED 1".
std::string OutcomeCounts(const google::protobuf::Map<std::string, int32_t>& counts);

}  // namespace narthex::cli
