"""The rows about changes: what a change affects, and what the graph says, beside git and Bazel's figures."""

import os
import subprocess

import history
from measure import Row, interleave, run


class ChangeRows:

  def history(self):
    """600 connectors in 15,000 files, with 200 commits."""
    return self.kept("history600", "600 connectors with 200 commits", ("workspace.py", "history.py"),
                     lambda root: history.generate(root, 600, 200))

  def affected(self):
    root, _ = self.history()
    count = run_text(["git", "ls-files"], root).count("\n")
    for distance, limit in ((1, 100), (200, 150)):
      commits = f"HEAD~{distance}", "HEAD"

      def ours(number, fresh=False):
        if fresh:
          outlines = f"{root}/.slipway/outlines"
          if os.path.exists(outlines):
            os.unlink(outlines)
        return self.slipway(root, "affected", "--since", commits[0], "--until", commits[1])

      s = interleave({"slipway": ours, "first": lambda n: ours(n, fresh=True),
                      "git diff --name-only": lambda _: run(["git", "diff", "--name-only", *commits], cwd=root,
                                                            log=self.log)}, self.rounds(21), warm=2)
      where = f"`affected`, {distance} {'commit' if distance == 1 else 'commits'} apart, 600 connectors, {count} files"
      row = self.add(Row(where, s["slipway"], s["git diff --name-only"]))
      row.limit(row.ours.median(), limit, " ms")
      self.compare("the same for the first time in a checkout", s["first"], s["git diff --name-only"])

  def query(self):
    root, _ = self.filled(600)
    s = interleave({"slipway": lambda _: self.slipway(root, "query", "rdeps(//..., //connectors/source-one:image)")},
                   self.rounds(21), warm=2)
    row = self.add(Row("`query 'rdeps(//..., //connectors/source-one:image)'`, 2400 targets", s["slipway"]))
    row.limit(row.ours.median(), 40, " ms")

  def simulate(self):
    root, _ = self.history()
    s = interleave({"200 commits": lambda _: self.slipway(root, "simulate", "--commits", "HEAD~200.."),
                    "one": lambda _: self.slipway(root, "simulate", "--commits", "HEAD~1..")}, self.rounds(5))
    row = self.add(Row("`simulate` of 200 commits, 600 connectors", s["200 commits"], s["one"]))
    row.limit((row.ours.median() - row.peer.median()) / 199, 10, " ms a commit")


def run_text(argv, cwd):
  return subprocess.run(argv, cwd=cwd, check=True, stdout=subprocess.PIPE).stdout.decode()
