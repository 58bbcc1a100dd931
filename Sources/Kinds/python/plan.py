"""Turn a project's lock into a plan: the exact files that its dependencies need, one JSON object a line.

Usage: plan.py --group main|dev|all [--project DIR] [--output plan.jsonl]

Reads pyproject.toml and, in this order of preference, poetry.lock (format 1.x or 2.x) or a hash lock as written by
`uv pip compile --generate-hashes` or `pip-compile --generate-hashes`: requirements.lock for the group main,
requirements-dev.lock for dev. It runs inside the image that the packages are for, so the markers and wheel tags of
this very interpreter decide. It uses no network and runs no package's code.

A line is {"name", "version", "path", "sha256"}. `path` is relative to the output folder of the fetch. Where a lock
lists the hashes of a release without the names of its files, `sha256` is the list of those hashes and `path` ends in
`/`: that folder must then hold one file, of any name, with one of them. A package that the lock takes from a URL of its
own has "url" too, and is asked for there.

The plan of dev leaves out what main has already, since both are seen by the tests. The plan of all has both.
"""

import argparse
import json
import os
import re
import sys

try:
    import tomllib
except ImportError:  # Python 3.10
    import tomli as tomllib

from packaging.markers import InvalidMarker, Marker
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.tags import sys_tags
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

SHA256 = re.compile(r"^[0-9a-f]{64}$")
SDIST_SUFFIXES = (".tar.gz", ".zip", ".tar.bz2", ".tar.xz", ".tgz")


class PlanError(Exception):
    """A lock or project that cannot be planned; the text is for the user."""


# -- Versions as Poetry writes them ------------------------------------------------------------------------------------


def upper_bound(version, kind):
    """The first version that `^version` or `~version` excludes, by Poetry's rules."""
    release = list(Version(version).release)
    given = len(version.split("+")[0].split("."))
    if kind == "~":
        keep = min(given, 2)
        release = release[:keep]
    else:
        first = next((i for i, part in enumerate(release) if part != 0), len(release) - 1)
        release = release[: first + 1]
    release[-1] += 1
    return ".".join(str(part) for part in release)


def specifier_sets(constraint):
    """Poetry's constraint as a list of alternatives, each a SpecifierSet."""
    alternatives = []
    for alternative in re.split(r"\s*\|\|?\s*", constraint.strip()):
        clauses = []
        # A space is a comma too, except after an operator: ">= 1.2 <2".
        for clause in re.split(r"\s*,\s*|(?<=[\w*.])\s+(?=[<>=!~^])", alternative.strip()):
            clause = re.sub(r"\s+", "", clause)
            if clause in ("", "*"):
                continue
            match = re.match(r"^(\^|~=|~|===|==|!=|<=|>=|<|>|=)?v?(.+)$", clause)
            operator, version = match.group(1) or "==", match.group(2)
            if operator in ("^", "~"):
                clauses += [f">={version}", f"<{upper_bound(version, operator)}"]
            elif operator in ("<=", ">=", "<", ">"):
                clauses.append(operator + version.replace(".*", ""))
            else:
                clauses.append(("==" if operator == "=" else operator) + version)
        alternatives.append(SpecifierSet(",".join(clauses)))
    return alternatives


def allows(constraint, version, where):
    try:
        return any(s.contains(version, prereleases=True) for s in specifier_sets(constraint))
    except (InvalidSpecifier, InvalidVersion, ValueError) as error:
        raise PlanError(f"{where}: cannot read the version constraint `{constraint}`: {error}") from error


def python_version():
    return "%d.%d.%d" % sys.version_info[:3]


def holds(marker, extras, where):
    """Whether a marker is true here, under any of the extras."""
    if not marker:
        return True
    try:
        parsed = Marker(marker)
    except InvalidMarker as error:
        raise PlanError(f"{where}: cannot read the marker `{marker}`: {error}") from error
    return any(parsed.evaluate({"extra": extra}) for extra in (extras or [""]))


