#include "imaging/dicom/header_scanner.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

#include "base/error.h"
#include "base/limits.h"
#include "base/status.h"
#include "imaging/dicom/data_set_walker.h"
#include "imaging/dicom/element.h"
#include "imaging/dicom/inflater.h"
#include "imaging/dicom/sop_class.h"
#include "imaging/dicom/transfer_syntax.h"

namespace narthex::dicom {
namespace {

constexpr size_t kPreambleBytes = 128;
constexpr size_t kMagicEnd = 132;
// Enough to look at the beginning of any file: preamble, magic and the first element of the meta group.
constexpr size_t kStartBytes = kMagicEnd + 12;
// Where the encoding has to be guessed, so many bytes are looked at, however they arrive: so pieces of any
// size give the same answer.
constexpr size_t kGuessBytes = 1024;
constexpr size_t kReadBytes = 64 << 10;

bool IsUid(absl::string_view uid) {
  if (uid.empty() || uid.size() > limits::kUidMaxBytes) return false;
  for (char c : uid) {
    if (c != '.' && (c < '0' || c > '9')) return false;
  }
  return true;
}

// What is kept as the identity of an object, series or study. PS3.5 9.1 has digits and dots only; files with
// words in their UIDs exist, and refusing them would lose data, so letters, '_' and '-' pass too. Nothing
// that could lead out of a folder or break a key does.
bool IsKeptUid(absl::string_view uid) {
  if (uid.empty() || uid.size() > limits::kUidMaxBytes || uid.find("..") != absl::string_view::npos)
    return false;
  return std::all_of(uid.begin(), uid.end(),
                     [](char c) { return absl::ascii_isalnum(c) || c == '.' || c == '_' || c == '-'; });
}

DataSetEncoding EncodingOf(const TransferSyntax& syntax) {
  if (!syntax.explicit_vr) return DataSetEncoding::kImplicitLittle;
  return syntax.big_endian ? DataSetEncoding::kExplicitBig : DataSetEncoding::kExplicitLittle;
}

absl::string_view NativeSyntaxOf(DataSetEncoding encoding) {
  switch (encoding) {
    case DataSetEncoding::kExplicitLittle:
      return kExplicitVrLittleEndian;
    case DataSetEncoding::kExplicitBig:
      return kExplicitVrBigEndian;
    default:
      return kImplicitVrLittleEndian;  // implicit big endian has no name in DICOM
  }
}

absl::Status NotDicom(absl::string_view what) {
  return InvalidArgument("NOT_DICOM", absl::StrCat("not a DICOM object: ", what,
                                                   "; other formats can be kept as resources of a session"));
}

}  // namespace

class HeaderScanner::Impl {
 public:
  explicit Impl(ScanOptions options)
      : options_(std::move(options)),
        attributes_(options_.attributes != nullptr ? *options_.attributes : AttributeSet::Default()),
        walker_(attributes_, options_.walk_all_sequences, options_.origin) {
    Reset(options_.object_size);
  }

  void Reset(uint64_t object_size) {
    options_.object_size = object_size;
    stage_ = Stage::kStart;
    status_ = absl::OkStatus();
    at_end_ = false;
    facts_taken_ = false;
    deflated_from_ = 0;
    pending_.clear();
    inflater_.reset();
    inflating_ = false;
    builder_.Clear();
    walker_.Reset();
  }

  absl::StatusOr<ScanState> Feed(absl::string_view bytes) {
    if (!status_.ok()) return status_;
    if (stage_ == Stage::kDone) return ScanState::kHeaderDone;
    status_ = inflater_ != nullptr ? Inflate(bytes) : Push(bytes);
    if (!status_.ok()) return status_;
    return stage_ == Stage::kDone ? ScanState::kHeaderDone : ScanState::kNeedMore;
  }

  absl::StatusOr<HeaderFacts> Finish() {
    if (!status_.ok()) return status_;
    if (facts_taken_) return Internal("INTERNAL", "HeaderScanner::Finish was called twice");
    if (stage_ != Stage::kDone) status_ = End();
    if (!status_.ok()) return status_;
    facts_taken_ = true;
    return builder_.Build();
  }

