// Changes of files in folders that belong to archived sessions already (merges, resources, purges), and who
// must see none of them half done: a backup takes rows and files one after the other, and both must tell of
// the same state. New sessions concern nobody: their folders appear whole, and rows name them later.
#pragma once

namespace narthex::archive {

// Exists while files change. Waits in its constructor while somebody keeps such changes away. Any threads.
class InPlaceChange {
 public:
  InPlaceChange();
  ~InPlaceChange();
  InPlaceChange(const InPlaceChange&) = delete;
  InPlaceChange& operator=(const InPlaceChange&) = delete;
};

// Keeps changes away while it exists: waits in its constructor for those on their way, and for others of its
// kind.
class NoInPlaceChanges {
 public:
  NoInPlaceChanges();
  ~NoInPlaceChanges();
  NoInPlaceChanges(const NoInPlaceChanges&) = delete;
  NoInPlaceChanges& operator=(const NoInPlaceChanges&) = delete;
};

}  // namespace narthex::archive
