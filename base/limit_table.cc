#include "base/limit_table.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"

#include "base/error.h"
#include "base/limits.h"
#include "base/limits_gateway.h"
#include "base/limits_pixels.h"
#include "base/limits_routing.h"
#include "base/limits_scripts.h"
#include "base/limits_server.h"
#include "base/limits_sessions.h"
#include "base/limits_storage.h"
#include "base/limits_url.h"

namespace narthex {
namespace {

constexpr size_t kNearest = 3;

constexpr NamedLimit kAll[] = {
    // clang-format off: made by ./dev fix
    {"object_max_bytes", &limits::kObjectMaxBytes},
    {"upload_unacked_max_bytes", &limits::kUploadUnackedMaxBytes},
    {"upload_unacked_max_objects", &limits::kUploadUnackedMaxObjects},
    {"upload_streams_max", &limits::kUploadStreamsMax},
    {"upload_streams_per_user_max", &limits::kUploadStreamsPerUserMax},
    {"upload_idle_seconds", &limits::kUploadIdleSeconds},
    {"held_bytes_max", &limits::kHeldBytesMax},
    {"header_max_bytes", &limits::kHeaderMaxBytes},
    {"sequence_max_depth", &limits::kSequenceMaxDepth},
    {"header_max_elements", &limits::kHeaderMaxElements},
    {"value_max_bytes", &limits::kValueMaxBytes},
    {"inflate_max_ratio", &limits::kInflateMaxRatio},
    {"page_size_default", &limits::kPageSizeDefault},
    {"page_size_max", &limits::kPageSizeMax},
    {"archive_max_nesting", &limits::kArchiveMaxNesting},
    {"archive_max_entries", &limits::kArchiveMaxEntries},
    {"pdu_max_bytes", &limits::kPduMaxBytes},
    {"associations_max", &limits::kAssociationsMax},
    {"association_idle_seconds", &limits::kAssociationIdleSeconds},
    {"associations_per_address_max", &limits::kAssociationsPerAddressMax},
    {"rejections_max", &limits::kRejectionsMax},
    {"rejections_per_address_max", &limits::kRejectionsPerAddressMax},
    {"associate_max_bytes", &limits::kAssociateMaxBytes},
    {"transfer_syntaxes_max", &limits::kTransferSyntaxesMax},
    {"command_max_bytes", &limits::kCommandMaxBytes},
    {"async_window_max", &limits::kAsyncWindowMax},
    {"artim_seconds", &limits::kArtimSeconds},
    {"message_progress_seconds", &limits::kMessageProgressSeconds},
    {"linger_seconds", &limits::kLingerSeconds},
    {"gateway_drain_seconds", &limits::kGatewayDrainSeconds},
    {"gateway_unacked_max_bytes", &limits::kGatewayUnackedMaxBytes},
    {"receivers_max", &limits::kReceiversMax},
    {"allowed_callers_max", &limits::kAllowedCallersMax},
    {"receiver_watches_max", &limits::kReceiverWatchesMax},
    {"receiver_text_max_bytes", &limits::kReceiverTextMaxBytes},
    {"commitment_instances_max", &limits::kCommitmentInstancesMax},
    {"commitment_max_bytes", &limits::kCommitmentMaxBytes},
    {"commitment_max_depth", &limits::kCommitmentMaxDepth},
    {"commitments_max", &limits::kCommitmentsMax},
    {"commitment_tries_max", &limits::kCommitmentTriesMax},
    {"commitments_of_association_max", &limits::kCommitmentsOfAssociationMax},
    {"commitment_delivery_seconds", &limits::kCommitmentDeliverySeconds},
    {"frame_max_bytes", &limits::kFrameMaxBytes},
    {"pixel_decoder_memory_bytes", &limits::kPixelDecoderMemoryBytes},
    {"pixel_decoders_max", &limits::kPixelDecodersMax},
    {"pixel_frame_seconds", &limits::kPixelFrameSeconds},
    {"pixel_decoder_cpu_seconds", &limits::kPixelDecoderCpuSeconds},
    {"rules_max_bytes", &limits::kRulesMaxBytes},
    {"rules_max", &limits::kRulesMax},
    {"rule_replacement_max_bytes", &limits::kRuleReplacementMaxBytes},
    {"rule_replaced_max_bytes", &limits::kRuleReplacedMaxBytes},
    {"series_filter_max_bytes", &limits::kSeriesFilterMaxBytes},
    {"series_filter_lines_max", &limits::kSeriesFilterLinesMax},
    {"filter_expression_max_bytes", &limits::kFilterExpressionMaxBytes},
    {"filter_expression_max_depth", &limits::kFilterExpressionMaxDepth},
    {"regex_max_bytes", &limits::kRegexMaxBytes},
    {"project_candidate_max_bytes", &limits::kProjectCandidateMaxBytes},
    {"script_max_bytes", &limits::kScriptMaxBytes},
    {"script_max_nesting", &limits::kScriptMaxNesting},
    {"script_max_diagnostics", &limits::kScriptMaxDiagnostics},
    {"script_steps_max", &limits::kScriptStepsMax},
    {"script_output_max_bytes", &limits::kScriptOutputMaxBytes},
    {"script_new_items_max", &limits::kScriptNewItemsMax},
    {"script_echoes_max", &limits::kScriptEchoesMax},
    {"script_pixel_edits_max", &limits::kScriptPixelEditsMax},
    {"diff_max_changes", &limits::kDiffMaxChanges},
    {"diff_value_max_bytes", &limits::kDiffValueMaxBytes},
    {"leftover_terms_max", &limits::kLeftoverTermsMax},
    {"leftover_term_max_bytes", &limits::kLeftoverTermMaxBytes},
    {"leftovers_max", &limits::kLeftoversMax},
    {"connections_max", &limits::kConnectionsMax},
    {"connections_per_address_max", &limits::kConnectionsPerAddressMax},
    {"calls_per_connection_max", &limits::kCallsPerConnectionMax},
    {"server_threads_max", &limits::kServerThreadsMax},
    {"long_calls_max", &limits::kLongCallsMax},
    {"long_calls_per_user_max", &limits::kLongCallsPerUserMax},
    {"calls_per_user_max", &limits::kCallsPerUserMax},
    {"reflection_calls_max", &limits::kReflectionCallsMax},
    {"server_buffers_max_bytes", &limits::kServerBuffersMaxBytes},
    {"handshake_seconds", &limits::kHandshakeSeconds},
    {"connection_idle_seconds", &limits::kConnectionIdleSeconds},
    {"keepalive_seconds", &limits::kKeepaliveSeconds},
    {"keepalive_answer_seconds", &limits::kKeepaliveAnswerSeconds},
    {"open_files_min", &limits::kOpenFilesMin},
    {"pem_max_bytes", &limits::kPemMaxBytes},
    {"operation_wait_max_seconds", &limits::kOperationWaitMaxSeconds},
    {"idle_build_seconds_default", &limits::kIdleBuildSecondsDefault},
    {"idle_build_seconds_max", &limits::kIdleBuildSecondsMax},
    {"digests_max", &limits::kDigestsMax},
    {"not_kept_max", &limits::kNotKeptMax},
    {"display_name_max_bytes", &limits::kDisplayNameMaxBytes},
    {"token_seconds_max", &limits::kTokenSecondsMax},
    {"authentication_failures_max", &limits::kAuthenticationFailuresMax},
    {"authentication_failure_seconds", &limits::kAuthenticationFailureSeconds},
    {"authentication_known_max", &limits::kAuthenticationKnownMax},
    {"authentication_keys_max", &limits::kAuthenticationKeysMax},
    {"tokens_remembered_max", &limits::kTokensRememberedMax},
    {"jwt_max_bytes", &limits::kJwtMaxBytes},
    {"jwks_max_bytes", &limits::kJwksMaxBytes},
    {"jwks_seconds", &limits::kJwksSeconds},
    {"jwks_miss_seconds", &limits::kJwksMissSeconds},
    {"jwks_connect_ms", &limits::kJwksConnectMs},
    {"jwks_timeout_ms", &limits::kJwksTimeoutMs},
    {"jwt_leeway_seconds_max", &limits::kJwtLeewaySecondsMax},
    {"series_max", &limits::kSeriesMax},
    {"session_warnings_max", &limits::kSessionWarningsMax},
    {"document_text_max_bytes", &limits::kDocumentTextMaxBytes},
    {"attribute_values_max", &limits::kAttributeValuesMax},
    {"type_files_max", &limits::kTypeFilesMax},
    {"type_file_max_bytes", &limits::kTypeFileMaxBytes},
    {"types_max", &limits::kTypesMax},
    {"type_attributes_max", &limits::kTypeAttributesMax},
    {"type_sources_max", &limits::kTypeSourcesMax},
    {"segment_max_bytes", &limits::kSegmentMaxBytes},
    {"segment_buffer_bytes", &limits::kSegmentBufferBytes},
    {"segment_pool_bytes", &limits::kSegmentPoolBytes},
    {"free_space_min_bytes", &limits::kFreeSpaceMinBytes},
    {"open_segments_max", &limits::kOpenSegmentsMax},
    {"index_cache_bytes", &limits::kIndexCacheBytes},
    {"index_write_buffers_bytes", &limits::kIndexWriteBuffersBytes},
    {"index_log_max_bytes", &limits::kIndexLogMaxBytes},
    {"index_messages_max_bytes", &limits::kIndexMessagesMaxBytes},
    {"damages_listed_max", &limits::kDamagesListedMax},
    {"resource_files_max", &limits::kResourceFilesMax},
    {"resource_folder_max_depth", &limits::kResourceFolderMaxDepth},
    {"custom_fields_max", &limits::kCustomFieldsMax},
    {"custom_field_max_bytes", &limits::kCustomFieldMaxBytes},
    {"findings_listed_max", &limits::kFindingsListedMax},
    {"project_text_max_bytes", &limits::kProjectTextMaxBytes},
    {"project_aliases_max", &limits::kProjectAliasesMax},
    {"filter_max_bytes", &limits::kFilterMaxBytes},
    {"filter_max_depth", &limits::kFilterMaxDepth},
    {"filter_max_terms", &limits::kFilterMaxTerms},
    {"order_fields_max", &limits::kOrderFieldsMax},
    {"database_connections_max", &limits::kDatabaseConnectionsMax},
    {"database_connect_seconds", &limits::kDatabaseConnectSeconds},
    {"database_acquire_seconds", &limits::kDatabaseAcquireSeconds},
    {"database_statement_seconds", &limits::kDatabaseStatementSeconds},
    {"postgres_start_seconds", &limits::kPostgresStartSeconds},
    {"prepared_max", &limits::kPreparedMax},
    {"postgres_log_max_bytes", &limits::kPostgresLogMaxBytes},
    {"url_fetch_ms", &limits::kUrlFetchMs},
    {"url_answer_max_bytes", &limits::kUrlAnswerMaxBytes},
    {"url_max_bytes", &limits::kUrlMaxBytes},
    {"url_redirects_max", &limits::kUrlRedirectsMax},
    {"url_fetches_max", &limits::kUrlFetchesMax},
    {"url_fetches_per_object_max", &limits::kUrlFetchesPerObjectMax},
    {"url_cache_seconds", &limits::kUrlCacheSeconds},
    {"url_failure_cache_seconds", &limits::kUrlFailureCacheSeconds},
    {"url_cache_max_entries", &limits::kUrlCacheMaxEntries},
    // clang-format on
};

// How many letters must be added, removed or changed to come from `a` to `b`.
size_t Distance(absl::string_view a, absl::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i + 1);
    for (size_t j = 0; j < b.size(); ++j) {
      const size_t change = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({change, row[j] + 1, diagonal + 1});
    }
  }
  return row[b.size()];
}

