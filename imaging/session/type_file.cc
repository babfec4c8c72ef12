// Reads one type file: TOML to types, with the line of whatever is wrong.
#include <cmath>
#include <string>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include <toml++/toml.h>

#include "base/limits_sessions.h"
#include "base/status.h"
#include "imaging/dicom/dictionary.h"
#include "imaging/session/type_loader.h"
#include "re2/re2.h"

namespace narthex::session {
namespace {

constexpr absl::string_view kFunctional = "functional/";

int LineOf(const toml::node& node) { return static_cast<int>(node.source().begin.line); }
absl::string_view View(std::string_view text) { return absl::string_view(text.data(), text.size()); }

const std::pair<absl::string_view, Conversion> kConversions[] = {{"text", Conversion::kText},
                                                                 {"number", Conversion::kNumber},
                                                                 {"integer", Conversion::kInteger},
                                                                 {"date", Conversion::kDate},
                                                                 {"time", Conversion::kTime},
                                                                 {"person-name", Conversion::kPersonName},
                                                                 {"orientation", Conversion::kOrientation}};
const std::pair<absl::string_view, Merge> kMerges[] = {{"join", Merge::kJoin}, {"first", Merge::kFirst},
                                                       {"min", Merge::kMin},   {"max", Merge::kMax},
                                                       {"sum", Merge::kSum},   {"count", Merge::kCount}};

}  // namespace

// Walks the tables of one file. Every method returns at the first thing that is wrong.
class TypeFileReader {
 public:
  TypeFileReader(const std::string& file, TypeLoader* loader) : file_(file), loader_(loader) {}

  absl::Status Run(const toml::table& root);

 private:
  absl::Status Fail(const toml::node& at, absl::string_view message) const {
    return loader_->Fail(file_, LineOf(at), message);
  }
  absl::Status ReadGroup(const toml::table& table);
  absl::Status ReadModalities(const toml::table& table);
  absl::Status ReadScanType(const toml::table& table);
  absl::Status ReadSessionType(const toml::table& table);
  absl::Status ReadAttribute(const toml::table& table, AttributeSpec* spec);
  absl::Status ReadSources(const toml::node& node, const Source& model, std::vector<Source>* sources);
  absl::Status ReadSource(const toml::node& node, const Source& model, std::vector<Source>* sources);
  absl::Status ReadPath(const toml::node& node, absl::string_view text, dicom::TagPath* path) const;
  absl::Status ReadXml(const toml::node& node, std::string* xml) const;
  absl::Status ReadReplace(const toml::node& node, AttributeSpec* spec) const;

  absl::Status Text(const toml::node& node, std::string* text) const;
  // A text that can be the name of something: also within XML paths.
  absl::Status Name(const toml::node& node, std::string* name) const;
  absl::Status Texts(const toml::node& node, std::vector<std::string>* texts) const;
  absl::Status Number(const toml::node& node, double* number) const;
  absl::Status Integer(const toml::node& node, int* number) const;
  absl::Status Bool(const toml::node& node, bool* flag) const;
  template <typename T, size_t n>
  absl::Status Choice(const toml::node& node, const std::pair<absl::string_view, T> (&choices)[n],
                      T* choice) const;

  // Calls `read(key, node)` for every key, which returns NOT_FOUND for one that it does not know.
  template <typename Read>
  absl::Status EachKey(const toml::table& table, Read read) const {
    for (const auto& [key, node] : table) {
      const absl::Status status = read(View(key.str()), node);
      if (absl::IsNotFound(status)) return Fail(node, absl::StrCat("unknown key '", View(key.str()), "'"));
      NX_RETURN_IF_ERROR(status);
    }
    return absl::OkStatus();
  }
  absl::Status Require(const toml::table& table, std::initializer_list<const char*> keys) const {
    for (const char* key : keys) {
      if (!table.contains(key)) return Fail(table, absl::StrCat("the key '", key, "' is missing"));
    }
    return absl::OkStatus();
  }
  // Puts `loaded` among `all`, in the place of an earlier one of its name. The registry owns the type.
  template <typename T>
  absl::Status Keep(const toml::table& table, LoadedType<T> loaded, T type, std::vector<LoadedType<T>>& all,
                    std::vector<std::unique_ptr<T>>& owner);

