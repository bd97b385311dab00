"""A small OpenID Connect provider on loopback: it lets in whom it is told to, and asks for nothing."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import parse_qs, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import RSAKey

CLIENT: Final = "foreshock"
_KEY: Final = RSAKey.generate_key(2048, {"kid": "one", "use": "sig"}, private=True)


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        asked = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(asked.query).items()}
        if asked.path == "/.well-known/openid-configuration":
            self._json(self.server.metadata())
        elif asked.path == "/keys":
            self._json({"keys": [_KEY.as_dict(private=False)]})
        elif asked.path == "/authorize":
            self.server.nonce = query.get("nonce", "")
            self.send_response(302)
            back = urlencode({"code": "any", "state": query["state"]})
            self.send_header("Location", f"{query['redirect_uri']}?{back}")
            self.end_headers()
        else:
            self.send_error(404)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._json({"access_token": "a", "token_type": "Bearer", "id_token": self.server.token()})

    def _json(self, told: dict[str, Any]) -> None:
        body = json.dumps(told).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    def __init__(self, email: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.email = email
        self.nonce = ""
        self.url = f"http://127.0.0.1:{self.server_port}"

    def metadata(self) -> dict[str, Any]:
        return {
            "issuer": self.url, "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token", "jwks_uri": f"{self.url}/keys",
            "id_token_signing_alg_values_supported": ["RS256"],
        }  # fmt: skip

    def token(self) -> str:
        now = int(time.time())
        claims = {
            "iss": self.url, "sub": "1", "aud": CLIENT, "iat": now, "exp": now + 600, "nonce": self.nonce,
            "email": self.email,
        }  # fmt: skip
        return jwt.encode({"alg": "RS256", "kid": "one"}, claims, _KEY)


@contextmanager
def letting_in(email: str) -> Iterator[str]:
    """Its URL."""
    with _Server(email) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server.url
        finally:
            server.shutdown()
            thread.join()


def secrets(provider: str, dashboard: str) -> str:
    """What `.streamlit/secrets.toml` says of it."""
    return (
        f'[auth]\nredirect_uri = "{dashboard}/oauth2callback"\ncookie_secret = "{"s" * 64}"\n'
        f'client_id = "{CLIENT}"\nclient_secret = "none"\n'
        f'server_metadata_url = "{provider}/.well-known/openid-configuration"\n'
    )
