"""Runs commands and keeps their times: pairs are interleaved, so that a busy machine is unfair to neither."""

import os
import statistics
import subprocess
import time


class Failed(Exception):
  """A command that had to succeed did not; the message holds the end of its output."""


class Sample:
  """What one run of a command took: wall and CPU milliseconds, peak resident KiB."""

  def __init__(self, wall, cpu, peak):
    self.wall, self.cpu, self.peak = wall, cpu, peak

  def json(self):
    return {"wall_ms": round(self.wall, 3), "cpu_ms": round(self.cpu, 3), "peak_kib": self.peak}


def run(argv, cwd=None, env=None, log=None, timeout=None):
  """Runs a command without a terminal; its output goes to the file `log`, or nowhere.

  A child that starts through vfork inherits the peak of this process (about 15 MiB) as the floor of its own.
  """
  with open(log, "wb") if log else open(os.devnull, "wb") as output:
    start = time.perf_counter()
    child = subprocess.Popen(argv, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=output,
                             stderr=subprocess.STDOUT, close_fds=False)
    _, status, usage = os.wait4(child.pid, 0)
    wall = (time.perf_counter() - start) * 1000
    child.returncode = os.waitstatus_to_exitcode(status)
  if child.returncode != 0:
    text = ""
    if log:
      with open(log, "rb") as file:
        text = file.read()[-1500:].decode(errors="replace")
    raise Failed(f"{' '.join(argv)}: exit {child.returncode}\n{text}")
  return Sample(wall, (usage.ru_utime + usage.ru_stime) * 1000, usage.ru_maxrss)


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
