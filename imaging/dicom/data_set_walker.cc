#include "imaging/dicom/data_set_walker.h"

#include <bit>
#include <charconv>

#include "absl/strings/str_cat.h"

#include "base/error.h"
#include "base/limits.h"
#include "imaging/dicom/charset.h"

namespace narthex::dicom {
namespace {

// VRs whose value may be a sequence of fragments without length (PS3.5 annex A.4).
bool HoldsFragments(Vr vr) { return vr == Vr::kOB || vr == Vr::kOW || vr == Vr::kOF || vr == Vr::kOD; }

// OB OW OF OD OL OV: bytes that mean nothing by themselves and have no padding. (Vr::kUN may well be text.)
bool IsOther(Vr vr) { return (static_cast<uint16_t>(vr) & 0xff) == 'O'; }

}  // namespace

DataSetWalker::DataSetWalker(const AttributeSet& attributes, bool walk_all_sequences, Origin origin)
    : attributes_(attributes),
      walk_all_sequences_(walk_all_sequences),
      header_max_bytes_(limits::kHeaderMaxBytes.For(origin)),
      elements_max_(static_cast<uint32_t>(limits::kHeaderMaxElements.For(origin))),
      value_max_bytes_(static_cast<uint32_t>(limits::kValueMaxBytes.For(origin))),
      depth_max_(static_cast<size_t>(limits::kSequenceMaxDepth.For(origin))) {
  frames_.reserve(8);
}

void DataSetWalker::Reset() {
  offset_ = 0;
  skip_bytes_ = 0;
  element_count_ = 0;
  has_private_ = false;
  saw_directory_records_ = false;
  bulk_tag_ = Tag();
  frames_.clear();
  error_ = absl::OkStatus();
}

void DataSetWalker::Begin(DataSetEncoding encoding, uint64_t object_size) {
  frames_.clear();
  Frame& top = frames_.emplace_back();
  top.encoding = encoding;
  top.undefined_length = object_size == 0;
  if (object_size > 0) top.end = object_size;
  top.nodes = top.cursor = attributes_.nodes().data();
}

absl::Status DataSetWalker::Walk(absl::string_view* bytes, HeaderFactsBuilder* facts, bool* done) {
  facts_ = facts;
  Step step = Step::kGoOn;
  while (step == Step::kGoOn) {
    if (skip_bytes_ > 0) {
      bytes->remove_prefix(TakeSkipped(bytes->size()));
      if (skip_bytes_ > 0) break;
    }
    while (frames_.size() > 1 && offset_ >= frames_.back().end) Pop();
    if (frames_.size() == 1 && frames_.back().encoding == DataSetEncoding::kExplicitLittle) WalkPlain(bytes);
    const Frame& frame = frames_.back();
    ScanHead head;
    if (!ReadHead(bytes->data(), bytes->size(), frame.encoding, &head)) break;
    if (++element_count_ > elements_max_) {
      step = Fail("HEADER_TOO_LARGE",
                  absl::StrCat("the header has more than ", elements_max_, " elements; refused"));
    } else if (offset_ > header_max_bytes_) {
      step = Fail("HEADER_TOO_LARGE",
                  absl::StrCat("the header is larger than ", header_max_bytes_, " bytes; refused"));
    } else if (frame.kind == Kind::kItem) {
      step = OnElement(head, bytes);
    } else {
      step = frame.kind == Kind::kSequence ? OnItem(head, bytes) : OnFragment(head, bytes);
    }
    if (step == Step::kNeedMore) --element_count_;  // it comes again
  }
  facts->set_has_private(has_private_);
  *done = step == Step::kDone;
  return error_;
}

absl::Status DataSetWalker::End(size_t left_over, HeaderFactsBuilder* facts) {
  facts_ = facts;
  while (frames_.size() > 1 && offset_ >= frames_.back().end) Pop();
  const bool complete = frames_.size() == 1 && skip_bytes_ == 0 && left_over == 0;
  if (!complete) Stop("TRUNCATED_HEADER", "the object ends inside its header", frames_.back().last_tag);
  return error_;
}

// The rules are those of OnElement and OnValue; whatever needs more thought is left to them.
void DataSetWalker::WalkPlain(absl::string_view* bytes) {
  Frame& frame = frames_.back();
  const uint64_t limit = std::min<uint64_t>(frame.end, header_max_bytes_);
  if (offset_ >= limit) return;
  const char* p = bytes->data();
  const char* const end = p + std::min<uint64_t>(bytes->size(), limit - offset_);
  const uint32_t count_before = element_count_;
  const uint32_t count_max = elements_max_;
  const uint32_t value_max = value_max_bytes_;
  const Node* cursor = frame.cursor;
  Tag last = frame.last_tag;
  while (end - p >= 12 && element_count_ < count_max) {
    const Tag tag(std::rotl(LoadLittle<uint32_t>(p), 16));
    if (tag >= Tag(0x7fe0, 0) || tag < Tag(0x0008, 0) || tag <= last) break;
    const VrForm form = FormOfVr(static_cast<uint8_t>(p[4]), static_cast<uint8_t>(p[5]));
    if (form == VrForm::kUnknown) break;
    const bool is_short = form == VrForm::kShort;
    const size_t length = is_short ? LoadLittle<uint16_t>(p + 6) : LoadLittle<uint32_t>(p + 8);
    const char* const value = p + (is_short ? 8 : 12);
    if (length > static_cast<size_t>(end - value) || length > limits::kBulkValueMinBytes) break;
    while (cursor->tag < tag) ++cursor;
    const Vr vr = static_cast<Vr>(LoadLittle<uint16_t>(p + 4));
    if (cursor->tag == tag) {
      if (cursor->children_begin != 0 || vr == Vr::kSQ || vr == Vr::kUN || length > value_max) break;
      CaptureTop(tag, vr, absl::string_view(value, length));
    } else if (walk_all_sequences_ && vr == Vr::kSQ) {
      break;
    }
    has_private_ |= tag.is_private();
    last = tag;
    p = value + length;
    ++element_count_;
  }
  if (element_count_ == count_before) return;
  frame.cursor = cursor;
  frame.last_tag = last;
  const auto taken = static_cast<size_t>(p - bytes->data());
  offset_ += taken;
  bytes->remove_prefix(taken);
}

DataSetWalker::Step DataSetWalker::OnElement(const ScanHead& head, absl::string_view* bytes) {
  const Tag tag = head.tag;
  if (tag.group() == 0xfffe) return OnDelimiterInItem(head, bytes);
  Frame& frame = frames_.back();
  const bool is_top = frames_.size() == 1;
  if (is_top && tag.group() >= 0x7fe0) {
    bulk_tag_ = tag;
    return Step::kDone;
  }
  if (tag.is_private() && tag.group() > 0x0008) has_private_ = true;
  if (is_top && tag == tags::kDirectoryRecordSequence) saw_directory_records_ = true;
  const Node* node = frame.nodes == nullptr ? nullptr : FindNode(&frame, tag);
  Vr vr = head.vr;
  if (!head.vr_known || vr == Vr::kUN) vr = node != nullptr ? node->vr : Vr::kUN;
  return head.length == kUndefinedLength ? OnUndefinedLength(head, vr, node, bytes)
                                         : OnValue(head, vr, node, bytes);
}

DataSetWalker::Step DataSetWalker::OnDelimiterInItem(const ScanHead& head, absl::string_view* bytes) {
  if (head.tag == tags::kItem) return Stop("MALFORMED_HEADER", "an item without a sequence", head.tag);
  // A delimiter ends what has no length. Where there is nothing to end, it is an oddity that harms nobody.
  const bool open = frames_.size() > 1 && frames_.back().undefined_length;
  if (open && head.tag == tags::kItemDelimitationItem) {
    Pop();
  } else if (open && head.tag == tags::kSequenceDelimitationItem) {
    Pop();
    if (frames_.back().undefined_length) Pop();
  }
  return Skip(head.size, bytes);
}

DataSetWalker::Step DataSetWalker::OnUndefinedLength(const ScanHead& head, Vr vr, const Node* node,
                                                     absl::string_view* bytes) {
  const Frame& frame = frames_.back();
  const uint64_t end = frame.end;
  const bool fragments = head.tag == tags::kPixelData || (head.vr_known && HoldsFragments(head.vr));
  if (fragments) {
    Frame pushed;
    pushed.kind = Kind::kFragments;
    pushed.encoding = frame.encoding;
    pushed.undefined_length = true;
    pushed.end = end;
    frames_.push_back(std::move(pushed));
    return Skip(head.size, bytes);
  }
  if (head.vr_known && head.vr != Vr::kSQ && head.vr != Vr::kUN) {
    return Stop("MALFORMED_HEADER", "an element that is no sequence has no length", head.tag);
  }
  return PushSequence(head, vr, node, end, bytes);
}

DataSetWalker::Step DataSetWalker::OnValue(const ScanHead& head, Vr vr, const Node* node,
                                           absl::string_view* bytes) {
  const Frame& frame = frames_.back();
  const bool is_top = frames_.size() == 1;
  const uint64_t value_at = offset_ + head.size;
  uint64_t length = head.length;
  if (value_at > frame.end || length > frame.end - value_at) {
    if (is_top)
      return Stop("TRUNCATED_HEADER", "an element's length points beyond the end of the object", head.tag);
    // An item that is shorter than its elements: the item's own length wins, as its neighbours depend on it.
    if (value_at > frame.end) return Skip(frame.end - offset_, bytes);
    length = frame.end - value_at;
  }
  const Node* children = ChildrenOf(node);
  const bool is_sequence = head.vr_known && head.vr != Vr::kUN ? vr == Vr::kSQ
                                                               : children != nullptr || vr == Vr::kSQ ||
                                                                     (walk_all_sequences_ && !head.vr_known &&
                                                                      DictionaryVr(head.tag) == Vr::kSQ);
  if (is_sequence && (children != nullptr || walk_all_sequences_)) {
    return PushSequence(head, vr, node, value_at + length, bytes);
  }
  const bool is_charset = !is_top && frame.nodes != nullptr && head.tag == tags::kSpecificCharacterSet;
  if ((node == nullptr || !node->wanted) && !is_charset) {
    if (is_top && length > limits::kBulkValueMinBytes && AllUidsSeen()) {
      bulk_tag_ = head.tag;
      return Step::kDone;
    }
    return Skip(head.size + length, bytes);
  }
  if (length > value_max_bytes_) {
    facts_->set_has_oversized_value(true);
    return Skip(head.size + length, bytes);
  }
  if (bytes->size() < head.size + length) return Step::kNeedMore;
  const absl::string_view raw = bytes->substr(head.size, length);
  if (is_charset) frames_.back().charset = std::string(TrimValue(raw, Vr::kCS));
  // What stands in an element of VR UN is little endian whatever surrounds it (PS3.5 section 6.2.2).
  const bool is_un = head.vr_known && head.vr == Vr::kUN;
  if (node != nullptr && node->wanted) Capture(head.tag, vr, raw, !is_un && IsBig(frame.encoding));
  return Skip(head.size + length, bytes);
}

DataSetWalker::Step DataSetWalker::PushSequence(const ScanHead& head, Vr vr, const Node* node, uint64_t end,
                                                absl::string_view* bytes) {
  const Frame& frame = frames_.back();
  const bool undefined = head.length == kUndefinedLength;
  if (sequence_depth() >= depth_max_) {
    if (!undefined && !walk_all_sequences_) return Skip(end - offset_, bytes);
    return Fail("HEADER_TOO_DEEP", absl::StrCat("more than ", depth_max_, " sequences within each other at ",
                                                head.tag.ToString(), "; refused"));
  }
  if (node != nullptr && node->wanted) Capture(head.tag, Vr::kSQ, {}, false);
  Frame pushed;
  pushed.kind = Kind::kSequence;
  // CP-246: a sequence in an element of VR UN is implicit VR little endian.
  pushed.encoding = head.vr_known && head.vr == Vr::kUN ? DataSetEncoding::kImplicitLittle : frame.encoding;
  pushed.undefined_length = undefined;
  pushed.tag = head.tag;
  pushed.end = end;
  pushed.nodes = ChildrenOf(node);
  frames_.push_back(std::move(pushed));
  return Skip(head.size, bytes);
}

DataSetWalker::Step DataSetWalker::OnItem(const ScanHead& head, absl::string_view* bytes) {
  Frame& frame = frames_.back();
  if (head.tag == tags::kSequenceDelimitationItem) {
    if (frame.undefined_length) Pop();
    return Skip(head.size, bytes);
  }
  if (head.tag == tags::kItemDelimitationItem) return Skip(head.size, bytes);
  if (head.tag != tags::kItem) {
    if (!frame.undefined_length) return Skip(frame.end - offset_, bytes);
    Pop();  // its end was forgotten: what comes belongs to the item around it
    return Step::kGoOn;
  }
  // Only the first item is wanted; the rest of a sequence is passed over in one go where its length allows
  // that.
  const bool wanted = !frame.first_item_seen && frame.nodes != nullptr;
  frame.first_item_seen = true;
  const uint64_t content_at = offset_ + head.size;
  const bool undefined = head.length == kUndefinedLength;
  if (!wanted && !walk_all_sequences_) {
    if (!frame.undefined_length) return Skip(frame.end - offset_, bytes);
    if (!undefined) {
      const uint64_t end = std::min(frame.end, content_at + head.length);
      return Skip(std::max(end, offset_) - offset_, bytes);
    }
  }
  Frame item;
  item.encoding = frame.encoding;
  item.undefined_length = undefined;
  item.end = undefined ? frame.end : std::min(frame.end, content_at + head.length);
  if (wanted) item.nodes = item.cursor = frame.nodes;
  frames_.push_back(std::move(item));
  return Skip(head.size, bytes);
}

DataSetWalker::Step DataSetWalker::OnFragment(const ScanHead& head, absl::string_view* bytes) {
  if (head.tag == tags::kSequenceDelimitationItem) {
    Pop();
    return Skip(head.size, bytes);
  }
  if (head.tag != tags::kItem || head.length == kUndefinedLength) {
    return Stop("MALFORMED_HEADER", "encapsulated pixels are not made of fragments", head.tag);
  }
  return Skip(uint64_t{head.size} + head.length, bytes);
}

DataSetWalker::Step DataSetWalker::Skip(uint64_t count, absl::string_view* bytes) {
  const auto now = static_cast<size_t>(std::min<uint64_t>(count, bytes->size()));
  bytes->remove_prefix(now);
  offset_ += now;
  skip_bytes_ = count - now;
  return Step::kGoOn;
}

DataSetWalker::Step DataSetWalker::Stop(absl::string_view reason, absl::string_view what, Tag tag) {
  if (!AllUidsSeen()) {
    return Fail(reason, absl::StrCat(what, ", near ", tag.ToString(), " at offset ", offset_));
  }
  facts_->set_is_truncated(true);
  return Step::kDone;
}

DataSetWalker::Step DataSetWalker::Fail(absl::string_view reason, absl::string_view message) {
  error_ = InvalidArgument(reason, message);
  return Step::kDone;
}

// The node of `tag` at this level, or null. Tags ascend, so that the cursor meets every node once.
const AttributeSet::Node* DataSetWalker::FindNode(Frame* frame, Tag tag) {
  if (tag < frame->last_tag) frame->cursor = frame->nodes;  // out of order: search from the start
  frame->last_tag = tag;
  const Node* cursor = frame->cursor;
  while (cursor->tag < tag) ++cursor;
  frame->cursor = cursor;
  return cursor->tag == tag && tag.value() != std::numeric_limits<uint32_t>::max() ? cursor : nullptr;
}

const AttributeSet::Node* DataSetWalker::ChildrenOf(const Node* node) const {
  if (node == nullptr || node->children_begin == 0) return nullptr;
  return attributes_.nodes().data() + node->children_begin;
}

void DataSetWalker::CaptureTop(Tag tag, Vr vr, absl::string_view raw) {
  if (!IsBinaryNumber(vr)) {
    facts_->AddTop(tag, IsOther(vr) ? raw : TrimValue(raw, vr), vr);
  } else if (vr == Vr::kUS && raw.size() == 2) {
    char text[8];
    const auto end = std::to_chars(text, text + sizeof text, LoadLittle<uint16_t>(raw.data()));
    facts_->AddTop(tag, absl::string_view(text, static_cast<size_t>(end.ptr - text)), vr);
  } else {
    facts_->AddTop(tag, RenderNumbers(raw, vr, /*big=*/false), vr);
  }
}

void DataSetWalker::Capture(Tag tag, Vr vr, absl::string_view raw, bool big) {
  Tag path[TagPath::kMaxDepth + 1];
  size_t depth = 0;
  absl::string_view charset;
  if (frames_.size() > 1) {
    for (const Frame& frame : frames_) {
      if (frame.kind == Kind::kSequence) path[depth++] = frame.tag;
      if (!frame.charset.empty()) charset = frame.charset;
    }
  }
  path[depth++] = tag;
  const TagPath where = TagPath::Of(absl::MakeConstSpan(path, depth));
  if (IsBinaryNumber(vr)) {
    facts_->Add(where, RenderNumbers(raw, vr, big), vr);
    return;
  }
  const absl::string_view value = IsOther(vr) ? raw : TrimValue(raw, vr);
  if (!charset.empty() && UsesCharacterSet(vr)) {
    facts_->Add(where, ToUtf8(value, charset, KindOfText(vr)), vr, /*utf8=*/true);
  } else {
    facts_->Add(where, value, vr);
  }
}

bool DataSetWalker::AllUidsSeen() const {
  const HeaderFacts& facts = facts_->facts();
  return !facts.sop_class_uid().empty() && !facts.sop_instance_uid().empty() &&
         !facts.study_instance_uid().empty() && !facts.series_instance_uid().empty();
}

}  // namespace narthex::dicom
