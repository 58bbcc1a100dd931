"""Servers that the benchmarks start on loopback: each has a free port and a folder, and is stopped by its own pid."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time

from measure import Failed

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
BUILDBOX = f"{TOP}/.build-servers/buildstream/subprojects/buildbox"

# As in README.md, "Share a cache".
NGINX = """\
daemon off; master_process off; pid {root}/nginx.pid; error_log {root}/nginx.log error;
events {{ worker_connections 512; }}
http {{
  access_log off; log_not_found off; default_type application/octet-stream; client_max_body_size 1g;
  client_body_temp_path {root}/store/tmp; fastcgi_temp_path {root}/tmp/fastcgi; uwsgi_temp_path {root}/tmp/uwsgi;
  scgi_temp_path {root}/tmp/scgi; proxy_temp_path {root}/tmp/proxy;
  server {{
    listen 127.0.0.1:{port};
    location ~ "^/(ac|cas)/[0-9a-f]{{64}}$" {{ root {root}/store; dav_methods PUT DELETE; create_full_put_path on; }}
  }}
}}
"""


def free_port():
  """A port that nobody listens at for the moment."""
  with socket.socket() as found:
    found.bind(("127.0.0.1", 0))
    return found.getsockname()[1]


def listens(port):
  with socket.socket() as probe:
    probe.settimeout(1)
    return probe.connect_ex(("127.0.0.1", port)) == 0


class Server:
  """A process that listens at a port, and its URL; `with` stops it."""

  def __init__(self, argv, port, folder, scheme="http"):
    self.port, self.folder, self.url = port, folder, f"{scheme}://127.0.0.1:{port}"
    with open(f"{folder}/log", "ab") as log:
      self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    deadline = time.monotonic() + 20
    while not listens(port):
      if time.monotonic() > deadline or self.process.poll() is not None:
        self.stop()
        with open(f"{folder}/log", encoding="utf-8", errors="replace") as log:
          raise Failed(f"{os.path.basename(argv[0])} did not start: {log.read()[-500:]}")
      time.sleep(0.01)

  def cpu(self):
    """Milliseconds of CPU that the process itself has used."""
    with open(f"/proc/{self.process.pid}/stat", encoding="utf-8") as file:
      fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) * 1000 / os.sysconf("SC_CLK_TCK")

  def stop(self):
    """Ends the process, if it did not end itself, and waits until its port is free."""
    for number, patience in ((signal.SIGTERM, 5), (signal.SIGKILL, 5)):
      if self.process.poll() is None:
        self.process.send_signal(number)
        try:
          self.process.wait(patience)
        except subprocess.TimeoutExpired:
          pass
    deadline = time.monotonic() + 5
    while listens(self.port) and time.monotonic() < deadline:
      time.sleep(0.01)

  def __enter__(self):
    return self

  def __exit__(self, *_):
    self.stop()


def nginx(folder):
  """nginx as Bazel's simple HTTP cache; what it keeps is in `store` and outlives it."""
  # On the file system of the files, so that a PUT ends in a rename.
  for name in ("store/tmp", "tmp"):
    os.makedirs(f"{folder}/{name}", exist_ok=True)
  port = free_port()
  with open(f"{folder}/nginx.conf", "w", encoding="utf-8") as file:
    file.write(NGINX.format(root=folder, port=port))
  return Server(["nginx", "-p", folder, "-e", f"{folder}/nginx.log", "-c", f"{folder}/nginx.conf"], port, folder)


def casd(folder, jobs=0):
  """buildbox-casd, which speaks the Remote Execution API, with so many workers; what it keeps is in `store` and outlives it."""
  if not os.access(f"{BUILDBOX}/buildbox-casd", os.X_OK):
    raise Failed("buildbox-casd is missing: run .ci/servers")
  os.makedirs(f"{folder}/store", exist_ok=True)
  port = free_port()
  return Server([f"{BUILDBOX}/buildbox-casd", f"--bind=127.0.0.1:{port}", f"--buildbox-run={BUILDBOX}/buildbox-run",
                 *([f"--jobs={jobs}"] if jobs else []), "--quota-high=2G", "--reserved=100M", f"{folder}/store"], port,
                folder, "grpc")


class buildgrid:
  """BuildGrid with PostgreSQL and two workers that have a shell; `with` ends it."""

  def __init__(self, folder):
    self.folder, port = folder, free_port()
    self.url = f"grpc://127.0.0.1:{port}"
    self.script("up", "--port", str(port), "--shell")

  def script(self, *command):
    done = subprocess.run([f"{TOP}/.ci/engine-server", *command, "--folder", self.folder], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode != 0:
      raise Failed(f"engine-server {command[0]}: {done.stdout[-500:].decode(errors='replace')}")

  def __enter__(self):
    return self

  def __exit__(self, *_):
    self.script("down")


class Relay:
  """Hands bytes on to a server on a port of its own, and back; `with` ends it."""

  def __init__(self, server):
    self.to, self.listener = server.port, socket.create_server(("127.0.0.1", 0))
    self.url = f"{server.url.split(':')[0]}://127.0.0.1:{self.listener.getsockname()[1]}"
    threading.Thread(target=self.accept, daemon=True).start()

  def forward(self, data):
    return data

  def accept(self):
    while True:
      try:
        client, _ = self.listener.accept()
      except OSError:
        return
      server = socket.create_connection(("127.0.0.1", self.to))
      for source, target, change in ((client, server, self.forward), (server, client, lambda data: data)):
        threading.Thread(target=self.move, args=(source, target, change), daemon=True).start()

  @staticmethod
  def move(source, target, change):
    try:
      while data := source.recv(1 << 16):
        target.sendall(change(data))
    except OSError:
      pass
    for end in (source, target):
      try:
        end.shutdown(socket.SHUT_RDWR)
      except OSError:
        pass

  def __enter__(self):
    return self

  def __exit__(self, *_):
    self.listener.close()


def proxy(server, folder, *fault):
  """The fault proxy before `server`; `fault` is its command line. Without a server it answers for one itself."""
  os.makedirs(folder, exist_ok=True)
  port = free_port()
  scheme = server.url.split(":")[0]
  return Server([sys.executable, "-B", f"{HERE}/faultproxy.py", "--listen", str(port), "--to", str(server.port),
                 "--protocol", scheme, *fault], port, folder, scheme)
