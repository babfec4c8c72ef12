"""That the layering check finds what it must, with the real tools/check/layers.toml."""

import unittest

import sample
import layering

LAYERS = (sample.ROOT / "tools/check/layers.toml").read_text(encoding="utf-8")


def problems(files: dict[str, str], layers: str = LAYERS) -> list[str]:
    return layering.check(sample.tree_of({"tools/check/layers.toml": layers, **files}))


class LayeringTest(unittest.TestCase):
    def assert_refused(self, name: str, line: str, why: str):
        found = problems({name: f"#pragma once\n{line}\n"})
        self.assertEqual(len(found), 1, found)
        self.assertIn(f"{name}:2:", found[0])
        self.assertIn(why, found[0])

    def assert_allowed(self, name: str, line: str):
        self.assertEqual(problems({name: line + "\n"}), [])

    def test_allows_what_points_down(self):
        self.assert_allowed("storage/staging/a.cc", '#include "storage/fs/file_system.h"')
        self.assert_allowed("server/ingest/a.cc", '#include "imaging/dicom/tag.h"')
        self.assert_allowed("server/app/a.cc", '#include "server/rpc/b.h"')
        self.assert_allowed("server/main.cc", '#include "server/app/app.h"')
        self.assert_allowed("storage/staging/a.cc", "#include <rocksdb/db.h>")
        self.assert_allowed("clients/cli/a.cc", '#include "narthex/v1/upload_service.grpc.pb.h"')
        self.assert_allowed("base/a.cc", "#include <vector>")

    def test_refuses_what_points_up(self):
        self.assert_refused("base/a.h", '#include "storage/fs/file_system.h"', "base may include only nothing")
        self.assert_refused("storage/fs/a.cc", '#include "storage/staging/index.h"', "storage/fs may include only base")
        self.assert_refused("server/ingest/a.cc", '#include "server/rpc/b.h"', "server/ingest may include only")

    def test_refuses_what_points_sideways(self):
        self.assert_refused("imaging/dicom/a.cc", '#include "storage/fs/file_system.h"', "imaging/dicom")
        self.assert_refused("storage/archive/a.cc", '#include "imaging/dicom/tag.h"', "storage/archive")
        self.assert_refused("clients/cli/a.cc", '#include "server/ingest/a.h"', "clients/cli")

    def test_refuses_to_include_tests_and_tools(self):
        self.assert_refused("server/app/a.cc", '#include "tests/common/a.h"', "server/app")
        self.assert_refused("clients/cli/a.cc", '#include "tools/bench/a.h"', "clients/cli")

    def test_keeps_foreign_headers_where_they_are_wrapped(self):
        self.assert_refused("storage/staging/a.cc", "#include <libpq-fe.h>", "only storage/metadata may include libpq*")
        self.assert_refused("server/app/a.cc", '#include "rocksdb/db.h"', "only storage/staging")
        self.assert_refused("server/gateway/a.cc", '#include "dcmtk/dcmnet/assoc.h"', "only imaging")
        self.assert_refused("server/ingest/a.cc", "#include <grpcpp/grpcpp.h>", "server/rpc")
        self.assert_refused("server/prearchive/a.cc", '#include "narthex/v1/resources.pb.h"', "server/rpc")

    def test_lets_tests_use_data_makers_but_no_more(self):
        self.assert_allowed("imaging/dicom/a_test.cc", '#include "imaging/phantom/phantom.h"')
        self.assert_refused("imaging/dicom/a_test.cc", '#include "storage/staging/staging.h"', "imaging/dicom")

    def test_refuses_paths_relative_to_the_file(self):
        found = problems({"base/a.h": "", "base/b.h": '#include "a.h"\n'})
        self.assertEqual(len(found), 1, found)
        self.assertIn("full path", found[0])

    def test_refuses_folders_that_are_not_listed(self):
        self.assertIn("not listed", problems({"attic/a.cc": ""})[0])

    def test_refuses_cycles_in_the_declaration(self):
        found = problems({}, '[folders]\n"a" = ["b"]\n"b" = ["c"]\n"c" = ["a"]\n')
        self.assertEqual(found, ["tools/check/layers.toml: cycle: a -> b -> c -> a"])


if __name__ == "__main__":
    unittest.main()
