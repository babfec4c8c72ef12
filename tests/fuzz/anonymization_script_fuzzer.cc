// Feeds texts to the checker, and what compiles to the evaluator: on a small object, and, if a zero byte ends
// the text, on the object behind it. What comes out must be readable.
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>

#include "absl/strings/string_view.h"

#include "imaging/anonymize/anonymizer.h"
#include "imaging/anonymize/profile.h"
#include "imaging/anonymize/script.h"
#include "imaging/pixels/pixel_editor.h"

namespace {

using narthex::dicom::DataSet;
using narthex::dicom::Encoding;
using narthex::dicom::Tag;
using narthex::dicom::Vr;

std::unique_ptr<DataSet> Object() {
  auto data = DataSet::Empty(Encoding::ExplicitLittle());
  data->SetBytes(Tag(0x00080005), Vr::kCS, "ISO_IR 100");
  data->SetBytes(Tag(0x00080018), Vr::kUI, "1.2.3");
  data->SetBytes(Tag(0x00080020), Vr::kDA, "20200115");
  data->SetBytes(Tag(0x0008002a), Vr::kDT, "20200115101112.5+0100");
  data->SetBytes(Tag(0x00100010), Vr::kPN, "M\xfcller^J");
  data->SetBytes(Tag(0x00100030), Vr::kDA, "19200101");
  data->SetBytes(Tag(0x00101010), Vr::kAS, "100Y");
  data->SetBytes(Tag(0x00190010), Vr::kLO, "SIEMENS MR HEADER");
  data->SetBytes(Tag(0x00191008), Vr::kCS, "IMAGE NUM 4");
  data->EnsureSequence(Tag(0x00081140)).Append().SetBytes(Tag(0x00081155), Vr::kUI, "1.2.3.4");
  return data;
}

// The other texts of a site: a lookup table, and a profile's name.
void TryTables(absl::string_view text) {
  const auto table = narthex::anonymize::ParseLookupTable(text);
  if (table.ok() && table->size() > text.size()) std::abort();
  const auto profile = narthex::anonymize::ProfileOptions::Parse(text);
  if (!profile.ok()) return;
  const auto again = narthex::anonymize::ProfileOptions::Parse(profile->ToString());
  if (!again.ok() || again->ToString() != profile->ToString()) std::abort();
}

// The whole way of an object, pixels included.
void TryObject(const narthex::anonymize::Script& script, absl::string_view bytes) {
  narthex::anonymize::AnonymizationPlan plan;
  plan.secret = "0123456789abcdef";
  plan.script = std::make_shared<const narthex::anonymize::Script>(script);
  narthex::anonymize::ApplyContext context;
  context.max_steps = 200'000;
  context.max_output_bytes = 1 << 20;
  narthex::anonymize::Anonymizer anonymizer(plan, {{"subject", "S"}}, context);
  narthex::pixels::DecoderOptions options;
  options.program = "/nowhere/narthex-pixels";
  narthex::pixels::PixelEditor editor(anonymizer, options);
  const auto out = narthex::dicom::RewriteObject(bytes, editor);
  if (out.ok() && !narthex::dicom::ParseObjectHeader(*out).ok()) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  const absl::string_view input(reinterpret_cast<const char*>(bytes), size);
  const size_t end = input.find('\0');
  const absl::string_view text = input.substr(0, end);
  narthex::anonymize::CompileOptions options;
  options.lenient_variables = true;
  TryTables(text);
  const auto problems = narthex::anonymize::Check(text, options);
  const auto script = narthex::anonymize::Script::Compile(text, options);
  if (script.ok() == narthex::anonymize::HasErrors(problems)) std::abort();
  if (!script.ok()) return 0;
  if (end != absl::string_view::npos) TryObject(*script, input.substr(end + 1));
  const auto data = Object();
  narthex::anonymize::ApplyContext context;
  context.max_steps = 100'000;
  context.max_output_bytes = 1 << 20;
  if (!script->Apply(*data, {{"subject", "S"}}, context).ok()) return 0;
  if (!DataSet::Parse(data->Write(), data->encoding()).ok()) std::abort();
  return 0;
}
