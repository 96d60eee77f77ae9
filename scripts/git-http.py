#!/usr/bin/env python3
"""A small git host over HTTP, for trying Longshore without a forge.

    git-http.py --root DIR [--listen 127.0.0.1:8417] [--allow-push] [--user NAME --password-file FILE]

Serves the bare repositories below DIR through `git http-backend`, and the objects of Git LFS that are pushed to them; needs
Python 3 and git, nothing else. After each push
it sends the webhook of a plain git remote, one for each branch or tag that changed, where the repository asks for it:

    git -C DIR/app.git config longshore.hook-url http://longshore:8080/hooks/ID
    git -C DIR/app.git config longshore.hook-secret SECRET

With --port-file the port is written there once it listens (`--listen 127.0.0.1:0` takes a free one).
"""

import argparse
import base64
import hashlib
import hmac
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import urllib.error
import urllib.parse
import urllib.request
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ZERO = "0" * 40
CHUNK = 64 * 1024
LFS = re.compile("(/.+)/info/lfs/objects/(batch|[0-9a-f]{64})")


def environment():
    keep = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    return {**keep, "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null"}


def git(repository, *arguments):
    command = ["git", "-c", "safe.directory=*", "--git-dir", repository, *arguments]
    return subprocess.run(command, env=environment(), capture_output=True, text=True, check=False).stdout


def refs(repository):
    lines = git(repository, "for-each-ref", "--format=%(objectname) %(refname)", "refs/heads", "refs/tags").splitlines()
    return {name: commit for commit, name in (line.split(" ", 1) for line in lines)}


