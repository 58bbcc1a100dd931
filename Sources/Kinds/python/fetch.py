"""Fetch the files that a plan names into wheels/, through pip's own configuration.

Usage: fetch.py PLAN [--output wheels] [--jobs 8]

Asks, in this order: find-links, index-url (PyPI unless configured), extra-index-url, as pip.conf and PIP_* say, with
pip's certificate, client certificate, proxy and time-out, and with credentials from the URL or from netrc. An index is
asked by the simple API: JSON (PEP 691), or HTML from an older one. Every byte is checked against the plan's SHA-256;
a file is not even opened before. A line with a "url" is fetched from there alone. It needs only the standard library,
and runs no package's code.
"""

import argparse
import base64
import concurrent.futures
import configparser
import contextlib
import hashlib
import html.parser
import http.client
import json
import netrc
import os
import re
import shutil
import ssl
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

ATTEMPTS = 5
PAGE_LIMIT = 64 << 20  # the largest page of an index that is read, in bytes
FILE_LIMIT = 4 << 30
FILE_SECONDS = 1800  # a whole file; a single read is bounded by pip's time-out
RETRIED_STATUS = {408, 425, 429, 500, 502, 503, 504}
SDIST_SUFFIXES = (".tar.gz", ".zip", ".tar.bz2", ".tar.xz", ".tgz")


class FetchError(Exception):
    """A file that cannot be had; the text is for the user."""


class Absent(FetchError):
    """The source does not have it, so the next one is asked."""


# -- pip's configuration -----------------------------------------------------------------------------------------------


def pip_settings(environment=os.environ):
    """pip's settings by their long names, later files over earlier ones, the environment over all."""
    home = os.path.expanduser("~")
    files = [
        os.path.join(folder, "pip/pip.conf")
        for folder in environment.get("XDG_CONFIG_DIRS", "/etc/xdg").split(":")
        if folder
    ]
    files += ["/etc/pip.conf", os.path.join(home, ".pip/pip.conf")]
    files += [os.path.join(environment.get("XDG_CONFIG_HOME") or os.path.join(home, ".config"), "pip/pip.conf")]
    files += [os.path.join(sys.prefix, "pip.conf")]
    chosen = environment.get("PIP_CONFIG_FILE")
    if chosen == os.devnull:
        files = []
    elif chosen:
        files.append(chosen)
    settings = {}
    for path in files:
        parser = configparser.RawConfigParser()
        try:
            parser.read(path, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError) as error:
            raise FetchError(f"cannot read pip's configuration `{path}`: {error}") from error
        for section in ("global", "install", "download"):
            if parser.has_section(section):
                settings.update({key.lower().replace("_", "-"): value for key, value in parser.items(section)})
    for key, value in environment.items():
        if key.startswith("PIP_") and key != "PIP_CONFIG_FILE" and value:
            settings[key[4:].lower().replace("_", "-")] = value
    return settings


def truth(value):
    return str(value).strip().lower() in ("1", "yes", "true", "on", "y", "t")


class Settings:
    def __init__(self, environment=os.environ):
        pip = pip_settings(environment)
        self.find_links = pip.get("find-links", "").split()
        self.indexes = []
        if not truth(pip.get("no-index", "")):
            main = pip.get("index-url", pip.get("pypi-url", "https://pypi.org/simple"))
            self.indexes = [main.strip()] + pip.get("extra-index-url", "").split()
        self.timeout = float(pip.get("default-timeout", pip.get("timeout", 30)))
        self.trusted = set(pip.get("trusted-host", "").split())
        self.proxy = pip.get("proxy")
        bundle = pip.get("cert")
        for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
            bundle = bundle or environment.get(name)
        try:
            # A bundle set on the host may not exist in this image, which has its own.
            self.tls = ssl.create_default_context(cafile=bundle if bundle and os.path.isfile(bundle) else None)
            if pip.get("client-cert"):
                self.tls.load_cert_chain(pip["client-cert"])
        except (OSError, ssl.SSLError) as error:
            raise FetchError(f"cannot load the certificates of pip's configuration: {error}") from error
        self.unverified = ssl.create_default_context()
        self.unverified.check_hostname = False
        self.unverified.verify_mode = ssl.CERT_NONE
        try:
            self.netrc = netrc.netrc(environment.get("NETRC"))
        except (OSError, netrc.NetrcParseError):
            self.netrc = None