  const HeaderFacts& facts() const { return builder_.facts(); }

 private:
  enum class Stage { kStart, kMeta, kDataSet, kDone };

  // Takes bytes of the stream that is walked: the object's, or what was inflated.
  absl::Status Push(absl::string_view bytes) {
    bytes.remove_prefix(walker_.TakeSkipped(bytes.size()));
    if (bytes.empty()) return absl::OkStatus();
    if (pending_.empty()) {
      NX_RETURN_IF_ERROR(Advance(&bytes));
      if (stage_ != Stage::kDone && !bytes.empty()) pending_.assign(bytes.data(), bytes.size());
      return absl::OkStatus();
    }
    // Advance may come back here with inflated bytes: what was held must not be in pending_ then.
    std::string held = std::move(pending_);
    pending_.clear();
    held.append(bytes.data(), bytes.size());
    return AdvanceHeld(std::move(held));
  }

  absl::Status AdvanceHeld(std::string held) {
    absl::string_view rest = held;
    NX_RETURN_IF_ERROR(Advance(&rest));
    if (stage_ == Stage::kDone || rest.empty()) return absl::OkStatus();
    held.erase(0, held.size() - rest.size());
    pending_ = std::move(held);
    return absl::OkStatus();
  }

  // Goes through the stages as far as `*bytes` reach and leaves what could not be used yet.
  absl::Status Advance(absl::string_view* bytes) {
    while (stage_ != Stage::kDone) {
      const Stage before = stage_;
      if (stage_ == Stage::kStart) NX_RETURN_IF_ERROR(Start(bytes));
      if (stage_ == Stage::kMeta) NX_RETURN_IF_ERROR(ReadMeta(bytes));
      if (stage_ == Stage::kDataSet && inflater_ != nullptr && !inflating_) {
        const absl::string_view deflated = *bytes;
        *bytes = {};
        return Inflate(deflated);
      }
      if (stage_ == Stage::kDataSet) return Walk(bytes);
      if (stage_ == before) return absl::OkStatus();
    }
    return absl::OkStatus();
  }

  absl::Status Start(absl::string_view* bytes) {
    if (!options_.transfer_syntax_uid.empty()) {
      return BeginDataSet(options_.transfer_syntax_uid, *bytes);
    }
    if (bytes->size() < kStartBytes && !at_end_) return absl::OkStatus();
    const bool is_clear = bytes->size() >= kStartBytes && bytes->substr(kPreambleBytes, 4) == "DICM" &&
                          LoadLittle<uint16_t>(bytes->data() + kMagicEnd) == 0x0002;
    if (!is_clear && bytes->size() < kGuessBytes && !at_end_) return absl::OkStatus();
    if (HasPreamble(*bytes)) {
      builder_.set_has_preamble(true);
      Consume(bytes, kMagicEnd);
      stage_ = Stage::kMeta;
      return absl::OkStatus();
    }
    if (bytes->substr(0, 4) == "DICM") Consume(bytes, 4);  // the preamble was cut off, the magic was not
    ScanHead head;
    if (!ReadHead(bytes->data(), bytes->size(), DataSetEncoding::kExplicitLittle, &head)) {
      return NotDicom("it is too short");
    }
    if (head.tag.group() == 0x0002 && head.vr_known) {
      stage_ = Stage::kMeta;
      return absl::OkStatus();
    }
    return BeginBareDataSet(bytes->substr(0, kGuessBytes));
  }

  // The magic can also stand by chance at its place in a bare data set, which begins with an element then.
  bool HasPreamble(absl::string_view bytes) const {
    if (bytes.size() < kMagicEnd || bytes.substr(kPreambleBytes, 4) != "DICM") return false;
    const absl::string_view rest = bytes.substr(kMagicEnd);
    if (rest.size() >= 2 && LoadLittle<uint16_t>(rest.data()) == 0x0002) return true;
    return !BareEncoding(bytes.substr(0, kGuessBytes)).has_value();
  }

