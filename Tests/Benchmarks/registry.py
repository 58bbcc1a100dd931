"""The rows that need a registry: docker-registry on loopback, pushed to and pulled from by slipway and its peers."""

import json
import os
import shutil
import socket
import subprocess
import time

import peers
import workspace
from measure import Failed, Row, interleave, run, say

# Sends blobs as short as curl can: one request opens an upload, the next one brings all bytes.
CURL = r"""
set -eu
url=$1; shift
while [ $# -gt 0 ]; do
  place=$(curl -sSf --noproxy '*' -X POST -o /dev/null -w '%header{location}' "$url/blobs/uploads/")
  curl -sSf --noproxy '*' -T "$2" -H 'Content-Type: application/octet-stream' "$place&digest=$1"
  shift 2
done
"""


class Registry:
  """docker-registry with its data in a folder that stays; stopped by `stop`."""

  def __init__(self, folder):
    with socket.socket() as probe:
      probe.bind(("127.0.0.1", 0))
      port = probe.getsockname()[1]
    self.host = f"127.0.0.1:{port}"
    workspace.write(f"{folder}/config.yml", f"""\
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: "{folder}/data"}}, delete: {{enabled: true}}}}
http: {{addr: "{self.host}", secret: benchmark}}
""")
    with open(f"{folder}/log", "wb") as log:
      self.process = subprocess.Popen(["docker-registry", "serve", f"{folder}/config.yml"], stdin=subprocess.DEVNULL,
                                      stdout=log, stderr=log)
    for _ in range(500):
      with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
          return
      if self.process.poll() is not None:
        break
      time.sleep(0.02)
    self.stop()
    raise Failed(f"docker-registry did not start: see {folder}/log")

  def stop(self):
    self.process.terminate()
    self.process.wait()


