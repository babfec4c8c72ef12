#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "google/protobuf/struct.pb.h"
#include "google/protobuf/util/json_util.h"
#include "gtest/gtest.h"

#include "base/error.h"
#include "clients/cli/calls.h"
#include "clients/cli/console.h"
#include "clients/cli/program.h"
#include "clients/cpp/fake_server.h"

namespace narthex::cli {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

struct RunResult {
  int code = 0;
  std::string out;
  std::string err;
};

RunResult Narthex(std::vector<std::string> arguments) {
  std::vector<const char*> argv = {"narthex"};
  for (const std::string& argument : arguments) argv.push_back(argument.c_str());
  std::ostringstream out;
  std::ostringstream err;
  const int code = RunNarthex(static_cast<int>(argv.size()), argv.data(), {out, err});
  return {code, out.str(), err.str()};
}

// `json` as a value; fails the test if it is not one JSON document.
google::protobuf::Value ParseJson(const std::string& json) {
  google::protobuf::Value value;
  EXPECT_TRUE(google::protobuf::util::JsonStringToMessage(json, &value).ok()) << json;
  return value;
}

google::protobuf::Value At(const google::protobuf::Value& value, const std::string& path) {
  google::protobuf::Value current = value;
  for (absl::string_view step : absl::StrSplit(path, '.')) {
    int index = 0;
    google::protobuf::Value next;
    if (absl::SimpleAtoi(step, &index)) {
      if (index < current.list_value().values_size()) next = current.list_value().values(index);
    } else {
      auto it = current.struct_value().fields().find(std::string(step));
      if (it != current.struct_value().fields().end()) next = it->second;
    }
    current = next;
  }
  return current;
}

class CliTest : public ::testing::Test {
 protected:
  CliTest() {
    ::unsetenv("NARTHEX_TOKEN");
    ::setenv("NARTHEX_SERVER", server_.address().c_str(), 1);
    ::setenv("TZ", "UTC", 1);
    std::string pattern = (fs::temp_directory_path() / "narthex-cli-XXXXXX").string();
    folder_ = ::mkdtemp(pattern.data());
  }
  ~CliTest() override { fs::remove_all(folder_); }

  std::string Write(const std::string& name, const std::string& bytes) {
    const fs::path path = fs::path(folder_) / name;
    fs::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary) << bytes;
    return path.string();
  }

  client::FakeServer server_;
  std::string folder_;
};

// Every command of the published list whose service exists, with its flags.
TEST_F(CliTest, KnowsThePublishedCommandsAndFlags) {
  const std::vector<std::pair<std::string, std::vector<std::string>>> published = {
      {"upload",
       {"--project", "--subject", "--session", "--commit", "--no-commit", "--archive", "--local-anonymize",
        "--jobs", "--resume"}},
      {"import", {"--project", "--subject", "--session", "--commit", "--no-commit", "--archive"}},
      {"inbox import", {"--project", "--delete-after"}},
      {"prearchive list", {"--project", "--unassigned", "--state"}},
      {"prearchive show", {}},
      {"prearchive watch", {}},
      {"prearchive build", {}},
      {"prearchive check", {}},
      {"prearchive delete", {}},
      {"prearchive update", {"--project", "--subject", "--label"}},
      {"prearchive archive", {"--conflict", "--quarantine"}},
      {"prearchive split", {}},
      {"prearchive header", {"--instance", "--preview"}},
      {"prearchive outcomes", {}},
      {"session search", {"--order-by", "--page-size"}},
      {"session show", {"--xml"}},
      {"session scans", {}},
      {"session files", {}},
      {"session history", {}},
      {"session download", {"-o", "--scan", "--resource", "--verify"}},
      {"session delete", {}},
      {"session restore", {"--label"}},
      {"session purge", {"--confirm"}},
      {"session lock", {}},
      {"session unlock", {}},
      {"session share", {"--label"}},
      {"session unshare", {}},
      {"session check", {"--repair", "--adopt", "--sizes-only"}},
      {"session scan update", {"--type", "--quality", "--note"}},
      {"session field set", {}},
      {"session field remove", {}},
      {"session resource list", {}},
      {"session resource add", {"--scan", "--format"}},
      {"session resource remove", {"--scan"}},
      {"project field set", {"--type", "--required", "--value"}},
      {"session quarantine", {}},
      {"session activate", {}},
      {"session update", {"--label", "--subject", "--project", "--note", "--date"}},
      {"project create", {}},
      {"project list", {}},
      {"project show", {}},
      {"project update", {"--auto-archive", "--quarantine", "--accessibility"}},
      {"project member add", {}},
      {"project member remove", {}},
      {"project member list", {}},
      {"operation show", {}},
      {"operation wait", {}},
      {"operation cancel", {}},
      {"operation list", {}},
      {"server info", {}},
      {"server settings get", {}},
      {"server settings set", {}},
  };
  for (const auto& [command, flags] : published) {
    std::vector<std::string> arguments = absl::StrSplit(command, ' ');
    arguments.push_back("--help");
    const RunResult result = Narthex(arguments);
    EXPECT_EQ(result.code, 0) << command;
    EXPECT_THAT(result.out, HasSubstr(absl::StrCat("Usage: narthex ", command))) << command;
    for (const std::string& flag : flags) EXPECT_THAT(result.out, HasSubstr(flag)) << command;
  }
}

