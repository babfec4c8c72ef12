// What becomes of a session's type when it takes in more of its study.
#include <algorithm>

#include "imaging/session/builder.h"

namespace narthex::session {
namespace {

bool HasPrimary(const SessionModel& model) {
  return std::any_of(model.scans.begin(), model.scans.end(),
                     [](const ScanModel& scan) { return scan.primary_count() > 0; });
}

bool Combines(const SessionType& type, const std::string& name) {
  return std::find(type.combines.begin(), type.combines.end(), name) != type.combines.end();
}

// A type that sessions without images have.
bool HoldsNoImages(const TypeRegistry& types, const SessionType& type) {
  if (type.name == "other") return true;
  return std::none_of(types.scan_types().begin(), types.scan_types().end(),
                      [&](const auto& scan) { return scan->session_type == type.name && scan->primary; });
}

}  // namespace

bool CrossesModalities(const TypeRegistry& types, absl::string_view xsi_type, const SessionModel& incoming) {
  if (incoming.xsi_type == xsi_type || !HasPrimary(incoming)) return false;
  const SessionType* there = types.FindSessionTypeByXsi(xsi_type);
  return there == nullptr || !(Combines(*there, incoming.type_name) || HoldsNoImages(types, *there));
}

const SessionType* MergedSessionType(const TypeRegistry& types, absl::string_view xsi_type,
                                     const SessionModel& incoming) {
  const SessionType* there = types.FindSessionTypeByXsi(xsi_type);
  const SessionType* coming = types.FindSessionType(incoming.type_name);
  if (there == nullptr || coming == nullptr || there == coming || !HasPrimary(incoming) ||
      Combines(*there, coming->name)) {
    return there;
  }
  for (const auto& type : types.session_types()) {
    if (Combines(*type, there->name) && Combines(*type, coming->name)) return type.get();
  }
  return Combines(*coming, there->name) || coming->rank < there->rank ? coming : there;
}

}  // namespace narthex::session
