#include "imaging/dicom/rewriter.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

#include "base/error.h"
#include "base/status.h"
#include "imaging/dicom/deflate_stream.h"
#include "imaging/dicom/element_scanner.h"

namespace narthex::dicom {
namespace {

constexpr size_t kPreambleBytes = 128;
constexpr size_t kMagicEnd = kPreambleBytes + 4;
// And the longest head of an element: with fewer, an object would be judged otherwise for a VR of long
// length.
constexpr size_t kDecisionBytes = kMagicEnd + 12;
// What is taken of a piece before looking whether the header has ended: most headers are shorter.
constexpr size_t kSliceBytes = 16 << 10;
constexpr uint16_t kFirstGroupMax =
    0x0050;  // fixed: a guess at the kind; a bare data set that begins with a higher group is none

bool IsBlank(absl::string_view bytes) { return bytes.find_first_not_of('\0') == absl::string_view::npos; }

// Whether the bytes may begin a data set without file meta group.
bool LooksLikeElement(absl::string_view bytes) {
  ElementHead head;
  if (!ReadElementHead(bytes, Encoding::ExplicitLittle(), &head) || IsBlank(bytes.substr(0, 8))) return false;
  const bool swapped = head.tag.group() != 0 && (head.tag.group() & 0xff) == 0;
  const uint16_t group = swapped ? head.tag.group() >> 8 : head.tag.group();
  return group <= kFirstGroupMax && (group != 0 || head.tag.element() == 0);
}

// "DICM" behind a preamble. A bare data set may have the same letters there by chance; then no element
// follows them.
bool HasMagic(absl::string_view bytes) {
  if (bytes.size() < kMagicEnd || bytes.substr(kPreambleBytes, 4) != "DICM") return false;
  const absl::string_view behind = bytes.substr(kMagicEnd);
  return behind.size() < 8 || LooksLikeElement(behind) || !LooksLikeElement(bytes);
}

}  // namespace

// A machine with one state for each part of an object. `buffer_` holds the part that is being collected.
class HeaderRewriter::Impl {
 public:
  Impl(HeaderEditor& editor, Output output, RewriteOptions options)
      : editor_(editor), output_(std::move(output)), options_(std::move(options)) {}

  absl::Status Add(absl::string_view piece) { return in_data_ ? AddEncoded(piece) : AddMeta(piece); }
  absl::Status Finish();

  ObjectHeader header_;
  bool header_done_ = false;
  bool truncated_ = false;
  uint64_t meta_bytes_ = 0;    // preamble and meta group
  uint64_t header_bytes_ = 0;  // of the data set before the bulk data

 private:
  enum class Part { kHeader, kBulk, kFragmentHead, kFragmentBody, kTrailing };

  absl::Status AddMeta(absl::string_view piece);
  absl::Status StartMeta(bool at_end);
  absl::Status MetaDone(uint64_t end);
  absl::Status AddEncoded(absl::string_view piece);
  absl::Status AddData(absl::string_view piece);
  absl::Status Collect(absl::string_view* piece);
  absl::Status StartScanner(bool at_end);
  absl::Status CollectedUntilBulk(std::string* beyond);
  absl::Status PartDone(uint64_t end);
  absl::Status HeaderDone(std::string bytes);
  absl::Status TrailingDone(std::string bytes);
  absl::Status PassBulk(absl::string_view* piece);
  absl::Status PassFragmentHead(absl::string_view* piece);
  absl::Status BulkEnded();
  absl::Status Put(absl::string_view bytes) {
    if (bytes.empty()) return absl::OkStatus();
    return deflate_ == nullptr ? output_(bytes) : deflate_->Add(bytes, output_);
  }

