// What the tests of sessions share: a database with projects P1 and P2, and sessions to put in.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

#include "base/digest.h"
#include "storage/metadata/session_store.h"
#include "storage/metadata/testing/test_database.h"

namespace narthex::metadata {

inline File MakeFile(const std::string& scan, int number) {
  File file;
  file.path = absl::StrCat("SCANS/", scan, "/DICOM/1.2.3-", scan, "-", number, "-abc.dcm");
  file.scan_id = scan;
  file.resource = "DICOM";
  file.instance_uid = absl::StrCat("1.2.3.", scan, ".", number);
  file.sop_class_uid = "1.2.840.10008.5.1.4.1.1.4";
  file.instance_number = number;
  file.size_bytes = 1000 + number;
  file.md5 = Md5(file.path);
  file.sha256 = Sha256(file.path);
  file.xxh3_received = file.xxh3_stored = Xxh3(file.path);
  file.format = "DICOM";
  return file;
}

inline NewSession MakeSession(const std::string& label, int files_per_scan = 3,
                              const std::string& subject = "S1") {
  NewSession made;
  Session& session = made.session;
  session.project = "P1";
  session.subject = subject;
  session.label = label;
  session.study_instance_uid = "1.2.3";
  session.modality = "MR";
  session.session_type = "xnat:mrSessionData";
  session.session_date = "2024-01-31";
  session.session_time = "14:30:01.5";
  session.scanner = "MEDPC";
  session.description = "Head^Brain";
  session.fields = {{"dose", "12.5"}, {"note", "a \"b\"\n"}};
  session.folder = absl::StrCat("P1/arc001/", label);
  for (const char* id : {"2", "10"}) {
    Scan scan;
    scan.id = id;
    scan.type = "T1";
    scan.series_description = absl::StrCat("t1_mpr ", id);
    scan.modality = "MR";
    scan.frames = files_per_scan;
    scan.parameters = {{"tr", id[0] == '2' ? "2400" : "30.5"}, {"sequence", "*tfl3d1_ns"}};
    made.scans.push_back(scan);
    made.resources.push_back(
        {id, "DICOM", "DICOM", "RAW", absl::StrCat("SCANS/", id, "/DICOM/scan_", id, "_catalog.xml")});
    for (int i = 1; i <= files_per_scan; ++i) made.files.push_back(MakeFile(id, i));
  }
  made.document = Phi<std::string>(
      "<xnat:MRSession xmlns:xnat=\"http://nrg.wustl.edu/xnat\"><a>\xc3\xa4</a></xnat:MRSession>");
  return made;
}

class SessionStoreTest : public testing::Test {
 protected:
  SessionStoreTest() {
    for (const char* id : {"P1", "P2"}) {
      Project project;
      project.id = id;
      EXPECT_TRUE(database_->projects().Create(project, {.user = "admin"}).ok());
    }
  }

  SessionStore& store() { return database_->sessions(); }
  SessionReader& reader() { return database_->session_reader(); }

  std::string Commit(const NewSession& session) {
    auto committed =
        store().Commit(session, {.user = "ann", .request_id = absl::StrCat("commit-", ++requests_)});
    EXPECT_TRUE(committed.ok()) << committed.status();
    return committed.ok() ? committed->accession_id : "";
  }

  std::vector<std::string> Search(const std::string& filter, const Visibility& visible = Visibility::All()) {
    SearchRequest request;
    auto parsed = SessionFilter::Parse(filter);
    EXPECT_TRUE(parsed.ok()) << parsed.status();
    if (!parsed.ok()) return {};
    request.filter = *parsed;
    request.order_by = "label";
    request.count_total = true;
    auto result = reader().Search(request, visible);
    EXPECT_TRUE(result.ok()) << filter << ": " << result.status();
    std::vector<std::string> labels;
    if (!result.ok()) return labels;
    for (const Session& session : result->sessions) labels.push_back(session.label);
    EXPECT_EQ(*result->total_count, static_cast<int64_t>(labels.size())) << filter;
    return labels;
  }

  TestDatabase database_;
  int requests_ = 0;
};

using Labels = std::vector<std::string>;

}  // namespace narthex::metadata