# -- Files -------------------------------------------------------------------------------------------------------------


def tag_ranks():
    return {tag: rank for rank, tag in enumerate(sys_tags())}


def best_file(names, ranks):
    """The name of the best compatible wheel, else of an sdist, else None; build number, then name break ties."""
    wheels, sdists = [], []
    for name in sorted(names):
        if name.endswith(".whl"):
            try:
                _, _, build, tags = parse_wheel_filename(name)
            except (InvalidWheelFilename, InvalidVersion):
                continue
            rank = min((ranks[tag] for tag in tags if tag in ranks), default=None)
            if rank is not None:
                wheels.append((rank, -build[0] if build else 0, name))
        elif name.endswith(SDIST_SUFFIXES):
            sdists.append((next(i for i, s in enumerate(SDIST_SUFFIXES) if name.endswith(s)), name))
    if wheels:
        return min(wheels)[2]
    return min(sdists)[1] if sdists else None


# -- poetry.lock -------------------------------------------------------------------------------------------------------


class PoetryLock:
    def __init__(self, path, document):
        self.path = path
        metadata = document.get("metadata", {})
        version = str(metadata.get("lock-version", ""))
        if not version.startswith(("1.", "2.")):
            raise PlanError(
                f"{path}: lock-version `{version}` is not supported; write it again with Poetry 1.1 or later"
            )
        # Format 1 has the files of all packages in one table, of all locked versions of a name together.
        self.files = {}
        for name, files in (metadata.get("files") or {}).items():
            self.files.setdefault(canonicalize_name(name), []).extend(files)
        self.by_name = {}
        for package in document.get("package", []):
            if not isinstance(package.get("name"), str) or not isinstance(package.get("version"), str):
                raise PlanError(f"{path}: a package without a name and a version")
            self.by_name.setdefault(canonicalize_name(package["name"]), []).append(package)

    def choose(self, name, constraint, requester):
        """The one locked package that answers a requirement here."""
        candidates = self.by_name.get(name)
        if not candidates:
            raise PlanError(f"{self.path}: `{name}`, which {requester} needs, is not in the lock; run `poetry lock`")
        fitting = [p for p in candidates if allows(constraint, p["version"], f"{self.path}: `{name}`")]
        # Poetry 2 writes markers on packages as well; one name may then stand twice, for disjoint environments.
        for test in (self.runs_here, self.marked_here):
            if len(fitting) > 1:
                fitting = [p for p in fitting if test(p)] or fitting
        if not fitting:
            versions = ", ".join(sorted(p["version"] for p in candidates))
            raise PlanError(f"{self.path}: `{name}` is locked at {versions}, but {requester} needs `{constraint}`")
        package = max(fitting, key=lambda p: Version(p["version"]))
        if not self.runs_here(package):
            raise PlanError(
                f"{self.path}: `{name}` {package['version']} needs Python {package.get('python-versions')},"
                f" and this image has {python_version()}"
            )
        return package

    def runs_here(self, package):
        return allows(package.get("python-versions", "*"), python_version(), f"{self.path}: `{package['name']}`")

    def marked_here(self, package):
        markers = package.get("markers")
        if isinstance(markers, dict):
            return any(holds(m, [], self.path) for m in markers.values())
        return holds(markers, [], self.path)

    def dependencies(self, package, extras):
        """(name, constraint, extras) of what a package needs, with its extras."""
        wanted, own_extras = set(), {}
        for extra, requirements in (package.get("extras") or {}).items():
            own_extras[canonicalize_name(extra)] = [r.split(";")[0].strip() for r in requirements]
        pending = [canonicalize_name(e) for e in extras]
        active = set()
        while pending:
            extra = pending.pop()
            if extra in active:
                continue
            active.add(extra)
            for text in own_extras.get(extra, []):
                # "name (>=1)", "name[x]>=1": only the name and its extras count, the constraint stands below.
                match = re.match(r"^([A-Za-z0-9._-]+)(?:\[([^\]]*)\])?", text)
                if not match:
                    continue
                name = canonicalize_name(match.group(1))
                if name == canonicalize_name(package["name"]):
                    pending += [canonicalize_name(e) for e in (match.group(2) or "").split(",") if e.strip()]
                wanted.add(name)
        where = f"{self.path}: `{package['name']}`"
        for raw, value in sorted((package.get("dependencies") or {}).items()):
            name = canonicalize_name(raw)
            for item in value if isinstance(value, list) else [value]:
                item = {"version": item} if isinstance(item, str) else item
                if item.get("optional") and name not in wanted:
                    continue
                if not holds(item.get("markers"), sorted(active | {""}), where):
                    continue
                yield name, str(item.get("version", "*")), tuple(sorted(item.get("extras", [])))

    def closure(self, roots):
        """Every package that the roots reach; cycles are normal in Python."""
        found, pending, seen = {}, list(roots), set()
        while pending:
            name, constraint, extras, requester = pending.pop()
            package = self.choose(name, constraint, requester)
            key = (name, package["version"])
            state = (key, extras)
            if state in seen:
                continue
            seen.add(state)
            found[key] = package
            for dependency, needed, its_extras in self.dependencies(package, extras):
                pending.append((dependency, needed, its_extras, f"`{name}`"))
        return found

    def line(self, package, ranks):
        name, version = canonicalize_name(package["name"]), package["version"]
        origin = package.get("source") or {}
        source, url = origin.get("type", "legacy"), str(origin.get("url", "")).partition("#")[0]
        # The lock has the hash of what a URL gave; of a part of an archive it would say nothing.
        is_file = source == "url" and url.startswith(("https://", "http://")) and not origin.get("subdirectory")
        if source != "legacy" and not is_file:
            raise PlanError(
                f"{self.path}: `{name}` comes from a {source} source, which has no file with a hash;"
                " depend on a released version, or add its files as a layer in targets.yaml"
            )
        files = {}
        for entry in package.get("files") or self.files_of(name, version):
            kind, _, value = str(entry.get("hash", "")).partition(":")
            if kind == "sha256" and SHA256.match(value) and "/" not in entry.get("file", "/"):
                files[entry["file"]] = value
        if not files:
            raise PlanError(f"{self.path}: `{name}` {version} has no file with a SHA-256 hash")
        best = best_file(files, ranks)
        if best is None:
            raise PlanError(f"{self.path}: no wheel of `{name}` {version} fits this interpreter, and it has no sdist")
        line = {"name": name, "version": version, "path": best, "sha256": files[best]}
        return {**line, "url": url} if is_file else line

    def files_of(self, name, version):
        """What a lock of format 1 says of one version; its lists do not tell which version a file belongs to."""
        known = self.files.get(name, [])
        if len(self.by_name.get(name, [])) < 2:
            return known
        return [entry for entry in known if version_of(str(entry.get("file", ""))) == Version(version)]