TEST_F(CliTest, GlobalFlagsCountBeforeAndAfterTheCommand) {
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{"--output", "json", "server", "info"},
        std::vector<std::string>{"server", "--output", "json", "info"},
        std::vector<std::string>{"server", "info", "--output", "json"}}) {
    const RunResult result = Narthex(arguments);
    EXPECT_EQ(result.code, 0);
    EXPECT_EQ(At(ParseJson(result.out), "siteId").string_value(), "NARTHEX");
    EXPECT_EQ(result.err, "");
  }
}

TEST_F(CliTest, ExitCodeTellsUsageErrors) {
  for (const char* line : {"", "bogus", "session", "session show", "session show A B --nope",
                           "server info extra", "upload", "upload /nowhere --project P",
                           "prearchive archive x --conflict maybe", "project member add P bob boss",
                           "--output yaml server info", "upload . --jobs 0", "import /etc/passwd --project P",
                           "prearchive list --project P --unassigned", "upload . --no-commit --archive"}) {
    const std::vector<std::string> arguments = absl::StrSplit(line, ' ', absl::SkipEmpty());
    const RunResult result = Narthex(arguments);
    EXPECT_EQ(result.code, 2) << line << ": " << result.err;
    EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << line << ": " << result.err;
    EXPECT_THAT(result.err, AllOf(HasSubstr("narthex: "), Not(HasSubstr("terminate"))));
    EXPECT_EQ(result.out, "") << line;
  }
}

TEST_F(CliTest, ExitCodeTellsWhyTheServerDidNot) {
  const RunResult refused = Narthex({"session", "show", "NARTHEX_E00009"});
  EXPECT_EQ(refused.code, 1);
  EXPECT_THAT(refused.err, HasSubstr("SESSION_NOT_FOUND"));

  const RunResult unreachable = Narthex({"session", "search", "--server", "127.0.0.1:1"});
  EXPECT_EQ(unreachable.code, 3);
  EXPECT_THAT(unreachable.err, HasSubstr("cannot reach the server 127.0.0.1:1"));

  const client::FakeServer guarded("secret");
  ::setenv("NARTHEX_SERVER", guarded.address().c_str(), 1);
  EXPECT_EQ(Narthex({"session", "search"}).code, 4);
  EXPECT_EQ(Narthex({"session", "search", "--token-file", Write("token", "secret\n")}).code, 0);
  ::setenv("NARTHEX_TOKEN", "secret", 1);
  EXPECT_EQ(Narthex({"session", "search"}).code, 0);
  EXPECT_EQ(Narthex({"session", "search", "--token-file", folder_ + "/none"}).code, 2);
}

TEST_F(CliTest, ErrorsAreJsonToo) {
  const RunResult result = Narthex({"session", "show", "P/L", "--output", "json"});
  EXPECT_EQ(result.code, 1);
  const auto json = ParseJson(result.out);
  EXPECT_EQ(At(json, "error.reason").string_value(), "SESSION_NOT_FOUND");
  EXPECT_EQ(At(json, "error.code").string_value(), "NOT_FOUND");
  EXPECT_EQ(At(json, "error.metadata.name").string_value(), "projects/P/sessions/L");
}

