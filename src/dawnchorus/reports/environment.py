"""The Jinja environment of HTML pages."""

from __future__ import annotations

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined


def page_environment() -> Environment:
    """Return the Jinja environment of pages, which escapes values and rejects undefined ones."""
    environment = Environment(
        loader=ChoiceLoader([PackageLoader("dawnchorus.reports", folder) for folder in ("templates", "static")]),
        autoescape=True,
        undefined=StrictUndefined,
    )
    environment.filters["readable"] = _readable
    return environment


def _readable(text: str) -> str:
    """Return text that can be encoded, whatever bytes a name came from."""
    return text.encode("utf-8", "backslashreplace").decode()
