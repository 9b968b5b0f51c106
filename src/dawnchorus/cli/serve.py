"""The command `dawnchorus serve`: the HTTP server."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dawnchorus.cli.options import models_folder_option, workers_option
from dawnchorus.cli.present import announce_model
from dawnchorus.errors import BusyError, MissingExtraError
from dawnchorus.limits import Limits
from dawnchorus.models.store import DEFAULT_MODEL, ModelStore, default_folder

if TYPE_CHECKING:
    from dawnchorus.server.service import Service

DEFAULT_DATA_DIR = Path("dawnchorus-server")

DEFAULT_RATE_LIMIT = 50.0
"""Default limit of requests per second and client, if other machines can connect."""


@click.command("serve")
@click.option(
    "--model", default=DEFAULT_MODEL, show_default=True, help="Name of a built-in model, or folder of a bundle."
)
@models_folder_option
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on; other addresses than 127.0.0.1 need $DAWNCHORUS_TOKEN.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    default=5000,
    show_default=True,
    help="Port to listen on; 0: any free port.",
)
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    default=DEFAULT_DATA_DIR,
    show_default=True,
    help="Folder of the server's state.",
)
@click.option("--database", envvar="DAWNCHORUS_DATABASE", help="URL of a shared database.  [default: SQLite]")
@click.option(
    "--files",
    envvar="DAWNCHORUS_FILES",
    help="Folder or URL of the stored files, such as s3://bucket/files.  [default: in --data-dir]",
)
@click.option("--root-path", default="", help="Path at which a reverse proxy mounts the server, such as /birds.")
@click.option("--access-log", is_flag=True, help="Log every request.")
@click.option("--trusted-proxy", help="Address of a trusted reverse proxy; its X-Forwarded-For header is used.")
@click.option(
    "--rate-limit",
    type=click.FloatRange(min=0),
    help="Maximum number of requests per second and client; 0: no limit.  [default: 50; 0 on this machine]",
)
@click.option(
    "--max-upload-mb",
    type=click.IntRange(min=1),
    default=Limits.max_bytes >> 20,
    show_default=True,
    help="Maximum size of an upload in megabytes.",
)
@click.option(
    "--max-hours",
    type=click.FloatRange(min=0, min_open=True),
    default=Limits.max_duration_s / 3600,
    show_default=True,
    help="Maximum length of a recording in hours.",
)
@click.option(
    "--job-kind",
    "job_kinds",
    multiple=True,
    type=click.Choice(["identify", "retrain"]),
    help="Kind of jobs to run, if several servers share the work.  [default: both]",
)
@click.option(
    "--override",
    "retrain_overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Setting of retrainings, as for `dawnchorus train`; repeatable.",
)
@click.option("--token", envvar="DAWNCHORUS_TOKEN", hidden=True)
@click.option("--train-token", envvar="DAWNCHORUS_TRAIN_TOKEN", hidden=True)
@click.option("--identify-token", envvar="DAWNCHORUS_IDENTIFY_TOKEN", hidden=True)
@workers_option
def command(
    *,
    model: str,
    models_folder: Path | None,
    host: str,
    port: int,
    data_dir: Path,
    database: str | None,
    files: str | None,
    root_path: str,
    access_log: bool,
    trusted_proxy: str | None,
    rate_limit: float | None,
    max_upload_mb: int,
    max_hours: float,
    job_kinds: tuple[str, ...],
    retrain_overrides: tuple[str, ...],
    token: str | None,
    train_token: str | None,
    identify_token: str | None,
    workers: int,
) -> None:
    """Serve web pages and an HTTP API for identification, review and retraining.

    Requests from this machine need no token. Requests from other machines need one of these: $DAWNCHORUS_TOKEN allows
    everything, $DAWNCHORUS_TRAIN_TOKEN training and identification, $DAWNCHORUS_IDENTIFY_TOKEN identification.
    """
    try:
        from dawnchorus.server.http.connections import server_config
        from dawnchorus.server.service import open_service
        from dawnchorus.server.settings import Settings, is_loopback, token_roles
        from dawnchorus.server.state.job_queue import KINDS
    except ImportError as error:
        raise MissingExtraError(error.name or "fastapi", extra="serve", purpose="The server") from error

    if retrain_overrides:
        from dawnchorus.training.compose import refuse_contradictions

        refuse_contradictions(retrain_overrides)
    if rate_limit is None and not is_loopback(host):
        rate_limit = DEFAULT_RATE_LIMIT
    folder = models_folder or default_folder()
    announce_model(ModelStore(folder), model)
    settings = Settings(
        data=data_dir,
        database=database,
        files=files,
        model=model,
        models_folder=folder,
        retrain_overrides=retrain_overrides,
        host=host,
        trusted_proxy=trusted_proxy,
        tokens=token_roles(identify=identify_token, train=train_token, admin=token),
        requests_per_s=rate_limit or None,
        job_kinds=tuple(kind for kind in KINDS if kind in job_kinds or not job_kinds),
        n_inference_threads=workers,
        limits=Limits(max_bytes=max_upload_mb << 20, max_duration_s=3600 * max_hours),
    )
    with _listening(host, port) as listener, open_service(settings) as service:
        _announce_served(service, model, ModelStore(folder))
        click.echo(f"Serving at {_url(host, listener)}{root_path.rstrip('/')}", err=True)
        config = server_config(service, root_path=root_path, access_log=access_log)
        # uvicorn finishes open requests and then raises the signal again; a requested shutdown is no failure.
        signal.signal(signal.SIGTERM, lambda *_: None)
        _server(config, service).run(sockets=[listener])


def _announce_served(service: Service, model: str, store: ModelStore) -> None:
    """Print a note if the active model, stored in the data folder, is not the model of the option --model."""
    served, named = service.pool.bundle, store.open(model)
    if served.id != named.id:
        click.echo(
            f"note: {served.info.name} ({served.id}) is active, since it was activated here last, and not "
            f"{named.info.name} ({named.id}); change it on the page Models, or start with another --data-dir",
            err=True,
        )


def _server(config: Any, service: Service) -> Any:
    """Create a uvicorn server that closes event streams on the first signal, and exits at once on the second."""
    import uvicorn

    class Server(uvicorn.Server):
        def handle_exit(self, sig: int, frame: Any) -> None:
            if service.shutting_down.is_set():
                # The second signal. Decoders and training exit with this process; jobs resume after the next start.
                os._exit(128 + sig)
            service.shutting_down.set()
            super().handle_exit(sig, frame)

    return Server(config)


def _url(host: str, listener: socket.socket) -> str:
    """Return the URL of the server, with the port that the system chose if --port is 0."""
    port = listener.getsockname()[1]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _listening(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise BusyError(
            f"{host} port {port}: cannot listen there ({error.strerror}). Choose another with --port."
        ) from error