class RegistryRows:
  """Rows of `Bench` that need a registry."""

  def serve(self, row):
    self.require("docker-registry", row)
    return Registry(f"{self.work}/registry")

  def publish(self):
    row = self.add(Row("publish of 600 connectors, all identical, with a metadata store"))
    root, _ = self.tree(600, publish=True)
    registry = self.serve(row)
    try:
      env = {**self.env, "SLIPWAY_PUBLISH_REGISTRY": registry.host,
             "SLIPWAY_PUBLISH_METADATA": f"file://{self.work}/metadata"}
      say("publishing 600 connectors")
      first = self.slipway(root, "publish", env=env)
      say(f"the first time took {first.wall / 1000:.1f} s: {self.output().splitlines()[-1]}")

      def again(_):
        sample = self.slipway(root, "publish", env=env)
        self.expect("600 connectors: 600 identical")
        return sample
      row.ours = interleave({"slipway": again}, self.rounds(9), warm=2)["slipway"]
      row.limit(row.ours.median() / 1000, 5, " s")
    finally:
      registry.stop()

  def push(self):
    rows = {}
    for size, what in ((200, "a layer of one file"), (32 << 20, "a layer of 34 MB")):
      rows[size] = self.add(Row(f"push of one new image on a shared base, {what}, against curl for its new blobs"))
    row = rows[200]
    self.require("curl", row)
    root, _ = self.debian(row)
    registry = self.serve(row)
    try:
      self.slipway(root, "image", "push", "//debian:image", f"{registry.host}/bench/app:base")
      for size, row in rows.items():
        def build(side, number):
          """Builds another image; the arguments that curl takes for what is new of it."""
          salt = f"{os.getpid()} {side} {number}\n".encode()
          workspace.write(f"{root}/app/code/main.py", salt + (os.urandom(size) if size > 1 << 20 else salt * 5))
          self.slipway(root, "image", "inspect", "//app:image")
          image = json.loads(self.output()[self.output().index("{"):])
          new = [image["layers"][-1]["digest"], image["config"]["digest"]]
          return [part for digest in new for part in (digest, self.blob(digest))]

        def ours(number):
          build("a", number)
          return self.slipway(root, "image", "push", "//app:image", f"{registry.host}/bench/app:{os.getpid()}-{number}")

        def theirs(number):
          new = build("b", number)
          return run(["sh", "-c", CURL, "sh", f"http://{registry.host}/v2/bench/app", *new], log=self.log)
        s = interleave({"slipway": ours, "curl": theirs}, self.rounds(11), warm=2)
        row.ours, row.peer = s["slipway"], s["curl"]
        row.limit(row.ours.median() / row.peer.median(), 1.2, " ×")
    finally:
      registry.stop()

  def blob(self, digest):
    name = digest.removeprefix("sha256:")
    return f"{self.env['XDG_CACHE_HOME']}/slipway/v1/cas/{name[:2]}/{name}"

  def pull(self):
    row = self.add(Row("pull and unpack into an empty store, against skopeo copy and umoci unpack"))
    for program in ("skopeo", "umoci"):
      self.require(program, row)
    built, megabytes = self.debian(row)
    row.what += f", {megabytes} MB compressed"
    registry = self.serve(row)
    try:
      image = f"{registry.host}/bench/debian"
      self.slipway(built, "image", "push", "//debian:image", f"{image}:1")
      digest = self.output().split()[-1].split("@")[-1]
      root, rounds = f"{self.work}/pull", f"{self.work}/pull-rounds"
      for folder in (root, rounds):
        shutil.rmtree(folder, ignore_errors=True)
      workspace.write(f"{root}/slipway.yaml", "slipway: 1\nname: pull\n")
      # An action needs the image unpacked.
      workspace.write(f"{root}/app/targets.yaml", f"""\
targets:
  use: {{rule: action, image: "{image}:1@{digest}", run: [touch, done], outputs: {{done: done}}}}
""")
      workspace.commit(root)

      # Each round has folders of its own: for seconds after thousands of files went, ext4 looks at each inode that it
      # gives out anew, which costs either side up to five times the time of its own work.
      def folder():
        folder = f"{rounds}/{len(os.listdir(rounds))}"
        os.makedirs(folder)
        return folder
      os.makedirs(rounds)

      def ours(_):
        shutil.rmtree(f"{root}/.slipway", ignore_errors=True)
        sample = self.slipway(root, "build", "//app:use", env=peers.environment(folder()))
        self.expect("2 executed")
        return sample

      def theirs(_):
        script = 'skopeo copy -q --src-tls-verify=false "docker://$0" oci:layout:1 && umoci unpack --image layout:1 out'
        return self.execute(["sh", "-c", script, f"{image}@{digest}"], folder())
      s = interleave({"slipway": ours, "skopeo and umoci": theirs}, self.rounds(7))
      row.ours, row.peer = s["slipway"], s["skopeo and umoci"]
      row.limit(row.ours.median() / row.peer.median(), 0.7, " ×")
      shutil.rmtree(rounds, ignore_errors=True)
    finally:
      registry.stop()

  def build_and_push(self):
    row = self.add(Row("image of one layer of a few files, built and pushed"))
    for program in ("buildah", "skopeo"):
      self.require(program, row)
    root, _ = self.debian(row)
    store = self.buildah_base(root)
    registry = self.serve(row)
    try:
      self.slipway(root, "image", "push", "//debian:image", f"{registry.host}/bench/ours:base")

      def ours(number):
        self.salt(root, f"c{number}")
        sample = self.slipway(root, "image", "push", "//app:image", f"{registry.host}/bench/ours:{os.getpid()}-{number}")
        self.expect("1 executed")
        return sample

      def theirs(number):
        self.salt(root, f"d{number}")
        script = '"$@" bud --isolation chroot --network host --no-cache -q -t app . && ' \
                 f'"$@" push -q --tls-verify=false app docker://{registry.host}/bench/theirs:{os.getpid()}-{number}'
        return self.execute(["sh", "-c", script, "sh", *peers.buildah(store, "--storage-driver", "overlay")],
                            f"{root}/app", 120)
      s = interleave({"slipway": ours, "buildah bud and push": theirs}, self.rounds(9))
      row.ours, row.peer = s["slipway"], s["buildah bud and push"]
      row.limit(row.ours.median() / row.peer.median(), 0.2, " ×")
    finally:
      registry.stop()
