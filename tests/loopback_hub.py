"""As much of the Hugging Face hub as an upload and a download need, on loopback.

It holds files in memory. Its answers are those of the hub's HTTP API as the package
huggingface_hub asks for them; whoever has no token is refused an upload.
"""

import base64
import hashlib
import json
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKEN = "hf_loopback"
_COMMIT = "c" * 40
_FILE = re.compile(r"/([^/]+/[^/]+)/resolve/[^/]+/(.+)")
_REPO = re.compile(r"/api/models/([^/]+/[^/]+)/(preupload|commit|revision|tree)/.*")


class _Hub(BaseHTTPRequestHandler):
    def log_message(self, *arguments) -> None:
        """Says nothing."""

    def _send(self, status: int, content: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _answer(self, content, status=200) -> None:
        self._send(
            status, json.dumps(content).encode(), Content_Type="application/json"
        )

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._answer({"error": "Invalid username or password."}, 401)
        elif self.path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}"
            self.server.repos.setdefault(name, {})
            self.server.private[name] = asked.get("visibility", "public") == "private"
            self._answer({"url": f"{self.server.address}/{name}", "name": name})
        elif self.path == "/api/validate-yaml":
            self._answer({"errors": [], "warnings": []})
        elif found := _REPO.fullmatch(self.path):
            self._change(found[1], found[2], body)
        else:
            self._answer({"error": self.path}, 404)

    def _change(self, repo: str, what: str, body: bytes) -> None:
        if what == "preupload":
            files = json.loads(body)["files"]
            modes = [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False}
                for f in files
            ]
            self._answer({"files": modes})
            return
        for line in body.splitlines():
            item = json.loads(line)
            if item["key"] == "file":
                content = base64.b64decode(item["value"]["content"])
                self.server.repos[repo][item["value"]["path"]] = content
        url = f"{self.server.address}/{repo}/commit/{_COMMIT}"
        self._answer({"success": True, "commitOid": _COMMIT, "commitUrl": url})

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        if found := _REPO.fullmatch(path):
            files = self.server.repos.get(found[1])
            if files is None:
                self._answer({"error": "Repository not found"}, 404)
            elif found[2] == "tree":
                listed = [
                    {
                        "type": "file",
                        "path": name,
                        "size": len(content),
                        "oid": "0" * 40,
                    }
                    for name, content in files.items()
                ]
                self._answer(listed)
            else:
                siblings = [{"rfilename": name} for name in files]
                self._answer({"id": found[1], "sha": _COMMIT, "siblings": siblings})
        elif found := _FILE.fullmatch(path):
            content = self.server.repos.get(found[1], {}).get(found[2])
            if content is None:
                self._answer({"error": "Entry not found"}, 404)
            else:
                etag = hashlib.sha1(content).hexdigest()
                self._send(200, content, ETag=f'"{etag}"', X_Repo_Commit=_COMMIT)
        else:
            self._answer({"error": path}, 404)

    do_HEAD = do_GET


@contextmanager
def serve():
    """Yields a hub with `address`, `repos` (name: {path: bytes}) and `private`."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    server.address = f"http://127.0.0.1:{server.server_port}"
    server.repos, server.private = {}, {}
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
