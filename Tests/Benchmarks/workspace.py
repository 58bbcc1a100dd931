"""Generates a monorepo of connectors of real shape, the same for the same seed.

Shape: the shares of languages, the files per connector (as percentiles) and the file sizes of Airbyte's repository at
the end of 2024: about 17.8 files and 190 KB a connector. All text is made here.
"""

import os
import random
import shutil
import subprocess

# Share of the connectors; files per connector at the quantiles 0, 0.1, 0.5, 0.9 and 1.
LANGUAGES = {
  "manifest-only": (0.63, (4, 5, 5, 13, 27)),
  "python": (0.15, (10, 14, 25, 102, 212)),
  "low-code": (0.09, (12, 21, 36, 69, 161)),
  "java": (0.13, (4, 8, 22, 72, 109)),
}
QUANTILES = (0.0, 0.1, 0.5, 0.9, 1.0)
WORDS = (
  "stream record cursor schema config state catalog token page limit offset account order invoice contact ticket "
  "campaign report event metric user group updated created since until field object array string integer null "
  "retry backoff header query path response decode extract transform partition slice interval window"
).split()

SLIPWAY = """\
slipway: 1
name: benchmark
kinds: [kinds/*.yaml]
ignore: ["**/secrets/**"]
"""

# Four targets a connector: an action over all of its files, one over its manifest, an image and a test in that image.
KIND = """\
kind: {kind}
match: {match}
targets:
  lint:
    rule: action
    image: //base:image
    inputs: ["**"]
    run: [sh, -c, "test -s metadata.yaml && echo ok > lint.txt"]
    outputs: {{report: lint.txt}}
  pack:
    rule: action
    image: //base:image
    inputs: [metadata.yaml, "{main}"]
    run: [sh, -c, "mkdir out && cp metadata.yaml out/"]
    outputs: {{out: out}}
  image:
    rule: image
    base: //base:image
    layers: [{{from: ":pack#out", to: /airbyte}}]
    config:
      entrypoint: [cat, /airbyte/metadata.yaml]
      labels: {{io.airbyte.version: "${{data.dockerImageTag}}", io.airbyte.name: "${{data.dockerRepository}}"}}
  test:
    rule: test
    image: ":image"
    inputs: ["README.md?", "unit_tests/**?"]
    run: [sh, -c, "test -s /airbyte/metadata.yaml"]
"""
# What is published is tested first, and the last test prints the specification.
PUBLISH = """\
  spec:
    rule: test
    image: ":image"
    run: [sh, -c, "echo '{\\"type\\":\\"SPEC\\",\\"spec\\":{\\"connectionSpecification\\":{}}}'"]
  test: {rule: suite, tests: [":unit", ":spec"]}
  publish: {rule: publish, image: ":image", metadata: "${data}"}
"""
KINDS = {
  "a-manifest": ("{all: [manifest.yaml]}", "manifest.yaml"),
  "b-python": ("{all: [pyproject.toml, main.py], none: [manifest.yaml]}", "main.py"),
  "c-java": ("{all: [build.gradle]}", "build.gradle"),
}
BASE = """\
targets:
  root: {rule: files, srcs: ["bin/**", "tmp/.keep", "airbyte/.keep"]}
  image:
    rule: image
    layers: [{from: ":root", to: /}]
    config: {env: {PATH: /bin}}
default: image
"""


def at_quantile(points, u):
  """The value at quantile `u` of the distribution through `points`: straight below the median, thinning above."""
  for (low, high), (a, b) in zip(zip(QUANTILES, QUANTILES[1:]), zip(points, points[1:])):
    if u <= high:
      part = (u - low) / (high - low)
      return round(a + (b - a) * (part**(3 if high == 1 else 1.7 if low == 0.5 else 1)))
  return points[-1]


