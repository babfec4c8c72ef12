#include "base/pem_files.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <ctime>
#include <fstream>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <sys/mman.h>

#include "base/error.h"
#include "base/limits_server.h"
#include "base/log.h"
#include "base/status.h"

namespace narthex {
namespace {

constexpr absl::Duration kLookInterval = absl::Seconds(1);

// A file that only this process can read, by its path below /proc.
class UniqueMemoryFile {
 public:
  ~UniqueMemoryFile() {
    if (fd_ >= 0) ::close(fd_);
  }
  absl::Status Make() {
    fd_ = ::memfd_create("narthex-tls", MFD_CLOEXEC);
    if (fd_ < 0) return Internal("STORAGE_ERROR", absl::StrCat("memfd_create: ", std::strerror(errno)));
    return absl::OkStatus();
  }
  absl::Status Replace(const std::string& bytes) {
    const auto size = static_cast<ssize_t>(bytes.size());
    if (::ftruncate(fd_, 0) == 0 && ::pwrite(fd_, bytes.data(), bytes.size(), 0) == size)
      return absl::OkStatus();
    return Internal("STORAGE_ERROR", absl::StrCat("a file in memory: ", std::strerror(errno)));
  }
  std::string path() const { return absl::StrCat("/proc/self/fd/", fd_); }