def version_of(filename):
    """The version in the name of a wheel or an sdist, or None."""
    try:
        if filename.endswith(".whl"):
            return parse_wheel_filename(filename)[1]
        for suffix in SDIST_SUFFIXES:
            if filename.endswith(suffix):
                return Version(filename[: -len(suffix)].rpartition("-")[2])
    except (InvalidWheelFilename, InvalidVersion):
        pass
    return None


def poetry_roots(project, group):
    """The requirements of a group: (name, constraint, extras, requester) each."""
    roots = []

    def add(name, value, requester):
        for item in value if isinstance(value, list) else [value]:
            item = {"version": item} if isinstance(item, str) else item
            if not isinstance(item, dict):
                raise PlanError(f"pyproject.toml: cannot read the dependency `{name}` of {requester}")
            if item.get("optional"):
                continue
            if "python" in item and not allows(str(item["python"]), python_version(), f"pyproject.toml: `{name}`"):
                continue
            if not holds(item.get("markers"), [], f"pyproject.toml: `{name}`"):
                continue
            for kind in ("git", "path", "file"):
                if kind in item:
                    raise PlanError(
                        f"pyproject.toml: `{name}` is a {kind} dependency, which no hash pins;"
                        " depend on a released version, or add its files as a layer in targets.yaml"
                    )
            roots.append(
                (
                    canonicalize_name(name),
                    str(item.get("version", "*")),
                    tuple(sorted(item.get("extras", []))),
                    requester,
                )
            )

    def add_requirement(text, requester):
        try:
            requirement = Requirement(text)
        except InvalidRequirement as error:
            raise PlanError(f"pyproject.toml: cannot read `{text}` of {requester}: {error}") from error
        if requirement.url:
            raise PlanError(f"pyproject.toml: `{requirement.name}` is a url dependency, which no hash pins")
        if holds(str(requirement.marker) if requirement.marker else None, [], "pyproject.toml"):
            specifier = str(requirement.specifier) or "*"
            roots.append((canonicalize_name(requirement.name), specifier, tuple(sorted(requirement.extras)), requester))

    poetry = project.get("tool", {}).get("poetry", {})
    if group == "main":
        declared = project.get("project", {}).get("dependencies", [])
        for text in declared:
            add_requirement(text, "the project")
        # With [project] dependencies, tool.poetry.dependencies only says more about them (a source, say).
        if not declared:
            for name, value in sorted(poetry.get("dependencies", {}).items()):
                if canonicalize_name(name) != "python":
                    add(name, value, "the project")
        return roots
    for name, value in sorted(poetry.get("dev-dependencies", {}).items()):
        add(name, value, "the group `dev`")
    for title, table in sorted(poetry.get("group", {}).items()):
        if not table.get("optional"):
            for name, value in sorted(table.get("dependencies", {}).items()):
                add(name, value, f"the group `{title}`")
    groups = project.get("dependency-groups", {})

    def walk(title, path):
        if title in path:
            raise PlanError(f"pyproject.toml: dependency groups include each other: {' -> '.join(path + [title])}")
        for item in groups.get(title, []):
            if isinstance(item, dict):
                walk(str(item.get("include-group")), path + [title])
            else:
                add_requirement(item, f"the group `{title}`")

    for title in sorted(groups):
        walk(title, [])
    return roots


