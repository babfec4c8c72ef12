#include "imaging/session/xml.h"

#include <cstdint>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace narthex::session {
namespace {

constexpr absl::string_view kReplacement = "\xef\xbf\xbd";  // U+FFFD

// The length of the well-formed character that XML allows at the beginning of `text`; 0 if there is none.
size_t XmlCharacter(absl::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return lead >= 0x20 || lead == '\t' || lead == '\n' || lead == '\r' ? 1 : 0;
  const size_t length = lead >= 0xf0 && lead <= 0xf4  ? 4
                        : lead >= 0xe0 && lead < 0xf0 ? 3
                        : lead >= 0xc2 && lead < 0xe0 ? 2
                                                      : 0;
  if (length == 0 || length > text.size()) return 0;
  uint32_t code = lead & (0xff >> (length + 1));
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
    code = code << 6 | (byte(i) & 0x3f);
  }
  const bool overlong = (length == 3 && code < 0x800) || (length == 4 && code < 0x10000);
  const bool forbidden =
      (code >= 0xd800 && code < 0xe000) || code == 0xfffe || code == 0xffff || code > 0x10ffff;
  return overlong || forbidden ? 0 : length;
}

// A step of a path: name, and the value that its attribute `name` must have ("" for any).
struct PathStep {
  absl::string_view name, key;
};

PathStep StepOf(absl::string_view text) {
  const size_t open = text.find("[@name='");
  if (open == absl::string_view::npos) return {text, {}};
  absl::string_view key = text.substr(open + 8);
  absl::ConsumeSuffix(&key, "']");
  return {text.substr(0, open), key};
}

}  // namespace

std::string XmlText(absl::string_view text) {
  std::string clean;
  clean.reserve(text.size());
  while (!text.empty()) {
    const size_t length = XmlCharacter(text);
    absl::StrAppend(&clean, length > 0 ? text.substr(0, length) : kReplacement);
    text.remove_prefix(length > 0 ? length : 1);
  }
  return clean;
}

void AppendText(pugi::xml_node parent, const char* name, absl::string_view text) {
  if (text.empty()) return;
  parent.append_child(absl::StrCat("xnat:", name).c_str()).text().set(XmlText(text).c_str());
}

void SetAttribute(pugi::xml_node node, const char* name, absl::string_view text) {
  if (text.empty()) return;
  pugi::xml_attribute attribute = node.attribute(name);
  if (attribute.empty()) attribute = node.append_attribute(name);
  attribute.set_value(XmlText(text).c_str());
}

pugi::xml_node MakePath(pugi::xml_node parent, absl::string_view path) {
  for (absl::string_view text : absl::StrSplit(path, '/')) {
    const PathStep step = StepOf(text);
    pugi::xml_node child = ChildNamed(parent, step.name, step.key.empty() ? "" : "name", step.key);
    if (child.empty()) {
      child = parent.append_child(absl::StrCat("xnat:", step.name).c_str());
      SetAttribute(child, "name", step.key);
    }
    parent = child;
  }
  return parent;
}

absl::string_view LocalName(pugi::xml_node node) {
  const absl::string_view name = node.name();
  return name.substr(name.find(':') + 1);  // npos + 1 is 0
}

pugi::xml_node ChildNamed(pugi::xml_node parent, absl::string_view name, absl::string_view attribute,
                          absl::string_view value) {
  for (pugi::xml_node child : parent.children()) {
    if (child.type() != pugi::node_element || LocalName(child) != name) continue;
    if (attribute.empty() || child.attribute(std::string(attribute).c_str()).value() == value) return child;
  }
  return {};
}

std::string ChildText(pugi::xml_node parent, absl::string_view name) {
  return ChildNamed(parent, name).text().get();
}

std::string TextAt(pugi::xml_node parent, absl::string_view path) {
  for (absl::string_view text : absl::StrSplit(path, '/')) {
    if (absl::ConsumePrefix(&text, "@")) return parent.attribute(std::string(text).c_str()).value();
    const PathStep step = StepOf(text);
    parent = ChildNamed(parent, step.name, step.key.empty() ? "" : "name", step.key);
    if (parent.empty()) return "";
  }
  return parent.text().get();
}

}  // namespace narthex::session
