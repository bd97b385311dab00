"""One POST to one receiver, and what its answer means: taken, try again, or never."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import httpx2

_FOR_GOOD: Final = frozenset({400, 410, 413, 422})
"""Answers that no repeat will change. 401 and 404 may: a key is being rotated, a receiver is starting."""


class DeliveryError(Exception):
    """Not delivered this time; try again, and not before `retry_after_s` seconds where the receiver asks for that."""

    def __init__(self, message: str, retry_after_s: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class RefusedError(Exception):
    """The receiver will never take this."""


def is_url(url: str) -> bool:
    """Whether it is an http or https URL with a host."""
    try:
        parsed = httpx2.URL(url)
    except httpx2.InvalidURL:
        return False
    return parsed.scheme in ("http", "https") and parsed.host != ""


def post(client: httpx2.Client, url: str, body: bytes, headers: Mapping[str, str]) -> None:
    """Returns once the receiver has it. Raises DeliveryError (try again) or RefusedError (do not)."""
    try:
        answer = client.post(url, content=body, headers=headers)
    except (httpx2.HTTPError, httpx2.InvalidURL) as e:
        raise DeliveryError(f"{type(e).__name__}: {e}") from e
    if answer.is_success:
        return
    error = f"HTTP {answer.status_code}: {answer.text[:200]}"
    if answer.status_code in _FOR_GOOD:
        raise RefusedError(error)
    raise DeliveryError(error, _seconds(answer.headers.get("retry-after", "")))


def _seconds(retry_after: str) -> float:
    """The header in its form of seconds; the other form, a date, is answered by our own pauses."""
    return float(retry_after) if retry_after.isascii() and retry_after.isdigit() else 0.0
