"""Fixtures of the tests of plots."""

from __future__ import annotations

from tests.fixtures.birds import recording

__all__ = ["recording"]
