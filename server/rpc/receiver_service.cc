#include "server/rpc/receiver_service.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include <google/protobuf/util/field_mask_util.h>

#include "base/error.h"
#include "base/limits_gateway.h"
#include "base/log.h"
#include "base/status.h"
#include "server/rpc/convert.h"
#include "server/rpc/receiver_records.h"

namespace narthex::rpc {
namespace {

// Set once the default receiver was made: who deletes it does not get it back.
constexpr char kSeeded[] = "dicom.receivers_seeded";
// How soon a watch notices that its caller is gone.
constexpr absl::Duration kLook = absl::Seconds(1);

absl::Status NoReceiver(absl::string_view ae_title) {
  return NotFound("NOT_FOUND",
                  absl::StrCat("there is no receiver ", ae_title, "; `narthex receiver list` lists them"),
                  {{"receiver", std::string(ae_title)}});
}

// An AE title may hold a '/', so this is not IdOf.
absl::StatusOr<std::string> TitleOf(absl::string_view name, absl::string_view field) {
  if (!absl::ConsumePrefix(&name, "receivers/") || name.empty()) {
    return InvalidField(field, "expected receivers/AE_TITLE");
  }
  return std::string(name);
}

absl::Status NotListened(const v1::Receiver& receiver, const absl::Status& why) {
  return Error(absl::StatusCode::kUnavailable, "PORT_UNAVAILABLE",
               absl::StrCat("port ", receiver.port(), " of receiver ", receiver.ae_title(),
                            " cannot be listened to: ", why.message()),
               {{"receiver", receiver.ae_title()}, {"port", absl::StrCat(receiver.port())}});
}

}  // namespace

absl::Status ReceiverServiceImpl::RequireGateway(const auth::Caller& caller) {
  return caller.identity().user.all_data_admin ? absl::OkStatus() : caller.RequireAdmin();
}

absl::Status ReceiverServiceImpl::Seed(const std::string& ae_title) {
  NX_ASSIGN_OR_RETURN(const auto seeded, with_.database.settings().Get("", kSeeded));
  if (seeded) return absl::OkStatus();
  const metadata::Change change{"system", "first start", ""};
  NX_ASSIGN_OR_RETURN(const auto there, with_.database.receivers().ListReceivers());
  if (there.empty()) {
    v1::Receiver receiver;
    receiver.set_ae_title(ae_title);
    FillDefaults(&receiver);
    NX_RETURN_IF_ERROR(with_.database.receivers().Put(ToRecord(receiver), change));
  }
  return with_.database.settings().Set("", kSeeded, "true", change).status();
}

absl::Status ReceiverServiceImpl::Load(const std::string& default_ae_title) {
  NX_RETURN_IF_ERROR(Seed(default_ae_title));
  NX_ASSIGN_OR_RETURN(const auto records, with_.database.receivers().ListReceivers());
  ByTitle receivers;
  for (const metadata::Receiver& record : records) receivers[record.ae_title] = FromRecord(record);
  absl::MutexLock one_at_a_time(&change_mutex_);
  NX_ASSIGN_OR_RETURN(const auto errors, Apply(receivers));
  Publish(std::move(receivers), errors);
  return absl::OkStatus();
}

void ReceiverServiceImpl::Reapply() {
  absl::MutexLock one_at_a_time(&change_mutex_);
  ByTitle receivers;
  {
    absl::MutexLock lock(&mutex_);
    receivers = receivers_;
  }
  const auto errors = Apply(receivers);
  if (!errors.ok()) {
    Log(LogLevel::kError, "receivers not taken into use", {{"error", errors.status()}});
    return;
  }
  Publish(std::move(receivers), *errors);
}

absl::StatusOr<std::map<std::string, absl::Status>> ReceiverServiceImpl::Apply(
    const ByTitle& receivers) const {
  std::vector<v1::Receiver> list;
  for (const auto& [title, receiver] : receivers) list.push_back(Shown(receiver));
  return with_.apply(list);
}

void ReceiverServiceImpl::Publish(ByTitle receivers, const std::map<std::string, absl::Status>& errors) {
  for (auto& [title, receiver] : receivers) {
    const auto error = errors.find(title);
    receiver.set_listen_error(error == errors.end() ? "" : std::string(error->second.message()));
    if (error != errors.end()) {
      Log(LogLevel::kError, "receiver is not listened for",
          {{"receiver", title}, {"port", receiver.port()}, {"error", error->second}});
    }
  }
  absl::MutexLock lock(&mutex_);
  receivers_ = std::move(receivers);
  ++version_;
}

v1::Receiver ReceiverServiceImpl::Shown(v1::Receiver receiver) const {
  receiver.set_refuses_filtered(
      receiver.filtered_status() == v1::Receiver::REFUSAL ||
      (receiver.filtered_status() == v1::Receiver::FILTERED_STATUS_UNSPECIFIED && with_.refuses_filtered()));
  return receiver;
}

std::vector<v1::Receiver> ReceiverServiceImpl::Receivers() const {
  absl::MutexLock lock(&mutex_);
  std::vector<v1::Receiver> receivers;
  for (const auto& [title, receiver] : receivers_) receivers.push_back(Shown(receiver));
  return receivers;
}

void ReceiverServiceImpl::Close() {
  absl::MutexLock lock(&mutex_);
  closed_ = true;
}

absl::StatusOr<v1::Receiver> ReceiverServiceImpl::Put(v1::Receiver receiver, const metadata::Change& change) {
  FillDefaults(&receiver);
  NX_RETURN_IF_ERROR(CheckReceiverFields(receiver));
  if (!receiver.project().empty()) {
    const auto project = with_.projects.Resolve(receiver.project());
    if (!project) {
      return NotFound("PROJECT_NOT_FOUND", absl::StrCat("there is no project ", receiver.project()),
                      {{"project", receiver.project()}});
    }
    receiver.set_project(*project);
  }
  ByTitle before;
  {
    absl::MutexLock lock(&mutex_);
    before = receivers_;
  }
  ByTitle after = before;
  after[receiver.ae_title()] = receiver;
  if (after.size() > limits::kReceiversMax) {
    return ResourceExhausted("OVERLOADED", absl::StrCat("there are ", before.size(), " receivers"));
  }
  NX_ASSIGN_OR_RETURN(const auto errors, Apply(after));
  absl::Status done;
  if (const auto error = errors.find(receiver.ae_title()); error != errors.end()) {
    done = NotListened(receiver, error->second);
  } else {
    done = with_.database.receivers().Put(ToRecord(receiver), change);
  }
  if (!done.ok()) {
    Apply(before).status().IgnoreError();  // it held a moment ago
    return done;
  }
  Publish(std::move(after), errors);
  return Shown(receiver);
}

grpc::Status ReceiverServiceImpl::ListReceivers(grpc::ServerContext* context,
                                                const v1::ListReceiversRequest* /*request*/,
                                                v1::ListReceiversResponse* response) {
  return with_.gate.Unary(context, response,
                          [&](const auth::Caller& caller) -> absl::StatusOr<v1::ListReceiversResponse> {
                            NX_RETURN_IF_ERROR(RequireGateway(caller));
                            v1::ListReceiversResponse answer;
                            for (v1::Receiver& receiver : Receivers())
                              *answer.add_receivers() = std::move(receiver);
                            return answer;
                          });
}

grpc::Status ReceiverServiceImpl::CreateReceiver(grpc::ServerContext* context,
                                                 const v1::CreateReceiverRequest* request,
                                                 v1::Receiver* response) {
  return with_.gate.Unary(context, response, [&](const auth::Caller& caller) -> absl::StatusOr<v1::Receiver> {
    NX_RETURN_IF_ERROR(caller.RequireAdmin());
    const std::string& title = request->receiver().ae_title();
    absl::MutexLock one_at_a_time(&change_mutex_);
    {
      absl::MutexLock lock(&mutex_);
      if (receivers_.count(title) != 0) {
        return Error(absl::StatusCode::kAlreadyExists, "ALREADY_EXISTS",
                     absl::StrCat("there is a receiver ", title, " already"), {{"receiver", title}});
      }
    }
    return Put(request->receiver(), {caller.user(), "", request->request_id()});
  });
}

grpc::Status ReceiverServiceImpl::UpdateReceiver(grpc::ServerContext* context,
                                                 const v1::UpdateReceiverRequest* request,
                                                 v1::Receiver* response) {
  return with_.gate.Unary(context, response, [&](const auth::Caller& caller) -> absl::StatusOr<v1::Receiver> {
    NX_RETURN_IF_ERROR(caller.RequireAdmin());
    NX_ASSIGN_OR_RETURN(const std::string title, TitleOf(request->receiver().name(), "receiver.name"));
    using google::protobuf::util::FieldMaskUtil;
    if (!FieldMaskUtil::IsValidFieldMask<v1::Receiver>(request->update_mask())) {
      return InvalidField("update_mask", "it names a field that a receiver has not");
    }
    absl::MutexLock one_at_a_time(&change_mutex_);
    v1::Receiver receiver;
    {
      absl::MutexLock lock(&mutex_);
      const auto found = receivers_.find(title);
      if (found == receivers_.end()) return NoReceiver(title);
      receiver = found->second;
    }
    FieldMaskUtil::MergeOptions options;
    options.set_replace_repeated_fields(true);
    v1::Receiver given = request->receiver();
    FieldMaskUtil::TrimMessage(request->update_mask(), &given);
    FieldMaskUtil::MergeMessageTo(given, request->update_mask(), options, &receiver);
    receiver.set_ae_title(title);
    return Put(std::move(receiver), {caller.user(), "", request->request_id()});
  });
}

grpc::Status ReceiverServiceImpl::DeleteReceiver(grpc::ServerContext* context,
                                                 const v1::DeleteReceiverRequest* request,
                                                 google::protobuf::Empty* response) {
  return with_.gate.Unary(
      context, response, [&](const auth::Caller& caller) -> absl::StatusOr<google::protobuf::Empty> {
        NX_RETURN_IF_ERROR(caller.RequireAdmin());
        NX_ASSIGN_OR_RETURN(const std::string title, TitleOf(request->name(), "name"));
        absl::MutexLock one_at_a_time(&change_mutex_);
        ByTitle receivers;
        {
          absl::MutexLock lock(&mutex_);
          receivers = receivers_;
        }
        if (receivers.erase(title) == 0) return NoReceiver(title);
        NX_RETURN_IF_ERROR(
            with_.database.receivers().Remove(title, {caller.user(), "", request->request_id()}));
        NX_ASSIGN_OR_RETURN(const auto errors, Apply(receivers));
        Publish(std::move(receivers), errors);
        return google::protobuf::Empty();
      });
}

grpc::Status ReceiverServiceImpl::WatchReceivers(grpc::ServerContext* context,
                                                 const v1::WatchReceiversRequest* /*request*/,
                                                 grpc::ServerWriter<v1::WatchReceiversResponse>* writer) {
  const auto caller = with_.gate.Admit(*context);
  if (!caller.ok()) return ToGrpc(caller.status());
  if (const absl::Status allowed = RequireGateway(*caller); !allowed.ok()) return ToGrpc(allowed);
  const auto place = watches_.Enter(caller->user());
  if (!place.ok()) return ToGrpc(place.status());
  int64_t seen = -1;
  auto client = with_.gate.Watched(context, writer);
  while (!context->IsCancelled()) {
    v1::WatchReceiversResponse state;
    {
      absl::MutexLock lock(&mutex_);
      const auto changed = [&]()
                               ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return closed_ || version_ != seen; };
      if (!mutex_.AwaitWithTimeout(absl::Condition(&changed), kLook)) continue;
      if (closed_) break;
      seen = version_;
      for (const auto& [title, receiver] : receivers_) *state.add_receivers() = Shown(receiver);
    }
    if (!client.Write(state)) return grpc::Status::CANCELLED;
  }
  return ToGrpc(Error(absl::StatusCode::kUnavailable, "SHUTTING_DOWN", "the server is stopping"));
}

}  // namespace narthex::rpc