TEST_F(CliTest, UploadsFilesFoldersAndArchives) {
  Write("in/a.dcm", "one");
  Write("in/deep/b.dcm", "two");
  Write("in/.DS_Store", "x");
  const std::string zip = Write("c.zip", "PK...");

  const RunResult result = Narthex({"upload", folder_ + "/in", zip, "--project", "P", "--output", "json"});

  EXPECT_EQ(result.code, 0) << result.err;
  const auto json = ParseJson(result.out);
  EXPECT_EQ(At(json, "upload.state").string_value(), "COMMITTED");
  EXPECT_EQ(At(json, "uploads").list_value().values_size(), 2);
  EXPECT_EQ(At(json, "outcomes").list_value().values_size(), 2);
  EXPECT_EQ(At(json, "outcomes.0.path").string_value(), folder_ + "/in/a.dcm");
  EXPECT_EQ(At(json, "outcomes.0.outcome").string_value(), "STORED");
  EXPECT_EQ(At(json, "outcomeCounts.STORED").number_value(), 2);
  EXPECT_EQ(At(json, "prearchiveSessions.0.state").string_value(), "READY");
  EXPECT_EQ(server_.imported(), "PK...");
  EXPECT_THAT(result.err, HasSubstr("1 hidden"));
}

TEST_F(CliTest, UploadArchivesAtOnce) {
  const std::string file = Write("a.dcm", "one");
  const RunResult result =
      Narthex({"upload", file, "--project", "P", "--archive", "--output", "json", "--quiet"});
  EXPECT_EQ(result.code, 0) << result.err;
  const auto json = ParseJson(result.out);
  EXPECT_EQ(At(json, "sessions.0.accessionId").string_value(), "NARTHEX_E00001");
  EXPECT_EQ(At(json, "prearchiveSessions").list_value().values_size(), 0);
  EXPECT_EQ(result.err, "");
}

TEST_F(CliTest, UploadListsWhatWasNotKept) {
  Write("in/a.dcm", "one");
  Write("in/notes.txt", "junk \x1b[31m");
  const RunResult table = Narthex({"upload", folder_ + "/in", "--project", "P"});
  EXPECT_EQ(table.code, 1);
  EXPECT_THAT(table.out, AllOf(HasSubstr("rejected"), HasSubstr("NOT_DICOM"), HasSubstr("notes.txt")));

  const RunResult json = Narthex({"upload", folder_ + "/in", "--project", "P", "--output", "json"});
  EXPECT_EQ(json.code, 1);
  EXPECT_EQ(At(ParseJson(json.out), "outcomes.1.reason").string_value(), "NOT_DICOM");
  EXPECT_EQ(At(ParseJson(json.out), "outcomes.0.outcome").string_value(), "DUPLICATE");
}

TEST_F(CliTest, UploadToAProjectThatIsNotThere) {
  const RunResult result = Narthex({"upload", Write("a.dcm", "one"), "--project", "NOWHERE"});
  EXPECT_EQ(result.code, 1);
  EXPECT_THAT(result.err, AllOf(HasSubstr("PROJECT_NOT_FOUND"), HasSubstr("narthex project list")));
}

TEST_F(CliTest, ImportsAnArchiveAndAnInbox) {
  const RunResult bad = Narthex({"import", Write("a.zip", "nonsense"), "--project", "P"});
  EXPECT_EQ(bad.code, 1);
  EXPECT_THAT(bad.err, AllOf(HasSubstr("ARCHIVE_UNREADABLE"), HasSubstr("a.zip")));
  const RunResult mixed =
      Narthex({"import", folder_ + "/a.zip", Write("b.zip", "PK"), "--project", "P", "--output", "json"});
  EXPECT_EQ(mixed.code, 1);
  EXPECT_EQ(At(ParseJson(mixed.out), "failures.0.reason").string_value(), "ARCHIVE_UNREADABLE");
  EXPECT_EQ(At(ParseJson(mixed.out), "uploads").list_value().values_size(), 1);
  const RunResult inbox = Narthex({"inbox", "import", "P/x.zip", "--project", "P", "--output", "json"});
  EXPECT_EQ(inbox.code, 0);
  EXPECT_EQ(At(ParseJson(inbox.out), "upload.outcomeCounts.STORED").number_value(), 2);
}

TEST_F(CliTest, ListsAllPagesOfThePrearchive) {
  for (int i = 0; i < 5; ++i) {
    v1::PrearchiveSession session;
    session.set_name(absl::StrCat("prearchiveSessions/s", i));
    session.set_state(i == 3 ? v1::PrearchiveSession::ERROR : v1::PrearchiveSession::READY);
    server_.AddPrearchiveSession(session);
  }
  const auto all = ParseJson(Narthex({"prearchive", "list", "--output", "json"}).out);
  EXPECT_EQ(At(all, "prearchiveSessions").list_value().values_size(), 5);
  EXPECT_EQ(At(all, "prearchiveSessions.4.name").string_value(), "prearchiveSessions/s4");
  EXPECT_EQ(At(all, "prearchiveSessions.0.sizeBytes").string_value(), "0");
  const auto failed = ParseJson(Narthex({"prearchive", "list", "--state", "error", "--output", "json"}).out);
  EXPECT_EQ(At(failed, "prearchiveSessions").list_value().values_size(), 1);
  EXPECT_THAT(Narthex({"prearchive", "list"}).out, HasSubstr("(unassigned)"));
}