  std::string file_;
  TypeLoader* loader_;
};

absl::Status TypeFileReader::Text(const toml::node& node, std::string* text) const {
  const auto value = node.value_exact<std::string>();
  if (!value.has_value() || value->empty()) return Fail(node, "expected a text in quotes");
  *text = *value;
  return absl::OkStatus();
}

absl::Status TypeFileReader::Name(const toml::node& node, std::string* name) const {
  NX_RETURN_IF_ERROR(Text(node, name));
  static const RE2* const kName = new RE2("[A-Za-z_][\\w.-]{0,63}");
  if (!RE2::FullMatch(*name, *kName)) return Fail(node, "a name is up to 64 letters, digits and . _ -");
  return absl::OkStatus();
}

// A text, or an array of them.
absl::Status TypeFileReader::Texts(const toml::node& node, std::vector<std::string>* texts) const {
  if (!node.is_array()) return Text(node, &texts->emplace_back());
  for (const toml::node& element : *node.as_array())
    NX_RETURN_IF_ERROR(Text(element, &texts->emplace_back()));
  return absl::OkStatus();
}

absl::Status TypeFileReader::Number(const toml::node& node, double* number) const {
  const auto value = node.value<double>();
  if (!value.has_value() || !std::isfinite(*value)) return Fail(node, "expected a number");
  *number = *value;
  return absl::OkStatus();
}

absl::Status TypeFileReader::Integer(const toml::node& node, int* number) const {
  const auto value = node.value_exact<int64_t>();
  if (!value.has_value() || *value < 0 || *value > 1'000'000)
    return Fail(node, "expected a number of 0 to 1000000");
  *number = static_cast<int>(*value);
  return absl::OkStatus();
}

absl::Status TypeFileReader::Bool(const toml::node& node, bool* flag) const {
  const auto value = node.value_exact<bool>();
  if (!value.has_value()) return Fail(node, "expected true or false");
  *flag = *value;
  return absl::OkStatus();
}

template <typename T, size_t n>
absl::Status TypeFileReader::Choice(const toml::node& node,
                                    const std::pair<absl::string_view, T> (&choices)[n], T* choice) const {
  std::string text, all;
  NX_RETURN_IF_ERROR(Text(node, &text));
  for (const auto& [name, value] : choices) {
    if (text == name) {
      *choice = value;
      return absl::OkStatus();
    }
    absl::StrAppend(&all, all.empty() ? "" : ", ", name);
  }
  return Fail(node, absl::StrCat("'", text, "' is none of ", all));
}

absl::Status TypeFileReader::ReadPath(const toml::node& node, absl::string_view text,
                                      dicom::TagPath* path) const {
  std::vector<dicom::Tag> tags;
  for (absl::string_view name : absl::StrSplit(text, '/')) {
    const absl::StatusOr<dicom::Tag> tag = dicom::ParseTag(name);
    if (!tag.ok()) return Fail(node, absl::StrCat("'", name, "' is no DICOM keyword and no (gggg,eeee)"));
    tags.push_back(*tag);
  }
  // A functional group adds one level.
  if (tags.size() >= dicom::TagPath::kMaxDepth) return Fail(node, "more than five levels of sequences");
  *path = dicom::TagPath::Of(tags);
  return absl::OkStatus();
}

absl::Status TypeFileReader::ReadSource(const toml::node& node, const Source& model,
                                        std::vector<Source>* sources) {
  std::string text;
  NX_RETURN_IF_ERROR(Text(node, &text));
  absl::string_view path = text;
  Source source = model;
  if (absl::ConsumeSuffix(&path, "]")) {
    const size_t open = path.rfind('[');
    if (open == absl::string_view::npos || !absl::SimpleAtoi(path.substr(open + 1), &source.value_index) ||
        source.value_index < 0 || source.value_index > 1000) {
      return Fail(node, "expected the index of a value, such as PixelSpacing[0]");
    }
    path = path.substr(0, open);
  }
  const bool functional = absl::ConsumePrefix(&path, kFunctional);
  NX_RETURN_IF_ERROR(ReadPath(node, path, &source.path));
  if (!functional) {
    sources->push_back(std::move(source));
    return absl::OkStatus();
  }
  const dicom::TagPath inner = source.path;
  for (dicom::Tag group :
       {dicom::tags::kSharedFunctionalGroupsSequence, dicom::tags::kPerFrameFunctionalGroupsSequence}) {
    source.path = inner.Within(group);
    sources->push_back(source);
  }
  return absl::OkStatus();
}

absl::Status TypeFileReader::ReadSources(const toml::node& node, const Source& model,
                                         std::vector<Source>* sources) {
  if (!node.is_array()) return ReadSource(node, model, sources);
  for (const toml::node& element : *node.as_array()) NX_RETURN_IF_ERROR(ReadSource(element, model, sources));
  if (sources->empty() || sources->size() > limits::kTypeSourcesMax)
    return Fail(node, "expected 1 to 16 paths (functional/ counts twice)");
  return absl::OkStatus();
}

absl::Status TypeFileReader::ReadXml(const toml::node& node, std::string* xml) const {
  NX_RETURN_IF_ERROR(Text(node, xml));
  static const RE2* const kPath = new RE2(
      "[A-Za-z_][\\w.-]*(\\[@name='[\\w.-]+'\\])?(/[A-Za-z_][\\w.-]*(\\[@name='[\\w.-]+'\\])?){0,4}(/"
      "@[A-Za-z_][\\w.-]*)?");
  if (!RE2::FullMatch(*xml, *kPath)) {
    return Fail(
        node,
        "expected an XML path such as parameters/tr, parameters/fov/@x or parameters/addParam[@name='x']");
  }
  return absl::OkStatus();
}

absl::Status TypeFileReader::ReadReplace(const toml::node& node, AttributeSpec* spec) const {
  if (!node.is_table()) return Fail(node, "expected a table such as { CCW = \"CC\" }");
  for (const auto& [key, value] : *node.as_table()) {
    NX_RETURN_IF_ERROR(Text(value, &spec->replace[std::string(key.str())]));
  }
  return absl::OkStatus();
}

absl::Status TypeFileReader::ReadAttribute(const toml::table& table, AttributeSpec* spec) {
  NX_RETURN_IF_ERROR(Require(table, {"name", "dicom"}));
  Source model;
  if (const toml::node* times = table.get("times")) {
    std::string text;
    NX_RETURN_IF_ERROR(Text(*times, &text));
    NX_RETURN_IF_ERROR(ReadPath(*times, text, &model.times.emplace(dicom::Tag())));
  }
  if (const toml::node* scale = table.get("scale")) NX_RETURN_IF_ERROR(Number(*scale, &model.scale));
  return EachKey(table, [&](absl::string_view key, const toml::node& node) -> absl::Status {
    if (key == "name") return Name(node, &spec->name);
    if (key == "dicom") return ReadSources(node, model, &spec->sources);
    if (key == "as") return Choice(node, kConversions, &spec->conversion);
    if (key == "merge") return Choice(node, kMerges, &spec->merge);
    if (key == "unit") return Text(node, &spec->unit);
    if (key == "xml") return ReadXml(node, &spec->xml);
    if (key == "unless_image_type") return Text(node, &spec->unless_image_type);
    if (key == "xml_units") return Bool(node, &spec->xml_units);
    if (key == "replace") return ReadReplace(node, spec);
    if (key == "times" || key == "scale") return absl::OkStatus();
    return absl::NotFoundError("");
  });
}

absl::Status TypeFileReader::ReadGroup(const toml::table& table) {
  NX_RETURN_IF_ERROR(Require(table, {"name", "attributes"}));
  std::string name;
  std::vector<const AttributeSpec*> specs;
  NX_RETURN_IF_ERROR(EachKey(table, [&](absl::string_view key, const toml::node& node) -> absl::Status {
    if (key == "name") return Name(node, &name);
    if (key != "attributes") return absl::NotFoundError("");
    if (!node.is_array()) return Fail(node, "expected an array of tables");
    for (const toml::node& element : *node.as_array()) {
      if (!element.is_table())
        return Fail(element, "expected a table such as { name = \"tr\", dicom = \"RepetitionTime\" }");
      if (loader_->registry_->attributes_.size() == limits::kTypeAttributesMax)
        return Fail(element, "too many attributes in all");
      auto spec = std::make_unique<AttributeSpec>();
      NX_RETURN_IF_ERROR(ReadAttribute(*element.as_table(), spec.get()));
      specs.push_back(spec.get());
      loader_->registry_->attributes_.push_back(std::move(spec));
    }
    return absl::OkStatus();
  }));
  loader_->groups_[name] = std::move(specs);
  return absl::OkStatus();
}

absl::Status TypeFileReader::ReadModalities(const toml::table& table) {
  NX_RETURN_IF_ERROR(Require(table, {"codes"}));
  std::vector<std::string> codes;
  int rank = -1;
  NX_RETURN_IF_ERROR(EachKey(table, [&](absl::string_view key, const toml::node& node) -> absl::Status {
    if (key == "codes") return Texts(node, &codes);
    if (key == "rank") return Integer(node, &rank);
    return absl::NotFoundError("");
  }));
  // Ten apart, so that an added file can put one between two.
  for (const auto& [code, taken] : loader_->ranks_)
    rank = table.contains("rank") ? rank : std::max(rank, taken + 10);
  rank = std::max(rank, 0);
  for (const std::string& code : codes) {
    loader_->ranks_[code] = rank;
    rank += table.contains("rank") ? 1 : 10;
  }
  return absl::OkStatus();
}

template <typename T>
absl::Status TypeFileReader::Keep(const toml::table& table, LoadedType<T> loaded, T type,
                                  std::vector<LoadedType<T>>& all, std::vector<std::unique_ptr<T>>& owner) {
  loaded.file = file_;
  loaded.line = LineOf(table);
  for (LoadedType<T>& existing : all) {
    if (existing.type->name != type.name) continue;
    if (existing.file == file_) return Fail(table, absl::StrCat("a second '", type.name, "' in this file"));
    loaded.type = existing.type;
    *loaded.type = std::move(type);
    existing = std::move(loaded);
    return absl::OkStatus();
  }
  if (all.size() == limits::kTypesMax) return Fail(table, "too many types in all");
  loaded.type = owner.emplace_back(std::make_unique<T>(std::move(type))).get();
  all.push_back(std::move(loaded));
  return absl::OkStatus();
}

absl::Status TypeFileReader::ReadScanType(const toml::table& table) {
  NX_RETURN_IF_ERROR(Require(table, {"name", "xsi_type", "session_type"}));
  LoadedType<ScanType> loaded;
  ScanType type;
  NX_RETURN_IF_ERROR(EachKey(table, [&](absl::string_view key, const toml::node& node) -> absl::Status {
    if (key == "name") return Name(node, &type.name);
    if (key == "description") return Text(node, &type.description);
    if (key == "xsi_type") return Text(node, &type.xsi_type);
    if (key == "session_type") return Text(node, &type.session_type);
    if (key == "modality") return Text(node, &type.modality);
    if (key == "primary") return Bool(node, &type.primary);
    if (key == "multi_value") return ReadXml(node, &type.multi_value);
    if (key == "attributes") return Texts(node, &loaded.groups);
    if (key == "sop_classes") return Texts(node, &loaded.sop_classes);
    if (key == "modalities") return Texts(node, &loaded.modalities);
    return absl::NotFoundError("");
  }));
  return Keep(table, std::move(loaded), std::move(type), loader_->scan_types_,
              loader_->registry_->scan_types_);
}

absl::Status TypeFileReader::ReadSessionType(const toml::table& table) {
  NX_RETURN_IF_ERROR(Require(table, {"name", "xsi_type", "element", "rank"}));
  LoadedType<SessionType> loaded;
  SessionType type;
  NX_RETURN_IF_ERROR(EachKey(table, [&](absl::string_view key, const toml::node& node) -> absl::Status {
    if (key == "name") return Name(node, &type.name);
    if (key == "xsi_type") return Text(node, &type.xsi_type);
    if (key == "element") return Name(node, &type.element);
    if (key == "modality") return Text(node, &type.modality);
    if (key == "rank") return Integer(node, &type.rank);
    if (key == "combines") return Texts(node, &type.combines);
    if (key == "attributes") return Texts(node, &loaded.groups);
    return absl::NotFoundError("");
  }));
  return Keep(table, std::move(loaded), std::move(type), loader_->session_types_,
              loader_->registry_->session_types_);
}

absl::Status TypeFileReader::Run(const toml::table& root) {
  return EachKey(root, [&](absl::string_view key, const toml::node& node) -> absl::Status {
    if (key != "group" && key != "modality" && key != "scan_type" && key != "session_type")
      return absl::NotFoundError("");
    if (!node.is_array()) return Fail(node, absl::StrCat("expected [[", key, "]]"));
    for (const toml::node& element : *node.as_array()) {
      if (!element.is_table()) return Fail(element, absl::StrCat("expected [[", key, "]]"));
      const toml::table& table = *element.as_table();
      NX_RETURN_IF_ERROR(key == "group"       ? ReadGroup(table)
                         : key == "modality"  ? ReadModalities(table)
                         : key == "scan_type" ? ReadScanType(table)
                                              : ReadSessionType(table));
    }
    return absl::OkStatus();
  });
}

absl::Status TypeLoader::Read(const TypeFile& file) {
  try {
    const toml::table root = toml::parse(std::string_view(file.text), file.name);
    return TypeFileReader(file.name, this).Run(root);
  } catch (const toml::parse_error& error) {
    const std::string_view what = error.description();
    return Fail(file.name, static_cast<int>(error.source().begin.line),
                absl::StrCat("column ", error.source().begin.column, ": ", View(what)));
  }
}

}  // namespace narthex::session
