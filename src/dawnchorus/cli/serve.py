"""`dawnchorus serve`."""

from __future__ import annotations

import signal
import socket
from pathlib import Path

import click

from dawnchorus.cli.options import models_folder_option, workers_option
from dawnchorus.cli.present import announce_model
from dawnchorus.errors import Busy, MissingExtra
from dawnchorus.models.store import DEFAULT_MODEL, ModelStore, default_folder

DEFAULT_DATA = Path("dawnchorus-server")

GRACE_S = 30


@click.command("serve")
@click.option("--model", default=DEFAULT_MODEL, show_default=True, help="A built-in model, or a bundle's folder.")
@models_folder_option
@click.option("--host", default="127.0.0.1", show_default=True, help="Any other needs $DAWNCHORUS_TOKEN.")
@click.option("--port", type=click.IntRange(0, 65_535), default=5000, show_default=True)
@click.option("--data", type=click.Path(path_type=Path), default=DEFAULT_DATA, show_default=True, help="Its folder.")
@click.option("--token", envvar="DAWNCHORUS_TOKEN", show_envvar=True, help="What requests must carry.", hidden=True)
@workers_option
def command(
    *, model: str, models_folder: Path | None, host: str, port: int, data: Path, token: str | None, workers: int
) -> None:
    """Identify birds over HTTP: POST a recording to /api/predict, or to /api/v1/identify. Its API is at /api/docs."""
    try:
        import uvicorn

        from dawnchorus.serve.app import create_app
        from dawnchorus.serve.settings import Settings
    except ImportError as error:
        raise MissingExtra(error.name or "fastapi", extra="serve", purpose="The server") from error

    folder = models_folder or default_folder()
    announce_model(ModelStore(folder), model)
    ModelStore(folder).open(model)  # what is wrong with it is said before anybody is served
    settings = Settings(data=data, model=model, models_folder=folder, host=host, token=token, n_lanes=workers)
    config = uvicorn.Config(create_app(settings), log_level="info", timeout_graceful_shutdown=GRACE_S)
    with _listening(host, port) as listener:
        # uvicorn ends what is under way and then raises the signal again: being asked to end is no failure.
        signal.signal(signal.SIGTERM, lambda *_: None)
        uvicorn.Server(config).run(sockets=[listener])


def _listening(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise Busy(
            f"{host} port {port}: cannot listen there ({error.strerror}). Choose another with --port."
        ) from error
