// The whole server: makes every part, in the order in which they need each other, and takes them down in
// reverse.
#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "server/app/config.h"

namespace narthex::app {

class Application {
 public:
  // Starts everything and serves; the ready file is written last. FAILED_PRECONDITION (DATA_DIR_IN_USE):
  // another server uses the data directory.
  static absl::StatusOr<std::unique_ptr<Application>> Start(const Config& config);

  // As Stop.
  ~Application();

  // Takes no more, lets what is under way end within some seconds, and closes everything. Safe to repeat.
  void Stop();

  // HOST:PORT that clients connect to.
  const std::string& grpc_address() const;
  const std::string& dicom_address() const;  // "off" if there is none

 private:
  struct Parts;
  explicit Application(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace narthex::app
