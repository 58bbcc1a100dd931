"""Measures slipway with a remote cache: behind faults, and its speed. Prints two Markdown tables; exits 1 for a miss.

Every machine is a fresh one: an empty local cache and no `.slipway`. Raw samples go to remote.json in the work folder.
"""

import argparse
import hashlib
import os
import shutil
import statistics
import sys

import faults
import peers
import servers
from bench import ONE, TOP, Bench
from measure import Failed, Row, interleave, say

CONNECTORS = 600
TARGETS = 4 * CONNECTORS
SERVERS = {"http": ("nginx", servers.nginx), "grpc": ("casd", servers.casd)}


class RemoteBench(Bench):
  """The rows about speed: what a fresh machine takes from a cache that another one has filled."""
  samples = "remote.json"
  machines = 0

  def forget(self):
    """Makes the machine a fresh one.

    The older one's cache stays until the end: for seconds after thousands of files went, ext4 is slow to make new ones.
    """
    root, _ = self.tree(CONNECTORS)
    if not self.machines:
      shutil.rmtree(f"{self.work}/machines", ignore_errors=True)
    self.machines += 1
    self.env["XDG_CACHE_HOME"] = f"{self.work}/machines/{self.machines}"
    os.makedirs(self.env["XDG_CACHE_HOME"])
    shutil.rmtree(f"{root}/.slipway", ignore_errors=True)
    return root

  def fresh(self, command, pattern, *options):
    root = self.forget()
    return self.slipway(root, command, *options, pattern)

  def remote(self, protocol):
    """A running server that has the results of all targets; its files are kept, and filled again by another binary."""
    name, start = SERVERS[protocol]
    root, _ = self.tree(CONNECTORS)
    folder, stamp = f"{self.work}/{name}", hashlib.sha256()
    for path in (self.binary, f"{root}.json"):
      with open(path, "rb") as file:
        stamp.update(file.read())
    mark = f"{folder}/filled-{stamp.hexdigest()[:16]}"
    if os.path.exists(mark):
      return start(folder)
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    server = start(folder)
    try:
      say(f"filling {name} with {TARGETS} targets")
      sample = self.fresh("build", "//...", "--remote-cache", server.url, "--remote-cache-mode", "write")
      if "warning: " in self.output():
        raise Failed(f"{name} was not filled:\n{self.output()[-500:]}")
      say(f"filled in {sample.wall / 1000:.1f} s")
      self.fresh("build", "//...", "--remote-cache", server.url)
      self.expect(f"{TARGETS + 1} cached (0 local, {TARGETS + 1} remote)")
    except BaseException:
      server.stop()
      raise
    with open(mark, "w", encoding="utf-8"):
      pass
    return server

  def resolved(self, protocol):
    """All targets, resolved by a fresh machine."""
    name = SERVERS[protocol][0]
    row = self.add(Row(f"fresh machine, warm {name}: `build //...`, {TARGETS} targets resolved"))
    used = []
    with self.remote(protocol) as server:

      def measure(_):
        before = server.cpu()
        sample = self.fresh("build", "//...", "--remote-cache", server.url)
        used.append(server.cpu() - before)
        self.expect(f"{TARGETS + 1} cached (0 local, {TARGETS + 1} remote)")
        return sample
      row.ours = interleave({"slipway": measure}, self.rounds(5))["slipway"]
    row.limit(row.ours.median() / 1000, 1.5, " s")
    say(f"{name} itself used {statistics.median(used):.0f} ms of CPU a run")

  def resolved_nginx(self):
    self.resolved("http")

  def resolved_casd(self):
    self.resolved("grpc")

  def verdict(self, protocol, bound):
    name = SERVERS[protocol][0]
    row = self.add(Row(f"fresh machine, warm {name}: `test {ONE}`"))
    with self.remote(protocol) as server:

      def measure(_):
        sample = self.fresh("test", ONE, "--remote-cache", server.url)
        self.expect("1 passed (1 cached)")
        return sample
      row.ours = interleave({"slipway": measure}, self.rounds(11))["slipway"]
    row.limit(row.ours.median(), bound, " ms")

  def verdict_nginx(self):
    self.verdict("http", 150)

  def verdict_casd(self):
    self.verdict("grpc", 300)

  def filling(self):
    """A cold build of everything that fills nginx, against one without a remote cache."""
    def filled(number):
      # One for each round, as of the caches in `forget`.
      folder = f"{self.work}/filling/{number}"
      os.makedirs(folder)
      with servers.nginx(folder) as server:
        sample = self.fresh("build", "//...", "--remote-cache", server.url, "--remote-cache-mode", "write")
        if "warning: " in self.output():
          raise Failed(f"nginx was not filled:\n{self.output()[-500:]}")
        return sample
    s = interleave({"slipway": filled, "no remote": lambda _: self.fresh("build", "//...")}, self.rounds(7))
    row = self.add(Row(f"cold build of {TARGETS} targets that fills nginx", s["slipway"], s["no remote"]))
    row.limit(row.ours.median() / row.peer.median(), 1.1, " ×")

  def bazel(self):
    """The same tree as genrules, from the same web server: with Bazel's server running, and on a fresh machine."""
    rows = [self.add(Row(f"Bazel, warm nginx, {TARGETS} genrules, {what}")) for what in
            ("fresh machine", "its server running")]
    for row in rows:
      self.require("bazel", row)
    root, tree = self.tree(CONNECTORS)
    copy, users, folder = f"{self.work}/bazel", f"{self.work}/bazel-remote", f"{self.work}/bazel-nginx"
    peers.bazel_workspace(root, copy, tree)
    mark = f"{folder}/filled"
    os.makedirs(folder, exist_ok=True)
    with servers.nginx(folder) as server:
      # An option of the server's URL is part of no key, so that the port may be another one next time.
      build = lambda: self.execute(peers.bazel(users, *peers.BAZEL_BUILD, "--spawn_strategy=local",
                                               f"--remote_cache={server.url}", "//..."), copy, 900)

      def forget(everything):
        if everything:
          self.shutdown(users, copy)
          shutil.rmtree(users, ignore_errors=True)
        else:
          self.execute(peers.bazel(users, "clean"), copy, 60)
      try:
        if not os.path.exists(mark):
          say("filling nginx by Bazel")
          forget(True)
          build()
          with open(mark, "w", encoding="utf-8"):
            pass
        for row, everything in zip(rows, (True, False)):
          def measure(_, everything=everything):
            forget(everything)
            sample = build()
            self.expect(f"{TARGETS} remote cache hit")
            return sample
          row.peer = interleave({"Bazel": measure}, self.rounds(3), warm=0)["Bazel"]
          row.limits.append((f"{row.peer.median() / 1000:.1f} s", "none", True))
      finally:
        self.shutdown(users, copy)


