#include "imaging/anonymize/script.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

#include "base/digest.h"
#include "base/error.h"
#include "base/status.h"
#include "imaging/anonymize/checker.h"
#include "imaging/anonymize/evaluator.h"
#include "imaging/anonymize/parser.h"

namespace narthex::anonymize {
namespace {

bool CallsAlterPixels(const Expression& expression) {
  return expression.text == "alterPixels" ||
         std::any_of(expression.arguments.begin(), expression.arguments.end(), CallsAlterPixels);
}

bool CallsAlterPixels(const Block& block) {
  for (const Statement& statement : block) {
    if (CallsAlterPixels(statement.value)) return true;
    for (const Branch& branch : statement.branches) {
      if (CallsAlterPixels(branch.condition.left) || CallsAlterPixels(branch.block)) return true;
    }
  }
  return false;
}

}  // namespace

struct Script::Program {
  Block statements;
  std::string version;
  std::string digest;
  std::set<std::string> url_hosts;
  bool odd_without_creator = false;
  bool alters_pixels = false;
  Diagnostics warnings;
};

std::string Diagnostic::ToString() const {
  return absl::StrCat(line, ":", column, ": ", severity == Severity::kError ? "error" : "warning", ": ",
                      message, " [", code, "]");
}

bool HasErrors(const Diagnostics& diagnostics) {
  return std::any_of(diagnostics.begin(), diagnostics.end(),
                     [](const Diagnostic& diagnostic) { return diagnostic.severity == Severity::kError; });
}

Diagnostics Check(absl::string_view text, const CompileOptions& options) {
  Diagnostics diagnostics;
  ParsedScript parsed = Parse(text, &diagnostics, options.origin);
  CheckParsed(parsed, options, &diagnostics);
  return diagnostics;
}

absl::StatusOr<Script> Script::Compile(absl::string_view text, const CompileOptions& options) {
  Diagnostics diagnostics;
  ParsedScript parsed = Parse(text, &diagnostics, options.origin);
  CheckParsed(parsed, options, &diagnostics);
  for (const Diagnostic& diagnostic : diagnostics) {
    if (diagnostic.severity != Severity::kError) continue;
    return InvalidArgument("INVALID_SCRIPT",
                           absl::StrCat("the script cannot be used: line ", diagnostic.line, ", column ",
                                        diagnostic.column, ": ", diagnostic.message),
                           {{"line", absl::StrCat(diagnostic.line)},
                            {"column", absl::StrCat(diagnostic.column)},
                            {"code", diagnostic.code}});
  }
  auto program = std::make_shared<Program>();
  program->alters_pixels = CallsAlterPixels(parsed.statements);
  program->statements = std::move(parsed.statements);
  program->version = parsed.version;
  program->digest = absl::BytesToHexString(Sha256(text));
  program->url_hosts = options.url_hosts;
  program->odd_without_creator = parsed.dialect == Dialect::kDicomEdit4;
  program->warnings = std::move(diagnostics);
  return Script(std::move(program));
}

Script::Script(std::shared_ptr<const Program> program) : program_(std::move(program)) {}
Script::~Script() = default;

absl::StatusOr<Result> Script::Apply(dicom::DataSet& data, const Variables& variables,
                                     ApplyContext& context) const {
  Evaluator evaluator(data, nullptr, variables, context, program_->url_hosts, program_->odd_without_creator);
  NX_RETURN_IF_ERROR(evaluator.Run(program_->statements));
  return evaluator.TakeResult();
}

absl::Status Script::ApplyTrailing(dicom::DataSet& trailing, const dicom::DataSet& header,
                                   const Variables& variables, ApplyContext& context) const {
  Evaluator evaluator(trailing, &header, variables, context, program_->url_hosts,
                      program_->odd_without_creator);
  return evaluator.Run(program_->statements);
}

const std::string& Script::digest() const { return program_->digest; }
const std::string& Script::version() const { return program_->version; }
bool Script::alters_pixels() const { return program_->alters_pixels; }
const Diagnostics& Script::warnings() const { return program_->warnings; }

absl::StatusOr<LookupTable> ParseLookupTable(absl::string_view text) {
  LookupTable table;
  int number = 0;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    ++number;
    line = absl::StripAsciiWhitespace(line);
    if (line.empty() || absl::StartsWith(line, "//") || absl::StartsWith(line, "#")) continue;
    const size_t slash = line.find('/'), equals = line.rfind('=');
    if (slash == absl::string_view::npos || equals == absl::string_view::npos || equals < slash) {
      return InvalidArgument(
          "INVALID_SCRIPT",
          absl::StrCat("line ", number, " of the lookup table is not of the form keytype/value = result"),
          {{"line", absl::StrCat(number)}});
    }
    const std::string key =
        absl::StrCat(absl::StripAsciiWhitespace(line.substr(0, slash)), "/",
                     absl::StripAsciiWhitespace(line.substr(slash + 1, equals - slash - 1)));
    table[key] = std::string(absl::StripAsciiWhitespace(line.substr(equals + 1)));
  }
  return table;
}

absl::string_view DefaultSiteScript() {
  return "version \"6.1\"\n"
         "project != \"Unassigned\" ? (0008,1030) := project\n"
         "(0010,0010) := subject\n"
         "(0010,0020) := session\n";
}

}  // namespace narthex::anonymize
