#include "storage/fs/memory.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <map>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_split.h"
#include "absl/synchronization/mutex.h"

#include "base/error.h"
#include "base/status.h"

namespace narthex::fs {
namespace {

constexpr uint64_t kBlock = 4096;
constexpr uint64_t kFileMaxBytes = 1ull << 40;  // fixed: a file of tests

// A file or directory. What a power loss leaves is kept beside what the calls see.
struct Node {
  using Names = std::map<std::string, std::shared_ptr<Node>>;

  bool is_directory = false;
  uint64_t inode = 0;
  Names names, durable_names;       // of a directory
  std::string data, durable_data;   // of a file
  std::set<uint64_t> dirty_blocks;  // changed since the last Sync
  bool shrunk = false;              // truncated since the last Sync
};
using NodePtr = std::shared_ptr<Node>;

// Makes the bytes of one file durable.
void SyncBytes(Node& node) {
  if (node.shrunk) {
    node.durable_data = node.data;
  } else {
    node.durable_data.resize(node.data.size());
    for (uint64_t block : node.dirty_blocks) {
      const uint64_t begin = block * kBlock;
      if (begin >= node.data.size()) continue;
      const uint64_t length = std::min(kBlock, node.data.size() - begin);
      std::memcpy(node.durable_data.data() + begin, node.data.data() + begin, length);
    }
  }
  node.dirty_blocks.clear();
  node.shrunk = false;
}

// The same for a tree, with its names.
void SyncTree(Node& node) {
  node.durable_names = node.names;
  if (!node.is_directory) SyncBytes(node);
  for (const auto& [name, child] : node.names) SyncTree(*child);
}

absl::Status PowerIsOff() { return DataLoss("IO_ERROR", "the file was opened before the power was lost"); }

// State that open files share with their file system.
struct Disk {
  absl::Mutex mutex;
  NodePtr root ABSL_GUARDED_BY(mutex);
  uint64_t generation ABSL_GUARDED_BY(mutex) = 0;  // counts power losses
  uint64_t next_inode ABSL_GUARDED_BY(mutex) = 2;
  uint64_t capacity ABSL_GUARDED_BY(mutex) = std::numeric_limits<uint64_t>::max();

  static uint64_t UsedBy(const Node& node) {
    uint64_t used = node.data.size();
    for (const auto& [name, child] : node.names) used += UsedBy(*child);
    return used;
  }
  uint64_t Free() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    if (capacity == std::numeric_limits<uint64_t>::max()) return 1ull << 50;
    const uint64_t used = UsedBy(*root);
    return used >= capacity ? 0 : capacity - used;
  }
};

class MemoryFile : public File {
 public:
  MemoryFile(std::shared_ptr<Disk> disk, NodePtr node, uint64_t generation, const OpenOptions& options)
      : disk_(std::move(disk)), node_(std::move(node)), generation_(generation), options_(options) {}

  absl::StatusOr<size_t> ReadAt(uint64_t offset, char* data, size_t length) override {
    absl::MutexLock lock(&disk_->mutex);
    if (generation_ != disk_->generation) return PowerIsOff();
    if (offset >= node_->data.size()) return 0;
    const size_t n = std::min<uint64_t>(length, node_->data.size() - offset);
    std::memcpy(data, node_->data.data() + offset, n);
    return n;
  }

  absl::Status WriteAt(uint64_t offset, absl::Span<const absl::string_view> pieces) override {
    absl::MutexLock lock(&disk_->mutex);
    NX_RETURN_IF_ERROR(Check(/*writes=*/true));
    uint64_t end = offset;
    for (absl::string_view piece : pieces) {
      const bool aligned =
          reinterpret_cast<uintptr_t>(piece.data()) % kBlock == 0 && piece.size() % kBlock == 0;
      if (options_.direct && !(aligned && offset % kBlock == 0))
        return ErrnoToStatus(EINVAL, "write", "unaligned");
      end += piece.size();
    }
    if (end > kFileMaxBytes) return ErrnoToStatus(EFBIG, "write", "a file in memory");
    if (end > node_->data.size()) {
      if (end - node_->data.size() > disk_->Free()) return ErrnoToStatus(ENOSPC, "write", "a file in memory");
      node_->data.resize(end);
    }
    for (absl::string_view piece : pieces) {
      std::memcpy(node_->data.data() + offset, piece.data(), piece.size());
      MarkDirty(offset, piece.size());
      offset += piece.size();
    }
    return absl::OkStatus();
  }

