"""plan.py over small locks of real shapes."""

import contextlib
import importlib.util
import io
import json
import os
import pathlib
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
SCRIPTS = pathlib.Path(os.environ["SLIPWAY_KIND_SCRIPTS"])


def load(name):
    specification = importlib.util.spec_from_file_location(f"slipway_{name}", SCRIPTS / f"{name}.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


plan = load("plan")
A, B, C = "a" * 64, "b" * 64, "c" * 64


def package(name, version="1.0", dependencies="", extras="", files=None, more=""):
    files = files if files is not None else {f"{name}-{version}-py3-none-any.whl": A, f"{name}-{version}.tar.gz": B}
    lines = [f'    {{file = "{file}", hash = "sha256:{digest}"}},' for file, digest in files.items()]
    text = f'[[package]]\nname = "{name}"\nversion = "{version}"\noptional = false\npython-versions = ">=3.7"\n{more}\n'
    text += "files = [\n" + "\n".join(lines) + "\n]\n"
    if dependencies:
        text += f"[package.dependencies]\n{dependencies}\n"
    if extras:
        text += f"[package.extras]\n{extras}\n"
    return text


def poetry(dependencies="", groups=""):
    head = '[tool.poetry]\nname = "x"\nversion = "1"\n[tool.poetry.dependencies]\npython = "^3.9"\n'
    return f"{head}{dependencies}\n{groups}\n"


class PlanTest(unittest.TestCase):
    def run_plan(self, pyproject, group="main", **files):
        """Exit status, planned lines, and what was said."""
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            if pyproject is not None:
                (root / "pyproject.toml").write_text(pyproject, encoding="utf-8")
            for name, text in files.items():
                file = {"lock": "poetry.lock", "main": "requirements.lock", "dev": "requirements-dev.lock"}[name]
                (root / file).write_text(text, encoding="utf-8")
            said, output = io.StringIO(), root / "plan.jsonl"
            with contextlib.redirect_stderr(said):
                status = plan.main(["--group", group, "--project", folder, "--output", str(output)])
            lines = [json.loads(line) for line in output.read_text().splitlines()] if output.exists() else []
            return status, lines, said.getvalue()

    def names(self, pyproject, *packages, group="main", version="2.0"):
        lock = "".join(packages) + f'[metadata]\nlock-version = "{version}"\n'
        status, lines, said = self.run_plan(pyproject, group, lock=lock)
        self.assertEqual(status, 0, said)
        return [f"{line['name']}-{line['version']}" for line in lines]

    def fails(self, pyproject, *needles, group="main", **files):
        status, lines, said = self.run_plan(pyproject, group, **files)
        self.assertEqual((status, lines), (1, []))
        for needle in needles:
            self.assertIn(needle, said)

    # -- poetry.lock

    def test_only_what_the_project_reaches(self):
        found = self.names(
            poetry('a = "^1.0"'), package("a", dependencies='b = ">=1"'), package("b"), package("stranger")
        )
        self.assertEqual(found, ["a-1.0", "b-1.0"])

    def test_cycles_end(self):
        found = self.names(
            poetry('a = "*"'), package("a", dependencies='b = "*"'), package("b", dependencies='a = "*"')
        )
        self.assertEqual(found, ["a-1.0", "b-1.0"])

    def test_markers_decide_here(self):
        found = self.names(
            poetry(
                'a = {version = "*", markers = "sys_platform == \'win32\'"}\n'
                'b = {version = "*", python = "<3.0"}\nc = "*"'
            ),
            package("a"),
            package("b"),
            package(
                "c",
                dependencies='d = {version = "*", markers = "platform_system == \\"Windows\\""}\n'
                'e = {version = "*", markers = "python_version >= \\"3.8\\""}',
            ),
            package("d"),
            package("e"),
        )
        self.assertEqual(found, ["c-1.0", "e-1.0"])

    def test_extras_bring_their_optional_dependencies_and_no_others(self):
        with_extras = package(
            "a",
            dependencies='fast = {version = "*", optional = true, markers = "extra == \\"speed\\""}\n'
            'slow = {version = "*", optional = true}\nb = "*"',
            extras='speed = ["fast (>=1)"]\nslow = ["slow"]\nall = ["a[speed,slow]"]',
        )
        rest = [package("b"), package("fast"), package("slow")]
        self.assertEqual(self.names(poetry('a = "*"'), with_extras, *rest), ["a-1.0", "b-1.0"])
        self.assertEqual(
            self.names(poetry('a = {version = "*", extras = ["speed"]}'), with_extras, *rest),
            ["a-1.0", "b-1.0", "fast-1.0"],
        )
        self.assertEqual(
            self.names(poetry('a = {version = "*", extras = ["all"]}'), with_extras, *rest),
            ["a-1.0", "b-1.0", "fast-1.0", "slow-1.0"],
        )

    def test_extras_that_another_package_asks_for(self):
        found = self.names(
            poetry('a = "*"'),
            package("a", dependencies='b = {version = "*", extras = ["x"]}'),
            package("b", dependencies='c = {version = "*", optional = true}', extras='x = ["c"]'),
            package("c"),
        )
        self.assertEqual(found, ["a-1.0", "b-1.0", "c-1.0"])

    def test_dev_is_every_group_that_is_not_optional_less_main(self):
        pyproject = poetry(
            'a = "*"',
            '[tool.poetry.group.dev.dependencies]\nt = "*"\na = "*"\n'
            '[tool.poetry.group.docs]\noptional = true\n[tool.poetry.group.docs.dependencies]\nd = "*"\n'
            '[tool.poetry.dev-dependencies]\nold = "*"',
        )
        packages = [
            package("a"),
            package("t", dependencies='a = "*"\nu = "*"'),
            package("u"),
            package("d"),
            package("old"),
        ]
        self.assertEqual(self.names(pyproject, *packages), ["a-1.0"])
        self.assertEqual(self.names(pyproject, *packages, group="dev"), ["old-1.0", "t-1.0", "u-1.0"])

    def test_dependency_groups_and_project_tables(self):
        pyproject = (
            '[project]\nname = "x"\nrequires-python = ">=3.9"\ndependencies = ["A[x]>=1 ; python_version > \'3\'"]\n'
            '[dependency-groups]\ntest = ["t"]\ndev = [{include-group = "test"}, "u>=1"]\n'
        )
        packages = [
            package("a", extras='x = ["y"]', dependencies='y = {version = "*", optional = true}'),
            package("y"),
            package("t"),
            package("u"),
        ]
        self.assertEqual(self.names(pyproject, *packages, version="2.1"), ["a-1.0", "y-1.0"])
        self.assertEqual(self.names(pyproject, *packages, group="dev", version="2.1"), ["t-1.0", "u-1.0"])

    def test_of_two_locked_versions_the_one_that_fits_the_requirement(self):
        packages = [package("a", "1.5"), package("a", "2.5"), package("b", dependencies='a = "<2"')]
        self.assertEqual(self.names(poetry('b = "*"'), *packages), ["a-1.5", "b-1.0"])
        pinned = [package("a", "1.5", more='markers = "python_version < \\"3\\""'), package("a", "1.4")]
        self.assertEqual(self.names(poetry('a = "*"'), *pinned, version="2.1"), ["a-1.4"])

    def test_constraints_as_poetry_reads_them(self):
        cases = {
            "^1.2.3": (["1.2.3", "1.9"], ["1.2.2", "2.0"]),
            "^0.2.3": (["0.2.9"], ["0.3.0"]),
            "^0.0.3": (["0.0.3"], ["0.0.4"]),
            "^0": (["0.9"], ["1.0"]),
            "^1": (["1.9"], ["2.0"]),
            "~1.2.3": (["1.2.9"], ["1.3"]),
            "~1.2": (["1.2.9"], ["1.3"]),
            "~1": (["1.9"], ["2.0"]),
            "~=1.4.2": (["1.4.9"], ["1.5"]),
            "1.*": (["1.7"], ["2.0"]),
            "1.2.3": (["1.2.3"], ["1.2.4"]),
            ">=1,<2 || >=3": (["1.5", "3.1"], ["2.5"]),
            ">= 1 <2": (["1.5"], ["2.0"]),
            "*": (["9.9"], []),
            ">=1.0,!=1.5": (["1.4"], ["1.5"]),
            "^2.0.0rc1": (["2.0.0rc1", "2.1"], ["3.0"]),
            "==1.0": (["1.0.0"], ["1.0.1"]),
        }
        for constraint, (inside, outside) in cases.items():
            for version in inside + outside:
                with self.subTest(constraint=constraint, version=version):
                    self.assertEqual(plan.allows(constraint, version, "x"), version in inside)

    def test_the_best_wheel_for_this_interpreter_else_the_sdist(self):
        tag = "cp%d%d" % sys.version_info[:2]
        wheels = {
            f"a-1.0-{tag}-{tag}-manylinux_2_17_x86_64.manylinux2014_x86_64.whl": A,
            "a-1.0-py3-none-any.whl": B,
            f"a-1.0-{tag}-{tag}-win_amd64.whl": C,
            f"a-1.0-{tag}-{tag}-macosx_10_9_x86_64.whl": C,
            "a-1.0.tar.gz": C,
        }
        lock = lambda files: package("a", files=files) + '[metadata]\nlock-version = "2.0"\n'
        _, lines, _ = self.run_plan(poetry('a = "*"'), lock=lock(wheels))
        self.assertEqual(lines, [{"name": "a", "version": "1.0", "sha256": A, "path": next(iter(wheels))}])
        _, lines, _ = self.run_plan(poetry('a = "*"'), lock=lock({k: v for k, v in wheels.items() if v == C}))
        self.assertEqual(lines[0]["path"], "a-1.0.tar.gz")
        self.fails(poetry('a = "*"'), "no wheel of `a` 1.0 fits", lock=lock({f"a-1.0-{tag}-{tag}-win_amd64.whl": C}))

    def test_what_no_hash_pins_is_refused_by_name(self):
        end = '[metadata]\nlock-version = "2.0"\n'
        for kind in ("git", "path", "file"):
            self.fails(poetry(f'a = {{{kind} = "x"}}'), "pyproject.toml", "`a`", f"{kind} dependency", lock=end)
        source = '[package.source]\ntype = "git"\nurl = "https://example.com/a"\n'
        self.fails(
            poetry('b = "*"'),
            "poetry.lock",
            "`a`",
            "git source",
            lock=package("b", dependencies='a = "*"') + package("a") + source + end,
        )
        self.fails(poetry('a = "*"'), "`a` 1.0 has no file with a SHA-256", lock=package("a", files={}) + end)
        self.fails(poetry('a = "*"'), "SHA-256", lock=package("a", files={"../a-1.0.tar.gz": A}) + end)

    def test_a_url_of_its_own_is_in_the_plan(self):
        name = "m-1.0-py3-none-any.whl"
        source = f'[package.source]\ntype = "url"\nurl = "https://example.com/{name}"\n'
        lock = package("m", files={name: A}) + source + '[metadata]\nlock-version = "2.1"\n'
        project = poetry(f'm = {{url = "https://example.com/{name}"}}')
        status, lines, said = self.run_plan(project, lock=lock)
        self.assertEqual(
            (status, lines),
            (0, [{"name": "m", "version": "1.0", "path": name, "sha256": A, "url": f"https://example.com/{name}"}]),
            said,
        )
        part = source + 'subdirectory = "x"\n'
        self.fails(project, "`m` comes from a url source", lock=lock.replace(source, part))
        self.fails(project, "`m` comes from a url source", lock=lock.replace("https://", "file:///"))

    def test_a_lock_that_does_not_fit_the_project(self):
        end = '[metadata]\nlock-version = "2.0"\n'
        self.fails(poetry('a = "*"'), "`a`, which the project needs, is not in the lock", "poetry lock", lock=end)
        self.fails(poetry('a = "^2"'), "`a` is locked at 1.0", "`^2`", lock=package("a") + end)
        self.fails(poetry('a = "*"'), "lock-version `3.0`", lock=package("a") + '[metadata]\nlock-version = "3.0"\n')
        self.fails(poetry('a = "*"'), "not valid TOML", lock="[[package")
        self.fails('[project]\nname = "x"\nrequires-python = "<3"\n', "needs Python <3", lock=end)

    def test_a_package_index_of_ones_own_is_no_obstacle(self):
        source = '[package.source]\ntype = "legacy"\nurl = "https://example.com/simple"\nreference = "own"\n'
        self.assertEqual(self.names(poetry('a = "*"'), package("a") + source), ["a-1.0"])

    def test_format_1_keeps_the_files_of_all_packages_in_one_table(self):
        def old(name, version, dependencies=""):
            text = f'[[package]]\nname = "{name}"\nversion = "{version}"\ncategory = "main"\noptional = false\n'
            text += 'python-versions = "*"\n'
            return text + (f"\n[package.dependencies]\n{dependencies}\n" if dependencies else "")

        lock = old("A.b", "1.0", 'c = {version = "<2", markers = "python_version >= \'3\'"}\n')
        lock += old("c", "1.0") + old("c", "2.0rc1") + old("s", "3.1")
        lock += '[metadata]\nlock-version = "1.1"\n[metadata.files]\n'
        lock += f'a-b = [{{file = "A.b-1.0-py2.py3-none-any.whl", hash = "sha256:{A}"}}]\n'
        lock += f'c = [{{file = "c-1.0.tar.gz", hash = "sha256:{B}"}}, {{file = "c-2.0rc1.tar.gz", hash = "sha256:{A}"}},'
        lock += f'     {{file = "c-1.0-py3-none-any.whl", hash = "sha256:{C}"}}]\n'
        lock += f's = [{{file = "s-3.1.tar.gz", hash = "sha256:{B}"}}]\n'
        status, lines, said = self.run_plan(poetry('a_b = "*"\ns = "^3.0"'), lock=lock)
        self.assertEqual(status, 0, said)
        self.assertEqual(
            [(line["path"], line["sha256"]) for line in lines],
            [("A.b-1.0-py2.py3-none-any.whl", A), ("c-1.0-py3-none-any.whl", C), ("s-3.1.tar.gz", B)],
        )
        status, lines, said = self.run_plan(poetry('c = {version = ">1", allow-prereleases = true}'), lock=lock)
        self.assertEqual([line["path"] for line in lines], ["c-2.0rc1.tar.gz"], said)

    def test_all_is_main_and_dev(self):
        pyproject = poetry('a = "*"', '[tool.poetry.group.dev.dependencies]\nt = "*"')
        packages = [package("a"), package("t", dependencies='a = "*"'), package("stranger")]
        self.assertEqual(self.names(pyproject, *packages, group="all"), ["a-1.0", "t-1.0"])
        lock = lambda **pins: "".join(f"{n}=={v} --hash=sha256:{A}\n" for n, v in pins.items())
        _, lines, _ = self.run_plan(self.PLAIN, "all", main=lock(a="1", b="1"), dev=lock(a="1", c="3"))
        self.assertEqual([line["path"] for line in lines], ["a-1/", "b-1/", "c-3/"])
        _, lines, _ = self.run_plan(None, "all", main=lock(a="1"))
        self.assertEqual([line["path"] for line in lines], ["a-1/"])
        self.fails(self.PLAIN, "`a` is pinned to another version", group="all", main=lock(a="1"), dev=lock(a="2"))
        self.fails(None, "pyproject.toml: no such file", main=lock(a="1"))
        self.fails(None, "pyproject.toml: no such file", group="all", lock=package("a"))

    def test_several_constraints_of_one_dependency(self):
        packages = [package("a", "1.5", more='markers = "python_version < \\"3.0\\""'), package("a", "2.5")]
        several = 'a = [{version = "^1", python = "<3.0"}, {version = "^2", python = ">=3.0"}]'
        self.assertEqual(self.names(poetry(several), *packages), ["a-2.5"])
        needs = package(
            "b",
            dependencies='a = [\n  {version = ">=1,<2", markers = "python_version < \\"3.0\\""},\n'
            '  {version = ">=2", markers = "python_version >= \\"3.0\\""},\n]',
        )
        self.assertEqual(self.names(poetry('b = "*"'), *packages, needs), ["a-2.5", "b-1.0"])

    def test_what_is_not_wanted_here_may_come_from_anywhere(self):
        found = self.names(
            poetry(
                'a = "*"\nb = {path = "../b", optional = true}\n'
                "c = {git = \"https://example.com/c\", markers = \"sys_platform == 'win32'\"}"
            ),
            package("a"),
        )
        self.assertEqual(found, ["a-1.0"])

    # -- Hash locks

    PLAIN = '[project]\nname = "x"\ndependencies = ["a"]\n'

    def test_a_hash_lock_gives_alternatives(self):
        text = f"# comment\nA_b==1.0 \\\n    --hash=sha256:{B} \\\n    --hash=sha256:{A}\n    # via x\n"
        text += (
            f"win==2 ; sys_platform == 'win32' --hash=sha256:{A}\nc[x]==3 ; python_version > '3' --hash=sha256:{C}\n"
        )
        status, lines, _ = self.run_plan(self.PLAIN, main=text)
        self.assertEqual(status, 0)
        self.assertEqual(
            lines,
            [
                {"name": "a-b", "version": "1.0", "path": "a-b-1.0/", "sha256": [A, B]},
                {"name": "c", "version": "3", "path": "c-3/", "sha256": [C]},
            ],
        )

    def test_dev_leaves_out_what_main_has_at_the_same_version(self):
        lock = lambda **pins: "".join(f"{n}=={v} --hash=sha256:{A}\n" for n, v in pins.items())
        _, lines, _ = self.run_plan(self.PLAIN, "dev", main=lock(a="1", b="1"), dev=lock(a="1", b="2", c="3"))
        self.assertEqual([line["path"] for line in lines], ["b-2/", "c-3/"])

    def test_hash_locks_that_do_not_pin_are_refused(self):
        for text, needle in [
            ("a==1.0\n", "`a` has no `--hash=sha256:"),
            (f"a>=1 --hash=sha256:{A}\n", "not pinned to one version"),
            (f"a==1.* --hash=sha256:{A}\n", "not pinned to one version"),
            ("a==1 --hash=md5:00\n", "has no `--hash=sha256:"),
            (f"a @ https://example.com/a.whl --hash=sha256:{A}\n", "url dependency"),
            ("-e .\n", "`-e` is not supported"),
            ("--index-url https://example.com\n", "`--index-url` is not supported"),
            ("?\n", "cannot read `?`"),
            (f"a==1 --hash=sha256:{A}\na==2 --hash=sha256:{A}\n", "pinned twice"),
        ]:
            with self.subTest(text=text):
                self.fails(self.PLAIN, "requirements.lock", needle, main=text)

    def test_no_dependencies_need_no_lock(self):
        self.assertEqual(self.run_plan('[project]\nname = "x"\n')[:2], (0, []))
        self.fails(self.PLAIN, "neither poetry.lock nor requirements.lock")

    def test_the_plan_does_not_depend_on_the_order_of_the_lock(self):
        packages = [package(name) for name in "abcdef"]
        pyproject = poetry("\n".join(f'{name} = "*"' for name in "fedcba"))
        self.assertEqual(self.names(pyproject, *packages), self.names(pyproject, *reversed(packages)))


if __name__ == "__main__":
    unittest.main()
