#include "storage/staging/index_faults.h"

#include <utility>

#include <rocksdb/file_system.h>

#include "base/status.h"
#include "storage/staging/index_behind.h"
#include "storage/staging/index_rocksdb.h"

namespace narthex::staging {

using rocksdb::FSDirectory;
using rocksdb::FSWritableFile;
using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;
using rocksdb::Slice;

struct IndexFaults::State {
  enum class Need { kNothing, kSpace };

  std::atomic<uint64_t> calls{0};
  std::atomic<uint64_t> fail_at{0};
  std::atomic<Fault> fault{Fault::kIoError};
  std::atomic<bool> fired{false};
  std::atomic<bool> full{false};

  // OK, or the error that this call must fail with.
  IOStatus Enter(Need need = Need::kNothing) {
    const bool now = calls.fetch_add(1) + 1 == fail_at.load();
    if (now) fired = true;
    if (now && fault.load() == Fault::kFullDisk) full = true;
    if (full ? need == Need::kNothing : !now) return IOStatus::OK();
    if (fault.load() == Fault::kIoError) return IOStatus::IOError("injected fault");
    IOStatus status = IOStatus::NoSpace("injected fault");
    status.SetRetryable(true);  // as that of the operating system
    return status;
  }

  bool writes_half() const {
    const Fault kind = fault.load();
    return kind == Fault::kShortWrite || kind == Fault::kFullDisk;
  }
};

namespace {

class FaultyWritableFile : public rocksdb::FSWritableFileOwnerWrapper {
 public:
  FaultyWritableFile(std::unique_ptr<FSWritableFile> target, std::shared_ptr<IndexFaults::State> state)
      : FSWritableFileOwnerWrapper(std::move(target)), state_(std::move(state)) {}

  IOStatus Append(const Slice& data, const IOOptions& options, IODebugContext* debug) override {
    IOStatus status = state_->Enter(IndexFaults::State::Need::kSpace);
    if (status.ok()) return FSWritableFileOwnerWrapper::Append(data, options, debug);
    if (state_->writes_half()) {
      FSWritableFileOwnerWrapper::Append(Slice(data.data(), data.size() / 2), options, debug)
          .PermitUncheckedError();
    }
    return status;
  }
  IOStatus Append(const Slice& data, const IOOptions& options, const rocksdb::DataVerificationInfo&,
                  IODebugContext* debug) override {
    return Append(data, options, debug);
  }
  IOStatus Truncate(uint64_t size, const IOOptions& options, IODebugContext* debug) override {
    IOStatus status = state_->Enter();
    return status.ok() ? FSWritableFileOwnerWrapper::Truncate(size, options, debug) : status;
  }
  IOStatus Sync(const IOOptions& options, IODebugContext* debug) override {
    IOStatus status = state_->Enter();
    return status.ok() ? FSWritableFileOwnerWrapper::Sync(options, debug) : status;
  }
  IOStatus Fsync(const IOOptions& options, IODebugContext* debug) override {
    IOStatus status = state_->Enter();
    return status.ok() ? FSWritableFileOwnerWrapper::Fsync(options, debug) : status;
  }
  IOStatus RangeSync(uint64_t offset, uint64_t length, const IOOptions& options,
                     IODebugContext* debug) override {
    IOStatus status = state_->Enter();
    return status.ok() ? FSWritableFileOwnerWrapper::RangeSync(offset, length, options, debug) : status;
  }
  IOStatus Close(const IOOptions& options, IODebugContext* debug) override {
    const IOStatus status = state_->Enter();
    IOStatus closed = FSWritableFileOwnerWrapper::Close(options, debug);  // the descriptor is gone either way
    return status.ok() ? closed : status;
  }

 private:
  const std::shared_ptr<IndexFaults::State> state_;
};

class FaultyDirectory : public rocksdb::FSDirectoryWrapper {
 public:
  FaultyDirectory(std::unique_ptr<FSDirectory> target, std::shared_ptr<IndexFaults::State> state)
      : FSDirectoryWrapper(std::move(target)), state_(std::move(state)) {}

