"""Composition of a validated configuration from overrides such as `model=efficientnet data=my-set`."""

from __future__ import annotations

import itertools
import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from dawnchorus.errors import InputError, OutputExistsError
from dawnchorus.models.store import ModelStore
from dawnchorus.storage.files import cannot_write
from dawnchorus.suggestions import nearest
from dawnchorus.tables.text_files import read_text
from dawnchorus.training.config import TrainConfig
from dawnchorus.training.families import FAMILIES, Family, FamilyConfig
from dawnchorus.training.renamed_keys import current_key

CONF = Path(__file__).parent / "conf"
ROOT_NAME = "dawnchorus"
"""Name of the root configuration in Hydra's config store, different from any `config.yaml` of the user."""

USER_PATHS = (
    "data.path",
    "paths.runs",
    "paths.clips",
    "paths.models",
    "model.source",
    "model.backbone",
    "tracker.uri",
)
"""Keys whose values are quoted, so that Hydra does not interpret characters of a path or name."""

INSTEAD_OF_HYDRA = {
    "searchpath": "Own groups: --config-dir FOLDER (in Python: config_dir).",
    "run": "Folder of runs: paths.runs=FOLDER.",
    "sweep": "Folder of runs: paths.runs=FOLDER.",
    "mode": "Combinations of values: dawnchorus train --multirun.",
    "sweeper": "Combinations of values: dawnchorus train --multirun. Search: dawnchorus tune.",
    "launcher": "Several machines: trainer.nodes=2, docs/TRAINING.md. Several processes: trainer.devices=2.",
    "verbose": "Whole trace of an error: dawnchorus --debug.",
}
"""Advice by setting of Hydra itself (`hydra.NAME`), none of which is supported."""


def list_choices(folder: Path) -> dict[str, tuple[str, ...]]:
    """Return the sorted names of choices (files `GROUP/NAME.yaml` in a folder) by configuration group."""
    return {
        group.name: tuple(sorted(path.relative_to(group).with_suffix("").as_posix() for path in group.rglob("*.yaml")))
        for group in sorted(folder.iterdir())
        if group.is_dir() and not group.name.startswith((".", "_"))
    }


GROUPS = list_choices(CONF)
"""Built-in choices by configuration group."""


def available_choices(config_dir: Path | None) -> dict[str, tuple[str, ...]]:
    """Return all choices by configuration group: built-in ones, and those of a user's folder (None: no folder).

    Raises:
        InputError: the folder does not exist or has no groups.
    """
    own = {} if config_dir is None else _own_choices(config_dir)
    groups = {**dict.fromkeys(GROUPS, ()), **dict.fromkeys(own, ())}
    return {group: tuple(sorted({*GROUPS.get(group, ()), *own.get(group, ())})) for group in groups}


def describe_config_dir(config_dir: Path) -> list[str]:
    """Return sentences on files of a user's folder that replace built-in choices or are no choices; [] without any.

    A file equal to the built-in one is not named. No choices are YAML files directly in the folder that have
    `defaults:`, and files in groups with the suffix `.yml`.

    Raises:
        InputError: the folder does not exist or has no groups.
        FormatError: a YAML file in the folder is not text.
    """
    own = _own_choices(config_dir)
    notes = []
    shadowed = [
        f"{group}/{choice}.yaml"
        for group, choices in own.items()
        for choice in choices
        if choice in GROUPS.get(group, ()) and _differs(f"{group}/{choice}.yaml", config_dir)
    ]
    if shadowed:
        notes.append(f"{config_dir}: taken instead of the built-in files: {', '.join(shadowed)}.")
    unread = [path.name for path in sorted(config_dir.glob("*.y*ml")) if re.search(r"(?m)^defaults:", read_text(path))]
    unread += sorted(f"{path.parent.name}/{path.name}" for path in config_dir.glob("*/*.yml"))
    if unread:
        notes.append(
            f"{config_dir}: no choices of a group: {', '.join(unread)}. A choice is GROUP/NAME.yaml; settings of "
            f"several groups go into experiment/NAME.yaml, with '# @package _global_' as its first line."
        )
    return notes


