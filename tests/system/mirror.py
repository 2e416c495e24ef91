# SPDX-License-Identifier: GPL-2.0-or-later
"""A package mirror on loopback: Debian's archive as the host's own apt reaches it, each file fetched once and kept."""
import http.server, os, shutil, subprocess, tempfile, threading, urllib.request


def apt_archive(suite):
    """(URL, proxy) of the archive that the host's apt has this suite from, or None."""
    def output(*command):
        return subprocess.run(command, capture_output=True, text=True).stdout
    rows = output("apt-get", "indextargets", "--format", "$(CODENAME) $(SUITE) $(COMPONENT) $(REPO_URI)", "Created-By: Packages")
    proxy = output("apt-config", "shell", "P", "Acquire::http::Proxy").partition("=")[2].strip().strip("'")
    for row in rows.splitlines():
        codename, name, component, uri = row.split(" ", 3)
        # Updates and security have other names, or stand elsewhere; a mirror of packages has a pool.
        if component == "main" and codename == suite and "security" not in uri and uri.startswith("http"):
            return uri.rstrip("/"), proxy
    return None


class Mirror:
    """Serves /debian/... and, at other paths, the texts in `files`. `asked` counts what came over the network."""

    def __init__(self, folder, suite, files):
        self.folder, self.files, self.asked = folder, files, {"fetched": 0, "kept": 0, "missing": 0, "bytes": 0}
        self.origin, proxy = apt_archive(suite)
        handlers = [urllib.request.ProxyHandler({"http": proxy, "https": proxy})] if proxy and proxy != "DIRECT" else []
        self.opener = urllib.request.build_opener(*handlers)
        self.lock = threading.Lock()
        self.renew(f"dists/{suite}/InRelease")
        mirror = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                mirror.answer(self)

            do_HEAD = do_GET

            def log_message(self, *arguments):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def renew(self, path):
        """The indexes that are kept belong together: when the archive has new ones, all of them go. Without the archive they stay."""
        kept = os.path.join(self.folder, path)
        try:
            with self.opener.open(f"{self.origin}/{path}", timeout=60) as reply:
                new = reply.read()
        except OSError:
            return
        if os.path.exists(kept):
            with open(kept, "rb") as f:
                if f.read() == new:
                    return
        shutil.rmtree(os.path.join(self.folder, "dists"), ignore_errors=True)
        os.makedirs(os.path.dirname(kept))
        with open(kept, "wb") as f:
            f.write(new)

    def fetch(self, path):
        """The file's place in the cache, or None."""
        kept = os.path.join(self.folder, path)
        with self.lock:
            if os.path.exists(kept):
                self.asked["kept"] += 1
                return kept
            try:
                with self.opener.open(f"{self.origin}/{path}", timeout=120) as reply:
                    os.makedirs(os.path.dirname(kept), exist_ok=True)
                    with tempfile.NamedTemporaryFile(dir=os.path.dirname(kept), delete=False) as new:
                        shutil.copyfileobj(reply, new)
                os.rename(new.name, kept)
                self.asked["fetched"] += 1
                return kept
            except OSError as e:
                if getattr(e, "code", 0) != 404:
                    print(f"mirror: {path}: {e}", flush=True)
                self.asked["missing"] += 1
                return None

    def answer(self, request):
        path = request.path.lstrip("/").split("?")[0]
        text = self.files.get(path)
        place = None
        if text is None and path.startswith("debian/") and ".." not in path:
            place = self.fetch(path[len("debian/"):])
        size = len(text) if text is not None else os.path.getsize(place) if place else 0
        request.send_response(200 if text is not None or place else 404)
        request.send_header("Content-Length", str(size))
        request.end_headers()
        if request.command == "HEAD" or not size:
            return
        if text is not None:
            request.wfile.write(text)
        else:
            with open(place, "rb") as f:
                shutil.copyfileobj(f, request.wfile)
        self.asked["bytes"] += size
