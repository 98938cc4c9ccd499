"""A site of two hosts to crawl, on this machine: `python small_site.py PORT`. One page of each host is broken."""

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PAGES = 30


class Site(BaseHTTPRequestHandler):
    server: ThreadingHTTPServer

    def do_GET(self) -> None:
        number = int(self.path.strip("/") or 0)
        if number == 13:
            self.send_error(410)
            return
        other = {"localhost": "127.0.0.1"}.get(self.headers["Host"].split(":")[0], "localhost")
        further = [f"/{n}" for n in (2 * number + 1, 2 * number + 2) if n < PAGES]
        body = "".join(
            f'<a href="{link}">more</a>' for link in [*further, f"http://{other}:{self.server.server_port}/{number}"]
        )
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *args: object) -> None:
        pass


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Site).serve_forever()
