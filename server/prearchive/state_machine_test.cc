#include "server/prearchive/state_machine.h"

#include <map>
#include <optional>
#include <utility>

#include <gtest/gtest.h>

namespace narthex::prearchive {
namespace {

TEST(StateMachineTest, EveryStateAndEventIsDecided) {
  // The table of docs/states.md, as text: what is not listed is not allowed.
  const std::map<std::pair<State, Event>, State> allowed = {
      {{State::kReceiving, Event::kObject}, State::kReceiving},
      {{State::kReceiving, Event::kBuild}, State::kBuilding},
      {{State::kReceiving, Event::kUpdate}, State::kReceiving},
      {{State::kReceiving, Event::kDelete}, State::kDeleting},
      {{State::kBuilding, Event::kObject}, State::kBuilding},
      {{State::kBuilding, Event::kBuilt}, State::kReady},
      {{State::kBuilding, Event::kBuiltDirty}, State::kReceiving},
      {{State::kBuilding, Event::kBuildFailed}, State::kError},
      {{State::kReady, Event::kObject}, State::kReceiving},
      {{State::kReady, Event::kBuild}, State::kBuilding},
      {{State::kReady, Event::kArchive}, State::kArchiving},
      {{State::kReady, Event::kUpdate}, State::kReady},
      {{State::kReady, Event::kSplit}, State::kSeparating},
      {{State::kReady, Event::kDelete}, State::kDeleting},
      {{State::kConflict, Event::kObject}, State::kReceiving},
      {{State::kConflict, Event::kBuild}, State::kBuilding},
      {{State::kConflict, Event::kArchive}, State::kArchiving},
      {{State::kConflict, Event::kUpdate}, State::kReady},
      {{State::kConflict, Event::kSplit}, State::kSeparating},
      {{State::kConflict, Event::kDelete}, State::kDeleting},
      {{State::kError, Event::kObject}, State::kReceiving},
      {{State::kError, Event::kBuild}, State::kBuilding},
      {{State::kError, Event::kArchive}, State::kArchiving},
      {{State::kError, Event::kUpdate}, State::kError},
      {{State::kError, Event::kDelete}, State::kDeleting},
      {{State::kArchiving, Event::kArchiveConflict}, State::kConflict},
      {{State::kArchiving, Event::kArchiveFailed}, State::kError},
      {{State::kSeparating, Event::kSplitDone}, State::kReady},
      {{State::kSeparating, Event::kSplitFailed}, State::kError},
      {{State::kDeleting, Event::kDelete}, State::kDeleting},
  };
  for (int state = 1; state <= kStateCount; ++state) {
    for (int event = 0; event < kEventCount; ++event) {
      const auto key = std::pair(static_cast<State>(state), static_cast<Event>(event));
      const auto it = allowed.find(key);
      EXPECT_EQ(Next(key.first, key.second),
                it == allowed.end() ? std::nullopt : std::optional<State>(it->second))
          << StateName(key.first) << " on " << EventName(key.second);
    }
  }
}

}  // namespace
}  // namespace narthex::prearchive