  IOStatus Fsync(const IOOptions& options, IODebugContext* debug) override {
    IOStatus status = state_->Enter();
    return status.ok() ? FSDirectoryWrapper::Fsync(options, debug) : status;
  }
  IOStatus FsyncWithDirOptions(const IOOptions& options, IODebugContext* debug,
                               const rocksdb::DirFsyncOptions& how) override {
    IOStatus status = state_->Enter();
    return status.ok() ? FSDirectoryWrapper::FsyncWithDirOptions(options, debug, how) : status;
  }

 private:
  const std::shared_ptr<IndexFaults::State> state_;
};

class FaultyFiles : public rocksdb::FileSystemWrapper {
 public:
  explicit FaultyFiles(std::shared_ptr<IndexFaults::State> state)
      : FileSystemWrapper(rocksdb::FileSystem::Default()), state_(std::move(state)) {}

  const char* Name() const override { return "NarthexFaultyFiles"; }

  IOStatus NewWritableFile(const std::string& path, const rocksdb::FileOptions& options,
                           std::unique_ptr<FSWritableFile>* file, IODebugContext* debug) override {
    IOStatus status = state_->Enter(IndexFaults::State::Need::kSpace);
    if (status.ok()) status = FileSystemWrapper::NewWritableFile(path, options, file, debug);
    if (status.ok()) *file = std::make_unique<FaultyWritableFile>(std::move(*file), state_);
    return status;
  }
  IOStatus NewDirectory(const std::string& path, const IOOptions& options,
                        std::unique_ptr<FSDirectory>* directory, IODebugContext* debug) override {
    IOStatus status = FileSystemWrapper::NewDirectory(path, options, directory, debug);
    if (status.ok()) *directory = std::make_unique<FaultyDirectory>(std::move(*directory), state_);
    return status;
  }
  IOStatus DeleteFile(const std::string& path, const IOOptions& options, IODebugContext* debug) override {
    IOStatus status = state_->Enter();
    return status.ok() ? FileSystemWrapper::DeleteFile(path, options, debug) : status;
  }
  IOStatus RenameFile(const std::string& from, const std::string& to, const IOOptions& options,
                      IODebugContext* debug) override {
    IOStatus status = state_->Enter();
    return status.ok() ? FileSystemWrapper::RenameFile(from, to, options, debug) : status;
  }
  IOStatus LinkFile(const std::string& from, const std::string& to, const IOOptions& options,
                    IODebugContext* debug) override {
    IOStatus status = state_->Enter();
    return status.ok() ? FileSystemWrapper::LinkFile(from, to, options, debug) : status;
  }

 private:
  const std::shared_ptr<IndexFaults::State> state_;
};

}  // namespace

IndexFaults::IndexFaults() : state_(std::make_shared<State>()) {}

absl::StatusOr<std::unique_ptr<Index>> IndexFaults::OpenRocksDb(const std::string& directory) {
  return OpenRocksDb(directory, Options());
}

absl::StatusOr<std::unique_ptr<Index>> IndexFaults::OpenRocksDb(const std::string& directory,
                                                                const Options& options) {
  IndexGround ground;
  ground.files = std::make_shared<FaultyFiles>(state_);
  ground.table_write_buffer_bytes = options.table_write_buffer_bytes;
  ground.free_bytes = [state = state_](const std::string&) -> absl::StatusOr<uint64_t> {
    return state->full ? 0 : uint64_t{1} << 40;
  };
  NX_ASSIGN_OR_RETURN(std::unique_ptr<Index> index, RocksDbIndex::Open(directory, ground));
  return NewIndexBehind(std::move(index));
}

void IndexFaults::FailCall(uint64_t n, Fault fault) {
  state_->fault = fault;
  state_->fired = false;
  state_->full = false;
  state_->fail_at = state_->calls.load() + n;
}

void IndexFaults::Heal() {
  state_->full = false;
  state_->fail_at = 0;
}

uint64_t IndexFaults::call_count() const { return state_->calls; }
bool IndexFaults::fired() const { return state_->fired; }

}  // namespace narthex::staging
