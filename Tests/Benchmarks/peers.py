"""The same work for the peers: a ninja file over the same files, Bazel genrules of the same shape, a Dockerfile."""

import os
import shutil

from workspace import write


def ninja_file(tree, build):
  """A ninja file with four edges a connector over the files of `tree`; outputs and log go to `build`.

  Run as `ninja -f FILE` in the workspace's folder: the very files that slipway looks at.
  """
  lines = [f"builddir = {build}", "rule touch", "  command = mkdir -p $$(dirname $out) && touch $out"]
  ends = []
  for folder, files in tree.items():
    out = f"{build}/{folder}"
    main = next(f for f in files if f.endswith(("manifest.yaml", "main.py", "build.gradle")))
    tests = [f for f in files if "/unit_tests/" in f or f.endswith("README.md")]
    lines += [f"build {out}/lint: touch {' '.join(files)}",
              f"build {out}/pack: touch {folder}/metadata.yaml {main}",
              f"build {out}/image: touch {out}/pack | base/bin/busybox",
              f"build {out}/test: touch {out}/image {' '.join(tests)}"]
    ends += [f"{out}/lint", f"{out}/test"]
  lines += [f"build all: phony {' '.join(ends)}", "default all"]
  return "\n".join(lines) + "\n"


BAZEL_CONNECTOR = """\
genrule(name = "lint", srcs = glob(["**"]), outs = ["lint.txt"], cmd = "echo ok > $@")
genrule(name = "pack", srcs = ["metadata.yaml", "{main}"], outs = ["pack.txt"], cmd = "cat $(SRCS) > $@")
genrule(name = "image", srcs = [":pack", "//base:root"], outs = ["image.txt"], cmd = "cat $(location :pack) > $@")
genrule(name = "test", srcs = [":image"] + glob(["README.md", "unit_tests/**"]), outs = ["test.txt"],
  cmd = "test -s $(location :image) && touch $@")
"""


def bazel_workspace(source, root, tree):
  """A copy of the workspace `source` as Bazel genrules: the same files, the same edges."""
  shutil.rmtree(root, ignore_errors=True)
  shutil.copytree(source, root, symlinks=True, ignore=shutil.ignore_patterns(".git", ".slipway"))
  write(f"{root}/WORKSPACE", "")
  write(f"{root}/base/BUILD",
        'filegroup(name = "root", srcs = glob(["bin/**"]), visibility = ["//visibility:public"])\n')
  for folder, files in tree.items():
    main = next(f for f in files if f.endswith(("manifest.yaml", "main.py", "build.gradle")))
    write(f"{root}/{folder}/BUILD", BAZEL_CONNECTOR.format(main=main.removeprefix(folder + "/")))


def bazel_trivial(root, count, salt):
  """A workspace of `count` genrules that write one line; `salt` makes each one new."""
  write(f"{root}/WORKSPACE", "")
  rules = [f'genrule(name = "a{n}", outs = ["a{n}.txt"], cmd = "echo {salt} {n} > $@")' for n in range(count)]
  write(f"{root}/BUILD", "\n".join(rules) + "\n")


def slipway_trivial(root, count, salt):
  """The same for slipway: `count` actions in the busybox image, each in its own network namespace.

  Their commands differ, since equal actions of one package share a key and execute once.
  """
  lines = ["targets:"]
  for n in range(count):
    lines.append(f"  a{n}: {{rule: action, image: //base:image, run: [sh, -c, echo {salt} {n} > out.txt], "
                 f"outputs: {{out: out.txt}}}}")
  write(f"{root}/many/targets.yaml", "\n".join(lines) + "\n")


def bazel(output_root, *arguments):
  """The command line of Debian's Bazel without network, in its own server."""
  return ["bazel", "--nosystem_rc", "--nohome_rc", "--noworkspace_rc", "--install_base=/usr/share/bazel",
          "--trust_install_base", f"--output_user_root={output_root}", "--max_idle_secs=600", *arguments]


BAZEL_BUILD = ("build", "--color=no", "--curses=no", "--noshow_progress", "--nosandbox_debug", "--jobs=2")


def buildah(store, *arguments):
  """The command line of buildah with a store of its own."""
  return ["buildah", "--root", f"{store}/root", "--runroot", f"{store}/run", *arguments]


def has(program):
  return shutil.which(program) is not None


def environment(cache):
  """What every measured command sees: slipway's cache is the benchmark's own."""
  return {**{k: v for k, v in os.environ.items() if k not in ("CI", "XDG_CACHE_HOME")}, "XDG_CACHE_HOME": cache}