  absl::Status Allocate(uint64_t offset, uint64_t length) override {
    absl::MutexLock lock(&disk_->mutex);
    NX_RETURN_IF_ERROR(Check(/*writes=*/true));
    const uint64_t end = offset + length;
    if (end > node_->data.size() && end - node_->data.size() > disk_->Free()) {
      return ErrnoToStatus(ENOSPC, "allocate space for", "a file in memory");
    }
    return absl::OkStatus();
  }

  absl::Status Truncate(uint64_t size) override {
    absl::MutexLock lock(&disk_->mutex);
    NX_RETURN_IF_ERROR(Check(/*writes=*/true));
    const uint64_t old_size = node_->data.size();
    if (size > kFileMaxBytes) return ErrnoToStatus(EFBIG, "truncate", "a file in memory");
    if (size < old_size) node_->shrunk = true;
    node_->data.resize(size);
    if (size > old_size) MarkDirty(old_size, size - old_size);
    return absl::OkStatus();
  }

  absl::Status Sync() override {
    absl::MutexLock lock(&disk_->mutex);
    NX_RETURN_IF_ERROR(Check(/*writes=*/false));
    SyncBytes(*node_);
    return absl::OkStatus();
  }

  absl::StatusOr<uint64_t> SizeBytes() override {
    absl::MutexLock lock(&disk_->mutex);
    if (generation_ != disk_->generation) return PowerIsOff();
    return node_->data.size();
  }

 private:
  absl::Status Check(bool writes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(disk_->mutex) {
    if (generation_ != disk_->generation) return PowerIsOff();
    if (writes && options_.mode == OpenMode::kRead)
      return ErrnoToStatus(EBADF, "write", "a file opened to read");
    return absl::OkStatus();
  }

  void MarkDirty(uint64_t offset, uint64_t length) {
    if (length == 0) return;
    for (uint64_t block = offset / kBlock; block <= (offset + length - 1) / kBlock; ++block) {
      node_->dirty_blocks.insert(block);
    }
  }

  const std::shared_ptr<Disk> disk_;
  const NodePtr node_;
  const uint64_t generation_;
  const OpenOptions options_;
};

class MemoryBarrier : public SyncBarrier {
 public:
  explicit MemoryBarrier(std::shared_ptr<Disk> disk) : disk_(std::move(disk)) {
    absl::MutexLock lock(&disk_->mutex);
    generation_ = disk_->generation;
  }

  absl::Status Sync() override {
    absl::MutexLock lock(&disk_->mutex);
    if (disk_->generation != generation_) return PowerIsOff();
    SyncTree(*disk_->root);
    return absl::OkStatus();
  }

 private:
  const std::shared_ptr<Disk> disk_;
  uint64_t generation_ = 0;
};

class MemoryFileSystem : public InMemoryFileSystem {
 public:
  MemoryFileSystem() {
    absl::MutexLock lock(&disk_->mutex);
    disk_->root = std::make_shared<Node>();
    disk_->root->is_directory = true;
    disk_->root->inode = 1;
  }

  absl::StatusOr<std::unique_ptr<File>> Open(absl::string_view path, const OpenOptions& options) override {
    absl::MutexLock lock(&disk_->mutex);
    NX_ASSIGN_OR_RETURN(const NodePtr parent, Directory(ParentPath(path)));
    NodePtr& node = parent->names[BaseName(path)];
    if (node == nullptr) {
      if (options.mode == OpenMode::kRead || options.mode == OpenMode::kReadWrite) {
        parent->names.erase(BaseName(path));
        return ErrnoToStatus(ENOENT, "open", path);
      }
      node = NewNode(/*is_directory=*/false);
    } else if (node->is_directory) {
      return ErrnoToStatus(EISDIR, "open", path);
    } else if (options.mode == OpenMode::kCreateNew) {
      return ErrnoToStatus(EEXIST, "open", path);
    } else if (options.mode == OpenMode::kCreateOrTruncate) {
      node->shrunk = node->shrunk || !node->data.empty();
      node->data.clear();
    }
    return std::unique_ptr<File>(std::make_unique<MemoryFile>(disk_, node, disk_->generation, options));
  }

  absl::Status MakeDirectories(absl::string_view path) override {
    absl::MutexLock lock(&disk_->mutex);
    NodePtr at = disk_->root;
    for (const std::string& part : Parts(path)) {
      NodePtr& child = at->names[part];
      if (child == nullptr) child = NewNode(/*is_directory=*/true);
      if (!child->is_directory) return ErrnoToStatus(ENOTDIR, "make directory", path);
      at = NodePtr(child);
    }
    return absl::OkStatus();
  }