  HeaderEditor& editor_;
  Output output_;
  RewriteOptions options_;
  bool meta_started_ = false;
  bool in_data_ = false;
  bool has_magic_ = false;
  std::string buffer_;
  std::optional<ElementScanner> scanner_;
  Encoding declared_;  // explicit VR little endian if nothing declares it
  Encoding encoding_;
  Part part_ = Part::kHeader;
  uint64_t bulk_left_ = 0;
  std::unique_ptr<BulkFilter> filter_;  // of the bulk element that is passing; may be null
  std::unique_ptr<InflateStream> inflate_;
  std::unique_ptr<DeflateStream> deflate_;
};

absl::Status HeaderRewriter::Impl::AddMeta(absl::string_view piece) {
  while (!piece.empty() && !in_data_) {
    const size_t take = std::min(piece.size(), kSliceBytes);
    buffer_.append(piece.data(), take);
    piece.remove_prefix(take);
    if (!meta_started_) {
      if (buffer_.size() < kDecisionBytes) continue;
      NX_RETURN_IF_ERROR(StartMeta(false));
    }
    if (in_data_) break;
    NX_ASSIGN_OR_RETURN(const ElementScanner::State state, scanner_->Scan(buffer_));
    if (state != ElementScanner::State::kNeedMore) NX_RETURN_IF_ERROR(MetaDone(scanner_->position()));
  }
  return piece.empty() ? absl::OkStatus() : AddEncoded(piece);
}

// Decides what kind of object it is, once kDecisionBytes (or all) are there.
absl::Status HeaderRewriter::Impl::StartMeta(bool at_end) {
  meta_started_ = true;
  has_magic_ = HasMagic(buffer_);
  if (has_magic_) {
    header_.preamble = buffer_.substr(0, kPreambleBytes);
    buffer_.erase(0, kMagicEnd);
    meta_bytes_ = kMagicEnd;
  }
  if (!has_magic_ && !LooksLikeElement(buffer_)) {
    return InvalidArgument(
        "NOT_DICOM", "there is neither DICM at byte 128 nor a data set at byte 0; it is no DICOM object");
  }
  ElementHead head;
  const bool has_head = ReadElementHead(buffer_, Encoding::ExplicitLittle(), &head);
  if (has_head && head.tag.group() != 0x0002) return MetaDone(0);
  scanner_.emplace(Encoding::ExplicitLittle(), options_.origin);
  scanner_->set_only_group(0x0002);
  return absl::OkStatus();
}

absl::Status HeaderRewriter::Impl::MetaDone(uint64_t end) {
  std::string rest = buffer_.substr(end);
  buffer_.resize(end);
  meta_bytes_ += end;
  std::string syntax_uid = options_.transfer_syntax_uid;
  if (end > 0) {
    NX_ASSIGN_OR_RETURN(header_.meta,
                        DataSet::Parse(std::move(buffer_), Encoding::ExplicitLittle(), options_.origin));
    const std::string declared = header_.meta->TextOrEmpty(tags::kTransferSyntaxUID);
    if (!declared.empty()) syntax_uid = declared;
  }
  buffer_.clear();
  scanner_.reset();
  in_data_ = true;
  if (!syntax_uid.empty()) {
    header_.syntax = FindTransferSyntax(syntax_uid);
    declared_ = Encoding::Of(header_.syntax);
  }
  if (header_.syntax.deflated) inflate_ = std::make_unique<InflateStream>(options_.origin);
  return AddEncoded(rest);
}

absl::Status HeaderRewriter::Impl::AddEncoded(absl::string_view piece) {
  if (inflate_ == nullptr) return AddData(piece);
  return inflate_->Add(piece, [this](absl::string_view inflated) { return AddData(inflated); });
}

absl::Status HeaderRewriter::Impl::AddData(absl::string_view piece) {
  while (!piece.empty()) {
    switch (part_) {
      case Part::kHeader:
      case Part::kTrailing:
        NX_RETURN_IF_ERROR(Collect(&piece));
        break;
      case Part::kBulk:
      case Part::kFragmentBody:
        NX_RETURN_IF_ERROR(PassBulk(&piece));
        break;
      case Part::kFragmentHead:
        NX_RETURN_IF_ERROR(PassFragmentHead(&piece));
        break;
    }
  }
  return absl::OkStatus();
}

absl::Status HeaderRewriter::Impl::Collect(absl::string_view* piece) {
  // A long value is taken in one go; else a slice, because the bulk data may begin in it.
  uint64_t wanted = kSliceBytes;
  if (scanner_.has_value() && scanner_->position() > buffer_.size()) {
    wanted = std::max<uint64_t>(wanted, scanner_->position() - buffer_.size());
  }
  const size_t take = static_cast<size_t>(std::min<uint64_t>(piece->size(), wanted));
  buffer_.append(piece->data(), take);
  piece->remove_prefix(take);
  if (!scanner_.has_value()) NX_RETURN_IF_ERROR(StartScanner(false));
  if (!scanner_.has_value()) return absl::OkStatus();
  std::string beyond;
  NX_RETURN_IF_ERROR(CollectedUntilBulk(&beyond));
  // What was taken too much goes back. Only where the scanner had to wait for enough bytes to tell the
  // encoding, some of it may be of earlier pieces; these few are treated first.
  const size_t back = std::min(beyond.size(), take);
  NX_RETURN_IF_ERROR(AddData(absl::string_view(beyond).substr(0, beyond.size() - back)));
  *piece = absl::string_view(piece->data() - back, piece->size() + back);
  return absl::OkStatus();
}

absl::Status HeaderRewriter::Impl::StartScanner(bool at_end) {
  if (!at_end && part_ == Part::kHeader && buffer_.size() < kDetectBytes) return absl::OkStatus();
  if (part_ == Part::kHeader) encoding_ = DetectEncoding(buffer_, declared_);
  scanner_.emplace(encoding_, options_.origin);
  return absl::OkStatus();
}

absl::Status HeaderRewriter::Impl::CollectedUntilBulk(std::string* beyond) {
  NX_ASSIGN_OR_RETURN(const ElementScanner::State state, scanner_->Scan(buffer_));
  if (state != ElementScanner::State::kBulk) return absl::OkStatus();
  const ElementHead head = scanner_->bulk_head();
  const std::string head_bytes = buffer_.substr(scanner_->position(), head.bytes);
  *beyond = buffer_.substr(scanner_->position() + head.bytes);
  NX_RETURN_IF_ERROR(editor_.AllowBulk(head.tag));
  NX_RETURN_IF_ERROR(PartDone(scanner_->position()));
  NX_ASSIGN_OR_RETURN(filter_, editor_.FilterBulk({head.tag, head.vr, head.length, head_bytes}, header_));
  if (filter_ == nullptr) NX_RETURN_IF_ERROR(Put(head_bytes));
  part_ = head.length == kUndefinedLength ? Part::kFragmentHead : Part::kBulk;
  bulk_left_ = head.length == kUndefinedLength ? 0 : head.length;
  return part_ == Part::kBulk && bulk_left_ == 0 ? BulkEnded() : absl::OkStatus();
}

// The first `end` bytes of the buffer are a complete header or trailing part.
absl::Status HeaderRewriter::Impl::PartDone(uint64_t end) {
  std::string bytes = std::move(buffer_);
  bytes.resize(end);
  buffer_.clear();
  scanner_.reset();
  return part_ == Part::kHeader ? HeaderDone(std::move(bytes)) : TrailingDone(std::move(bytes));
}

absl::Status HeaderRewriter::Impl::HeaderDone(std::string bytes) {
  header_bytes_ = bytes.size();
  NX_ASSIGN_OR_RETURN(header_.data, DataSet::Parse(std::move(bytes), encoding_, options_.origin));
  const std::string former_uid = header_.data->TextOrEmpty(tags::kSOPInstanceUID);
  NX_RETURN_IF_ERROR(editor_.EditHeader(header_));
  header_done_ = true;
  const std::string uid = header_.data->TextOrEmpty(tags::kSOPInstanceUID);
  if (uid != former_uid && header_.meta != nullptr && header_.meta->Has(tags::kMediaStorageSOPInstanceUID)) {
    header_.meta->SetBytes(tags::kMediaStorageSOPInstanceUID, Vr::kUI, uid);
  }
  const std::string written = header_.data->Write();
  // Whoever reads this must see it as we did; only in damaged objects does the encoding hang on an element
  // that went.
  const bool bare = !has_magic_ && header_.meta == nullptr;
  const std::vector<Element>& elements = header_.data->elements();
  const bool meta_again = !elements.empty() && elements.front().tag().group() == 0x0002;
  const bool readable = DetectEncoding(written, declared_) == encoding_ && !meta_again &&
                        (!bare || (LooksLikeElement(written) && !HasMagic(written)));
  if (!written.empty() && header_.data->changed() && !readable) {
    return InvalidArgument("MALFORMED_HEADER",
                           "the transfer syntax contradicts the data set; the object is damaged");
  }
  std::string front;
  if (has_magic_) front = absl::StrCat(header_.preamble, "DICM");
  if (header_.meta != nullptr) front += header_.meta->Write();
  if (!front.empty()) NX_RETURN_IF_ERROR(output_(front));
  if (inflate_ != nullptr) deflate_ = std::make_unique<DeflateStream>();
  return Put(written);
}

absl::Status HeaderRewriter::Impl::TrailingDone(std::string bytes) {
  if (bytes.empty()) return absl::OkStatus();
  if (IsBlank(bytes)) return Put(bytes);  // some files are filled up with zeros
  NX_ASSIGN_OR_RETURN(std::unique_ptr<DataSet> trailing,
                      DataSet::Parse(std::move(bytes), encoding_, options_.origin));
  NX_RETURN_IF_ERROR(editor_.EditTrailing(*trailing, header_));
  return Put(trailing->Write());
}

absl::Status HeaderRewriter::Impl::BulkEnded() {
  part_ = Part::kTrailing;
  scanner_.reset();
  const std::unique_ptr<BulkFilter> filter = std::move(filter_);
  if (filter == nullptr) return absl::OkStatus();
  return filter->Finish([this](absl::string_view bytes) { return Put(bytes); });
}

absl::Status HeaderRewriter::Impl::PassBulk(absl::string_view* piece) {
  const size_t take = static_cast<size_t>(std::min<uint64_t>(piece->size(), bulk_left_));
  const absl::string_view bytes = piece->substr(0, take);
  const auto put = [this](absl::string_view changed) { return Put(changed); };
  NX_RETURN_IF_ERROR(filter_ == nullptr ? Put(bytes) : filter_->Add(bytes, put));
  piece->remove_prefix(take);
  bulk_left_ -= take;
  if (bulk_left_ > 0) return absl::OkStatus();
  if (part_ != Part::kFragmentBody) return BulkEnded();
  part_ = Part::kFragmentHead;
  return absl::OkStatus();
}

absl::Status HeaderRewriter::Impl::PassFragmentHead(absl::string_view* piece) {
  const size_t take = std::min(piece->size(), 8 - buffer_.size());
  buffer_.append(piece->data(), take);
  piece->remove_prefix(take);
  if (buffer_.size() < 8) return absl::OkStatus();
  const Tag tag(ReadUint16(buffer_.data(), false), ReadUint16(buffer_.data() + 2, false));
  const uint32_t length = ReadUint32(buffer_.data() + 4, false);
  if (filter_ == nullptr) NX_RETURN_IF_ERROR(Put(buffer_));
  buffer_.clear();
  if (tag == tags::kSequenceDelimitationItem) return BulkEnded();
  if (tag != tags::kItem || length == kUndefinedLength) {
    return InvalidArgument(
        "MALFORMED_HEADER",
        "the encapsulated pixel data hold something that is no fragment; the object is damaged");
  }
  bulk_left_ = length;
  part_ = length == 0 ? Part::kFragmentHead : Part::kFragmentBody;
  if (filter_ == nullptr) return absl::OkStatus();
  return filter_->BeginFragment(length, [this](absl::string_view bytes) { return Put(bytes); });
}

absl::Status HeaderRewriter::Impl::Finish() {
  if (!meta_started_) NX_RETURN_IF_ERROR(StartMeta(true));
  if (!in_data_) {
    NX_ASSIGN_OR_RETURN(const ElementScanner::State state, scanner_->Scan(buffer_));
    if (state == ElementScanner::State::kNeedMore && scanner_->position() != buffer_.size()) {
      return InvalidArgument("TRUNCATED_HEADER", "the object ends inside its file meta group; send it again");
    }
    NX_RETURN_IF_ERROR(MetaDone(scanner_->position()));
  }
  if (inflate_ != nullptr && !inflate_->ended()) {
    return InvalidArgument("TRUNCATED_HEADER", "the deflated data set has no end; send the object again");
  }
  if (part_ == Part::kHeader && buffer_.empty()) {
    return InvalidArgument("TRUNCATED_HEADER", "the object has no data set; send it again");
  }
  if (part_ == Part::kHeader && !scanner_.has_value()) {
    // So short that it has only been collected; bulk data may be in it.
    NX_RETURN_IF_ERROR(StartScanner(true));
    std::string beyond;
    NX_RETURN_IF_ERROR(CollectedUntilBulk(&beyond));
    NX_RETURN_IF_ERROR(AddData(beyond));
  }
  if (part_ == Part::kHeader || part_ == Part::kTrailing) {
    NX_RETURN_IF_ERROR(PartDone(buffer_.size()));
  } else if (filter_ != nullptr && !filter_->only_looks()) {
    return InvalidArgument("TRUNCATED_PIXEL_DATA",
                           "the object ends inside the pixel data that are to be changed; send it again");
  } else {
    if (filter_ != nullptr)
      NX_RETURN_IF_ERROR(filter_->Finish([this](absl::string_view bytes) { return Put(bytes); }));
    truncated_ = true;
    NX_RETURN_IF_ERROR(Put(buffer_));
  }
  return deflate_ == nullptr ? absl::OkStatus() : deflate_->Finish(output_);
}

HeaderRewriter::HeaderRewriter(HeaderEditor& editor, Output output, RewriteOptions options)
    : impl_(std::make_unique<Impl>(editor, std::move(output), std::move(options))) {}
HeaderRewriter::~HeaderRewriter() = default;
absl::Status HeaderRewriter::Add(absl::string_view piece) { return impl_->Add(piece); }
absl::Status HeaderRewriter::Finish() { return impl_->Finish(); }
const ObjectHeader& HeaderRewriter::header() const { return impl_->header_; }
bool HeaderRewriter::truncated() const { return impl_->truncated_; }

namespace {

class NoEditor : public HeaderEditor {
 public:
  absl::Status EditHeader(ObjectHeader& header) override {
    seen = std::move(header);
    // The rewriter goes on with empty ones until it is stopped.
    header.data = DataSet::Empty(Encoding::ExplicitLittle());
    header.meta = nullptr;
    return absl::OkStatus();
  }
  ObjectHeader seen;
};

}  // namespace

absl::StatusOr<ObjectHeader> ParseObjectHeader(absl::string_view bytes, size_t* bulk_offset,
                                               const RewriteOptions& options) {
  NoEditor editor;
  HeaderRewriter rewriter(
      editor, [](absl::string_view) { return absl::OkStatus(); }, options);
  for (absl::string_view rest = bytes; !rest.empty() && editor.seen.data == nullptr;) {
    const absl::string_view piece = rest.substr(0, kSliceBytes);
    NX_RETURN_IF_ERROR(rewriter.Add(piece));
    rest.remove_prefix(piece.size());
  }
  if (editor.seen.data == nullptr) NX_RETURN_IF_ERROR(rewriter.Finish());
  if (bulk_offset != nullptr) {
    *bulk_offset =
        std::min<size_t>(bytes.size(), rewriter.impl_->meta_bytes_ + rewriter.impl_->header_bytes_);
  }
  return std::move(editor.seen);
}

absl::StatusOr<std::string> RewriteObject(absl::string_view bytes, HeaderEditor& editor,
                                          const RewriteOptions& options) {
  std::string out;
  out.reserve(bytes.size() + 4096);
  const auto append = [&out](absl::string_view piece) {
    out.append(piece.data(), piece.size());
    return absl::OkStatus();
  };
  HeaderRewriter rewriter(editor, append, options);
  NX_RETURN_IF_ERROR(rewriter.Add(bytes));
  NX_RETURN_IF_ERROR(rewriter.Finish());
  return out;
}

}  // namespace narthex::dicom
