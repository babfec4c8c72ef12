"""Receivers: AE titles and ports made, changed and removed while the server runs; who may call; what they fix."""

import pathlib
import socket
import subprocess
import tempfile
import unittest

from harness import Server, needs_shared, phantom, shared_folder


def free_port():
    """A port that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Receivers(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server()
        cls.server.start()
        cls.addClassCleanup(cls.server.__exit__)
        for project in ("P1", "P2"):
            cls.server.narthex("project", "create", project)
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = pathlib.Path(folder.name)

    def send(self, called, *files, port=None, calling="SCANNER", code=0, tool="storescu", flags=()):
        command = [tool, "-v", "-aec", called, "-aet", calling, *flags, "127.0.0.1", str(port or self.server.dicom_port),
                   *map(str, files)]
        result = subprocess.run(command, capture_output=True, text=True, timeout=60)
        self.assertEqual(result.returncode == 0, code == 0, result.stdout + result.stderr)
        return result.stdout + result.stderr

    def sessions(self, label):
        return [row for row in self.server.prearchive() if row["label"] == label]

    def test_a_receiver_lives_from_its_creation_to_its_deletion(self):
        port = free_port()
        self.send("SHORT", tool="echoscu", code=1)

        made = self.server.narthex("receiver", "create", "SHORT", "--port", port)
        self.assertEqual((made["aeTitle"], made["port"], made["enabled"], made["anonymize"]), ("SHORT", port, True, True))
        self.send("SHORT", tool="echoscu", port=port, flags=("-pts", "20"))  # proposes every transfer syntax
        self.send("SHORT", tool="echoscu", code=1)  # not on the default port
        self.server.narthex("receiver", "update", "SHORT", "--port", "0")
        self.send("SHORT", tool="echoscu")
        with self.assertRaises(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=5)
        self.server.narthex("receiver", "update", "SHORT", "--enabled", "off")
        self.send("SHORT", tool="echoscu", code=1)
        self.assertIn("SHORT", [r["aeTitle"] for r in self.server.narthex("receiver", "list")["receivers"]])
        self.server.narthex("receiver", "delete", "SHORT")
        self.assertNotIn("SHORT", [r["aeTitle"] for r in self.server.narthex("receiver", "list")["receivers"]])
        self.assertEqual(self.server.narthex("receiver", "delete", "SHORT", code=1)["error"]["reason"], "NOT_FOUND")

    def test_who_may_not_call_is_told_why(self):
        self.server.narthex("receiver", "create", "GUARDED", "--allow", "CT1", "--allow", "CT2@127.0.0.0/8", "--allow",
                            "10.0.0.0/8")

        self.send("GUARDED", tool="echoscu", calling="CT1")
        self.send("GUARDED", tool="echoscu", calling="CT2")
        refused = self.send("GUARDED", tool="echoscu", calling="CT3", code=1)
        unknown = self.send("NOBODY", tool="echoscu", code=1)

        self.assertIn("Calling AE Title Not Recognized", refused)
        self.assertIn("Called AE Title Not Recognized", unknown)
        log = [line for line in self.server.log_text().splitlines() if "dicom association rejected" in line]
        self.assertTrue(any("CT3" in line and "allow-list" in line for line in log), log)
        self.assertTrue(any("NOBODY" in line and "no receiver" in line for line in log), log)
        self.server.narthex("receiver", "update", "GUARDED", "--allow-all")
        self.send("GUARDED", tool="echoscu", calling="CT3")

    def test_wrong_settings_change_nothing(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            answer = self.server.narthex("receiver", "create", "TAKEN", "--port", taken.getsockname()[1], code=1)
        self.assertEqual(answer["error"]["reason"], "PORT_UNAVAILABLE")
        rules = self.folder / "bad.txt"
        rules.write_text("(0010,0020:x\n")
        for reason, flags in (("INVALID_SCRIPT", ["--project-rules", rules]), ("INVALID_FIELD", ["--allow", "a/b@1.2.3.4/99"]),
                              ("PROJECT_NOT_FOUND", ["--project", "NONE"]), ("INVALID_FIELD", ["--subject", "a b"])):
            answer = self.server.narthex("receiver", "create", "WRONG", *flags, code=1)
            self.assertEqual(answer["error"]["reason"], reason, flags)
        self.assertEqual(self.server.narthex("receiver", "create", "NARTHEX", code=1)["error"]["reason"], "ALREADY_EXISTS")
        titles = [r["aeTitle"] for r in self.server.narthex("receiver", "list")["receivers"]]
        self.assertFalse({"TAKEN", "WRONG"} & set(titles), titles)

    @needs_shared
    def test_a_fixed_project_and_subject_hold_whatever_the_header_says(self):
        self.server.narthex("receiver", "create", "FIXED", "--project", "P2", "--subject", "SUBJ", "--auto-archive", "manual",
                            "--idle", "77", "--direct-archive", "off")
        folder = shared_folder() / "data/dicom-mr-ge-mr750"
        files = sorted(path for path in folder.rglob("*") if path.suffix == ".dcm")[:3]

        self.send("FIXED", *files)

        rows = [row for row in self.server.prearchive("--project", "P2") if row["subject"] == "SUBJ"]
        self.assertEqual([row["objectCount"] for row in rows], [len(files)])
        self.assertEqual(rows[0]["autoArchive"], "MANUAL")
        idle = 77
        self.assertEqual(self.seconds(rows[0]["buildAfterTime"]) - self.seconds(rows[0]["lastReceivedTime"]), idle)

    @staticmethod
    def seconds(timestamp):
        import datetime
        return round(datetime.datetime.fromisoformat(timestamp[:19]).timestamp())

    def test_expressions_of_the_receiver_come_before_the_header(self):
        rules = self.folder / "project.txt"
        rules.write_text("CallingAETitle:^TO_(.*)$\n")
        labels = self.folder / "session.txt"
        labels.write_text("(0010,0020):^(.*)$ t:^ r:X_\n")
        self.server.narthex("receiver", "create", "RULED", "--project-rules", rules, "--session-rules", labels)
        files = phantom(self.folder / "ruled", session="RULED1", project="P1", patient_id="RULED1")

        self.send("RULED", *files[:2], calling="TO_P2")
        self.send("RULED", *files[2:4], calling="TO_NOWHERE")

        rows = self.sessions("X_RULED1")
        self.assertEqual(sorted((row["project"], row["objectCount"]) for row in rows), [("P1", 2), ("P2", 2)])

    def test_a_gateway_elsewhere_learns_them(self):
        gateway = self.server.gateway()
        self.addCleanup(gateway.wait)
        self.addCleanup(gateway.terminate)
        port = gateway.port
        self.send("NARTHEX", tool="echoscu", port=port)
        self.send("FAR", tool="echoscu", port=port, code=1)

        self.server.narthex("receiver", "create", "FAR", "--project", "P2")

        def answers():
            return subprocess.run(["echoscu", "-aec", "FAR", "127.0.0.1", port], capture_output=True).returncode == 0
        self.server.wait_for(answers, "the receiver at the other gateway")
        files = phantom(self.folder / "far", session="FAR1", project="P1", series=1, slices=2)
        self.send("FAR", *files, port=port)
        self.assertEqual([row["project"] for row in self.sessions("FAR1")], ["P2"])

    def test_receivers_outlive_a_restart(self):
        with Server() as server:
            server.narthex("receiver", "create", "KEPT", "--description", "MR 1")
            server.narthex("receiver", "delete", "NARTHEX")
            server.stop()
            server.start()
            receivers = server.narthex("receiver", "list")["receivers"]
            self.assertEqual([(r["aeTitle"], r["description"]) for r in receivers], [("KEPT", "MR 1")])
            self.assertEqual(subprocess.run(["echoscu", "-aec", "KEPT", "127.0.0.1", server.dicom_port]).returncode, 0)

    def test_administrators_only(self):
        result = self.server.run("receiver", "list", token="nobody")
        self.assertEqual(result.returncode, 4)


if __name__ == "__main__":
    unittest.main()
