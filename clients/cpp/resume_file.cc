#include "clients/cpp/resume_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

#include "base/status.h"

namespace narthex::client {
namespace {

constexpr char kFirstLine[] = "narthex-resume 1";

absl::Status NotOurs(const std::string& path, int line) {
  return absl::InvalidArgumentError(
      absl::StrCat(path, ", line ", line, ", is not of a resume file; remove it to start a new upload"));
}

std::string Escaped(absl::string_view path) {
  std::string escaped;
  for (char c : path) {
    if (c == '\\')
      escaped += "\\\\";
    else if (c == '\n')
      escaped += "\\n";
    else
      escaped += c;
  }
  return escaped;
}

std::string Unescaped(absl::string_view text) {
  std::string path;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 1 < text.size()) {
      path += text[++i] == 'n' ? '\n' : text[i];
    } else {
      path += text[i];
    }
  }
  return path;
}

bool ParseFile(absl::string_view rest, ResumeEntry* entry) {
  const std::vector<absl::string_view> fields = absl::StrSplit(rest, absl::MaxSplits(' ', 4));
  int state = 0;
  if (fields.size() != 5 || !absl::SimpleAtoi(fields[0], &entry->sequence) ||
      !absl::SimpleAtoi(fields[1], &entry->file.size_bytes) ||
      !absl::SimpleAtoi(fields[2], &entry->file.modified_ns) || !absl::SimpleAtoi(fields[3], &state)) {
    return false;
  }
  if (!v1::ObjectOutcome::Outcome_IsValid(state)) return false;
  entry->state = static_cast<v1::ObjectOutcome::Outcome>(state);
  entry->file.path = Unescaped(fields[4]);
  return true;
}

bool ParseLine(const std::string& line, ResumeState* state) {
  const std::pair<absl::string_view, absl::string_view> parts = absl::StrSplit(line, absl::MaxSplits(' ', 1));
  if (parts.first == "upload") {
    state->upload = std::string(parts.second);
    return true;
  }
  if (parts.first == "destination")
    return state->destination.ParseFromString(absl::HexStringToBytes(parts.second));
  if (parts.first != "file") return false;
  return ParseFile(parts.second, &state->entries.emplace_back());
}

absl::Status Failed(const std::string& path) {
  return absl::UnknownError(absl::StrCat("cannot write ", path, ": ", std::strerror(errno)));
}

absl::Status WriteDurably(const std::string& path, const std::string& text) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) return Failed(path);
  size_t done = 0;
  while (done < text.size()) {
    const ssize_t count = ::write(fd, text.data() + done, text.size() - done);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) break;
    done += static_cast<size_t>(count);
  }
  absl::Status status = done == text.size() && ::fdatasync(fd) == 0 ? absl::OkStatus() : Failed(path);
  ::close(fd);
  return status;
}

}  // namespace

absl::StatusOr<ResumeState> ReadResumeFile(const std::string& path) {
  std::ifstream file(path);
  if (!file) return absl::NotFoundError(absl::StrCat("there is no resume file ", path));
  std::string line;
  if (!std::getline(file, line) || line != kFirstLine) return NotOurs(path, 1);
  ResumeState state;
  for (int number = 2; std::getline(file, line); ++number) {
    if (!ParseLine(line, &state)) return NotOurs(path, number);
  }
  return state;
}

absl::Status WriteResumeFile(const std::string& path, const ResumeState& state) {
  std::string text = absl::StrCat(kFirstLine, "\nupload ", state.upload, "\ndestination ",
                                  absl::BytesToHexString(state.destination.SerializeAsString()), "\n");
  for (const ResumeEntry& entry : state.entries) {
    absl::StrAppend(&text, "file ", entry.sequence, " ", entry.file.size_bytes, " ", entry.file.modified_ns,
                    " ", static_cast<int>(entry.state), " ", Escaped(entry.file.path), "\n");
  }
  const std::string temporary = absl::StrCat(path, ".new");
  NX_RETURN_IF_ERROR(WriteDurably(temporary, text));
  if (::rename(temporary.c_str(), path.c_str()) != 0) return Failed(path);
  return absl::OkStatus();
}

}  // namespace narthex::client
