// narthex prearchive update|diff|claim
#pragma once

#include "clients/cli/program.h"

namespace narthex::cli {

void AddPrearchiveReviewCommands(CLI::App* group, Program& program);

}  // namespace narthex::cli
