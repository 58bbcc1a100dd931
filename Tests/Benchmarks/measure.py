"""Runs commands and keeps their times: pairs are interleaved, so that a busy machine is unfair to neither."""

import os
import statistics
import subprocess
import sys
import time


class Failed(Exception):
  """A command that had to succeed did not; the message holds the end of its output."""


class Sample:
  """What one run of a command took: wall and CPU milliseconds; and its exit status."""

  def __init__(self, wall, cpu, status=0):
    self.wall, self.cpu, self.status = wall, cpu, status

  def json(self):
    return {"wall_ms": round(self.wall, 3), "cpu_ms": round(self.cpu, 3)}


def run(argv, cwd=None, env=None, log=None, check=True):
  """Runs a command without a terminal; its output goes to the file `log`, or nowhere.

  With `check` it has to succeed.
  """
  with open(log, "wb") if log else open(os.devnull, "wb") as output:
    start = time.perf_counter()
    child = subprocess.Popen(argv, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=output,
                             stderr=subprocess.STDOUT, close_fds=False)
    _, status, usage = os.wait4(child.pid, 0)
    wall = (time.perf_counter() - start) * 1000
    child.returncode = os.waitstatus_to_exitcode(status)
  if check and child.returncode != 0:
    text = ""
    if log:
      with open(log, "rb") as file:
        text = file.read()[-1500:].decode(errors="replace")
    raise Failed(f"{' '.join(argv)}: exit {child.returncode}\n{text}")
  return Sample(wall, (usage.ru_utime + usage.ru_stime) * 1000, child.returncode)


# A child's peak is at least that of the process that started it, so a small one of its own starts it.
PEAK = """
import os, sys
child = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ)
_, status, usage = os.wait4(child, 0)
print(usage.ru_maxrss)
sys.exit(os.waitstatus_to_exitcode(status))
"""


def peak(argv, cwd=None, env=None):
  """The peak resident memory of a command, in MB; below about 10 MB it is the starter's own."""
  found = subprocess.run([sys.executable, "-IS", "-c", PEAK, *argv], cwd=cwd, env=env, stdin=subprocess.DEVNULL,
                         stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
  return int(found.stdout.split()[-1]) * 1024 / 1e6


class Series:
  """The samples of one side of a row."""

  def __init__(self, name):
    self.name, self.samples = name, []

  def median(self, field="wall"):
    return statistics.median(getattr(s, field) for s in self.samples)

  def least(self, field="wall"):
    return min(getattr(s, field) for s in self.samples)

  def json(self):
    return {"name": self.name, "samples": [s.json() for s in self.samples]}


def interleave(sides, rounds, warm=1):
  """Measures A B A B …: `sides` maps a name to a function of the round's number that returns a Sample."""
  series = {name: Series(name) for name in sides}
  for number in range(-warm, rounds):
    for name, measure in sides.items():
      sample = measure(number)
      if number >= 0:
        series[name].samples.append(sample)
  return series


class Row:
  """One line of the table: what slipway took, what the peer took, and each limit with its verdict."""

  def __init__(self, what, ours=None, peer=None, note=None):
    self.what, self.ours, self.peer, self.note, self.limits = what, ours, peer, note, []

  def limit(self, figure, bound, unit):
    shown = f"{figure:.0f}" if figure >= 100 else f"{figure:.3g}"
    self.limits.append((f"{shown}{unit}", f"{bound:g}{unit}", figure <= bound))

  @property
  def failed(self):
    return not self.limits or not all(passed for _, _, passed in self.limits)

  def cells(self):
    def times(series):
      return f"{series.median():.1f} ({series.least():.1f}; {series.median('cpu'):.1f})" if series else ""
    verdict = "; ".join("pass" if passed else "**MISS**" for _, _, passed in self.limits)
    return [self.what, times(self.ours), f"{self.peer.name}: {times(self.peer)}" if self.peer else "",
            "; ".join(f for f, _, _ in self.limits), "; ".join(b for _, b, _ in self.limits),
            verdict or f"**not measured**: {self.note}"]


def say(text):
  print(f"bench: {text}", file=sys.stderr, flush=True)