def send_hook(url, secret, body):
    payload = json.dumps(body).encode()
    signature = hmac.new(secret.encode(), payload, hashlib.sha256).hexdigest()
    headers = {
        "Content-Type": "application/json",
        "X-Longshore-Signature-256": f"sha256={signature}",
        "X-Longshore-Delivery": str(uuid.uuid4()),
    }
    # A proxy from the environment cannot reach a host on this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(urllib.request.Request(url, payload, headers), timeout=10) as answer:
            return f"{answer.status}"
    except urllib.error.HTTPError as error:
        return f"{error.code} {error.read(300).decode(errors='replace')}"
    except OSError as error:
        return f"not sent: {error}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.serve()

    def do_POST(self):
        self.serve()

    def do_PUT(self):
        self.serve()

    def serve(self):
        self.close_connection = True
        url = urllib.parse.urlsplit(self.path)
        path = urllib.parse.unquote(url.path)
        if self.server.credentials and not self.is_allowed():
            return self.refuse(401, {"WWW-Authenticate": 'Basic realm="git"'})
        if lfs := LFS.fullmatch(path):
            return self.lfs(lfs[1], lfs[2])
        repository = self.repository(path)
        if repository is None:
            return self.refuse(404, {})
        is_push = path.endswith("/git-receive-pack") and self.command == "POST"
        if not is_push:
            return self.backend(path, url.query)
        # One push at a time, so that every change sends one webhook.
        with self.server.pushing:
            before = refs(repository)
            self.backend(path, url.query)
            after = refs(repository)
        self.tell(repository, before, after)

    def is_allowed(self):
        given = self.headers.get("Authorization", "")
        return hmac.compare_digest(given.encode(), self.server.credentials.encode())

    def repository(self, path):
        """Returns the folder of the repository at a path, inside the root."""
        for end in ("/info/refs", "/git-upload-pack", "/git-receive-pack", "/HEAD"):
            if path.endswith(end):
                return self.folder(path[: -len(end)])
        return None

    def folder(self, name):
        root = self.server.root
        if ".." in name.split("/"):
            return None
        folder = os.path.realpath(os.path.join(root, name.lstrip("/")))
        inside = os.path.commonpath([root, folder]) == root
        return folder if inside and os.path.exists(os.path.join(folder, "HEAD")) else None

    def lfs(self, name, what):
        """The batch API of Git LFS, and the objects themselves."""
        repository = self.folder(name)
        place = lambda oid: os.path.join(repository, "lfs", oid)
        if repository is None:
            return self.refuse(404, {})
        if what == "batch" and self.command == "POST":
            return self.answer(200, json.dumps(self.lfs_batch(name, place)).encode(), "application/vnd.git-lfs+json")
        if self.command == "GET" and os.path.exists(place(what)):
            with open(place(what), "rb") as file:
                return self.answer(200, file.read(), "application/octet-stream")
        if self.command != "PUT" or not self.server.allow_push:
            return self.refuse(404, {})
        os.makedirs(os.path.dirname(place(what)), exist_ok=True)
        digest = hashlib.sha256()
        with tempfile.NamedTemporaryFile(dir=os.path.dirname(place(what)), delete=False) as file:
            for data in self.body():
                digest.update(data)
                file.write(data)
        if digest.hexdigest() != what:
            os.unlink(file.name)
            return self.refuse(422, {})
        os.rename(file.name, place(what))
        return self.answer(200, b"", "text/plain")

    def lfs_batch(self, name, place):
        asked = json.loads(b"".join(self.body()))
        verb = asked["operation"]
        headers = {key: self.headers[key] for key in ("Authorization",) if key in self.headers}
        action = {"href": f"http://{self.headers['Host']}{name}/info/lfs/objects/", "header": headers}
        objects = []
        for wanted in asked["objects"]:
            oid, is_here = wanted["oid"], os.path.exists(place(wanted["oid"]))
            objects.append(wanted)
            if verb == "download" and not is_here:
                wanted["error"] = {"code": 404, "message": "there is no such object"}
            elif (verb == "download") == is_here:
                wanted["actions"] = {verb: {**action, "href": action["href"] + oid}}
        return {"transfer": "basic", "objects": objects}

    def answer(self, status, body, kind):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def refuse(self, status, headers):
        # Leaves the body unread, because the connection is closed after the answer.
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.send_header("Connection", "close")
        self.end_headers()

    def body(self):
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            while size := int(self.rfile.readline().split(b";")[0], 16):
                left = size
                while left and (data := self.rfile.read(min(left, CHUNK))):
                    left -= len(data)
                    yield data
                self.rfile.readline()
            return
        left = int(self.headers.get("Content-Length") or 0)
        while left and (data := self.rfile.read(min(left, CHUNK))):
            left -= len(data)
            yield data

    def backend(self, path, query):
        settings = {"http.receivepack": "true" if self.server.allow_push else "false", "safe.directory": "*"}
        variables = {
            "GIT_PROJECT_ROOT": self.server.root,
            "GIT_HTTP_EXPORT_ALL": "1",
            "REQUEST_METHOD": self.command,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            "REMOTE_ADDR": self.client_address[0],
            "GIT_CONFIG_COUNT": str(len(settings)),
        }
        for number, (key, value) in enumerate(settings.items()):
            variables |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
        command = ["git", "http-backend"]
        environ = environment() | variables
        with subprocess.Popen(command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
            feeder = threading.Thread(target=self.feed, args=(child.stdin,))
            feeder.start()
            headers, status = [], "200"
            while line := child.stdout.readline().strip():
                name, _, value = line.decode("latin-1").partition(":")
                if name.lower() == "status":
                    status = value.split()[0]
                else:
                    headers.append((name, value.strip()))
            self.send_response(int(status))
            for name, value in headers:
                self.send_header(name, value)
            self.send_header("Connection", "close")
            self.end_headers()
            while data := child.stdout.read1(CHUNK):
                self.wfile.write(data)
            self.wfile.flush()
            feeder.join()

    def feed(self, stdin):
        try:
            for data in self.body():
                stdin.write(data)
        except (BrokenPipeError, ConnectionError, ValueError):
            pass  # Git ended early, or the client did: the answer says so.
        finally:
            try:
                stdin.close()
            except BrokenPipeError:
                pass

    def tell(self, repository, before, after):
        url = git(repository, "config", "--get", "longshore.hook-url").strip()
        if not url:
            return
        secret = git(repository, "config", "--get", "longshore.hook-secret").strip()
        for name in sorted(before.keys() | after.keys()):
            old, new = before.get(name, ZERO), after.get(name, ZERO)
            if old != new:
                answer = send_hook(url, secret, {"ref": name, "before": old, "after": new})
                self.log_message("hook for %s: %s", name, answer)

    def log_message(self, template, *values):
        if not self.server.quiet:
            super().log_message(template, *values)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True, help="folder with bare repositories")
    parser.add_argument("--listen", default="127.0.0.1:8417", help="HOST:PORT (default: %(default)s)")
    parser.add_argument("--allow-push", action="store_true", help="take pushes")
    parser.add_argument("--user", help="ask for this user, with --password-file")
    parser.add_argument("--password-file", help="file with the password")
    parser.add_argument("--port-file", help="write the port there once it listens")
    parser.add_argument("--quiet", action="store_true", help="no log")
    options = parser.parse_args()
    if bool(options.user) != bool(options.password_file):
        parser.error("--user and --password-file go together")
    host, _, port = options.listen.rpartition(":")
    server = Server((host, int(port)), Handler)
    server.root = os.path.realpath(options.root)
    server.allow_push = options.allow_push
    server.quiet = options.quiet
    server.pushing = threading.Lock()
    server.credentials = None
    if options.user:
        with open(options.password_file, encoding="utf-8") as file:
            pair = f"{options.user}:{file.read().strip()}"
        server.credentials = "Basic " + base64.b64encode(pair.encode()).decode()
    if options.port_file:
        with open(options.port_file, "w", encoding="utf-8") as file:
            file.write(f"{server.server_port}\n")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
