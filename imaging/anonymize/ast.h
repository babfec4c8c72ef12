// The parsed form of a script. Immutable once compiled; shared between threads.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "imaging/anonymize/tag_pattern.h"
#include "re2/re2.h"

namespace narthex::anonymize {

struct FunctionSpec;

struct Position {
  int line = 0;
  int column = 0;
};

struct Expression {
  enum class Kind { kString, kNumber, kVariable, kPath, kCall, kList, kNewUid };
  Kind kind = Kind::kString;
  Position position;
  std::string text;                   // the string, number, name of the variable or function
  PathPattern path;                   // kPath; also kString that is written where a path is wanted
  std::vector<Expression> arguments;  // of a call or list
  const FunctionSpec* function = nullptr;
  std::shared_ptr<const RE2> regex;  // kString that is written where a pattern is wanted
};

struct Condition {
  enum class Operator { kTrue, kEquals, kDiffers, kMatches, kMatchesNot };
  Operator op = Operator::kTrue;
  Expression left;
  Expression right;  // unless kTrue
};

struct Statement;
using Block = std::vector<Statement>;

// A condition with what it guards; an else has none.
struct Branch {
  bool has_condition = true;
  Condition condition;
  Block block;
};

struct Statement {
  enum class Kind {
    kAssign,
    kAssignIfPresent,
    kDelete,
    kSetVariable,
    kCall,
    kEcho,
    kBranches,
    kRemoveAllPrivate,
    kDescribe,
    kExport,
    kVersion,
  };
  Kind kind = Kind::kAssign;
  Position position;
  PathPattern target;
  std::string name;  // variable
  std::string text;  // of describe, export and version
  Expression value;
  bool has_value = false;  // of echo
  std::vector<Branch> branches;
};

}  // namespace narthex::anonymize
