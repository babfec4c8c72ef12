import hashlib
import io
import json
import pathlib
import sys
import tarfile
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tools/check"))

import release  # noqa: E402

SQL = "CREATE TABLE things ();\n"


class ReleaseTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name)
        self.write("CMakeLists.txt", "project(narthex VERSION 0.2.0 LANGUAGES CXX)\n")
        self.write("server/app/a.cc", 'f("narthexd 0.2.0", "1.2.3"); constexpr char kVersion[] = "0.2.0";')
        self.write("storage/metadata/migrations/0001_a.sql", SQL)
        self.golden("0.1.0")

    def write(self, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def golden(self, version, both=True):
        folder = self.root / "tests/golden"
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"migrations": {"0001_a": hashlib.sha256(SQL.encode()).hexdigest()}}).encode()
        for kind in (".tar.xz", ".data.tar.xz")[:1 + both]:
            with tarfile.open(folder / (version + kind), "w:xz") as archive:
                entry = tarfile.TarInfo("./golden.json")
                entry.size = len(text)
                archive.addfile(entry, io.BytesIO(text))

    def found(self, *words):
        problems = release.problems(self.root)
        self.assertEqual(len(problems), 1, problems)
        for word in words:
            self.assertIn(word, problems[0])

    def test_takes_a_version_in_development_and_one_that_is_released(self):
        self.assertEqual(release.problems(self.root), [])
        self.write("storage/metadata/migrations/0002_b.sql", SQL)
        self.golden("0.2.0-dev.20261127")
        self.assertEqual(release.problems(self.root), [])

    def test_a_released_version_gets_no_migration(self):
        self.golden("0.2.0")
        self.write("storage/metadata/migrations/0002_b.sql", SQL)
        self.found("0002_b", "raise the version")

    def test_a_migration_is_not_edited(self):
        self.write("storage/metadata/migrations/0001_a.sql", SQL + "-- better\n")
        self.found("0001_a.sql was edited")

    def test_a_release_has_both_files(self):
        self.golden("0.2.0", both=False)
        self.found("0.2.0.data.tar.xz is missing")

    def test_every_place_says_the_same(self):
        self.write("clients/cli/b.cc", 'set_version_flag("--version", "narthex 0.1.0");')
        self.found("clients/cli/b.cc", "0.1.0")

    def test_golden_data_are_not_of_a_later_version(self):
        self.golden("0.3.0-dev.20261127")
        self.found("later version")


if __name__ == "__main__":
    unittest.main()
