"""A proxy on loopback that stands before a cache server and does one thing wrong.

    faultproxy.py --listen 4001 --to 8089 --protocol http slow --seconds 5

HTTP/1.1 is followed message by message, HTTP/2 frame by frame, so that only what the fault is about is changed:

    none      nothing
    killed    the process ends, and all its connections with it, at the request after the first N (`--after`)
    hanging   connections are accepted, requests read, nothing is ever answered
    slow      each answer comes `--seconds` late: a response (HTTP), every frame of a call (HTTP/2), however many at once
    corrupt   one bit in the middle of each body (HTTP), of each DATA frame from 1 KiB (HTTP/2), is another
    truncate  the connection ends in the middle of such a body or frame
    status    the proxy answers itself: an HTTP status, or a gRPC one (14 is UNAVAILABLE), `--code`
    html      the proxy answers itself: 200 and a web page (HTTP only)

With `--method` or `--path` only requests of that method, or whose path begins so, meet the fault (HTTP only).
"""

import argparse
import asyncio
import os
import sys
import time

PAGE = b"<html><head><title>Sign in</title></head><body><h1>Sign in to the guest network</h1></body></html>\n"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, SETTINGS, PING, WINDOW_UPDATE = 0, 1, 4, 6, 8
# Smaller frames are results and answers without blobs.
LARGE = 1024


class Closed(Exception):
  """A side has closed, or is to be closed."""


