"""Builds behind a remote cache that does one thing wrong, against the same build without a cache.

The work is 16 actions of 0.6 s at two jobs, each with an input of its own. Every build is a fresh machine's: an empty
local cache, and no `.slipway`.
"""

import hashlib
import os
import random
import shutil
import statistics
import time

import servers
import workspace
from measure import Failed, run, say

ACTIONS = 16
# A build takes 5 s; what is not done after this hangs.
PATIENCE = 60


class Fault:
  """One line of the table: what the server does, what the cache held before, and the limit.

  A warm cache is read from, with every byte asked for; a cold one is written to. `added` are seconds beyond the build
  without a cache, `ratio` is the whole time against it.
  """

  def __init__(self, name, proxy=(), warm=False, added=None, ratio=1.2, silent=False, bazel=""):
    self.name, self.proxy, self.warm, self.added, self.ratio = name, proxy, warm, added, ratio
    self.silent, self.bazel = silent, bazel


# What Bazel 4.2.3 did with the same work on this kind of machine, measured once.
HTTP = {
  "none-cold": Fault("none, cache filled", ratio=1.1, silent=True),
  "none-warm": Fault("none, all hits", warm=True, ratio=0.2, silent=True),
  "down": Fault("down at start", None, warm=True, added=0.3, bazel="builds, with warnings"),
  "killed-read": Fault("killed after 24 requests, all hits", ("killed", "--after", "24"), warm=True,
                       bazel="builds, with warnings"),
  "killed-write": Fault("killed after 24 requests, cache filled", ("killed", "--after", "24"),
                        bazel="builds, with warnings"),
  "hanging": Fault("accepts, never answers", ("hanging",), warm=True, added=3,
                   bazel="not done after 150 s, at a timeout of 5 s"),
  "slow": Fault("5 s before each answer, all hits", ("slow",), warm=True, ratio=1.1, bazel="41 s, slower than building"),
  "slow-write": Fault("5 s before each answer, cache filled", ("slow",), ratio=1.1),
  "corrupt": Fault("a bit of every blob flipped", ("corrupt", "--path", "/cas/"), warm=True,
                   bazel="builds, one warning an output"),
  "corrupt-results": Fault("a bit of every result flipped", ("corrupt", "--path", "/ac/"), warm=True),
  "truncate": Fault("every blob cut off", ("truncate", "--path", "/cas/"), warm=True,
                    bazel="builds, one warning an output"),
  "evicted": Fault("results kept, blobs evicted", warm=True, silent=True, bazel="builds"),
  "401": Fault("401", ("status", "--code", "401")),
  "403": Fault("403", ("status", "--code", "403")),
  "403-write": Fault("403 to PUT, all hits", ("status", "--code", "403", "--method", "PUT"), warm=True, ratio=0.2,
                     silent=True),
  "413": Fault("413 to PUT", ("status", "--code", "413", "--method", "PUT")),
  "429": Fault("429 to PUT", ("status", "--code", "429", "--method", "PUT")),
  "500": Fault("500 and a page to PUT, as with a full disk", ("status", "--code", "500", "--method", "PUT"),
               bazel="builds, warnings with raw HTML"),
  "500-all": Fault("500", ("status", "--code", "500"), warm=True),
  "html": Fault("a web page with status 200", ("html",)),
}
GRPC = {
  "none-cold": Fault("none, cache filled", ratio=1.1, silent=True),
  "none-warm": Fault("none, all hits", warm=True, ratio=0.2, silent=True),
  "down": Fault("down at start", None, warm=True, added=0.3, bazel="the build fails, unless told to fall back"),
  "killed-read": Fault("killed after 24 calls, all hits", ("killed", "--after", "24"), warm=True,
                       bazel="35 s, retries by action"),
  "killed-write": Fault("killed after 24 calls, cache filled", ("killed", "--after", "24"),
                        bazel="35 s, retries by action"),
  "unavailable": Fault("UNAVAILABLE to every call", ("status", "--code", "14"), bazel="30 s, retries by action"),
  "unauthenticated": Fault("UNAUTHENTICATED to every call", ("status", "--code", "16")),
  "exhausted": Fault("RESOURCE_EXHAUSTED to every call", ("status", "--code", "8")),
  "hanging": Fault("accepts, never answers", ("hanging",), warm=True, added=3,
                   bazel="not done after 150 s, at a timeout of 5 s"),
  "slow": Fault("5 s before each answer, all hits", ("slow",), warm=True, ratio=1.1, bazel="41 s, slower than building"),
  "slow-write": Fault("5 s before each answer, cache filled", ("slow",), ratio=1.1),
  "corrupt": Fault("a bit of every large frame flipped", ("corrupt",), warm=True,
                   bazel="builds, one warning an output"),
  "truncate": Fault("connection cut in every large frame", ("truncate",), warm=True,
                    bazel="builds, one warning an output"),
  "evicted": Fault("results kept, blobs evicted", warm=True, silent=True, bazel="builds"),
}
PROTOCOLS = {"http": (HTTP, servers.nginx), "grpc": (GRPC, servers.casd)}


