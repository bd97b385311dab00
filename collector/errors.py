"""Errors that tell the reader what to do: what happened, and a Hint that the front door prints as `Try:`."""

from __future__ import annotations


class ForeshockError(Exception):
    """A failure the user can act on. `hint` is one command or one change, in the user's words."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class ConfigError(ForeshockError):
    """`foreshock.toml` says something we cannot use. Exit code 2."""


class NotInstalledError(ForeshockError):
    """A library of an optional extra is missing. Exit code 2."""


class InvalidRecordError(ForeshockError):
    """A record that will never be readable: dead-letter it and go on."""
