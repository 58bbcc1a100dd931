"""A proxy before a registry, or a server of its own, that breaks what its rules say.

Usage: faults.py PORT UPSTREAM RULES.json, the upstream as `http://host:port` or `-`. A rule applies where its `method` and
`path` (regular expressions) match, `times` times (0: always) after `skip` such requests, and has one of

  status, headers, body    an answer in place of the upstream's
  set                      headers of the upstream's answer to replace; null takes one away
  cut                      bytes of the answer's body after which the connection breaks
  flip                     the index of a byte of the answer's body to change
  swallow                  bytes of the request's body after which the connection breaks, nothing passed on
  leak                     the same, but what came is passed on, and the upstream's connection breaks too
  hang                     seconds without an answer
  drip                     bytes a piece, one each 50 ms
  chunked                  the answer's body in chunks, without a length
  resume                   the upload is kept here, as servers do that keep what a broken request brought

`GET /__log` gives all requests as JSON lines: method, path, whether there was an Authorization, its first word and a
digest of it, the range, bytes of body that came.
"""

import hashlib
import http.client
import json
import re
import socket
import sys
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

port, upstream, rules = int(sys.argv[1]), sys.argv[2], json.load(open(sys.argv[3]))
lock = threading.Lock()
log = []
uploads = {}


def rule_for(method, path):
    with lock:
        for rule in rules:
            if not re.fullmatch(rule.get("method", ".*"), method) or not re.search(rule.get("path", ""), path):
                continue
            rule["seen"] = rule.get("seen", 0) + 1
            if rule["seen"] <= rule.get("skip", 0):
                continue
            times = rule.get("times", 1)
            if times == 0 or rule["seen"] - rule.get("skip", 0) <= times:
                return rule
    return {}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def handle_one_request(self):
        try:
            super().handle_one_request()
        except OSError:
            self.close_connection = True

    def body(self, entry, limit=None):
        """The request's body, as far as the limit."""
        left = int(self.headers.get("Content-Length") or 0)
        parts = []
        while left > 0 and (limit is None or entry["received"] < limit):
            want = min(left, 65536 if limit is None else min(65536, limit - entry["received"]))
            part = self.rfile.read1(want)
            if not part:
                break
            entry["received"] += len(part)
            left -= len(part)
            parts.append(part)
        return b"".join(parts)

    def breaks(self):
        self.close_connection = True
        # A reset rather than an orderly end.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.connection.close()

    def answer(self, status, headers, body, rule={}):
        headers = {k: v for k, v in headers.items() if k.lower() not in ("connection", "transfer-encoding", "date")}
        for name, value in rule.get("set", {}).items():
            headers = {k: v for k, v in headers.items() if k.lower() != name.lower()}
            if value is not None:
                headers[name] = value
        if rule.get("chunked"):
            headers = {k: v for k, v in headers.items() if k.lower() != "content-length"}
            headers["Transfer-Encoding"] = "chunked"
            body = b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in (body[:7], body[7:]) if p) + b"0\r\n\r\n"
        elif not any(k.lower() == "content-length" for k in headers) and status not in (204, 304):
            headers["Content-Length"] = str(len(body))
        if "flip" in rule and body:
            at = rule["flip"] % len(body)
            body = body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]
        text = f"HTTP/1.1 {status} X\r\n" + "".join(f"{k}: {v}\r\n" for k, v in headers.items()) + "\r\n"
        self.connection.sendall(text.encode())
        if self.command == "HEAD":
            return
        if "drip" in rule:
            for start in range(0, len(body), rule["drip"]):
                self.connection.sendall(body[start : start + rule["drip"]])
                time.sleep(0.05)
            return
        if "cut" in rule:
            self.connection.sendall(body[: rule["cut"]])
            time.sleep(0.05)
            return self.breaks()
        self.connection.sendall(body)

    def upload(self, entry, rule):
        """An upload that survives broken requests, byte by byte."""
        name = urllib.parse.urlparse(self.path)
        if self.command == "POST":
            place = f"{name.path}kept{len(uploads)}"
            uploads[place] = b""
            return self.answer(202, {"Location": place, "Range": "0-0"}, b"")
        held = uploads[name.path]
        if self.command == "PATCH":
            start = int(self.headers["Content-Range"].split("-")[0])
            if start != len(held):
                return self.answer(416, {}, b"")
            limit = rule.get("swallow")
            uploads[name.path] = held = held + self.body(entry, limit)
            if limit is not None:
                return self.breaks()
        elif self.command == "PUT":
            uploads[name.path] = held = held + self.body(entry)
            digest = urllib.parse.parse_qs(name.query)["digest"][0]
            good = "sha256:" + hashlib.sha256(held).hexdigest() == digest
            return self.answer(201 if good else 400, {}, b"")
        status = 202 if self.command == "PATCH" else 204
        self.answer(status, {"Location": name.path, "Range": f"0-{max(0, len(held) - 1)}"}, b"")

    def any(self):
        if self.path == "/__log":
            return self.answer(200, {}, "\n".join(json.dumps(e) for e in log).encode())
        authorization = self.headers.get("Authorization", "")
        entry = {
            "method": self.command,
            "path": self.path,
            "authorization": authorization.split(" ")[0],
            "secret": hashlib.sha256(authorization.encode()).hexdigest()[:8] if authorization else "",
            "range": self.headers.get("Range", self.headers.get("Content-Range", "")),
            "accept": ",".join(self.headers.get_all("Accept", [])),
            "received": 0,
        }
        with lock:
            log.append(entry)
        rule = rule_for(self.command, self.path)
        if "hang" in rule:
            time.sleep(rule["hang"])
            return self.breaks()
        if rule.get("resume"):
            return self.upload(entry, rule)
        if "swallow" in rule:
            if any(r.get("resume") for r in rules):
                return self.upload(entry, rule)
            self.body(entry, rule["swallow"])
            return self.breaks()
        if "status" in rule:
            self.body(entry)
            return self.answer(rule["status"], rule.get("headers", {}), rule.get("body", "").encode(), rule)
        if upstream == "-":
            self.body(entry)
            return self.answer(404, {}, b"")
        target = urllib.parse.urlparse(upstream)
        if "leak" in rule:
            part = self.body(entry, rule["leak"])
            head = f"{self.command} {self.path} HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in self.headers.items())
            with socket.create_connection((target.hostname, target.port)) as other:
                other.sendall(head.encode() + b"\r\n" + part)
                time.sleep(0.1)
            time.sleep(0.2)
            return self.breaks()
        connection = http.client.HTTPConnection(target.hostname, target.port, timeout=30)
        content = self.body(entry)
        if len(content) < int(self.headers.get("Content-Length") or 0):
            return self.breaks()
        connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            connection.putheader(name, value)
        connection.endheaders(content or None)
        answer = connection.getresponse()
        data = answer.read()
        self.answer(answer.status, dict(answer.getheaders()), data, rule)
        connection.close()

    do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = any


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64


Server(("127.0.0.1", port), Handler).serve_forever()
