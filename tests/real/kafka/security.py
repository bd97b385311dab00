"""TLS and SASL for the test broker: a certificate of its own and one user."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

USER = "foreshock"
PASSWORD = "correct-horse-battery-staple"
_LOGIN = "org.apache.kafka.common.security.plain.PlainLoginModule required"


@dataclass(frozen=True)
class Identity:
    """`certificate` is what a client trusts; `properties` go into server.properties."""

    certificate: Path
    properties: dict[str, str]


def make_identity(directory: Path) -> Identity:
    """A self-signed certificate for 127.0.0.1 and a SASL/PLAIN user, made with openssl."""
    directory.mkdir(parents=True, exist_ok=True)
    key, certificate, store = (directory / name for name in ("key.pem", "cert.pem", "store.pem"))
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    store.write_text(key.read_text() + certificate.read_text())
    users = f'username="{USER}" password="{PASSWORD}" user_{USER}="{PASSWORD}"'
    return Identity(
        certificate,
        {
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(store),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(certificate),
            "sasl.enabled.mechanisms": "PLAIN",
            "sasl.mechanism.inter.broker.protocol": "PLAIN",
            "listener.name.sasl_ssl.plain.sasl.jaas.config": f"{_LOGIN} {users};",
        },
    )
