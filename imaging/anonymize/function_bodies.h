// The bodies of the functions, by topic; functions.cc holds the table. Used within this folder only.
#pragma once

#include "absl/status/statusor.h"

#include "imaging/anonymize/ast.h"
#include "imaging/anonymize/evaluator.h"
#include "imaging/anonymize/value.h"

namespace narthex::anonymize::functions {

using Return = absl::StatusOr<Value>;

// function_text.cc
Return Concatenate(Evaluator&, const Expression&);
Return Format(Evaluator&, const Expression&);
Return Lowercase(Evaluator&, const Expression&);
Return Uppercase(Evaluator&, const Expression&);
Return Substring(Evaluator&, const Expression&);
Return Replace(Evaluator&, const Expression&);
Return Match(Evaluator&, const Expression&);
Return IsMatch(Evaluator&, const Expression&);
Return NormalizeString(Evaluator&, const Expression&);
Return UrlEncode(Evaluator&, const Expression&);
Return Equals(Evaluator&, const Expression&);
Return And(Evaluator&, const Expression&);
Return Or(Evaluator&, const Expression&);
Return True(Evaluator&, const Expression&);
Return False(Evaluator&, const Expression&);
Return Lookup(Evaluator&, const Expression&);
Return GetUrl(Evaluator&, const Expression&);

// function_uid.cc
Return HashUidFunction(Evaluator&, const Expression&);
Return HashUidList(Evaluator&, const Expression&);
Return MapUidFunction(Evaluator&, const Expression&);
Return MapReferencedUids(Evaluator&, const Expression&);
Return NewUid(Evaluator&, const Expression&);

// function_date.cc
Return ShiftDateByIncrement(Evaluator&, const Expression&);
Return ShiftDateTimeByIncrement(Evaluator&, const Expression&);
Return ShiftDateTimeSequenceByIncrement(Evaluator&, const Expression&);
Return ShiftDateTimeListByIncrement(Evaluator&, const Expression&);
Return ScalePatientAge(Evaluator&, const Expression&);

// function_tag.cc
Return DeletePath(Evaluator&, const Expression&);
Return SetPath(Evaluator&, const Expression&);
Return RemoveTags(Evaluator&, const Expression&);
Return RetainPrivateTags(Evaluator&, const Expression&);
Return IsPresent(Evaluator&, const Expression&);
Return ValueAt(Evaluator&, const Expression&);
Return CollectValues(Evaluator&, const Expression&);
Return BlankValues(Evaluator&, const Expression&);
Return Reject(Evaluator&, const Expression&);
Return AlterPixels(Evaluator&, const Expression&);

}  // namespace narthex::anonymize::functions

namespace narthex::anonymize {

// Reads alterPixels' "l=1, t=2, r=3, b=4" (`keys` are the letters in order). False: something is missing or
// no number.
bool ParseParameters(absl::string_view text, absl::string_view keys, int64_t* values);

}  // namespace narthex::anonymize
