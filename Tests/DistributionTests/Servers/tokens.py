"""A token server for docker-registry (distribution's token specification), signing RS256 with an x5c chain.

Usage: tokens.py PORT KEY.pem CERTIFICATE.der SERVICE USER PASSWORD LIFETIME. Pull scopes are given to anyone where the
repository begins with `public/`; everything else wants the user's password, by Basic or as the refresh token `refresh-PASSWORD`.
`GET /__log` gives the scopes asked for, a line a request.
"""

import base64
import json
import subprocess
import sys
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

port, key, certificate, service, user, password, lifetime = sys.argv[1:]
log = []


def segment(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def token(name, access):
    chain = [base64.b64encode(open(certificate, "rb").read()).decode()]
    header = {"typ": "JWT", "alg": "RS256", "x5c": chain}
    now = int(time.time())
    claims = {"iss": "tests", "sub": name, "aud": service, "iat": now, "nbf": now - 5, "access": access}
    claims |= {"exp": now + int(lifetime), "jti": str(time.time_ns())}
    text = segment(json.dumps(header).encode()) + b"." + segment(json.dumps(claims).encode())
    signed = subprocess.run(
        ["openssl", "dgst", "-sha256", "-sign", key], input=text, stdout=subprocess.PIPE, check=True
    ).stdout
    return (text + b"." + segment(signed)).decode()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body):
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def grant(self, fields, name):
        scopes = [s for text in fields.get("scope", []) for s in text.split(" ")]
        log.append(f"{name or '-'} {' '.join(scopes)}")
        access = []
        for scope in scopes:
            kind, repository, actions = scope.split(":")
            allowed = [a for a in actions.split(",") if name or (a == "pull" and repository.startswith("public/"))]
            access.append({"type": kind, "name": repository, "actions": allowed})
        text = token(name or "", access)
        self.answer(200, {"token": text, "access_token": text, "expires_in": int(lifetime)})

    def refuse(self):
        self.answer(401, {"errors": [{"code": "UNAUTHORIZED", "message": "incorrect username or password"}]})

    def do_GET(self):
        url = urllib.parse.urlparse(self.path)
        if url.path == "/__log":
            return self.answer(200, "\n".join(log))
        given = self.headers.get("Authorization")
        wanted = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
        if given and given != wanted:
            return self.refuse()
        self.grant(urllib.parse.parse_qs(url.query), user if given else None)

    def do_POST(self):
        fields = urllib.parse.parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        if fields.get("refresh_token") != ["refresh-" + password] or fields.get("grant_type") != ["refresh_token"]:
            return self.refuse()
        self.grant(fields, user)


ThreadingHTTPServer(("127.0.0.1", int(port)), Handler).serve_forever()
