"""Install fetched wheels and sdists into a folder, offline, bit for bit the same each time.

Usage: site.py WHEELS [--layout prefix|flat] [--final /usr/local] [--output site] [--jobs 2]

prefix: the tree of an installation prefix (lib/python3.11/dist-packages, bin), to be laid over FINAL.
flat:   all modules at the top, to be put on PYTHONPATH as FINAL.

Wheels are unpacked first, then sdists are built with what was unpacked and what the image brings (setuptools, wheel,
poetry-core, hatchling) as build back-ends: a back-end that the image lacks can simply be locked. Nothing is resolved
and nothing is fetched: the plan is complete. Byte code is compiled without times and with the paths of FINAL.
"""

import argparse
import contextlib
import os
import re
import shutil
import site
import subprocess
import sys
import tarfile
import tempfile
import zipfile

from installer import install
from installer.destinations import SchemeDictionaryDestination
from installer.sources import WheelFile

# Old pyproject.toml files name Poetry's back-end as it was before poetry-core was split from it.
POETRY_SHIM = "from poetry.core.masonry.api import *\n"


class SiteError(Exception):
    """Something that cannot be installed; the text is for the user."""


def archives(folder):
    """Wheels and sdists below the folder, sorted by file name."""
    found = []
    for where, folders, names in os.walk(folder, followlinks=True):
        folders.sort()
        found += [os.path.join(where, name) for name in names]
    found.sort(key=lambda path: (os.path.basename(path), path))
    wheels = [path for path in found if path.endswith(".whl")]
    return wheels, [path for path in found if not path.endswith(".whl")]


def library(final):
    """The folder below `final` from which this interpreter imports packages, relative to it."""
    for path in site.getsitepackages():
        if path.startswith(final.rstrip("/") + "/"):
            return os.path.relpath(path, final)
    raise SiteError(f"{sys.executable} imports nothing below {final}; it looks at {', '.join(site.getsitepackages())}")


def scheme(layout, output, final):

    def at(*parts):
        return os.path.join(output, *parts)

    if layout == "flat":
        return {"purelib": output, "platlib": output, "headers": at("include"), "scripts": at("bin"), "data": output}
    packages = at(library(final))
    return {"purelib": packages, "platlib": packages, "headers": at("include"), "scripts": at("bin"), "data": output}


class Destination(SchemeDictionaryDestination):
    """Replaces a file that an earlier wheel brought: wheels in the wild do collide, and pip lets the later one win.

    The order is that of the file names, so the result is the same each time.
    """

    def write_to_fs(self, scheme, path, stream, is_executable):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(self.scheme_dict[scheme], path))
        return super().write_to_fs(scheme, path, stream, is_executable)


def install_wheel(path, places, final_executable):
    destination = Destination(
        places, interpreter=final_executable, script_kind="posix", bytecode_optimization_levels=()
    )
    try:
        with WheelFile.open(path) as source:
            install(source, destination, additional_metadata={"INSTALLER": b"slipway\n"})
    except Exception as error:  # a damaged wheel fails in many ways, all of which mean the same to the user
        raise SiteError(f"cannot install {os.path.basename(path)}: {error!r}") from error


def uses_old_poetry(sdist):
    """Whether pyproject.toml of an sdist names `poetry.masonry.api`."""
    try:
        if sdist.endswith(".zip"):
            with zipfile.ZipFile(sdist) as archive:
                names = [n for n in archive.namelist() if re.fullmatch(r"[^/]+/pyproject\.toml", n)]
                text = archive.read(names[0]) if names else b""
        else:
            with tarfile.open(sdist) as archive:
                members = [m for m in archive if re.fullmatch(r"[^/]+/pyproject\.toml", m.name) and m.isfile()]
                text = archive.extractfile(members[0]).read() if members else b""
    except (OSError, tarfile.TarError, zipfile.BadZipFile) as error:
        raise SiteError(f"cannot read {os.path.basename(sdist)}: {error}") from error
    return b"poetry.masonry.api" in text


def build_wheel(sdist, packages, scratch):
    """The wheel that an sdist gives, built by its own back-end without network."""
    out = tempfile.mkdtemp(dir=scratch)
    path = [packages]
    if uses_old_poetry(sdist):
        shim = tempfile.mkdtemp(dir=scratch)
        os.makedirs(os.path.join(shim, "poetry/masonry"))
        with open(os.path.join(shim, "poetry/masonry/api.py"), "w", encoding="utf-8") as file:
            file.write(POETRY_SHIM)
        path.append(shim)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PIP_")}
    environment.update(PYTHONPATH=os.pathsep.join(path), PYTHONHASHSEED="0", PYTHONDONTWRITEBYTECODE="1")
    environment.setdefault("SOURCE_DATE_EPOCH", "315532800")
    command = [sys.executable, "-m", "pip", "--isolated", "--disable-pip-version-check", "--no-cache-dir", "wheel"]
    command += [
        "--quiet",
        "--no-deps",
        "--no-index",
        "--no-build-isolation",
        "--wheel-dir",
        out,
        os.path.abspath(sdist),
    ]
    # The folder of `-m` is searched for modules, so it must not be the sources'.
    result = subprocess.run(
        command,
        cwd=scratch,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=1800,
        check=False,
    )
    names = os.listdir(out)
    if result.returncode != 0 or len(names) != 1:
        sys.stderr.buffer.write(result.stdout)
        raise SiteError(
            f"cannot build {os.path.basename(sdist)}: pip exited {result.returncode};"
            " where a build back-end is missing, lock it as a dependency, or lock a release that has a wheel"
        )
    return os.path.join(out, names[0])


def compile_all(folder, final, jobs):
    """Compiles in processes of their own: a multiprocessing pool needs /dev/shm, which not every sandbox has."""
    files = []
    for where, folders, names in os.walk(folder):
        folders.sort()
        files += [os.path.join(where, name) for name in sorted(names) if name.endswith(".py")]
    command = [sys.executable, "-m", "compileall", "-qq", "-f", "--invalidation-mode", "unchecked-hash"]
    command += ["-s", folder, "-p", final, "-i", "-"]
    workers = []
    for start in range(min(jobs, len(files))):
        slice_file = tempfile.TemporaryFile()
        slice_file.write("".join(f"{path}\n" for path in files[start::jobs]).encode())
        slice_file.seek(0)
        workers.append((subprocess.Popen(command, stdin=slice_file, cwd="/"), slice_file))
    for worker, slice_file in workers:
        # A package may hold files for other Pythons (templates, say), which are left as sources: so 1 is no failure.
        if worker.wait() not in (0, 1):
            raise SiteError(f"compileall ended with {worker.returncode}")
        slice_file.close()


def build(options):
    output = os.path.abspath(options.output)
    places = scheme(options.layout, output, options.final)
    packages = places["purelib"]
    os.makedirs(packages, exist_ok=True)
    wheels, sdists = archives(options.wheels)
    scratch = tempfile.mkdtemp()
    try:
        for wheel in wheels:
            install_wheel(wheel, places, sys.executable)
        # Each is built with the wheels alone, and all are installed at the end, so that their order cannot matter.
        for built in sorted((build_wheel(s, packages, scratch) for s in sdists), key=os.path.basename):
            install_wheel(built, places, sys.executable)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    final = os.path.normpath(os.path.join(options.final, os.path.relpath(packages, output)))
    compile_all(packages, final, options.jobs)


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("wheels")
    parser.add_argument("--layout", choices=["prefix", "flat"], default="prefix")
    parser.add_argument("--final", default="/usr/local")
    parser.add_argument("--output", default="site")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args(arguments)
    try:
        build(options)
    except SiteError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