  absl::Status SyncDirectory(absl::string_view path) override {
    absl::MutexLock lock(&disk_->mutex);
    NX_ASSIGN_OR_RETURN(const NodePtr directory, Directory(path));
    directory->durable_names = directory->names;
    return absl::OkStatus();
  }

  absl::StatusOr<std::unique_ptr<SyncBarrier>> NewSyncBarrier(absl::string_view path) override {
    {
      absl::MutexLock lock(&disk_->mutex);
      NX_RETURN_IF_ERROR(Directory(path).status());
    }
    return std::make_unique<MemoryBarrier>(disk_);
  }

  absl::Status Rename(absl::string_view from, absl::string_view to) override {
    absl::MutexLock lock(&disk_->mutex);
    NX_ASSIGN_OR_RETURN(const NodePtr source, Find(from, "rename"));
    NX_ASSIGN_OR_RETURN(const NodePtr to_parent, Directory(ParentPath(to)));
    const auto existing = to_parent->names.find(BaseName(to));
    if (existing != to_parent->names.end()) {
      if (existing->second == source) return absl::OkStatus();
      if (existing->second->is_directory && !source->is_directory)
        return ErrnoToStatus(EISDIR, "rename", from);
      if (!existing->second->is_directory && source->is_directory)
        return ErrnoToStatus(ENOTDIR, "rename", from);
      if (!existing->second->names.empty()) return ErrnoToStatus(ENOTEMPTY, "rename", from);
    }
    NX_ASSIGN_OR_RETURN(const NodePtr from_parent, Directory(ParentPath(from)));
    from_parent->names.erase(BaseName(from));
    to_parent->names[BaseName(to)] = source;
    return absl::OkStatus();
  }

  absl::Status Link(absl::string_view from, absl::string_view to) override {
    absl::MutexLock lock(&disk_->mutex);
    NX_ASSIGN_OR_RETURN(const NodePtr source, Find(from, "link"));
    if (source->is_directory) return ErrnoToStatus(EPERM, "link", from);
    NX_ASSIGN_OR_RETURN(const NodePtr parent, Directory(ParentPath(to)));
    if (!parent->names.emplace(BaseName(to), source).second) return ErrnoToStatus(EEXIST, "link", to);
    return absl::OkStatus();
  }

  absl::Status Remove(absl::string_view path) override {
    absl::MutexLock lock(&disk_->mutex);
    NX_ASSIGN_OR_RETURN(const NodePtr node, Find(path, "remove"));
    if (!node->names.empty()) return ErrnoToStatus(ENOTEMPTY, "remove", path);
    NX_ASSIGN_OR_RETURN(const NodePtr parent, Directory(ParentPath(path)));
    parent->names.erase(BaseName(path));
    return absl::OkStatus();
  }

  absl::Status RemoveTree(absl::string_view path) override {
    absl::MutexLock lock(&disk_->mutex);
    const absl::StatusOr<NodePtr> parent = Directory(ParentPath(path));
    if (absl::IsNotFound(parent.status())) return absl::OkStatus();
    NX_RETURN_IF_ERROR(parent.status());
    (*parent)->names.erase(BaseName(path));
    return absl::OkStatus();
  }

  absl::StatusOr<FileInfo> Stat(absl::string_view path) override {
    absl::MutexLock lock(&disk_->mutex);
    NX_ASSIGN_OR_RETURN(const NodePtr node, Find(path, "stat"));
    FileInfo info;
    info.type = node->is_directory ? FileInfo::Type::kDirectory : FileInfo::Type::kFile;
    info.size_bytes = node->data.size();
    info.allocated_bytes = (node->data.size() + kBlock - 1) / kBlock * kBlock;
    info.inode = node->inode;
    info.link_count = CountLinks(*disk_->root, node);
    return info;
  }

  absl::StatusOr<std::vector<DirectoryEntry>> List(absl::string_view path) override {
    absl::MutexLock lock(&disk_->mutex);
    NX_ASSIGN_OR_RETURN(const NodePtr directory, Directory(path));
    std::vector<DirectoryEntry> entries;
    for (const auto& [name, node] : directory->names) {
      entries.push_back({name, node->is_directory ? FileInfo::Type::kDirectory : FileInfo::Type::kFile});
    }
    return entries;
  }

  absl::StatusOr<uint64_t> FreeBytes(absl::string_view path) override {
    absl::MutexLock lock(&disk_->mutex);
    NX_RETURN_IF_ERROR(Find(path, "get the free space of").status());
    return disk_->Free();
  }

