"""Standard Webhooks: sign, verify, post. Headers webhook-id, -timestamp and -signature (HMAC-SHA256).

The timestamp is the machine's real time, never the demo's fast clock: the receiver compares it with its own
real time, and a scaled one would be refused as a replay. Each try is signed afresh, so a long outage does not
make a message too old; `webhook-id` stays the same, which is what makes a repeat harmless.
"""

from __future__ import annotations

import base64
import binascii
import logging
import secrets as random_bytes
import stat
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import httpx2
from standardwebhooks import Webhook, WebhookVerificationError

from alerting.action import Action
from alerting.cloud_event import CONTENT_TYPE, encode_action
from alerting.post import DeliveryError, is_url, post
from collector.errors import ConfigError

_LOG = logging.getLogger(__name__)
_PREFIX: Final = "whsec_"
_SHORTEST_SECRET_BYTES: Final = 24  # the Standard Webhooks specification asks for 24 to 64


class SignatureError(Exception):
    """A message that we do not trust: why, without the secret."""


def new_secret() -> str:
    """A fresh secret line."""
    return _PREFIX + base64.b64encode(random_bytes.token_bytes(32)).decode()


def load_secrets(path: str) -> tuple[str, ...]:
    """The secrets of a file, one a line: all sign, any verifies. Raises ConfigError.

    Read anew at each use, so that a rotation needs no restart, and it may begin at either end: add the new line
    here and there, then take the old one out here and there.
    """
    hint = "write one line: whsec_ and 32 random bytes in base64 (openssl rand -base64 32)"
    try:
        lines = Path(path).read_text().split("\n")
    except (OSError, UnicodeDecodeError) as e:
        raise ConfigError(f"webhook secret file {path or '(not set)'}: cannot be read", hint=hint) from e
    found = tuple(line.strip() for line in lines if line.strip() and not line.startswith("#"))
    for number, line in enumerate(found, 1):
        if not _is_secret(line):
            raise ConfigError(f"{path}: secret {number} is not whsec_ and at least 24 bytes", hint=hint)
    if not found:
        raise ConfigError(f"{path}: no secret in it", hint=hint)
    return found


def warn_if_readable(path: str) -> bool:
    """Log a warning when others may read the secret. -> whether they may."""
    open_to_all = bool(Path(path).stat().st_mode & stat.S_IROTH)
    if open_to_all:
        _LOG.warning("%s is readable by every user of this machine; run: chmod 600 %s", path, path)
    return open_to_all


def sign(secrets: Sequence[str], message_id: str, body: bytes, now: datetime | None = None) -> dict[str, str]:
    """The three headers at real time `now`. One signature per secret, as the specification wants in a rotation."""
    at = now or datetime.now(tz=UTC)
    text = body.decode()
    signatures = [Webhook(s).sign(msg_id=message_id, timestamp=at, data=text) for s in secrets]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": " ".join(signatures),
    }


def verify(secrets: Sequence[str], headers: Mapping[str, str], body: bytes, tolerance_s: float) -> str:
    """-> webhook-id of a message signed with any of `secrets` and young enough. Raises SignatureError.

    The library refuses more than 300 s either way; `tolerance_s` can only make that tighter.
    """
    why = "no secret matches"
    headers = {name.lower(): value for name, value in headers.items()}
    for secret in secrets:
        try:
            Webhook(secret).verify(body, headers, json_parse=False)
        except (WebhookVerificationError, ValueError) as e:  # ValueError: not base64, not UTF-8
            why = str(e)
            continue
        age_s = abs(datetime.now(tz=UTC).timestamp() - float(headers["webhook-timestamp"]))
        if age_s > tolerance_s:
            raise SignatureError(f"timestamp is {age_s:.0f} s away, more than {tolerance_s:.0f} s")
        return headers["webhook-id"]
    raise SignatureError(why)


class Sender:
    """Posts actions to one receiver. Not for several threads at once."""

    def __init__(self, url: str, secret_file: str, timeout_s: float) -> None:
        """Check the settings now rather than at the first incident. Raises ConfigError."""
        if not is_url(url):
            raise ConfigError(f"watch.webhook_url: not a URL: {url!r}", hint="or set watch.dry_run = true")
        load_secrets(secret_file)
        warn_if_readable(secret_file)
        self._url, self._secret_file = url, secret_file
        self._client = httpx2.Client(timeout=timeout_s)

    def __call__(self, action: Action) -> None:
        """Deliver one. Raises DeliveryError (try again) or RefusedError (do not)."""
        body = encode_action(action)
        try:
            headers = sign(load_secrets(self._secret_file), action.action_id, body)
        except ConfigError as e:
            raise DeliveryError(f"{type(e).__name__}: {e}") from e
        post(self._client, self._url, body, {**headers, "content-type": CONTENT_TYPE})

    def close(self) -> None:
        self._client.close()


def _is_secret(line: str) -> bool:
    if not line.startswith(_PREFIX):
        return False
    try:
        return len(base64.b64decode(line.removeprefix(_PREFIX), validate=True)) >= _SHORTEST_SECRET_BYTES
    except binascii.Error:
        return False