def metadata(r, name, language, number):
  """The text of a metadata.yaml: unquoted dates, comments and key orders as they occur in real ones."""
  tag = "low-code" if language == "low-code" else language
  is_python = language in ("python", "low-code")
  date = f"20{r.randint(20, 24)}-{r.randint(1, 12):02}-{r.randint(1, 28):02}"
  title = name.removeprefix("source-").replace("-", " ").title()
  lines = ["data:"]
  add = lines.append
  if r.random() < 0.3:
    add("  ab_internal:\n    ql: %d\n    sl: %d" % (r.choice((100, 200, 300, 400)), r.choice((100, 200))))
  add("  allowedHosts:\n    hosts:")
  for _ in range(r.randint(1, 3)):
    add(f"      - {r.choice(WORDS)}.{r.choice(WORDS)}-{number}.example.com")
  if r.random() < 0.2:
    add('      - "${api_url}" # filled in from the configuration')
  if r.random() < 0.9:
    base = {"manifest-only": "source-declarative-manifest", "java": "java-connector-base"}
    digest = "%064x" % r.getrandbits(256)
    add("  connectorBuildOptions:")
    add(f"    baseImage: docker.io/airbyte/{base.get(language, 'python-connector-base')}:"
        f"{r.randint(1, 6)}.{r.randint(0, 60)}.{r.randint(0, 9)}@sha256:{digest}")
  add("  connectorSubtype: %s" % r.choice(("api", "database", "file")))
  add("  connectorType: source")
  add("  definitionId: %08x-%04x-4%03x-a%03x-%012x" % tuple(r.getrandbits(b) for b in (32, 16, 12, 12, 48)))
  add(f"  dockerImageTag: {r.randint(0, 4)}.{r.randint(0, 30)}.{r.randint(0, 40)}")
  add(f"  dockerRepository: airbyte/{name}")
  add(f"  documentationUrl: https://docs.example.com/integrations/sources/{name.removeprefix('source-')}")
  add(f"  githubIssueLabel: {name}\n  icon: icon.svg\n  license: %s" % r.choice(("MIT", "ELv2")))
  add(f"  name: {title}")
  if is_python:
    add(f"  remoteRegistries:\n    pypi:\n      enabled: {r.choice(('true', 'false'))}\n"
        f"      packageName: airbyte-{name}")
  add("  registryOverrides:\n    cloud:\n      enabled: %s\n    oss:\n      enabled: true" %
      r.choice(("true", "false")))
  if r.random() < 0.5:
    add(f"  releaseDate: {date}")
  add("  releaseStage: %s" % r.choice(("alpha", "beta", "generally_available")))
  if r.random() < 0.14:
    add("  releases:\n    breakingChanges:\n      2.0.0:\n"
        f"        message: >-\n          The {r.choice(WORDS)} stream has a new {r.choice(WORDS)}; refresh its schema,"
        f"\n          then reset it.\n        upgradeDeadline: \"{date}\"")
  add("  supportLevel: %s" % r.choice(("community", "certified")))
  add(f"  tags:\n    - language:{'python' if is_python else tag}\n    - cdk:{tag}")
  if r.random() < 0.8:
    add("  connectorTestSuitesOptions:")
    if r.random() < 0.5:
      add("    - suite: unitTests")
    add("    - suite: acceptanceTests")
    if r.random() < 0.5:
      add(f"      testSecrets:\n        - name: SECRET_{name.upper()}__CREDS\n          fileName: config.json\n"
          "          secretStore:\n            type: GSM\n            alias: airbyte-connector-testing-secret-store")
  if r.random() < 0.2:
    lines.insert(r.randint(1, 3), "  # Keep in step with the documentation.")
  version = 'metadataSpecVersion: "1.0"'
  lines = [version] + lines if r.random() < 0.36 else lines + [version]
  return "\n".join(lines) + "\n"


