#include "server/app/application.h"

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <functional>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include <grpcpp/grpcpp.h>

#include "base/error.h"
#include "base/limits.h"
#include "base/limits_gateway.h"
#include "base/limits_server.h"
#include "base/limits_storage.h"
#include "base/log.h"
#include "base/status.h"
#include "server/app/anonymization_settings.h"
#include "server/app/authentication.h"
#include "server/app/backup.h"
#include "server/app/basic_settings.h"
#include "server/app/dicom_door.h"
#include "server/app/direct_sink.h"
#include "server/app/directory_lock.h"
#include "server/app/disk_watch.h"
#include "server/app/grpc_listener.h"
#include "server/app/grpc_server.h"
#include "server/app/limit_settings.h"
#include "server/app/metrics_server.h"
#include "server/app/postgres_keeper.h"
#include "server/app/ready_file.h"
#include "server/app/restore.h"
#include "server/app/session_rules.h"
#include "server/app/transport.h"
#include "server/app/upload_sweeper.h"
#include "server/app/workflow.h"
#include "server/archive/archiver.h"
#include "server/archive/checker.h"
#include "server/archive/file_work.h"
#include "server/archive/session_changes.h"
#include "server/archive/session_check.h"
#include "server/archive/session_resources.h"
#include "server/auth/project_cache.h"
#include "server/deidentify/plans.h"
#include "server/gateway/gateway.h"
#include "server/ingest/uploads.h"
#include "server/operations/operations.h"
#include "server/prearchive/prearchive.h"
#include "server/rpc/anonymization_service.h"
#include "server/rpc/archive_service.h"
#include "server/rpc/audit_service.h"
#include "server/rpc/convert.h"
#include "server/rpc/field_definitions.h"
#include "server/rpc/identity_service.h"
#include "server/rpc/operations_service.h"
#include "server/rpc/prearchive_service.h"
#include "server/rpc/project_service.h"
#include "server/rpc/resource_service.h"
#include "server/rpc/settings_service.h"
#include "server/rpc/upload_service.h"
#include "storage/fs/file_system.h"
#include "storage/metadata/access.h"
#include "storage/metadata/database.h"
#include "storage/metadata/managed_postgres.h"
#include "storage/staging/index.h"
#include "storage/staging/staging.h"

namespace narthex::app {
namespace {

constexpr char kVersion[] = "0.1.0";
constexpr char kAeTitle[] = "NARTHEX";
constexpr int kOperationWorkers = 3;
constexpr absl::Duration kDrain = absl::Seconds(8);

}  // namespace

// In the order of construction; destroyed in reverse.
struct Application::Parts {
  Config config;
  std::unique_ptr<DirectoryLock> lock;
  std::unique_ptr<metadata::ManagedPostgres> postgres;
  std::unique_ptr<PostgresKeeper> postgres_keeper;
  std::unique_ptr<metadata::Database> database;
  std::unique_ptr<staging::Index> index;
  std::unique_ptr<staging::StagingStore> staging;
  std::unique_ptr<const session::TypeRegistry> types;
  std::unique_ptr<DicomDoor> door;
  std::unique_ptr<deidentify::Plans> plans;
  std::unique_ptr<prearchive::Prearchive> prearchive;
  std::unique_ptr<ingest::Uploads> uploads;
  std::unique_ptr<auth::ProjectCache> projects;
  std::unique_ptr<SessionRules> session_rules;
  std::unique_ptr<auth::Authenticator> authenticator;
  std::unique_ptr<ingest::Admission> admission;
  std::unique_ptr<rpc::Gate> gate;
  std::unique_ptr<archiving::Checker> checker;
  std::unique_ptr<archiving::Archiver> archiver;
  std::unique_ptr<archiving::SessionChanges> session_changes;
  std::unique_ptr<archiving::SessionResources> session_resources;
  std::unique_ptr<archiving::SessionCheck> session_check;
  std::unique_ptr<operations::Operations> operations;
  std::unique_ptr<Workflow> workflow;
  std::unique_ptr<rpc::StallWatch> stalls;
  std::unique_ptr<DiskWatch> disks;
  std::unique_ptr<UploadSweeper> sweeper;
  std::shared_ptr<gateway::GatewayLimits> gateway_limits = std::make_shared<gateway::GatewayLimits>();
  std::atomic<int64_t> association_idle_seconds{limits::kAssociationIdleSeconds};
  std::unique_ptr<rpc::UploadServiceImpl> upload_service;
  std::unique_ptr<rpc::PrearchiveServiceImpl> prearchive_service;
  std::unique_ptr<rpc::ArchiveServiceImpl> archive_service;
  std::unique_ptr<rpc::ResourceServiceImpl> resource_service;
  std::unique_ptr<rpc::ProjectServiceImpl> project_service;
  std::unique_ptr<rpc::SettingsServiceImpl> settings_service;
  std::unique_ptr<rpc::AnonymizationServiceImpl> anonymization_service;
  std::unique_ptr<rpc::OperationsServiceImpl> operations_service;
  std::unique_ptr<rpc::IdentityServiceImpl> identity_service;
  std::unique_ptr<rpc::AuditServiceImpl> audit_service;
  std::unique_ptr<PemCopies> tls;
  std::shared_ptr<gateway::TlsServer> dicom_tls;
  std::unique_ptr<grpc::Server> server;
  std::unique_ptr<GrpcListener> listener;
  std::unique_ptr<MetricsServer> metrics;
  std::string grpc_address;
  std::string dicom_address = "off";
  std::string token_file;
  bool stopped = false;

