"""fetch.py against an index on this machine's loopback, sound and faulty."""

import contextlib
import hashlib
import http.server
import io
import json
import os
import pathlib
import sys
import tempfile
import threading
import unittest
from unittest import mock

from test_plan import load

fetch = load("fetch")
WHEEL, SDIST = b"the bytes of a wheel" * 1000, b"the bytes of an sdist"
HASH = {body: hashlib.sha256(body).hexdigest() for body in (WHEEL, SDIST)}


class Index(http.server.BaseHTTPRequestHandler):
    """Serves `answers`: path -> list of (status, headers, body); the last one repeats."""

    answers, seen = {}, []

    def do_GET(self):
        Index.seen.append((self.path, self.headers.get("Authorization"), self.headers.get("Accept")))
        queue = Index.answers.get(self.path, [(404, {}, b"")])
        status, headers, body = queue.pop(0) if len(queue) > 1 else queue[0]
        self.send_response(status)
        for name, value in {"Content-Length": len(body), **headers}.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


def page(*files):
    """A JSON page; each file is (name, body)."""
    listed = [{"filename": n, "url": f"/files/{n}", "hashes": {"sha256": HASH[b]}} for n, b in files]
    return [(200, {"Content-Type": "application/vnd.pypi.simple.v1+json"}, json.dumps({"files": listed}).encode())]


def html(*links):
    text = "".join(f'<a href="{link}">x</a>' for link in links)
    return [(200, {"Content-Type": "text/html; charset=utf-8"}, f"<html><body>{text}".encode())]


