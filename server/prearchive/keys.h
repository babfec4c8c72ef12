// How the staging index's keys are made. Numbers are big endian, so that byte order is number order; texts
// end with a zero byte, which none of them contains.
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

#include "server/prearchive/rows.pb.h"

namespace narthex::prearchive::keys {

inline std::string Number(uint64_t number) {
  std::string bytes(8, '\0');
  for (int i = 7; i >= 0; --i, number >>= 8) bytes[i] = static_cast<char>(number & 0xFF);
  return bytes;
}

// The number in the last 8 bytes of `key`; 0 if it is shorter.
inline uint64_t LastNumber(absl::string_view key) {
  if (key.size() < 8) return 0;
  uint64_t number = 0;
  for (char byte : key.substr(key.size() - 8)) number = number << 8 | static_cast<unsigned char>(byte);
  return number;
}

inline std::string Text(absl::string_view text) { return absl::StrCat(text, absl::string_view("\0", 1)); }

// The first key behind all keys that begin with `prefix`.
inline std::string EndOf(std::string prefix) {
  while (!prefix.empty() && prefix.back() == '\xFF') prefix.pop_back();
  if (!prefix.empty()) prefix.back() = static_cast<char>(static_cast<unsigned char>(prefix.back()) + 1);
  return prefix;
}

inline std::string Object(absl::string_view session, uint64_t number) {
  return absl::StrCat(Text(session), Number(number));
}
inline std::string Instance(absl::string_view session, absl::string_view sop_instance_uid) {
  return absl::StrCat(Text(session), sop_instance_uid);
}
inline std::string SessionKey(absl::string_view project, absl::string_view study, absl::string_view label) {
  return absl::StrCat(Text(project), Text(study), label);
}
inline std::string OfSession(const SessionKeyRow& key) {
  if (key.study_identity().empty()) return SessionKey(key.project(), key.study_instance_uid(), key.label());
  return SessionKey(key.project(), absl::StrCat("~", absl::BytesToHexString(key.study_identity())),
                    key.label());
}
// How an instance that was received is known again: by its UID, or by the identity that stands for it. No UID
// begins with "~".
inline std::string InstanceName(absl::string_view sop_instance_uid, absl::string_view identity) {
  return identity.empty() ? std::string(sop_instance_uid)
                          : absl::StrCat("~", absl::BytesToHexString(identity));
}
inline std::string ReceivedAs(const ObjectRow& object) {
  return InstanceName(object.sop_instance_uid(), object.instance_identity());
}
// All sessions' digests of one project lie together.
inline std::string Digest(absl::string_view project, absl::string_view digest, absl::string_view session) {
  return absl::StrCat(Text(project), digest, session);
}
// In the meta table: what a session that is gone was told of by uploads that were forgotten.
inline std::string ForgottenTally(absl::string_view session) { return absl::StrCat("forgotten/", session); }
inline std::string UploadObject(absl::string_view upload, int64_t sequence) {
  return absl::StrCat(Text(upload), Number(static_cast<uint64_t>(sequence)));
}

}  // namespace narthex::prearchive::keys