  // Before anything is opened: what is wrong is said at once.
  absl::Status CheckTransport();
  absl::Status OpenStorage();
  absl::Status OpenRules();
  void MakeServices();
  ingest::StreamDependencies Streams();
  absl::Status Serve();
  absl::Status ServeDicom();
  absl::Status WriteReadyFile() const;
  std::vector<rpc::SettingSpec> Settings();
  std::vector<LimitSpec> Limits();
};

absl::Status Application::Parts::CheckTransport() {
  if (config.tls_cert.empty()) {
    NX_RETURN_IF_ERROR(CheckPlaintext(config.grpc_listen, "grpc-listen", config.allow_plaintext));
  } else {
    NX_ASSIGN_OR_RETURN(tls, OpenTlsFiles({config.tls_cert, config.tls_key, config.tls_client_ca}));
  }
  if (config.dicom_listen != "off" && config.dicom_tls_cert.empty()) {
    NX_RETURN_IF_ERROR(CheckPlaintext(config.dicom_listen, "dicom-listen", config.allow_plaintext));
  } else if (config.dicom_listen != "off") {
    NX_ASSIGN_OR_RETURN(dicom_tls,
                        gateway::TlsServer::Open(gateway::DicomPemFiles(
                            config.dicom_tls_cert, config.dicom_tls_key, config.dicom_tls_client_ca)));
  }
  if (config.metrics_listen == "off") return absl::OkStatus();
  return CheckPlaintext(config.metrics_listen, "metrics-listen", config.allow_plaintext);
}

absl::Status Application::Parts::OpenStorage() {
  fs::FileSystem& files = fs::Posix();
  for (const std::string& directory : {config.data_dir, config.archive_dir, config.inbox_dir}) {
    NX_RETURN_IF_ERROR(Annotate(files.MakeDirectories(directory), directory));
  }
  NX_ASSIGN_OR_RETURN(lock, DirectoryLock::Take(config.data_dir));
  NX_ASSIGN_OR_RETURN(const bool restoring, BeginRestore(config));
  std::string conninfo = config.postgres;
  if (conninfo == "managed") {
    metadata::ManagedPostgres::Options options;
    options.directory = config.data_dir + "/postgres";
    NX_ASSIGN_OR_RETURN(postgres, metadata::ManagedPostgres::Start(options));
    if (restoring) NX_RETURN_IF_ERROR(postgres->Load(DumpOf(config.restore_from)));
    conninfo = postgres->conninfo();
    postgres_keeper = std::make_unique<PostgresKeeper>(*postgres);
  }
  if (restoring && !postgres) NX_RETURN_IF_ERROR(LoadOwnDatabase(config));
  metadata::Database::Options options;
  options.conninfo = conninfo;
  options.site_id = config.site_id;
  NX_ASSIGN_OR_RETURN(database, metadata::Database::Open(options));
  if (restoring) NX_RETURN_IF_ERROR(EndRestore(config, *database));
  NX_RETURN_IF_ERROR(files.MakeDirectories(config.data_dir + "/staging"));
  NX_ASSIGN_OR_RETURN(index, staging::Index::OpenRocksDb(config.data_dir + "/staging/index"));
  staging::StagingStore::Options staging_options;
  staging_options.directory = config.data_dir + "/staging/segments";
  NX_ASSIGN_OR_RETURN(staging, staging::StagingStore::Open(staging_options, files));
  return absl::OkStatus();
}

absl::Status Application::Parts::OpenRules() {
  NX_ASSIGN_OR_RETURN(types, session::TypeRegistry::LoadDirectory(config.types_dir));
  door = std::make_unique<DicomDoor>(*types, *database);
  NX_ASSIGN_OR_RETURN(plans, OpenPlans(database->scripts()));
  NX_RETURN_IF_ERROR(door->policy().SetRouting({}));
  prearchive::Prearchive::Options options;
  options.idle_build = absl::Seconds(limits::kIdleBuildSecondsDefault.get());
  NX_ASSIGN_OR_RETURN(prearchive, prearchive::Prearchive::Open(options, *staging, *index, Clock::Real()));
  uploads = std::make_unique<ingest::Uploads>(*index, Clock::Real());
  projects = std::make_unique<auth::ProjectCache>(database->projects(), Clock::Real());
  NX_RETURN_IF_ERROR(projects->Refresh());
  session_rules = std::make_unique<SessionRules>(*projects, *database);
  prearchive->SetBuildOptions(
      [this](const std::string& project) { return session_rules->ForBuilds(project); });
  authenticator = MakeAuthenticator(config, *database);
  NX_RETURN_IF_ERROR(authenticator->Load());
  token_file = config.data_dir + "/admin.token";
  return authenticator->EnsureAdministrator(token_file).status();
}

std::vector<rpc::SettingSpec> Application::Parts::Settings() {
  std::vector<rpc::SettingSpec> settings;
  AddBasicSettings(*gate, *prearchive, settings);
  settings.push_back(sweeper->Setting());
  AddAnonymizationSettings(*plans, settings);
  for (rpc::SettingSpec& spec : session_rules->Settings()) settings.push_back(std::move(spec));
  for (rpc::SettingSpec& spec : door->Settings()) settings.push_back(std::move(spec));
  for (rpc::SettingSpec& limit : LimitSettings(Limits())) settings.push_back(std::move(limit));
  std::sort(settings.begin(), settings.end(), [](const auto& a, const auto& b) { return a.key < b.key; });
  return settings;
}

std::vector<LimitSpec> Application::Parts::Limits() {
  return {
      {"limits.association_idle_seconds",
       "a silent DICOM association is aborted after so long (from the next start)",
       limits::kAssociationIdleSeconds, [this](uint64_t n) { association_idle_seconds = n; }},
      {"limits.associations_max", "DICOM associations at once", limits::kAssociationsMax,
       [this](uint64_t n) { gateway_limits->associations_max = static_cast<int>(n); }},
      {"limits.associations_per_address_max", "DICOM associations of one address at once",
       limits::kAssociationsPerAddressMax,
       [this](uint64_t n) { gateway_limits->associations_per_address_max = static_cast<int>(n); }},
      {"limits.calls_per_user_max", "calls with one answer of one user at once", limits::kCallsPerUserMax,
       [this](uint64_t n) { admission->calls().SetPerUserMax(static_cast<int>(n)); }},
      {"limits.connections_max", "gRPC connections at once", limits::kConnectionsMax,
       [this](uint64_t n) {
         if (listener) listener->SetConnectionsMax(static_cast<int>(n));
       }},
      {"limits.connections_per_address_max", "gRPC connections of one address at once",
       limits::kConnectionsPerAddressMax,
       [this](uint64_t n) {
         if (listener) listener->SetConnectionsPerAddressMax(static_cast<int>(n));
       }},
      {"limits.free_space_min_bytes", "free space below which nothing is received or archived",
       limits::kFreeSpaceMinBytes,
       [this](uint64_t n) {
         staging->SetFreeSpaceMin(n);
         archiver->SetFreeSpaceMin(n);
         disks->SetMinBytes(n);
       }},
      {"limits.held_bytes_max", "memory for objects whose header is not complete", limits::kHeldBytesMax,
       [this](uint64_t n) { admission->SetHeldBytesMax(n); }},
      {"limits.long_calls_max", "watches, waits, downloads and exports at once", limits::kLongCallsMax,
       [this](uint64_t n) { admission->long_calls().SetMax(static_cast<int>(n)); }},
      {"limits.long_calls_per_user_max", "watches, waits, downloads and exports of one user at once",
       limits::kLongCallsPerUserMax,
       [this](uint64_t n) { admission->long_calls().SetPerUserMax(static_cast<int>(n)); }},
      {"limits.upload_idle_seconds", "an upload stream whose peer does nothing for so long is ended",
       limits::kUploadIdleSeconds, [this](uint64_t n) { stalls->SetPatience(absl::Seconds(n)); }},
      {"limits.upload_streams_max", "upload streams at once", limits::kUploadStreamsMax,
       [this](uint64_t n) { admission->uploads().SetMax(static_cast<int>(n)); }},
      {"limits.upload_streams_per_user_max", "upload streams of one user at once",
       limits::kUploadStreamsPerUserMax,
       [this](uint64_t n) { admission->uploads().SetPerUserMax(static_cast<int>(n)); }},
  };
}

ingest::StreamDependencies Application::Parts::Streams() {
  ingest::StreamDependencies streams{*prearchive, *uploads, door->policy()};
  streams.plans = plans.get();
  streams.admission = admission.get();
  streams.rules = [this](const std::string& project) { return session_rules->ForObjects(project); };
  return streams;
}

void Application::Parts::MakeServices() {
  fs::FileSystem& files = fs::Posix();
  stalls = std::make_unique<rpc::StallWatch>(absl::Seconds(limits::kUploadIdleSeconds.get()));
  admission = std::make_unique<ingest::Admission>();
  gate = std::make_unique<rpc::Gate>(*authenticator, *projects, *stalls, *admission);
  gate->BindCertificates(config.tls_client_user == "cn" ? rpc::CertificateUser::kCommonName
                                                        : rpc::CertificateUser::kAny);
  checker = std::make_unique<archiving::Checker>(archiving::Checker::Dependencies{
      *prearchive, *database, *types,
      [this](absl::string_view project, const dicom::HeaderFacts& facts) -> absl::StatusOr<std::string> {
        return door->policy().Excludes(project, facts);
      },
      plans.get(), [this](const std::string& project) { return session_rules->GuardsModality(project); }});
  archiver = std::make_unique<archiving::Archiver>(archiving::Archiver::Dependencies{
      *prearchive, *database, *types, files, Clock::Real(), config.archive_dir, *checker, plans.get(),
      rpc::FieldDefinitionsOf(database->settings())});
  operations = std::make_unique<operations::Operations>(*index, Clock::Real(), kOperationWorkers);
  workflow = std::make_unique<Workflow>(
      Workflow::Dependencies{*prearchive, *operations, *archiver, *types, *projects, *database,
                             [this](const std::string& accession_id) { door->ForgetRoute(accession_id); }});
  archiver->SetFreeSpaceMin(limits::kFreeSpaceMinBytes);
  sweeper = std::make_unique<UploadSweeper>(*index, Clock::Real());
  std::vector<DiskWatch::Volume> volumes = {{"staging", config.data_dir + "/staging"},
                                            {"archive", config.archive_dir}};
  if (postgres) volumes.push_back({"postgres", config.data_dir + "/postgres"});
  disks = std::make_unique<DiskWatch>(files, std::move(volumes), limits::kFreeSpaceMinBytes);
  const rpc::BuildStarter build = [this](const std::string& session, const std::string& user,
                                         const std::string& completion, const std::string& request_id) {
    return workflow->StartBuild(session, user, completion, request_id);
  };
  const rpc::ArchiveStarter archive = [this](const prearchive::SessionRow& session, const std::string& user,
                                             archiving::ConflictPolicy policy, bool quarantine,
                                             const std::string& request_id) {
    return workflow->StartArchive(session, user, policy, quarantine, request_id);
  };
  door->MakeServices({*gate, *projects, *prearchive, *index, build,
                      [this](absl::string_view uid) { return plans->Fingerprint(uid); }});
  upload_service = std::make_unique<rpc::UploadServiceImpl>(rpc::UploadServiceImpl::Dependencies{
      *gate, Streams(), *operations, *database, build, config.inbox_dir, *stalls});
  prearchive_service = std::make_unique<rpc::PrearchiveServiceImpl>(rpc::PrearchiveServiceImpl::Dependencies{
      *gate, database->audit(), *prearchive, *operations, *checker, build, archive,
      [this](const prearchive::SessionRow& edited) {
        return prearchive::ShowEdits(*prearchive, *types, edited);
      },
      [this](const prearchive::SessionRow& row, const std::string& user, const std::string& request_id) {
        return workflow->StartSplit(row, user, false, request_id);
      },
      [this] { return session_rules->claim_unassigned(); }, plans.get()});
  session_changes = std::make_unique<archiving::SessionChanges>(archiving::SessionChanges::Dependencies{
      *database, *types, files, config.archive_dir, plans.get(),
      std::bind_front(&SessionRules::AnonymizesMoved, session_rules.get()),
      rpc::FieldDefinitionsOf(database->settings())});
  archive_service = std::make_unique<rpc::ArchiveServiceImpl>(rpc::ArchiveServiceImpl::Dependencies{
      *gate, *database, *session_changes, *types, files, config.archive_dir});
  const archiving::FileWork::Dependencies file_work{*database, files, config.archive_dir};
  session_resources = std::make_unique<archiving::SessionResources>(file_work, *session_changes);
  session_check = std::make_unique<archiving::SessionCheck>(file_work, *session_changes, *types);
  resource_service = std::make_unique<rpc::ResourceServiceImpl>(
      rpc::ResourceServiceImpl::Dependencies{*gate, *database, *session_resources, *session_check});
  project_service = std::make_unique<rpc::ProjectServiceImpl>(*gate, *database, *authenticator, *projects);
  identity_service =
      std::make_unique<rpc::IdentityServiceImpl>(*gate, *database, *authenticator, Clock::Real());
  audit_service = std::make_unique<rpc::AuditServiceImpl>(*gate, database->audit(), config.site_id);
  operations_service = std::make_unique<rpc::OperationsServiceImpl>(
      *gate, *operations, rpc::ResultSources{*prearchive, *database});
  settings_service = std::make_unique<rpc::SettingsServiceImpl>(rpc::SettingsServiceImpl::Dependencies{
      *gate, *database, Settings(),
      [this](const auth::Caller& caller, v1::ServerInfo* info) {
        info->set_version(kVersion);
        info->set_site_id(config.site_id);
        info->set_dicom_address(dicom_address);
        info->set_ae_title(kAeTitle);
        info->set_prearchive_session_count(prearchive->CountSessions(
            [&caller](const std::string& project) { return caller.MaySeePrearchive(project); }));
        if (const auto free = fs::Posix().FreeBytes(config.data_dir); free.ok()) {
          info->set_staging_free_bytes(static_cast<int64_t>(*free));
        }
      },
      [this](const std::string& id) -> absl::StatusOr<v1::Backup> {
        v1::Backup backup;
        backup.set_backup_id(id);
        backup.set_path(absl::StrCat(config.backup_dir, "/", id));
        NX_ASSIGN_OR_RETURN(
            const BackupReport report,
            MakeBackup({*staging, *index, *database, postgres.get(), config, kVersion}, backup.path()));
        backup.set_file_count(report.file_count);
        backup.set_size_bytes(report.size_bytes);
        return backup;
      }});
  anonymization_service =
      std::make_unique<rpc::AnonymizationServiceImpl>(*gate, *plans, *prearchive, *projects);
  workflow->Register([this](const operations::Operation& operation, operations::Progress& progress) {
    return upload_service->RunInboxImport(operation, progress);
  });
}

absl::Status Application::Parts::Serve() {
  grpc::ServerBuilder builder;
  ConfigureServer(builder);
  for (grpc::Service* service : std::initializer_list<grpc::Service*>{
           upload_service.get(), prearchive_service.get(), archive_service.get(), resource_service.get(),
           project_service.get(), settings_service.get(), identity_service.get(), audit_service.get(),
           operations_service.get(), anonymization_service.get()}) {
    builder.RegisterService(service);
  }
  const auto credentials = tls ? TlsCredentials(*tls) : grpc::InsecureServerCredentials();
  std::unique_ptr<grpc::experimental::ExternalConnectionAcceptor> acceptor;
  if (listener) {
    acceptor = builder.experimental().AddExternalConnectionAcceptor(
        grpc::ServerBuilder::experimental_type::ExternalConnectionType::FROM_FD, credentials);
  } else {
    builder.AddListeningPort(config.grpc_listen, credentials);  // unix:
  }
  for (grpc::Service* service : door->services()) builder.RegisterService(service);
  server = builder.BuildAndStart();
  if (!server) {
    return Error(absl::StatusCode::kUnavailable, "STORAGE_ERROR",
                 absl::StrCat("cannot listen on ", config.grpc_listen, "; is another program using it?"));
  }
  if (listener) listener->Serve(std::move(acceptor));
  grpc_address = listener ? listener->address() : config.grpc_listen;
  return absl::OkStatus();
}

absl::Status Application::Parts::ServeDicom() {
  if (config.dicom_listen == "off") return absl::OkStatus();
  gateway::GatewayOptions options;
  NX_ASSIGN_OR_RETURN(options.listen, gateway::ParseListenAddress(config.dicom_listen));
  options.limits = gateway_limits;
  options.idle_timeout = absl::Seconds(association_idle_seconds.load());
  options.tls = dicom_tls;
  options.plaintext_allowed = config.allow_plaintext;
  client::ConnectionOptions connection;
  connection.token = authenticator->IssueInternal("dicom-receiver");
  const std::string token = connection.token;
  NX_RETURN_IF_ERROR(
      door->Serve(options,
                  DirectSinks({*upload_service, Streams(),
                               [this, token] { return authenticator->Authenticate(token); }, *projects}),
                  client::Connection::Wrap(server->InProcessChannel({}), connection)));
  dicom_address = door->address();
  return absl::OkStatus();
}

absl::Status Application::Parts::WriteReadyFile() const {
  if (config.ready_file.empty()) return absl::OkStatus();
  return app::WriteReadyFile(config.ready_file,
                             {grpc_address, dicom_address, metrics ? metrics->address() : "off", token_file});
}

Application::Application(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

absl::StatusOr<std::unique_ptr<Application>> Application::Start(const Config& config) {
  std::unique_ptr<Application> application(new Application(std::make_unique<Parts>()));
  Parts& parts = *application->parts_;
  parts.config = config;
  const metadata::SystemScope scope;
  NX_RETURN_IF_ERROR(parts.CheckTransport());
  RaiseOpenFiles();
  NX_RETURN_IF_ERROR(parts.OpenStorage());
  NX_RETURN_IF_ERROR(parts.OpenRules());
  if (config.grpc_listen.rfind("unix:", 0) != 0) {
    NX_ASSIGN_OR_RETURN(parts.listener, GrpcListener::Open(config.grpc_listen));
  }
  parts.MakeServices();
  NX_RETURN_IF_ERROR(parts.settings_service->ApplyStored());
  NX_RETURN_IF_ERROR(parts.session_changes->ResumePurges());
  NX_RETURN_IF_ERROR(archiving::FileWork::Resume({*parts.database, fs::Posix(), config.archive_dir}));
  NX_RETURN_IF_ERROR(parts.door->Load(kAeTitle));
  NX_RETURN_IF_ERROR(parts.workflow->Resume());
  NX_RETURN_IF_ERROR(parts.Serve());
  NX_RETURN_IF_ERROR(parts.ServeDicom());
  if (config.metrics_listen != "off") {
    metadata::Database* database = parts.database.get();
    NX_ASSIGN_OR_RETURN(parts.metrics,
                        MetricsServer::Start(config.metrics_listen, [database] { return database->Ping(); }));
  }
  NX_RETURN_IF_ERROR(parts.WriteReadyFile());
  Log(LogLevel::kInfo, "narthexd serves",
      {{"grpc", parts.grpc_address}, {"dicom", parts.dicom_address}, {"data_dir", config.data_dir}});
  return application;
}

Application::~Application() { Stop(); }

void Application::Stop() {
  Parts& parts = *parts_;
  if (parts.stopped) return;
  parts.stopped = true;
  Log(LogLevel::kInfo, "narthexd stops");
  if (parts.prearchive) parts.prearchive->EndWaits();
  if (parts.door) parts.door->Stop();
  parts.listener.reset();
  if (parts.server) {
    parts.server->Shutdown(std::chrono::system_clock::now() + absl::ToChronoMilliseconds(kDrain));
    parts.server->Wait();
  }
  parts.metrics.reset();
  if (parts.prearchive) parts.prearchive->OnIdle(nullptr);
  parts.operations.reset();
  parts.postgres_keeper.reset();
  if (parts.index) parts.index->SyncAll().IgnoreError();
  if (!parts.config.ready_file.empty()) std::remove(parts.config.ready_file.c_str());
}

const std::string& Application::grpc_address() const { return parts_->grpc_address; }
const std::string& Application::dicom_address() const { return parts_->dicom_address; }

}  // namespace narthex::app
