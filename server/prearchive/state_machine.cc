#include "server/prearchive/state_machine.h"

namespace narthex::prearchive {
namespace {

constexpr int kNone = 0;
constexpr int kRec = static_cast<int>(State::kReceiving);
constexpr int kBui = static_cast<int>(State::kBuilding);
constexpr int kRea = static_cast<int>(State::kReady);
constexpr int kCon = static_cast<int>(State::kConflict);
constexpr int kErr = static_cast<int>(State::kError);
constexpr int kArc = static_cast<int>(State::kArchiving);
constexpr int kSep = static_cast<int>(State::kSeparating);
constexpr int kDel = static_cast<int>(State::kDeleting);

// Rows: states in their order. Columns: events in theirs.
// clang-format off
constexpr int kTable[kStateCount][kEventCount] = {
    // object build  built  dirty  b.fail archive a.conf a.fail update split  s.done s.fail delete
    {kRec,   kBui,  kNone, kNone, kNone, kNone,  kNone, kNone, kRec,  kNone, kNone, kNone, kDel},   // RECEIVING
    {kBui,   kNone, kRea,  kRec,  kErr,  kNone,  kNone, kNone, kNone, kNone, kNone, kNone, kNone},  // BUILDING
    {kRec,   kBui,  kNone, kNone, kNone, kArc,   kNone, kNone, kRea,  kSep,  kNone, kNone, kDel},   // READY
    {kRec,   kBui,  kNone, kNone, kNone, kArc,   kNone, kNone, kRea,  kSep,  kNone, kNone, kDel},   // CONFLICT
    {kRec,   kBui,  kNone, kNone, kNone, kArc,   kNone, kNone, kErr,  kNone, kNone, kNone, kDel},   // ERROR
    {kNone,  kNone, kNone, kNone, kNone, kNone,  kCon,  kErr,  kNone, kNone, kNone, kNone, kNone},  // ARCHIVING
    {kNone,  kNone, kNone, kNone, kNone, kNone,  kNone, kNone, kNone, kNone, kNone, kNone, kNone},  // MOVING
    {kNone,  kNone, kNone, kNone, kNone, kNone,  kNone, kNone, kNone, kNone, kRea,  kErr,  kNone},  // SEPARATING
    {kNone,  kNone, kNone, kNone, kNone, kNone,  kNone, kNone, kNone, kNone, kNone, kNone, kDel},   // DELETING
};
// clang-format on

}  // namespace

std::optional<State> Next(State state, Event event) {
  const int next = kTable[static_cast<int>(state) - 1][static_cast<int>(event)];
  if (next == kNone) return std::nullopt;
  return static_cast<State>(next);
}

absl::string_view StateName(State state) {
  switch (state) {
    case State::kReceiving:
      return "RECEIVING";
    case State::kBuilding:
      return "BUILDING";
    case State::kReady:
      return "READY";
    case State::kConflict:
      return "CONFLICT";
    case State::kError:
      return "ERROR";
    case State::kArchiving:
      return "ARCHIVING";
    case State::kMoving:
      return "MOVING";
    case State::kSeparating:
      return "SEPARATING";
    case State::kDeleting:
      return "DELETING";
  }
  return "?";
}

absl::string_view EventName(Event event) {
  static constexpr absl::string_view kNames[kEventCount] = {
      "object",         "build",  "built", "built dirty", "build failed", "archive", "archive conflict",
      "archive failed", "update", "split", "split done",  "split failed", "delete"};
  return kNames[static_cast<int>(event)];
}

}  // namespace narthex::prearchive