def write_config_dir(folder: Path) -> None:
    """Copy the built-in configuration groups to a new folder.

    Raises:
        OutputExistsError: the folder exists and is not empty.
        OutputError: the folder cannot be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputExistsError("expected a new or empty folder.", subject=folder)
    try:
        for group in GROUPS:
            shutil.copytree(CONF / group, folder / group, ignore=shutil.ignore_patterns("__pycache__"))
    except OSError as error:
        raise cannot_write(folder, error) from error


def _own_choices(config_dir: Path) -> dict[str, tuple[str, ...]]:
    if not config_dir.is_dir():
        raise InputError(f"config_dir: {config_dir}: no such folder.")
    own = {group: choices for group, choices in list_choices(config_dir).items() if choices}
    if not own:
        raise InputError(
            f"config_dir: {config_dir}: expected files GROUP/NAME.yaml, such as scheduler/mine.yaml, found none. "
            f"Write the built-in ones into a new folder with `dawnchorus train --init-config FOLDER`."
        )
    return own


def _differs(name: str, config_dir: Path) -> bool:
    return (config_dir / name).read_bytes() != (CONF / name).read_bytes()


def split_override(override: str) -> tuple[str, str]:
    """Split an override KEY=VALUE into key and value.

    The key of `data=FOLDER` is `data.path`; that of `data=NAME`, a built-in choice, is `data`. Leading `+` of the key
    are dropped; without "=" the value is "".
    """
    key, _, value = override.partition("=")
    key = key.lstrip("+")
    return ("data.path" if key == "data" and value not in GROUPS["data"] else key), value


def refuse_contradictions(overrides: Sequence[str]) -> None:
    """Check that no two overrides set the same key to different values.

    Raises:
        InputError: two overrides do so.
    """
    first: dict[str, str] = {}
    for override in overrides:
        key, value = split_override(override)
        other = first.setdefault(key, override)
        if split_override(other)[1] != value:
            raise InputError(
                f"{other} {override}: expected one value of {key}. Leave one of them out, or try both with `dawnchorus "
                f"train --multirun {key}={split_override(other)[1]},{value}`."
            )


def compose_config(overrides: Sequence[str], *, config_dir: Path | None = None) -> TrainConfig:
    """Compose and validate the configuration of a training run.

    Args:
        overrides: settings such as `model=efficientnet`, `data=my-set` or `optimizer.lr=3e-4`.
        config_dir: folder of the user's choices (`GROUP/NAME.yaml`), which take precedence over built-in ones; None for
            the built-in ones only.

    Raises:
        InputError: an override does not have the form KEY=VALUE; a group, choice or key is unknown (the message
            suggests a similar one); a value is out of range; or there is no data set.
    """
    from hydra import compose, initialize_config_dir
    from hydra.core.config_store import ConfigStore
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    choices = available_choices(config_dir)
    arguments = [_to_hydra(override, choices) for override in overrides]
    if config_dir is not None:
        arguments.append(f"hydra.searchpath=[{_quote(f'file://{CONF}')}]")
    ConfigStore.instance().store(ROOT_NAME, OmegaConf.load(CONF / "config.yaml"))
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str((config_dir or CONF).absolute()), version_base="1.3"):
            composed = compose(ROOT_NAME, arguments, return_hydra_config=True)
            chosen: Any = composed.hydra.runtime.choices
            fields: Any = {
                key: OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
                for key, value in composed.items()
                if key != "hydra"
            }
    except (HydraException, OmegaConfBaseException) as error:
        raise InputError(f"{' '.join(overrides)}: {_first_line(error)}") from error
    except (YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{config_dir}: expected YAML in UTF-8: {' '.join(str(error).split())}.") from error
    if config_dir is not None:
        _check_own_files(config_dir, chosen, fields)
    if fields["data"].get("path") in (None, "???"):
        raise InputError(
            "data: expected a data set's folder, as in data=my-set. Make one with `dawnchorus data import`."
        )
    fields.pop("experiment", None)
    return validate_config(fields)


def _check_own_files(config_dir: Path, chosen: Mapping[str, str | None], composed: Mapping[str, Any]) -> None:
    """Raise if a chosen file of the user's folder has settings that would be ignored."""
    for group, choice in chosen.items():
        path = config_dir / group / f"{choice}.yaml"
        if not path.is_file():
            continue
        if re.search(r"(?m)^hydra:", read_text(path)):
            raise InputError(
                "hydra: settings of Hydra itself are not supported. Take them out of the file.", subject=path
            )
        if group not in TrainConfig.model_fields and group in composed:
            raise InputError(
                f"{group}: there is no such key. Begin the file with '# @package _global_'; its settings then "
                f"are those of {', '.join(TrainConfig.model_fields)}.",
                subject=path,
            )


def validate_config(fields: dict[str, Any]) -> TrainConfig:
    """Validate a configuration given as nested dicts.

    Raises:
        InputError: an unknown key or model family, or a value out of range.
        PlugInError: the model family is that of a plug-in that cannot be used.
    """
    try:
        config = TrainConfig.model_validate(fields)
    except ValidationError as error:
        raise InputError(_explain(error, TrainConfig)) from error
    FAMILIES.lookup(str(config.model.get("family")))
    return config


def recipe_overrides(recipe: Mapping[str, Any]) -> list[str]:
    """Return the overrides KEY=VALUE that reproduce the training settings stored in a bundle (`TrainConfig.recipe`)."""
    overrides = [f"model={recipe['model']['family']}"]
    overrides += [f"{key}={_hydra_value(value)}" for key, value in _leaves(recipe) if key != "model.family"]
    return overrides


def _leaves(fields: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in fields.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _hydra_value(value: object) -> str:
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_hydra_value, value))}]"
    if isinstance(value, str):
        return _quote(value) if value else "''"
    return json.dumps(value)


