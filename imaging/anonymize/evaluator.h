// Runs a compiled script on one data set. Used within this folder only; single-threaded.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "imaging/anonymize/ast.h"
#include "imaging/anonymize/script.h"
#include "imaging/anonymize/value.h"
#include "imaging/dicom/dataset.h"

namespace narthex::anonymize {

class Evaluator {
 public:
  // `header` is set when `data` are the elements behind the pixels: then nothing is created, and values that
  // `data` lacks are read from it.
  Evaluator(dicom::DataSet& data, const dicom::DataSet* header, const Variables& variables,
            ApplyContext& context, const std::set<std::string>& url_hosts, bool odd_without_creator)
      : data_(data),
        header_(header),
        variables_(variables.begin(), variables.end()),
        context_(context),
        url_hosts_(url_hosts),
        odd_without_creator_(odd_without_creator) {
    budget_.max_steps = context.max_steps;
  }

  absl::Status Run(const Block& block);
  Result TakeResult() {
    result_.steps = budget_.steps;
    return std::move(result_);
  }

  // For functions.

  absl::StatusOr<Value> Evaluate(const Expression& expression);
  // Text of the argument with this index; nullopt: an absent attribute. A list is an error.
  absl::StatusOr<std::optional<std::string>> Text(const Expression& call, size_t argument);
  // The same; an absent attribute is an error.
  absl::StatusOr<std::string> RequiredText(const Expression& call, size_t argument);
  absl::StatusOr<int64_t> Integer(const Expression& call, size_t argument);
  // Paths of an argument: a tag path, a string that holds one, or a list of these.
  absl::StatusOr<std::vector<PathPattern>> Paths(const Expression& argument);
  // What the paths of all arguments from `first` on match, each attribute once.
  absl::StatusOr<std::vector<PathMatch>> MatchArguments(const Expression& call, size_t first);
  absl::StatusOr<Value> ReadPath(const PathPattern& path);
  absl::Status Assign(const Position& position, const PathPattern& path, absl::string_view text);
  absl::Status AssignIfPresent(const Position& position, const PathPattern& path, absl::string_view text);
  absl::Status SetText(const Position& position, dicom::Item& item, dicom::Tag tag, absl::string_view text);
  absl::Status Delete(const PathPattern& path);
  absl::Status Fail(const Position& position, absl::string_view what) const;
  // The secret that UIDs are mapped with; made at the first use.
  const std::string& Key();

  dicom::DataSet& data() { return data_; }
  const dicom::DataSet* header() const { return header_; }
  ApplyContext& context() { return context_; }
  const std::set<std::string>& url_hosts() const { return url_hosts_; }
  WorkBudget& budget() { return budget_; }
  Result& result() { return result_; }
  // Ends the script after the current statement: reject[].
  void Stop() { stopped_ = true; }

 private:
  absl::Status RunStatement(const Statement& statement);
  // With ApplyContext::repeats.
  bool IsMadeOfVariables(const Expression& expression) const;
  bool IsLeftOut(const Statement& statement) const;
  absl::Status RunBranches(const Statement& statement);
  absl::Status RunSetVariable(const Statement& statement);
  absl::Status RunExport(const Statement& statement);
  absl::StatusOr<bool> Holds(const Condition& condition);
  absl::StatusOr<bool> Matches(const Condition& condition, const std::string& text,
                               const std::string& pattern);
  absl::StatusOr<dicom::Tag> ResolveTag(const Position& position, dicom::Item& item,
                                        const TagPattern& pattern);

  dicom::DataSet& data_;
  const dicom::DataSet* header_;
  std::map<std::string, Value> values_;
  std::set<std::string> from_object_;  // with ApplyContext::repeats: variables that would hold its values
  std::map<std::string, std::string> variables_;
  ApplyContext& context_;
  const std::set<std::string>& url_hosts_;
  const bool odd_without_creator_;
  WorkBudget budget_;
  size_t output_bytes_ = 0;
  bool stopped_ = false;
  Result result_;
};

}  // namespace narthex::anonymize