# -- HTTP --------------------------------------------------------------------------------------------------------------


def without_credentials(url):
    """The URL as it may be shown."""
    parts = urllib.parse.urlsplit(url)
    return urllib.parse.urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


class Client:
    def __init__(self, settings):
        self.settings = settings
        self.local = threading.local()

    def opener(self, host):
        """One opener per thread and kind of trust."""
        trusted = host in self.settings.trusted or host.partition(":")[0] in self.settings.trusted
        openers = self.local.__dict__.setdefault("openers", {})
        if trusted not in openers:
            proxies = {"http": self.settings.proxy, "https": self.settings.proxy} if self.settings.proxy else None
            tls = self.settings.unverified if trusted else self.settings.tls
            openers[trusted] = urllib.request.build_opener(
                urllib.request.ProxyHandler(proxies), urllib.request.HTTPSHandler(context=tls)
            )
        return openers[trusted]

    def request(self, url, accept):
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https"):
            raise FetchError(f"cannot fetch {without_credentials(url)}: only http and https are supported")
        request = urllib.request.Request(
            without_credentials(url),
            headers={"Accept": accept, "User-Agent": "slipway-fetch/1", "Accept-Encoding": "identity"},
        )
        user, password = parts.username, parts.password
        if user is None and self.settings.netrc and parts.hostname:
            login = self.settings.netrc.authenticators(parts.hostname)
            if login:
                user, password = login[0], login[2]
        if user is not None:
            token = f"{urllib.parse.unquote(user)}:{urllib.parse.unquote(password or '')}".encode()
            # Unredirected: a host that the index redirects to must not see them.
            request.add_unredirected_header("Authorization", "Basic " + base64.b64encode(token).decode())
        return self.opener(parts.netloc.rpartition("@")[2]).open(request, timeout=self.settings.timeout)

    def retrying(self, url, accept, receive):
        """What `receive` makes of the response; passing faults are tried again, with growing pauses."""
        failure = None
        for attempt in range(ATTEMPTS):
            pause = min(0.5 * 2**attempt, 8)
            try:
                with self.request(url, accept) as response:
                    return receive(response)
            except urllib.error.HTTPError as error:
                failure = f"{error.code} {error.reason}"
                with contextlib.closing(error):
                    if error.code in (404, 410):
                        raise Absent(f"GET {without_credentials(url)}: {failure}") from error
                    if error.code not in RETRIED_STATUS:
                        break
                    wait = error.headers.get("Retry-After", "")
                    pause = min(float(wait), 30) if wait.isdigit() else pause
            except (OSError, http.client.HTTPException, ssl.SSLError) as error:
                failure = str(getattr(error, "reason", None) or error) or type(error).__name__
                if isinstance(getattr(error, "reason", None), ssl.SSLCertVerificationError):
                    break
            if attempt + 1 < ATTEMPTS:
                time.sleep(pause)
        raise FetchError(f"GET {without_credentials(url)}: {failure}")

    def page(self, url, accept):
        """A page of an index: its final URL, content type and text."""

        def receive(response):
            body = response.read(PAGE_LIMIT + 1)
            if len(body) > PAGE_LIMIT:
                raise FetchError(f"GET {without_credentials(url)}: larger than {PAGE_LIMIT} bytes")
            return response.geturl(), response.headers.get_content_type(), body.decode("utf-8", "replace")

        return self.retrying(url, accept, receive)

    def save(self, url, path, hashes):
        """Saves a file whose SHA-256 is among the hashes; another one is tried once more, then refused."""
        seen = None
        for _ in range(2):

            def receive(response):
                deadline, total, digest = time.monotonic() + FILE_SECONDS, 0, hashlib.sha256()
                expected = response.headers.get("Content-Length")
                with open(path, "wb") as file:
                    while True:
                        block = response.read(1 << 18)
                        if not block:
                            break
                        total += len(block)
                        if total > FILE_LIMIT:
                            raise FetchError(f"GET {without_credentials(url)}: larger than {FILE_LIMIT} bytes")
                        if time.monotonic() > deadline:
                            raise FetchError(f"GET {without_credentials(url)}: not complete after {FILE_SECONDS} s")
                        digest.update(block)
                        file.write(block)
                if expected is not None and expected.isdigit() and int(expected) != total:
                    raise http.client.IncompleteRead(b"", int(expected) - total)
                return digest.hexdigest()

            seen = self.retrying(url, "*/*", receive)
            if seen in hashes:
                return
        os.unlink(path)
        raise FetchError(f"GET {without_credentials(url)}: SHA-256 {seen}, but the lock has {' or '.join(hashes)}")


