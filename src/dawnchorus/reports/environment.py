"""Jinja environment of the HTML reports."""

from __future__ import annotations

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined


def page_environment() -> Environment:
    """Return a new Jinja environment for the reports, which escapes values and raises an error for undefined names.

    Its filter `readable` replaces the undecodable bytes of file names by escapes.
    """
    environment = Environment(
        loader=ChoiceLoader([PackageLoader("dawnchorus.reports", folder) for folder in ("templates", "static")]),
        autoescape=True,
        undefined=StrictUndefined,
    )
    environment.filters["readable"] = _readable
    return environment


def _readable(text: str) -> str:
    """Replace the surrogates of undecodable file names by escapes, so that the text can be encoded as UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode()
