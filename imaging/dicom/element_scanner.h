// Finds where the elements at the top level of a data set end while its bytes still arrive, without looking
// twice at any byte and without recursion. Thread-compatible.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

#include "imaging/dicom/dataset.h"
#include "imaging/dicom/element_head.h"

namespace narthex::dicom {

class ElementScanner {
 public:
  enum class State {
    kNeedMore,    // the bytes end before the next element at the top level is complete
    kBulk,        // bulk data begin at position(); bulk_head() is their head
    kOtherGroup,  // only with only_group: an element of another group begins at position()
  };

  ElementScanner(Encoding encoding, Origin origin) : encoding_(encoding), origin_(origin) {}
  // Stops at the first element that is not of `group`.
  void set_only_group(uint16_t group) { only_group_ = group; }

  // Goes on in `bytes`, which begins with the data set and has grown since the last call; it makes no
  // difference by how much. INVALID_ARGUMENT (MALFORMED_HEADER): damage.  RESOURCE_EXHAUSTED
  // (HEADER_TOO_DEEP, HEADER_TOO_LARGE): beyond a limit.
  absl::StatusOr<State> Scan(absl::string_view bytes);

  // Where the next head begins (may lie beyond the bytes seen so far).
  uint64_t position() const { return position_; }
  // position() is the end of a complete element at the top level.
  bool at_top() const { return frames_.empty(); }
  const ElementHead& bulk_head() const { return bulk_head_; }

 private:
  // What of undefined length encloses the position.
  struct Frame {
    enum class Kind : uint8_t { kSequence, kItem, kFragments };
    Kind kind;
    Encoding encoding;
  };
  absl::Status Step(const ElementHead& head, absl::string_view bytes);
  absl::Status Enter(Frame frame);

  const Encoding encoding_;
  const Origin origin_;
  int only_group_ = -1;
  uint64_t position_ = 0;
  std::vector<Frame> frames_;
  ElementHead bulk_head_;
};

// Whether the value under `head`, at the top level, is passed through instead of being held.
bool IsBulk(const ElementHead& head);

}  // namespace narthex::dicom
