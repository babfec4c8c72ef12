#include "storage/metadata/json.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"

namespace narthex::metadata {
namespace {

constexpr int kMaxDepth = 64;  // fixed: what was written stays readable

void AppendUtf8(std::string& out, uint32_t code) {
  if (code < 0x80) {
    out.push_back(static_cast<char>(code));
  } else if (code < 0x800) {
    out.push_back(static_cast<char>(0xc0 | code >> 6));
    out.push_back(static_cast<char>(0x80 | (code & 0x3f)));
  } else if (code < 0x10000) {
    out.push_back(static_cast<char>(0xe0 | code >> 12));
    out.push_back(static_cast<char>(0x80 | (code >> 6 & 0x3f)));
    out.push_back(static_cast<char>(0x80 | (code & 0x3f)));
  } else {
    out.push_back(static_cast<char>(0xf0 | code >> 18));
    out.push_back(static_cast<char>(0x80 | (code >> 12 & 0x3f)));
    out.push_back(static_cast<char>(0x80 | (code >> 6 & 0x3f)));
    out.push_back(static_cast<char>(0x80 | (code & 0x3f)));
  }
}

// Steps over one value at a time. Every function returns false at the first error.
class Reader {
 public:
  explicit Reader(absl::string_view text) : rest_(text) {}

  bool Value(int depth = 0) {
    Blank();
    if (rest_.empty() || depth > kMaxDepth) return false;
    switch (rest_.front()) {
      case '{':
        return Members(nullptr, depth);
      case '[':
        return Elements(depth);
      case '"':
        return String(nullptr);
      case 't':
        return absl::ConsumePrefix(&rest_, "true");
      case 'f':
        return absl::ConsumePrefix(&rest_, "false");
      case 'n':
        return absl::ConsumePrefix(&rest_, "null");
      default:
        return Number();
    }
  }

  bool Members(std::map<std::string, std::string>* members, int depth, bool raw = false) {
    Blank();
    if (!Take('{')) return false;
    Blank();
    if (Take('}')) return true;
    do {
      std::string key, text;
      Blank();
      if (!String(&key)) return false;
      Blank();
      if (!Take(':')) return false;
      Blank();
      const absl::string_view start = rest_;
      if (!raw && !rest_.empty() && rest_.front() == '"') {
        if (!String(&text)) return false;
      } else {
        if (!Value(depth + 1)) return false;
        text = std::string(start.substr(0, start.size() - rest_.size()));
      }
      if (members != nullptr) (*members)[key] = text;
      Blank();
    } while (Take(','));
    return Take('}');
  }

  bool AtEnd() {
    Blank();
    return rest_.empty();
  }

 private:
  void Blank() {
    while (!rest_.empty() && (rest_[0] == ' ' || rest_[0] == '\t' || rest_[0] == '\n' || rest_[0] == '\r')) {
      rest_.remove_prefix(1);
    }
  }

  bool Take(char c) {
    if (rest_.empty() || rest_.front() != c) return false;
    rest_.remove_prefix(1);
    return true;
  }

  bool Elements(int depth) {
    Take('[');
    Blank();
    if (Take(']')) return true;
    do {
      if (!Value(depth + 1)) return false;
      Blank();
    } while (Take(','));
    return Take(']');
  }

  bool Digits() {
    size_t n = 0;
    while (n < rest_.size() && rest_[n] >= '0' && rest_[n] <= '9') ++n;
    rest_.remove_prefix(n);
    return n > 0;
  }

  bool Number() {
    Take('-');
    if (!Take('0') && !Digits()) return false;
    if (Take('.') && !Digits()) return false;
    if (Take('e') || Take('E')) {
      if (!Take('+')) Take('-');
      return Digits();
    }
    return true;
  }

  bool Hex4(uint32_t* code) {
    *code = 0;
    for (int i = 0; i < 4; ++i) {
      if (rest_.empty()) return false;
      const char c = rest_.front();
      const int digit = c >= '0' && c <= '9'   ? c - '0'
                        : c >= 'a' && c <= 'f' ? c - 'a' + 10
                        : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                               : -1;
      if (digit < 0) return false;
      *code = *code << 4 | static_cast<uint32_t>(digit);
      rest_.remove_prefix(1);
    }
    return true;
  }

  bool Escape(std::string* out) {
    if (rest_.empty()) return false;
    const char c = rest_.front();
    rest_.remove_prefix(1);
    constexpr absl::string_view kFrom = "\"\\/bfnrt";
    constexpr absl::string_view kTo = "\"\\/\b\f\n\r\t";
    const size_t at = kFrom.find(c);
    if (at != absl::string_view::npos) {
      out->push_back(kTo[at]);
      return true;
    }
    uint32_t code, low;
    if (c != 'u' || !Hex4(&code)) return false;
    if (code >= 0xd800 && code < 0xdc00) {
      if (!absl::ConsumePrefix(&rest_, "\\u") || !Hex4(&low) || low < 0xdc00 || low > 0xdfff) return false;
      code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    }
    AppendUtf8(*out, code);
    return true;
  }

  bool String(std::string* out) {
    std::string ignored;
    if (out == nullptr) out = &ignored;
    if (!Take('"')) return false;
    while (!rest_.empty()) {
      const char c = rest_.front();
      rest_.remove_prefix(1);
      if (c == '"') return true;
      if (static_cast<unsigned char>(c) < 0x20) return false;
      if (c != '\\') {
        out->push_back(c);
      } else if (!Escape(out)) {
        return false;
      }
    }
    return false;
  }

  absl::string_view rest_;
};

}  // namespace

std::string JsonQuote(absl::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out.push_back('\\');
      out.push_back(c);
    } else if (static_cast<unsigned char>(c) < 0x20) {
      // jsonb cannot hold U+0000; it becomes a blank.
      absl::StrAppend(&out, c == 0 ? " " : absl::StrFormat("\\u%04x", c));
    } else {
      out.push_back(c);
    }
  }
  out.push_back('"');
  return out;
}

std::string JsonObject(const std::map<std::string, std::string>& members) {
  std::string out = "{";
  for (const auto& [key, value] : members) {
    absl::StrAppend(&out, out.size() > 1 ? "," : "", JsonQuote(key), ":", JsonQuote(value));
  }
  return out + "}";
}

std::map<std::string, std::string> RawJsonMembers(absl::string_view json) {
  std::map<std::string, std::string> members;
  Reader reader(json);
  if (!reader.Members(&members, 0, true) || !reader.AtEnd()) return {};
  return members;
}

std::map<std::string, std::string> ParseJsonObject(absl::string_view json) {
  std::map<std::string, std::string> members;
  Reader reader(json);
  if (!reader.Members(&members, 0)) members.clear();
  return members;
}

bool IsJson(absl::string_view json) {
  Reader reader(json);
  return reader.Value() && reader.AtEnd();
}

bool IsJsonObject(absl::string_view json) {
  Reader reader(json);
  return reader.Members(nullptr, 0) && reader.AtEnd();
}

}  // namespace narthex::metadata
