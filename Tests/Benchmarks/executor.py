"""Measures slipway on engines of the Remote Execution API: BuildGrid with two workers, and buildbox-casd. Prints a
Markdown table; exits 1 for a miss. Raw samples go to executor.json in the work folder.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import time

import peers
import servers
import workspace
from bench import TOP
from measure import Failed, Row, interleave, say
from remote import TARGETS, RemoteBench

CONNECTOR = "source-faker"


class Counter(servers.Relay):
  """Hands bytes on to a server, and counts those that go there."""
  sent = 0

  def forward(self, data):
    self.sent += len(data)
    return data


class ExecutorBench(RemoteBench):
  samples = "executor.json"

  def trivial_root(self):
    root = f"{self.work}/trivial-engine"
    shutil.rmtree(root, ignore_errors=True)
    workspace.write(f"{root}/slipway.yaml", "slipway: 1\nname: trivial\n")
    workspace.write_base(root)
    workspace.commit(root)
    self.slipway(root, "build", "//base:image")
    return root

  def ours(self, root, count, *options):
    """Every action new."""
    def measure(number):
      peers.slipway_trivial(root, count, f"{time.time_ns()}-{number}")
      sample = self.slipway(root, "build", *options, "//many:all")
      self.expect(f"{count} executed")
      return sample
    return measure

  def buildgrid(self):
    count = 42
    row = self.add(Row(f"{count} trivial actions on BuildGrid with two bots"))
    self.require("bazel", row)
    root = self.trivial_root()
    theirs, users = f"{self.work}/bazel-engine", f"{self.work}/bazel-engine-out"
    shutil.rmtree(theirs, ignore_errors=True)
    os.makedirs(theirs)
    # With as many slots as actions none of them runs here.
    with servers.buildgrid(f"{self.work}/buildgrid") as server:

      def bazel(number):
        peers.bazel_trivial(theirs, count, f"{os.getpid()}-{number}")
        sample = self.execute(
            peers.bazel(users, "build", "--color=no", "--curses=no", "--noshow_progress", "--jobs=50",
                        f"--remote_executor={server.url}", "--spawn_strategy=remote",
                        "--remote_default_exec_properties=OSFamily=linux", "//:all"), theirs, 300)
        self.expect(f"{count} remote")
        return sample
      try:
        s = interleave({"slipway": self.ours(root, count, "--executor", server.url, "--jobs", str(count)),
                        "Bazel": bazel}, self.rounds(15))
      finally:
        self.shutdown(users, theirs)
    row.ours, row.peer = s["slipway"], s["Bazel"]
    row.limit(row.ours.median() / row.peer.median(), 0.8, " ×")

  def casd(self):
    count = 600
    root = self.trivial_root()
    folder = f"{self.work}/casd-engine"
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    with servers.casd(folder, jobs=2) as server:
      # More at once are more than casd has threads for: it answers nothing else then. What it has no slot for runs here.
      s = interleave({"slipway": self.ours(root, count, "--executor", server.url, "--jobs", "50"),
                      "local sandbox": self.ours(root, count, "--jobs", "2")}, self.rounds(5))
    row = self.add(Row(f"{count} trivial actions on casd with two workers, against the local sandbox with two jobs",
                       s["slipway"], s["local sandbox"]))
    row.limit(row.ours.median() / row.peer.median(), 2, " ×")

  def hits(self):
    """A fresh machine that has an engine and the cache behind it: nothing is left to run."""
    row = self.add(Row(f"fresh machine with an engine, warm casd: `build //...`, {TARGETS} hits"))
    with self.remote("grpc") as server:

      def measure(_):
        sample = self.fresh("build", "//...", "--remote-cache", server.url, "--executor", server.url)
        self.expect(f"{TARGETS + 1} cached (0 local, {TARGETS + 1} remote)")
        return sample
      row.ours = interleave({"slipway": measure}, self.rounds(5))["slipway"]
    row.limit(row.ours.median() / 1000, 1.5, " s")

  def change(self):
    """One line of a real connector is another one: what goes to the engine until its tests have passed again."""
    row = self.add(Row(f"bytes sent for one line of {CONNECTOR}, its image and tests on casd"))
    copy, folder = f"{self.work}/connectors-engine", f"{self.work}/casd-change"
    for path in (copy, folder):
      shutil.rmtree(path, ignore_errors=True)
    subprocess.run(["git", "clone", "-q", "--no-hardlinks", TOP, copy], check=True)
    os.makedirs(folder)
    source = f"{copy}/connectors/{CONNECTOR}/source_faker/source.py"
    with servers.casd(folder, jobs=2) as server, Counter(server) as counter:
      build = lambda: self.execute([self.binary, "build", f"//connectors/{CONNECTOR}:test", "--executor", counter.url],
                                   copy, 600)
      say(f"building {CONNECTOR} on casd")
      sizes = []
      # The first brings the image there.
      for _ in range(4):
        with open(source, "a", encoding="utf-8") as file:
          file.write(f"# One line more, {time.time_ns()}.\n")
        before = counter.sent
        build()
        if not re.search(r"[1-9][0-9]* executed", self.output()):
          raise Failed(f"nothing was executed:\n{self.output()[-500:]}")
        sizes.append(counter.sent - before)
    say(f"{sizes[0] >> 20} MiB went there at first, then {' '.join(map(str, sizes[1:]))} bytes")
    row.limit(max(sizes[1:]) / 1024, 64, " KiB")


ROWS = ("buildgrid", "casd", "hits", "change")


def main():
  parser = argparse.ArgumentParser(description="Measures slipway on engines of the Remote Execution API.")
  parser.add_argument("--binary", default=f"{TOP}/.build-release/release/slipway")
  parser.add_argument("--work", default=f"{TOP}/.build-release/bench", help="workspaces, caches and executor.json")
  parser.add_argument("--rounds", type=float, default=1, help="factor on the number of rounds")
  parser.add_argument("rows", nargs="*", metavar="ROW", help=f"only these of: {' '.join(ROWS)}")
  options = parser.parse_args()
  unknown = [row for row in options.rows if row not in ROWS]
  if unknown:
    parser.error(f"unknown row {unknown[0]}; the rows are {' '.join(ROWS)}")
  if not os.access(options.binary, os.X_OK):
    parser.error(f"{options.binary} is missing: run `make build` first")
  bench = ExecutorBench(options)
  for name in options.rows or ROWS:
    bench.measure(name)
  bench.save()
  shutil.rmtree(f"{bench.work}/machines", ignore_errors=True)
  print(f"{bench.table()}\n\n{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f} at the end.", flush=True)
  return 1 if any(row.failed for row in bench.rows) else 0


if __name__ == "__main__":
  sys.exit(main())
