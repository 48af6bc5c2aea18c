"""A loopback server with Prometheus' query API that answers for a fleet; a process of its own.

    python -m tests.benchmarks.operator_fleet.prometheus PORT POOLS

`GET /-/swing?share=0.1` makes the traffic breathe from then on. Answers are compressed as Prometheus compresses
them, since undoing that is work for the operator.
"""

import sys
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from tests.benchmarks.operator_fleet.answers import Answers
from tests.benchmarks.operator_fleet.fleet import workloads

_COMPRESSED_FROM_BYTES = 1024
_GZIP = 31
_FASTEST = 1


def serve(port: int, pools: int) -> None:
    """Serve until killed."""
    answers = Answers(workloads(pools))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # One packet for head and body: two would wait for each other's acknowledgement.
        wbufsize = -1

        def do_GET(self) -> None:
            address = urlsplit(self.path)
            self._answer(address.path, parse_qs(address.query))

        def do_POST(self) -> None:
            address = urlsplit(self.path)
            length = int(self.headers.get("Content-Length") or 0)
            self._answer(address.path, parse_qs(address.query) | parse_qs(self.rfile.read(length).decode()))

        def _answer(self, path: str, fields: dict[str, list[str]]) -> None:
            if path == "/-/swing":
                answers.swing = float(fields["share"][0])
                self._send(b"{}")
                return
            query = fields["query"][0]
            if path == "/api/v1/query":
                kind, result = "vector", answers.instant(query, float(fields["time"][0]))
            else:
                start, end = float(fields["start"][0]), float(fields["end"][0])
                step = float(fields["step"][0].removesuffix("s"))
                kind, result = "matrix", answers.range(query, start, end, step)
            body = f'{{"status":"success","data":{{"resultType":"{kind}","result":{result}}}}}'
            self._send(body.encode())

        def _send(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            if len(body) >= _COMPRESSED_FROM_BYTES and "gzip" in self.headers.get("Accept-Encoding", ""):
                squeeze = zlib.compressobj(_FASTEST, wbits=_GZIP)
                body = squeeze.compress(body) + squeeze.flush()
                self.send_header("Content-Encoding", "gzip")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Stay quiet about requests that went well."""

    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


if __name__ == "__main__":
    serve(int(sys.argv[1]), int(sys.argv[2]))
