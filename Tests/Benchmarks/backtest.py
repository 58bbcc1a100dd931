"""Makes a git repository of a recorded history that has names and statuses of files and no contents, for `slipway simulate`.

Every file's content is made here: its name and the number of its edits. An edited metadata.yaml gets a version bump, or,
with `--edits description`, another text that no image and no test reads. A commit is a JSON line
{"sha", "time", "files": [[STATUS, PATH], ...]}, newest first, as `git log --raw` tells it.
"""

import argparse
import gzip
import json
import os
import random
import re
import shutil
import subprocess
import zlib

import workspace

CONNECTORS = "airbyte-integrations/connectors/"
SETTINGS = """\
slipway: 1
name: backtest
kinds: [kinds/*.yaml]
images:
  docker.io/airbyte/python-connector-base: //base:image
  docker.io/airbyte/source-declarative-manifest: //base:image
"""
JAVA = workspace.KIND.format(kind="java", match="{any: [build.gradle, build.gradle.kts], none: [pyproject.toml, manifest.yaml]}",
                             main="build.gradle?")


def language(path, files):
  folder = os.path.dirname(path)
  if f"{folder}/manifest.yaml" in files:
    return "manifest-only"
  return "python" if f"{folder}/pyproject.toml" in files else "java"


class Contents:
  """What each file holds now."""

  def __init__(self, edits):
    self.edits, self.texts, self.counts = edits, {}, {}

  def of(self, path, files):
    count = self.counts[path] = self.counts.get(path, -1) + 1
    if not (path.startswith(CONNECTORS) and path.endswith("/metadata.yaml")):
      return f"{path} {count}\n"
    text = self.texts.get(path)
    if text is None:
      name = path.split("/")[-2]
      seed = zlib.crc32(name.encode())
      text = workspace.metadata(random.Random(seed), name, language(path, files), seed % 10000)
    elif self.edits == "bump":
      text = re.sub(r"(dockerImageTag: \d+\.\d+\.)(\d+)", lambda m: f"{m[1]}{int(m[2]) + 1}", text, count=1)
    else:
      text = re.sub(r"\n  note: .*", "", text).replace("\n  githubIssueLabel:", f"\n  note: {count}\n  githubIssueLabel:", 1)
    self.texts[path] = text
    return text


def blob(path, text):
  data = text.encode()
  return f"M 100644 inline {json.dumps(path)}\ndata {len(data)}\n{text}\n"


def stream(commits, listed, edits):
  first = {}
  for commit in commits:
    for status, path, *_ in commit["files"]:
      first.setdefault(path, status[0])
  files = {path for path in listed if path not in first} | {path for path, status in first.items() if status != "A"}
  contents = Contents(edits)

  def commit(time, body, message):
    return (f"commit refs/heads/main\ncommitter backtest <backtest@localhost> {time} +0000\n"
            f"data {len(message)}\n{message}\n{body}\n")

  body = blob("slipway.yaml", SETTINGS) + blob("kinds/java.yaml", JAVA) + blob("base/targets.yaml", workspace.BASE)
  body += "".join(blob(f"base/{name}", name) for name in ("bin/busybox", "tmp/.keep", "airbyte/.keep"))
  body += "".join(blob(path, contents.of(path, files)) for path in sorted(files))
  yield commit(commits[0]["time"] - 1, body, "start")
  for entry in commits:
    body = ""
    changed = [(status[0], path) for status, path, *_ in entry["files"]]
    for status, path in changed:
      (files.discard if status == "D" else files.add)(path)
    for status, path in changed:
      body += f"D {json.dumps(path)}\n" if status == "D" else blob(path, contents.of(path, files))
    yield commit(entry["time"], body, entry["sha"])


def main():
  parser = argparse.ArgumentParser(description="Makes a repository of a recorded history.")
  parser.add_argument("history", help="commits as JSON lines, gzipped")
  parser.add_argument("files", help="size and path of every file of the connectors' folder, tab-separated, gzipped")
  parser.add_argument("folder", help="where to make it, afresh")
  parser.add_argument("--last", type=int, default=1000, help="how many commits")
  parser.add_argument("--edits", choices=("bump", "description"), default="bump", help="what an edit of metadata.yaml is")
  options = parser.parse_args()
  with gzip.open(options.history, "rt", encoding="utf-8") as file:
    commits = [json.loads(line) for _, line in zip(range(options.last), file)][::-1]
  with gzip.open(options.files, "rt", encoding="utf-8") as file:
    listed = {CONNECTORS + line.rstrip("\n").split("\t", 1)[1] for line in file}
  shutil.rmtree(options.folder, ignore_errors=True)
  subprocess.run(["git", "init", "-q", "-b", "main", options.folder], check=True)
  git = ["git", "-C", options.folder]
  text = "".join(stream(commits, listed, options.edits))
  subprocess.run(git + ["fast-import", "--quiet", "--force"], input=text.encode(), check=True)
  subprocess.run(git + ["reset", "-q", "--hard", "main"], check=True)
  print(f"{len(commits)} commits: slipway simulate -C {options.folder} --commits main~{len(commits)}..main")


if __name__ == "__main__":
  main()
