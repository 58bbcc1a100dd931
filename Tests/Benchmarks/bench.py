"""Measures slipway against its peers and prints a Markdown table; exits 1 where a figure is missed or cannot be had.

Every ratio is of medians from one run, its two sides interleaved. CPU times stand beside them: on a busy machine
they say more than wall times. Bazel's are its client's alone. Raw samples go to samples.json in the work folder.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time

import peers
import workspace
from change import ChangeRows
from measure import Failed, Row, Sample, interleave, peak, run, say
from registry import RegistryRows

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
ONE = "//connectors/source-one:test"


class Bench(RegistryRows, ChangeRows):
  samples = "samples.json"

  def __init__(self, options):
    self.options = options
    self.work = os.path.abspath(options.work)
    self.binary = os.path.abspath(options.binary)
    self.env = peers.environment(f"{self.work}/cache")
    self.log = f"{self.work}/last.log"
    self.rows = []
    os.makedirs(self.work, exist_ok=True)

  # Commands.

  def slipway(self, root, *arguments, env=None):
    return run([self.binary, *arguments], cwd=root, env=env or self.env, log=self.log)

  def execute(self, argv, cwd, seconds=600):
    return run(["timeout", str(seconds), *argv], cwd=cwd, env=self.env, log=self.log)

  def output(self):
    with open(self.log, encoding="utf-8", errors="replace") as file:
      return file.read()

  def expect(self, text):
    """Says that the last command printed `text`: a figure of another piece of work is worth nothing."""
    if text not in self.output():
      raise Failed(f"expected `{text}` in the output, which was:\n{self.output()[-1000:]}")

  # Workspaces. They are kept between runs, and made again when the generator changes.

  def tree(self, count, publish=False):
    return self.kept(f"ws{count}{'-publish' if publish else ''}", f"{count} connectors", ("workspace.py",),
                     lambda root: workspace.generate(root, count, publish=publish))

  def kept(self, name, what, generators, generate):
    root = f"{self.work}/{name}"
    stamp = f"{root}.json"
    wanted = hashlib.sha256()
    for generator in generators:
      with open(f"{HERE}/{generator}", "rb") as file:
        wanted.update(file.read())
    wanted = wanted.hexdigest()
    try:
      with open(stamp, encoding="utf-8") as file:
        found = json.load(file)
      if found["generator"] == wanted:
        return root, found["tree"]
    except (OSError, ValueError, KeyError):
      pass
    say(f"generating {what}")
    tree = generate(root)
    with open(stamp, "w", encoding="utf-8") as file:
      json.dump({"generator": wanted, "tree": tree}, file)
    return root, tree

  def filled(self, count):
    """The workspace of `count` connectors with every target cached."""
    root, tree = self.tree(count)
    say(f"filling the cache for {count} connectors")
    self.slipway(root, "build", "//...")
    self.slipway(root, "build", "//...")
    self.expect(f"{4 * count + 1} cached")
    return root, tree

  # Rows.

  def version(self):
    s = interleave({"slipway": lambda _: run([self.binary, "--version"]), "/bin/true": lambda _: run(["/bin/true"])},
                   self.rounds(60))
    row = self.add(Row("`slipway --version`", s["slipway"], s["/bin/true"]))
    row.limit(row.ours.median() - row.peer.median(), 6, " ms more")

  def noop_all(self):
    root, tree = self.filled(600)
    files = sum(map(len, tree.values()))
    sides = {"slipway": lambda _: self.slipway(root, "build", "//...")}
    if peers.has("ninja"):
      build = f"{self.work}/ninja"
      shutil.rmtree(build, ignore_errors=True)
      workspace.write(f"{build}/build.ninja", peers.ninja_file(tree, build))
      command = ["ninja", "-f", f"{build}/build.ninja"]
      self.execute(command, root)
      sides["ninja"] = lambda _: run(command, cwd=root, log=self.log)
    sides["git status"] = lambda _: run(["git", "status", "--porcelain"], cwd=root, log=self.log)
    s = interleave(sides, self.rounds(21), warm=2)
    row = self.add(Row(f"no-op `build //...`, {4 * 600} targets, {files} files", s["slipway"], s.get("ninja")))
    if row.peer:
      row.limit(row.ours.median() / row.peer.median(), 0.6, " ×")
    else:
      row.note = "ninja is not installed"
    self.compare("the same", s["slipway"], s["git status"])
    memory = self.add(Row("its peak resident memory"))
    memory.limit(peak([self.binary, "build", "//..."], root, self.env), 60, " MB")

  def noop_one(self):
    root, tree = self.filled(600)
    s = interleave({"slipway": lambda _: self.slipway(root, "build", ONE)}, self.rounds(31), warm=2)
    row = self.add(Row("no-op `build //connectors/source-one:test`", s["slipway"]))
    row.limit(row.ours.median(), 15, " ms")
    row = self.add(Row("the same against Bazel, warm server"))
    self.require("bazel", row)
    copy, users = f"{self.work}/bazel", f"{self.work}/bazel-out"
    say("filling Bazel's cache")
    peers.bazel_workspace(root, copy, tree)
    bazel = lambda pattern, *more: peers.bazel(users, *peers.BAZEL_BUILD, *more, pattern)
    try:
      self.execute(bazel("//...", "--spawn_strategy=local"), copy, 900)
      s = interleave({"slipway": lambda _: self.slipway(root, "build", ONE),
                      "Bazel": lambda _: self.execute(bazel(ONE, "--spawn_strategy=local"), copy, 60)},
                     self.rounds(11), warm=2)
      row.ours, row.peer = s["slipway"], s["Bazel"]
      row.limit(row.ours.median() / row.peer.median(), 0.06, " ×")
      s = interleave({"slipway": lambda _: self.slipway(root, "build", "//..."),
                      "Bazel": lambda _: self.execute(bazel("//...", "--spawn_strategy=local"), copy, 60)},
                     self.rounds(5), warm=1)
      self.compare("no-op `build //...` against Bazel, warm server", s["slipway"], s["Bazel"])
    finally:
      self.shutdown(users, copy)

  def first_load(self):
    root, _ = self.tree(600)
    row = self.add(Row("first load and plan of 600 manifests, nothing cached",
                       self.cold({"slipway": root}, 9)[0]["slipway"]))
    row.limit(row.ours.median(), 150, " ms")

  def cold(self, roots, rounds):
    """`build --dry-run //...` without `.slipway` and with an empty cache: the times and the peak MB of each workspace.

    A workspace's own state is put back.
    """
    cache = f"{self.work}/empty"
    env = peers.environment(cache)

    def forget(root):
      shutil.rmtree(f"{root}/.slipway", ignore_errors=True)
      shutil.rmtree(cache, ignore_errors=True)
      os.makedirs(cache)

    def measure(root):
      forget(root)
      return self.slipway(root, "build", "--dry-run", "//...", env=env)
    for root in roots.values():
      shutil.rmtree(f"{root}.state", ignore_errors=True)
      if os.path.exists(f"{root}/.slipway"):
        os.rename(f"{root}/.slipway", f"{root}.state")
    try:
      series = interleave({name: lambda _, r=root: measure(r) for name, root in roots.items()}, self.rounds(rounds))
      peaks = {}
      for name, root in roots.items():
        forget(root)
        peaks[name] = peak([self.binary, "build", "--dry-run", "//..."], root, env)
      return series, peaks
    finally:
      for root in roots.values():
        shutil.rmtree(f"{root}/.slipway", ignore_errors=True)
        if os.path.exists(f"{root}.state"):
          os.rename(f"{root}.state", f"{root}/.slipway")

  def changed_file(self):
    root, tree = self.filled(600)
    folder = "connectors/source-one"
    path = f"{root}/{folder}/icon.svg"
    with open(path, "rb") as file:
      original = file.read()
    action = interleave({"action": lambda _: run(
      [f"{root}/base/bin/busybox", "sh", "-c", "test -s metadata.yaml && echo ok > /dev/null"],
      cwd=f"{root}/{folder}")}, self.rounds(15))["action"]

    def changed(pattern):
      def measure(number):
        workspace.write(path, original + f"<!-- {os.getpid()} {pattern} {number} -->\n".encode())
        # No editor starts a build within the tick of the clock that stamps files, in which nothing is ever up to date.
        time.sleep(0.03)
        sample = self.slipway(root, "build", pattern)
        self.expect("1 executed")
        return sample
      return measure
    try:
      for pattern in (f"//{folder}:lint", "//..."):
        s = interleave({"changed": changed(pattern), "no-op": lambda _, p=pattern: self.slipway(root, "build", p)},
                       self.rounds(15))
        row = self.add(Row(f"one changed file, `build {pattern}`, beyond no-op and action", s["changed"], s["no-op"]))
        row.limit(row.ours.median() - row.peer.median() - action.median(), 40, " ms")
    finally:
      workspace.write(path, original)

  def trivial_actions(self):
    count = 300
    row = self.add(Row(f"trivial sandboxed action, own network namespace, two jobs ({count} of them, ms each)"))
    root = f"{self.work}/trivial"
    shutil.rmtree(root, ignore_errors=True)
    workspace.write(f"{root}/slipway.yaml", "slipway: 1\nname: trivial\n")
    workspace.write_base(root)
    workspace.commit(root)

    def each(sample, n):
      return Sample(sample.wall / n, sample.cpu / n)

    def ours(number, n=count):
      peers.slipway_trivial(root, n, f"{os.getpid()}-{n}-{number}")
      sample = self.slipway(root, "build", "--jobs", "2", "//many:all")
      self.expect(f"{n} executed")
      return each(sample, n)
    self.slipway(root, "build", "//base:image")
    big = interleave({"slipway": lambda number: ours(number, 2400)}, self.rounds(3), warm=0)["slipway"]
    self.require("bazel", row)
    theirs, users = f"{self.work}/bazel-trivial", f"{self.work}/bazel-trivial-out"
    shutil.rmtree(theirs, ignore_errors=True)

    def bazel(number):
      peers.bazel_trivial(theirs, count, f"{os.getpid()}-{number}")
      sample = self.execute(peers.bazel(users, *peers.BAZEL_BUILD, "--spawn_strategy=linux-sandbox", "//:all"),
                            theirs, 300)
      self.expect(f"{count} linux-sandbox")
      return each(sample, count)
    try:
      s = interleave({"slipway": ours, "Bazel": bazel}, self.rounds(5))
    finally:
      self.shutdown(users, theirs)
    row.ours, row.peer = s["slipway"], s["Bazel"]
    row.limit(row.ours.median() / row.peer.median(), 0.75, " ×")
    self.compare("2,400 of them, against Bazel's 300 (ms each)", big, s["Bazel"])

  def image(self):
    row = self.add(Row("image of one layer of a few files on a cached base of Debian and Python"))
    for program in ("buildah", "skopeo"):
      self.require(program, row)
    root, megabytes = self.debian(row)
    store = self.buildah_base(root)
    row.what += f", {megabytes} MB compressed"

    def ours(number):
      self.salt(root, f"a{number}")
      sample = self.slipway(root, "build", "//app:image")
      self.expect("executed")
      return sample

    def theirs(number):
      self.salt(root, f"b{number}")
      return self.execute(peers.buildah(store, "--storage-driver", "overlay", "bud", "--isolation", "chroot",
                                        "--network", "host", "--no-cache", "-q", "-t", "app", "."), f"{root}/app", 60)
    s = interleave({"slipway": ours, "buildah bud": theirs}, self.rounds(9))
    row.ours, row.peer = s["slipway"], s["buildah bud"]
    row.limit(row.ours.median() / row.peer.median(), 0.2, " ×")

  def debian(self, row):
    """A workspace with `//debian:image` built, and `//app:image` of a few files on it; and the base's compressed MB."""
    self.require("mmdebstrap", row)
    root = f"{self.work}/image"
    shutil.rmtree(root, ignore_errors=True)
    workspace.write(f"{root}/slipway.yaml", "slipway: 1\nname: image\n")
    workspace.write(f"{root}/debian/targets.yaml", """\
targets:
  rootfs: {rule: rootfs, suite: bookworm, packages: [python3, python3-venv, ca-certificates],
           exclude: [/usr/share/doc/*]}
  image: {rule: image, layers: [{from: ":rootfs", to: /}]}
default: image
""")
    workspace.write(f"{root}/app/targets.yaml", """\
targets:
  code: {rule: files, srcs: ["code/**"]}
  image: {rule: image, base: //debian:image, layers: [{from: ":code", to: /airbyte}]}
""")
    workspace.write(f"{root}/app/Dockerfile", "FROM localhost/base\nCOPY code /airbyte/\n")
    for name in ("main.py", "source.py", "spec.json"):
      workspace.write(f"{root}/app/code/{name}", f"# {name}\n" * 200)
    workspace.commit(root)
    say("building the Debian base")
    self.slipway(root, "build", "//debian:image")
    self.slipway(root, "image", "inspect", "//debian:image")
    image = json.loads(self.output()[self.output().index("{"):])
    return root, round(sum(layer["size"] for layer in image["layers"]) / 1e6)

  def buildah_base(self, root):
    """buildah's store with that base."""
    store = f"{self.work}/buildah"
    shutil.rmtree(f"{root}/.slipway/out", ignore_errors=True)
    self.slipway(root, "outputs", "//debian:image")
    layout = f"{root}/{self.output().split()[-1]}"
    self.execute(["skopeo", "copy", f"oci:{layout}", f"containers-storage:[overlay@{store}/root+{store}/run]"
                  "localhost/base:latest"], root)
    return store

  def salt(self, root, text):
    workspace.write(f"{root}/app/code/main.py", f"# {os.getpid()} {text}\n" * 200)

  def tenfold(self):
    small, _ = self.filled(600)
    large, _ = self.filled(6000)
    s = interleave({"6,000 connectors": lambda _: self.slipway(large, "build", "//..."),
                    "600": lambda _: self.slipway(small, "build", "//...")}, self.rounds(9))
    row = self.add(Row("ten times the connectors: no-op `build //...` (time; memory)", s["6,000 connectors"], s["600"]))
    row.limit(row.ours.median() / row.peer.median(), 11, " ×")
    memory = [peak([self.binary, "build", "//..."], root, self.env) for root in (large, small)]
    row.limit(memory[0] / memory[1], 11, " ×")
    s, peaks = self.cold({"6,000 connectors": large, "600": small}, 5)
    row = self.add(Row("ten times the connectors: first load and plan (time; memory)", s["6,000 connectors"], s["600"]))
    row.limit(row.ours.median() / row.peer.median(), 11, " ×")
    row.limit(peaks["6,000 connectors"] / peaks["600"], 11, " ×")

  # Bookkeeping.

  def add(self, row):
    self.rows.append(row)
    return row

  def compare(self, what, ours, peer):
    """A line that the issue sets no limit for: shown, never a miss."""
    row = self.add(Row(what, ours, peer))
    row.limits.append((f"{ours.median() / peer.median():.3g} ×", "none", True))

  def require(self, program, row):
    if not peers.has(program):
      row.note = f"{program} is not installed"
      raise Failed(row.note)

  def shutdown(self, users, root):
    subprocess.run(peers.bazel(users, "shutdown"), cwd=root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                   check=False)

  def rounds(self, count):
    return max(3, round(count * self.options.rounds))

  def measure(self, name):
    say(name.replace("_", " "))
    try:
      getattr(self, name)()
    except (Failed, OSError, subprocess.SubprocessError) as error:
      say(f"{name}: {error}")
      unmeasured = [row for row in self.rows if not row.limits]
      for row in unmeasured or [self.add(Row(f"`{name}`"))]:
        row.note = row.note or str(error).splitlines()[0][:120]

  def table(self):
    head = ["what", "slipway, ms: median (min; CPU)", "against, ms: median (min; CPU)", "figure", "limit", "verdict"]
    lines = [head, ["---"] * len(head)] + [row.cells() for row in self.rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)

  def save(self):
    rows = [{"what": r.what, "slipway": r.ours and r.ours.json(), "against": r.peer and r.peer.json(),
             "limits": [{"figure": f, "limit": b, "pass": p} for f, b, p in r.limits], "note": r.note}
            for r in self.rows]
    with open(f"{self.work}/{self.samples}", "w", encoding="utf-8") as file:
      json.dump({"rows": rows}, file, indent=1)


