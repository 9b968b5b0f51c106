"""From what a user types (`model=efficientnet data=my-set optimizer.lr=3e-4`) to a validated configuration."""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from dawnchorus.errors import InputError
from dawnchorus.models.store import ModelStore
from dawnchorus.train.config import TrainConfig
from dawnchorus.train.families import Family, FamilyConfig, family_of

CONF = Path(__file__).parents[1] / "conf"
GROUPS: dict[str, tuple[str, ...]] = {
    folder.name: tuple(sorted(path.stem for path in folder.glob("*.yaml")))
    for folder in sorted(CONF.iterdir())
    if folder.is_dir()
}
"""The named choices of each group."""


def compose_config(overrides: Sequence[str]) -> TrainConfig:
    """The configuration that the overrides describe.

    Raises:
        InputError: an override that is none, an unknown group, choice or key, or a value out of range; the nearest
            name is suggested.
    """
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    typed = [_typed(override) for override in overrides]
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            composed = compose("config", typed)
            found: Any = OmegaConf.to_container(composed, resolve=True, throw_on_missing=False)
    except (HydraException, OmegaConfBaseException) as error:
        raise InputError(f"{' '.join(overrides)}: {_first_line(error)}") from error
    if found["data"].get("path") in (None, "???"):
        raise InputError(
            "data: expected a data set's folder, as in data=my-set. Make one with `dawnchorus data import`."
        )
    found.pop("experiment", None)
    return validated(found)


def validated(fields: dict[str, Any]) -> TrainConfig:
    """The configuration with these fields.

    Raises:
        InputError: an unknown key or a value out of range.
    """
    try:
        config = TrainConfig.model_validate(fields)
    except ValidationError as error:
        raise InputError(_explained(error, TrainConfig)) from error
    family_of(str(config.model.get("family")))
    return config


def family_config(config: TrainConfig, store: ModelStore) -> tuple[Family[Any], FamilyConfig]:
    """The family, and its own configuration, completed by what its backbone decides.

    Raises:
        InputError: an unknown family, key or value.
        ModelError: the backbone cannot be had.
    """
    family = family_of(str(config.model.get("family")))
    fields = {name: value for name, value in config.model.items() if name != "family"}
    known = {name: value for name, value in fields.items() if value is not None or name not in ("window_s", "rate_hz")}
    try:
        return family, family.config.model_validate(family.completed(known, store))
    except ValidationError as error:
        raise InputError(_explained(error, family.config, prefix="model.")) from error


def sweep(overrides: Sequence[str]) -> Iterator[list[str]]:
    """Every combination of overrides of which some have several values: `optimizer.lr=1e-3,1e-2`."""
    choices = []
    for override in overrides:
        key, _, values = override.partition("=")
        choices.append([f"{key}={value}" for value in _split_values(values)])
    yield from (list(combination) for combination in itertools.product(*choices))


def _split_values(text: str) -> list[str]:
    """The parts between commas that are in no brackets or quotes."""
    return re.findall(r"(?:\[[^\]]*\]|\{[^}]*\}|\"[^\"]*\"|'[^']*'|[^,\[\]{}\"'])+", text) or [text]


def _typed(override: str) -> str:
    """The override in Hydra's grammar: a data set's folder by its path, and keys that a YAML does not list."""
    key, separator, value = override.partition("=")
    key = key.lstrip("+")
    if not separator or not key:
        raise InputError(f"{override!r}: expected KEY=VALUE, such as model=efficientnet or optimizer.lr=3e-4.")
    if key == "data" and value not in GROUPS["data"]:
        return f"++data.path={_quoted(value)}"
    if key in GROUPS:
        if value not in GROUPS[key]:
            raise InputError(
                f"{key}: expected one of {', '.join(GROUPS[key])}, got {value!r}.{_hint(value, GROUPS[key])}"
            )
        return f"{key}={value}"
    if key in ("data.path", "paths.runs", "paths.clips", "paths.models", "model.source", "model.backbone"):
        value = _quoted(value)
    return f"++{key}={value}"


def _quoted(value: str) -> str:
    """A path for Hydra, whatever is in it."""
    if value[:1] in "'\"" or value in ("null", "~"):
        return value
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _explained(error: ValidationError, model: type[BaseModel], *, prefix: str = "") -> str:
    lines = []
    for problem in error.errors():
        key = prefix + ".".join(map(str, problem["loc"]))
        if problem["type"] == "extra_forbidden":
            known = _keys(model, problem["loc"][:-1])
            lines.append(f"{key}: there is no such key.{_hint(str(problem['loc'][-1]), known)}")
        else:
            lines.append(f"{key}: {problem['msg']}, got {problem['input']!r}.")
    return " ".join(lines)


def _keys(model: type[BaseModel], place: Sequence[int | str]) -> tuple[str, ...]:
    """The fields of the configuration at `place` within `model`."""
    for name in place:
        field = model.model_fields.get(str(name))
        kinds = [] if field is None else [field.annotation, *get_args(field.annotation)]
        inner = next((k for k in kinds if isinstance(k, type) and issubclass(k, BaseModel)), None)
        if inner is None:
            return ()
        model = inner
    return tuple(model.model_fields)


def _hint(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f" Did you mean '{near[0]}'?" if near else f" Known: {', '.join(known)}."


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
