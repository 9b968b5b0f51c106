"""Fixtures of the tests of plots."""

from __future__ import annotations

from tests.fixtures.birds import decoder, recording

__all__ = ["decoder", "recording"]
