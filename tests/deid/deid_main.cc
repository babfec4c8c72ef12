// De-identifies files as the server does, with the same libraries, for the proofs in this folder.
//
//   deid [--profile basic,...] [--script FILE] [--subject S] < LIST
//
// LIST has lines "INPUT<tab>OUTPUT". For each a line "ok" or the error's reason is printed, a tab, and for
// "ok" the kinds of pixel work ("", "edited", "decoded"), else the message.
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>
#include <vector>

#include "absl/strings/str_split.h"

#include "CLI/CLI.hpp"
#include "base/error.h"
#include "base/status.h"
#include "imaging/anonymize/anonymizer.h"
#include "imaging/pixels/pixel_editor.h"

namespace narthex {
namespace {

std::string ReadFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(in), {});
}

struct Settings {
  std::string profile;
  std::string script_file;
  std::string subject;
};

absl::StatusOr<anonymize::AnonymizationPlan> Plan(const Settings& settings) {
  anonymize::AnonymizationPlan plan;
  plan.secret = "a secret of sixteen bytes or more";
  if (!settings.profile.empty()) {
    NX_ASSIGN_OR_RETURN(const anonymize::ProfileOptions options,
                        anonymize::ProfileOptions::Parse(settings.profile));
    plan.profile = std::make_shared<anonymize::Profile>(options);
  }
  if (!settings.script_file.empty()) {
    NX_ASSIGN_OR_RETURN(anonymize::Script script, anonymize::Script::Compile(ReadFile(settings.script_file)));
    plan.script = std::make_shared<anonymize::Script>(std::move(script));
  }
  return plan;
}

// What was done to the pixels.
absl::StatusOr<std::string> Run(const anonymize::AnonymizationPlan& plan, const Settings& settings,
                                const std::string& input, const std::string& output) {
  anonymize::ApplyContext context;
  anonymize::Anonymizer anonymizer(plan, {{"project", "P"}, {"subject", settings.subject}, {"session", "E"}},
                                   context);
  pixels::PixelEditor editor(anonymizer);
  std::ifstream in(input, std::ios::binary);
  std::ofstream out(output, std::ios::binary);
  dicom::HeaderRewriter rewriter(editor, [&out](absl::string_view bytes) {
    out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    return absl::OkStatus();
  });
  static std::vector<char>& piece = *new std::vector<char>(256 << 10);
  while (in.good()) {
    in.read(piece.data(), static_cast<std::streamsize>(piece.size()));
    NX_RETURN_IF_ERROR(rewriter.Add({piece.data(), static_cast<size_t>(in.gcount())}));
  }
  NX_RETURN_IF_ERROR(rewriter.Finish());
  out.close();
  if (!out) return Internal("INTERNAL", "cannot write the result");
  return editor.outcome().decoded ? "decoded" : editor.outcome().edited ? "edited" : "";
}

int Main(int argc, char** argv) {
  CLI::App app{"de-identifies files for the proofs in tests/deid"};
  Settings settings;
  app.add_option("--profile", settings.profile);
  app.add_option("--script", settings.script_file);
  app.add_option("--subject", settings.subject);
  CLI11_PARSE(app, argc, argv);
  const auto plan = Plan(settings);
  if (!plan.ok()) {
    std::cerr << plan.status().message() << "\n";
    return 2;
  }
  std::string line;
  while (std::getline(std::cin, line)) {
    const std::vector<std::string> paths = absl::StrSplit(line, '\t');
    if (paths.size() != 2) return 64;
    const auto done = Run(*plan, settings, paths[0], paths[1]);
    if (done.ok()) {
      std::cout << "ok\t" << *done << std::endl;
    } else {
      std::cout << ErrorReason(done.status()) << "\t" << done.status().message() << std::endl;
    }
  }
  return 0;
}

}  // namespace
}  // namespace narthex

int main(int argc, char** argv) { return narthex::Main(argc, argv); }
