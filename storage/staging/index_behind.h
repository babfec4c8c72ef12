// An index whose rows may be written behind the answer to a sender.
#pragma once

#include <memory>

#include "storage/staging/index.h"

namespace narthex::staging {

// Holds batches written with Durability::kBehind until Settle, or until anything else is read or written:
// nobody sees an index that lacks them. They go to `inner` in the order in which they were written, before
// whatever is written later. What `inner` refuses stays held and is tried again by whoever comes next, who
// gets the error meanwhile; nothing more is held then. Thread-safe.
std::unique_ptr<Index> NewIndexBehind(std::unique_ptr<Index> inner);

}  // namespace narthex::staging