class FetchTest(unittest.TestCase):
    def setUp(self):
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Index)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.addCleanup(self.server.server_close)
        self.addCleanup(self.server.shutdown)
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.root, self.host = pathlib.Path(self.folder.name), f"127.0.0.1:{self.server.server_port}"
        Index.answers, Index.seen = {}, []
        patch = mock.patch.object(fetch.time, "sleep")
        self.pauses = patch.start()
        self.addCleanup(patch.stop)

    def run_fetch(self, *plan, **environment):
        path = self.root / "plan.jsonl"
        path.write_text("".join(json.dumps(line) + "\n" for line in plan), encoding="utf-8")
        said, output = io.StringIO(), self.root / "wheels"
        settings = {
            "HOME": self.folder.name,
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_INDEX_URL": f"http://{self.host}/simple",
        }
        with mock.patch.dict(os.environ, {**settings, **environment}, clear=True), contextlib.redirect_stderr(said):
            status = fetch.main([str(path), "--output", str(output)])
        files = {str(p.relative_to(output)): p.read_bytes() for p in output.rglob("*") if p.is_file()}
        return status, files, said.getvalue()

    EXACT = {"name": "my-pkg", "version": "1.0", "path": "my_pkg-1.0-py3-none-any.whl", "sha256": HASH[WHEEL]}
    EITHER = {"name": "my-pkg", "version": "1.0", "path": "my-pkg-1.0/", "sha256": sorted(HASH.values())}

    def test_a_file_by_name(self):
        Index.answers = {
            "/simple/my-pkg/": page((self.EXACT["path"], WHEEL)),
            f"/files/{self.EXACT['path']}": [(200, {}, WHEEL)],
        }
        self.assertEqual(self.run_fetch(self.EXACT), (0, {self.EXACT["path"]: WHEEL}, ""))
        self.assertIn("application/vnd.pypi.simple.v1+json", Index.seen[0][2])

    def test_a_url_is_asked_and_no_index(self):
        entry = {**self.EXACT, "url": f"http://{self.host}/own/x.whl"}
        Index.answers = {"/own/x.whl": [(200, {}, WHEEL)]}
        self.assertEqual(self.run_fetch(entry), (0, {self.EXACT["path"]: WHEEL}, ""))
        self.assertEqual([path for path, _, _ in Index.seen], ["/own/x.whl"])
        self.root.joinpath("wheels", self.EXACT["path"]).unlink()
        Index.answers = {"/own/x.whl": [(200, {}, SDIST)]}
        status, files, said = self.run_fetch(entry)
        self.assertEqual((status, files), (1, {}))
        self.assertIn("but the lock has", said)
        for wrong in ({**self.EITHER, "url": "http://x"}, {**self.EXACT, "url": 1}):
            self.assertIn("not a line of a plan", self.run_fetch(wrong)[2])

    def test_of_alternatives_the_wheel_that_fits(self):
        names = [
            ("my_pkg-1.0.tar.gz", SDIST),
            ("my_pkg-1.0-cp27-cp27m-win32.whl", WHEEL),
            ("my_pkg-1.0-py3-none-any.whl", WHEEL),
        ]
        Index.answers = {
            "/simple/my-pkg/": page(*names),
            "/files/my_pkg-1.0-py3-none-any.whl": [(200, {}, WHEEL)],
            "/files/my_pkg-1.0.tar.gz": [(200, {}, SDIST)],
        }
        self.assertEqual(self.run_fetch(self.EITHER)[1], {"my-pkg-1.0/my_pkg-1.0-py3-none-any.whl": WHEEL})
        Index.answers["/simple/my-pkg/"] = page(*names[:2])
        self.root.joinpath("wheels/my-pkg-1.0/my_pkg-1.0-py3-none-any.whl").unlink()
        self.assertEqual(self.run_fetch(self.EITHER)[1], {"my-pkg-1.0/my_pkg-1.0.tar.gz": SDIST})

    def test_html_pages_with_and_without_hashes(self):
        Index.answers["/files/my_pkg-1.0.tar.gz"] = [(200, {}, SDIST)]
        for link in (f"../../files/my_pkg-1.0.tar.gz#sha256={HASH[SDIST]}", "/files/my_pkg-1.0.tar.gz"):
            Index.answers["/simple/my-pkg/"] = html("/files/my_pkg-0.9.tar.gz", link)
            self.assertEqual(self.run_fetch(self.EITHER), (0, {"my-pkg-1.0/my_pkg-1.0.tar.gz": SDIST}, ""))

    def test_passing_faults_are_tried_again_and_lasting_ones_named(self):
        path = f"/files/{self.EXACT['path']}"
        Index.answers = {
            "/simple/my-pkg/": [(503, {"Retry-After": "3"}, b"")] + page((self.EXACT["path"], WHEEL)),
            path: [(500, {}, b""), (200, {"Content-Length": len(WHEEL) + 5}, WHEEL), (200, {}, WHEEL)],
        }
        # A body that ends early is closed by the server only with its connection: HTTP/1.0 does so.
        self.assertEqual(self.run_fetch(self.EXACT)[:2], (0, {self.EXACT["path"]: WHEEL}))
        self.assertEqual(self.pauses.call_args_list[0], mock.call(3.0))
        Index.answers[path] = [(502, {}, b"")]
        status, _, said = self.run_fetch(self.EXACT)
        self.assertEqual(status, 1)
        self.assertIn(f"GET http://{self.host}{path}: 502 Bad Gateway", said)

    def test_a_flipped_byte_is_tried_again_and_never_kept(self):
        path, bad = f"/files/{self.EXACT['path']}", b"!" + WHEEL[1:]
        Index.answers = {"/simple/my-pkg/": page((self.EXACT["path"], WHEEL)), path: [(200, {}, bad), (200, {}, WHEEL)]}
        self.assertEqual(self.run_fetch(self.EXACT)[:2], (0, {self.EXACT["path"]: WHEEL}))
        self.root.joinpath("wheels", self.EXACT["path"]).unlink()
        Index.answers[path] = [(200, {}, bad)]
        status, files, said = self.run_fetch(self.EXACT)
        self.assertEqual((status, files), (1, {}))
        self.assertIn(f"SHA-256 {hashlib.sha256(bad).hexdigest()}, but the lock has {HASH[WHEEL]}", said)

    def test_401_is_not_tried_again(self):
        Index.answers["/simple/my-pkg/"] = [(401, {}, b"")]
        status, _, said = self.run_fetch(self.EXACT)
        self.assertEqual((status, len(Index.seen)), (1, 1))
        self.assertIn("401 Unauthorized", said)

    def test_extra_indexes_and_find_links(self):
        local = self.root / "links"
        local.mkdir()
        (local / self.EXACT["path"]).write_bytes(WHEEL)
        status, files, _ = self.run_fetch(self.EXACT, PIP_FIND_LINKS=f"/no/such/folder {local}", PIP_NO_INDEX="1")
        self.assertEqual((status, files), (0, {self.EXACT["path"]: WHEEL}))
        Index.answers = {
            "/extra/my-pkg/": page((self.EXACT["path"], WHEEL)),
            f"/files/{self.EXACT['path']}": [(200, {}, WHEEL)],
        }
        status, _, said = self.run_fetch(self.EXACT, PIP_EXTRA_INDEX_URL=f"http://{self.host}/extra")
        self.assertEqual((status, said), (0, ""))

    def test_a_configuration_file_is_read_and_the_environment_wins(self):
        path = self.root / "pip.conf"
        path.write_text(
            "[global]\nindex_url = http://file/\ntimeout = 7\n[install]\nextra-index-url =\n  http://a\n  http://b\n"
        )
        pip = fetch.Settings({"PIP_CONFIG_FILE": str(path), "PIP_INDEX_URL": "http://env/"})
        self.assertEqual(pip.indexes, ["http://env/", "http://a", "http://b"])
        self.assertEqual(pip.timeout, 7)

    def test_credentials_reach_their_host_and_no_other_and_no_message(self):
        other = http.server.ThreadingHTTPServer(("127.0.0.2", 0), Index)
        threading.Thread(target=other.serve_forever, daemon=True).start()
        self.addCleanup(other.server_close)
        self.addCleanup(other.shutdown)
        moved = f"http://127.0.0.2:{other.server_port}/moved"
        Index.answers = {
            "/simple/my-pkg/": page((self.EXACT["path"], WHEEL)),
            f"/files/{self.EXACT['path']}": [(302, {"Location": moved}, b"")],
            "/moved": [(200, {}, WHEEL)],
        }
        url = f"http://me:s3cret@{self.host}/simple"
        self.assertEqual(self.run_fetch(self.EXACT, PIP_INDEX_URL=url)[0], 0)
        sent = {path: authorization for path, authorization, _ in Index.seen}
        self.assertEqual(sent["/simple/my-pkg/"], "Basic bWU6czNjcmV0")
        self.assertEqual(sent[f"/files/{self.EXACT['path']}"], "Basic bWU6czNjcmV0")
        self.assertIsNone(sent["/moved"])
        Index.answers = {}
        status, _, said = self.run_fetch(self.EXACT, PIP_INDEX_URL=url)
        self.assertEqual(status, 1)
        self.assertNotIn("s3cret", said)

    def test_nothing_to_fetch_asks_nobody(self):
        self.assertEqual(self.run_fetch(PIP_INDEX_URL="nonsense"), (0, {}, ""))
        self.assertTrue((self.root / "wheels").is_dir())

    def test_a_plan_cannot_write_elsewhere(self):
        for path in ("../x", "/etc/x", "a/../../x", ""):
            status, _, said = self.run_fetch({**self.EXACT, "path": path})
            self.assertEqual(status, 1)
            self.assertIn("plan.jsonl:1: not a line of a plan", said)

    def test_a_page_that_is_no_index(self):
        Index.answers["/simple/my-pkg/"] = [(200, {"Content-Type": "application/json"}, b"[1")]
        self.assertIn("not an index page", self.run_fetch(self.EXACT)[2])


if __name__ == "__main__":
    sys.exit(unittest.main())