  // The encoding of a data set without anything before it; nullopt if the bytes do not look like one.
  std::optional<DataSetEncoding> BareEncoding(absl::string_view bytes) const {
    for (DataSetEncoding encoding : {DataSetEncoding::kExplicitLittle, DataSetEncoding::kImplicitLittle,
                                     DataSetEncoding::kExplicitBig, DataSetEncoding::kImplicitBig}) {
      ScanHead head;
      if (!ReadHead(bytes.data(), bytes.size(), encoding, &head)) continue;
      // Every object's first attributes are in group 0008, a directory's in 0004.
      if (head.tag.group() != 0x0008 && head.tag.group() != 0x0004) continue;
      if (LooksLikeDataSet(bytes, encoding, options_.object_size)) return encoding;
    }
    return std::nullopt;
  }

  absl::Status BeginBareDataSet(absl::string_view bytes) {
    if (const std::optional<DataSetEncoding> encoding = BareEncoding(bytes)) {
      SetDataSet(NativeSyntaxOf(*encoding), *encoding);
      return absl::OkStatus();
    }
    return NotDicom("neither \"DICM\" at offset 128 nor a data set at its beginning");
  }

  // The meta group is explicit VR little endian; some senders wrote it implicit. Its length is not believed.
  absl::Status ReadMeta(absl::string_view* bytes) {
    while (true) {
      if (bytes->size() < 8) return at_end_ ? BeginDataSet(meta_syntax(), *bytes) : absl::OkStatus();
      const auto group = LoadLittle<uint16_t>(bytes->data());
      if (group != 0x0002) {
        // To judge the data set's encoding, its first elements should be in sight.
        if (bytes->size() < 12 && !at_end_) return absl::OkStatus();
        return BeginDataSet(meta_syntax(), *bytes);
      }
      const bool is_explicit =
          FormOfVr(static_cast<uint8_t>((*bytes)[4]), static_cast<uint8_t>((*bytes)[5])) != VrForm::kUnknown;
      ScanHead head;
      if (!ReadHead(bytes->data(), bytes->size(),
                    is_explicit ? DataSetEncoding::kExplicitLittle : DataSetEncoding::kImplicitLittle,
                    &head)) {
        return absl::OkStatus();
      }
      if (head.length > limits::kValueMaxBytes.For(options_.origin)) {
        return InvalidArgument("MALFORMED_HEADER", absl::StrCat("the meta element ", head.tag.ToString(),
                                                                " has an impossible length"));
      }
      if (bytes->size() - head.size < head.length) return absl::OkStatus();
      builder_.set_has_meta_group(true);
      NX_RETURN_IF_ERROR(TakeMeta(head.tag, bytes->substr(head.size, head.length)));
      Consume(bytes, head.size + head.length);
    }
  }

  absl::Status TakeMeta(Tag tag, absl::string_view raw) {
    const absl::string_view value = TrimValue(raw, Vr::kUI);
    if (tag == tags::kMediaStorageSOPClassUID && value == kMediaStorageDirectoryStorage)
      return MediaDirectory();
    if (tag == tags::kTransferSyntaxUID && IsUid(value)) builder_.Add(tag, value, Vr::kUI);
    if (tag == tags::kSourceApplicationEntityTitle && attributes_.Contains(tag))
      builder_.Add(tag, value, Vr::kAE);
    return absl::OkStatus();
  }

  static absl::Status MediaDirectory() {
    return InvalidArgument("DICOMDIR",
                           "a media directory (DICOMDIR) holds no image; send the files that it lists");
  }

  absl::string_view meta_syntax() const { return builder_.facts().transfer_syntax_uid(); }

