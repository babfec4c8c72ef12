"""What one may not see does not exist: in answers, counts, search, events and error texts. Asked by somebody who has no role in a
private project and knows every one of its names, and by members about a session in quarantine."""

import base64
import json
import pathlib
import shutil
import subprocess
import tempfile
import unittest

import grpc

from harness import Server, phantom, shared_folder
from rpc import Rpc

# For each thing: how it is asked about. Words in braces are names of what is there, or of what is not.
QUESTIONS = {
    "ProjectService.GetProject": {"name": "projects/{project}"},
    "ProjectService.UpdateProject": {"name": "projects/{project}", "title": "x"},
    "ProjectService.ListMembers": {"project": "projects/{project}"},
    "ProjectService.AddMember": {"project": "projects/{project}", "member": {"user": "outsider", "role": "OWNER"}},
    "ProjectService.RemoveMember": {"project": "projects/{project}", "user": "keeper"},
    "ProjectService.ListSubjects": {"project": "projects/{project}"},
    "ProjectService.GetSubject": {"name": "projects/{project}/subjects/{subject}"},
    "ProjectService.UpdateSubject": {"name": "projects/{project}/subjects/{subject}", "setFields": {"x": "y"}},
    "ProjectService.ListProjectHistory": {"project": "projects/{project}"},
    "ProjectService.ListProjectHistory of a subject": {"project": "projects/{project}", "subject": "{subject}"},
    "ProjectService.ListFieldDefinitions": {"project": "projects/{project}"},
    "ProjectService.SetFieldDefinitions": {"project": "projects/{project}"},
    "ArchiveService.GetSession": {"name": "sessions/{session}"},
    "ArchiveService.GetSession by label": {"name": "projects/{project}/sessions/{label}"},
    "ArchiveService.GetSession in quarantine": {"name": "sessions/{held}"},
    "ArchiveService.GetSession deleted": {"name": "sessions/{deleted}"},
    "ArchiveService.GetSessionDocument": {"name": "sessions/{session}"},
    "ArchiveService.GetScanDocument": {"session": "sessions/{session}", "scan": "1"},
    "ArchiveService.ListScans": {"session": "sessions/{session}"},
    "ArchiveService.ListFiles": {"session": "sessions/{session}"},
    "ArchiveService.ReadFile": {"session": "sessions/{session}", "path": "{path}"},
    "ArchiveService.DownloadSession": {"session": "sessions/{session}"},
    "ArchiveService.ListSessionHistory": {"name": "sessions/{session}"},
    "ArchiveService.UpdateSession": {"name": "sessions/{session}", "label": "x"},
    "ArchiveService.UpdateSession into the project": {"name": "sessions/{mine}", "project": "{project}"},
    "ArchiveService.UpdateScan": {"session": "sessions/{session}", "scan": "1"},
    "ArchiveService.DeleteSession": {"name": "sessions/{session}"},
    "ArchiveService.RestoreSession": {"name": "sessions/{deleted}"},
    "ArchiveService.QuarantineSession": {"name": "sessions/{session}"},
    "ArchiveService.ActivateSession": {"name": "sessions/{held}"},
    "ArchiveService.LockSession": {"name": "sessions/{session}"},
    "ArchiveService.UnlockSession": {"name": "sessions/{session}"},
    "ArchiveService.PurgeSession": {"name": "sessions/{deleted}", "confirm": "{deleted}"},
    "ArchiveService.ShareSession": {"name": "sessions/{session}", "project": "MINE"},
    "ArchiveService.ShareSession into the project": {"name": "sessions/{mine}", "project": "{project}"},
    "ArchiveService.UnshareSession": {"name": "sessions/{session}", "project": "MINE"},
    "ArchiveService.UnshareSession from the project": {"name": "sessions/{mine}", "project": "{project}"},
    "ResourceService.ListResources": {"session": "sessions/{session}"},
    "ResourceService.AddResourceFiles": [{"open": {"session": "sessions/{session}", "resource": "X"}}, {"finish": {}}],
    "ResourceService.RemoveResourceFiles": {"session": "sessions/{session}", "resource": "NOTES"},
    "ResourceService.CheckSession": {"session": "sessions/{session}"},
    "PrearchiveService.GetPrearchiveSession": {"name": "prearchiveSessions/{waiting}"},
    "PrearchiveService.UpdatePrearchiveSession": {"name": "prearchiveSessions/{waiting}", "label": "x"},
    "PrearchiveService.UpdatePrearchiveSession into the project": {"name": "prearchiveSessions/{my_waiting}",
                                                                   "project": "{project}"},
    "PrearchiveService.UpdatePrearchiveSession by alias": {"name": "prearchiveSessions/{my_waiting}", "project": "{alias}"},
    "PrearchiveService.BuildPrearchiveSession": {"name": "prearchiveSessions/{waiting}"},
    "PrearchiveService.CheckPrearchiveSession": {"name": "prearchiveSessions/{waiting}"},
    "PrearchiveService.ArchivePrearchiveSession": {"name": "prearchiveSessions/{waiting}"},
    "PrearchiveService.SplitPrearchiveSession": {"name": "prearchiveSessions/{waiting}"},
    "PrearchiveService.DeletePrearchiveSession": {"name": "prearchiveSessions/{waiting}"},
    "PrearchiveService.ListOutcomes": {"name": "prearchiveSessions/{waiting}"},
    "PrearchiveService.GetHeader": {"name": "prearchiveSessions/{waiting}", "instanceUid": "{instance}"},
    "PrearchiveService.DiffInstance": {"name": "prearchiveSessions/{waiting}", "instanceUid": "{instance}"},
    "PrearchiveService.ClaimPrearchiveSession": {"project": "{project}", "studyInstanceUid": "{study}"},
    "PrearchiveService.ClaimPrearchiveSession of the project's": {"project": "MINE", "studyInstanceUid": "{study}"},
    "PrearchiveService.ListPrearchiveSessions": {"project": "{project}"},
    "UploadService.CreateUpload": {"destination": {"project": "{project}"}},
    "UploadService.CreateUpload by alias": {"destination": {"project": "{alias}"}},
    "UploadService.GetUpload": {"name": "uploads/{upload}"},
    "UploadService.CommitUpload": {"name": "uploads/{upload}"},
    "UploadService.ListUploadOutcomes": {"name": "uploads/{upload}"},
    "UploadService.Upload": [{"open": {"destination": {"project": "{project}"}}}],
    "UploadService.Upload of the upload": [{"open": {"name": "uploads/{upload}"}}],
    "UploadService.ImportArchive": [{"options": {"destination": {"project": "{project}"}}}],
    "UploadService.ImportInbox": {"path": "box", "destination": {"project": "{project}"}},
    "UploadService.FindMissing": {"destination": {"project": "{project}"}},
    "Operations.GetOperation": {"name": "operations/{operation}"},
    "Operations.WaitOperation": {"name": "operations/{operation}", "timeout": "0.010s"},
    "Operations.CancelOperation": {"name": "operations/{operation}"},
    "Operations.DeleteOperation": {"name": "operations/{operation}"},
    "AnonymizationService.GetScript": {"project": "{project}"},
    "AnonymizationService.GetScript by alias": {"project": "{alias}"},
    "AnonymizationService.SetScript": {"project": "{project}", "text": ""},
    "AnonymizationService.PreviewScript": {"prearchiveSession": "prearchiveSessions/{waiting}", "text": ""},
    "AnonymizationService.PreviewScript of the project": {"project": "{project}", "objectHead": "AAAA"},
    "RoutingService.GetSeriesFilter": {"project": "{project}"},
    "RoutingService.SetSeriesFilter": {"filter": {"project": "{project}", "mode": "DENY"}},
    "RoutingService.SetStudyRoute": {"route": {"studyInstanceUid": "1.2.3", "project": "{project}"}},
    "RoutingService.ListStudyRoutes": {},
    "RoutingService.DeleteStudyRoute": {"studyInstanceUid": "{study}"},
    "AuditService.ExportAudit": {"format": "FHIR", "project": "{project}"},
    "IdentityService.GetUser": {"name": "users/{user}"},
    "IdentityService.ListTokens": {"user": "{user}"},
    "IdentityService.CreateToken": {"user": "{user}"},
    "IdentityService.RevokeToken": {"name": "tokens/{token}"},
    "ArchiveService.SearchSessions": {"filter": 'project = "{project}"', "countTotal": True},
    "ArchiveService.SearchSessions by label": {"filter": 'label = "{label}"', "countTotal": True},
    "ArchiveService.SearchSessions by study": {"filter": 'studyInstanceUid = "{study}"', "countTotal": True},
    "ArchiveService.SearchSessions by subject": {"filter": 'subject = "{subject}"', "countTotal": True},
    "ArchiveService.SearchScans": {"filter": 'project = "{project}"', "countTotal": True},
}
NOT_THERE = {"project": "NOWHERE", "alias": "no-alias", "session": "NARTHEX_E99999", "held": "NARTHEX_E99998",
             "deleted": "NARTHEX_E99997", "label": "NOBODY", "subject": "NOSUBJECT", "waiting": "0000000000nobody",
             "operation": "nosuchoperation", "upload": "nosuchupload", "study": "1.2.3.4.5.6.7.8.9", "instance": "1.2.3.4.5.6.7",
             "path": "SCANS/1/DICOM/none.dcm", "user": "nobody", "token": "nosuchtoken"}


