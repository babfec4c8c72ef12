#include "server/app/ready_file.h"

#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "absl/strings/str_cat.h"

#include "base/error.h"

namespace narthex::app {

absl::Status WriteReadyFile(const std::string& path, const ReadyFacts& facts) {
  const auto quoted = [](const std::string& text) {
    std::string out = "\"";
    for (char c : text) {
      if (c == '"' || c == '\\') out.push_back('\\');
      out.push_back(c);
    }
    return out + "\"";
  };
  const std::string json =
      absl::StrCat("{\"grpc\": ", quoted(facts.grpc), ", \"dicom\": ", quoted(facts.dicom),
                   ", \"metrics\": ", quoted(facts.metrics), ", \"token_file\": ", quoted(facts.token_file),
                   ", \"pid\": ", ::getpid(), "}\n");
  const std::string temporary = path + ".new";
  FILE* file = std::fopen(temporary.c_str(), "w");
  const bool written = file != nullptr && std::fputs(json.c_str(), file) >= 0;
  if (file != nullptr) std::fclose(file);
  if (!written || std::rename(temporary.c_str(), path.c_str()) != 0) {
    return Internal("STORAGE_ERROR", absl::StrCat("cannot write ", path, ": ", std::strerror(errno)));
  }
  return absl::OkStatus();
}

}  // namespace narthex::app