class Proxy:
  def __init__(self, options):
    self.options, self.fault, self.calls = options, options.fault, 0

  def meets(self, method, path):
    return (not self.options.method or method == self.options.method) and path.startswith(self.options.path)

  def count(self):
    """Notes one more request; ends the process when it is one too many."""
    self.calls += 1
    if self.fault == "killed" and self.calls > self.options.after:
      os._exit(0)

  async def serve(self, reader, writer):
    others = []
    try:
      if self.fault == "hanging":
        while await reader.read(1 << 16):
          pass
      elif self.options.protocol == "http":
        await self.http(reader, writer, others)
      elif self.fault == "status":
        await self.refuse(reader, writer)
      else:
        await self.http2(reader, writer, others)
    except (Closed, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
      pass
    finally:
      for one in [writer] + others:
        one.close()

  async def connect(self, others):
    reader, writer = await asyncio.open_connection("127.0.0.1", self.options.to, limit=1 << 20)
    others.append(writer)
    return reader, writer

  # HTTP/1.1

  async def http(self, reader, writer, others):
    server = None
    while True:
      head = await reader.readuntil(b"\r\n\r\n")
      method, path = head.split(b" ", 2)[:2]
      method, path = method.decode(), path.decode()
      self.count()
      meets = self.meets(method, path)
      if meets and self.fault in ("status", "html"):
        async for _ in body(reader, head):
          pass
        writer.write(self.own(method))
        await writer.drain()
        continue
      server = server or await self.connect(others)
      server[1].write(head)
      async for piece in body(reader, head):
        server[1].write(piece)
        await server[1].drain()
      answer = await server[0].readuntil(b"\r\n\r\n")
      if meets and self.fault == "slow":
        await asyncio.sleep(self.options.seconds)
      writer.write(answer)
      await self.back(server[0], writer, answer, method, meets)

  def own(self, method):
    status, kind = ("200 OK", "text/html") if self.fault == "html" else (f"{self.options.code} Refused", "text/html")
    page = b"" if method == "HEAD" else PAGE
    return (f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(PAGE)}\r\n"
            + ("WWW-Authenticate: Basic realm=\"cache\"\r\n" if self.options.code == 401 else "")
            + ("Retry-After: 30\r\n" if self.options.code == 429 else "") + "\r\n").encode() + page

  async def back(self, server, writer, head, method, meets):
    status = int(head.split(b" ", 2)[1])
    if method == "HEAD" or status in (204, 304):
      return await writer.drain()
    # Pages of the server's own, such as that of a 404, are no content of a cache.
    spoilt = meets and status == 200 and self.fault in ("corrupt", "truncate")
    if not spoilt:
      async for piece in body(server, head):
        writer.write(piece)
        await writer.drain()
      return None
    whole = b"".join([piece async for piece in body(server, head)])
    if self.fault == "truncate":
      writer.write(whole[:len(whole) // 2])
      await writer.drain()
      raise Closed
    writer.write(flip(whole))
    return await writer.drain()

  # HTTP/2

  async def http2(self, reader, writer, others):
    server = await self.connect(others)
    tasks = [asyncio.create_task(self.up(reader, server[1])), asyncio.create_task(self.down(server[0], writer))]
    try:
      done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
      for one in done:
        one.result()
    finally:
      for one in tasks:
        one.cancel()
      await asyncio.gather(*tasks, return_exceptions=True)

  async def up(self, reader, server):
    server.write(await reader.readexactly(len(PREFACE)))
    while True:
      kind, _, _, payload, head = await frame(reader)
      if kind == HEADERS:
        self.count()
      server.write(head + payload)
      await server.drain()

  async def down(self, server, writer):
    late = asyncio.Queue()
    task = asyncio.create_task(self.later(late, writer))
    try:
      while True:
        kind, _, stream, payload, head = await frame(server)
        if self.fault == "slow" and stream != 0:
          late.put_nowait((time.monotonic() + self.options.seconds, head + payload))
          continue
        if kind == DATA and len(payload) >= LARGE:
          if self.fault == "truncate":
            writer.write(head + payload[:len(payload) // 2])
            await writer.drain()
            raise Closed
          if self.fault == "corrupt":
            payload = flip(payload)
        writer.write(head + payload)
        await writer.drain()
    finally:
      task.cancel()

  async def later(self, late, writer):
    while True:
      when, data = await late.get()
      await asyncio.sleep(max(0, when - time.monotonic()))
      writer.write(data)
      await writer.drain()

  async def refuse(self, reader, writer):
    """Every call ends at once with the gRPC status `--code`."""
    await reader.readexactly(len(PREFACE))
    writer.write(packed(SETTINGS, 0, 0, b""))
    # Literals without indexing, as HPACK has them (RFC 7541, 6.2.2), leave no state to keep.
    fields = [(b"content-type", b"application/grpc"), (b"grpc-status", str(self.options.code).encode())]
    block = b"\x88" + b"".join(b"\x00" + bytes([len(n)]) + n + bytes([len(v)]) + v for n, v in fields)
    while True:
      kind, flags, stream, payload, _ = await frame(reader)
      if kind == HEADERS:
        self.count()
        writer.write(packed(HEADERS, 0x5, stream, block))
      elif kind == DATA and payload:
        writer.write(packed(WINDOW_UPDATE, 0, 0, len(payload).to_bytes(4, "big")))
      elif kind in (SETTINGS, PING) and not flags & 1:
        writer.write(packed(kind, 1, 0, payload if kind == PING else b""))
      await writer.drain()


def flip(data):
  middle = len(data) // 2
  return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1:] if data else data


async def frame(reader):
  head = await reader.readexactly(9)
  payload = await reader.readexactly(int.from_bytes(head[:3], "big"))
  return head[3], head[4], int.from_bytes(head[5:9], "big") & 0x7FFF_FFFF, payload, head


def packed(kind, flags, stream, payload):
  return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def header(head, name):
  for line in head.split(b"\r\n")[1:]:
    key, _, value = line.partition(b":")
    if key.strip().lower() == name:
      return value.strip()
  return None


async def body(reader, head):
  """The pieces of a message's body as they are sent, the marks of a chunked one with them."""
  if b"chunked" in (header(head, b"transfer-encoding") or b"").lower():
    while True:
      line = await reader.readuntil(b"\r\n")
      size = int(line.split(b";")[0], 16)
      yield line + await reader.readexactly(size + 2)
      if size == 0:
        return
  left = int(header(head, b"content-length") or 0)
  while left > 0:
    piece = await reader.read(min(left, 1 << 16))
    if not piece:
      raise Closed
    left -= len(piece)
    yield piece


async def main(options):
  proxy = Proxy(options)
  server = await asyncio.start_server(proxy.serve, "127.0.0.1", options.listen, limit=1 << 20, backlog=256)
  async with server:
    await server.serve_forever()


if __name__ == "__main__":
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--listen", type=int, required=True, help="the proxy's own port")
  parser.add_argument("--to", type=int, required=True, help="the server's port")
  parser.add_argument("--protocol", choices=("http", "grpc"), default="http")
  parser.add_argument("--after", type=int, default=10, help="requests that are still served")
  parser.add_argument("--seconds", type=float, default=5)
  parser.add_argument("--code", type=int, default=500)
  parser.add_argument("--method", default="")
  parser.add_argument("--path", default="")
  parser.add_argument("fault", choices=("none", "killed", "hanging", "slow", "corrupt", "truncate", "status", "html"))
  try:
    sys.exit(asyncio.run(main(parser.parse_args())))
  except KeyboardInterrupt:
    sys.exit(0)