  // `bytes`: the data set's beginning, as far as it is here. Leaves the stage as it is if that is not enough.
  absl::Status BeginDataSet(absl::string_view syntax_uid, absl::string_view bytes) {
    const TransferSyntax& syntax = FindTransferSyntax(syntax_uid);
    if (!syntax_uid.empty() && syntax.deflated) {
      inflater_ = std::make_unique<Inflater>(options_.origin);
      deflated_from_ = walker_.offset();
      builder_.set_is_deflated(true);
      SetDataSet(syntax_uid, DataSetEncoding::kExplicitLittle);
      return absl::OkStatus();
    }
    // Explicit little endian is what a file without a transfer syntax most often is.
    const DataSetEncoding declared =
        syntax_uid.empty() ? DataSetEncoding::kExplicitLittle : EncodingOf(syntax);
    ScanHead head;
    const bool is_clear = declared == DataSetEncoding::kExplicitLittle &&
                          ReadHead(bytes.data(), bytes.size(), declared, &head) && head.vr_known &&
                          head.tag.group() == 0x0008;
    if (!is_clear && bytes.size() < kGuessBytes && !at_end_)
      return absl::OkStatus();  // comes again with more
    const DataSetEncoding encoding =
        is_clear ? declared : CheckedEncoding(declared, bytes.substr(0, kGuessBytes), BytesLeft());
    SetDataSet(syntax_uid.empty() ? NativeSyntaxOf(encoding) : syntax_uid, encoding);
    return absl::OkStatus();
  }

  // What the data set really is, if the transfer syntax lies about it.
  static DataSetEncoding CheckedEncoding(DataSetEncoding declared, absl::string_view bytes, uint64_t left) {
    if (bytes.size() < 8 || LooksLikeDataSet(bytes, declared, left)) return declared;
    for (DataSetEncoding other : {DataSetEncoding::kExplicitLittle, DataSetEncoding::kImplicitLittle,
                                  DataSetEncoding::kExplicitBig}) {
      if (LooksLikeDataSet(bytes, other, left)) return other;
    }
    return declared;
  }

  void SetDataSet(absl::string_view syntax_uid, DataSetEncoding encoding) {
    if (meta_syntax().empty() && IsUid(syntax_uid)) {
      builder_.Add(tags::kTransferSyntaxUID, std::string(syntax_uid), Vr::kUI);
    }
    builder_.set_encoding(encoding);
    walker_.Begin(encoding, inflater_ == nullptr ? options_.object_size : 0);
    stage_ = Stage::kDataSet;
  }

  absl::Status Walk(absl::string_view* bytes) {
    bool done = false;
    NX_RETURN_IF_ERROR(walker_.Walk(bytes, &builder_, &done));
    return done ? Complete() : absl::OkStatus();
  }

  absl::Status Inflate(absl::string_view bytes) {
    inflating_ = true;
    while (stage_ != Stage::kDone) {
      const size_t before = bytes.size();
      NX_ASSIGN_OR_RETURN(const absl::string_view piece, inflater_->Next(&bytes));
      if (piece.empty() && bytes.size() == before) break;
      if (!piece.empty()) NX_RETURN_IF_ERROR(Push(piece));
      if (walker_.offset() - deflated_from_ > limits::kHeaderMaxBytes.For(options_.origin)) {
        return InvalidArgument("HEADER_TOO_LARGE",
                               "the deflated data set is too large to be looked at; refused");
      }
    }
    return absl::OkStatus();
  }

  // The object is over before its header was.
  absl::Status End() {
    at_end_ = true;
    NX_RETURN_IF_ERROR(AdvanceHeld(std::exchange(pending_, std::string())));
    if (stage_ == Stage::kDone) return absl::OkStatus();
    if (stage_ != Stage::kDataSet) {
      return InvalidArgument("TRUNCATED_HEADER", "the object ends inside its meta group; send it again");
    }
    NX_RETURN_IF_ERROR(walker_.End(pending_.size(), &builder_));
    return Complete();
  }

