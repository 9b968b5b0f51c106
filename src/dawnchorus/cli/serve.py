"""`dawnchorus serve`."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dawnchorus.cli.options import models_folder_option, workers_option
from dawnchorus.cli.present import announce_model
from dawnchorus.errors import Busy, MissingExtra
from dawnchorus.models.store import DEFAULT_MODEL, ModelStore, default_folder

if TYPE_CHECKING:
    from dawnchorus.server.service import Service

DEFAULT_DATA = Path("dawnchorus-server")

OTHERS_RATE = 50.0
"""Requests per second of one client, where others than this machine can ask."""


@click.command("serve")
@click.option("--model", default=DEFAULT_MODEL, show_default=True, help="A built-in model, or a bundle's folder.")
@models_folder_option
@click.option("--host", default="127.0.0.1", show_default=True, help="Any other needs $DAWNCHORUS_TOKEN.")
@click.option("--port", type=click.IntRange(0, 65_535), default=5000, show_default=True)
@click.option("--data", type=click.Path(path_type=Path), default=DEFAULT_DATA, show_default=True, help="Its folder.")
@click.option("--database", envvar="DAWNCHORUS_DATABASE", help="An address, for servers that share.  [default: SQLite]")
@click.option("--files", envvar="DAWNCHORUS_FILES", help="A folder, or s3://... (fsspec).  [default: in --data]")
@click.option("--base", default="", help="The path below which a proxy shows the server, such as /birds.")
@click.option("--access-log", is_flag=True, help="A line for every request.")
@click.option("--proxy", help="The address of a proxy whose word of who asks is believed, such as 127.0.0.1.")
@click.option(
    "--rate",
    type=click.FloatRange(min=0),
    help="Requests per second and client, 0: any.  [default: 50; 0 on this machine]",
)
@click.option(
    "--work",
    multiple=True,
    type=click.Choice(["identify", "retrain"]),
    help="Jobs to work on, where several servers share them.  [default: both]",
)
@click.option("--set", "recipe", multiple=True, metavar="KEY=VALUE", help="For retraining: see `dawnchorus train`.")
@click.option("--token", envvar="DAWNCHORUS_TOKEN", hidden=True)
@click.option("--teach-token", envvar="DAWNCHORUS_TEACH_TOKEN", hidden=True)
@click.option("--identify-token", envvar="DAWNCHORUS_IDENTIFY_TOKEN", hidden=True)
@workers_option
def command(
    *,
    model: str,
    models_folder: Path | None,
    host: str,
    port: int,
    data: Path,
    database: str | None,
    files: str | None,
    base: str,
    access_log: bool,
    proxy: str | None,
    rate: float | None,
    work: tuple[str, ...],
    recipe: tuple[str, ...],
    token: str | None,
    teach_token: str | None,
    identify_token: str | None,
    workers: int,
) -> None:
    """Identify birds over HTTP, on pages and for programs; learn from what people send, and from their corrections.

    On this machine everybody may do everything. For others, tokens are needed: $DAWNCHORUS_TOKEN allows everything,
    $DAWNCHORUS_TEACH_TOKEN to teach and to identify, $DAWNCHORUS_IDENTIFY_TOKEN to identify.
    """
    try:
        from dawnchorus.server.http.connections import server_config
        from dawnchorus.server.service import open_service
        from dawnchorus.server.settings import Settings, is_loopback, token_roles
        from dawnchorus.server.state.job_queue import KINDS
    except ImportError as error:
        raise MissingExtra(error.name or "fastapi", extra="serve", purpose="The server") from error

    if recipe:
        from dawnchorus.training.compose import refuse_contradictions

        refuse_contradictions(recipe)
    if rate is None and not is_loopback(host):
        rate = OTHERS_RATE
    folder = models_folder or default_folder()
    announce_model(ModelStore(folder), model)
    settings = Settings(
        data=data,
        database=database,
        files=files,
        model=model,
        models_folder=folder,
        recipe=recipe,
        host=host,
        proxy=proxy,
        tokens=token_roles(identify=identify_token, train=teach_token, admin=token),
        requests_per_s=rate or None,
        work=tuple(kind for kind in KINDS if kind in work or not work),
        n_inference_threads=workers,
    )
    with _listening(host, port) as listener, open_service(settings) as service:
        _announce_served(service, model, ModelStore(folder))
        config = server_config(service, root_path=base, access_log=access_log)
        # uvicorn ends what is under way and then raises the signal again: being asked to end is no failure.
        signal.signal(signal.SIGTERM, lambda *_: None)
        _server(config, service).run(sockets=[listener])


def _announce_served(service: Service, model: str, store: ModelStore) -> None:
    """Say so if another model serves than the one that was named: the last that was activated in this folder."""
    served, named = service.pool.bundle, store.open(model)
    if served.id != named.id:
        click.echo(
            f"note: {served.info.name} ({served.id}) serves, which was activated here last, and not "
            f"{named.info.name} ({named.id}); change it on the page Models, or start with another --data",
            err=True,
        )


def _server(config: Any, service: Service) -> Any:
    """Create a uvicorn server that ends event streams as soon as it is asked to, and ends at once if asked twice."""
    import uvicorn

    class Server(uvicorn.Server):
        def handle_exit(self, sig: int, frame: Any) -> None:
            if service.shutting_down.is_set():
                # Asked twice: at once. Decoders and training end with us, and jobs go on after the next start.
                os._exit(128 + sig)
            service.shutting_down.set()
            super().handle_exit(sig, frame)

    return Server(config)


def _listening(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise Busy(
            f"{host} port {port}: cannot listen there ({error.strerror}). Choose another with --port."
        ) from error
