// narthex-bench-sender: sends files by C-STORE as fast as the receiver answers. Everything is read and
// encoded before the clock starts, so that what is measured is the receiver. Prints one JSON object.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include <sys/resource.h>

#include "CLI/CLI.hpp"
#include "base/status.h"
#include "tools/bench/upper_layer.h"

namespace narthex::bench {
namespace {

using Clock = std::chrono::steady_clock;

struct Flags {
  std::vector<std::string> paths;
  std::string host = "127.0.0.1";
  uint16_t port = 0;
  std::string called = "NARTHEX";
  int associations = 1;
  uint32_t max_pdu_bytes = 128 << 10;
};

struct LoadedFile {
  Object object;
  std::string bytes;
};

// What one association sends, in order.
struct Share {
  std::vector<LoadedFile> files;
  std::vector<std::string> requests;
  std::vector<double> seconds;  // of each answer
  int64_t bytes = 0;
  int64_t refused = 0;
  absl::Status status;
};

std::vector<std::string> Files(const std::vector<std::string>& paths) {
  std::vector<std::string> found;
  for (const std::string& path : paths) {
    if (!std::filesystem::is_directory(path)) {
      found.push_back(path);
      continue;
    }
    for (const auto& entry : std::filesystem::recursive_directory_iterator(path)) {
      if (entry.is_regular_file()) found.push_back(entry.path().string());
    }
  }
  std::sort(found.begin(), found.end());
  return found;
}

absl::StatusOr<LoadedFile> Load(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  if (!file || !(text << file.rdbuf())) return absl::NotFoundError(absl::StrCat(path, " cannot be read"));
  LoadedFile loaded;
  loaded.bytes = std::move(text).str();
  NX_ASSIGN_OR_RETURN(loaded.object, ParsePart10(loaded.bytes));
  return loaded;
}

// Associates, then encodes with what the receiver takes.
absl::StatusOr<Connection> Prepare(const Flags& flags, Share& share) {
  Contexts contexts;
  std::map<std::pair<std::string, std::string>, uint8_t> ids;
  for (const LoadedFile& file : share.files) {
    const auto context = std::make_pair(file.object.sop_class_uid, file.object.transfer_syntax_uid);
    if (!ids.emplace(context, static_cast<uint8_t>(contexts.size() * 2 + 1)).second) continue;
    contexts.push_back(context);
  }
  NX_ASSIGN_OR_RETURN(Connection connection, Connection::Connect(flags.host, flags.port));
  NX_RETURN_IF_ERROR(
      connection.Send(EncodeAssociate(kAssociateRq, flags.called, "BENCH", contexts, flags.max_pdu_bytes)));
  NX_ASSIGN_OR_RETURN(auto answer, connection.ReceivePdu());
  if (answer.first.type != kAssociateAc) {
    return absl::PermissionDeniedError(
        absl::StrCat("the association was answered by PDU ", answer.first.type));
  }
  NX_ASSIGN_OR_RETURN(const Associated associated, ParseAssociate(answer.second));
  if (associated.ids.size() != contexts.size()) return absl::PermissionDeniedError("a context was refused");
  const uint32_t pdu = std::min(associated.max_pdu_bytes, flags.max_pdu_bytes);
  uint16_t message = 0;
  for (LoadedFile& file : share.files) {
    const uint8_t id = ids.at({file.object.sop_class_uid, file.object.transfer_syntax_uid});
    const absl::string_view data_set = absl::string_view(file.bytes).substr(file.object.data_set_begin);
    share.requests.push_back(EncodeStore(file.object, data_set, id, ++message, pdu));
    share.bytes += static_cast<int64_t>(file.bytes.size());
    std::string().swap(file.bytes);
  }
  return connection;
}

absl::Status SendAll(Connection& connection, Share& share) {
  for (const std::string& request : share.requests) {
    const auto begin = Clock::now();
    NX_RETURN_IF_ERROR(connection.Send(request));
    NX_ASSIGN_OR_RETURN(const auto answer, connection.ReceivePdu());
    share.seconds.push_back(std::chrono::duration<double>(Clock::now() - begin).count());
    if (answer.first.type != kPData || answer.second.size() < 6) {
      return absl::AbortedError(absl::StrCat("PDU ", answer.first.type, " instead of an answer"));
    }
    if (CommandNumber(absl::string_view(answer.second).substr(6), 0x0900, 0xffff) != 0) ++share.refused;
  }
  return absl::OkStatus();
}

absl::Status Release(Connection& connection) {
  NX_RETURN_IF_ERROR(connection.Send(EncodeRelease(kReleaseRq)));
  return connection.ReceivePdu().status();
}

double Seconds(const timeval& time) {
  return static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
}

double Quantile(std::vector<double>& sorted, double q) {
  if (sorted.empty()) return 0;
  return sorted[static_cast<size_t>(q * static_cast<double>(sorted.size() - 1))];
}

absl::Status Run(const Flags& flags) {
  const std::vector<std::string> paths = Files(flags.paths);
  if (paths.empty()) return absl::NotFoundError("there are no files to send");
  std::vector<Share> shares(static_cast<size_t>(flags.associations));
  // In blocks, as senders have it: each association sends its own series.
  for (size_t i = 0; i < paths.size(); ++i) {
    NX_ASSIGN_OR_RETURN(LoadedFile file, Load(paths[i]));
    shares[i * shares.size() / paths.size()].files.push_back(std::move(file));
  }
  std::vector<Connection> connections;
  for (Share& share : shares) {
    NX_ASSIGN_OR_RETURN(Connection connection, Prepare(flags, share));
    connections.push_back(std::move(connection));
  }
  rusage before = {}, after = {};
  ::getrusage(RUSAGE_SELF, &before);
  const auto begin = Clock::now();
  std::vector<std::thread> threads;
  for (size_t i = 0; i < shares.size(); ++i) {
    threads.emplace_back([&, i] { shares[i].status = SendAll(connections[i], shares[i]); });
  }
  for (std::thread& thread : threads) thread.join();
  const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
  ::getrusage(RUSAGE_SELF, &after);
  std::vector<double> waits;
  int64_t bytes = 0, refused = 0;
  for (size_t i = 0; i < shares.size(); ++i) {
    NX_RETURN_IF_ERROR(shares[i].status);
    NX_RETURN_IF_ERROR(Release(connections[i]));
    waits.insert(waits.end(), shares[i].seconds.begin(), shares[i].seconds.end());
    bytes += shares[i].bytes;
    refused += shares[i].refused;
  }
  std::sort(waits.begin(), waits.end());
  absl::PrintF(
      "{\"objects\": %d, \"bytes\": %d, \"refused\": %d, \"seconds\": %.6f, \"ack_p50_ms\": %.3f, "
      "\"ack_p99_ms\": %.3f, \"ack_max_ms\": %.3f, \"cpu_user\": %.3f, \"cpu_system\": %.3f}\n",
      waits.size(), bytes, refused, seconds, Quantile(waits, 0.5) * 1e3, Quantile(waits, 0.99) * 1e3,
      Quantile(waits, 1) * 1e3, Seconds(after.ru_utime) - Seconds(before.ru_utime),
      Seconds(after.ru_stime) - Seconds(before.ru_stime));
  return absl::OkStatus();
}

}  // namespace
}  // namespace narthex::bench

int main(int argc, char** argv) {
  narthex::bench::Flags flags;
  CLI::App app("Sends DICOM files by C-STORE from memory and times the answers.", "narthex-bench-sender");
  app.add_option("PATH", flags.paths, "files and folders")->required();
  app.add_option("--host", flags.host, "IPv4 address of the receiver")->capture_default_str();
  app.add_option("--port", flags.port, "its port")->required();
  app.add_option("--called", flags.called, "its AE title")->capture_default_str();
  app.add_option("--associations", flags.associations, "that send side by side")->check(CLI::Range(1, 256));
  app.add_option("--pdu", flags.max_pdu_bytes, "largest PDU")->check(CLI::Range(4096, 1 << 20));
  CLI11_PARSE(app, argc, argv);
  const absl::Status status = narthex::bench::Run(flags);
  if (status.ok()) return 0;
  std::cerr << "narthex-bench-sender: " << status.ToString() << "\n";
  return 1;
}
