#include "storage/metadata/access.h"

#include <utility>

#include "base/error.h"

namespace narthex::metadata {
namespace {

thread_local const AccessScope* innermost = nullptr;

}  // namespace

AccessScope::AccessScope(bool system, std::string user)
    : outer_(innermost), system_(system), user_(std::move(user)) {
  innermost = this;
}

AccessScope::~AccessScope() { innermost = outer_; }

absl::StatusOr<Statement> AccessScope::Enter() {
  if (innermost == nullptr) {
    return Internal("ACCESS_SCOPE_MISSING",
                    "the database was used without saying for whom: this thread needs a UserScope or a "
                    "SystemScope (storage/metadata/access.h)");
  }
  if (innermost->system_) return Statement("SELECT set_config('narthex.system', 'on', true)");
  Statement enter("SELECT enter_as($1)");
  return std::move(enter.Text(innermost->user_));
}

}  // namespace narthex::metadata