class Outcome:
  """What one build did."""

  def __init__(self, sample, text, outputs, strays):
    self.seconds, self.status, self.text, self.outputs, self.strays = sample.wall / 1000, sample.status, text, outputs, strays
    lines = text.splitlines()
    self.warnings = [line for line in lines if line.startswith("warning: ")]
    self.executed = sum(line.startswith("DONE //work:") for line in lines)


class FaultTable:
  """Runs builds behind faults, and keeps the rows."""

  def __init__(self, binary, work, rounds):
    self.binary, self.rounds, self.rows, self.missed = binary, rounds, [], False
    self.work, self.root = f"{work}/faults", f"{work}/faults/workspace"
    self.env = {k: v for k, v in os.environ.items() if k != "CI" and not k.startswith("SLIPWAY_")}
    self.cache, self.count, self.plain = None, 0, None
    shutil.rmtree(self.work, ignore_errors=True)
    self.generate()

  def generate(self):
    workspace.write(f"{self.root}/slipway.yaml", "slipway: 1\nname: faults\n")
    workspace.write_base(self.root)
    r, lines = random.Random(4), ["targets:"]
    for n in range(ACTIONS):
      workspace.write(f"{self.root}/work/in-{n}.txt", r.randbytes(50_000).hex() + "\n")
      lines.append(f"  a{n}: {{rule: action, image: //base:image, inputs: [in-{n}.txt], outputs: {{out: out-{n}.txt}}, "
                   f"run: [sh, -c, busybox sleep 0.6; cat in-{n}.txt in-{n}.txt >out-{n}.txt]}}")
    workspace.write(f"{self.root}/work/targets.yaml", "\n".join(lines) + "\n")
    workspace.commit(self.root)

  def forget(self):
    """Makes the machine a fresh one."""
    if self.cache:
      shutil.rmtree(self.cache, ignore_errors=True)
    self.count += 1
    self.cache = f"{self.work}/cache-{self.count}"
    os.makedirs(self.cache)
    self.env["XDG_CACHE_HOME"] = self.cache
    shutil.rmtree(f"{self.root}/.slipway", ignore_errors=True)

  def build(self, *options):
    self.forget()
    log = f"{self.work}/last.log"
    sample = run(["timeout", "-k", "5", str(PATIENCE), self.binary, "build", "--jobs", "2", *options, "//..."],
                 cwd=self.root, env=self.env, log=log, check=False)
    with open(log, encoding="utf-8", errors="replace") as file:
      text = file.read()
    return Outcome(sample, text, self.outputs(), self.strays())

  def outputs(self):
    """The digest of each action's output as this machine has it now, without a remote cache."""
    found = {}
    for n in range(ACTIONS):
      sample = run([self.binary, "outputs", f"//work:a{n}"], cwd=self.root, env=self.env, check=False)
      try:
        with open(f"{self.root}/.slipway/out/work/a{n}/out-{n}.txt", "rb") as file:
          found[n] = hashlib.sha256(file.read()).hexdigest() if sample.status == 0 else None
      except OSError:
        found[n] = None
    return found

  def strays(self):
    """The processes that a build left behind: those that have its cache in their environment."""
    mark, found = f"XDG_CACHE_HOME={self.cache}".encode(), []
    time.sleep(0.1)
    for pid in filter(str.isdigit, os.listdir("/proc")):
      try:
        with open(f"/proc/{pid}/environ", "rb") as file:
          if mark in file.read().split(b"\0"):
            found.append(int(pid))
      except OSError:
        pass
    return found

  def base(self):
    """The build without a remote cache."""
    if self.plain is None:
      say("building without a remote cache")
      runs = [self.build() for _ in range(self.rounds)]
      if any(r.status != 0 or None in r.outputs.values() or r.outputs != runs[0].outputs for r in runs):
        raise Failed(f"the build without a remote cache failed:\n{runs[0].text[-500:]}")
      self.plain = statistics.median(r.seconds for r in runs), runs[0].outputs
    return self.plain

  def filled(self, protocol):
    """A folder whose server holds the results of all actions."""
    folder = f"{self.work}/{protocol}-warm"
    if not os.path.exists(folder):
      os.makedirs(folder)
      with PROTOCOLS[protocol][1](folder) as server:
        outcome = self.build("--remote-cache", server.url, "--remote-cache-mode", "write")
      if outcome.status != 0 or outcome.warnings:
        shutil.rmtree(folder)
        raise Failed(f"cannot fill the cache: {(outcome.warnings or outcome.text.splitlines()[-1:] or [''])[0]}")
    return folder

  def once(self, protocol, name, fault):
    """One build behind a fault, each with its own copy of what the server held."""
    folder = f"{self.work}/{protocol}"
    shutil.rmtree(folder, ignore_errors=True)
    if fault.warm:
      shutil.copytree(self.filled(protocol), folder)
    else:
      os.makedirs(folder)
    if name == "evicted":
      evict(folder)
    options = ["--remote-cache-mode", "write", "--download", "all", "--remote-cache"]
    with PROTOCOLS[protocol][1](folder) as server:
      if fault.proxy is None:
        return self.build(*options, f"{protocol}://127.0.0.1:{servers.free_port()}")
      if not fault.proxy:
        return self.build(*options, server.url)
      with servers.proxy(server, f"{self.work}/proxy", *fault.proxy) as proxy:
        return self.build(*options, proxy.url)

  def measure(self, protocol, name):
    fault = PROTOCOLS[protocol][0][name]
    say(f"{protocol}: {fault.name}")
    try:
      plain, outputs = self.base()
      runs = [self.once(protocol, name, fault) for _ in range(self.rounds)]
    except (Failed, OSError) as error:
      say(f"{protocol}: {fault.name}: {error}")
      self.missed = True
      self.rows.append([protocol, fault.name, f"**not measured**: {str(error).splitlines()[0][:160]}"] + [""] * 6
                       + [fault.bazel])
      return
    seconds = statistics.median(r.seconds for r in runs)
    wrong = sorted({why for r in runs for why in complaints(r, outputs, fault)})
    if fault.added is not None:
      passed, limit = seconds - plain <= fault.added, f"+{fault.added:g} s"
    else:
      passed, limit = seconds / plain <= fault.ratio, f"{fault.ratio:g} ×"
    if not passed:
      wrong.append("too slow")
    self.missed |= bool(wrong)
    last = runs[-1]
    for warning in last.warnings:
      say(f"  {warning}")
    self.rows.append([
      protocol, fault.name, ", ".join(sorted({str(r.status) for r in runs})), f"{last.executed}",
      f"{seconds - plain:+.2f}", f"{seconds / plain:.2f} ×", "equal" if all(r.outputs == outputs for r in runs) else
      "**differ**", str(max(len(r.warnings) for r in runs)), limit,
      f"**MISS**: {'; '.join(wrong)}" if wrong else "pass", fault.bazel or "not measured"])

  def table(self):
    head = ["protocol", "the server", "exit status", "executed", "s beyond no cache", "against no cache", "outputs",
            "warnings", "limit", "verdict", "Bazel 4.2.3"]
    lines = [head, ["---"] * len(head)] + self.rows
    plain = f"Without a remote cache the build takes {self.plain[0]:.2f} s; medians of {self.rounds}.\n\n" \
      if self.plain else ""
    return plain + "\n".join("| " + " | ".join(line) + " |" for line in lines)


def complaints(outcome, outputs, fault):
  """What is wrong with a build, beside its time."""
  if outcome.status == 124 or outcome.status == 137:
    yield f"not done after {PATIENCE} s"
  elif outcome.status != 0:
    yield f"exit {outcome.status}"
  if outcome.outputs != outputs:
    yield "outputs differ"
  if outcome.strays:
    yield f"{len(outcome.strays)} processes left"
  if len(outcome.warnings) > (0 if fault.silent else 1):
    yield f"{len(outcome.warnings)} warnings"
  if "<html" in outcome.text.lower():
    yield "raw HTML is shown"


def evict(folder):
  """Takes the blobs from what a stopped server keeps, and leaves the results."""
  for name in ("cas", "cas/objects"):
    path = f"{folder}/store/{name}"
    if name == "cas" and os.path.exists(f"{path}/objects"):
      continue
    shutil.rmtree(path, ignore_errors=True)