  absl::Status CopyRange(File& source, uint64_t source_offset, File& target, uint64_t target_offset,
                         uint64_t length) override {
    std::string bytes(length, '\0');
    NX_ASSIGN_OR_RETURN(const size_t got, source.ReadAt(source_offset, bytes.data(), length));
    if (got < length) {
      return Error(absl::StatusCode::kOutOfRange, "FILE_TOO_SHORT",
                   "copy: the source ends before the range does");
    }
    return target.WriteAt(target_offset, bytes);
  }

  void LosePower(uint64_t seed) override {
    absl::MutexLock lock(&disk_->mutex);
    ++disk_->generation;
    std::mt19937_64 random(seed);
    std::set<Node*> seen;
    Revert(disk_->root, seed == 0 ? nullptr : &random, seen);
  }

  void SetCapacity(uint64_t bytes) override {
    absl::MutexLock lock(&disk_->mutex);
    disk_->capacity = bytes;
  }

  absl::Status FlipBit(absl::string_view path, uint64_t offset, int bit) override {
    absl::MutexLock lock(&disk_->mutex);
    NX_ASSIGN_OR_RETURN(const NodePtr node, Find(path, "flip a bit of"));
    if (offset >= node->data.size()) return ErrnoToStatus(EINVAL, "flip a bit of", path);
    node->data[offset] ^= static_cast<char>(1 << bit);
    if (offset < node->durable_data.size()) node->durable_data[offset] ^= static_cast<char>(1 << bit);
    return absl::OkStatus();
  }

 private:
  static std::vector<std::string> Parts(absl::string_view path) {
    std::vector<std::string> parts;
    for (absl::string_view part : absl::StrSplit(path, '/', absl::SkipEmpty())) {
      if (part != ".") parts.emplace_back(part);
    }
    return parts;
  }

  absl::StatusOr<NodePtr> Find(absl::string_view path, absl::string_view what)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(disk_->mutex) {
    NodePtr at = disk_->root;
    for (const std::string& part : Parts(path)) {
      if (!at->is_directory) return ErrnoToStatus(ENOTDIR, what, path);
      const auto child = at->names.find(part);
      if (child == at->names.end()) return ErrnoToStatus(ENOENT, what, path);
      at = NodePtr(child->second);
    }
    return at;
  }

  absl::StatusOr<NodePtr> Directory(absl::string_view path) ABSL_EXCLUSIVE_LOCKS_REQUIRED(disk_->mutex) {
    NX_ASSIGN_OR_RETURN(NodePtr node, Find(path, "open directory"));
    if (!node->is_directory) return ErrnoToStatus(ENOTDIR, "open directory", path);
    return node;
  }

  NodePtr NewNode(bool is_directory) ABSL_EXCLUSIVE_LOCKS_REQUIRED(disk_->mutex) {
    auto node = std::make_shared<Node>();
    node->is_directory = is_directory;
    node->inode = disk_->next_inode++;
    return node;
  }

  static uint64_t CountLinks(const Node& directory, const NodePtr& node) {
    if (node->is_directory) return 2;
    uint64_t count = 0;
    for (const auto& [name, child] : directory.names) {
      count += child == node ? 1 : CountLinks(*child, node);
    }
    return count;
  }

  // What of a file's unsynced blocks a real disk may have kept.
  static void KeepSomeBlocks(Node& node, std::mt19937_64& random) {
    if (node.shrunk) {
      if (random() % 2 == 0) node.durable_data = node.data;
      return;
    }
    for (uint64_t block : node.dirty_blocks) {
      const uint64_t begin = block * kBlock;
      if (begin >= node.data.size() || random() % 2 == 0) continue;
      const uint64_t length = std::min(kBlock, node.data.size() - begin);
      if (node.durable_data.size() < begin + length) node.durable_data.resize(begin + length);
      std::memcpy(node.durable_data.data() + begin, node.data.data() + begin, length);
    }
  }

  static void Revert(const NodePtr& node, std::mt19937_64* random, std::set<Node*>& seen) {
    if (!seen.insert(node.get()).second) return;  // a second name of the same file
    if (node->is_directory) {
      if (random != nullptr && (*random)() % 2 == 0) node->durable_names = node->names;
      node->names = node->durable_names;
      for (const auto& [name, child] : node->names) Revert(child, random, seen);
      return;
    }
    if (random != nullptr) KeepSomeBlocks(*node, *random);
    node->data = node->durable_data;
    node->dirty_blocks.clear();
    node->shrunk = false;
  }

  const std::shared_ptr<Disk> disk_ = std::make_shared<Disk>();
};

}  // namespace

std::unique_ptr<InMemoryFileSystem> NewInMemory() { return std::make_unique<MemoryFileSystem>(); }

}  // namespace narthex::fs
