// Type files: any text is taken or refused, and what is taken can build a session.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "imaging/dicom/header_facts.h"
#include "imaging/session/builder.h"
#include "imaging/session/document.h"
#include "imaging/session/types.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const narthex::session::TypeFile file{"fuzz.toml", std::string(reinterpret_cast<const char*>(data), size)};
  const auto types = narthex::session::TypeRegistry::Load({file});
  if (!types.ok()) return 0;
  namespace tags = narthex::dicom::tags;
  const narthex::dicom::HeaderFacts facts = narthex::dicom::HeaderFactsBuilder()
                                                .Add(tags::kSOPClassUID, "1.2.840.10008.5.1.4.1.1.4")
                                                .Add(tags::kModality, "MR")
                                                .Add(tags::kSeriesInstanceUID, "1.2")
                                                .Add(tags::kPixelSpacing, "1\\2")
                                                .Build();
  narthex::session::SessionBuilder builder(**types, {});
  if (!builder.Add(facts, 0).ok()) std::abort();
  const auto session = builder.Finish();
  if (!session.ok() || session->scans.size() != 1) std::abort();
  narthex::session::WriteSessionDocument(*session, {});
  return 0;
}
