#include "clients/cli/resource_tables.h"

#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "clients/cli/calls.h"

namespace narthex::cli {
namespace {

std::string FieldList(const google::protobuf::Map<std::string, std::string>& fields) {
  const std::map<std::string, std::string> sorted(fields.begin(), fields.end());
  return Printable(absl::StrJoin(sorted, ", ", absl::PairFormatter("=")));
}

std::string Changes(const v1::HistoryEntry& entry) {
  std::vector<std::string> changes;
  for (const auto& [field, before] : entry.before()) {
    auto after = entry.after().find(field);
    changes.push_back(
        absl::StrCat(field, ": ", before, " -> ", after == entry.after().end() ? "" : after->second));
  }
  return absl::StrJoin(changes, ", ");
}

}  // namespace

Table HistoryTable(const google::protobuf::RepeatedPtrField<v1::HistoryEntry>& entries) {
  Table table({"TIME", "USER", "ACTION", "CHANGES", "COMMENT"});
  for (const v1::HistoryEntry& entry : entries) {
    table.Add({HumanTime(entry.time()), entry.user(), entry.action(), Changes(entry), entry.comment()});
  }
  return table;
}

Table SubjectTable(const google::protobuf::RepeatedPtrField<v1::Subject>& subjects) {
  Table table({"ID", "LABEL", ">SESSIONS", "FIELDS", "CREATED"});
  for (const v1::Subject& s : subjects) {
    table.Add({s.accession_id(), s.label(), absl::StrCat(s.session_count()), FieldList(s.fields()),
               HumanTime(s.create_time())});
  }
  return table;
}

Table PrearchiveTable(const std::vector<v1::PrearchiveSession>& sessions) {
  Table table({"ID", "STATE", "PROJECT", "SUBJECT", "LABEL", "MODALITY", "DATE", ">SCANS", ">OBJECTS",
               ">SIZE", "LAST RECEIVED"});
  for (const v1::PrearchiveSession& s : sessions) {
    table.Add({ShortName(s.name()), Lower(v1::PrearchiveSession::State_Name(s.state())),
               s.project().empty() ? "(unassigned)" : s.project(), s.subject(), s.label(), s.modality(),
               s.session_date(), absl::StrCat(s.scan_count()), absl::StrCat(s.object_count()),
               HumanSize(s.size_bytes()), HumanTime(s.last_received_time())});
  }
  return table;
}

Table SessionTable(const std::vector<v1::Session>& sessions) {
  Table table(
      {"ID", "PROJECT", "SUBJECT", "LABEL", "MODALITY", "DATE", ">SCANS", ">FILES", ">SIZE", "STATUS"});
  for (const v1::Session& s : sessions) {
    table.Add({s.accession_id(), s.project(), s.subject(), s.label(), s.modality(), s.session_date(),
               absl::StrCat(s.scan_count()), absl::StrCat(s.file_count()), HumanSize(s.size_bytes()),
               Lower(v1::Session::Status_Name(s.status()))});
  }
  return table;
}

Table ScanTable(const google::protobuf::RepeatedPtrField<v1::Scan>& scans) {
  Table table({"SCAN", "TYPE", "MODALITY", "DESCRIPTION", ">FRAMES", ">FILES", ">SIZE", "QUALITY", "NOTE"});
  for (const v1::Scan& s : scans) {
    table.Add({s.id(), s.type(), s.modality(), s.series_description(), absl::StrCat(s.frames()),
               absl::StrCat(s.file_count()), HumanSize(s.size_bytes()),
               s.excluded() ? "left out" : s.quality(), s.note()});
  }
  return table;
}

Table FileTable(const google::protobuf::RepeatedPtrField<v1::File>& files) {
  Table table({"PATH", ">SIZE", "FORMAT", "SHA-256"});
  for (const v1::File& f : files) table.Add({f.path(), HumanSize(f.size_bytes()), f.format(), f.sha256()});
  return table;
}

Table ConflictTable(const google::protobuf::RepeatedPtrField<v1::Conflict>& conflicts) {
  Table table({">CODE", "TYPE", "MESSAGE", "REMEDY"});
  for (const v1::Conflict& c : conflicts) {
    table.Add({absl::StrCat(c.code()), Lower(v1::Conflict::Type_Name(c.type())), c.message(), c.remedy()});
  }
  return table;
}

Table ProjectTable(const google::protobuf::RepeatedPtrField<v1::Project>& projects) {
  Table table({"ID", "TITLE", "ACCESSIBILITY", "AUTO-ARCHIVE", "QUARANTINE", "ALIASES"});
  for (const v1::Project& p : projects) {
    table.Add({p.id(), p.title(), Lower(v1::Project::Accessibility_Name(p.accessibility())),
               Lower(v1::AutoArchive::Mode_Name(p.auto_archive())), p.quarantine() ? "on" : "off",
               absl::StrJoin(p.aliases(), " ")});
  }
  return table;
}

void PrintExported(std::ostream& out, const google::protobuf::RepeatedPtrField<v1::ExportedField>& exported) {
  Table table({"FIELD", "VALUE", ">DIFFERING OBJECTS"});
  for (const v1::ExportedField& e : exported) {
    table.Add({e.field(), e.value(), e.differing_count() == 0 ? "" : absl::StrCat(e.differing_count())});
  }
  table.Print(out);
}

void PrintPrearchiveSession(std::ostream& out, const v1::PrearchiveSession& s) {
  PrintFields(
      out,
      {{"id", ShortName(s.name())},
       {"state", Lower(v1::PrearchiveSession::State_Name(s.state()))},
       {"error", s.error()},
       {"project", s.project().empty() ? "(unassigned)" : s.project()},
       {"subject", s.subject()},
       {"label", s.label()},
       {"study", s.study_instance_uid()},
       {"modality", s.modality()},
       {"type", s.session_type()},
       {"date", s.session_date()},
       {"objects", absl::StrCat(s.object_count())},
       {"size", HumanSize(s.size_bytes())},
       {"outcomes", OutcomeCounts(s.outcome_counts())},
       {"source", s.source()},
       {"auto-archive", Lower(v1::AutoArchive::Mode_Name(s.auto_archive()))},
       {"created", HumanTime(s.create_time())},
       {"last received", HumanTime(s.last_received_time())},
       {"ended by",
        s.completion().empty() ? "" : absl::StrCat(s.completion(), " at ", HumanTime(s.completion_time()))},
       {"will be ended by",
        s.awaited_signal().empty()
            ? ""
            : absl::StrCat(s.awaited_signal(), " at ", HumanTime(s.build_after_time()), ", or by a commit")},
       {"contested", s.contested_count() == 0 ? "" : absl::StrCat(s.contested_count(), " objects")},
       {"replaced", s.replaced_count() == 0 ? "" : absl::StrCat(s.replaced_count(), " objects")},
       {"operation", s.operation()}});
  if (s.scans_size() > 0) {
    out << "\n";
    ScanTable(s.scans()).Print(out);
  }
  if (s.exported_size() > 0) {
    out << "\nexported by the site's script:\n";
    PrintExported(out, s.exported());
  }
  if (s.leftovers_size() > 0) {
    out << "\nidentifiers that anonymization left, in " << s.leftover_object_count() << " objects:\n";
    Table left({"OF", "IN", "TAG", ">PLACES"});
    for (const v1::Leftover& l : s.leftovers())
      left.Add({l.source(), l.keyword(), l.path(), absl::StrCat(l.count())});
    left.Print(out);
  }
  if (s.conflicts_size() > 0) {
    out << "\n";
    ConflictTable(s.conflicts()).Print(out);
  }
}

void PrintSession(std::ostream& out, const v1::Session& s) {
  const std::string shares = absl::StrJoin(s.shares(), " ", [](std::string* text, const v1::Share& share) {
    absl::StrAppend(text, share.project(), "/", share.label());
  });
  PrintFields(
      out, {{"id", s.accession_id()},
            {"uid", s.uid()},
            {"project", s.project()},
            {"subject", s.subject()},
            {"label", s.label()},
            {"status", absl::StrCat(Lower(v1::Session::Status_Name(s.status())), s.purged() ? ", purged" : "",
                                    s.shared() ? ", shared with you" : "")},
            {"modality", s.modality()},
            {"type", s.session_type()},
            {"study", s.study_instance_uid()},
            {"date", s.session_date()},
            {"scanner", s.scanner()},
            {"scans", absl::StrCat(s.scan_count())},
            {"files", absl::StrCat(s.file_count())},
            {"size", HumanSize(s.size_bytes())},
            {"note", Printable(s.note())},
            {"fields", FieldList(s.fields())},
            {"shared as", shares},
            {"archived", HumanTime(s.create_time())},
            {"changed", HumanTime(s.update_time())}});
}

void PrintProject(std::ostream& out, const v1::Project& p) {
  PrintFields(out, {{"id", p.id()},
                    {"title", p.title()},
                    {"description", p.description()},
                    {"aliases", absl::StrJoin(p.aliases(), " ")},
                    {"accessibility", Lower(v1::Project::Accessibility_Name(p.accessibility()))},
                    {"auto-archive", Lower(v1::AutoArchive::Mode_Name(p.auto_archive()))},
                    {"quarantine", p.quarantine() ? "on" : "off"},
                    {"fields", FieldList(p.fields())},
                    {"created", HumanTime(p.create_time())},
                    {"changed", HumanTime(p.update_time())}});
}

void PrintSubject(std::ostream& out, const v1::Subject& s) {
  PrintFields(out, {{"id", s.accession_id()},
                    {"project", s.project()},
                    {"label", s.label()},
                    {"sessions", absl::StrCat(s.session_count())},
                    {"fields", FieldList(s.fields())},
                    {"created", HumanTime(s.create_time())},
                    {"changed", HumanTime(s.update_time())}});
}

std::string OutcomeCounts(const google::protobuf::Map<std::string, int32_t>& counts) {
  const std::map<std::string, int32_t> sorted(counts.begin(), counts.end());
  return absl::StrJoin(sorted, ", ", absl::PairFormatter(" "));
}

}  // namespace narthex::cli
