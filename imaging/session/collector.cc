#include "imaging/session/collector.h"

#include <algorithm>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "base/limits_sessions.h"
#include "imaging/session/conversion.h"

namespace narthex::session {
namespace {

// `text` cut to limits::kDocumentTextMaxBytes, not within a UTF-8 character.
absl::string_view Cut(absl::string_view text) {
  size_t bytes = std::min(text.size(), limits::kDocumentTextMaxBytes.get());
  while (bytes > 0 && bytes < text.size() && (static_cast<unsigned char>(text[bytes]) & 0xc0) == 0x80)
    --bytes;
  return text.substr(0, bytes);
}

}  // namespace

PathIndex::PathIndex(const TypeRegistry& types) {
  for (const dicom::TagPath& path : types.wanted()) {
    if (path.depth() == 1) {
      single_.emplace(path.front().value(), static_cast<int>(size_++));
    } else {
      nested_.emplace(Key(path), static_cast<int>(size_++));
    }
  }
}

std::string PathIndex::Key(const dicom::TagPath& path) {
  const absl::Span<const dicom::Tag> tags = path.tags();
  std::string key;
  for (dicom::Tag tag : tags) {
    for (int shift = 0; shift < 32; shift += 8) key += static_cast<char>(tag.value() >> shift & 0xff);
  }
  return key;
}

int PathIndex::Find(const dicom::TagPath& path) const {
  if (path.depth() == 1) {
    const auto found = single_.find(path.front().value());
    return found == single_.end() ? -1 : found->second;
  }
  const auto found = nested_.find(Key(path));
  return found == nested_.end() ? -1 : found->second;
}

void ObjectValues::Load(const dicom::HeaderFacts& facts) {
  std::fill(values_.begin(), values_.end(), absl::string_view());
  converted_.clear();
  converted_.reserve(values_.size());  // so that views into it stay
  facts.ForEach([&](const dicom::TagPath& path, dicom::Vr vr, absl::string_view value) {
    const int number = index_.Find(path);
    if (number < 0 || !values_[number].empty()) return;
    const bool ascii = std::all_of(value.begin(), value.end(), [](char c) { return c > 0 && c != '\x1b'; });
    if (!ascii && converted_.size() < values_.size()) value = converted_.emplace_back(facts.Text(path));
    values_[number] = Cut(absl::StripAsciiWhitespace(value));
  });
}

void DistinctValues::Add(absl::string_view value) {
  if (value.empty() || std::find(values_.begin(), values_.end(), value) != values_.end()) return;
  if (values_.size() == kMax) {
    overflowed_ = true;
  } else {
    values_.emplace_back(value);
  }
}

std::string DistinctValues::Joined() const { return overflowed_ ? "multi" : absl::StrJoin(values_, ","); }

ParameterCollector::ParameterCollector(const std::vector<const AttributeSpec*>& specs, const PathIndex& index)
    : image_type_(index.Find(dicom::tags::kImageType)) {
  for (const AttributeSpec* spec : specs) {
    Slot& slot = slots_.emplace_back();
    slot.spec = spec;
    for (const Source& source : spec->sources) {
      slot.sources.push_back(
          {&source, index.Find(source.path), source.times ? index.Find(*source.times) : -1});
    }
  }
}

void ParameterCollector::Add(const ObjectValues& values) {
  const absl::string_view image_type = values.Get(image_type_);
  for (Slot& slot : slots_) {
    if (!slot.spec->unless_image_type.empty() && absl::StrContains(image_type, slot.spec->unless_image_type))
      continue;
    for (size_t i = 0; i < slot.sources.size(); ++i) {
      const BoundSource& bound = slot.sources[i];
      const absl::string_view raw = values.Get(bound.path);
      if (raw.empty()) continue;
      const absl::string_view times = values.Get(bound.times);
      const bool repeated =
          slot.last_source == static_cast<int>(i) && slot.last_raw == raw && slot.last_times == times;
      if (!repeated || slot.spec->merge == Merge::kSum) {
        slot.last_source = static_cast<int>(i);
        slot.last_raw.assign(raw.data(), raw.size());
        slot.last_times.assign(times.data(), times.size());
        Take(slot, bound, raw, times);
      }
      break;
    }
  }
}

void ParameterCollector::Take(Slot& slot, const BoundSource& bound, absl::string_view raw,
                              absl::string_view times) {
  // Once joined values have become "multi", nothing changes that.
  if (slot.distinct.overflowed() && slot.spec->merge == Merge::kJoin) return;
  const std::string value = Convert(*slot.spec, *bound.source, raw, times);
  slot.distinct.Add(value);
  if (slot.spec->merge != Merge::kMin && slot.spec->merge != Merge::kMax && slot.spec->merge != Merge::kSum)
    return;
  const std::optional<double> number = NumberOf(value);
  if (!number.has_value()) return;
  slot.min = slot.numbers == 0 ? *number : std::min(slot.min, *number);
  slot.max = slot.numbers == 0 ? *number : std::max(slot.max, *number);
  slot.sum += *number;
  ++slot.numbers;
}

std::string ParameterCollector::Merged(const Slot& slot) {
  switch (slot.spec->merge) {
    case Merge::kFirst:
      return slot.distinct.values()[0];
    case Merge::kMin:
      return slot.numbers > 0 ? NumberText(slot.min) : "";
    case Merge::kMax:
      return slot.numbers > 0 ? NumberText(slot.max) : "";
    case Merge::kSum:
      return slot.numbers > 0 ? NumberText(slot.sum) : "";
    case Merge::kCount:
      return absl::StrCat(slot.distinct.values().size());
    case Merge::kJoin:
      break;
  }
  return slot.distinct.Joined();
}

Parameters ParameterCollector::Finish() const {
  Parameters parameters;
  for (const Slot& slot : slots_) {
    if (slot.distinct.values().empty()) continue;
    const AttributeSpec& spec = *slot.spec;
    Parameter parameter{
        .name = spec.name,
        .value = Merged(slot),
        .unit = spec.unit,
        .xml = spec.xml,
        .numeric = spec.conversion == Conversion::kNumber || spec.conversion == Conversion::kInteger,
        .xml_units = spec.xml_units};
    parameter.differs = spec.merge == Merge::kJoin && slot.distinct.values().size() > 1;
    if (!parameter.value.empty()) parameters.push_back(std::move(parameter));
  }
  return parameters;
}

}  // namespace narthex::session