# -- Hash locks --------------------------------------------------------------------------------------------------------


def hash_lock(path):
    """The lines of a hash lock that hold here, keyed by name."""
    with open(path, encoding="utf-8") as file:
        text = file.read()
    lines, found = text.replace("\\\r\n", " ").replace("\\\n", " ").splitlines(), {}
    for line in lines:
        line = re.sub(r"(^|\s)#.*$", "", line).strip()
        if not line:
            continue
        if line.startswith("-"):
            option = line.split()[0].split("=")[0]
            raise PlanError(
                f"{path}: the option `{option}` is not supported; indexes come from pip's own configuration"
            )
        text, *rest = re.split(r"\s+--hash[=\s]", line)
        try:
            requirement = Requirement(text.strip())
        except InvalidRequirement as error:
            raise PlanError(f"{path}: cannot read `{text.strip()}`: {error}") from error
        name = canonicalize_name(requirement.name)
        if requirement.url:
            raise PlanError(f"{path}: `{name}` is a url dependency; depend on a released version")
        pins = [s.version for s in requirement.specifier if s.operator in ("==", "===")]
        if len(pins) != 1 or len(requirement.specifier) != 1 or "*" in pins[0]:
            raise PlanError(f"{path}: `{name}` is not pinned to one version with `==`")
        hashes = set()
        for value in rest:
            kind, _, digest = value.strip().partition(":")
            if kind == "sha256" and SHA256.match(digest):
                hashes.add(digest)
        if not hashes:
            raise PlanError(f"{path}: `{name}` has no `--hash=sha256:…`; write the lock with `--generate-hashes`")
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        if name in found and found[name]["version"] != pins[0]:
            raise PlanError(f"{path}: `{name}` is pinned twice, to {found[name]['version']} and to {pins[0]}")
        known = found.setdefault(name, {"name": name, "version": pins[0], "hashes": set()})
        known["hashes"] |= hashes
    return found


