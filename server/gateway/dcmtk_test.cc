// The tools of DCMTK, which share no network code with the gateway, send real images to it.

#include <fcntl.h>
#include <spawn.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include <sys/wait.h>

#include "server/gateway/byte_order.h"
#include "server/gateway/fake_upload_service.h"
#include "server/gateway/gateway.h"

extern char** environ;

namespace narthex::gateway {
namespace {

namespace fs = std::filesystem;

// What is missing is a failure in CI and a loud skip elsewhere.
#define SKIP_WITHOUT(condition, what)                             \
  if (!(condition)) {                                             \
    if (std::getenv("CI") != nullptr) FAIL() << what;             \
    GTEST_SKIP() << "SKIPPED, NOTHING WAS TESTED: no " << (what); \
  }

bool HasTool(const std::string& name) {
  return fs::exists("/usr/bin/" + name) || fs::exists("/usr/local/bin/" + name);
}

// Runs a program quietly and returns its exit code; -1 if it was killed.
int RunTool(const std::vector<std::string>& words) {
  std::vector<char*> arguments;
  for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, STDOUT_FILENO, STDERR_FILENO);
  pid_t pid = 0;
  const int failed = posix_spawnp(&pid, arguments[0], &actions, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (failed != 0) return -1;
  int status = 0;
  waitpid(pid, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

// The data set of a Part 10 file; "" if it is none.
std::string DataSetOf(const std::string& bytes) {
  if (bytes.size() < 144 || bytes.substr(128, 4) != "DICM") return "";
  return bytes.substr(144 + LittleU32(bytes, 140));
}

fs::path SharedData() {
  const char* shared = std::getenv("NARTHEX_SHARED");
  return fs::path(shared == nullptr ? "../shared" : shared) / "data";
}

class DcmtkTest : public testing::Test {
 protected:
  void SetUp() override {
    GatewayOptions options;
    options.listen.port = 0;
    absl::StatusOr<std::unique_ptr<Gateway>> gateway = Gateway::Start(options, service_.Connect());
    ASSERT_TRUE(gateway.ok()) << gateway.status();
    gateway_ = *std::move(gateway);
    port_ = absl::StrCat(gateway_->port());
  }

  // Each data set below `folder`, and how often.
  static std::map<std::string, int> DataSetsBelow(const fs::path& folder, std::vector<std::string>* paths) {
    std::map<std::string, int> found;
    for (const auto& entry : fs::recursive_directory_iterator(folder)) {
      if (!entry.is_regular_file()) continue;
      std::ifstream file(entry.path(), std::ios::binary);
      std::ostringstream bytes;
      bytes << file.rdbuf();
      const std::string data_set = DataSetOf(bytes.str());
      if (data_set.empty()) continue;
      ++found[data_set];
      if (paths != nullptr) paths->push_back(entry.path());
    }
    return found;
  }

  std::map<std::string, int> DataSetsKept() const {
    std::map<std::string, int> kept;
    for (const FakeUploadService::Object& object : service_.objects()) ++kept[DataSetOf(object.bytes)];
    return kept;
  }

  FakeUploadService service_;
  std::unique_ptr<Gateway> gateway_;
  std::string port_;
};

TEST_F(DcmtkTest, EchoscuIsAnswered) {
  SKIP_WITHOUT(HasTool("echoscu"), "echoscu (apt-get install dcmtk)");
  EXPECT_EQ(RunTool({"echoscu", "-aec", "NARTHEX", "127.0.0.1", port_}), 0);
  EXPECT_NE(RunTool({"echoscu", "-aec", "NOBODY", "127.0.0.1", port_}), 0);
  EXPECT_EQ(
      RunTool({"echoscu", "--propose-ts", "3", "--propose-pc", "128", "-aec", "NARTHEX", "127.0.0.1", port_}),
      0);
}

TEST_F(DcmtkTest, StorescuSendsByteForByte) {
  SKIP_WITHOUT(HasTool("storescu"), "storescu (apt-get install dcmtk)");
  // Sets that DCMTK itself writes again as they are.
  for (const char* set : {"dicom-mr-siemens-skyra", "dicom-ct-ge-hispeed"}) {
    const fs::path folder = SharedData() / set;
    SKIP_WITHOUT(fs::exists(folder), "shared test data (NARTHEX_SHARED)");
    std::vector<std::string> command = {"storescu", "-aec", "NARTHEX", "--required", "127.0.0.1", port_};
    const std::map<std::string, int> sent = DataSetsBelow(folder, &command);
    const std::map<std::string, int> before = DataSetsKept();
    ASSERT_FALSE(sent.empty());

    ASSERT_EQ(RunTool(command), 0) << set;

    std::map<std::string, int> kept = DataSetsKept();
    for (const auto& [data_set, count] : before) kept[data_set] -= count;
    std::erase_if(kept, [](const auto& entry) { return entry.second == 0; });
    EXPECT_TRUE(kept == sent) << set << ": what was kept is not what was sent";
  }
}

TEST_F(DcmtkTest, DcmsendSendsCompressedImagesAsTheyAre) {
  SKIP_WITHOUT(HasTool("dcmsend"), "dcmsend (apt-get install dcmtk)");
  const fs::path folder = SharedData() / "dicom-petct-ge-discovery-tcia";
  SKIP_WITHOUT(fs::exists(folder), "shared test data (NARTHEX_SHARED)");
  std::vector<std::string> paths;
  const std::map<std::string, int> sent = DataSetsBelow(folder, &paths);

  ASSERT_EQ(RunTool({"dcmsend", "-aec", "NARTHEX", "--decompress-never", "+sd", "+r", "127.0.0.1", port_,
                     folder.string()}),
            0);

  EXPECT_EQ(service_.objects().size(), paths.size());
  for (const FakeUploadService::Object& object : service_.objects()) {
    EXPECT_NE(object.bytes.find("1.2.840.10008.1.2.4.80"), std::string::npos) << "JPEG-LS must stay JPEG-LS";
  }
}

}  // namespace
}  // namespace narthex::gateway
