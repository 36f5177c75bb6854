"""floors - what tools/floors.py must find, on small houses built for the purpose.

SPDX-License-Identifier: Apache-2.0
"""
import pathlib
import subprocess
import sys
import tempfile
import unittest

TOOL = pathlib.Path(__file__).resolve().parents[2] / "tools" / "floors.py"


def inspect(files):
    """Builds a tree from {path: [included names]} and returns (exit code, what was said)."""
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        for name, includes in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(f'#include "{other}"\n' for other in includes))
        done = subprocess.run([sys.executable, str(TOOL), str(root)], capture_output=True,
                              text=True, timeout=30, check=False)
        return done.returncode, done.stdout


class Floors(unittest.TestCase):
    def test_includes_downward_and_of_ones_own_folder_are_fine(self):
        code, said = inspect({"base/a.h": [], "http/b.h": ["base/a.h"], "http/c.c": ["http/b.h"],
                              "main.c": ["http/b.h", "version.h"]})
        self.assertEqual((code, "no rings" in said), (0, True), said)

    def test_an_include_upward_is_named_with_its_line(self):
        code, said = inspect({"http/b.h": [], "base/a.h": [], "base/a.c": ["base/a.h", "http/b.h"]})
        self.assertEqual(code, 1)
        self.assertIn('base/a.c:2: includes "http/b.h"', said)

    def test_neighbours_on_one_floor_do_not_know_each_other(self):
        code, said = inspect({"io/a.h": ["observe/b.h"], "observe/b.h": []})
        self.assertEqual(code, 1)
        self.assertIn("neighbours on floor 2", said)

    def test_a_ring_is_told_from_where_it_is_entered(self):
        code, said = inspect({"base/a.h": ["base/b.h"], "base/b.c": ["base/c.h"], "base/b.h": [],
                              "base/c.h": ["base/a.h"]})
        self.assertEqual(code, 1)
        self.assertIn("ring: base/a -> base/b -> base/c -> base/a", said)

    def test_the_parts_of_a_split_module_are_one_module(self):
        code, said = inspect({"base/a.h": [], "base/a_part.h": ["base/a.h"], "base/a.c": ["base/a_part.h"],
                              "base/a_part.c": ["base/a_part.h"]})
        self.assertEqual(code, 0, said)

    def test_a_longer_name_without_the_shorter_is_a_module_of_its_own(self):
        code, said = inspect({"base/a_b.h": ["base/a_c.h"], "base/a_c.h": ["base/a_b.h"]})
        self.assertEqual(code, 1)
        self.assertIn("ring: base/a_b -> base/a_c -> base/a_b", said)

    def test_a_public_header_must_be_there(self):
        code, said = inspect({"base/a.h": ["penstock/nothing.h"]})
        self.assertEqual(code, 1)
        self.assertIn("penstock/ has no floor", said)

    def test_a_folder_without_a_floor_is_wrong(self):
        code, said = inspect({"attic/a.h": []})
        self.assertEqual(code, 1)
        self.assertIn("attic has no floor", said)

    def test_an_include_that_is_not_from_the_root_is_wrong(self):
        code, said = inspect({"base/a.h": [], "base/b.c": ["a.h"]})
        self.assertEqual(code, 1)
        self.assertIn('"base/a.h"', said)

    def test_an_include_of_nothing_is_wrong(self):
        code, said = inspect({"base/b.c": ["base/gone.h"]})
        self.assertEqual(code, 1)
        self.assertIn("no such file", said)


if __name__ == "__main__":
    unittest.main()