std::string Nearest(absl::string_view name) {
  name = name.substr(0, 64);
  std::vector<std::pair<size_t, absl::string_view>> by_distance;
  for (const NamedLimit& each : kAll) by_distance.emplace_back(Distance(name, each.name), each.name);
  std::partial_sort(by_distance.begin(), by_distance.begin() + kNearest, by_distance.end());
  by_distance.resize(kNearest);
  return absl::StrJoin(by_distance, ", ",
                       [](std::string* out, const auto& entry) { absl::StrAppend(out, entry.second); });
}

bool ParseNumber(absl::string_view text, bool bytes, int64_t* number) {
  int shift = 0;
  for (const auto& [unit, bits] :
       {std::pair("KiB", 10), std::pair("MiB", 20), std::pair("GiB", 30), std::pair("TiB", 40)}) {
    if (bytes && absl::ConsumeSuffix(&text, unit)) {
      shift = bits;
      break;
    }
  }
  text = absl::StripTrailingAsciiWhitespace(text);
  if (text.empty() || !std::all_of(text.begin(), text.end(), absl::ascii_isdigit)) return false;
  if (!absl::SimpleAtoi(text, number) || *number > std::numeric_limits<int64_t>::max() >> shift) return false;
  *number <<= shift;
  return true;
}

