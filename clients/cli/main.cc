#include <unistd.h>

#include <cstdlib>
#include <iostream>

#include "base/process.h"
#include "clients/cli/program.h"

int main(int argc, char** argv) {
  narthex::GuardProcess();
  ::setenv("GRPC_VERBOSITY", "NONE", 0);  // its log is not for people; errors come as statuses
  return narthex::cli::RunNarthex(
      argc, argv, {std::cout, std::cerr, ::isatty(STDOUT_FILENO) == 1, ::isatty(STDERR_FILENO) == 1});
}
