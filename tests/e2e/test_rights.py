"""Every RPC as every role in every kind of project, against the tables of docs/rights.md; users, tokens and guests."""

import re
import tempfile
import time
import unittest
import uuid

import grpc

from harness import ROOT, Server, phantom
from rpc import Rpc

KINDS = ("PRIVATE", "PROTECTED", "PUBLIC")
ROLES = ("outsider", "collaborator", "member", "owner", "reader", "dataadmin", "admin")
PROJECT_ROLES = ("collaborator", "member", "owner")


def table():
    rows = {}
    for line in (ROOT / "docs/rights.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if re.fullmatch(r"[A-Z]\w+\.[A-Z]\w+", cells[0]):
            rows[cells[0]] = dict(zip(ROLES, (cell.split() for cell in cells[1:])))
    return rows


class World:
    """A server with a project of each kind, with a session in each state, and a user of each role."""

    def __init__(self, server):
        self.server = server
        self.rpc = Rpc(server.address)
        self.tokens = {"admin": server.token}
        for role in ROLES[:-1] + ("disabled", "spare"):
            flags = {"reader": ["--all-data-read", "on"], "dataadmin": ["--all-data-admin", "on"]}.get(role, [])
            server.narthex("user", "create", role, *flags)
            answer = server.narthex("token", "create", "--user", role)
            self.tokens[role] = answer["secret"]
            if role == "spare":
                self.spare_token = answer["token"]["name"]
        server.narthex("user", "disable", "disabled")
        for kind in KINDS:
            (server.data_dir / f"d/inbox/P_{kind}/box").mkdir(parents=True, exist_ok=True)
        self.of = {}
        folder = tempfile.TemporaryDirectory()
        # Where everybody may edit: what sessions are shared into.
        server.narthex("project", "create", "COMMON")
        for role in ROLES[:-1]:
            server.narthex("project", "member", "add", "COMMON", role, "member")
        for kind in KINDS:
            server.narthex("project", "create", f"P_{kind}", "--accessibility", kind.lower())
            for role in PROJECT_ROLES:
                server.narthex("project", "member", "add", f"P_{kind}", role, role)
            for number, label in enumerate(("kept", "deleted"), 1):
                phantom(f"{folder.name}/archive/{kind}/{label}", series=1, slices=1, size=16, project=f"P_{kind}",
                        subject="S1", session=label, seed=number)
            # One for all questions, and one for each deletion that is allowed.
            for number in range(6):
                phantom(f"{folder.name}/wait/{kind}/{number}", series=1, slices=1, size=16, project=f"P_{kind}",
                        subject="S1", session="kept" if number == 0 else f"wait{number}", seed=100 + number)
        server.narthex("upload", f"{folder.name}/archive", "--archive")
        server.narthex("upload", f"{folder.name}/wait")
        folder.cleanup()
        for kind in KINDS:
            self.of[kind] = self.look_up(f"P_{kind}")
        # What does not exist, for comparison.
        self.nothing = dict(self.of["PRIVATE"], project="P_NOTHING", session="NARTHEX_E99999", deleted="NARTHEX_E99998",
                            waiting="nosuchsession", doomed=["nosuchsession"] * 9, operation="nosuchoperation",
                            upload="nosuchupload")

    def look_up(self, project):
        known = {"project": project}
        sessions = {s["label"]: s["accessionId"] for s in self.server.sessions(f'project = "{project}"')}
        known["session"], known["deleted"] = sessions["kept"], sessions["deleted"]
        self.server.narthex("session", "delete", known["deleted"])
        known["path"] = self.server.files(known["session"])[0]["path"]
        known["scan"] = self.server.narthex("session", "scans", known["session"])["scans"][0]["id"]
        waiting = {s["label"]: s["name"].split("/")[1] for s in self.server.prearchive("--project", project)}
        known["waiting"] = waiting.pop("kept")
        known["doomed"] = sorted(waiting.values())
        known["instance"] = self.server.narthex("prearchive", "outcomes", known["waiting"])["outcomes"][0]["sopInstanceUid"]
        operations = self.ask("Operations.ListOperations", {"name": "operations"}).reply[0]["operations"]
        known["operation"] = next(o["name"].split("/")[1] for o in operations
                                  if o["metadata"]["prearchiveSession"].endswith("/" + known["waiting"]))
        known["upload"] = self.ask("UploadService.CreateUpload", {"destination": {"project": project}}).reply[0]["name"] \
            .split("/")[1]
        return known

    def ask(self, name, request, role="admin", **more):
        return self.rpc.call(name, request, self.tokens[role], **more)


def of_project(field):
    return lambda at: {field: f"projects/{at['project']}"}


def of_session(field="name", key="session", **more):
    return lambda at: {field: f"sessions/{at[key]}", **more}


def of_waiting(**more):
    return lambda at: {"name": f"prearchiveSessions/{at['waiting']}", **more}


def of_operation(at):
    return {"name": f"operations/{at['operation']}"}


def to_project(at):
    return {"destination": {"project": at["project"]}}


# What is asked of an RPC. Changes are asked so that they come to nothing, or are undone (UNDO).
REQUESTS = {
    "ArchiveService.SearchSessions": lambda at: {"filter": f'project = "{at["project"]}"', "countTotal": True},
    "ArchiveService.SearchScans": lambda at: {"filter": f'project = "{at["project"]}"', "countTotal": True},
    "ArchiveService.GetSession": of_session(),
    "ArchiveService.GetSessionDocument": of_session(),
    "ArchiveService.GetScanDocument": lambda at: {"session": f"sessions/{at['session']}", "scan": at["scan"]},
    "ArchiveService.UpdateScan": lambda at: {"session": f"sessions/{at['session']}", "scan": at["scan"], "etag": "999",
                                             "note": "x"},
    "ArchiveService.LockSession": of_session(),
    "ArchiveService.UnlockSession": of_session(),
    "ArchiveService.PurgeSession": of_session(confirm="no"),
    "ArchiveService.ShareSession": of_session(project="COMMON", label="shared"),
    "ArchiveService.UnshareSession": of_session(project="COMMON"),
    "ResourceService.ListResources": of_session("session"),
    "ResourceService.AddResourceFiles": lambda at: [{"open": {"session": f"sessions/{at['session']}", "resource": "X"}},
                                                    {"finish": {}}],
    # Images are not taken out so, whoever asks.
    "ResourceService.RemoveResourceFiles": lambda at: {"session": f"sessions/{at['session']}", "scan": at["scan"],
                                                       "resource": "DICOM", "paths": ["x"]},
    "ResourceService.CheckSession": of_session("session", sizesOnly=True),
    "ArchiveService.ListScans": of_session("session"),
    "ArchiveService.ListFiles": of_session("session"),
    "ArchiveService.ReadFile": lambda at: {"session": f"sessions/{at['session']}", "path": at["path"]},
    "ArchiveService.DownloadSession": of_session("session"),
    "ArchiveService.ListSessionHistory": of_session(),
    "ArchiveService.UpdateSession": of_session(etag="999", label="other"),
    "ArchiveService.DeleteSession": of_session(),
    "ArchiveService.RestoreSession": of_session(key="deleted"),
    "ArchiveService.QuarantineSession": of_session(),
    "ArchiveService.ActivateSession": of_session(),
    "PrearchiveService.ListPrearchiveSessions": lambda at: {"project": at["project"]},
    "PrearchiveService.GetPrearchiveSession": of_waiting(),
    "PrearchiveService.UpdatePrearchiveSession": of_waiting(etag="999", label="other"),
    "PrearchiveService.BuildPrearchiveSession": of_waiting(),
    "PrearchiveService.CheckPrearchiveSession": of_waiting(),
    "PrearchiveService.ArchivePrearchiveSession": of_waiting(),
    "PrearchiveService.SplitPrearchiveSession": of_waiting(),
    "PrearchiveService.DeletePrearchiveSession": lambda at: {"name": f"prearchiveSessions/{at['doomed'][0]}"},
    "PrearchiveService.ListOutcomes": of_waiting(),
    "PrearchiveService.GetHeader": lambda at: {"name": f"prearchiveSessions/{at['waiting']}",
                                               "instanceUid": at["instance"]},
    "PrearchiveService.DiffInstance": lambda at: {"name": f"prearchiveSessions/{at['waiting']}",
                                                  "instanceUid": at["instance"]},
    "PrearchiveService.ClaimPrearchiveSession": lambda at: {"project": at["project"]},
    "AnonymizationService.GetScript": lambda at: {"project": at["project"]},
    "AnonymizationService.SetScript": lambda at: {"project": at["project"], "enabled": False},
    "AnonymizationService.CheckScript": lambda at: {"text": 'version "6.6"'},
    "AnonymizationService.PreviewScript": lambda at: {"prearchiveSession": f"prearchiveSessions/{at['waiting']}",
                                                      "text": 'version "6.6"'},
    "RoutingService.ExplainRouting": lambda at: {},
    "RoutingService.ListStudyRoutes": lambda at: {},
    "RoutingService.SetStudyRoute": lambda at: {"route": {"studyInstanceUid": "1.2.3.4", "project": at["project"]}},
    "RoutingService.DeleteStudyRoute": lambda at: {"studyInstanceUid": "1.2.3.5"},
    "RoutingService.GetSeriesFilter": lambda at: {"project": at["project"]},
    "RoutingService.SetSeriesFilter": lambda at: {"filter": {"project": at["project"], "mode": "DENY", "enabled": False}},
    "PrearchiveService.WatchPrearchiveSessions": lambda at: {"project": at["project"], "fromSequence": 1},
    "ProjectService.CreateProject": lambda at: {"project": {"id": "N" + uuid.uuid4().hex[:12]}},
    "ProjectService.GetProject": of_project("name"),
    "ProjectService.ListProjects": lambda at: {"pageSize": 1000},
    "ProjectService.UpdateProject": of_project("name"),
    "ProjectService.AddMember": lambda at: {"project": f"projects/{at['project']}",
                                            "member": {"user": "spare", "role": "COLLABORATOR"}},
    "ProjectService.RemoveMember": lambda at: {"project": f"projects/{at['project']}", "user": "spare"},
    "ProjectService.ListMembers": of_project("project"),
    "ProjectService.ListSubjects": of_project("project"),
    "ProjectService.GetSubject": lambda at: {"name": f"projects/{at['project']}/subjects/S1"},
    "ProjectService.UpdateSubject": lambda at: {"name": f"projects/{at['project']}/subjects/S1", "setFields": {"x": "y"}},
    "ProjectService.ListProjectHistory": of_project("project"),
    "ProjectService.ListFieldDefinitions": of_project("project"),
    "ProjectService.SetFieldDefinitions": of_project("project"),
    "UploadService.CreateUpload": to_project,
    "UploadService.Upload": lambda at: [{"open": to_project(at)}],
    "UploadService.ImportArchive": lambda at: [{"options": to_project(at)}],
    "UploadService.ImportInbox": lambda at: {"path": f"{at['project']}/box", **to_project(at)},
    "UploadService.FindMissing": to_project,
    "UploadService.GetUpload": lambda at: {"name": f"uploads/{at['upload']}"},
    "UploadService.CommitUpload": lambda at: {"name": f"uploads/{at['upload']}", "expectedCount": 5},
    "UploadService.ListUploadOutcomes": lambda at: {"name": f"uploads/{at['upload']}"},
    "SettingsService.GetServerInfo": lambda at: {},
    "SettingsService.ListSettings": lambda at: {},
    "SettingsService.UpdateSetting": lambda at: {"key": "prearchive.idle_build_seconds", "value": "60"},
    "SettingsService.CreateBackup": lambda at: {"backupId": "no such name"},
    "ReceiverService.ListReceivers": lambda at: {},
    "ReceiverService.WatchReceivers": lambda at: {},
    "ReceiverService.CreateReceiver": lambda at: {"receiver": {"aeTitle": "NARTHEX"}},
    "ReceiverService.UpdateReceiver": lambda at: {"receiver": {"name": "receivers/NARTHEX"}},
    "ReceiverService.DeleteReceiver": lambda at: {"name": "NARTHEX"},
    "CommitmentService.RequestCommitment": lambda at: {"transactionUid": "1.2.3"},
    "CommitmentService.ClaimCommitmentReports": lambda at: {},
    "CommitmentService.ConcludeCommitmentReport": lambda at: {"name": "commitmentReports/none", "delivered": True},
    "IdentityService.CreateUser": lambda at: {"user": {"id": "n" + uuid.uuid4().hex[:12]}},
    "IdentityService.GetUser": lambda at: {"name": "users/spare" if "nosuch" not in at["upload"] else "users/nosuchuser"},
    "IdentityService.UpdateUser": lambda at: {"name": "users/spare" if "nosuch" not in at["upload"] else "users/nosuchuser",
                                              "displayName": "x"},
    "IdentityService.ListUsers": lambda at: {},
    "IdentityService.CreateToken": lambda at: {"user": "spare"},
    "IdentityService.ListTokens": lambda at: {"user": "spare"},
    "IdentityService.RevokeToken": lambda at: {"name": at.get("token", "tokens/nosuchtoken")},
    "AuditService.VerifyAudit": lambda at: {},
    "AuditService.ExportAudit": lambda at: {"format": "FHIR", "project": at["project"]},
    "Operations.ListOperations": lambda at: {"name": "operations", "pageSize": 1000},
    "Operations.GetOperation": of_operation,
    "Operations.WaitOperation": lambda at: {**of_operation(at), "timeout": "0.010s"},
    "Operations.CancelOperation": of_operation,
    "Operations.DeleteOperation": of_operation,
}
# What makes an answer that came say nothing of the project.
SHOWS = {
    "ArchiveService.SearchSessions": lambda reply, at: reply.get("sessions") or reply.get("totalSize"),
    "ArchiveService.SearchScans": lambda reply, at: reply.get("scans") or reply.get("totalSize"),
    "PrearchiveService.ListPrearchiveSessions": lambda reply, at: reply.get("prearchiveSessions"),
    "PrearchiveService.WatchPrearchiveSessions": lambda reply, at: bool(reply),
    "ProjectService.ListProjects": lambda reply, at: any(p["id"] == at["project"] for p in reply.get("projects", ())),
    "Operations.ListOperations": lambda reply, at: any(o["name"].endswith(at["operation"])
                                                       for o in reply.get("operations", ())),
}
# What an administrator does after a change that was allowed.
UNDO = {
    "ArchiveService.DeleteSession": ("ArchiveService.RestoreSession", of_session()),
    "ArchiveService.RestoreSession": ("ArchiveService.DeleteSession", of_session(key="deleted")),
    "ArchiveService.QuarantineSession": ("ArchiveService.ActivateSession", of_session()),
    "ArchiveService.LockSession": ("ArchiveService.UnlockSession", of_session()),
    "ArchiveService.ShareSession": ("ArchiveService.UnshareSession", of_session(project="COMMON")),
    "ProjectService.RemoveMember": ("ProjectService.AddMember", lambda at: {
        "project": f"projects/{at['project']}", "member": {"user": "spare", "role": "COLLABORATOR"}}),
}


class RightsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server()
        cls.server.__enter__()
        cls.addClassCleanup(cls.server.__exit__)
        cls.world = World(cls.server)
        cls.addClassCleanup(cls.world.rpc.close)

    def outcome(self, name, role, at):
        """The word of the table for what `role` gets."""
        world = self.world
        streams = ".Watch" in name
        answer = world.ask(name, REQUESTS[name](at), role, **({"timeout": 0.8, "most": 1} if streams else {}))
        if answer.code == grpc.StatusCode.UNIMPLEMENTED:
            return "unimplemented"  # defined, and refused to everybody
        if streams and answer.code == grpc.StatusCode.DEADLINE_EXCEEDED:
            return "empty"
        if answer.code == grpc.StatusCode.NOT_FOUND:
            nothing = world.ask(name, REQUESTS[name](world.nothing), role)
            words = answer.message
            for key, value in at.items():
                if isinstance(value, str) and isinstance(world.nothing.get(key), str):
                    words = words.replace(value, world.nothing[key])
            words = words.replace(str(at["doomed"][0]), world.nothing["doomed"][0]).replace("spare", "nosuchuser")
            if "token" in at:
                words = words.replace(at["token"].split("/")[1], "nosuchtoken")
            self.assertEqual((words, answer.reason), (nothing.message, nothing.reason), f"{name} as {role}")
            return "absent"
        if answer.code == grpc.StatusCode.PERMISSION_DENIED:
            self.assertEqual(answer.reason, "PERMISSION_DENIED")
            return "denied"
        self.assertNotIn(answer.code, (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.INTERNAL,
                                       grpc.StatusCode.UNKNOWN), f"{name} as {role}: {answer.message}")
        if name in SHOWS and not (answer.reply and SHOWS[name](answer.reply[0], at)):
            return "empty"
        if name in UNDO and answer.code == grpc.StatusCode.OK:
            undo, request = UNDO[name]
            undone = world.ask(undo, request(at))
            self.assertEqual(undone.code, grpc.StatusCode.OK, f"{undo}: {undone.message}")
        if name == "PrearchiveService.DeletePrearchiveSession":
            at["doomed"].pop(0)
        return "ok"

    def test_every_rpc_has_a_row_and_a_request(self):
        there = set(self.world.rpc.methods)
        self.assertEqual(there - set(table()), set(), "RPCs without a row in docs/rights.md")
        self.assertEqual(there - set(REQUESTS), set(), "RPCs without a request in tests/e2e/test_rights.py")
        self.assertEqual(set(table()) - there, set(), "rows of docs/rights.md without an RPC")
        for name, row in table().items():
            self.assertEqual(set(row), set(ROLES), name)
            for role, words in row.items():
                self.assertIn(len(words), (1, 3), f"{name} as {role}")
                self.assertLessEqual(set(words), {"ok", "absent", "denied", "empty"}, f"{name} as {role}")

    def test_every_rpc_as_every_role(self):
        wrong = []
        for name, row in sorted(table().items()):
            for role in ROLES:
                for kind, expected in zip(KINDS, row[role] * (3 if len(row[role]) == 1 else 1)):
                    at = self.world.of[kind]
                    if name == "IdentityService.RevokeToken":
                        at = dict(at, token=self.world.spare_token)
                    found = self.outcome(name, role, at)
                    if found not in (expected, "unimplemented"):
                        wrong.append(f"{name} as {role} in {kind}: {found}, not {expected}")
        self.assertEqual(wrong, [])

    def test_without_a_token_or_disabled_nothing_answers(self):
        at = self.world.of["PUBLIC"]
        for name in self.world.rpc.methods:
            for token in (None, self.world.tokens["disabled"]):
                answer = self.world.rpc.call(name, REQUESTS[name](at), token, timeout=5)
                if answer.code == grpc.StatusCode.UNIMPLEMENTED:
                    continue
                self.assertEqual((answer.code, answer.reason), (grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED"), name)
                self.assertEqual(answer.reply, [])

    def test_counts_tell_nothing(self):
        def count(role):
            return int(self.world.ask("SettingsService.GetServerInfo", {}, role).reply[0].get("sessionCount", 0))
        self.assertEqual(count("admin"), 3)
        self.assertEqual(count("member"), 3)
        self.assertEqual(count("outsider"), 1)


class PeopleTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server(flags=["--dicom-listen", "off"])
        cls.server.__enter__()
        cls.addClassCleanup(cls.server.__exit__)

    def as_user(self, token, *arguments, code=0):
        result = self.server.run(*arguments, token=token)
        self.assertEqual(result.returncode, code, result.stdout + result.stderr)
        return result.stdout

    def token(self, user, *flags):
        answer = self.server.narthex("token", "create", "--user", user, *flags)
        return answer["secret"], answer["token"]["name"]

    def test_tokens_end_when_they_expire_are_revoked_or_their_user_is_disabled(self):
        self.server.narthex("user", "create", "ann", "--display-name", "Ann")
        short, _ = self.token("ann", "--expires", "1s")
        revoked, name = self.token("ann", "--description", "for a script")
        kept, _ = self.token("ann")
        for token in (short, revoked, kept):
            self.as_user(token, "project", "list")
        self.server.narthex("token", "revoke", name)
        self.as_user(revoked, "project", "list", code=4)
        self.server.wait_for(lambda: self.server.run("project", "list", token=short).returncode == 4, "the expiry", 20)
        self.server.narthex("user", "disable", "ann")
        self.as_user(kept, "project", "list", code=4)
        self.server.narthex("user", "enable", "ann")
        self.as_user(kept, "project", "list")
        listed = self.server.narthex("token", "list", "--user", "ann")["tokens"]
        self.assertEqual(len(listed), 3)
        self.assertNotIn(kept, str(listed))

    def test_everybody_makes_their_own_tokens_only(self):
        self.server.narthex("user", "create", "bob")
        token, _ = self.token("bob")
        import json
        own = json.loads(self.as_user(token, "token", "create"))["secret"]
        self.as_user(own, "project", "list")
        self.as_user(token, "token", "create", "--user", "admin", code=4)
        self.as_user(token, "user", "create", "eve", code=4)
        self.as_user(token, "user", "update", "bob", "--site-admin", "on", code=4)
        users = json.loads(self.as_user(token, "user", "list"))["users"]
        self.assertEqual([user["id"] for user in users], ["bob"])

    def test_the_last_administrator_stays(self):
        for command in (["user", "disable", "admin"], ["user", "update", "admin", "--site-admin", "off"]):
            answer = self.server.narthex(*command, code=1)
            self.assertEqual(answer["error"]["reason"], "LAST_ADMINISTRATOR")
        self.server.narthex("user", "create", "second", "--site-admin", "on")
        token, _ = self.token("second")
        self.as_user(token, "user", "disable", "admin")
        self.as_user(token, "user", "enable", "admin")
        self.server.narthex("user", "disable", "second")

    def test_names_of_the_server_are_refused(self):
        for name in ("guest", "system", "dicom-receiver", "Ann", "a b"):
            self.server.narthex("user", "create", name, code=1)

    def test_guests_read_public_projects_only_where_the_site_lets_them(self):
        rpc = Rpc(self.server.address)
        self.addCleanup(rpc.close)
        self.server.narthex("project", "create", "OPEN", "--accessibility", "public")
        self.server.narthex("project", "create", "CLOSED")
        self.assertEqual(rpc.call("ProjectService.ListProjects", {}).code, grpc.StatusCode.UNAUTHENTICATED)
        self.server.narthex("settings", "set", "access.guests", "public")
        self.addCleanup(self.server.narthex, "settings", "set", "access.guests", "none")
        listed = rpc.call("ProjectService.ListProjects", {}).reply[0]["projects"]
        self.assertEqual([project["id"] for project in listed], ["OPEN"])
        self.assertEqual(rpc.call("ProjectService.GetProject", {"name": "projects/CLOSED"}).code, grpc.StatusCode.NOT_FOUND)
        for name, request in (("ProjectService.CreateProject", {"project": {"id": "X"}}),
                              ("UploadService.CreateUpload", {}), ("IdentityService.CreateToken", {})):
            self.assertEqual(rpc.call(name, request).code, grpc.StatusCode.UNAUTHENTICATED, name)

    def test_wrong_tokens_are_limited_and_never_logged(self):
        rpc = Rpc(self.server.address)
        self.addCleanup(rpc.close)
        good, _ = self.token("admin")
        self.assertEqual(rpc.call("ProjectService.ListProjects", {}, good).code, grpc.StatusCode.OK)
        codes = [rpc.call("ProjectService.ListProjects", {}, f"nx_wrongtoken{i}") for i in range(150)]
        self.assertEqual(codes[0].reason, "UNAUTHENTICATED")
        self.assertEqual(codes[-1].code, grpc.StatusCode.RESOURCE_EXHAUSTED)
        self.assertEqual(codes[-1].reason, "TOO_MANY_FAILURES")
        self.assertEqual(rpc.call("ProjectService.ListProjects", {}, good).code, grpc.StatusCode.OK,
                         "who is known is let in all the same")
        time.sleep(2.5)
        self.assertEqual(rpc.call("ProjectService.ListProjects", {}, "nx_wrong").reason, "UNAUTHENTICATED")
        log = self.server.log_text()
        for secret in (good, self.server.token, "wrongtoken"):
            self.assertNotIn(secret, log)


if __name__ == "__main__":
    unittest.main()
