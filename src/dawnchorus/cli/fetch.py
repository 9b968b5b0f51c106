"""The command group `dawnchorus fetch`: download of recordings from archives."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import click

from dawnchorus.cli.data import describe, print_notes, show_imported
from dawnchorus.cli.log import collect_log
from dawnchorus.cli.options import LOCAL_PATH, workers_option
from dawnchorus.cli.present import MAX_LISTED, SOME_FAILED, console
from dawnchorus.cli.progress import progress_bar
from dawnchorus.data.attribution import write_attribution
from dawnchorus.data.data_set_import import import_data_set
from dawnchorus.data.identity import merge
from dawnchorus.data.licenses import DEFAULT_ALLOWED, describe_unmatched
from dawnchorus.data.recordings import RecordingsTable, read_table, table_path, write_table
from dawnchorus.data.sources.archive_changes import EarlierSearch, compare_with_archive, read_search, write_search
from dawnchorus.data.sources.download import claim_folder, fetch_recordings
from dawnchorus.data.sources.kaggle import download, find_source
from dawnchorus.data.sources.xeno_canto import (
    BYTES_PER_S,
    PER_S,
    PER_S_OF_MIRROR,
    SERVER,
    FetchFilter,
    SearchResult,
    check_query,
    find_recording,
    key_from_environment,
    search,
)
from dawnchorus.errors import InputError, OutputExistsError
from dawnchorus.models.store import ModelStore, default_folder
from dawnchorus.storage.http_client import HttpClient
from dawnchorus.tables.notes import counted


@click.group("fetch")
def command() -> None:
    """Download recordings from archives."""


@command.command("xeno-canto")
@click.argument("query")
@click.argument("data_set", type=LOCAL_PATH)
@click.option(
    "--per-species",
    type=click.IntRange(1),
    help="Maximum number of recordings of a species; those of the best quality come first.",
)
@click.option("--limit", type=click.IntRange(1), help="Maximum number of recordings in total.")
@click.option("--max-length", type=click.FloatRange(0), help="Leave out recordings longer than this many seconds.")
@click.option(
    "--license",
    "licenses",
    multiple=True,
    help=f"Allowed licenses of recordings.  [default: {', '.join(DEFAULT_ALLOWED)}]",
)
@click.option(
    "--workers", type=click.IntRange(1, 8), default=3, show_default=True, help="Number of parallel downloads."
)
@click.option("--dry-run", is_flag=True, help="Show what would be downloaded, and download nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as one JSON object.")
@click.option("--server", default=SERVER, show_default=True, help="URL of a mirror of xeno-canto.")
def xeno_canto(
    *,
    query: str,
    data_set: Path,
    per_species: int | None,
    limit: int | None,
    max_length: float | None,
    licenses: tuple[str, ...],
    workers: int,
    dry_run: bool,
    as_json: bool,
    server: str,
) -> None:
    """Download the recordings that QUERY matches at xeno-canto.org to DATA_SET.

    QUERY has tags: 'gen:Sylvia cnt:Spain loc:Catalonia q:A'. The API key is read from the environment variable
    XENO_CANTO_API_KEY or XCKEY. The same command resumes an interrupted download.
    """
    query, key = check_query(query), key_from_environment()
    screen = console()
    web = HttpClient(per_s=PER_S if server == SERVER else PER_S_OF_MIRROR, secret=key)
    server = server.rstrip("/")
    notes = collect_log()
    results = search(web, query, key=key, server=server)
    fetch_filter = FetchFilter(
        licenses=licenses or DEFAULT_ALLOWED, per_species=per_species, limit=limit, max_length_s=max_length
    )
    chosen, left_out = fetch_filter.choose(results)
    notes += (*describe_unmatched(licenses, {result.row.license for result in results}), *_describe_unnamed(chosen))
    length_s = sum(result.row.duration_s or 0 for result in chosen)
    screen.print(
        f"{counted(len(results), 'recording')} found, {len(chosen)} wanted of "
        f"{len({f.row.scientific_name for f in chosen} - {None})} species: {length_s / 3600:.1f} hours, "
        f"about {length_s * BYTES_PER_S / 1e6:,.0f} MB"
    )
    for reason, n in left_out.most_common():
        screen.print(f"{n:8d}  left out: {reason}", markup=False)
    summary = {"schema": 1, "n_found": len(results), "n_wanted": len(chosen), "hours": round(length_s / 3600, 3)}
    if dry_run:
        print_notes(notes, screen)
        if as_json:
            click.echo(json.dumps({**summary, "notes": notes}))
        return
    if not chosen:
        print_notes(notes, screen)
        raise InputError(f"query: nothing to fetch for {query!r}. Loosen the query or the limits.")
    with claim_folder(data_set):
        before = read_table(data_set) if table_path(data_set).exists() else RecordingsTable(data_set, ())
        earlier = read_search(data_set, query)
        changes = compare_with_archive(
            before, results, earlier, lambda name: find_recording(web, name, key=key, server=server)
        )
        notes += changes.notes()
        print_notes(notes, screen)
        # Noted before files come, so that they are known as these if the run is ended; replaced ones once they came.
        listed_s = {result.row.recording_id: result.row.duration_s for result in chosen}
        now = EarlierSearch(
            tuple(result.row.recording_id for result in results),
            {name: seconds for name, seconds in listed_s.items() if name not in changes.replaced},
        )
        write_search(data_set, query, now)
        with progress_bar(screen, "fetching") as report:
            fetched = fetch_recordings(
                web,
                chosen,
                data_set,
                n_workers=workers,
                known={row.recording_id: row for row in before.rows},
                replaced=changes.replaced,
                report=report,
                keep=lambda rows: _keep(merge(changes.table, RecordingsTable(data_set, tuple(rows))).table),
            )
        written, lost = read_table(data_set), set(fetched.unsound) & fetched.missing
        table = written.with_rows(row for row in written.rows if row.recording_id not in lost)
        _keep(table)
        came = set(changes.replaced) - fetched.missing
        write_search(data_set, query, replace(now, listed_s={name: listed_s[name] for name in came & set(listed_s)}))
    describe(table, screen)
    print_notes(fetched.notes(), screen)
    notes += fetched.notes()
    for recording, reason in list(fetched.failures.items())[:MAX_LISTED]:
        screen.print(f"failed: {recording}: {reason}", markup=False)
    if as_json:
        counts = {
            "n_before": fetched.n_before,
            "n_failed": len(fetched.failures),
            "n_not_requested": len(fetched.not_requested),
        }
        click.echo(json.dumps({**summary, **counts, "notes": notes}))
    else:
        click.echo(table_path(data_set))
    if fetched.failures:
        sys.exit(SOME_FAILED)


def _describe_unnamed(chosen: Sequence[SearchResult]) -> Iterator[str]:
    """Yield a sentence if some of the recordings have no species."""
    unnamed = [result.row.recording_id for result in chosen if result.row.scientific_name is None]
    if unnamed:
        yield (
            f"{len(unnamed)} of the wanted recordings name no species (soundscapes, mysteries), as {unnamed[0]}: "
            f"without a label."
        )


def _keep(table: RecordingsTable) -> None:
    """Write the recordings table and ATTRIBUTION.md."""
    write_table(table)
    write_attribution(table.rows, table.folder)


@command.command("kaggle")
@click.argument("handle")
@click.argument("data_set", type=LOCAL_PATH)
@click.option("--append", is_flag=True, help="Add the recordings to the existing table.")
@workers_option
def kaggle(*, handle: str, data_set: Path, append: bool, workers: int) -> None:
    """Download the Kaggle data set or competition HANDLE, and create the recordings table of DATA_SET.

    HANDLE is OWNER/NAME, a competition such as birdclef-2026, the URL of its page, or the URL of a notebook that uses
    it. This needs the extra [data], and a Kaggle token unless the data set is public. The files stay in kagglehub's
    cache (~/.cache/kagglehub).
    """
    if table_path(data_set).exists() and not append:
        raise OutputExistsError(
            "it exists already. Use --append, or choose another folder.", subject=table_path(data_set)
        )
    screen = console()
    source = find_source(handle)
    folder = download(source)
    screen.print(f"Fetched {source.name}: {folder}", markup=False)
    notes = collect_log()
    imported = import_data_set(folder, data_set, store=ModelStore(default_folder()), append=append, n_workers=workers)
    show_imported(imported, notes, screen)