def filled(template, names):
    if isinstance(template, dict):
        return {key: filled(value, names) for key, value in template.items()}
    if isinstance(template, list):
        return [filled(value, names) for value in template]
    return template.format(**names) if isinstance(template, str) else template


class Hidden(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="narthex-e2e-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        cls.server = server = Server(flags=["--dicom-listen", "off"])
        server.__enter__()
        cls.addClassCleanup(server.__exit__)
        cls.rpc = Rpc(server.address)
        cls.addClassCleanup(cls.rpc.close)
        run = server.narthex
        cls.tokens = {"admin": server.token}
        for user in ("keeper", "outsider", "friend"):
            run("user", "create", user)
            answer = run("token", "create", "--user", user)
            cls.tokens[user], token = answer["secret"], answer["token"]["name"].split("/")[1]
            if user == "keeper":
                cls.there = {"user": "keeper", "token": token}
        (server.data_dir / "d/inbox/box").mkdir(parents=True, exist_ok=True)
        for project, owner in (("VAULT", "keeper"), ("MINE", "outsider"), ("CLUB", "friend")):
            run("project", "create", project)
            run("project", "member", "add", project, owner, "owner")
        run("project", "update", "VAULT", "--alias", "vault-alias")
        for project, label, seed in (("VAULT", "KEPT", 1), ("VAULT", "HELD", 2), ("VAULT", "GONE", 3), ("MINE", "OWN", 4)):
            phantom(cls.folder / "archive" / label, series=1, slices=1, size=16, project=project, subject=f"SUBJ_{project}",
                    session=label, seed=seed)
        for project, label, seed in (("VAULT", "WAITING", 5), ("MINE", "MYWAIT", 6)):
            phantom(cls.folder / "wait" / label, series=1, slices=1, size=16, project=project, subject=f"SUBJ_{project}",
                    session=label, seed=seed)
        run("upload", cls.folder / "archive", "--archive")
        run("upload", cls.folder / "wait", "--commit")
        note = cls.folder / "note.txt"
        note.write_text("of the vault")
        run("session", "resource", "add", "VAULT/KEPT", "NOTES", note)
        run("project", "field", "set", "VAULT", "vaultfield", "--type", "string")
        run("routing", "study", "set", "1.9.9.9", "--project", "VAULT", code=None)
        ids = {s["label"]: s for s in server.sessions()}
        run("session", "quarantine", ids["HELD"]["accessionId"])
        run("session", "delete", ids["GONE"]["accessionId"])
        rows = {row["label"]: row for row in server.prearchive()}
        waiting = rows["WAITING"]["name"].split("/")[1]
        operations = cls.rpc.call("Operations.ListOperations", {"name": "operations"}, server.token).reply[0]["operations"]
        upload = cls.rpc.call("UploadService.CreateUpload", {"destination": {"project": "VAULT"}}, cls.tokens["keeper"]).reply[0]
        cls.there |= {
            "project": "VAULT", "alias": "vault-alias", "label": "KEPT", "subject": "SUBJ_VAULT", "waiting": waiting,
            "session": ids["KEPT"]["accessionId"], "held": ids["HELD"]["accessionId"], "deleted": ids["GONE"]["accessionId"],
            "study": ids["KEPT"]["studyInstanceUid"], "path": server.files("VAULT/KEPT")[0]["path"],
            "instance": run("prearchive", "outcomes", waiting)["outcomes"][0]["sopInstanceUid"],
            "upload": upload["name"].split("/")[1],
            "operation": next(o["name"].split("/")[1] for o in operations
                              if o["metadata"]["prearchiveSession"].endswith(waiting)),
            "my_waiting": rows["MYWAIT"]["name"].split("/")[1], "mine": ids["OWN"]["accessionId"]}
        cls.nothing = dict(cls.there, **NOT_THERE)
        # What no answer to the outsider may hold.
        cls.secrets = ["VAULT", "KEPT", "HELD", "GONE", "WAITING", "keeper", "NOTES", "vaultfield"] + [
            cls.there[key] for key in NOT_THERE]

    def ask(self, name, request, user="outsider", **more):
        return self.rpc.call(name.split(" ")[0], request, self.tokens[user], **more)

    def assertNothingOf(self, answer, what):
        text = json.dumps(answer.reply)
        for secret in self.secrets:
            self.assertNotIn(secret, text, what)

    def test_whoever_may_not_see_it_gets_the_words_for_what_does_not_exist(self):
        wrong = []
        for name, template in QUESTIONS.items():
            there = self.ask(name, filled(template, self.there), timeout=5)
            nothing = self.ask(name, filled(template, self.nothing), timeout=5)
            self.assertNotIn(there.code, (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN), f"{name}: {there.message}")
            seen = json.dumps([there.message, there.metadata, there.reply])
            for key, word in NOT_THERE.items():
                seen = seen.replace(self.there[key], word)
            if (there.code, there.reason, seen) != (nothing.code, nothing.reason,
                                                    json.dumps([nothing.message, nothing.metadata, nothing.reply])):
                wrong.append(f"{name}:\n    there:   {there.code} {seen}\n    nothing: {nothing.code} {nothing.message} {nothing.reply}")
        self.assertEqual(wrong, [], "\n".join(wrong))

    def test_the_questions_are_real_ones(self):
        """Who may see it gets another answer: else the comparison would prove nothing."""
        same = []
        for name, template in QUESTIONS.items():
            # What only administrators are told, or what an owner may not do either.
            if name.endswith("deleted") or name.startswith(("RoutingService.ListStudyRoutes", "RoutingService.DeleteStudyRoute", "IdentityService.", "Operations.",
                                "UploadService.CommitUpload", "ArchiveService.PurgeSession", "PrearchiveService.ClaimPre")):
                continue
            if any(word in name for word in (".Update", ".Set", ".Add", ".Remove", ".Delete", ".Restore", ".Quarantine", ".Activate",
                                             ".Lock", ".Unlock", ".Share", ".Unshare", ".Build", ".Archive", ".Split", "ImportInbox",
                                             "CheckSession")):
                continue
            there = self.ask(name, filled(template, self.there), "keeper", timeout=5)
            nothing = self.ask(name, filled(template, self.nothing), "keeper", timeout=5)
            if (there.code, there.reply) == (nothing.code, nothing.reply):
                same.append(f"{name}: {there.code} {there.message} {there.reply}")
        self.assertEqual(same, [])

    def test_lists_counts_and_searches_show_nothing_of_it(self):
        for name, request in (
                ("ProjectService.ListProjects", {"pageSize": 1000}),
                ("ArchiveService.SearchSessions", {"countTotal": True}),
                ("ArchiveService.SearchSessions", {"countTotal": True, "orderBy": "project, label"}),
                ("ArchiveService.SearchSessions", {"countTotal": True, "filter": 'NOT project = "MINE"'}),
                ("ArchiveService.SearchSessions", {"countTotal": True, "filter": 'project != "MINE" OR label : "E"'}),
                ("ArchiveService.SearchScans", {"countTotal": True}),
                ("PrearchiveService.ListPrearchiveSessions", {"pageSize": 1000}),
                ("PrearchiveService.ListPrearchiveSessions", {"unassigned": True}),
                ("Operations.ListOperations", {"name": "operations", "pageSize": 1000}),
                ("IdentityService.ListUsers", {}),
                ("IdentityService.ListTokens", {}),
                ("AuditService.ExportAudit", {"format": "FHIR"}),
                ("SettingsService.GetServerInfo", {})):
            answer = self.ask(name, request)
            self.assertEqual(answer.code, grpc.StatusCode.OK, f"{name}: {answer.message}")
            self.assertNothingOf(answer, name)
        everything = self.ask("ArchiveService.SearchSessions", {"countTotal": True}).reply[0]
        self.assertEqual((everything["totalSize"], len(everything["sessions"])), (1, 1))
        info = self.ask("SettingsService.GetServerInfo", {}).reply[0]
        self.assertEqual((info["sessionCount"], info["prearchiveSessionCount"]), ("1", "1"))
        info = self.ask("SettingsService.GetServerInfo", {}, "admin").reply[0]
        self.assertEqual((info["sessionCount"], info["prearchiveSessionCount"]), ("3", "2"))
        self.assertEqual(self.ask("ArchiveService.SearchSessions", {"countTotal": True}, "keeper").reply[0]["totalSize"], 2)

    def test_events_tell_nothing_of_it(self):
        for request in ({"fromSequence": 1}, {"fromSequence": 1, "project": "VAULT"},
                        {"fromSequence": 1, "name": f"prearchiveSessions/{self.there['waiting']}"}):
            answer = self.ask("PrearchiveService.WatchPrearchiveSessions", request, timeout=1.5)
            self.assertEqual(answer.code, grpc.StatusCode.DEADLINE_EXCEEDED, answer.message)
            self.assertNothingOf(answer, request)
            self.assertEqual(bool(answer.reply), len(request) == 1, "events of one's own project come")
        answer = self.ask("PrearchiveService.WatchPrearchiveSessions", {"fromSequence": 1, "project": "VAULT"}, "keeper", timeout=5,
                          most=1)
        self.assertTrue(answer.reply)

    def test_who_loses_the_role_sees_no_more_than_before(self):
        """Operations that one started stay one's own; what they made is shown as far as it may be seen now."""
        run = self.server.narthex
        run("project", "create", "LOST")
        run("project", "member", "add", "LOST", "friend", "member")
        phantom(self.folder / "lost", series=1, slices=1, size=16, project="LOST", subject="SUBJ_LOST", session="LOST1", seed=9)
        done = self.server.run("upload", self.folder / "lost", "--archive", token=self.tokens["friend"])
        self.assertEqual(done.returncode, 0, done.stderr)
        listed = lambda: json.dumps(self.ask("Operations.ListOperations", {"name": "operations"}, "friend").reply)
        self.assertIn("LOST1", listed())
        run("project", "member", "remove", "LOST", "friend")
        self.assertNotIn("LOST1", listed())
        self.assertNotIn("SUBJ_LOST", listed())

    def test_a_shares_readers_see_the_session_under_its_other_name_only(self):
        run = self.server.narthex
        # The headers, which everybody who sees the images may read, say other words.
        phantom(self.folder / "shared", series=1, slices=1, size=16, project="X", subject="Y", session="Z", seed=12)
        run("upload", self.folder / "shared", "--project", "VAULT", "--subject", "SUBJ_VAULT", "--session", "LENT", "--archive")
        run("session", "share", "VAULT/LENT", "MINE", "--label", "BORROWED")
        run("session", "share", "VAULT/LENT", "CLUB", "--label", "CLUBCOPY")
        self.addCleanup(run, "session", "delete", "VAULT/LENT")
        lent = self.server.sessions('project = "VAULT" AND label = "LENT"')[0]["accessionId"]
        hidden = ["VAULT", "LENT", "SUBJ_VAULT", "CLUB", "keeper", run("subject", "show", "VAULT/SUBJ_VAULT")["accessionId"]]
        for name, request in (
                ("ArchiveService.GetSession", {"name": f"sessions/{lent}"}),
                ("ArchiveService.GetSession", {"name": "projects/MINE/sessions/BORROWED"}),
                ("ArchiveService.GetSessionDocument", {"name": f"sessions/{lent}"}),
                ("ArchiveService.GetScanDocument", {"session": f"sessions/{lent}", "scan": "1"}),
                ("ArchiveService.ListScans", {"session": f"sessions/{lent}"}),
                ("ArchiveService.ListFiles", {"session": f"sessions/{lent}"}),
                ("ResourceService.ListResources", {"session": f"sessions/{lent}"}),
                ("ArchiveService.SearchSessions", {"filter": 'project = "MINE"'}),
                ("ArchiveService.SearchScans", {"filter": 'project = "MINE"'})):
            answer = self.ask(name, request)
            self.assertEqual(answer.code, grpc.StatusCode.OK, f"{name}: {answer.message}")
            self.assertTrue(answer.reply[0], name)
            for word in hidden:
                self.assertNotIn(word, json.dumps(answer.reply), name)
        for question in ('project = "VAULT"', 'label = "LENT"', 'project = "CLUB"', 'subject = "SUBJ_VAULT"', 'project : "VAUL"',
                         'label = "LE*"', 'NOT project != "VAULT"', "LENT"):
            for name in ("ArchiveService.SearchSessions", "ArchiveService.SearchScans"):
                answer = self.ask(name, {"filter": question, "countTotal": True})
                self.assertEqual(answer.code, grpc.StatusCode.OK, answer.message)
                self.assertFalse(answer.reply[0].get("totalSize"), f"{name} {question}")
        for name in ("ArchiveService.SearchSessions", "ArchiveService.SearchScans"):
            for order in ("label", "project", "subject", "projectTitle", "subjectId"):
                token, tokens = "", ""
                while True:
                    reply = self.ask(name, {"orderBy": order, "pageSize": 1, "pageToken": token}).reply[0]
                    if not (token := reply.get("nextPageToken", "")):
                        break
                    tokens += base64.urlsafe_b64decode(token + "==").decode("latin-1")
                self.assertTrue(tokens)
                for word in hidden:
                    self.assertNotIn(word, tokens, f"{name} by {order}")
        answer = self.ask("ArchiveService.UpdateSession", {"name": f"sessions/{lent}", "label": "x"})
        self.assertEqual(answer.code, grpc.StatusCode.PERMISSION_DENIED)
        for word in hidden:
            self.assertNotIn(word, answer.message + json.dumps(answer.metadata))
        history = self.ask("ArchiveService.ListSessionHistory", {"name": f"sessions/{lent}"})
        for word in hidden:
            self.assertNotIn(word, json.dumps(history.reply) + history.message)
        run("session", "quarantine", lent)
        self.assertEqual(self.ask("ArchiveService.GetSession", {"name": f"sessions/{lent}"}).code, grpc.StatusCode.NOT_FOUND)
        self.assertNotIn("BORROWED", json.dumps(self.ask("ArchiveService.SearchSessions", {}).reply))


class Quarantine(unittest.TestCase):
    """Real images come into a project that quarantines, by the DICOM door and by the client's."""

    @classmethod
    def setUpClass(cls):
        if not shared_folder():
            raise unittest.SkipTest("the shared test images are absent")
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="narthex-e2e-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        cls.server = server = Server()
        server.__enter__()
        cls.addClassCleanup(server.__exit__)
        cls.rpc = Rpc(server.address)
        cls.addClassCleanup(cls.rpc.close)
        run = server.narthex
        run("project", "create", "Q", "--accessibility", "public", "--quarantine", "on")
        run("project", "update", "Q", "--auto-archive", "auto")
        run("receiver", "create", "TOQ", "--project", "Q", "--idle", "1")
        cls.tokens = {}
        for user, flags in (("owner", ()), ("member", ()), ("collaborator", ()), ("outsider", ()), ("reader", ("--all-data-read", "on"))):
            run("user", "create", user, *flags)
            cls.tokens[user] = run("token", "create", "--user", user)["secret"]
            if user in ("owner", "member", "collaborator"):
                run("project", "member", "add", "Q", user, user)
        data = shared_folder() / "data"
        images = sorted((data / "dicom-mr-ge-genesis-dcm4che").rglob("*.dcm"))[:4]
        subprocess.run(["storescu", "-aec", "TOQ", server.dicom_host, server.dicom_port, *images], check=True, capture_output=True)
        run("upload", data / "dicom-ct-ge-hispeed", "--project", "Q", "--session", "BYCLIENT", "--archive")
        server.wait_for(lambda: len(server.sessions('status = "QUARANTINE"')) == 2, "two sessions in quarantine")
        cls.sessions = {s["label"]: s["accessionId"] for s in server.sessions()}

    def ask(self, name, request, user):
        return self.rpc.call(name, request, self.tokens[user])

    def test_only_owners_find_it_and_others_get_the_words_for_what_does_not_exist(self):
        self.assertEqual(len(self.sessions), 2)
        for label, accession in self.sessions.items():
            path = self.server.files(accession)[0]["path"]
            scan = self.server.narthex("session", "scans", accession)["scans"][0]["id"]
            for name, field, more in (
                    ("GetSession", "name", {}), ("GetSessionDocument", "name", {}), ("GetScanDocument", "session", {"scan": scan}),
                    ("ListScans", "session", {}), ("ListFiles", "session", {}), ("ReadFile", "session", {"path": path}),
                    ("DownloadSession", "session", {}), ("ListSessionHistory", "name", {}), ("UpdateSession", "name", {"note": "x"}),
                    ("ActivateSession", "name", {}), ("DeleteSession", "name", {})):
                for user in ("member", "collaborator", "reader", "outsider"):
                    for ref, none in ((f"sessions/{accession}", "sessions/NARTHEX_E99999"), (f"projects/Q/sessions/{label}", "projects/Q/sessions/NOBODY")):
                        answer = self.ask(f"ArchiveService.{name}", {field: ref, **more}, user)
                        nothing = self.ask(f"ArchiveService.{name}", {field: none, **more}, user)
                        self.assertEqual(answer.code, grpc.StatusCode.NOT_FOUND, f"{name} as {user}")
                        was, words = ref.rpartition("/")[2], none.rpartition("/")[2]
                        self.assertEqual(answer.message.replace(was, words), nothing.message)
                        self.assertEqual((answer.reason, answer.reply), (nothing.reason, []))
            for name in ("ListResources", "CheckSession", "RemoveResourceFiles"):
                for user in ("member", "collaborator", "reader"):
                    answer = self.ask(f"ResourceService.{name}", {"session": f"sessions/{accession}"}, user)
                    self.assertEqual((answer.code, answer.reply), (grpc.StatusCode.NOT_FOUND, []), f"{name} as {user}")
            self.assertEqual(self.ask("ArchiveService.GetSession", {"name": f"sessions/{accession}"}, "owner").reply[0]["status"],
                             "QUARANTINE")

    def test_searches_count_it_for_owners_only(self):
        for name, rows in (("ArchiveService.SearchSessions", "sessions"), ("ArchiveService.SearchScans", "scans")):
            for question in ("", 'project = "Q"', 'status = "QUARANTINE"', 'label = "BYCLIENT"', 'modality = "CT" OR modality = "MR"'):
                for user in ("member", "collaborator", "reader", "outsider"):
                    reply = self.ask(name, {"filter": question, "countTotal": True}, user).reply[0]
                    self.assertEqual((reply.get(rows, []), int(reply.get("totalSize", 0))), ([], 0), f"{name} {question} as {user}")
                reply = self.ask(name, {"filter": question, "countTotal": True}, "owner").reply[0]
                self.assertGreater(int(reply["totalSize"]), 0)
        self.assertEqual(self.ask("SettingsService.GetServerInfo", {}, "member").reply[0].get("sessionCount", "0"), "0")

    def test_the_client_downloads_nothing_of_it_until_it_is_released(self):
        for user in ("member", "collaborator", "reader"):
            target = self.folder / f"{user}.zip"
            result = self.server.run("session", "download", "Q/BYCLIENT", "-o", target, token=self.tokens[user])
            self.assertEqual(result.returncode, 1, result.stderr)
            self.assertFalse(target.exists() and target.stat().st_size)
        result = self.server.run("session", "download", "Q/BYCLIENT", "-o", self.folder / "owner.zip", token=self.tokens["owner"])
        self.assertEqual(result.returncode, 0, result.stderr)

    def test_zz_released_it_is_there_for_all(self):
        accession = self.sessions["BYCLIENT"]
        answer = self.ask("ArchiveService.ActivateSession", {"name": f"sessions/{accession}"}, "owner")
        self.assertEqual(answer.code, grpc.StatusCode.OK, answer.message)
        for user in ("member", "collaborator", "reader", "outsider"):
            self.assertEqual(self.ask("ArchiveService.GetSession", {"name": f"sessions/{accession}"}, user).code, grpc.StatusCode.OK)
        target = self.folder / "released.zip"
        self.assertEqual(self.server.run("session", "download", accession, "-o", target, token=self.tokens["collaborator"]).returncode, 0)
        entries = self.ask("ArchiveService.ListSessionHistory", {"name": f"sessions/{accession}"}, "owner").reply[0]["entries"]
        self.assertTrue(any(entry["user"] == "owner" and "status" in entry.get("after", {}) for entry in entries), entries)


if __name__ == "__main__":
    unittest.main()
