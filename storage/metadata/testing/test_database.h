// PostgreSQL for tests: one private server per test binary, in a temporary folder, and one fresh database per
// test (a copy of a migrated template). Works as root and as an ordinary user. Link narthex_metadata_testing.
//
//   class MyTest : public testing::Test {
//    protected:
//     metadata::TestDatabase database_;   // database_->sessions() ...
//   };
#pragma once

#include <memory>
#include <string>

#include "storage/metadata/access.h"
#include "storage/metadata/database.h"
#include "storage/metadata/managed_postgres.h"

namespace narthex::metadata {

// The server of this test binary; started by the first call. Aborts with a clear message if it cannot start.
ManagedPostgres& TestPostgres();

// The thread that makes one works with a SystemScope; other threads need their own.
class TestDatabase {
 public:
  explicit TestDatabase(const std::string& site_id = "NARTHEX");
  ~TestDatabase();

  Database* operator->() { return database_.get(); }
  Database& operator*() { return *database_; }
  const std::string& conninfo() const { return conninfo_; }
  // Opens one more client of the same database.
  std::unique_ptr<Database> Reopen();

 private:
  const SystemScope scope_;
  std::string name_;
  std::string conninfo_;
  std::string site_id_;
  std::unique_ptr<Database> database_;
};

// An empty database without schema: its connection string.
std::string NewEmptyDatabase();

}  // namespace narthex::metadata
