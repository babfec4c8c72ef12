#include "storage/archive/session_writer.h"

#include <algorithm>
#include <optional>
#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

#include "base/crash_point.h"
#include "base/crc32c.h"
#include "base/error.h"
#include "base/limits_storage.h"
#include "base/status.h"
#include "storage/archive/layout.h"
#include "storage/archive/parallel_files.h"

namespace narthex::archive {
namespace {

constexpr char kHeader[] = "narthex-files 1 ";
constexpr char kPublished[] = "published";
constexpr char kMergeInto[] = "merge-into ";  // <version> <folder>
constexpr char kReplacements[] = ".replacements";
constexpr size_t kPathMaxParts = 16;  // fixed: names of our own making

absl::Status PathInvalid() {
  return InvalidArgument("ARCHIVE_PATH_INVALID",
                         "a path in the archive is relative and has safe components only (layout.h)", {});
}

// Every component as SanitizeComponent would leave it.
bool IsSafePath(absl::string_view path) {
  const std::vector<absl::string_view> parts = absl::StrSplit(path, '/');
  return parts.size() <= kPathMaxParts && std::all_of(parts.begin(), parts.end(), [](absl::string_view part) {
           return SanitizeComponent(part) == part;
         });
}

bool IsOperationId(absl::string_view id) {
  return !id.empty() && id.size() <= 64 && std::all_of(id.begin(), id.end(), [](char c) {
    return absl::ascii_isalnum(c) || c == '_' || c == '-';
  });
}

// "<crc32c> <text>\n": a line that a crash cut off does not fit its checksum.
std::string Line(absl::string_view text) { return absl::StrFormat("%08x %s\n", Crc32c(text), text); }

std::string FileLine(char kind, const WrittenFile& file) {
  return Line(absl::StrCat(std::string(1, kind), " ", absl::BytesToHexString(file.md5), " ",
                           absl::BytesToHexString(file.sha256), " ", absl::BytesToHexString(file.xxh3), " ",
                           file.size_bytes, " ", file.path));
}

bool ParseFileLine(absl::string_view text, char* kind, WrittenFile* file) {
  const std::vector<absl::string_view> words = absl::StrSplit(text, absl::MaxSplits(' ', 5));
  if (words.size() != 6 || (words[0] != "F" && words[0] != "R") ||
      !absl::SimpleAtoi(words[4], &file->size_bytes))
    return false;
  *kind = words[0][0];
  file->md5 = absl::HexStringToBytes(words[1]);
  file->sha256 = absl::HexStringToBytes(words[2]);
  file->xxh3 = absl::HexStringToBytes(words[3]);
  file->path = std::string(words[5]);
  return IsSafePath(file->path);
}

// "D <path>" -> path; "" for other lines.
std::string ParseSuperseded(absl::string_view line) {
  return absl::ConsumePrefix(&line, "D ") && IsSafePath(line) ? std::string(line) : "";
}

// The next whole line of `rest` without its checksum; nullopt at the end or at the first torn line.
std::optional<absl::string_view> TakeLine(absl::string_view& rest) {
  const size_t end = rest.find('\n');
  if (end == absl::string_view::npos || end < 9) return std::nullopt;
  const absl::string_view text = rest.substr(9, end - 9);
  if (rest.substr(0, 9) != absl::StrFormat("%08x ", Crc32c(text))) return std::nullopt;
  rest.remove_prefix(end + 1);
  return text;
}

}  // namespace

SessionWriter::SessionWriter(Options options, fs::FileSystem& file_system)
    : options_(std::move(options)),
      fs_(file_system),
      target_(fs::JoinPath(options_.archive_root, options_.folder)),
      incoming_(fs::JoinPath(fs::ParentPath(target_), absl::StrCat(kIncomingPrefix, options_.operation_id))) {
}

absl::StatusOr<std::unique_ptr<SessionWriter>> SessionWriter::Open(const Options& options,
                                                                   fs::FileSystem& file_system) {
  if (!IsSafePath(options.folder) || !IsOperationId(options.operation_id)) return PathInvalid();
  std::unique_ptr<SessionWriter> writer(new SessionWriter(options, file_system));
  NX_RETURN_IF_ERROR(writer->Recover());
  return writer;
}

absl::Status SessionWriter::Recover() {
  NX_ASSIGN_OR_RETURN(const bool target_exists, fs::Exists(fs_, target_));
  if (!options_.into_existing && target_exists) {
    NX_ASSIGN_OR_RETURN(const bool ours, LoadJournal(target_));
    if (!ours) {
      return Error(absl::StatusCode::kAlreadyExists, "FOLDER_TAKEN",
                   absl::StrCat("the archive has a folder ", options_.folder,
                                " already: choose another label, or merge"),
                   {{"folder", options_.folder}});
    }
    state_ = State::kPublished;
    // The rename may have happened without being durable.
    return fs_.SyncDirectory(fs::ParentPath(target_));
  }
  if (options_.into_existing && !target_exists) {
    return NotFound("FOLDER_NOT_FOUND", absl::StrCat("the archive has no folder ", options_.folder),
                    {{"folder", options_.folder}});
  }
  NX_ASSIGN_OR_RETURN(const bool resumed, LoadJournal(incoming_));
  if (!resumed) return StartWriting();
  // What it names was written for a plan that is no more: another version, another folder, or a session that
  // was there then and now is not (or the other way around).
  const bool as_planned = options_.into_existing
                              ? options_.base_version.empty() || (merge_version_ == options_.base_version &&
                                                                  merge_folder_ == options_.folder)
                              : merge_folder_.empty();
  if (as_planned) return absl::OkStatus();
  if (!merge_folder_.empty())
    NX_RETURN_IF_ERROR(RemoveLinks(fs::JoinPath(options_.archive_root, merge_folder_)));
  state_ = State::kWriting;  // "published" was said of those links
  NX_RETURN_IF_ERROR(Abandon());
  return StartWriting();
}

// False: there is no journal of this operation in `folder`.
absl::StatusOr<bool> SessionWriter::LoadJournal(const std::string& folder) {
  absl::StatusOr<std::string> text =
      fs::ReadFile(fs_, fs::JoinPath(folder, kJournalName), limits::kJournalMaxBytes);
  if (absl::IsNotFound(text.status())) return false;
  NX_RETURN_IF_ERROR(text.status());
  absl::string_view rest = *text;
  std::optional<absl::string_view> line = TakeLine(rest);
  if (!line || *line != absl::StrCat(kHeader, options_.operation_id)) return false;
  while ((line = TakeLine(rest))) NX_RETURN_IF_ERROR(ReadJournalLine(*line));
  journal_size_ = text->size() - rest.size();  // what is torn is written over
  return true;
}

absl::Status SessionWriter::ReadJournalLine(absl::string_view line) {
  char kind;
  WrittenFile file;
  if (line == kPublished) {
    state_ = State::kPublished;
  } else if (ParseFileLine(line, &kind, &file)) {
    files_[file.path] = {static_cast<Kind>(kind), file};
  } else if (const std::string path = ParseSuperseded(line); !path.empty()) {
    files_[path].first = Kind::kSuperseded;
  } else if (absl::ConsumePrefix(&line, kMergeInto)) {
    const std::pair<absl::string_view, absl::string_view> words =
        absl::StrSplit(line, absl::MaxSplits(' ', 1));
    merge_version_ = std::string(words.first);
    merge_folder_ = std::string(words.second);
  } else {
    return DataLoss("JOURNAL_CORRUPT", "a line of the archive journal fits its checksum but says nothing",
                    {});
  }
  return absl::OkStatus();
}

absl::Status SessionWriter::StartWriting() {
  const std::string parent = fs::ParentPath(incoming_);
  NX_RETURN_IF_ERROR(fs::MakeDirectoriesDurably(fs_, parent));
  NX_RETURN_IF_ERROR(fs_.RemoveTree(incoming_));  // of a run that ended before it wrote a journal
  NX_RETURN_IF_ERROR(fs_.MakeDirectories(incoming_));
  std::string head = Line(absl::StrCat(kHeader, options_.operation_id));
  if (options_.into_existing)
    absl::StrAppend(&head, Line(absl::StrCat(kMergeInto, options_.base_version, " ", options_.folder)));
  NX_RETURN_IF_ERROR(AppendJournal(head));
  NX_RETURN_IF_ERROR(fs_.SyncDirectory(incoming_));
  return fs_.SyncDirectory(parent);
}

absl::Status SessionWriter::AppendJournal(const std::string& lines) {
  NX_ASSIGN_OR_RETURN(std::unique_ptr<fs::File> journal,
                      fs_.Open(fs::JoinPath(incoming_, kJournalName), {.mode = fs::OpenMode::kCreate}));
  NX_RETURN_IF_ERROR(journal->Truncate(journal_size_));
  NX_RETURN_IF_ERROR(journal->WriteAt(journal_size_, lines));
  NX_RETURN_IF_ERROR(journal->Sync());
  journal_size_ += lines.size();
  return absl::OkStatus();
}

std::string SessionWriter::InIncoming(absl::string_view path, Kind kind) const {
  if (kind == Kind::kFile) return fs::JoinPath(incoming_, path);
  return fs::JoinPath(fs::JoinPath(incoming_, kReplacements), path);
}

// The folders of `paths` below `top`, up to it.
absl::Status SessionWriter::SyncFolders(const std::string& top, absl::Span<const std::string> paths) {
  std::set<std::string> folders = {top};
  for (const std::string& path : paths) {
    for (std::string folder = fs::ParentPath(path);
         folder.size() > top.size() && folders.insert(folder).second;) {
      folder = fs::ParentPath(folder);
    }
  }
  // Longer paths first: a name is durable before the folder that leads to it.
  for (auto folder = folders.rbegin(); folder != folders.rend(); ++folder)
    NX_RETURN_IF_ERROR(fs_.SyncDirectory(*folder));
  return absl::OkStatus();
}

absl::Status SessionWriter::Write(absl::Span<const FileSource> sources, Kind kind) {
  if (state_ == State::kPublished) {
    return FailedPrecondition("WRITER_PUBLISHED",
                              "the session's files are in place already; start another operation", {});
  }
  std::vector<FileSource> missing;
  std::vector<std::string> paths;
  std::set<std::string> folders;
  for (const FileSource& source : sources) {
    if (!IsSafePath(source.path)) return PathInvalid();
    if (files_.count(source.path) > 0) continue;
    if (options_.into_existing && kind == Kind::kFile) {
      NX_ASSIGN_OR_RETURN(const bool taken, fs::Exists(fs_, fs::JoinPath(target_, source.path)));
      if (taken) {
        return Error(absl::StatusCode::kAlreadyExists, "FILE_EXISTS",
                     "the session has a file of this name; choose another", {{"path", source.path}});
      }
    }
    missing.push_back(source);
    paths.push_back(InIncoming(source.path, kind));
    folders.insert(fs::ParentPath(paths.back()));
  }
  if (missing.empty()) return absl::OkStatus();
  for (const std::string& folder : folders) NX_RETURN_IF_ERROR(fs_.MakeDirectories(folder));
  std::vector<WrittenFile> written;
  NX_RETURN_IF_ERROR(WriteInParallel(missing, paths, options_.threads, fs_, written));
  NX_RETURN_IF_ERROR(SyncFolders(incoming_, paths));
  std::string lines;
  for (const WrittenFile& file : written) absl::StrAppend(&lines, FileLine(static_cast<char>(kind), file));
  NX_RETURN_IF_ERROR(AppendJournal(lines));
  for (WrittenFile& file : written) {
    const std::string path = file.path;
    files_[path] = {kind, std::move(file)};
  }
  return absl::OkStatus();
}

absl::Status SessionWriter::WriteFiles(absl::Span<const FileSource> sources) {
  return Write(sources, Kind::kFile);
}

absl::Status SessionWriter::WriteFile(absl::string_view path, absl::string_view bytes) {
  const FileSource source{std::string(path), [bytes](const ByteSink& sink) { return sink(bytes); }};
  Kind kind = Kind::kFile;
  if (options_.into_existing) {
    NX_ASSIGN_OR_RETURN(const bool exists, fs::Exists(fs_, fs::JoinPath(target_, path)));
    if (exists) kind = Kind::kReplacement;
  }
  return Write(absl::MakeConstSpan(&source, 1), kind);
}

absl::Status SessionWriter::Supersede(absl::Span<const std::string> paths) {
  if (state_ == State::kPublished)
    return FailedPrecondition("WRITER_PUBLISHED", "what is to be removed is noted before publishing", {});
  std::string lines;
  for (const std::string& path : paths) {
    const auto known = files_.find(path);
    if (known != files_.end() && known->second.first == Kind::kSuperseded) continue;
    if (!options_.into_existing || !IsSafePath(path) || known != files_.end()) return PathInvalid();
    absl::StrAppend(&lines, Line(absl::StrCat("D ", path)));
  }
  if (lines.empty()) return absl::OkStatus();
  NX_RETURN_IF_ERROR(AppendJournal(lines));
  for (const std::string& path : paths) files_[path].first = Kind::kSuperseded;
  return absl::OkStatus();
}

std::vector<WrittenFile> SessionWriter::files() const {
  std::vector<WrittenFile> all;
  for (const auto& [path, entry] : files_) {
    if (entry.first != Kind::kSuperseded) all.push_back(entry.second);
  }
  return all;
}

std::string SessionWriter::PlaceOf(absl::string_view path) const {
  if (!options_.into_existing && state_ == State::kPublished) return fs::JoinPath(target_, path);
  const auto file = files_.find(std::string(path));
  return InIncoming(path, file == files_.end() ? Kind::kFile : file->second.first);
}

absl::Status SessionWriter::Publish() {
  if (state_ == State::kPublished) {
    // By a process that may have died before it synced that.
    return options_.into_existing ? absl::OkStatus() : fs_.SyncDirectory(fs::ParentPath(target_));
  }
  NX_RETURN_IF_ERROR(options_.into_existing ? PublishIntoExisting() : PublishFolder());
  state_ = State::kPublished;
  return absl::OkStatus();
}

absl::Status SessionWriter::PublishFolder() {
  // Two operations with one label: rename would replace an empty folder and refuses any other.
  NX_ASSIGN_OR_RETURN(const bool taken, fs::Exists(fs_, target_));
  const absl::Status renamed = taken ? absl::AlreadyExistsError("") : fs_.Rename(incoming_, target_);
  if (taken || ErrorReason(renamed) == "DIRECTORY_NOT_EMPTY") {
    return Error(absl::StatusCode::kAlreadyExists, "FOLDER_TAKEN",
                 absl::StrCat("the archive got a folder ", options_.folder,
                              " meanwhile: choose another label, or merge"),
                 {{"folder", options_.folder}});
  }
  NX_RETURN_IF_ERROR(renamed);
  state_ = State::kPublished;  // Abandon must look for it there, also if this fails:
  return fs_.SyncDirectory(fs::ParentPath(target_));
}

absl::Status SessionWriter::PublishIntoExisting() {
  if (!in_place_) in_place_ = std::make_unique<InPlaceChange>();
  std::vector<std::string> places;
  for (const auto& [path, entry] : files_) {
    if (entry.first != Kind::kFile) continue;
    const std::string from = InIncoming(path, Kind::kFile), to = fs::JoinPath(target_, path);
    places.push_back(to);
    // Linked, not moved: a crash may make the old name's end durable before the new name.
    NX_RETURN_IF_ERROR(fs_.MakeDirectories(fs::ParentPath(to)));
    const absl::Status linked = fs_.Link(from, to);
    if (absl::IsNotFound(linked))
      return DataLoss("ARCHIVE_FILE_LOST", "a file that was written is gone", {{"path", path}});
    if (!absl::IsAlreadyExists(linked)) NX_RETURN_IF_ERROR(linked);
    NX_ASSIGN_OR_RETURN(const bool ours, SameFile(from, to));
    if (!ours) {
      return Error(absl::StatusCode::kAlreadyExists, "FILE_EXISTS",
                   "the session got a file of this name meanwhile", {{"path", path}});
    }
  }
  NX_RETURN_IF_ERROR(SyncFolders(target_, places));
  return AppendJournal(Line(kPublished));
}

absl::StatusOr<bool> SessionWriter::SameFile(const std::string& a, const std::string& b) {
  NX_ASSIGN_OR_RETURN(const fs::FileInfo first, fs_.Stat(a));
  NX_ASSIGN_OR_RETURN(const fs::FileInfo second, fs_.Stat(b));
  return first.inode == second.inode;
}

// Puts `from` in the place of `to` by a rename inside one folder; `from` stays. Safe to repeat.
absl::Status SessionWriter::Replace(const std::string& from, const std::string& to) {
  const std::string beside =
      fs::JoinPath(fs::ParentPath(to), absl::StrCat(kReplacingPrefix, fs::BaseName(to)));
  const absl::Status linked = fs_.Link(from, beside);
  if (!absl::IsAlreadyExists(linked)) NX_RETURN_IF_ERROR(linked);
  NX_RETURN_IF_ERROR(fs_.Rename(beside, to));
  // Renaming one link of a file over another does nothing at all, as when this is repeated.
  const absl::Status removed = fs_.Remove(beside);
  return absl::IsNotFound(removed) ? absl::OkStatus() : removed;
}

absl::Status SessionWriter::Finish() {
  if (state_ != State::kPublished)
    return FailedPrecondition("WRITER_NOT_PUBLISHED", "publish before finishing", {});
  if (options_.into_existing && !in_place_) in_place_ = std::make_unique<InPlaceChange>();
  std::vector<std::string> places;
  for (const auto& [path, entry] : files_) {
    if (entry.first != Kind::kReplacement) continue;
    places.push_back(fs::JoinPath(target_, path));
    NX_RETURN_IF_ERROR(Replace(InIncoming(path, Kind::kReplacement), places.back()));
  }
  for (const auto& [path, entry] : files_) {
    if (entry.first != Kind::kSuperseded) continue;
    const std::string place = fs::JoinPath(target_, path);
    const absl::Status removed = fs_.Remove(place);
    if (absl::IsNotFound(removed)) continue;
    NX_RETURN_IF_ERROR(removed);
    places.push_back(place);
  }
  NX_RETURN_IF_ERROR(SyncFolders(target_, places));
  if (options_.into_existing) {
    in_place_.reset();
    CrashPoint("merge.replaced");
    NX_RETURN_IF_ERROR(fs_.RemoveTree(incoming_));
    return fs_.SyncDirectory(fs::ParentPath(incoming_));
  }
  const absl::Status removed = fs_.Remove(fs::JoinPath(target_, kJournalName));
  if (!removed.ok() && !absl::IsNotFound(removed)) return removed;
  return fs_.SyncDirectory(target_);
}

// Takes back what PublishIntoExisting put into `folder`.
absl::Status SessionWriter::RemoveLinks(const std::string& folder) {
  std::vector<std::string> folders;
  for (const auto& [path, entry] : files_) {
    if (entry.first != Kind::kFile) continue;
    const std::string place = fs::JoinPath(folder, path);
    NX_ASSIGN_OR_RETURN(const bool there, fs::Exists(fs_, place));
    if (!there) continue;
    const absl::StatusOr<bool> ours = SameFile(InIncoming(path, Kind::kFile), place);
    // Ours is gone when an earlier attempt was cut off behind this point.
    if (absl::IsNotFound(ours.status()) || (ours.ok() && !*ours)) continue;
    NX_RETURN_IF_ERROR(ours.status());
    NX_RETURN_IF_ERROR(fs_.Remove(place));
    folders.push_back(place);
  }
  // The names must be gone for good before the other links are.
  return folders.empty() ? absl::OkStatus() : SyncFolders(folder, folders);
}

absl::Status SessionWriter::Abandon() {
  if (options_.into_existing) {
    NX_RETURN_IF_ERROR(RemoveLinks(target_));
    in_place_.reset();
  } else if (state_ == State::kPublished) {
    NX_RETURN_IF_ERROR(fs_.Rename(target_, incoming_));  // out of sight at once
  }
  NX_RETURN_IF_ERROR(fs_.RemoveTree(incoming_));
  files_.clear();
  journal_size_ = 0;
  state_ = State::kWriting;
  merge_folder_.clear();
  merge_version_.clear();
  return fs_.SyncDirectory(fs::ParentPath(incoming_));
}

namespace {

// Calls `found` with the folder and the operation id of each incoming folder.
template <typename Found>
absl::Status VisitIncoming(absl::string_view archive_root, fs::FileSystem& file_system, const Found& found) {
  absl::StatusOr<std::vector<fs::DirectoryEntry>> projects = file_system.List(archive_root);
  if (absl::IsNotFound(projects.status())) return absl::OkStatus();
  NX_RETURN_IF_ERROR(projects.status());
  for (const fs::DirectoryEntry& project : *projects) {
    const std::string folder = fs::JoinPath(fs::JoinPath(archive_root, project.name), kArcFolder);
    absl::StatusOr<std::vector<fs::DirectoryEntry>> sessions = file_system.List(folder);
    if (!sessions.ok()) continue;  // not a project's folder
    for (const fs::DirectoryEntry& session : *sessions) {
      absl::string_view id = session.name;
      if (!absl::ConsumePrefix(&id, kIncomingPrefix)) continue;
      NX_RETURN_IF_ERROR(found(fs::JoinPath(folder, session.name), std::string(id)));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<std::string>> ListUnfinished(absl::string_view archive_root,
                                                        fs::FileSystem& file_system) {
  std::vector<std::string> ids;
  NX_RETURN_IF_ERROR(VisitIncoming(archive_root, file_system, [&](const std::string&, const std::string& id) {
    ids.push_back(id);
    return absl::OkStatus();
  }));
  return ids;
}

absl::StatusOr<std::vector<UnfinishedMerge>> ListUnfinishedMerges(absl::string_view archive_root,
                                                                  fs::FileSystem& file_system) {
  std::vector<UnfinishedMerge> merges;
  NX_RETURN_IF_ERROR(VisitIncoming(
      archive_root, file_system, [&](const std::string& path, const std::string& id) -> absl::Status {
        const auto text =
            fs::ReadFile(file_system, fs::JoinPath(path, kJournalName), limits::kJournalMaxBytes);
        if (absl::IsNotFound(text.status())) return absl::OkStatus();
        NX_RETURN_IF_ERROR(text.status());
        UnfinishedMerge merge{id, "", {}};
        absl::string_view rest = *text;
        while (std::optional<absl::string_view> line = TakeLine(rest)) {
          char kind;
          WrittenFile file;
          if (ParseFileLine(*line, &kind, &file)) {
            merge.paths.push_back(std::move(file.path));
          } else if (std::string gone = ParseSuperseded(*line); !gone.empty()) {
            merge.paths.push_back(std::move(gone));
          } else if (absl::ConsumePrefix(&*line, kMergeInto)) {
            merge.folder = std::string(line->substr(std::min(line->size(), line->find(' ') + 1)));
          }
        }
        if (!merge.folder.empty()) merges.push_back(std::move(merge));
        return absl::OkStatus();
      }));
  return merges;
}

absl::Status RemoveIncoming(absl::string_view archive_root, absl::string_view operation_id,
                            fs::FileSystem& file_system) {
  return VisitIncoming(archive_root, file_system, [&](const std::string& path, const std::string& id) {
    return id == operation_id ? file_system.RemoveTree(path) : absl::OkStatus();
  });
}

}  // namespace narthex::archive
