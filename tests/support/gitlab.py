"""GitLab's part for tests: an instance's keys over HTTP, and tokens that it has signed for jobs."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


class Instance:
    """One GitLab with its key; `url` is where it says that it is."""

    def __init__(self, url: str = "https://gitlab.example", kid: str = "k1") -> None:
        self.url, self.kid = url, kid

    @cached_property
    def private(self) -> rsa.RSAPrivateKey:
        return rsa.generate_private_key(65537, 2048)

    @property
    def keys(self) -> bytes:
        numbers = self.private.public_key().public_numbers()
        n, e = (encoded(number.to_bytes((number.bit_length() + 7) // 8, "big")) for number in (numbers.n, numbers.e))
        return json.dumps({"keys": [{"kty": "RSA", "kid": self.kid, "use": "sig", "n": n, "e": e}]}).encode()

    def token(self, *, header: dict[str, Any] | None = None, **claims: Any) -> str:
        """For a job that ann started by hand in acme/models, unless told."""
        now = int(time.time())
        said = {"iss": self.url, "aud": "gitops-acme", "iat": now, "nbf": now, "exp": now + 300, "user_login": "ann"}
        said |= {"project_path": "acme/models", "pipeline_source": "web", "job_id": "4711"} | claims
        parts = [{"alg": "RS256", "typ": "JWT", "kid": self.kid} | (header or {}), said]
        message = ".".join(encoded(json.dumps(part).encode()) for part in parts)
        return f"{message}.{encoded(self.private.sign(message.encode(), padding.PKCS1v15(), SHA256()))}"


@contextmanager
def served() -> Iterator[Instance]:
    """An instance whose keys can be had over HTTP on loopback."""
    made = Instance()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            there = self.path == "/oauth/discovery/keys"
            self.send_response(200 if there else 404)
            self.end_headers()
            self.wfile.write(made.keys if there else b"")

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: a test has other things to say."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        made.url = f"http://127.0.0.1:{server.server_address[1]}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield made
        server.shutdown()
