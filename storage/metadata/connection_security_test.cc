#include "storage/metadata/connection_security.h"

#include <gtest/gtest.h>

namespace narthex::metadata {
namespace {

TEST(ConnectionSecurityTest, EncryptsWhatLeavesTheMachine) {
  for (const char* conninfo : {"host=db.example dbname=x", "host=10.0.0.1", "postgresql://u@db.example/x",
                               "hostaddr=10.0.0.1 host=localhost", "host=localhost,db.example"}) {
    EXPECT_EQ(SslModeOf(conninfo), "require") << conninfo;
  }
  for (const char* conninfo :
       {"dbname=x", "host=/run/postgresql", "host=@abstract", "host=localhost", "host=127.0.0.1", "host=::1",
        "postgresql:///x?host=/run", "hostaddr=127.0.0.1 host=db.example"}) {
    EXPECT_EQ(SslModeOf(conninfo), "") << conninfo;
  }
}

TEST(ConnectionSecurityTest, LeavesWhatIsSaid) {
  for (const char* conninfo :
       {"host=db.example sslmode=disable", "postgresql://db.example/x?sslmode=verify-full", "service=imaging",
        "not a connection string"}) {
    EXPECT_EQ(SslModeOf(conninfo), "") << conninfo;
  }
}

}  // namespace
}  // namespace narthex::metadata
