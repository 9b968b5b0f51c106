"""Conversion of Weights & Biases sweep files to arguments of `tune`."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from dawnchorus.errors import InputError
from dawnchorus.tables.text_files import read_text
from dawnchorus.training.tune import Method, Metric

METHODS: dict[str, Method] = {"bayes": "tpe", "random": "random", "grid": "grid"}
GOALS: dict[str, str] = {"val_loss": "minimize", "val_auc": "maximize", "val_accuracy": "maximize"}

INTERVALS = {"uniform", "int_uniform", "q_uniform", "log_uniform", "log_uniform_values"}
READ = {"method", "metric", "parameters", "run_cap"}
LABELS = {"name", "description", "project", "entity"}
"""Keys that do not affect training, and are ignored."""


@dataclass(frozen=True)
class Sweep:
    """A Weights & Biases sweep file, converted to arguments of `tune`."""

    overrides: tuple[str, ...]
    """Settings KEY=VALUE, those to tune in Hydra's sweep syntax."""
    method: Method
    """Search method: "tpe" for the file's "bayes", "random" or "grid"."""
    metric: Metric | None
    """Metric to optimize: "val_auc", "val_accuracy" or "val_loss"; None if the file does not set it."""
    n_trials: int | None
    """Total number of trials (`run_cap`); None if the file does not set it."""
    unused: tuple[str, ...]
    """Keys of the file that are not supported, and ignored."""

    def overrides_with(self, given: Sequence[str]) -> tuple[str, ...]:
        """Return the file's overrides, except those whose key `given` sets as well, followed by all of `given`.

        Leading `+` of the keys in `given` do not matter.
        """
        keys = {override.partition("=")[0].lstrip("+") for override in given}
        return (*(override for override in self.overrides if override.partition("=")[0] not in keys), *given)


def _loader() -> Any:
    """Return a safe YAML loader class that rejects duplicate keys."""
    from yaml import SafeLoader
    from yaml.constructor import ConstructorError

    class Loader(SafeLoader):  # type: ignore[misc]
        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002
            first: dict[str, Any] = {}
            for key, _value in node.value:
                if first.setdefault(str(key.value), key) is not key:
                    raise ConstructorError(None, None, f"'{key.value}' is there twice", key.start_mark)
            mapping: dict[Any, Any] = super().construct_mapping(node, deep)
            return mapping

    return Loader


def read_sweep(path: Path) -> Sweep:
    """Read a Weights & Biases sweep file (YAML).

    Raises:
        InputError: no such file, the file is no sweep, or a method, parameter or metric is not supported.
        FormatError: the file is not text.
    """
    from yaml import YAMLError, load

    if not path.is_file():
        raise InputError(f"--sweep: {path}: no such file.")
    try:
        content = load(read_text(path), _loader())  # noqa: S506 - a safe one
    except YAMLError as error:
        raise InputError(f"expected YAML: {' '.join(str(error).split())}.", subject=path) from error
    if not isinstance(content, dict) or not isinstance(content.get("parameters"), dict):
        raise InputError("expected a sweep with method, metric and parameters.", subject=path)
    method = str(content.get("method"))
    if method not in METHODS:
        raise InputError(f"method: expected one of {', '.join(METHODS)}, got {method!r}.", subject=path)
    overrides = tuple(_overrides(content["parameters"], prefix="", path=path))
    return Sweep(
        overrides,
        METHODS[method],
        _metric(content.get("metric"), path),
        _run_cap(content.get("run_cap"), path),
        tuple(sorted(content.keys() - READ - LABELS)),
    )


def _overrides(parameters: Mapping[str, Any], *, prefix: str, path: Path) -> Iterator[str]:
    for name, parameter in parameters.items():
        key = f"{prefix}{name}"
        if not isinstance(parameter, dict):
            raise InputError(
                f"parameters.{key}: expected value, values, or min and max, got {parameter!r}.", subject=path
            )
        if isinstance(parameter.get("parameters"), dict):
            yield from _overrides(parameter["parameters"], prefix=f"{key}.", path=path)
        else:
            yield f"{key}={_values(parameter, f'{path}: parameters.{key}')}"


def _values(parameter: Mapping[str, Any], key: str) -> str:
    """Convert the values of a sweep's parameter to Hydra's grammar; `key` is for errors."""
    if "value" in parameter:
        return _to_text(parameter["value"])
    if "values" in parameter:
        if "probabilities" in parameter:
            raise InputError(f"{key}: probabilities are not supported; expected values that are equally likely.")
        values = parameter["values"]
        if not isinstance(values, list) or not values:
            raise InputError(f"{key}: values: expected a list, got {values!r}.")
        return f"choice({','.join(map(_to_text, values))})"
    low, high = _number(parameter.get("min"), key), _number(parameter.get("max"), key)
    is_whole = isinstance(low, int) and isinstance(high, int)
    kind = parameter.get("distribution", "int_uniform" if is_whole else "uniform")
    if kind not in INTERVALS:
        raise InputError(f"{key}: distribution: expected one of {', '.join(sorted(INTERVALS))}, got {kind!r}.")
    if kind == "q_uniform":
        return f"choice({','.join(_to_text(value) for value in _steps(low, high, parameter.get('q', 1), key))})"
    if kind == "log_uniform":
        low, high = math.exp(low), math.exp(high)
    elif kind != "int_uniform":
        low, high = float(low), float(high)
    interval = f"interval({low!r},{high!r})"
    return f"tag(log,{interval})" if kind.startswith("log_") else interval


def _number(value: object, key: str) -> int | float:
    # YAML reads 1e-5, without a point, as text.
    try:
        return value if isinstance(value, int | float) else float(str(value))
    except ValueError:
        raise InputError(f"{key}: expected value, values, or min and max as numbers, got {value!r}.") from None


def _steps(low: float, high: float, q: object, key: str) -> list[float]:
    step = _number(q, key)
    if step <= 0 or high < low:
        raise InputError(f"{key}: expected q above 0 and min below max.")
    return [round(k * step, 12) for k in range(round(low / step), round(high / step) + 1)]


def _to_text(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{','.join(map(_to_text, value))}]"
    text = str(value)
    if re.fullmatch(r"[\w.+/:-]+", text):
        return text
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _metric(metric: object, path: Path) -> Metric | None:
    if metric is None:
        return None
    fields = metric if isinstance(metric, dict) else {"name": metric}
    name: Any = str(fields.get("name")).removeprefix("metric/")
    if name not in get_args(Metric):
        raise InputError(f"metric.name: expected one of {', '.join(get_args(Metric))}, got {name!r}.", subject=path)
    goal = fields.get("goal", GOALS[name])
    if goal != GOALS[name]:
        raise InputError(f"metric.goal: expected {GOALS[name]!r} for {name}, got {goal!r}.", subject=path)
    known: Metric = name
    return known


def _run_cap(value: object, path: Path) -> int | None:
    if value is None or (isinstance(value, int) and value > 0):
        return value
    raise InputError(f"run_cap: expected a whole number above 0, got {value!r}.", subject=path)
