"""The command `dawnchorus doctor`: check of the installation."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import click

from dawnchorus.cli.options import models_folder_option
from dawnchorus.errors import DawnChorusError
from dawnchorus.models.store import BUILTIN_MODELS, DEFAULT_MODEL, ModelStore, default_folder
from dawnchorus.registry import Registry
from dawnchorus.version import __version__

EXTRAS = {
    "data": ("kagglehub", "noisereduce"),
    "cloud": ("obstore", "fsspec"),
    "train": ("torch", "lightning", "timm", "transformers", "hydra", "optuna"),
    "serve": ("fastapi", "uvicorn", "sqlalchemy", "alembic", "fsspec"),
    "postgresql": ("psycopg",),
    "archive": ("deltalake",),
    "litert": ("ai_edge_litert",),
}
MIN_FREE_BYTES = 2e9
PORT = 5000


@dataclass(frozen=True)
class Finding:
    """Result of one check."""

    subject: str
    """Name of the thing that was checked, such as a format, a model or a folder."""
    state: str
    """Result of the check, in words."""
    advice: str | None = None
    """Advice to the user; None if all is well."""


@click.command("doctor")
@click.option(
    "--check-dir",
    type=click.Path(path_type=Path),
    default=Path(),
    help="Folder whose write permission is checked.",
)
@models_folder_option
def command(*, check_dir: Path, models_folder: Path | None) -> None:
    """Check the installation: versions, formats, models, disk space, permissions, ports.

    Exits with 1 if something that every command needs is missing.
    """
    folder = models_folder or default_folder()
    required = [
        _python(),
        _formats(),
        _writable("the models' folder", folder),
        _writable("the working folder", check_dir),
    ]
    others = [
        _cores(),
        *(_extra(name) for name in EXTRAS),
        *_engines(),
        *_plug_ins(),
        *_models(folder),
        _gpu(),
        _port(),
    ]
    for finding in (*required, *others):
        mark = "ok " if finding.advice is None else "-- "
        click.echo(f"{mark}{finding.subject:<22} {finding.state}")
        if finding.advice is not None:
            click.echo(f"   {'':<22} {finding.advice}")
    if any(finding.advice for finding in required):
        sys.exit(1)


def _python() -> Finding:
    return Finding("dawnchorus", f"{__version__}, Python {platform.python_version()}, {platform.platform()}")


def _cores() -> Finding:
    from dawnchorus.cores import usable_cores

    return Finding("cores", f"{usable_cores()} of {os.cpu_count()} may be used")


def _formats() -> Finding:
    from dawnchorus.audio.selftest import broken_formats

    broken = broken_formats()
    if broken:
        return Finding(
            "formats", f"cannot be read: {', '.join(broken)}", "Install again: pip install --force dawnchorus"
        )
    return Finding("formats", "WAV, FLAC, MP3, Ogg; with FFmpeg Opus, M4A, WMA and more")


def _writable(subject: str, folder: Path) -> Finding:
    existing = next((p for p in (folder.absolute(), *folder.absolute().parents) if p.is_dir()), Path("/"))
    try:
        with tempfile.NamedTemporaryFile(dir=existing):
            free = shutil.disk_usage(existing).free
    except OSError as error:
        return Finding(
            subject, f"{folder}: cannot be written ({error.strerror})", "Choose another folder, or its rights."
        )
    advice = None if free > MIN_FREE_BYTES else "Free some space: models and journals need a few gigabytes."
    return Finding(subject, f"{folder.absolute()}: {free / 1e9:.1f} GB free", advice)


def _extra(name: str) -> Finding:
    missing, versions = [], []
    for package in EXTRAS[name]:
        if not _is_installed(package):
            missing.append(package)
        else:
            versions.append(f"{package} {_version(package)}")
    if missing:
        return Finding(f"extra [{name}]", f"missing: {', '.join(missing)}", f"pip install 'dawnchorus[{name}]'")
    return Finding(f"extra [{name}]", ", ".join(versions))


def _engines() -> Iterator[Finding]:
    """Yield the inference engines whose libraries are installed."""
    from dawnchorus.models.engines.registry import ENGINES

    for engine in ENGINES.values():
        if _is_installed(engine.package):
            version = f"{engine.package} {_version(engine.package)}".rstrip()
            yield Finding(f"engine {engine.name}", f"{version}, reads {', '.join(engine.suffixes)}")


def _is_installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):  # a module of a package that is not there; no name
        return False


def _plug_ins() -> Iterator[Finding]:
    """Yield the plug-ins of other packages in all registries, with advice on broken ones."""
    for registry in _registries():
        for name, plug_in in registry.plug_ins.items():
            yield Finding(f"{registry.noun} {name}", f"of the package {plug_in.package} ({plug_in.target})")
        for plug_in, error in registry.broken.items():
            advice = "Update or uninstall that package, or tell its authors."
            yield Finding(f"{registry.noun} {plug_in.name}", f"{error.plug_in} {error.problem}: {error.detail}", advice)


def _registries() -> Iterator[Registry[Any]]:
    """Yield the registries for plug-ins; model families, which import torch, only if a package adds one."""
    from dawnchorus.data.layouts.registry import SOURCES
    from dawnchorus.formats.registry import FORMATS
    from dawnchorus.inference.analyses.registry import ANALYSES
    from dawnchorus.models.engines.registry import ENGINES

    yield from (FORMATS, SOURCES, ENGINES, ANALYSES)
    if importlib.metadata.entry_points(group="dawnchorus.families"):
        try:
            from dawnchorus.training.families import FAMILIES
        except Exception:  # noqa: BLE001 - the extra [train] is missing or broken, which other findings say
            return
        yield FAMILIES


_distributions = lru_cache(importlib.metadata.packages_distributions)  # reads every installed package


def _version(package: str) -> str:
    for name in _distributions().get(package, [package]):
        with suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version(name)
    return ""


def _models(folder: Path) -> list[Finding]:
    store, findings = ModelStore(folder), []
    for name in BUILTIN_MODELS:
        try:
            bundle = store.find_installed(name)
        except DawnChorusError as error:
            findings.append(Finding(f"model {name}", str(error), f"dawnchorus models pull {name}"))
            continue
        if bundle is not None:
            findings.append(Finding(f"model {name}", f"{bundle.folder} ({bundle.id})"))
        elif name == DEFAULT_MODEL:
            findings.append(
                Finding(f"model {name}", "not made yet", f"It is on first use, or: dawnchorus models pull {name}")
            )
    return findings


def _gpu() -> Finding:
    if not _is_installed("torch"):
        return Finding("GPU", "not looked for: torch is not installed")
    try:
        import torch
    except Exception as error:  # noqa: BLE001 - whatever is wrong with it is what is looked for
        return Finding("GPU", f"torch cannot be loaded ({error})", "Install it again: pip install --force torch")
    if torch.cuda.is_available():
        return Finding("GPU", ", ".join(torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count())))
    return Finding("GPU", "none that torch can use; everything works on the CPU")


def _port() -> Finding:
    try:
        with socket.create_server(("127.0.0.1", PORT)):
            return Finding("port", f"{PORT} is free for `dawnchorus serve`")
    except OSError as error:
        advice = "Choose another: dawnchorus serve --port 5001"
        return Finding("port", f"{PORT} cannot be used ({error.strerror})", advice)
