#include "imaging/dicom/element_scanner.h"

#include <string>

#include "absl/strings/str_cat.h"

#include "base/error.h"
#include "base/limits.h"
#include "base/status.h"
#include "imaging/dicom/rewriter.h"

namespace narthex::dicom {

bool IsBulk(const ElementHead& head) {
  if (head.tag == tags::kPixelData || head.tag == tags::kFloatPixelData ||
      head.tag == tags::kDoubleFloatPixelData || head.tag == tags::kSpectroscopyData) {
    return true;
  }
  return head.tag == tags::kEncapsulatedDocument && head.length != kUndefinedLength &&
         head.length > kEncapsulatedInlineMaxBytes;
}

namespace {

// Whether only what stands inside tells how it is written. So it is also where no VR could be read.
bool NeedsLook(const ElementHead& head, Encoding encoding) {
  return encoding.explicit_vr && head.vr == Vr::kUN && head.length == kUndefinedLength &&
         head.tag.group() != 0xfffe;
}

}  // namespace

absl::Status ElementScanner::Enter(Frame frame) {
  // An item and its sequence count once.
  if (frames_.size() >= 2 * static_cast<size_t>(limits::kSequenceMaxDepth.For(origin_))) {
    return ResourceExhausted("HEADER_TOO_DEEP",
                             absl::StrCat("sequences are nested deeper than ",
                                          limits::kSequenceMaxDepth.For(origin_), "; the object is refused"));
  }
  frames_.push_back(frame);
  return absl::OkStatus();
}

absl::Status ElementScanner::Step(const ElementHead& head, absl::string_view bytes) {
  const bool undefined = head.length == kUndefinedLength;
  const Frame::Kind kind = frames_.empty() ? Frame::Kind::kItem : frames_.back().kind;
  const Encoding encoding = frames_.empty() ? encoding_ : frames_.back().encoding;
  const auto damaged = [&](absl::string_view what) {
    return InvalidArgument("MALFORMED_HEADER",
                           absl::StrCat("byte ", position_, " of the data set: ", what,
                                        "; the object is damaged, send it again or repair it"));
  };
  if (head.tag == tags::kSequenceDelimitationItem || head.tag == tags::kItemDelimitationItem) {
    const bool ends_item = head.tag == tags::kItemDelimitationItem;
    if (frames_.empty() && head.length == 0) {  // some writers leave one too many; the parser keeps it
      position_ += head.bytes;
      return absl::OkStatus();
    }
    if (frames_.empty() || ends_item != (kind == Frame::Kind::kItem))
      return damaged("a delimiter without beginning");
    frames_.pop_back();
    position_ += head.bytes;
    return absl::OkStatus();
  }
  if (kind != Frame::Kind::kItem && head.tag != tags::kItem)
    return damaged("something other than an item in a sequence");
  if (!undefined) {
    position_ += uint64_t{head.bytes} + head.length;
    return absl::OkStatus();
  }
  const size_t inside = position_ + head.bytes;
  position_ = inside;
  if (kind == Frame::Kind::kFragments) return damaged("a fragment of undefined length");
  if (kind == Frame::Kind::kSequence) return Enter({Frame::Kind::kItem, encoding});
  if (HoldsFragments(head)) return Enter({Frame::Kind::kFragments, Encoding::ExplicitLittle()});
  Encoding inner = encoding;
  if (NeedsLook(head, encoding) && !ShowsExplicitVr(bytes.substr(inside), encoding))
    inner = Encoding::ImplicitLittle();
  return Enter({Frame::Kind::kSequence, inner});
}

absl::StatusOr<ElementScanner::State> ElementScanner::Scan(absl::string_view bytes) {
  while (position_ < bytes.size()) {
    const Encoding encoding = frames_.empty() ? encoding_ : frames_.back().encoding;
    const absl::string_view rest = bytes.substr(position_);
    ElementHead head;
    if (!ReadElementHead(rest, encoding, &head)) return State::kNeedMore;
    if (frames_.empty()) {
      if (only_group_ >= 0 && head.tag.group() != only_group_) return State::kOtherGroup;
      if (IsBulk(head)) {
        bulk_head_ = head;
        return State::kBulk;
      }
    }
    // Near the end of what has arrived it waits for what must be looked at: else another guess would follow
    // from another size of pieces.
    if (NeedsLook(head, encoding) && rest.size() < head.bytes + kUnknownLookBytes) return State::kNeedMore;
    NX_RETURN_IF_ERROR(Step(head, bytes));
    if (position_ > limits::kHeaderMaxBytes.For(origin_)) {
      return ResourceExhausted(
          "HEADER_TOO_LARGE",
          absl::StrCat("what precedes or follows the pixels exceeds ", limits::kHeaderMaxBytes.For(origin_),
                       " bytes; the object is refused"));
    }
  }
  return State::kNeedMore;
}

}  // namespace narthex::dicom
