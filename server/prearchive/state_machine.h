// The states of a prearchive session and the events that move it, as one table (docs/states.md is made from
// it).
#pragma once

#include <optional>

#include "absl/strings/string_view.h"

namespace narthex::prearchive {

// Numbers as in narthex.v1.PrearchiveSession.State.
enum class State {
  kReceiving = 1,
  kBuilding,
  kReady,
  kConflict,
  kError,
  kArchiving,
  kMoving,
  kSeparating,
  kDeleting
};
inline constexpr int kStateCount = 9;

enum class Event {
  kObject,      // an object of the study arrives
  kBuild,       // idle timer, commit or request
  kBuilt,       // the build is done
  kBuiltDirty,  // the build is done, and objects arrived meanwhile
  kBuildFailed,
  kArchive,          // request or auto-archive
  kArchiveConflict,  // the check refuses
  kArchiveFailed,
  kUpdate,  // project, subject, label or setting changed by a person
  kSplit,
  kSplitDone,
  kSplitFailed,
  kDelete,
};
inline constexpr int kEventCount = 13;

// The state after `event`, or nullopt where the event is not allowed. An object that is not allowed opens
// another session. Archived, split and deleted sessions are gone; that is not a state.
std::optional<State> Next(State state, Event event);

absl::string_view StateName(State state);  // "RECEIVING"
absl::string_view EventName(Event event);  // "object"

}  // namespace narthex::prearchive
