"""Gives a generated workspace a history: commits of the sorts, sizes and shares that a year of Airbyte's repository has."""

import random
import re
import subprocess

import workspace

# How many connectors a commit touches, and how often: half of all commits touch none or one, a few are sweeps.
SPREAD = ((0, 0.3), (1, 0.55), (2, 0.08), (5, 0.05), (40, 0.02))
PAGES = 4000


def blob(path, text):
  data = text.encode()
  return f"M 100644 inline {path}\ndata {len(data)}\n{text}\n"


def extend(root, tree, commits, seed=7):
  """Commits pages that nothing reads, so that the tree holds 15,000 files, and then `commits` changes of connectors."""
  r = random.Random(seed)
  folders = sorted(tree)
  metadata = {}
  lines = []

  def commit(number, body):
    message = f"change {number}"
    start = "from refs/heads/main^0\n" if number == 0 else ""
    lines.append(f"commit refs/heads/main\ncommitter bench <bench@localhost> {1700000000 + 600 * number} +0000\n"
                 f"data {len(message)}\n{message}\n{start}{body}\n")

  def bumped(folder):
    if folder not in metadata:
      with open(f"{root}/{folder}/metadata.yaml", encoding="utf-8") as file:
        metadata[folder] = file.read()
    step = lambda found: f"{found[1]}{int(found[2]) + 1}"
    metadata[folder] = re.sub(r"(dockerImageTag: \d+\.\d+\.)(\d+)", step, metadata[folder], count=1)
    return blob(f"{folder}/metadata.yaml", metadata[folder])

  def change(number):
    u, count = r.random(), 0
    for count, share in SPREAD:
      u -= share
      if u < 0:
        break
    if count == 0:
      return blob(f"docs/page-{r.randrange(PAGES)}.md", f"# Page, changed by {number}\n")
    body = ""
    for folder in r.sample(folders, min(count, len(folders))):
      body += bumped(folder)
      main = next((f for f in tree[folder] if f.endswith(("main.py", "manifest.yaml", "build.gradle"))), None)
      if main and r.random() < 0.7:
        body += blob(main, f"# {folder}, changed by {number}\n")
    return body

  commit(0, "".join(blob(f"docs/page-{n}.md", f"# Page {n}\n") for n in range(PAGES)))
  for number in range(1, commits + 1):
    commit(number, change(number))
  git = ["git", "-C", root]
  subprocess.run(git + ["branch", "-M", "main"], check=True)
  subprocess.run(git + ["fast-import", "--quiet"], input="".join(lines).encode(), check=True)
  subprocess.run(git + ["reset", "-q", "--hard", "main"], check=True)


def generate(root, count, commits):
  tree = workspace.generate(root, count)
  extend(root, tree, commits)
  return tree
