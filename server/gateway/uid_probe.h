// Reads SOP Class UID and SOP Instance UID from the first bytes of a data set, as they come: what the command
// set of a C-STORE says of them must be true before any byte is kept. Bytes are untrusted. Single-threaded.
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

#include "imaging/dicom/transfer_syntax.h"

namespace narthex::gateway {

// It looks for the two elements among the first kWindowBytes and gives up, without a finding, at anything
// that it does not understand there: a sequence of undefined length, a deflated data set. The server reads
// everything properly later; this is for refusing early.
class UidProbe {
 public:
  static constexpr size_t kWindowBytes = 2048;

  explicit UidProbe(absl::string_view transfer_syntax_uid);

  // The next bytes of the data set. False: nothing more will be found, further bytes need not be fed.
  bool Feed(absl::string_view bytes);

  // "" while not found. Without padding; may hold any bytes.
  const std::string& sop_class_uid() const { return sop_class_uid_; }
  const std::string& sop_instance_uid() const { return sop_instance_uid_; }

 private:
  // Takes elements off the window. False: done.
  bool Scan();

  const dicom::TransferSyntax& syntax_;
  bool done_ = false;
  std::string window_;
  size_t offset_ = 0;
  std::string sop_class_uid_;
  std::string sop_instance_uid_;
};

}  // namespace narthex::gateway
