// A private PostgreSQL cluster: created, run and stopped by this process, reachable only over a unix socket
// in a directory of mode 0700. Started as root, the server runs as the unprivileged user `postgres`.
// Thread-safe.
//
//   auto postgres = ManagedPostgres::Start({.directory = data_dir + "/postgres"});
//   auto database = Database::Open({.conninfo = (*postgres)->conninfo()});
#pragma once

#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include <sys/types.h>

#include "base/limits_storage.h"

namespace narthex::metadata {

class ChildProcess;

class ManagedPostgres {
 public:
  struct Options {
    std::string directory;  // gets data/, postgres.log and, if its path is short enough, the socket
    std::string database = "narthex";
    std::string binaries;  // folder of initdb and postgres; "" looks in /usr/lib/postgresql/*/bin and PATH
    int shared_buffers_mb = 48;
    int max_connections = 64;
    bool sync = true;  // false: commits survive a crash of the server, not of the machine; for tests only
    absl::Duration start_timeout =
        absl::Seconds(limits::kPostgresStartSeconds.get());  // crash recovery may take a while
  };

  // Creates the cluster if the directory has none, stops a server that an earlier process left behind (it may
  // have died by kill -9), starts the server and waits until it answers. If this process dies, the server
  // shuts down by itself (PR_SET_PDEATHSIG of a small supervisor thread that lives as long as this object).
  // FAILED_PRECONDITION (POSTGRES_NOT_FOUND, POSTGRES_VERSION, POSTGRES_DIRECTORY): the text says what to do.
  // UNAVAILABLE (POSTGRES_START): it does not come up; the text names the log file and its last line.
  static absl::StatusOr<std::unique_ptr<ManagedPostgres>> Start(const Options& options);

  // Stops the server as Stop does.
  ~ManagedPostgres();

  // Fast shutdown: open transactions are rolled back. Blocks until it is down. May be called repeatedly.
  absl::Status Stop();

  // Starts the server again if it is not running (after a crash or Stop). OK if it runs.
  absl::Status Restart();

  // Dumps the database to the new file `path` (pg_dump's custom format), as it is at one moment: after the
  // call began. Blocks. Errors as DumpDatabase (dump.h).
  absl::Status Dump(const std::string& path);

  // Fills the database, which must be empty, from a dump. Blocks. Errors as LoadDatabase.
  absl::Status Load(const std::string& path);

  // What libpq needs to connect, without a password: the directory's mode is the guard.
  const std::string& conninfo() const { return conninfo_; }
  // Of the server process; 0 if it is not running.
  pid_t pid() const;

 private:
  struct Layout;

  ManagedPostgres(Options options, std::unique_ptr<Layout> layout);
  absl::Status StartServer() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Options options_;
  const std::unique_ptr<Layout> layout_;
  std::string conninfo_;
  mutable absl::Mutex mutex_;
  std::unique_ptr<ChildProcess> child_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace narthex::metadata