  absl::Status Complete() {
    stage_ = Stage::kDone;
    const HeaderFacts& facts = builder_.facts();
    uint64_t header_bytes = walker_.header_bytes();
    if (inflater_ != nullptr) header_bytes = deflated_from_;
    builder_.set_header_bytes(header_bytes);
    builder_.set_bulk_tag(walker_.bulk_tag());
    builder_.set_element_count(walker_.element_count());
    if (facts.sop_class_uid() == kMediaStorageDirectoryStorage || walker_.saw_directory_records()) {
      return MediaDirectory();
    }
    if (options_.require_sop_uids && facts.sop_class_uid().empty()) {
      return InvalidArgument("MISSING_SOP_CLASS_UID", "the object has no SOP Class UID (0008,0016)");
    }
    if (options_.require_sop_uids && facts.sop_instance_uid().empty()) {
      return InvalidArgument("MISSING_SOP_INSTANCE_UID", "the object has no SOP Instance UID (0008,0018)");
    }
    const std::pair<Tag, absl::string_view> uids[] = {
        {tags::kSOPClassUID, facts.sop_class_uid()},
        {tags::kSOPInstanceUID, facts.sop_instance_uid()},
        {tags::kStudyInstanceUID, facts.study_instance_uid()},
        {tags::kSeriesInstanceUID, facts.series_instance_uid()}};
    for (const auto& [tag, uid] : uids) {
      if (uid.empty() || IsKeptUid(uid)) continue;
      return InvalidArgument(
          "INVALID_UID",
          absl::StrCat(tag.ToString(),
                       " is no UID: 64 letters, digits, '.', '_' and '-' at most are allowed"),
          {{"tag", tag.ToString()}});
    }
    return absl::OkStatus();
  }

  void Consume(absl::string_view* bytes, size_t count) {
    bytes->remove_prefix(count);
    walker_.MoveTo(walker_.offset() + count);
  }

  uint64_t BytesLeft() const {
    return options_.object_size > walker_.offset() ? options_.object_size - walker_.offset() : 0;
  }

  ScanOptions options_;
  const AttributeSet& attributes_;
  Stage stage_ = Stage::kStart;
  absl::Status status_;
  bool at_end_ = false;
  bool facts_taken_ = false;
  bool inflating_ = false;
  uint64_t deflated_from_ = 0;
  std::string pending_;  // what could not be used yet: at most one element that is wanted
  std::unique_ptr<Inflater> inflater_;
  HeaderFactsBuilder builder_;
  DataSetWalker walker_;
};

HeaderScanner::HeaderScanner(ScanOptions options) : impl_(std::make_unique<Impl>(std::move(options))) {}
HeaderScanner::~HeaderScanner() = default;
HeaderScanner::HeaderScanner(HeaderScanner&&) noexcept = default;
HeaderScanner& HeaderScanner::operator=(HeaderScanner&&) noexcept = default;

absl::StatusOr<ScanState> HeaderScanner::Feed(absl::string_view bytes) { return impl_->Feed(bytes); }
absl::StatusOr<HeaderFacts> HeaderScanner::Finish() { return impl_->Finish(); }
const HeaderFacts& HeaderScanner::facts() const { return impl_->facts(); }
void HeaderScanner::Reset(uint64_t object_size) { impl_->Reset(object_size); }

absl::StatusOr<HeaderFacts> ScanWhole(absl::string_view bytes, const ScanOptions& options) {
  ScanOptions sized = options;
  if (sized.object_size == 0) sized.object_size = bytes.size();
  HeaderScanner scanner(std::move(sized));
  NX_RETURN_IF_ERROR(scanner.Feed(bytes).status());
  return scanner.Finish();
}

absl::StatusOr<HeaderFacts> ScanFile(const std::string& path, const ScanOptions& options) {
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rb"), &std::fclose);
  if (file == nullptr) return absl::ErrnoToStatus(errno, absl::StrCat("cannot open ", path));
  ScanOptions sized = options;
  if (sized.object_size == 0 && std::fseek(file.get(), 0, SEEK_END) == 0) {
    const long end = std::ftell(file.get());
    if (end > 0) sized.object_size = static_cast<uint64_t>(end);
    std::rewind(file.get());
  }
  HeaderScanner scanner(std::move(sized));
  std::string piece(kReadBytes, '\0');
  while (true) {
    const size_t count = std::fread(piece.data(), 1, piece.size(), file.get());
    if (count == 0 && std::ferror(file.get()) != 0)
      return absl::ErrnoToStatus(errno, absl::StrCat("cannot read ", path));
    if (count == 0) break;
    NX_ASSIGN_OR_RETURN(const ScanState state, scanner.Feed(absl::string_view(piece).substr(0, count)));
    if (state == ScanState::kHeaderDone) break;
  }
  return scanner.Finish();
}

}  // namespace narthex::dicom
