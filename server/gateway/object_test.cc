// Part 10 headers, the probe for UIDs, and what an outcome becomes on the wire.

#include <string>

#include "gtest/gtest.h"

#include "base/error.h"
#include "server/gateway/dimse.h"
#include "server/gateway/negotiation.h"
#include "server/gateway/part10_header.h"
#include "server/gateway/raw_sender.h"
#include "server/gateway/store_status.h"
#include "server/gateway/uid_probe.h"

namespace narthex::gateway {
namespace {

constexpr absl::string_view kMr = RawSender::kMrImageStorage;
constexpr absl::string_view kImplicit = "1.2.840.10008.1.2";
constexpr absl::string_view kBigEndian = "1.2.840.10008.1.2.2";

TEST(Part10HeaderTest, IsOfEvenLengthsAndKnowsItsLength) {
  const std::string header = EncodePart10Header({kMr, "1.2.3", "1.2.840.10008.1.2.1", "CT1"});

  EXPECT_EQ(header.substr(0, 128), std::string(128, '\0'));
  EXPECT_EQ(header.substr(128, 4), "DICM");
  EXPECT_EQ(header.substr(132, 8), std::string("\2\0\0\0UL\4\0", 8));
  EXPECT_EQ(static_cast<uint8_t>(header[140]) + 256 * static_cast<uint8_t>(header[141]), header.size() - 144);
  EXPECT_EQ(header.size() % 2, 0);
  EXPECT_NE(header.find(std::string("\2\0\3\0UI\6\0"
                                    "1.2.3\0",
                                    14)),
            std::string::npos);
  EXPECT_NE(header.find(std::string("\2\0\x16\0AE\4\0CT1 ", 12)), std::string::npos);
  EXPECT_EQ(EncodePart10Header({kMr, "1.2.3", kImplicit, ""}).find("AE"), std::string::npos);
}

// The data set of RawSender in another encoding: only what the probe needs.
std::string Encoded(bool explicit_vr, bool big) {
  std::string out;
  const auto u16 = [&](uint16_t v) {
    const char hi = static_cast<char>(v >> 8), lo = static_cast<char>(v);
    out += big ? std::string{hi, lo} : std::string{lo, hi};
  };
  const auto element = [&](uint16_t number, std::string value) {
    if (value.size() % 2 != 0) value += '\0';
    u16(8);
    u16(number);
    if (explicit_vr) out += "UI";
    if (!explicit_vr && big) u16(0);
    u16(static_cast<uint16_t>(value.size()));
    if (!explicit_vr && !big) u16(0);
    out += value;
  };
  element(0x0005, "ISO_IR 192");
  element(0x0016, std::string(kMr));
  element(0x0018, "1.2.3");
  element(0x0060, "MR");
  return out;
}

TEST(UidProbeTest, FindsUidsInEveryEncodingHoweverTheyAreCut) {
  const std::pair<absl::string_view, std::string> cases[] = {{"1.2.840.10008.1.2.1", Encoded(true, false)},
                                                             {kImplicit, Encoded(false, false)},
                                                             {kBigEndian, Encoded(true, true)}};
  for (const auto& [syntax, bytes] : cases) {
    for (const size_t piece : {1, 7, 1000}) {
      UidProbe probe(syntax);
      for (size_t at = 0; at < bytes.size() && probe.Feed(absl::string_view(bytes).substr(at, piece));
           at += piece) {
      }
      EXPECT_EQ(probe.sop_class_uid(), kMr) << syntax << " " << piece;
      EXPECT_EQ(probe.sop_instance_uid(), "1.2.3") << syntax << " " << piece;
    }
  }
}

TEST(UidProbeTest, GivesUpWithoutFinding) {
  UidProbe deflated("1.2.840.10008.1.2.1.99");
  EXPECT_FALSE(deflated.Feed(Encoded(true, false)));
  EXPECT_EQ(deflated.sop_instance_uid(), "");

  UidProbe undefined("1.2.840.10008.1.2.1");
  EXPECT_FALSE(undefined.Feed(std::string("\x08\0\x06\0SQ\0\0\xff\xff\xff\xff", 12)));

  UidProbe garbage("1.2.840.10008.1.2.1");
  EXPECT_FALSE(garbage.Feed(std::string(5000, 'x')));
  UidProbe zeros("1.2.840.10008.1.2.1");
  EXPECT_FALSE(zeros.Feed(std::string(5000, '\0')));
  EXPECT_EQ(zeros.sop_instance_uid(), "");
}

v1::ObjectOutcome OutcomeOf(v1::ObjectOutcome::Outcome outcome, absl::string_view reason = "") {
  v1::ObjectOutcome made;
  made.set_outcome(outcome);
  made.set_reason(std::string(reason));
  return made;
}

TEST(StoreStatusTest, SaysSuccessOnlyOfWhatIsDurable) {
  EXPECT_EQ(StoreStatusOf(OutcomeOf(v1::ObjectOutcome::STORED), "1.2").code, kStatusSuccess);
  EXPECT_EQ(StoreStatusOf(OutcomeOf(v1::ObjectOutcome::DUPLICATE, "SAME_BYTES"), "1.2").code, kStatusSuccess);
  EXPECT_EQ(StoreStatusOf(OutcomeOf(v1::ObjectOutcome::REPLACED, "SAME_INSTANCE"), "1.2").code,
            kStatusSuccess);
  EXPECT_EQ(StoreStatusOf(OutcomeOf(v1::ObjectOutcome::FILTERED, "SERIES_FILTER"), "1.2").code,
            kStatusSuccess);

  EXPECT_EQ(StoreStatusOf(OutcomeOf(v1::ObjectOutcome::FILTERED, "SERIES_FILTER"), "1.2", true).code, 0xC03E);
  const StoreStatus conflict = StoreStatusOf(OutcomeOf(v1::ObjectOutcome::CONFLICT, "SAME_INSTANCE"), "1.2");
  EXPECT_EQ(conflict.code, kStatusDuplicateSopInstance);
  EXPECT_EQ(conflict.comment, "SAME_INSTANCE");
  EXPECT_NE(StoreStatusOf(v1::ObjectOutcome(), "1.2").code, kStatusSuccess) << "an outcome that says nothing";
}

TEST(StoreStatusTest, TellsLackFromBadData) {
  const auto code = [](absl::string_view reason) {
    return StoreStatusOf(OutcomeOf(v1::ObjectOutcome::REJECTED, reason), "1.2").code;
  };
  EXPECT_EQ(code("DISK_FULL"), kStatusOutOfResources);
  EXPECT_EQ(code("OVERLOADED"), kStatusOutOfResources);
  EXPECT_EQ(code("SHUTTING_DOWN"), kStatusOutOfResources);
  EXPECT_EQ(code("SESSION_BUSY"), kStatusOutOfResources);
  EXPECT_EQ(code("MISSING_STUDY_INSTANCE_UID"), kStatusDataSetMismatch);
  EXPECT_EQ(code("NOT_DICOM"), 0xc000 + 50);
  EXPECT_EQ(code("REJECTED_BY_SCRIPT"), 0xc000 + 61);
  EXPECT_EQ(code("INVENTED_LATER"), 0xc000);
  EXPECT_EQ(code(""), 0xc000);
}

TEST(StoreStatusTest, ComparesTheInstanceUid) {
  v1::ObjectOutcome outcome = OutcomeOf(v1::ObjectOutcome::STORED);
  outcome.set_sop_instance_uid("1.2");
  EXPECT_EQ(StoreStatusOf(outcome, "1.2").code, kStatusSuccess);
  EXPECT_EQ(StoreStatusOf(outcome, "1.3").code, kStatusDataSetMismatch);
}

TEST(StoreStatusTest, TellsBrokenFromForbiddenUploads) {
  EXPECT_EQ(StoreStatusOf(absl::UnavailableError("x")).code, kStatusOutOfResources);
  EXPECT_EQ(StoreStatusOf(absl::PermissionDeniedError("x")).code, kStatusNotAuthorized);
  EXPECT_EQ(StoreStatusOf(NotFound("PROJECT_NOT_FOUND", "x")).comment, "PROJECT_NOT_FOUND");
}

}  // namespace
}  // namespace narthex::gateway