def family_config(config: TrainConfig, store: ModelStore) -> tuple[Family[Any], FamilyConfig]:
    """Return the model family that `config.model` names, and its validated settings.

    Args:
        config: the configuration.
        store: the store of models; a backbone in it decides the sample rate and the default window.

    Raises:
        InputError: an unknown family or key, or an invalid value.
        ModelError: the backbone cannot be loaded.
        PlugInError: the family is that of a plug-in, which failed.
    """
    family = FAMILIES.lookup(str(config.model.get("family")))
    fields = {name: value for name, value in config.model.items() if name != "family"}
    known = {name: value for name, value in fields.items() if value is not None or name not in ("window_s", "rate_hz")}
    try:
        return family, family.config.model_validate(family.complete(known, store))
    except ValidationError as error:
        raise InputError(_explain(error, family.config, prefix="model.")) from error


def sweep(overrides: Sequence[str]) -> Iterator[list[str]]:
    """Yield a list of overrides with single values for every combination of comma-separated values.

    `optimizer.lr=1e-3,1e-2` has two values. The last override varies fastest. Commas in brackets and quotes do not
    separate values.
    """
    choices = []
    for override in overrides:
        key, _, values = override.partition("=")
        choices.append([f"{key}={value}" for value in _split_values(values)])
    yield from (list(combination) for combination in itertools.product(*choices))


def _split_values(text: str) -> list[str]:
    """Split at commas outside brackets and quotes."""
    return re.findall(r"(?:\[[^\]]*\]|\{[^}]*\}|\"[^\"]*\"|'[^']*'|[^,\[\]{}\"'])+", text) or [text]


def _to_hydra(override: str, choices: Mapping[str, Sequence[str]]) -> str:
    """Translate an override to Hydra's grammar: quote paths, and allow keys that are in no YAML file."""
    key, separator, value = override.partition("=")
    key = key.lstrip("+")
    if not separator or not key:
        raise InputError(f"{override!r}: expected KEY=VALUE, such as model=efficientnet or optimizer.lr=3e-4.")
    _refuse_hydra_setting(key)
    if key == "data" and value not in choices["data"]:
        return f"++data.path={_quote(value)}"
    if key in choices:
        if value not in choices[key]:
            raise InputError(
                f"{key}: expected one of {', '.join(choices[key])}, got {value!r}.{_hint(value, choices[key])} "
                f"Own files: --config-dir FOLDER (in Python: config_dir), with {key}/NAME.yaml in it."
            )
        return f"{key}={value}" if key in GROUPS else f"+{key}={value}"
    if key in USER_PATHS:
        value = _quote(value)
    return f"++{key}={value}"


def _refuse_hydra_setting(key: str) -> None:
    head, *rest = re.split(r"[./@]", key.lstrip("~"))
    if head == "hydra":
        instead = INSTEAD_OF_HYDRA.get(rest[0] if rest else "", "")
        raise InputError(f"{key}: settings of Hydra itself are not supported. {instead}".rstrip())


def _quote(value: str) -> str:
    """Quote a path for Hydra."""
    if value[:1] in "'\"" or value in ("null", "~"):
        return value
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


UNSUPPORTED = {
    "trainer.num_workers": "Clips are read from a mapped file, which leaves nothing for workers to do. Leave it out.",
    "trainer.pin_memory": "Clips are read from a mapped file, whose memory is not torch's to pin. Leave it out.",
    "wandb": "Curves go to W&B with tracker=wandb, and a sweep's file is run by `dawnchorus tune --sweep FILE`.",
}
"""Reasons or alternatives by key of other training programs that is not supported."""


def _explain(error: ValidationError, model: type[BaseModel], *, prefix: str = "") -> str:
    lines = []
    for problem in error.errors():
        key = prefix + ".".join(map(str, problem["loc"]))
        if key in UNSUPPORTED:
            lines.append(f"{key}: there is no such key. {UNSUPPORTED[key]}")
        elif (renamed := current_key(key)) is not None:
            lines.append(f"{key}: there is no such key. It was renamed to {renamed}.")
        elif problem["type"] == "extra_forbidden":
            known = _keys(model, problem["loc"][:-1])
            lines.append(f"{key}: there is no such key.{_hint(str(problem['loc'][-1]), known)}")
        else:
            lines.append(f"{key}: {problem['msg']}, got {problem['input']!r}.")
    return " ".join(lines)


def _keys(model: type[BaseModel], location: Sequence[int | str]) -> tuple[str, ...]:
    """Return the fields of the configuration at `location` within `model`."""
    for name in location:
        field = model.model_fields.get(str(name))
        kinds = [] if field is None else [field.annotation, *get_args(field.annotation)]
        inner = next((k for k in kinds if isinstance(k, type) and issubclass(k, BaseModel)), None)
        if inner is None:
            return ()
        model = inner
    return tuple(model.model_fields)


def _hint(name: str, known: Sequence[str]) -> str:
    near = nearest(name, known, cutoff=0.5)
    return f" Did you mean '{near[0]}'?" if near else f" Known: {', '.join(known)}."


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
