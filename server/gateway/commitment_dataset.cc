#include "server/gateway/commitment_dataset.h"

#include <algorithm>
#include <cstdint>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

#include "base/error.h"
#include "base/limits.h"
#include "base/limits_gateway.h"
#include "base/status.h"
#include "server/gateway/byte_order.h"

namespace narthex::gateway {
namespace {

constexpr uint32_t kTransactionUid = 0x00081195;
constexpr uint32_t kFailedSopSequence = 0x00081198;
constexpr uint32_t kReferencedSopSequence = 0x00081199;
constexpr uint32_t kReferencedSopClassUid = 0x00081150;
constexpr uint32_t kReferencedSopInstanceUid = 0x00081155;
constexpr uint32_t kFailureReason = 0x00081197;
constexpr uint32_t kItem = 0xfffee000;
constexpr uint32_t kItemEnd = 0xfffee00d;
constexpr uint32_t kSequenceEnd = 0xfffee0dd;
constexpr uint32_t kUndefined = 0xffffffff;

absl::Status Malformed(absl::string_view what) {
  return InvalidArgument("INVALID_FIELD", absl::StrCat("commitment request: ", what));
}

std::string Uid(absl::string_view value) {
  while (!value.empty() && (value.back() == ' ' || value.back() == '\0')) value.remove_suffix(1);
  return std::string(value.substr(0, limits::kUidMaxBytes + 1));
}

struct Element {
  uint32_t tag = 0;
  uint32_t length = 0;
  bool is_sequence = false;  // of undefined length, or SQ
};

// Reads elements off the front of a data set.
class Reader {
 public:
  Reader(absl::string_view bytes, bool explicit_vr) : rest_(bytes), explicit_vr_(explicit_vr) {}

  bool AtEnd() const { return rest_.empty(); }
  absl::StatusOr<Element> Head();
  absl::StatusOr<absl::string_view> Value(const Element& element);
  // Drops the value of an element, whatever is in it.
  absl::Status Skip(const Element& element, int depth);
  // Calls `visit` with a reader for each item of a sequence.
  template <typename Visit>
  absl::Status ForEachItem(const Element& sequence, Visit visit);

 private:
  absl::StatusOr<absl::string_view> ItemBytes(const Element& item, int depth);
  absl::Status SkipItems(uint32_t end_tag, int depth);

  absl::string_view rest_;
  bool explicit_vr_;
};

absl::StatusOr<Element> Reader::Head() {
  if (rest_.size() < 8) return Malformed("it is cut off");
  Element element;
  element.tag = static_cast<uint32_t>(LittleU16(rest_, 0)) << 16 | LittleU16(rest_, 2);
  const bool delimiter = element.tag >> 16 == 0xfffe;
  size_t head = 8;
  if (!explicit_vr_ || delimiter) {
    element.length = LittleU32(rest_, 4);
    element.is_sequence = element.tag == kReferencedSopSequence || element.length == kUndefined;
  } else {
    const absl::string_view vr = rest_.substr(4, 2);
    element.is_sequence = vr == "SQ";
    static constexpr absl::string_view kLong[] = {"OB", "OD", "OF", "OL", "OV", "OW", "SQ",
                                                  "SV", "UC", "UN", "UR", "UT", "UV"};
    if (std::find(std::begin(kLong), std::end(kLong), vr) != std::end(kLong)) {
      head = 12;
      if (rest_.size() < head) return Malformed("it is cut off");
      element.length = LittleU32(rest_, 8);
    } else {
      element.length = LittleU16(rest_, 6);
    }
  }
  rest_.remove_prefix(head);
  return element;
}

absl::StatusOr<absl::string_view> Reader::Value(const Element& element) {
  if (element.length > rest_.size()) {
    return Malformed(absl::StrFormat("the length of (%04X,%04X)", element.tag >> 16, element.tag & 0xffff));
  }
  const absl::string_view value = rest_.substr(0, element.length);
  rest_.remove_prefix(element.length);
  return value;
}

absl::Status Reader::SkipItems(uint32_t end_tag, int depth) {
  if (depth > limits::kCommitmentMaxDepth) return Malformed("it is nested too deep");
  while (true) {
    NX_ASSIGN_OR_RETURN(const Element element, Head());
    if (element.tag == end_tag) return absl::OkStatus();
    NX_RETURN_IF_ERROR(Skip(element, depth));
  }
}

absl::Status Reader::Skip(const Element& element, int depth) {
  if (element.length != kUndefined) return Value(element).status();
  return SkipItems(element.tag == kItem ? kItemEnd : kSequenceEnd, depth + 1);
}

absl::StatusOr<absl::string_view> Reader::ItemBytes(const Element& item, int depth) {
  if (item.length != kUndefined) return Value(item);
  const absl::string_view before = rest_;
  NX_RETURN_IF_ERROR(SkipItems(kItemEnd, depth));
  return before.substr(0, before.size() - rest_.size() - 8);
}

template <typename Visit>
absl::Status Reader::ForEachItem(const Element& sequence, Visit visit) {
  Reader items = *this;
  if (sequence.length != kUndefined) {
    NX_ASSIGN_OR_RETURN(const absl::string_view bytes, Value(sequence));
    items = Reader(bytes, explicit_vr_);
  }
  while (sequence.length == kUndefined || !items.AtEnd()) {
    NX_ASSIGN_OR_RETURN(const Element item, items.Head());
    if (item.tag == kSequenceEnd) break;
    if (item.tag != kItem) return Malformed("a sequence holds something else than items");
    NX_ASSIGN_OR_RETURN(const absl::string_view bytes, items.ItemBytes(item, 1));
    NX_RETURN_IF_ERROR(visit(Reader(bytes, explicit_vr_)));
  }
  if (sequence.length == kUndefined) rest_ = items.rest_;
  return absl::OkStatus();
}

absl::Status ReadInstance(Reader item, v1::RequestCommitmentRequest& request) {
  if (request.instances_size() >= limits::kCommitmentInstancesMax) {
    return Malformed(absl::StrCat("over ", limits::kCommitmentInstancesMax.get(), " objects"));
  }
  v1::CommittedInstance& instance = *request.add_instances();
  while (!item.AtEnd()) {
    NX_ASSIGN_OR_RETURN(const Element element, item.Head());
    if (element.tag == kReferencedSopClassUid || element.tag == kReferencedSopInstanceUid) {
      NX_ASSIGN_OR_RETURN(const absl::string_view value, item.Value(element));
      (element.tag == kReferencedSopClassUid ? *instance.mutable_sop_class_uid()
                                             : *instance.mutable_sop_instance_uid()) = Uid(value);
    } else {
      NX_RETURN_IF_ERROR(item.Skip(element, 1));
    }
  }
  if (instance.sop_class_uid().empty() || instance.sop_instance_uid().empty()) {
    return Malformed("an item without SOP class and instance UID");
  }
  return absl::OkStatus();
}

// Builds a data set.
class Writer {
 public:
  explicit Writer(bool explicit_vr) : explicit_vr_(explicit_vr) {}

