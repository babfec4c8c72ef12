// narthex-phantom: writes a synthetic study as DICOM files.
#include <iostream>
#include <string>

#include "absl/time/clock.h"

#include "CLI/CLI.hpp"
#include "imaging/phantom/phantom.h"

int main(int argc, char** argv) {
  narthex::phantom::Options options;
  std::string folder, modality = "MR";
  int size = 0;
  CLI::App app("Writes a synthetic study (a recognisable phantom, no patient) as DICOM files.",
               "narthex-phantom");
  app.add_option("OUT_DIR", folder, "where to write; made if it is not there")->required();
  app.add_option("--modality", modality, "MR, CT or PT")->capture_default_str();
  app.add_option("--series", options.series, "number of series")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  app.add_option("--slices", options.slices, "slices in each series")
      ->check(CLI::Range(1, 100000))
      ->capture_default_str();
  app.add_option("--size", size, "rows and columns (default 128; CT 512)")->check(CLI::Range(1, 16384));
  app.add_option("--project", options.project, "project, for PatientComments");
  app.add_option("--subject", options.subject, "subject, for PatientComments and PatientName");
  app.add_option("--session", options.session, "session, for PatientComments and PatientID");
  app.add_option("--patient-name", options.patient_name, "PatientName");
  app.add_option("--patient-id", options.patient_id, "PatientID");
  app.add_option("--study-description", options.study_description, "StudyDescription");
  app.add_option("--study-date", options.study_date, "StudyDate, YYYYMMDD")->capture_default_str();
  app.add_option("--seed", options.seed, "another seed makes another study")->capture_default_str();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 64;
  }
  const auto parsed = narthex::phantom::ParseModality(modality);
  if (!parsed.ok()) {
    std::cerr << parsed.status().message() << "\n";
    return 64;
  }
  options.modality = *parsed;
  if (size == 0) size = *parsed == narthex::phantom::Modality::kCt ? 512 : 128;
  options.rows = options.columns = size;
  const narthex::phantom::Study study(options);
  const absl::Time start = absl::Now();
  const auto written = study.WriteTo(folder);
  if (!written.ok()) {
    std::cerr << written.status().message() << "\n";
    return 1;
  }
  const double seconds = absl::ToDoubleSeconds(absl::Now() - start);
  std::cout << "{\"files\": " << study.instance_count() << ", \"bytes\": " << *written
            << ", \"studyInstanceUid\": \"" << study.study_instance_uid() << "\", \"seconds\": " << seconds
            << "}\n";
  return 0;
}