SPEED = ("resolved_nginx", "resolved_casd", "verdict_nginx", "verdict_casd", "filling", "bazel")
FAULTS = tuple(f"{protocol}:{name}" for protocol, (rows, _) in faults.PROTOCOLS.items() for name in rows)


def main():
  parser = argparse.ArgumentParser(description="Measures slipway with a remote cache.")
  parser.add_argument("--binary", default=f"{TOP}/.build-release/release/slipway")
  parser.add_argument("--work", default=f"{TOP}/.build-release/bench", help="workspaces, caches and remote.json")
  parser.add_argument("--rounds", type=float, default=1, help="factor on the number of rounds")
  parser.add_argument("rows", nargs="*", metavar="ROW",
                      help=f"only these, by the start of their names: {' '.join(FAULTS + SPEED)}")
  options = parser.parse_args()
  names = [n for n in FAULTS + SPEED if not options.rows or any(n.startswith(row) for row in options.rows)]
  if not names:
    parser.error(f"no row begins with {options.rows[0]}; the rows are {' '.join(FAULTS + SPEED)}")
  if not os.access(options.binary, os.X_OK):
    parser.error(f"{options.binary} is missing: run `make build` first")
  bench = RemoteBench(options)
  table = faults.FaultTable(bench.binary, bench.work, max(1, round(3 * options.rounds)))
  for name in names:
    if name in FAULTS:
      table.measure(*name.split(":", 1))
    else:
      bench.measure(name)
  bench.save()
  for folder in ("machines", "filling"):
    shutil.rmtree(f"{bench.work}/{folder}", ignore_errors=True)
  if table.rows:
    print(f"{table.table()}\n")
  if bench.rows:
    print(f"{bench.table()}\n")
  print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f} at the end.", flush=True)
  return 1 if table.missed or any(row.failed for row in bench.rows) else 0


if __name__ == "__main__":
  sys.exit(main())
