// Takes in header facts and keeps, for a scan or a session, the distinct values of what is wanted. Inside
// imaging/session. One pass over an object's facts fills a table of values (ObjectValues); collectors read it
// by number, so that no attribute is searched for twice.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"

#include "imaging/dicom/header_facts.h"
#include "imaging/session/model.h"
#include "imaging/session/types.h"

namespace narthex::session {

// The numbers of the paths that a registry wants.
class PathIndex {
 public:
  explicit PathIndex(const TypeRegistry& types);
  // -1: not wanted.
  int Find(const dicom::TagPath& path) const;
  size_t size() const { return size_; }

 private:
  static std::string Key(const dicom::TagPath& path);
  // Nearly all paths are one tag, which needs no string to be looked up.
  absl::flat_hash_map<uint32_t, int> single_;
  absl::flat_hash_map<std::string, int> nested_;
  size_t size_ = 0;
};

// The values of one object by path number. Views live as long as the facts and this.
class ObjectValues {
 public:
  explicit ObjectValues(const PathIndex& index) : index_(index), values_(index.size()) {}
  void Load(const dicom::HeaderFacts& facts);
  // UTF-8; "" if absent.
  absl::string_view Get(int path) const { return path < 0 ? absl::string_view() : values_[path]; }

 private:
  const PathIndex& index_;
  std::vector<absl::string_view> values_;
  std::vector<std::string> converted_;  // values that had to be made UTF-8
};

// Distinct values, in order of appearance.
class DistinctValues {
 public:
  static constexpr size_t kMax = 16;  // fixed: then XNAT writes multi

  void Add(absl::string_view value);
  const std::vector<std::string>& values() const { return values_; }
  bool overflowed() const { return overflowed_; }
  // Joined by ','; "multi" if there were over kMax.
  std::string Joined() const;

 private:
  std::vector<std::string> values_;
  bool overflowed_ = false;
};

// The parameters of one scan or session type.
class ParameterCollector {
 public:
  ParameterCollector(const std::vector<const AttributeSpec*>& specs, const PathIndex& index);
  void Add(const ObjectValues& values);
  Parameters Finish() const;

 private:
  struct BoundSource {
    const Source* source;
    int path;
    int times;
  };
  struct Slot {
    const AttributeSpec* spec;
    std::vector<BoundSource> sources;
    std::string last_raw, last_times;  // most objects of a scan say the same: nothing to convert then
    int last_source = -1;
    DistinctValues distinct;
    int64_t numbers = 0;
    double min = 0, max = 0, sum = 0;
  };
  static void Take(Slot& slot, const BoundSource& bound, absl::string_view raw, absl::string_view times);
  static std::string Merged(const Slot& slot);

  int image_type_;  // path number
  std::vector<Slot> slots_;
};

}  // namespace narthex::session
