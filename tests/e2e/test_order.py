"""Two things at once to one archived session: whatever the order, it ends soon, nothing is half done, no file is lost, and who
loses is told why."""

import hashlib
import itertools
import json
import pathlib
import shutil
import tempfile
import threading
import time
import unittest

import pydicom

from harness import Server, phantom, sha256
from rpc import Rpc
from test_merge import modify, verify


class Order(unittest.TestCase):
    seeds = itertools.count(300)

    @classmethod
    def setUpClass(cls):
        cls.server = Server()
        cls.server.start()
        cls.addClassCleanup(cls.server.__exit__)
        for project in ("P1", "P2"):
            cls.server.narthex("project", "create", project)
        cls.server.narthex("user", "create", "ann")
        cls.server.narthex("project", "member", "add", "P1", "ann", "member")
        cls.ann = cls.server.narthex("token", "create", "--user", "ann")["secret"]
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="narthex-e2e-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        cls.rpc = Rpc(cls.server.address)
        cls.addClassCleanup(cls.rpc.close)

    # ---- what is there ----

    def study(self, label, slices=8, size=64):
        """The files of a study of one series."""
        return phantom(self.folder / label, session=label, subject="S", series=1, slices=slices, size=size, seed=next(self.seeds))

    def copies(self, files, name):
        folder = self.folder / name
        folder.mkdir()
        return [pathlib.Path(shutil.copy(file, folder)) for file in files]

    def waiting(self, files, label, door="GRPC"):
        """Leaves a built prearchive session of that label; its name."""
        before = {row["name"] for row in self.server.prearchive("--project", "P1")}
        if door == "GRPC":
            self.server.narthex("upload", *files, "--project", "P1", "--subject", "S", "--session", label, "--no-commit")
        else:
            modify(files, f"PatientComments=Project:P1 Subject:S Session:{label}")
            self.server.storescu("--to", *files)
        name, = {row["name"] for row in self.server.prearchive("--project", "P1")} - before
        self.server.narthex("prearchive", "build", name)
        return name

    def archived(self, files, label):
        self.server.narthex("upload", *files, "--project", "P1", "--subject", "S", "--session", label, "--archive")
        return self.server.narthex("session", "show", f"P1/{label}")["accessionId"]

    def at_once(self, *commands):
        """Runs commands of the client at once; (exit code, answer) of each."""
        answers = [None] * len(commands)
        start = threading.Barrier(len(commands))

        def run(number, command):
            start.wait()
            result = self.server.run(*command, timeout=120)
            answers[number] = result.returncode, json.loads(result.stdout)

        threads = [threading.Thread(target=run, args=each) for each in enumerate(commands)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return answers

    def digests(self, reference):
        """Of the images of a session, of which rows, catalogs, document and disk say the same."""
        result = self.server.run("session", "check", reference)
        self.assertEqual(result.returncode, 0, result.stdout)
        rows = [f for f in self.server.files(reference) if f["format"] == "DICOM"]
        self.assertEqual(self.server.narthex("session", "show", reference)["fileCount"], len(self.server.files(reference)))
        return sorted(row["sha256"] for row in rows)

    def nothing_is_left(self):
        """No hidden folder of an operation, no hold, no prearchive session that is stuck."""
        archive = self.server.data_dir / "d/archive"
        self.assertEqual([str(path) for path in archive.rglob(".incoming*")], [])
        self.assertEqual(self.server.sql("SELECT count(*) FROM session_holds").strip(), "0")

    def ended(self, name):
        """Waits for the archival of a prearchive session that was begun with --no-wait."""
        def left():
            return {row["name"]: row["state"] for row in self.server.prearchive()}
        self.server.wait_for(lambda: left().get(name) != "ARCHIVING", "the archival", timeout=60)
        self.assertNotIn(name, left())

    # ---- two archivals of one label ----

    def two_of_one_label(self, policy):
        """Two halves of one study, which have one instance in two versions, from two doors."""
        label = f"TWO_{policy.upper()}"
        files = self.study(label)
        first, second = self.copies(files[:5], label + "_A"), self.copies(files[4:], label + "_B")
        modify(second[:1], "ImageComments=another version")
        names = [self.waiting(first, label + "_A"), self.waiting(second, label + "_B", "DICOM")]
        for name in names:
            self.server.narthex("prearchive", "update", name, "--label", label)
        answers = self.at_once(*(["prearchive", "archive", name, "--conflict", policy] for name in names))
        return label, names, answers, [list(map(self.version, half)) for half in (first, second)]

    def version(self, file):
        """Which instance a file is, and which version of it. (DCMTK's senders write its bytes anew.)"""
        image = pydicom.dcmread(file, stop_before_pixels=True)
        return image.SOPInstanceUID, image.get("ImageComments", "")

    def versions(self, reference):
        """Those of a session's images."""
        digests = self.digests(reference)
        with tempfile.TemporaryDirectory() as folder:
            self.server.narthex("session", "download", reference, "-o", folder, "--verify")
            files = list(pathlib.Path(folder).rglob("*.dcm"))
            self.assertEqual(sorted(map(sha256, files)), digests)
            return sorted(map(self.version, files))

    def test_two_archivals_without_policy(self):
        label, names, answers, halves = self.two_of_one_label("none")

        self.assertEqual(sorted(code for code, _ in answers), [0, 1])
        won = [code for code, _ in answers].index(0)
        self.assertEqual(answers[1 - won][1]["error"]["reason"], "ARCHIVE_CONFLICT")
        self.assertEqual(self.versions(f"P1/{label}"), sorted(halves[won]))
        self.assertEqual(self.server.narthex("prearchive", "show", names[1 - won])["state"], "CONFLICT")
        self.nothing_is_left()
        self.server.narthex("prearchive", "archive", names[1 - won], "--conflict", "append")
        self.assertEqual(self.versions(f"P1/{label}"), self.union(halves, kept=won))

    def union(self, halves, kept):
        """All of both; of the instance that both have, the version of half `kept`."""
        first, second = halves
        return sorted(first[:4] + second[1:] + [first[4] if kept == 0 else second[0]])

    def test_two_archivals_that_append(self):
        label, _, answers, halves = self.two_of_one_label("append")
        self.assertEqual([code for code, _ in answers], [0, 0], answers)
        self.assertIn(self.versions(f"P1/{label}"), [self.union(halves, kept) for kept in (0, 1)])
        merged, = [answer["mergeResult"] for _, answer in answers if "mergeResult" in answer]
        self.assertEqual((merged["keptCount"], merged["replacedCount"]), (1, 0))
        self.nothing_is_left()

    def test_two_archivals_that_overwrite(self):
        label, _, answers, halves = self.two_of_one_label("overwrite")
        self.assertEqual([code for code, _ in answers], [0, 0], answers)
        self.assertIn(self.versions(f"P1/{label}"), [self.union(halves, kept) for kept in (0, 1)])
        merged, = [answer["mergeResult"] for _, answer in answers if "mergeResult" in answer]
        self.assertEqual((merged["keptCount"], merged["replacedCount"]), (0, 1))
        self.nothing_is_left()

    def test_two_studies_of_one_label(self):
        files = [self.study(f"STUDY{n}", slices=3) for n in range(2)]
        names = [self.waiting(these, f"STUDY{n}") for n, these in enumerate(files)]
        for name in names:
            self.server.narthex("prearchive", "update", name, "--label", "STUDY")
        answers = self.at_once(*(["prearchive", "archive", name, "--conflict", "overwrite"] for name in names))

        self.assertEqual(sorted(code for code, _ in answers), [0, 1])
        won = [code for code, _ in answers].index(0)
        self.assertEqual(self.digests("P1/STUDY"), sorted(map(sha256, files[won])))
        lost = self.server.narthex("prearchive", "show", names[1 - won])
        self.assertEqual((lost["state"], lost["objectCount"]), ("CONFLICT", 3))
        self.assertIn(5, {conflict["code"] for conflict in lost["conflicts"]})
        self.nothing_is_left()

    # ---- during a download ----

    def streaming(self, session, token):
        """A download that has begun: its stream, and what came of it so far."""
        service, method = self.rpc.methods["ArchiveService.DownloadSession"]
        stream = self.rpc.channel.unary_stream(
            f"/{service.full_name}/{method.name}", request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=self.rpc._class(method.output_type).FromString)(
                self.rpc._class(method.input_type)(session=session), metadata=[("authorization", f"Bearer {token}")], timeout=60)
        return stream, [next(stream)]

    def test_a_rename_or_move_during_a_download(self):
        files = self.study("DL", slices=5, size=2048)  # more than the network holds
        session = "sessions/" + self.archived(files, "DL")
        for change in (["--label", "DL_NEW"], ["--project", "P2"], ["--subject", "OTHER", "--project", "P1", "--label", "DL"]):
            with self.subTest(change):
                stream, messages = self.streaming(session, self.server.token)
                self.server.narthex("session", "update", session, *change)

                messages += stream

                self.assertEqual(sorted(self.digests_of(messages)), sorted(map(sha256, files)))
                self.digests(session)

    def digests_of(self, messages):
        """SHA-256 of the files of a download's stream."""
        files = []
        for message in messages:
            if message.HasField("file"):
                files.append(hashlib.sha256())
            files[-1].update(message.data)
        return [file.hexdigest() for file in files]

    def test_a_move_out_of_sight_during_a_download(self):
        """What was begun by right comes to its end; the next one is told that there is nothing."""
        files = self.study("GONE", slices=5, size=2048)
        session = "sessions/" + self.archived(files, "GONE")
        stream, messages = self.streaming(session, self.ann)
        self.server.narthex("session", "update", session, "--project", "P2")

        messages += stream

        self.assertEqual(sorted(self.digests_of(messages)), sorted(map(sha256, files)))
        answer = self.rpc.call("ArchiveService.DownloadSession", {"session": session}, self.ann)
        self.assertEqual((answer.reason, answer.reply), ("SESSION_NOT_FOUND", []))

    def test_a_download_that_a_rename_broke_goes_on_under_the_new_label(self):
        files = self.study("RESUME", slices=6, size=256)
        self.archived(files, "RESUME")
        out = self.folder / "resume-out"
        self.server.narthex("session", "download", "P1/RESUME", "-o", out)
        for path in sorted(out.rglob("*.dcm"))[2:]:
            path.unlink()
        self.server.narthex("session", "update", "P1/RESUME", "--label", "RESUMED")

        gone = self.server.narthex("session", "download", "P1/RESUME", "-o", out, code=1)
        answer = self.server.narthex("session", "download", "P1/RESUMED", "-o", out, "--verify")

        self.assertEqual(gone["error"]["reason"], "SESSION_NOT_FOUND")
        self.assertEqual((answer["fileCount"], answer["skippedCount"], answer["damaged"]), (4, 2, []))
        self.assertEqual(sorted(map(sha256, out.rglob("*.dcm"))), sorted(map(sha256, files)))

    # ---- during a merge ----

    def merge_and(self, label, delay, change):
        """Begins a merge of half a study into the archived other half, and changes the session meanwhile."""
        files = self.study(label, slices=24, size=256)
        session = self.archived(files[:12], label)
        name = self.waiting(self.copies(files[12:], label + "_MORE"), label)
        self.server.narthex("prearchive", "archive", name, "--conflict", "append", "--no-wait")
        time.sleep(delay)  # any moment will do
        code, answer = self.at_once(change(session))[0]
        self.ended(name)
        self.nothing_is_left()
        return session, [sorted(map(sha256, half)) for half in (files[:12], files[12:])], code, answer

    def test_a_delete_during_a_merge(self):
        for number, delay in enumerate((0, 0.1, 0.3)):
            with self.subTest(delay=delay):
                label = f"DEL{number}"
                session, halves, code, answer = self.merge_and(label, delay, lambda session: ["session", "delete", session])

                self.assertEqual(code, 0, answer)
                fresh = self.server.run("session", "show", f"P1/{label}")
                self.server.narthex("session", "restore", session, "--label", label + "_OLD")
                restored = self.digests(session)
                if fresh.returncode == 0:  # the deletion came first: what was to be merged is a session of its own
                    self.assertEqual((restored, self.digests(f"P1/{label}")), tuple(halves))
                else:
                    self.assertEqual(restored, sorted(halves[0] + halves[1]))

    def test_a_rename_or_move_during_a_merge(self):
        changes = ((0, ["--label", "{}_NEW"]), (0.1, ["--label", "{}_NEW", "--project", "P2", "--note", "moved"]),
                   (0.2, ["--label", "{}_NEW"]), (0.3, ["--project", "P2"]))
        for number, (delay, change) in enumerate(changes):
            with self.subTest(delay=delay, change=change):
                label = f"REN{number}"
                words = [word.format(label) for word in change]
                session, halves, code, answer = self.merge_and(label, delay,
                                                               lambda session: ["session", "update", session, *words])

                self.assertEqual(code, 0, answer)
                shown = self.server.narthex("session", "show", session)
                self.assertEqual((shown["label"], shown["project"]),
                                 (label + "_NEW" if "--label" in change else label, "P2" if "--project" in change else "P1"))
                fresh = self.server.run("session", "show", f"P1/{label}")
                if fresh.returncode == 0:
                    self.assertEqual((self.digests(session), self.digests(f"P1/{label}")), tuple(halves))
                else:
                    self.assertEqual(self.digests(session), sorted(halves[0] + halves[1]))

    def test_resources_and_repairs_during_merges(self):
        files = self.study("RES", slices=24)
        session = self.archived(files[:4], "RES")
        for n in range(6):
            (self.folder / f"r{n}.txt").write_text(f"resource {n}")
        names = []
        for n in range(4):
            names.append(self.waiting(self.copies(files[4 + 5 * n:9 + 5 * n], f"RES{n}"), f"RES{n}"))
            self.server.narthex("prearchive", "update", names[n], "--label", "RES")
        self.server.narthex("session", "resource", "add", session, "OLD", self.folder / "r5.txt")

        answers = self.at_once(
            *(["prearchive", "archive", name, "--conflict", "append"] for name in names),
            *(["session", "resource", "add", session, f"NEW{n}", self.folder / f"r{n}.txt"] for n in range(3)),
            ["session", "resource", "add", session, "SAME", self.folder / "r3.txt"],
            ["session", "resource", "add", session, "SAME", self.folder / "r4.txt"],
            ["session", "resource", "remove", session, "OLD"],
            ["session", "check", session, "--repair"],
            ["session", "scan", "update", session, "1", "--note", "looked at"])

        self.assertEqual([code for code, _ in answers[:4]], [0] * 4, answers)
        for code, answer in answers[4:]:
            if code != 0:  # a short change gives up rather than wait for a long merge, and says so
                self.assertEqual(answer["error"]["reason"], "SESSION_BUSY")
        self.assertEqual(self.digests(session), sorted(map(sha256, files)))
        labels = {r["label"] for r in self.server.narthex("session", "resource", "list", session)["resources"]}
        expected = {f"NEW{n}" for n in range(3) if answers[4 + n][0] == 0}
        expected |= {"SAME"} if 0 in (answers[7][0], answers[8][0]) else set()
        expected |= {"OLD"} if answers[9][0] != 0 else set()
        self.assertEqual(labels - {"DICOM"}, expected)
        paths = {f["path"] for f in self.server.files(session) if f["path"].startswith("RESOURCES/SAME/")}
        self.assertEqual(len(paths), [answers[7][0], answers[8][0]].count(0))
        self.nothing_is_left()


class AfterAll(unittest.TestCase):
    def test_verify_is_clean_after_changes_that_a_kill_cut_off(self):
        with Server() as server, tempfile.TemporaryDirectory() as folder:
            server.narthex("project", "create", "P1")
            files = phantom(folder, session="K", series=1, slices=24, size=128)
            server.narthex("upload", *files[:12], "--project", "P1", "--subject", "S", "--session", "K", "--archive")
            session = server.narthex("session", "show", "P1/K")["accessionId"]
            server.narthex("upload", *files[12:], "--project", "P1", "--subject", "S", "--session", "K", "--no-commit")
            name, = [row["name"] for row in server.prearchive("--project", "P1")]
            server.narthex("prearchive", "build", name)
            server.narthex("prearchive", "archive", name, "--conflict", "append", "--no-wait")
            renamer = threading.Thread(target=lambda: server.run("session", "update", session, "--label", "K2"))
            renamer.start()
            time.sleep(0.05)  # any moment will do
            server.kill()
            renamer.join()
            server.start()
            server.wait_for(lambda: not server.prearchive("--project", "P1"), "the merge to go on")

            labels = {s["label"] for s in server.sessions()}
            found = sorted(f["sha256"] for label in labels for f in server.files(f"P1/{label}") if f["format"] == "DICOM")
            self.assertEqual(found, sorted(map(sha256, files)))
            server.stop()
            code, text = verify(server)
            self.assertEqual(code, 0, text)


if __name__ == "__main__":
    unittest.main()