def hash_lock_line(entry):
    return {
        "name": entry["name"],
        "version": entry["version"],
        "path": f"{entry['name']}-{entry['version']}/",
        "sha256": sorted(entry["hashes"]),
    }


# -- The plan ----------------------------------------------------------------------------------------------------------


def read_toml(path):
    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except FileNotFoundError:
        return None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PlanError(f"{path}: not valid TOML: {error}") from error


def check_python(project):
    poetry = project.get("tool", {}).get("poetry", {}).get("dependencies", {}).get("python")
    wanted = project.get("project", {}).get("requires-python") or (poetry if isinstance(poetry, str) else None)
    if wanted and not allows(wanted, python_version(), "pyproject.toml"):
        raise PlanError(f"pyproject.toml: the project needs Python {wanted}, and this image has {python_version()}")


def make_plan(folder, group):
    """The lines of the plan, sorted."""

    def at(name):
        return os.path.join(folder, name)

    main, dev = at("requirements.lock"), at("requirements-dev.lock")
    project = read_toml(at("pyproject.toml"))
    if project is None:
        # A folder of tests may have a hash lock alone; poetry.lock does not say what is wanted.
        if group != "all":
            raise PlanError(f"{at('pyproject.toml')}: no such file")
        if not os.path.exists(main):
            raise PlanError(f"{at('pyproject.toml')}: no such file, and no requirements.lock beside it")
        project = {}
    check_python(project)
    document = read_toml(at("poetry.lock"))
    if document is not None and project:
        lock, ranks = PoetryLock("poetry.lock", document), tag_ranks()
        packages = lock.closure(poetry_roots(project, "main"))
        if group != "main":
            others = lock.closure(poetry_roots(project, "dev"))
            packages = {k: p for k, p in others.items() if k not in packages} if group == "dev" else packages | others
        lines = [lock.line(package, ranks) for package in packages.values()]
    else:
        locked = hash_lock(main) if os.path.exists(main) else {}
        if group != "main":
            others = hash_lock(dev) if os.path.exists(dev) else {}
            has = {(e["name"], e["version"]) for e in locked.values()}
            others = {n: e for n, e in others.items() if (e["name"], e["version"]) not in has}
            clash = sorted(set(locked) & set(others)) if group == "all" else []
            if clash:
                raise PlanError(f"{dev}: `{clash[0]}` is pinned to another version than in {main}")
            locked = others if group == "dev" else locked | others
        if group != "dev" and not os.path.exists(main) and poetry_roots(project, "main"):
            raise PlanError(
                "pyproject.toml: the project has dependencies, but neither poetry.lock nor requirements.lock"
            )
        lines = [hash_lock_line(entry) for entry in locked.values()]
    paths = set()
    for line in lines:
        if line["path"] in paths:
            raise PlanError(f"{line['name']}: two releases would be fetched to `{line['path']}`")
        paths.add(line["path"])
    return sorted(lines, key=lambda line: line["path"])


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--group", choices=["main", "dev", "all"], default="main")
    parser.add_argument("--project", default=".")
    parser.add_argument("--output", default="plan.jsonl")
    options = parser.parse_args(arguments)
    try:
        lines = make_plan(options.project, options.group)
    except PlanError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    with open(options.output, "w", encoding="utf-8", newline="\n") as file:
        for line in lines:
            file.write(json.dumps(line, sort_keys=True, ensure_ascii=True, separators=(",", ":")) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