TEST_F(CliTest, ReviewsAndArchives) {
  v1::PrearchiveSession session;
  session.set_name("prearchiveSessions/x");
  session.set_state(v1::PrearchiveSession::CONFLICT);
  server_.AddPrearchiveSession(session);

  EXPECT_EQ(Narthex({"prearchive", "update", "x", "--label", "L2", "--project", "P"}).code, 0);
  const auto shown =
      ParseJson(Narthex({"prearchive", "show", "prearchiveSessions/x", "--output", "json"}).out);
  EXPECT_EQ(At(shown, "label").string_value(), "L2");
  const RunResult refused = Narthex({"prearchive", "archive", "x"});
  EXPECT_EQ(refused.code, 1);
  EXPECT_THAT(refused.err, AllOf(HasSubstr("ARCHIVE_CONFLICT"), HasSubstr("--conflict append")));
  const RunResult done =
      Narthex({"prearchive", "archive", "x", "--conflict", "append", "--quarantine", "--output", "json"});
  EXPECT_EQ(done.code, 0) << done.err;
  EXPECT_EQ(At(ParseJson(done.out), "status").string_value(), "QUARANTINE");
  EXPECT_EQ(Narthex({"prearchive", "delete", "x"}).code, 1);
}

TEST_F(CliTest, WatchPrintsOneObjectALine) {
  for (const char* name : {"prearchiveSessions/a", "prearchiveSessions/b"}) {
    v1::PrearchiveSession session;
    session.set_name(name);
    server_.AddPrearchiveSession(session);
  }
  const RunResult result = Narthex({"prearchive", "watch", "--timeout", "0s"});
  EXPECT_EQ(result.code, 4);  // how the fake server ends it
  const std::vector<std::string> lines = absl::StrSplit(result.out, '\n', absl::SkipEmpty());
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(At(ParseJson(lines[1]), "prearchiveSession.name").string_value(), "prearchiveSessions/b");
}

TEST_F(CliTest, FindsAndDownloadsASession) {
  v1::Session session;
  session.set_name("sessions/NARTHEX_E00001");
  session.set_accession_id("NARTHEX_E00001");
  session.set_project("P");
  session.set_label("L1");
  server_.AddSession(session, {{"SCANS/1/DICOM/a.dcm", "bytes"}});

  EXPECT_EQ(At(ParseJson(Narthex({"session", "search", "--output", "json"}).out), "totalSize").number_value(),
            1);
  EXPECT_THAT(Narthex({"session", "show", "P/L1"}).out, HasSubstr("NARTHEX_E00001"));
  const RunResult got = Narthex(
      {"session", "download", "NARTHEX_E00001", "-o", folder_ + "/out", "--verify", "--output", "json"});
  EXPECT_EQ(got.code, 0) << got.err;
  EXPECT_EQ(At(ParseJson(got.out), "fileCount").number_value(), 1);
  EXPECT_TRUE(fs::exists(folder_ + "/out/SCANS/1/DICOM/a.dcm"));
  server_.SetFaults({.corrupt_download = true});
  const RunResult bad = Narthex({"session", "download", "P/L1", "-o", folder_ + "/out2", "--verify"});
  EXPECT_EQ(bad.code, 1);
  EXPECT_THAT(bad.out, HasSubstr("damaged: SCANS/1/DICOM/a.dcm"));
}

TEST_F(CliTest, ManagesProjectsMembersAndSettings) {
  EXPECT_EQ(Narthex({"project", "create", "P1", "--auto-archive", "auto", "--quarantine", "on"}).code, 0);
  EXPECT_EQ(Narthex({"project", "create", "P1"}).code, 1);
  EXPECT_EQ(Narthex({"project", "update", "P1", "--accessibility", "public", "--quarantine", "off"}).code, 0);
  const auto project = ParseJson(Narthex({"project", "show", "P1", "--output", "json"}).out);
  EXPECT_EQ(At(project, "autoArchive").string_value(), "AUTO");
  EXPECT_EQ(At(project, "accessibility").string_value(), "PUBLIC");
  EXPECT_FALSE(At(project, "quarantine").bool_value());
  EXPECT_EQ(Narthex({"project", "member", "add", "P1", "bob", "owner"}).code, 0);
  EXPECT_THAT(Narthex({"project", "member", "list", "P1"}).out, AllOf(HasSubstr("bob"), HasSubstr("owner")));
  EXPECT_EQ(Narthex({"server", "settings", "set", "a.b", "7"}).code, 0);
  EXPECT_EQ(At(ParseJson(Narthex({"server", "settings", "get", "a.b", "--output", "json"}).out), "value")
                .string_value(),
            "7");
  EXPECT_EQ(Narthex({"settings", "get", "none"}).code, 1);
}