def file_names(language, name, count):
  """The first `count` files of a connector, without its metadata.yaml: those that give it its kind come first."""
  package = name.replace("-", "_")
  if language == "manifest-only":
    names = ["manifest.yaml", "README.md", "icon.svg", "acceptance-test-config.yml", "components.py"]
    rest = "unit_tests/test_{0}.py"
  elif language == "java":
    names = ["build.gradle", "README.md", "icon.svg", "acceptance-test-config.yml", "gradle.properties"]
    rest = "src/main/java/io/connector/{1}/Part{0}.java"
  else:
    names = ["pyproject.toml", "main.py", "README.md", f"{package}/__init__.py", f"{package}/source.py",
             "poetry.lock", "icon.svg", "acceptance-test-config.yml", "unit_tests/__init__.py",
             "unit_tests/test_source.py"]
    if language == "low-code":
      names.insert(3, f"{package}/manifest.yaml")
    rest = "{1}/schemas/stream_{0}.json"
  number = 0
  while len(names) < count:
    pattern = "integration_tests/expected_{0}.jsonl" if number % 5 == 4 else rest
    names.append(pattern.format(number, package))
    number += 1
  return names[:count]


def connectors(count, seed):
  """(name, language, number of files with metadata.yaml) of each connector."""
  r = random.Random(seed)
  languages = []
  for language, (share, _) in LANGUAGES.items():
    languages += [language] * round(share * count)
  languages = (languages + ["manifest-only"] * count)[:count]
  r.shuffle(languages)
  for number, language in enumerate(languages):
    name = "source-one" if number == 0 else f"source-{r.choice(WORDS)}-{r.choice(WORDS)}-{number:04}"
    yield name, language, at_quantile(LANGUAGES[language][1], r.random())


def size(r):
  """Bytes of one file: most are small, a few hold recorded responses. The mean is about 10 KB."""
  return min(int(r.lognormvariate(7.7, 1.65)) + 60, 600_000)


def write(path, data, mode=0o644):
  os.makedirs(os.path.dirname(path), exist_ok=True)
  with open(path, "wb") as file:
    file.write(data if isinstance(data, bytes) else data.encode())
  os.chmod(path, mode)


def write_base(root):
  """A base image of one static busybox, so that an action's cost is the tool's and not the image's."""
  with open("/bin/busybox", "rb") as file:
    write(f"{root}/base/bin/busybox", file.read(), 0o755)
  for applet in ("sh", "cat", "cp", "mkdir", "test", "touch", "echo"):
    os.symlink("busybox", f"{root}/base/bin/{applet}")
  write(f"{root}/base/tmp/.keep", "")
  write(f"{root}/base/airbyte/.keep", "")
  write(f"{root}/base/targets.yaml", BASE)


def commit(root):
  git = ["git", "-C", root, "-c", "core.compression=0", "-c", "gc.auto=0", "-c", "user.name=bench",
         "-c", "user.email=bench@localhost", "-c", "commit.gpgsign=false"]
  subprocess.run(["git", "init", "-q", root], check=True, stderr=subprocess.DEVNULL)
  subprocess.run(git + ["add", "-A"], check=True)
  subprocess.run(git + ["commit", "-q", "-m", "Generated"], check=True)


def generate(root, count, seed=1, publish=False):
  """Makes the workspace `root` afresh; returns the files of each connector, relative to the root."""
  shutil.rmtree(root, ignore_errors=True)
  r = random.Random(seed)
  text = " ".join(r.choice(WORDS) + ("\n#" if r.random() < 0.1 else "") for _ in range(200_000)).encode()
  write(f"{root}/slipway.yaml", SLIPWAY)
  write(f"{root}/.gitignore", ".slipway/\n")
  for kind, (match, main) in KINDS.items():
    text_of_kind = KIND.format(kind=kind, match=match, main=main)
    if publish:
      text_of_kind = text_of_kind.replace("  test:\n", "  unit:\n") + PUBLISH
    write(f"{root}/kinds/{kind}.yaml", text_of_kind)
  write_base(root)
  tree = {}
  for number, (name, language, files) in enumerate(connectors(count, seed)):
    folder = f"connectors/{name}"
    write(f"{root}/{folder}/metadata.yaml", metadata(r, name, language, number))
    tree[folder] = [f"{folder}/metadata.yaml"]
    for file in file_names(language, name, files - 1):
      start, length = r.randrange(len(text) // 2), size(r)
      write(f"{root}/{folder}/{file}", f"# {folder}/{file}\n#".encode() + text[start:start + length] + b"\n")
      tree[folder].append(f"{folder}/{file}")
  commit(root)
  return tree
