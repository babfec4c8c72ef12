// What holds for arriving objects: routing, filters, limits.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "absl/strings/string_view.h"

#include "imaging/dicom/attribute_set.h"
#include "imaging/identify/filter_set.h"
#include "imaging/identify/router.h"
#include "server/prearchive/prearchive.h"

namespace narthex::ingest {

// What a receiver (an AE title of the gateways) says of what arrives through it.
struct ReceiverPolicy {
  std::shared_ptr<const identify::Router> router;  // never null; the site's rules are part of it
  bool anonymize = true;                           // by the site's script
  int auto_archive = 0;                            // number of narthex.v1.AutoArchive.Mode; 0: nothing
  int64_t idle_build_seconds = 0;                  // 0: the site's setting
  bool direct_archive = false;
};

// What holds for the sessions of a project: what it says, else what the site says.
struct SessionRules {
  prearchive::DuplicatePolicy duplicates = prearchive::DuplicatePolicy::kKeep;
  int64_t idle_build_seconds = 0;  // 0: the site's setting, whatever it is at the time
};

// Asked with every object ("": no project). Must be thread-safe and quick.
using SessionRulesSource = std::function<SessionRules(const std::string& project)>;

// What holds for all objects at the moment; replaced as a whole when a setting changes. Immutable.
struct Policy {
  std::shared_ptr<const dicom::AttributeSet> attributes;
  std::shared_ptr<const identify::Router> router;                // for what comes through no receiver
  std::map<std::string, ReceiverPolicy, std::less<>> receivers;  // by AE title
  std::shared_ptr<const identify::FilterSet> filters;            // null: everything is wanted
  const identify::StudyRoutingTable* studies = nullptr;          // borrowed; null: none
  uint64_t object_max_bytes = 0;
  // The 128 bytes before "DICM" of a Part 10 file (PS3.10 7.1) are kept as zeros whatever came: with them a
  // file may be a program, too. Digests are told of what came all the same.
  bool clears_preambles = false;

  // Null: there is no receiver of this AE title.
  const ReceiverPolicy* FindReceiver(absl::string_view ae_title) const {
    const auto found = receivers.find(std::string(ae_title));
    return found == receivers.end() ? nullptr : &found->second;
  }
};

class PolicySource {
 public:
  virtual ~PolicySource() = default;
  // Never null. Thread-safe; does not block.
  virtual std::shared_ptr<const Policy> Current() const = 0;
};

}  // namespace narthex::ingest
