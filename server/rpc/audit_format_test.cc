// Exported audit events: complete, one line, and safe whatever stands in them.
#include "server/rpc/audit_format.h"

#include <gmock/gmock.h>
#include <google/protobuf/struct.pb.h>
#include <google/protobuf/util/json_util.h>
#include <gtest/gtest.h>

namespace narthex::rpc {
namespace {

using testing::HasSubstr;
using testing::Not;

metadata::AuditEvent Event() {
  metadata::AuditEvent event;
  event.project = "P1";
  event.sequence = 7;
  event.time = absl::FromUnixMicros(1'700'000'000'123'456);
  event.user = "ann";
  event.action = "SESSION_CREATE";
  event.object = "NARTHEX_E00001";
  event.details_json = R"({"label": "a \"b\""})";
  event.hash = std::string(32, '\x01');
  return event;
}

TEST(AuditFormatTest, AtnaSaysWhoWhatWhenAndWhichObject) {
  const std::string xml = ToAtna(Event(), "SITE");
  EXPECT_THAT(xml, HasSubstr("EventActionCode=\"C\" EventDateTime=\"2023-11-14T22:13:20.123456Z\" "
                             "EventOutcomeIndicator=\"0\""));
  EXPECT_THAT(xml, HasSubstr("<EventID csd-code=\"110103\" codeSystemName=\"DCM\""));
  EXPECT_THAT(xml, HasSubstr("UserID=\"ann\""));
  EXPECT_THAT(xml, HasSubstr("AuditSourceID=\"SITE\""));
  EXPECT_THAT(xml, HasSubstr("ParticipantObjectID=\"NARTHEX_E00001\""));
}

TEST(AuditFormatTest, WhatDidNotHappenIsAFailure) {
  metadata::AuditEvent event = Event();
  event.action = "PREARCHIVE_DELETE";
  event.details_json = R"({"failed":"ILLEGAL_STATE"})";
  EXPECT_THAT(ToAtna(event, "S"), HasSubstr("EventActionCode=\"D\""));
  EXPECT_THAT(ToAtna(event, "S"), HasSubstr("EventOutcomeIndicator=\"4\""));
  EXPECT_THAT(ToAtna(event, "S"), HasSubstr("<EventID csd-code=\"110105\""));
  EXPECT_THAT(ToFhir(event, "S"), HasSubstr("\"outcome\":\"4\""));
  event.action = "PREARCHIVE_ARCHIVE";
  EXPECT_THAT(ToAtna(event, "S"), HasSubstr("EventActionCode=\"E\""));
}

TEST(AuditFormatTest, NothingInAnEventBreaksTheLineOrTheMarkup) {
  metadata::AuditEvent event = Event();
  event.user = "a\"><x>\n&";
  event.object = "\r\n<y/>\x01";
  const std::string xml = ToAtna(event, "S<");
  EXPECT_THAT(xml, Not(HasSubstr("\n")));
  EXPECT_THAT(xml, Not(HasSubstr("<x>")));
  EXPECT_THAT(xml, Not(HasSubstr("<y/>")));
  EXPECT_THAT(xml, HasSubstr("a&quot;&gt;&lt;x&gt;?&amp;"));
  const std::string json = ToFhir(event, "S\"");
  EXPECT_THAT(json, Not(HasSubstr("\n")));
  google::protobuf::Struct parsed;
  EXPECT_TRUE(google::protobuf::util::JsonStringToMessage(json, &parsed).ok()) << json;
}

TEST(AuditFormatTest, FhirIsAnAuditEvent) {
  google::protobuf::Struct parsed;
  const std::string json = ToFhir(Event(), "SITE");
  ASSERT_TRUE(google::protobuf::util::JsonStringToMessage(json, &parsed).ok()) << json;
  const auto& fields = parsed.fields();
  EXPECT_EQ(fields.at("resourceType").string_value(), "AuditEvent");
  EXPECT_EQ(fields.at("action").string_value(), "C");
  EXPECT_EQ(fields.at("recorded").string_value(), "2023-11-14T22:13:20.123456Z");
  for (const char* required : {"type", "agent", "source", "entity", "outcome"}) {
    EXPECT_TRUE(fields.contains(required)) << required;
  }
}

TEST(AuditFormatTest, RemovalsAreDeletions) {
  for (const char* action : {"SESSION_DELETE", "TOKEN_REVOKE", "MEMBER_REMOVE", "SESSION_PURGE"}) {
    metadata::AuditEvent event = Event();
    event.action = action;
    EXPECT_THAT(ToAtna(event, "S"), HasSubstr("EventActionCode=\"D\"")) << action;
  }
}

}  // namespace
}  // namespace narthex::rpc
