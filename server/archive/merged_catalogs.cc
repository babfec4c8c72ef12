// Names, counts and catalogs of what a merge files.
#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

#include "base/error.h"
#include "base/limits_storage.h"
#include "base/log.h"
#include "base/status.h"
#include "server/archive/filing.h"
#include "storage/archive/layout.h"

namespace narthex::archiving {
namespace {

// What the database knows of a file, as far as a catalog has it.
archive::CatalogEntry EntryOf(const metadata::File& file) {
  archive::CatalogEntry entry;
  entry.uri = file.path.substr(file.path.rfind('/') + 1);
  entry.id = entry.uri;
  entry.name = entry.uri;
  entry.uid = file.instance_uid;
  if (!file.instance_uid.empty()) entry.instance_number = file.instance_number;
  entry.format = file.format;
  entry.md5 = absl::BytesToHexString(file.md5);
  entry.size_bytes = file.size_bytes;
  return entry;
}

}  // namespace

// No name may be taken: by a row, or by a file that lies there without one. What an earlier run of this
// operation put there does not count, so that a repetition gives the same names.
absl::Status Archiver::NameMerged(Filing& filing, const archive::SessionWriter& writer) {
  absl::flat_hash_set<std::string> ours;
  for (const archive::WrittenFile& file : writer.files()) ours.insert(file.path);
  std::map<std::string, archive::NameSet> names;
  for (const MergePlan::Filed& planned : filing.plan.filed) {
    FiledObject filed;
    filed.object = &filing.built.objects[planned.object];
    filed.resource = planned.primary ? "DICOM" : "secondary";
    filed.scan = planned.scan;
    const std::string folder = archive::ResourceFolder(filing.ScanId(filed), filed.resource);
    const auto [known, added] = names.try_emplace(folder);
    if (added) {
      const auto there =
          with_.file_system.List(fs::JoinPath(fs::JoinPath(with_.archive_root, filing.folder), folder));
      if (!there.ok() && !absl::IsNotFound(there.status())) return there.status();
      if (there.ok()) {
        for (const fs::DirectoryEntry& entry : *there) {
          if (!ours.contains(absl::StrCat(folder, "/", entry.name))) known->second.Take(entry.name);
        }
      }
    }
    filed.path = absl::StrCat(folder, "/", known->second.Take(NameOf(filing.built.model, *filed.object)));
    filing.objects.push_back(std::move(filed));
  }
  return absl::OkStatus();
}

// The session's resources as they will be.
void Archiver::CountMerged(Filing& filing) {
  for (const metadata::Resource& resource : filing.there->resources) {
    if (filing.plan.emptied_scans.count(resource.scan_id) > 0) continue;
    filing.resources.emplace(ResourceKey(resource.scan_id, resource.label), resource);
  }
  for (const metadata::File* file : filing.plan.superseded) {
    const auto resource = filing.resources.find({file->scan_id, file->resource});
    if (resource == filing.resources.end()) continue;
    --resource->second.file_count;
    resource->second.size_bytes -= file->size_bytes;
  }
  for (const FiledObject& filed : filing.objects) {
    const ResourceKey key = filing.KeyOf(filed);
    metadata::Resource& resource = filing.resources.try_emplace(key, MakeResource(key)).first->second;
    ++resource.file_count;
    resource.size_bytes += static_cast<int64_t>(filing.written.at(filed.path).size_bytes);
  }
}

// The catalog as it is on the disk; what it lacks or has too much of, the database knows better.
absl::StatusOr<archive::Catalog> Archiver::ReadCatalogOf(const Filing& filing,
                                                         const metadata::Resource& resource) {
  archive::Catalog catalog;
  const std::string place =
      fs::JoinPath(fs::JoinPath(with_.archive_root, filing.folder), resource.catalog_path);
  const auto text = fs::ReadFile(with_.file_system, place, limits::kCatalogMaxBytes);
  if (text.ok()) {
    if (auto read = archive::ReadCatalog(*text); read.ok()) {
      catalog = *std::move(read);
    } else {
      Log(LogLevel::kWarning, "damaged catalog is made again",
          {{"session", filing.there->session.accession_id}, {"error", read.status()}});
    }
  } else if (!absl::IsNotFound(text.status())) {
    return text.status();
  }
  absl::flat_hash_map<std::string, const metadata::File*> rows;  // by URI
  for (const metadata::File& file : filing.there->files) {
    if (file.scan_id == resource.scan_id && file.resource == resource.label)
      rows.emplace(file.path.substr(file.path.rfind('/') + 1), &file);
  }
  const auto unknown = [&](const archive::CatalogEntry& entry) { return rows.erase(entry.uri) == 0; };
  catalog.entries.erase(std::remove_if(catalog.entries.begin(), catalog.entries.end(), unknown),
                        catalog.entries.end());
  for (const metadata::File& file : filing.there->files) {
    const auto lacking = rows.find(file.path.substr(file.path.rfind('/') + 1));
    if (lacking != rows.end() && lacking->second == &file) catalog.entries.push_back(EntryOf(file));
  }
  return catalog;
}

absl::Status Archiver::WriteMergedCatalogs(Filing& filing, archive::SessionWriter& writer,
                                           const operations::Operation& operation) {
  struct Work {
    std::vector<const FiledObject*> filed;
    absl::flat_hash_set<std::string> gone;  // URIs
  };
  std::map<ResourceKey, Work> touched;
  for (const FiledObject& filed : filing.objects) touched[filing.KeyOf(filed)].filed.push_back(&filed);
  for (const metadata::File* file : filing.plan.superseded)
    touched[{file->scan_id, file->resource}].gone.insert(file->path.substr(file->path.rfind('/') + 1));
  const int64_t now = absl::ToUnixMicros(operation.create_time);
  for (const auto& [key, work] : touched) {
    const auto resource = filing.resources.find(key);
    if (resource == filing.resources.end()) continue;  // of a scan that goes
    NX_ASSIGN_OR_RETURN(archive::Catalog catalog, ReadCatalogOf(filing, resource->second));
    absl::flat_hash_map<std::string, archive::CatalogEntry> before;  // of what is replaced, by instance
    auto& entries = catalog.entries;
    const auto goes = [&](archive::CatalogEntry& entry) {
      if (!work.gone.contains(entry.uri)) return false;
      before.try_emplace(entry.uid, std::move(entry));
      return true;
    };
    entries.erase(std::remove_if(entries.begin(), entries.end(), goes), entries.end());
    std::map<std::string, int64_t> counts;
    for (const FiledObject* filed : work.filed) {
      archive::CatalogEntry entry = ToEntry(*filed, filing.written.at(filed->path), operation);
      const auto replaced = before.find(entry.uid);
      ++counts[replaced == before.end() ? "Added" : "Replaced"];
      if (replaced != before.end()) {
        entry.modified_by = std::exchange(entry.created_by, replaced->second.created_by);
        entry.modified_time = std::exchange(entry.created_time, replaced->second.created_time);
        entry.modified_event_id = std::exchange(entry.created_event_id, replaced->second.created_event_id);
        before.erase(replaced);
      }
      entries.push_back(std::move(entry));
    }
    if (!before.empty()) counts["Removed"] = static_cast<int64_t>(before.size());
    if (catalog.uid.empty() && !work.filed.empty())
      catalog.uid = filing.built.model.scans[work.filed.front()->scan].series_instance_uid;
    catalog.audit.push_back({operation.id, archive::JavaDate(now), counts});
    NX_RETURN_IF_ERROR(writer.WriteFile(resource->second.catalog_path, archive::WriteCatalog(catalog)));
  }
  return absl::OkStatus();
}

}  // namespace narthex::archiving