# -- Sources -----------------------------------------------------------------------------------------------------------


class Links(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.base, self.links = None, []

    def handle_starttag(self, tag, attributes):
        target = dict(attributes).get("href")
        if tag == "base" and target and self.base is None:
            self.base = target
        if tag == "a" and target:
            self.links.append(target)


def links_of_html(url, text):
    """(file name, URL, SHA-256 or None) of each link of a page."""
    parser = Links()
    parser.feed(text)
    base = urllib.parse.urljoin(url, parser.base) if parser.base else url
    for target in parser.links:
        parts = urllib.parse.urlsplit(urllib.parse.urljoin(base, target))
        match = re.search(r"(?:^|&)sha256=([0-9a-f]{64})", parts.fragment)
        name = urllib.parse.unquote(parts.path.rpartition("/")[2])
        yield name, urllib.parse.urlunsplit(parts._replace(fragment="")), match.group(1) if match else None


def links_of_json(url, text):
    document = json.loads(text)
    for file in document.get("files", []):
        digest = (file.get("hashes") or {}).get("sha256")
        yield str(file["filename"]), urllib.parse.urljoin(url, str(file["url"])), digest


ACCEPT = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"


def credentials_of(index, url):
    """The URL with the index's credentials, where it is the same host."""
    has, wants = urllib.parse.urlsplit(index), urllib.parse.urlsplit(url)
    user, at, _ = has.netloc.rpartition("@")
    if at and has.hostname == wants.hostname and has.scheme == wants.scheme and "@" not in wants.netloc:
        return urllib.parse.urlunsplit(wants._replace(netloc=f"{user}@{wants.netloc}"))
    return url


class Source:
    """An index, or a find-links folder or page; lists what it has of a package."""

    def __init__(self, client, where, simple):
        self.client, self.where, self.simple = client, where, simple
        self.lock, self.listing = threading.Lock(), None

    def files(self, name):
        if self.simple:
            url = self.where.rstrip("/") + f"/{name}/"
            return self.parse(*self.client.page(url, ACCEPT))
        with self.lock:
            if self.listing is None:
                self.listing = self.list_links()
            return self.listing

    def list_links(self):
        path = self.where[7:] if self.where.startswith("file://") else self.where
        if "://" in path:
            return self.parse(*self.client.page(path, ACCEPT))
        if not os.path.isdir(path):  # a folder of the host that is not in this sandbox
            return []
        return [(name, os.path.join(path, name), None) for name in sorted(os.listdir(path))]

    def parse(self, url, kind, text):
        try:
            found = list(links_of_json(url, text) if kind.endswith("json") else links_of_html(url, text))
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise FetchError(f"GET {without_credentials(url)}: not an index page: {error!r}") from error
        return [
            (name, credentials_of(self.where, target), digest)
            for name, target, digest in found
            if "/" not in name and name not in ("", ".", "..")
        ]


# -- Choosing ----------------------------------------------------------------------------------------------------------


def normalized(name):
    return re.sub(r"[-_.]+", "-", name).lower()


class Chooser:
    """Orders the files of a release: the best compatible wheel, then lesser ones, then sdists."""

    def __init__(self):
        from packaging.tags import sys_tags

        self.ranks = {tag: rank for rank, tag in enumerate(sys_tags())}

    def order(self, name):
        """A sort key, or None where the file does not fit this interpreter."""
        from packaging.utils import InvalidWheelFilename, parse_wheel_filename
        from packaging.version import InvalidVersion

        if name.endswith(".whl"):
            try:
                _, _, build, tags = parse_wheel_filename(name)
            except (InvalidWheelFilename, InvalidVersion):
                return None
            rank = min((self.ranks[tag] for tag in tags if tag in self.ranks), default=None)
            return None if rank is None else (0, rank, -build[0] if build else 0, name)
        for rank, suffix in enumerate(SDIST_SUFFIXES):
            if name.endswith(suffix):
                return (1, rank, 0, name)
        return None


def is_release(filename, entry):
    """Whether a file name can be one of this name and version, so that a source without hashes can be used."""
    stem = filename
    for suffix in (".whl",) + SDIST_SUFFIXES:
        stem = stem[: -len(suffix)] if stem.endswith(suffix) else stem
    return normalized(stem).startswith(normalized(f"{entry['name']}-{entry['version']}"))


class Fetcher:
    def __init__(self, settings, output):
        client = Client(settings)
        self.client, self.output = client, output
        self.sources = [Source(client, where, False) for where in settings.find_links]
        self.sources += [Source(client, where, True) for where in settings.indexes]
        self.chooser = Chooser()

    def fetch(self, entry):
        hashes, folder = entry["sha256"], entry["path"]
        exact = isinstance(hashes, str)
        hashes = [hashes] if exact else hashes
        folder = os.path.join(self.output, os.path.dirname(folder) if exact else folder)
        os.makedirs(folder, exist_ok=True)
        if entry.get("url"):
            part = os.path.join(folder, f".{os.path.basename(entry['path'])}.part")
            self.client.save(entry["url"], part, hashes)
            os.replace(part, os.path.join(folder, os.path.basename(entry["path"])))
            return
        failures = []
        for source in self.sources:
            try:
                listed = source.files(normalized(entry["name"]))
            except FetchError as error:
                failures.append(str(error))
                continue
            for name, url in self.candidates(listed, entry, hashes, exact):
                part = os.path.join(folder, f".{name}.part")
                try:
                    self.bring(url, part, hashes)
                except FetchError as error:
                    failures.append(str(error))
                    continue
                os.replace(part, os.path.join(folder, name))
                return
        wanted = os.path.basename(entry["path"]) if exact else f"{entry['name']} {entry['version']}"
        reason = "; ".join(failures) or "no index has it with a hash of the lock"
        raise FetchError(f"cannot fetch `{wanted}`: {reason}")

    def candidates(self, listed, entry, hashes, exact):
        found = []
        for name, url, digest in listed:
            if digest is not None and digest not in hashes:
                continue
            if exact:
                if name == os.path.basename(entry["path"]):
                    found.append((0, name, url, digest))
                continue
            order = self.chooser.order(name)
            if order is not None and (digest is not None or is_release(name, entry)):
                found.append((order, name, url, digest))
        return [item[1:3] for item in sorted(found, key=lambda item: item[:3])]

    def bring(self, url, part, hashes):
        if "://" in url:
            self.client.save(url, part, hashes)
            return
        try:
            shutil.copyfile(url, part)
            with open(part, "rb") as file:
                digest = hashlib.file_digest(file, "sha256") if hasattr(hashlib, "file_digest") else None
                if digest is None:
                    digest = hashlib.sha256(file.read())
        except OSError as error:
            raise FetchError(f"copy {url}: {error.strerror}") from error
        if digest.hexdigest() not in hashes:
            os.unlink(part)
            raise FetchError(f"{url}: SHA-256 {digest.hexdigest()}, which the lock does not have")


def read_plan(path):
    entries = []
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                entry = json.loads(line)
                name = entry["path"]
                safe = name and not name.startswith("/") and ".." not in name.split("/")
                if "url" in entry and not (isinstance(entry["url"], str) and isinstance(entry["sha256"], str)):
                    raise ValueError("a URL gives one file with one hash")
                if not safe or not entry["sha256"] or not entry["name"] or not entry["version"]:
                    raise ValueError("not a safe path, or a field is empty")
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise FetchError(f"{path}:{number}: not a line of a plan: {error}") from error
            entries.append(entry)
    return entries


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("plan")
    parser.add_argument("--output", default="wheels")
    parser.add_argument("--jobs", type=int, default=8)
    options = parser.parse_args(arguments)
    errors = []
    try:
        entries = read_plan(options.plan)
        os.makedirs(options.output, exist_ok=True)
        if entries:
            fetcher = Fetcher(Settings(), options.output)
            with concurrent.futures.ThreadPoolExecutor(max(1, options.jobs)) as pool:
                futures = [pool.submit(fetcher.fetch, entry) for entry in entries]
                for future in futures:
                    try:
                        future.result()
                    except FetchError as error:
                        errors.append(str(error))
    except FetchError as error:
        errors.append(str(error))
    for error in errors:
        print(f"error: {error}", file=sys.stderr)
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