  void Uid(uint32_t tag, absl::string_view value) {
    Head(tag, "UI", static_cast<uint32_t>(value.size() + value.size() % 2));
    out_.append(value.data(), value.size());
    if (value.size() % 2 != 0) out_.push_back('\0');
  }
  void Number(uint32_t tag, uint16_t value) {
    Head(tag, "US", 2);
    AppendLittleU16(value, out_);
  }
  void Sequence(uint32_t tag, const std::string& items) {
    Head(tag, "SQ", static_cast<uint32_t>(items.size()));
    out_ += items;
  }
  void Item(const std::string& elements) {
    Tag(kItem);
    AppendLittleU32(static_cast<uint32_t>(elements.size()), out_);
    out_ += elements;
  }
  const std::string& bytes() const { return out_; }

 private:
  void Tag(uint32_t tag) {
    AppendLittleU16(static_cast<uint16_t>(tag >> 16), out_);
    AppendLittleU16(static_cast<uint16_t>(tag), out_);
  }
  void Head(uint32_t tag, absl::string_view vr, uint32_t length) {
    Tag(tag);
    if (!explicit_vr_) {
      AppendLittleU32(length, out_);
      return;
    }
    out_.append(vr.data(), vr.size());
    if (vr == "SQ") {
      AppendLittleU16(0, out_);
      AppendLittleU32(length, out_);
    } else {
      AppendLittleU16(static_cast<uint16_t>(length), out_);
    }
  }

  const bool explicit_vr_;
  std::string out_;
};

}  // namespace

absl::StatusOr<v1::RequestCommitmentRequest> ParseCommitmentRequest(absl::string_view bytes,
                                                                    bool explicit_vr) {
  v1::RequestCommitmentRequest request;
  Reader reader(bytes, explicit_vr);
  while (!reader.AtEnd()) {
    NX_ASSIGN_OR_RETURN(const Element element, reader.Head());
    if (element.tag == kTransactionUid) {
      NX_ASSIGN_OR_RETURN(const absl::string_view value, reader.Value(element));
      request.set_transaction_uid(Uid(value));
    } else if (element.tag == kReferencedSopSequence && element.is_sequence) {
      NX_RETURN_IF_ERROR(
          reader.ForEachItem(element, [&](const Reader& item) { return ReadInstance(item, request); }));
    } else {
      NX_RETURN_IF_ERROR(reader.Skip(element, 1));
    }
  }
  if (request.transaction_uid().empty()) return Malformed("no transaction UID");
  return request;
}

std::string EncodeCommitmentReport(const v1::CommitmentReport& report, bool explicit_vr) {
  Writer committed(explicit_vr), failed(explicit_vr);
  for (const v1::CommittedInstance& instance : report.instances()) {
    Writer item(explicit_vr);
    item.Uid(kReferencedSopClassUid, instance.sop_class_uid());
    item.Uid(kReferencedSopInstanceUid, instance.sop_instance_uid());
    if (instance.failure_reason() == 0) {
      committed.Item(item.bytes());
    } else {
      item.Number(kFailureReason, static_cast<uint16_t>(instance.failure_reason()));
      failed.Item(item.bytes());
    }
  }
  Writer out(explicit_vr);
  out.Uid(kTransactionUid, report.transaction_uid());
  if (!failed.bytes().empty()) out.Sequence(kFailedSopSequence, failed.bytes());
  if (!committed.bytes().empty()) out.Sequence(kReferencedSopSequence, committed.bytes());
  return out.bytes();
}

Command CommitmentReportCommand(const v1::CommitmentReport& report, uint16_t message_id) {
  const bool all_committed =
      std::all_of(report.instances().begin(), report.instances().end(),
                  [](const v1::CommittedInstance& instance) { return instance.failure_reason() == 0; });
  Command command;
  command.field = kNEventReportRq;
  command.affected_sop_class_uid = std::string(kCommitmentSopClass);
  command.affected_sop_instance_uid = std::string(kCommitmentSopInstance);
  command.message_id = message_id;
  command.data_set_type = 1;
  command.event_type_id = all_committed ? 1 : 2;
  return command;
}

}  // namespace narthex::gateway
