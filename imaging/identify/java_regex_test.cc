#include "imaging/identify/java_regex.h"

#include <string>

#include "gtest/gtest.h"

namespace narthex::identify {
namespace {

bool Matches(absl::string_view java, absl::string_view text) {
  RegexError error;
  const auto regex = CompileJavaRegex(java, {}, &error);
  EXPECT_NE(regex, nullptr) << java << ": " << error.message;
  return regex != nullptr && RE2::FullMatch(re2::StringPiece(text.data(), text.size()), *regex);
}

TEST(JavaRegexTest, MatchesAsJavaDoes) {
  const struct {
    const char* java;
    std::string text;
    bool matches;
  } kCases[] = {
      {"^([^_]+)_.*$", "P1_scan", true},
      {".*", "one line", true},
      {".*", "two\nlines", false},
      {".*", "two\rlines", false},
      {".*", "two\xe2\x80\xa8lines", false},
      {"(?s).*", "two\nlines", true},
      {"(?i)abc", "ABC", true},
      {"\\p{Alpha}+", "abc", true},
      {"\\p{Alpha}+", "ab1", false},
      {"[\\p{Alpha}1]+", "ab1", true},
      {"\\P{Digit}+", "ab1", false},
      {"\\p{XDigit}{4}", "00aF", true},
      {"\\p{L}+", "\xc3\xa4", true},
      {"\\p{IsGreek}", "\xce\xb1", true},
      {"\\w+", "\xc3\xa4", false},
      {"\\Qa.b\\E.", "a.bX", true},
      {"\\Qa.b", "a.b", true},
      {"\\Qa.b\\E", "axb", false},
      {"a\\s\\h", "a\v\t", true},
      {"a\\R", "a\r\n", true},
      {"a\\Z", "a\n", true},
      {"a\\z", "a\n", false},
      {"\\x41\\u0042\\0103", "ABC", true},
      {"(?<name>a)b", "ab", true},
      {"[]a]+", "]a", true},
      {"[^]a]+", "xyz", true},
      {"a{2,3}?", "aaa", true},
      {"\\(x\\)\\[\\.\\]", "(x)[.]", true},
      {"\xc3\xa4\\\xc3\xa4", "\xc3\xa4\xc3\xa4", true},
  };
  for (const auto& c : kCases) EXPECT_EQ(Matches(c.java, c.text), c.matches) << c.java << " on " << c.text;
}

TEST(JavaRegexTest, SaysWhatItCannotDoAndWhere) {
  const struct {
    const char* java;
    size_t offset;
    const char* message;
  } kCases[] = {
      {"ab(?=c)", 2, "look-around"},
      {"(?!c)", 0, "look-around"},
      {"x(?<=c)", 1, "look-around"},
      {"(?<!c)x", 0, "look-around"},
      {"(?>a)", 0, "atomic"},
      {"(a)\\1", 3, "back-references"},
      {"(?<n>a)\\k<n>", 7, "back-references"},
      {"[a-z&&[^b]]", 4, "intersection"},
      {"[a[b]]", 2, "inside a character class"},
      {"a\\", 1, "nothing follows"},
      {"ab[c", 2, "never closed"},
      {"(ab", 0, "missing"},
      {"ab++", 2, "bad repetition"},
      {"\\p{Nonsense}", 0, "invalid character class"},
      {"\\uZZZZ", 0, "hexadecimal"},
      {"\\C", 0, "not supported"},
      {"a{9999}", 1, "invalid repetition size"},
  };
  for (const auto& c : kCases) {
    RegexError error;
    EXPECT_EQ(CompileJavaRegex(c.java, {}, &error), nullptr) << c.java;
    EXPECT_EQ(error.offset, c.offset) << c.java << ": " << error.message;
    EXPECT_NE(error.message.find(c.message), std::string::npos) << c.java << ": " << error.message;
  }
}

TEST(JavaRegexTest, RefusesWhatIsTooLarge) {
  RegexError error;
  EXPECT_EQ(CompileJavaRegex(std::string(1001, 'a'), {}, &error), nullptr);
  EXPECT_EQ(CompileJavaRegex("((((.{100}){100}){100}){100})", {}, &error), nullptr);
}

TEST(JavaRegexTest, TranslatesReplacements) {
  const struct {
    const char* java;
    int groups;
    const char* re2;  // null: refused
  } kCases[] = {
      {"_", 0, "_"},           {"$1-$2", 2, "\\1-\\2"},
      {"$0", 0, "\\0"},        {"$2", 1, nullptr},
      {"$", 1, nullptr},       {"\\$1", 1, "$1"},
      {"a\\\\b", 0, "a\\\\b"}, {"\\", 0, nullptr},
      {"${x}", 1, nullptr},    {"", 0, ""},
      {"$12", 1, "\\12"},      {"$12", 12, nullptr},
  };
  for (const auto& c : kCases) {
    std::string re2;
    RegexError error;
    EXPECT_EQ(TranslateReplacement(c.java, c.groups, &re2, &error), c.re2 != nullptr) << c.java;
    if (c.re2 != nullptr) {
      EXPECT_EQ(re2, c.re2);
    }
  }
}

}  // namespace
}  // namespace narthex::identify
