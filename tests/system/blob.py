# SPDX-License-Identifier: GPL-2.0-or-later
"""A web server on the host for transfers with checksums."""
import hashlib, http.server, threading
from harness import *


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.server.blob)))
        self.end_headers()
        self.wfile.write(self.server.blob)

    def do_POST(self):
        left, digest = int(self.headers["Content-Length"]), hashlib.sha256()
        while left:
            data = self.rfile.read(min(left, 1 << 20))
            digest.update(data)
            left -= len(data)
        self.server.received[self.path] = digest.hexdigest()
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")


class BlobServer(http.server.ThreadingHTTPServer):
    """Gives out one blob, and notes the checksums of what is posted to it, by path; on a thread of its own."""

    def __init__(self, blob, address=("127.0.0.1", 0)):
        super().__init__(address, Handler)
        self.blob, self.digest, self.received = blob, hashlib.sha256(blob).hexdigest(), {}
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def down(self, g, host, path="/tmp/blob"):
        """The guest fetches the blob from the host at this address, as a file."""
        g.command(f"wget -q -O {path} http://{host}:{self.server_port}/blob", 120)

    def check_file(self, g, what, path="/tmp/blob"):
        check(self.digest in g.command(f"sha256sum {path}", 120), f"{what}: the file came damaged")

    def up(self, g, host, mark, path="/tmp/blob"):
        """... and sends the file back."""
        g.command(f"(printf 'POST /{mark} HTTP/1.0\\r\\nContent-Length: {len(self.blob)}\\r\\n\\r\\n'; cat {path}) | "
                  f"nc {host} {self.server_port} >/dev/null", 120)

    def check_received(self, what, mark):
        check(self.received.get(f"/{mark}") == self.digest, f"{what}: what was sent arrived damaged")

    def exchange(self, g, host, mark, what):
        self.down(g, host)
        self.check_file(g, what)
        self.up(g, host, mark)
        self.check_received(what, mark)