absl::Status Wrong(absl::string_view name, const std::string& message) {
  return InvalidArgument("INVALID_FIELD", message,
                         {{"field", absl::StrCat("limits.", absl::string_view(name).substr(0, 64))}});
}

}  // namespace

absl::Span<const NamedLimit> AllLimits() { return kAll; }

absl::Status SetLimit(absl::string_view name, absl::string_view value) {
  for (const NamedLimit& each : kAll) {
    if (each.name != name) continue;
    int64_t number = 0;
    if (!ParseNumber(value, absl::StrContains(name, "bytes"), &number) ||
        number < each.limit->least_number() || number > each.limit->most_number()) {
      return Wrong(name, absl::StrCat("the limit ", name, " may be ", each.limit->least_number(), " to ",
                                      each.limit->most_number(), ", not \"", value, "\""));
    }
    each.limit->Set(number);
    return absl::OkStatus();
  }
  return Wrong(name, absl::StrCat("there is no limit \"", name, "\"; the nearest are ", Nearest(name)));
}

absl::Status SetLimit(absl::string_view assignment) {
  const size_t equals = assignment.find('=');
  if (equals == absl::string_view::npos)
    return Wrong(assignment, absl::StrCat("a limit is set as NAME=VALUE, not \"", assignment, "\""));
  return SetLimit(absl::StripAsciiWhitespace(assignment.substr(0, equals)),
                  absl::StripAsciiWhitespace(assignment.substr(equals + 1)));
}

}  // namespace narthex
