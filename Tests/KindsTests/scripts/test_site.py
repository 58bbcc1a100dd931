"""site.py over small wheels and sdists made here."""

import hashlib
import io
import pathlib
import subprocess
import sys
import tarfile
import tempfile
import unittest
import zipfile

from test_plan import SCRIPTS


def wheel(folder, name, files, entry_points=""):
    """A wheel whose files are name -> text."""
    info = f"{name}-1.0.dist-info"
    files = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    if entry_points:
        files[f"{info}/entry_points.txt"] = entry_points
    record = "".join(f"{path},,\n" for path in files) + f"{info}/RECORD,,\n"
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as archive:
        for path, text in {**files, f"{info}/RECORD": record}.items():
            archive.writestr(path, text)


def sdist(folder, name, files):
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(folder / f"{name}-1.0.tar.gz", "w:gz") as archive:
        for path, text in {"PKG-INFO": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", **files}.items():
            entry = tarfile.TarInfo(f"{name}-1.0/{path}")
            entry.size = len(text.encode())
            archive.addfile(entry, io.BytesIO(text.encode()))


def tree(root):
    """Every path below with its mode and the digest of its bytes."""
    return {
        str(path.relative_to(root)): (
            path.is_dir(),
            path.stat().st_mode & 0o111,
            path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest(),
        )
        for path in sorted(root.rglob("*"))
    }


class SiteTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name)
        self.wheels = self.root / "wheels"
        self.wheels.mkdir()

    def site(self, *arguments, output="site", jobs="2"):
        out = self.root / output
        out.parent.mkdir(parents=True, exist_ok=True)
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(self.root), "SOURCE_DATE_EPOCH": "315532800"}
        result = subprocess.run(
            [
                sys.executable,
                str(SCRIPTS / "site.py"),
                str(self.wheels),
                "--output",
                str(out),
                "--jobs",
                jobs,
                *arguments,
            ],
            env=environment,
            cwd=self.root,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        return result.returncode, out, result.stderr

    def fill(self):
        wheel(
            self.wheels / "a-1.0",
            "a",
            {"a/__init__.py": "def main(): print('hello', __file__)\n", "a/old.py": "print 1\n"},
            "[console_scripts]\nhello = a:main\n",
        )
        sdist(
            self.wheels,
            "b",
            {
                "setup.py": "import a\nfrom setuptools import setup\n"
                "setup(name='b', version='1.0', py_modules=['b'])\n",
                "b.py": "B = 1\n",
            },
        )
        sdist(
            self.wheels,
            "c",
            {
                "pyproject.toml": "[build-system]\nrequires=['poetry>=1']\nbuild-backend='poetry.masonry.api'\n"
                "[tool.poetry]\nname='c'\nversion='1.0'\ndescription=''\nauthors=[]\n",
                "c.py": "C = 1\n",
            },
        )

    def test_two_folders_give_the_same_tree(self):
        self.fill()
        for layout in ("prefix", "flat"):
            first = self.site("--layout", layout, output=f"one/{layout}")
            second = self.site("--layout", layout, output=f"another/much/deeper/{layout}", jobs="1")
            self.assertEqual((first[0], second[0]), (0, 0), first[2] + second[2])
            self.assertEqual(tree(first[1]), tree(second[1]))
            self.assertTrue(any(name.endswith(".pyc") for name in tree(first[1])))
            for path in first[1].rglob("*"):
                if path.is_file():
                    self.assertNotIn(str(self.root).encode(), path.read_bytes(), f"{path} tells where it was built")

    def test_a_flat_site_is_imported_by_path_and_its_byte_code_used(self):
        self.fill()
        status, out, said = self.site("--layout", "flat", "--final", "/opt/dev")
        self.assertEqual(status, 0, said)
        code = "import a, b, c; print(a.__cached__, b.B + c.C)"
        result = subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONPATH": str(out)}, cwd="/", capture_output=True, text=True
        )
        cached, total = result.stdout.split()
        code = pathlib.Path(cached).read_bytes()
        self.assertEqual(total, "2")
        # Bit 0: by hash; bit 1 clear: never checked against the source (PEP 552).
        self.assertEqual(code[4:8], b"\x01\0\0\0")
        self.assertIn(b"/opt/dev/a/__init__.py", code)

    def test_a_prefix_has_the_folder_of_this_interpreter_and_scripts(self):
        self.fill()
        status, out, said = self.site()
        self.assertEqual(status, 0, said)
        version = "python%d.%d" % sys.version_info[:2]
        self.assertTrue(any((out / "lib" / version).glob("*-packages/a/__init__.py")))
        script = out / "bin/hello"
        self.assertEqual(script.read_text().splitlines()[0], f"#!{sys.executable}")
        self.assertEqual(script.stat().st_mode & 0o111, 0o111)

    def test_of_colliding_files_the_later_name_wins(self):
        wheel(self.wheels, "a", {"tests/__init__.py": "FROM = 'a'\n"})
        wheel(self.wheels, "b", {"tests/__init__.py": "FROM = 'b'\n"})
        _, out, _ = self.site("--layout", "flat")
        self.assertEqual((out / "tests/__init__.py").read_text(), "FROM = 'b'\n")

    def test_no_wheels_give_an_empty_site(self):
        status, out, _ = self.site()
        self.assertEqual((status, [p for p in out.rglob("*") if p.is_file()]), (0, []))

    def test_what_cannot_be_installed_is_named(self):
        (self.wheels / "bad-1.0-py3-none-any.whl").write_bytes(b"no zip")
        status, _, said = self.site()
        self.assertEqual(status, 1)
        self.assertIn("cannot install bad-1.0-py3-none-any.whl", said)

    def test_a_missing_back_end_is_named_with_what_to_do(self):
        sdist(
            self.wheels, "d", {"pyproject.toml": "[build-system]\nrequires=['none']\nbuild-backend='no_such_backend'\n"}
        )
        status, _, said = self.site()
        self.assertEqual(status, 1)
        self.assertIn("cannot build d-1.0.tar.gz", said)
        self.assertIn("no_such_backend", said)
        self.assertIn("lock it as a dependency", said)


if __name__ == "__main__":
    unittest.main()
