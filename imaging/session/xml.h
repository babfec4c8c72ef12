// XML as session documents need it, over pugixml. Inside imaging/session.
#pragma once

#include <string>

#include "absl/strings/string_view.h"

#include "pugixml.hpp"

namespace narthex::session {

// `text` as XML 1.0 can hold it: malformed UTF-8 and forbidden control characters become U+FFFD.
std::string XmlText(absl::string_view text);

// Appends <xnat:name>text</xnat:name>, unless `text` is empty.
void AppendText(pugi::xml_node parent, const char* name, absl::string_view text);
// Sets an attribute, unless `text` is empty.
void SetAttribute(pugi::xml_node node, const char* name, absl::string_view text);

// The element of `path` ("parameters/addParam[@name='x']", AttributeSpec::xml without its attribute) below
// `parent`, made if it is not there.
pugi::xml_node MakePath(pugi::xml_node parent, absl::string_view path);

// "tr" of "xnat:tr".
absl::string_view LocalName(pugi::xml_node node);
// The first child with this local name, or with `attribute`="`value`" too if `attribute` is not "".
pugi::xml_node ChildNamed(pugi::xml_node parent, absl::string_view name, absl::string_view attribute = "",
                          absl::string_view value = "");
// The text of the child with this local name; "" if there is none.
std::string ChildText(pugi::xml_node parent, absl::string_view name);
// What is at `path` (see MakePath; also ".../@x"); "" if nothing.
std::string TextAt(pugi::xml_node parent, absl::string_view path);

}  // namespace narthex::session