ROWS = ("version", "noop_all", "noop_one", "first_load", "changed_file", "trivial_actions", "image", "tenfold",
        "affected", "query", "simulate", "publish", "push", "pull", "build_and_push")


def main():
  parser = argparse.ArgumentParser(description="Measures slipway against its peers.")
  parser.add_argument("--binary", default=f"{TOP}/.build-release/release/slipway")
  parser.add_argument("--work", default=f"{TOP}/.build-release/bench", help="workspaces, caches and samples.json")
  parser.add_argument("--rounds", type=float, default=1, help="factor on the number of rounds")
  parser.add_argument("rows", nargs="*", metavar="ROW", help=f"only these of: {' '.join(ROWS)}")
  options = parser.parse_args()
  unknown = [row for row in options.rows if row not in ROWS]
  if unknown:
    parser.error(f"unknown row {unknown[0]}; the rows are {' '.join(ROWS)}")
  if not os.access(options.binary, os.X_OK):
    parser.error(f"{options.binary} is missing: run `make build` first")
  bench = Bench(options)
  loads = [os.getloadavg()[0]]
  for name in options.rows or ROWS:
    bench.measure(name)
    loads.append(os.getloadavg()[0])
  bench.save()
  print(bench.table())
  print(f"\n{os.cpu_count()} processors, load {min(loads):.1f} to {max(loads):.1f}; the benchmark alone makes about 2.",
        flush=True)
  return 1 if any(row.failed for row in bench.rows) else 0


if __name__ == "__main__":
  sys.exit(main())
