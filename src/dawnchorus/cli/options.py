"""Options and argument types shared by several commands."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from functools import wraps
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from dawnchorus.cores import usable_cores
from dawnchorus.errors import InputError
from dawnchorus.identification.options import OptionSpec, option_specs
from dawnchorus.identification.weeks import week_of
from dawnchorus.models.store import DEFAULT_MODEL, ModelStore, default_folder
from dawnchorus.storage.paths import as_path, is_remote
from dawnchorus.tables import parse_latitude, parse_location, parse_longitude, parse_number

Function = Callable[..., Any]

models_folder_option = click.option(
    "--models-folder",
    type=click.Path(path_type=Path),
    help="Folder of the built-in models.  [default: $DAWNCHORUS_MODELS, or the user's cache]",
)


class PathOrUrl(click.ParamType[Path]):
    """A click type for a local path, or the URL of a file or folder (`s3://...`)."""

    name = "path"
    """Name of the type in messages of click."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:  # noqa: ARG002
        """Return the path; for a URL, a `storage.paths.RemotePath`."""
        return as_path(value)


PATH_OR_URL = PathOrUrl()


class LocalPath(click.Path):
    """A click type for a path on this machine; URLs other than file:// are refused."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the value as a `Path`.

        Raises:
            click.BadParameter: the value is a URL other than file://.
        """
        path = as_path(value)
        if is_remote(path):
            self.fail(f"{path}: URLs are not supported here. Give a file or folder of this machine.", param, ctx)
        return super().convert(path, param, ctx)


LOCAL_PATH = LocalPath()

TRIM_DB = click.FloatRange(0, 120, min_open=True)


workers_option = click.option(
    "--workers", type=click.IntRange(1), default=usable_cores, show_default="all", help="Number of cores to use."
)


def ray_option(purpose: str) -> Callable[[Function], Function]:
    """Return the option `--ray` with a help text that opens with `purpose`."""
    text = f"{purpose} of a Ray cluster whose nodes do the work: HOST:PORT, auto or local; last, or as --ray=ADDRESS."
    return click.option("--ray", metavar="[ADDRESS]", is_flag=False, flag_value="auto", help=text)


def is_given(name: str) -> bool:
    """Return True if the user has set the parameter `name` of the current command."""
    source = click.get_current_context().get_parameter_source(name)
    return source not in (None, ParameterSource.DEFAULT)


config_dir_option = click.option(
    "--config-dir",
    type=click.Path(path_type=Path),
    help="Folder of your own choices, GROUP/NAME.yaml, which replace built-in ones of the same name.",
)

_FLAGS = {"overlap_s": "--overlap", "tta_shifts": "--tta"}
"""Names of options that differ from the field's name."""


def schema_option(name: str) -> Callable[[Function], Function]:
    """Return the decorator that adds the command-line option for the field `name` of `Options`.

    The command gets the value as the argument `name`. `Options` are those of `identification.options`.
    """
    spec = option_specs()[name]
    flag = _FLAGS.get(name, f"--{name.replace('_', '-')}")
    if spec.type is bool:
        return click.option(flag, name, is_flag=True, help=spec.description)
    has_default = spec.default is not None
    return click.option(
        flag, name, type=_click_type(spec), default=spec.default, show_default=has_default, help=spec.description
    )


def _click_type(spec: OptionSpec) -> click.ParamType[Any]:
    if spec.choices:
        return click.Choice(spec.choices)
    return click.IntRange(spec.low, spec.high) if spec.type is int else click.FloatRange(spec.low, spec.high)


def schema_options(*names: str) -> Callable[[Function], Function]:
    """Return a decorator that adds options for the fields `names` of `identification.options.Options`.

    The command gets their values, by name of the field, as a dict in the argument `fields`.
    """

    def add(function: Function) -> Function:
        @wraps(function)
        def with_fields(*args: Any, **kwargs: Any) -> Any:
            fields = {name: kwargs.pop(name) for name in names}
            return function(*args, fields=fields, **kwargs)

        decorated: Function = with_fields
        for name in reversed(names):
            decorated = schema_option(name)(decorated)
        return decorated

    return add


def model_options(function: Function) -> Function:
    """Decorate a command with `--model` and `--models-folder`.

    The command gets the arguments `model`, a name or folder, and `store`, the `ModelStore` in the models' folder.
    """

    @click.option(
        "--model",
        default=DEFAULT_MODEL,
        show_default=True,
        help="A built-in model, or a bundle's or training run's folder.",
    )
    @models_folder_option
    @wraps(function)
    def with_store(*args: Any, models_folder: Path | None, **kwargs: Any) -> Any:
        return function(*args, store=ModelStore(models_folder or default_folder()), **kwargs)

    return with_store


def _date(_context: click.Context, _option: click.Parameter, value: str | None) -> date | None:
    if value is None:
        return None
    try:
        return date.fromisoformat(value)
    except ValueError:
        raise click.BadParameter(f"expected a date like 2026-05-01, got {value!r}") from None


def _location(lat: str | None, lon: str | None) -> tuple[float | None, float | None]:
    """Parse latitude and longitude; both may be in `lat`."""
    if lat is not None and lon is None and (location := parse_location(lat)):
        return location
    return _degrees("--lat", lat, parse_latitude), _degrees("--lon", lon, parse_longitude)


def _degrees(option: str, text: str | None, parse: Callable[[str], float | None]) -> float | None:
    """Parse degrees; numbers out of range are returned, since `Options` rejects them with a better message."""
    if text is None:
        return None
    value = parse(text)
    value = parse_number(text) if value is None else value
    if value is None:
        raise click.BadParameter(f"expected degrees such as 52.5, 52,5 or 52°30'N, got {text!r}", param_hint=option)
    return value


def location_options(function: Function) -> Function:
    """Decorate a command with the options of the range filter; the command gets a dict as the argument `location`.

    The options are `--lat`, `--lon`, `--week` or `--date`, `--range-threshold` and `--drop-out-of-range`. The dict has
    the fields of `Options` `latitude`, `longitude`, `week` (for `--date`, the week of that day), `range_threshold` and
    `drop_out_of_range` by name. The command raises InputError if both `--week` and `--date` are given.
    """

    @click.option("--lat", help="Latitude in degrees; with --lon, flags species out of range. Or both: '48.1, 11.5'.")
    @click.option("--lon", help="Longitude in degrees.")
    @schema_option("week")
    @click.option("--date", "day", callback=_date, help="Date of the recordings (YYYY-MM-DD), in place of --week.")
    @schema_option("range_threshold")
    @schema_option("drop_out_of_range")
    @wraps(function)
    def with_location(
        *args: Any,
        lat: str | None,
        lon: str | None,
        week: int | None,
        day: date | None,
        range_threshold: float,
        drop_out_of_range: bool,
        **kwargs: Any,
    ) -> Any:
        if week is not None and day is not None:
            raise InputError("--week and --date: expected one of them, got both.")
        latitude, longitude = _location(lat, lon)
        location = {
            "latitude": latitude,
            "longitude": longitude,
            "week": week_of(day) if day else week,
            "range_threshold": range_threshold,
            "drop_out_of_range": drop_out_of_range,
        }
        return function(*args, location=location, **kwargs)

    return with_location
