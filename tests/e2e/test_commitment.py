"""Storage commitment: what is reported is what is durable, on the same association or on one of its own, also after a
restart; and the session is complete."""

import socket
import unittest

import dimse
from harness import Server, needs_shared, shared_folder


@needs_shared
class Commitment(unittest.TestCase):
    def setUp(self):
        import pydicom
        self.server = Server()
        self.server.start()
        self.addCleanup(self.server.__exit__)
        self.server.narthex("project", "create", "P1")
        folder = shared_folder() / "data/dicom-mr-ge-mr750"
        self.files = [p for p in sorted(folder.rglob("*")) if p.suffix == ".dcm"][:4]
        headers = [pydicom.dcmread(path, stop_before_pixels=True) for path in self.files]
        self.instances = [(str(header.SOPClassUID), str(header.SOPInstanceUID)) for header in headers]

    def request(self, calling="CT1"):
        peer = dimse.requested(self.server.dicom_host, self.server.dicom_port, "NARTHEX", calling)
        self.addCleanup(peer.close)
        return peer

    def uids(self, *indexes):
        return [self.instances[i][1] for i in indexes]

    def test_staged_then_archived(self):
        self.server.storescu("--to", *self.files[:2])
        peer = self.request()

        self.assertEqual(dimse.ask(peer, "1.2.3.1", self.instances[:3]), 0)
        event, transaction, committed, failed = dimse.take_report(peer)

        self.assertEqual((event, transaction), (2, "1.2.3.1"))
        self.assertEqual((committed, failed), (self.uids(0, 1), {self.instances[2][1]: 0x0112}))
        # It is complete, and built without waiting for the timer.
        row = self.server.wait_for(lambda: [r for r in self.server.prearchive() if r["state"] == "READY"], "the build")[0]
        self.assertEqual(self.server.narthex("prearchive", "show", row["name"])["completion"], "storage-commitment")

        self.server.narthex("prearchive", "update", row["name"], "--project", "P1")
        self.server.narthex("prearchive", "archive", row["name"])
        other = [("1.2.840.10008.5.1.4.1.1.2", self.instances[1][1])]
        self.assertEqual(dimse.ask(peer, "1.2.3.2", self.instances[:1]), 0)
        self.assertEqual(dimse.take_report(peer), (1, "1.2.3.2", self.uids(0), {}))
        self.assertEqual(dimse.ask(peer, "1.2.3.3", other), 0)
        self.assertEqual(dimse.take_report(peer), (2, "1.2.3.3", [], {self.instances[1][1]: 0x0119}))
        dimse.release(peer)

    def test_an_association_of_its_own_and_a_restart(self):
        self.server.storescu("--to", *self.files)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            address = f"127.0.0.1:{listener.getsockname()[1]}"
            self.server.narthex("receiver", "update", "NARTHEX", "--commitment", f"CT1={address}")
            peer = self.request()
            self.assertEqual(dimse.ask(peer, "1.2.3.4", self.instances), 0)
            peer.close()  # without having read the report

            back, called, calling = dimse.accepted(listener)
            self.assertEqual((called, calling), ("CT1", "NARTHEX"))
            self.assertEqual(dimse.take_report(back), (1, "1.2.3.4", self.uids(0, 1, 2, 3), {}))
            back.close()
        # Plain text goes to other machines only where that is allowed.
        self.server.narthex("receiver", "update", "NARTHEX", "--commitment", "CT2=192.0.2.1:104")
        peer = self.request("CT2")
        self.assertEqual(dimse.ask(peer, "1.2.3.6", self.instances[:1]), 0)
        peer.close()
        self.server.wait_for(lambda: "plain text on a network" in self.server.log_text(), "the refused delivery")
        self.server.narthex("receiver", "update", "NARTHEX", "--commitment", f"CT1={address}")
        peer = self.request()  # now nobody listens
        self.assertEqual(dimse.ask(peer, "1.2.3.5", self.instances[:1]), 0)
        peer.close()
        self.server.wait_for(lambda: "connecting" in self.server.log_text(), "the failed delivery")
        self.server.stop()
        with socket.create_server(("127.0.0.1", int(address.rsplit(":", 1)[1]))) as listener:
            self.server.start()
            back, _, _ = dimse.accepted(listener)
            self.assertEqual(dimse.take_report(back), (1, "1.2.3.5", self.uids(0), {}))
            back.close()


if __name__ == "__main__":
    unittest.main()