TEST_F(CliTest, OperationsShowTheirResponse) {
  ASSERT_EQ(Narthex({"inbox", "import", "x", "--project", "P", "--no-wait"}).code, 0);
  const RunResult waited = Narthex({"operation", "wait", "1", "--output", "json"});
  EXPECT_EQ(waited.code, 0) << waited.err;
  EXPECT_EQ(At(ParseJson(waited.out), "response.upload.name").string_value(), "uploads/inbox");
  EXPECT_EQ(Narthex({"operation", "show", "none"}).code, 1);
  EXPECT_THAT(Narthex({"operation", "list"}).out, HasSubstr("operations/1"));
}

TEST(ConsoleTest, FormatsForPeople) {
  EXPECT_EQ(HumanSize(0), "0 B");
  EXPECT_EQ(HumanSize(999), "999 B");
  EXPECT_EQ(HumanSize(1536), "1.5 KiB");
  EXPECT_EQ(HumanSize(int64_t{20} << 30), "20 GiB");
  EXPECT_EQ(HumanDuration(absl::Seconds(3723)), "1:02:03");
  EXPECT_EQ(Printable("a\x1b[31m\xff\xc2\x9b\u00e9"), "a?[31m??\u00e9");
  EXPECT_EQ(JsonString("a\"\\\n\xff\u00e9"), "\"a\\\"\\\\\\u000a\\ufffd\u00e9\"");
  Table table({"NAME", ">N"});
  table.Add({"\u00e9t\u00e9", "5"});
  table.Add({"x", "1234"});
  std::ostringstream out;
  table.Print(out);
  EXPECT_EQ(out.str(), "NAME     N\n\u00e9t\u00e9      5\nx     1234\n");
}

TEST(CallsTest, NamesResources) {
  EXPECT_EQ(SessionName("NARTHEX_E00001"), "sessions/NARTHEX_E00001");
  EXPECT_EQ(SessionName("sessions/NARTHEX_E00001"), "sessions/NARTHEX_E00001");
  EXPECT_EQ(SessionName("P1/S 1"), "projects/P1/sessions/S 1");
  EXPECT_EQ(SessionName("projects/P1/sessions/L"), "projects/P1/sessions/L");
  EXPECT_EQ(PrearchiveName("x"), "prearchiveSessions/x");
  EXPECT_EQ(PrearchiveName("prearchiveSessions/x"), "prearchiveSessions/x");
  EXPECT_EQ(ShortName("operations/7"), "7");
}

// Goal: no flag or help text changes unnoticed. NARTHEX_UPDATE_GOLDEN=1 writes the file anew.
TEST(HelpTest, IsAsRecorded) {
  ::unsetenv("NARTHEX_SERVER");
  std::string help;
  for (const char* command : {"",
                              "upload",
                              "import",
                              "inbox import",
                              "prearchive",
                              "prearchive list",
                              "prearchive archive",
                              "prearchive update",
                              "prearchive header",
                              "session",
                              "session search",
                              "session download",
                              "project",
                              "project update",
                              "project member",
                              "anon",
                              "anon enable",
                              "anon preview",
                              "receiver",
                              "receiver create",
                              "routing",
                              "routing set",
                              "routing test",
                              "routing study set",
                              "filter",
                              "filter set",
                              "operation",
                              "server",
                              "server export-audit",
                              "user",
                              "user create",
                              "token",
                              "token create"}) {
    std::vector<std::string> arguments = absl::StrSplit(command, ' ', absl::SkipEmpty());
    arguments.push_back("--help");
    absl::StrAppend(&help, "$ narthex ", command, *command == 0 ? "" : " ", "--help\n",
                    Narthex(arguments).out, "\n");
  }
  const std::string path = "clients/cli/testdata/help.txt";
  if (std::getenv("NARTHEX_UPDATE_GOLDEN") != nullptr) std::ofstream(path) << help;
  std::ostringstream recorded;
  recorded << std::ifstream(path).rdbuf();
  EXPECT_EQ(recorded.str(), help) << "to accept: NARTHEX_UPDATE_GOLDEN=1 cli_test, then look at git diff";
}

}  // namespace
}  // namespace narthex::cli
