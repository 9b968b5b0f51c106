"""Parameters of requests, in the URL's query or in text fields of a form.

In the API, unknown and repeated parameters are errors; HTML pages ignore them and show a note.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Generic, TypeVar
from urllib.parse import urlencode

from fastapi import Request, params
from fastapi.dependencies.utils import get_flat_params
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from dawnchorus.errors import InputError
from dawnchorus.suggestions import suggestion

MAX_SHOWN = 40
"""Maximum number of characters of a given value in a message."""

Parameters = TypeVar("Parameters", bound=BaseModel)


class RequestParameters(BaseModel):
    """Base class of parameter models; unknown fields are errors, and empty or blank texts count as absent."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _drop_empty(cls, fields: Any) -> Any:
        if not isinstance(fields, dict):
            return fields
        return {name: value for name, value in fields.items() if not (isinstance(value, str) and not value.strip())}

    def query_string(self, **changes: object) -> str:
        """Return the query of a URL, without question mark, with the parameters that were given, except empty values.

        Args:
            changes: new values by name, which are added or replace given values; None or "" removes a parameter.
        """
        values = {**self.model_dump(mode="json", exclude_unset=True), **changes}
        return urlencode({name: to_text(value) for name, value in values.items() if value not in (None, "")})


def to_text(value: object) -> str:
    """Return a parameter's value as text for a URL; booleans are in lower case."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def refuse_unknown_query(request: Request) -> None:
    """Check that the request's route reads all query parameters of the request, and that each is given once.

    Raises:
        InputError: the route does not read a parameter, or a parameter is repeated.
    """
    route = request.scope.get("route")
    if not request.query_params or not isinstance(route, APIRoute):
        return
    elsewhere = params.Path | params.Header | params.Cookie
    fields = get_flat_params(route.dependant)
    known = [field.alias for field in fields if not isinstance(field.field_info, elsewhere)]
    refuse_unknown(request.query_params.keys(), known, "parameter")
    refuse_repeated(request.query_params.multi_items(), "parameter")


def refuse_unknown(names: Collection[str], known: Collection[str], noun: str) -> None:
    """Check that all names in a request are allowed.

    Args:
        names: names in the request.
        known: allowed names.
        noun: what the names are, such as "parameter" or "field", for the message.

    Raises:
        InputError: a name is unknown; the message suggests the most similar known name.
    """
    unknown = [name for name in names if name not in known]
    if unknown:
        expected = f"expected {', '.join(sorted(known))}" if known else "expected none"
        nearest = suggestion(unknown[0][:80].lower(), known)  # all known names are in lower case
        raise InputError(f"{noun} '{unknown[0][:80]}': {expected}.{nearest}")


def refuse_repeated(pairs: Sequence[tuple[str, object]], noun: str) -> None:
    """Check that each name occurs once, so that no value is ignored in favor of another.

    Args:
        pairs: names and values in the request, of which only repeated ones are shown in the message.
        noun: what the names are, such as "parameter" or "field", for the message.

    Raises:
        InputError: a name is repeated; the message has its values.
    """
    for name, n in Counter(name for name, _ in pairs).items():
        if n > 1:
            values = " and ".join(f"{value!r}"[:MAX_SHOWN] for each, value in pairs if each == name)
            raise InputError(f"{noun} '{name[:80]}': expected one value, got {n}: {values[: 4 * MAX_SHOWN]}.")


def note_empty(pairs: Iterable[tuple[str, str]]) -> list[str]:
    """Return a list with one sentence that names the parameters with an empty or blank value, or an empty list.

    Args:
        pairs: names and values in the request.
    """
    names = dict.fromkeys(name for name, text in pairs if not text.strip())
    return [f"{', '.join(names)}: given without a value, which counts as not given."] if names else []


def merge_fields(query: Parameters, fields: Mapping[str, str]) -> Parameters:
    """Return a copy of the parameters of the query, completed by the text fields of a form.

    A parameter may be given in both only with the same value. Empty fields count as absent, because browsers send
    fields that were not filled in.

    Args:
        query: parameters of the query.
        fields: text fields of the form by name.

    Raises:
        InputError: a field is not a parameter of this model, or has another value than the same parameter in the query.
        RequestValidationError: a field's value is not valid.
    """
    model = type(query)
    by_alias = {info.alias or name: name for name, info in model.model_fields.items()}
    refuse_unknown(fields, by_alias, "field")
    given = {alias: text for alias, text in fields.items() if text.strip()}
    try:
        sent = model.model_validate(given)
    except ValidationError as error:
        raise RequestValidationError([{**each, "loc": ("body", *each["loc"])} for each in error.errors()]) from error
    for alias in given:
        name = by_alias[alias]
        first, second = getattr(query, name), getattr(sent, name)
        if name in query.model_fields_set and first != second:
            raise InputError(f"{alias}: expected one value, got {first} in the URL and {second} in the form.")
    return query.model_copy(update={name: getattr(sent, name) for name in sent.model_fields_set})


# ---------------------------------------------------------------------- pages


class PageQuery(Generic[Parameters]):
    """Route dependency that reads the query parameters of an HTML page.

    Invalid parameters are ignored, and the page shows a note on each, because URLs of pages are typed by hand, shared
    and bookmarked for years.

    Args:
        model: model of the parameters, an instance of which the route gets.
    """

    def __init__(self, model: type[Parameters]) -> None:
        self._model = model
        self.names = frozenset(info.alias or name for name, info in model.model_fields.items())

    async def __call__(self, request: Request) -> Parameters:  # async, since sync dependencies run in a thread
        """Return the valid parameters of the request, and add a note on each invalid one.

        Of a repeated parameter, the first value is used.
        """
        given: dict[str, str] = {}
        for name, text in request.query_params.multi_items():
            if name not in self.names:
                continue  # `note_unknown_query` says so
            if "\0" in text:
                note(request, f"{name}: expected no NUL character.")
            elif name in given:
                note(request, f"{name}: expected one value, got {given[name][:MAX_SHOWN]!r} and {text[:MAX_SHOWN]!r}.")
            else:
                given[name] = text
        try:
            return self._model.model_validate(given)
        except ValidationError as error:
            for name, message in {str(each["loc"][0]): each["msg"] for each in error.errors()}.items():
                note(request, f"{name}: {message}, got {given.pop(name)[:MAX_SHOWN]!r}.")
            return self._model.model_validate(given)


def note(request: Request, sentence: str) -> None:
    """Add a sentence on an invalid part of the request's URL to the request; the page shows all of these notes."""
    if not hasattr(request.state, "notes"):
        request.state.notes = []
    request.state.notes.append(sentence)


def note_unknown_query(request: Request) -> None:
    """Add a note for each parameter in the URL that the page does not read."""
    route = request.scope.get("route")
    if not request.query_params or not isinstance(route, APIRoute):
        return
    known = {
        name for each in route.dependant.dependencies if isinstance(each.call, PageQuery) for name in each.call.names
    }
    for name in dict.fromkeys(request.query_params.keys()):
        if name not in known:
            note(
                request, f"{name[:MAX_SHOWN]!r}: this page has no such parameter.{suggestion(name[:80].lower(), known)}"
            )