 private:
  int fd_ = -1;
};

struct Free {
  void operator()(BIO* bytes) const { BIO_free(bytes); }
  void operator()(X509* certificate) const { X509_free(certificate); }
  void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
};
template <typename T>
using Owned = std::unique_ptr<T, Free>;

absl::Status Invalid(absl::string_view flag, const std::string& path, absl::string_view what) {
  ERR_clear_error();
  return InvalidArgument("TLS_FILES_INVALID", absl::StrCat("--", flag, ": ", path, ": ", what),
                         {{"flag", std::string(flag)}, {"path", path}});
}

absl::StatusOr<std::string> Read(absl::string_view flag, const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string text(limits::kPemMaxBytes, '\0');
  const auto size = static_cast<std::streamsize>(text.size());
  if (!file || !(file.read(text.data(), size) || file.eof()) || file.gcount() == size) {
    return Invalid(flag, path, "cannot be read");
  }
  text.resize(static_cast<size_t>(file.gcount()));
  return text;
}

// The first item of `text` by one of OpenSSL's PEM readers.
template <typename T, typename Reader>
absl::StatusOr<Owned<T>> Parse(absl::string_view flag, const std::string& path, const std::string& text,
                               Reader reader) {
  const Owned<BIO> bytes(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
  // A key under a pass phrase must not make the program ask for one.
  Owned<T> item(bytes == nullptr
                    ? nullptr
                    : reader(
                          bytes.get(), nullptr, [](char*, int, int, void*) { return -1; }, nullptr));
  if (!item) return Invalid(flag, path, "is not a PEM file of that kind, or is protected by a pass phrase");
  return item;
}

absl::Time TimeOf(const ASN1_TIME* time) {
  std::tm parts = {};
  ASN1_TIME_to_tm(time, &parts);
  return absl::FromTM(parts, absl::UTCTimeZone());
}

// Reads and checks certificate and key into `texts`.
absl::Status ReadPair(const PemFiles& files, absl::Time now, PemTexts& texts) {
  const std::string& flag = files.certificate_flag;
  NX_ASSIGN_OR_RETURN(texts.certificate, Read(flag, files.certificate));
  NX_ASSIGN_OR_RETURN(texts.private_key, Read(files.private_key_flag, files.private_key));
  NX_ASSIGN_OR_RETURN(const Owned<X509> certificate,
                      Parse<X509>(flag, files.certificate, texts.certificate, PEM_read_bio_X509));
  NX_ASSIGN_OR_RETURN(const Owned<EVP_PKEY> key, Parse<EVP_PKEY>(files.private_key_flag, files.private_key,
                                                                 texts.private_key, PEM_read_bio_PrivateKey));
  if (X509_check_private_key(certificate.get(), key.get()) != 1) {
    return Invalid(files.private_key_flag, files.private_key,
                   absl::StrCat("is not the key of ", files.certificate));
  }
  const absl::Time begin = TimeOf(X509_get0_notBefore(certificate.get()));
  texts.end = TimeOf(X509_get0_notAfter(certificate.get()));
  if (now >= texts.end) {
    return Invalid(
        flag, files.certificate,
        absl::StrCat("the certificate ended at ", absl::FormatTime(texts.end, absl::UTCTimeZone())));
  }
  if (now < begin) {
    return Invalid(flag, files.certificate,
                   absl::StrCat("the certificate begins at ", absl::FormatTime(begin, absl::UTCTimeZone())));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<PemTexts> ReadPemFiles(const PemFiles& files, absl::Time now) {
  PemTexts texts;
  if (files.certificate.empty() != files.private_key.empty()) {
    return InvalidArgument("TLS_FILES_INVALID", absl::StrCat("--", files.certificate_flag, " and --",
                                                             files.private_key_flag, " belong together"));
  }
  if (!files.certificate.empty()) NX_RETURN_IF_ERROR(ReadPair(files, now, texts));
  if (!files.authorities.empty()) {
    NX_ASSIGN_OR_RETURN(texts.authorities, Read(files.authorities_flag, files.authorities));
    NX_RETURN_IF_ERROR(
        Parse<X509>(files.authorities_flag, files.authorities, texts.authorities, PEM_read_bio_X509)
            .status());
  }
  return texts;
}

struct PemCopies::Rep {
  PemFiles files;
  std::function<void(absl::Time)> shown;
  UniqueMemoryFile certificate, key, authorities;
  PemTexts copied;
  std::string refused;
  std::thread thread;
  absl::Mutex mutex;
  bool stopping ABSL_GUARDED_BY(mutex) = false;

  absl::Status Copy(PemTexts texts);
  void Run();
};

absl::Status PemCopies::Rep::Copy(PemTexts texts) {
  NX_RETURN_IF_ERROR(key.Replace(texts.private_key));
  NX_RETURN_IF_ERROR(certificate.Replace(texts.certificate));
  NX_RETURN_IF_ERROR(authorities.Replace(texts.authorities));
  if (shown && !files.certificate.empty()) shown(texts.end);
  copied = std::move(texts);
  return absl::OkStatus();
}

void PemCopies::Rep::Run() {
  while (true) {
    {
      absl::MutexLock lock(&mutex);
      if (mutex.AwaitWithTimeout(absl::Condition(&stopping), kLookInterval)) return;
    }
    absl::StatusOr<PemTexts> now = ReadPemFiles(files, absl::Now());
    if (now.ok() && *now == copied) continue;
    const absl::Time end = now.ok() ? now->end : absl::InfinitePast();
    const absl::Status status = now.ok() ? Copy(*std::move(now)) : now.status();
    if (status.ok()) {
      Log(LogLevel::kInfo, "tls certificate replaced", {{"ends", absl::FormatTime(end)}});
      refused.clear();
    } else if (status.message() != refused) {
      refused = std::string(status.message());  // said once
      Log(LogLevel::kError, "tls files changed and do not fit; the old ones go on", {{"error", status}});
    }
  }
}

absl::StatusOr<std::unique_ptr<PemCopies>> PemCopies::Open(const PemFiles& files,
                                                           std::function<void(absl::Time end)> shown) {
  auto rep = std::make_unique<Rep>();
  rep->files = files;
  rep->shown = std::move(shown);
  NX_ASSIGN_OR_RETURN(PemTexts texts, ReadPemFiles(files, absl::Now()));
  for (UniqueMemoryFile* file : {&rep->certificate, &rep->key, &rep->authorities})
    NX_RETURN_IF_ERROR(file->Make());
  NX_RETURN_IF_ERROR(rep->Copy(std::move(texts)));
  Rep* raw = rep.get();
  rep->thread = std::thread([raw] { raw->Run(); });
  return std::unique_ptr<PemCopies>(new PemCopies(std::move(rep)));
}

PemCopies::PemCopies(std::unique_ptr<Rep> rep) : rep_(std::move(rep)) {}

PemCopies::~PemCopies() {
  {
    absl::MutexLock lock(&rep_->mutex);
    rep_->stopping = true;
  }
  rep_->thread.join();
}

std::string PemCopies::certificate() const {
  return rep_->files.certificate.empty() ? "" : rep_->certificate.path();
}
std::string PemCopies::private_key() const { return rep_->files.private_key.empty() ? "" : rep_->key.path(); }
std::string PemCopies::authorities() const {
  return rep_->files.authorities.empty() ? "" : rep_->authorities.path();
}

}  // namespace narthex
