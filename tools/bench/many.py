"""Many small studies made of one object of narthex-phantom: the same bytes but for what tells studies and objects apart."""

import re
import subprocess

PROJECT = "BENCH"


class Template:
    """One object, cut where its UIDs and labels stand. `size`: rows and columns."""

    def __init__(self, programs, work, size=8, modality="MR"):
        folder = work / f"template-{modality}-{size}"
        subprocess.run([programs.phantom, folder, "--modality", modality, "--series", "1", "--slices", "1", "--size", str(size),
                        "--project", PROJECT, "--subject", "S0000000", "--session", "E0000000"], check=True,
                       stdout=subprocess.DEVNULL)
        self.bytes = next(path for path in folder.rglob("*") if path.is_file()).read_bytes()
        self.study, self.series, self.instance = (self._value(tag) for tag in (b"\x20\x00\x0d\x00", b"\x20\x00\x0e\x00",
                                                                               b"\x08\x00\x18\x00"))

    def _value(self, tag):
        at = self.bytes.index(tag + b"UI") + 6
        length = int.from_bytes(self.bytes[at:at + 2], "little")
        return self.bytes[at + 2:at + 2 + length].rstrip(b"\0")

    def object(self, study, number):
        """The bytes of object `number` of study `study`."""
        def uid(of, *numbers):
            # As long as the one it stands for, and never with a leading zero.
            tail = "".join(f"{n:07}" for n in numbers).encode()
            return b"2.25.1" + tail.rjust(len(of) - 6, b"0")

        made = self.bytes.replace(self.study, uid(self.study, study)).replace(self.series, uid(self.series, study, 1))
        made = made.replace(self.instance, uid(self.instance, study, 2, number))
        return re.sub(rb"(?<=[SE])0000000", b"%07d" % study, made)

    def write(self, folder, studies, objects=1):
        """Writes `objects` of each of `studies`, a folder for each study."""
        for study in studies:
            place = folder / f"{study:07}"
            place.mkdir(parents=True)
            for number in range(objects):
                (place / f"{number:05}.dcm").write_bytes(self.object(study, number))
