"""Other ways to run it: gateway of its own, ordinary user, PostgreSQL of somebody else, configuration file, a restart."""

import os
import pathlib
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import unittest

import external_postgres
from harness import BIN, Server, phantom, sha256


class Deployment(unittest.TestCase):
    def folder(self):
        folder = pathlib.Path(tempfile.mkdtemp(prefix="narthex-e2e-"))
        self.addCleanup(shutil.rmtree, folder, ignore_errors=True)
        return folder

    def test_gateway_alone_against_a_remote_server(self):
        with Server(flags=["--dicom-listen", "off"]) as server:
            server.narthex("project", "create", "P1")
            folder = self.folder()
            files = phantom(folder / "images", session="REMOTE1")
            gateway = server.gateway()
            self.addCleanup(gateway.kill)
            server.dicom_host, server.dicom_port = gateway.host, gateway.port

            server.storescu("--to", tool="echoscu")
            server.storescu("--to", "+sd", "+r", folder / "images")

            rows = server.prearchive("--project", "P1")
            self.assertEqual([(row["label"], row["objectCount"]) for row in rows], [("REMOTE1", len(files))])
            gateway.terminate()
            self.assertEqual(gateway.wait(timeout=30), 0)

    def test_an_ordinary_user(self):
        if os.geteuid() != 0:
            self.skipTest("only root can become another user; the other tests ran as an ordinary user already")
        folder = self.folder()
        user = pwd.getpwnam("nobody")
        data = folder / "data"
        data.mkdir()
        os.chown(data, user.pw_uid, user.pw_gid)
        folder.chmod(0o755)
        # The programs must be reachable for that user.
        for program in ("narthexd", "narthex-verify"):
            shutil.copy(BIN / program, folder / program)
        become = ["env", "--chdir=/", "setpriv", "--reuid", str(user.pw_uid), "--regid", str(user.pw_gid), "--clear-groups"]
        server = Server(data_dir=data, wrapper=become)
        server.program = folder / "narthexd"
        server.verifier = [*become, folder / "narthex-verify"]
        self.addCleanup(server.__exit__)
        server.start()
        self.assertEqual(os.stat(server.ready["token_file"]).st_mode & 0o777, 0o600)
        server.narthex("project", "create", "P1")
        files = phantom(folder / "images", session="USER1")
        server.narthex("upload", folder / "images", "--project", "P1", "--archive")
        self.assertEqual(len(server.files("P1/USER1")), len(files))
        server.stop()

    def test_a_postgresql_of_somebody_else(self):
        folder = self.folder()
        with Server(flags=["--postgres", external_postgres.Cluster.get().new_database()]) as server:
            server.narthex("project", "create", "P1")
            files = phantom(folder / "images", session="EXT1")
            server.narthex("upload", folder / "images", "--project", "P1", "--archive")

            self.assertEqual(sorted(file["sha256"] for file in server.files("P1/EXT1")), sorted(map(sha256, files)))
            self.assertEqual(server.sql("select count(*) from sessions").strip(), "1")
            self.assertFalse((server.data_dir / "d/postgres").exists())

    def test_a_postgresql_on_a_network_without_tls_is_told_nothing(self):
        folder, heard = self.folder(), []
        with socket.create_server(("127.0.0.1", 0)) as listener:
            # Asked for TLS it says no; what comes then would be readable.
            def refuse():
                try:
                    while True:
                        with listener.accept()[0] as peer:
                            request = peer.recv(8)
                            peer.sendall(b"N")
                            heard.append((request, peer.recv(1024)))
                except OSError:
                    pass
            thread = threading.Thread(target=refuse)
            thread.start()
            # This machine, by an address that need not be.
            conninfo = f"host=0.0.0.0 port={listener.getsockname()[1]} user=imaging dbname=postgres"
            result = subprocess.run([BIN / "narthexd", "--data-dir", folder / "d", "--grpc-listen", "127.0.0.1:0",
                                     "--dicom-listen", "off", "--postgres", conninfo], capture_output=True, text=True, timeout=120)
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
        self.assertEqual(result.returncode, 78, result.stderr)
        self.assertIn("SSL was required", result.stderr)
        self.assertEqual({said for _, said in heard}, {b""})

    def test_the_database_may_die(self):
        with Server() as server:
            server.narthex("project", "create", "P1")
            folder = self.folder()
            files = phantom(folder / "a", session="DB1")
            server.narthex("upload", folder / "a", "--project", "P1", "--no-commit")
            row = server.prearchive()[0]
            server.narthex("prearchive", "build", row["name"])
            postmaster = int((server.data_dir / "d/postgres/data/postmaster.pid").read_text().splitlines()[0])
            os.kill(postmaster, signal.SIGKILL)

            # What only staging holds is served all the same, and what needs the database waits or says so.
            self.assertEqual(server.prearchive()[0]["state"], "READY")
            server.wait_for(lambda: server.run("prearchive", "archive", row["name"]).returncode == 0, "the archive",
                            timeout=40)

            self.assertEqual(sorted(f["sha256"] for f in server.files("P1/DB1")), sorted(map(sha256, files)))
            self.assertIn("postgres died", server.log_text())

    def test_everything_is_there_after_a_restart(self):
        with Server() as server:
            server.narthex("project", "create", "P1")
            folder = self.folder()
            phantom(folder / "a", session="KEEP1")
            phantom(folder / "b", session="KEEP2", seed=2)
            server.narthex("upload", folder / "a", "--project", "P1", "--archive")
            server.narthex("upload", folder / "b", "--project", "P1", "--no-commit")
            server.narthex("settings", "set", "prearchive.idle_build_seconds", "7")
            token = server.token
            server.stop()

            server.start()

            self.assertEqual(server.token, token)
            self.assertEqual([s["label"] for s in server.sessions()], ["KEEP1"])
            self.assertEqual([row["label"] for row in server.prearchive()], ["KEEP2"])
            settings = {s["key"]: s["value"] for s in server.narthex("settings", "get")["settings"]}
            self.assertEqual(settings["prearchive.idle_build_seconds"], "7")
            # The timer of before goes on.
            server.wait_for(lambda: server.prearchive()[0]["state"] == "READY", "the idle build", timeout=20)

    def test_configuration_is_checked(self):
        folder = self.folder()
        config = folder / "narthexd.toml"
        config.write_text('data_dir = "/nowhere"\ngrpc_listen = "nonsense"\nno_such_key = "x"\n')

        result = subprocess.run([BIN / "narthexd", "--config", config, "--check-config"], capture_output=True, text=True)

        self.assertEqual(result.returncode, 78)
        self.assertIn(f"{config}:2:", result.stderr)
        self.assertIn(f"{config}:3:", result.stderr)
        config.write_text(f'data_dir = "{folder}"\nsite-id = "SITE_A"\n')
        self.assertEqual(subprocess.run([BIN / "narthexd", "--config", config, "--check-config"],
                                        capture_output=True).returncode, 0)
        self.assertEqual(subprocess.run([BIN / "narthexd", "--no-such-flag"], capture_output=True).returncode, 64)


if __name__ == "__main__":
    unittest.main()
