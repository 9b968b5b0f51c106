"""Output of a run: one file for all recordings, or a folder with one per recording."""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from dawnchorus.errors import BusyError, InputError, JournalDamagedError, OutputExistsError
from dawnchorus.formats.registry import FORMATS, TableFormat, detect_format
from dawnchorus.formats.structured import WRITERS
from dawnchorus.formats.text import text_stream
from dawnchorus.identification.journal import Journal, set_aside
from dawnchorus.identification.output_paths import named_after, relative_paths
from dawnchorus.storage.files import atomic_file, cannot_write

if TYPE_CHECKING:
    from dawnchorus.identification.result import Run

PARAMETERS_SUFFIX = ".params.json"
FAILURES_SUFFIX = ".failures.csv"

LATER_SETTINGS = ("activation",)
"""Settings that journals of earlier versions do not have."""


@dataclass(frozen=True)
class Target:
    """Output path of a run, and its formats."""

    path: Path
    is_folder: bool
    formats: tuple[TableFormat, ...]
    combined: bool
    """True if a folder gets one table of all recordings instead of one for each."""

    @classmethod
    def of(cls, path: Path, formats: Sequence[str] | None, *, combined: bool) -> Target:
        """Return a file target if `path` has a suffix and is not a folder, else a folder target.

        Raises:
            InputError: an unknown format, several formats for one file, or a suffix that no format has.
        """
        is_folder = path.is_dir() or not path.suffix
        if formats is None:
            formats = ["csv"] if is_folder else [detect_format(path).name]
        chosen = tuple(FORMATS.lookup(name) for name in formats)
        if len(chosen) > 1 and not is_folder:
            raise InputError(
                f"one file holds one format, got {', '.join(f.name for f in chosen)}. Give a folder.", subject=path
            )
        return cls(path, is_folder, chosen, combined)

    @property
    def _state(self) -> Path:
        """Journal and lock lie next to the file, or in the folder, under this name."""
        return self.path / ".dawnchorus" if self.is_folder else self.path.with_name(f".{self.path.name}")

    @property
    def journal_path(self) -> Path:
        """Path of the run's journal."""
        return self._state.with_name(self._state.name + ".journal")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the output against other processes.

        Raises:
            BusyError: another process is writing here.
            OutputError: the path cannot be written.
        """
        folder = self._state.parent
        lock_path = self._state.with_name(self._state.name + ".lock")
        lock = FileLock(lock_path, timeout=0)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except Timeout:
            raise BusyError(
                "another dawnchorus process is writing here. Wait for it, or choose another output.", subject=self.path
            ) from None
        except OSError as error:
            raise cannot_write(self.path, error) from error
        try:
            yield
        finally:
            if sys.platform != "win32":  # there the open file cannot be removed, and release() does it
                lock_path.unlink(missing_ok=True)
            lock.release()

    def open_journal(self, key: dict[str, Any], paths: Sequence[Path], *, resume: bool, overwrite: bool) -> Journal:
        """Open the journal for writing: a new one, or that of the run to resume.

        A damaged journal is set aside: `Journal.replaced` says where it is.

        Raises:
            OutputExistsError: a finished run or another file is there, and may not be touched.
            InputError: the run to continue had another model or other options.
            JournalDamagedError: the journal of the run to add to is damaged.
        """
        if not overwrite and not self.journal_path.exists():
            self._refuse_existing(paths)
        try:
            journal = Journal(self.journal_path)
        except JournalDamagedError:
            if resume and not overwrite:
                raise
            if not overwrite:
                self._refuse_existing(paths)
            replaced = set_aside(self.journal_path)
            journal = Journal(self.journal_path, replaced=replaced)
        try:
            self._continue(journal, key, resume=resume, overwrite=overwrite)
            self._keep_layout(journal.root(paths), paths)
        except BaseException:
            journal.close()
            raise
        return journal

    def _refuse_existing(self, paths: Sequence[Path]) -> None:
        existing = next((out_path for out_path in self._table_paths(paths) if out_path.exists()), None)
        if existing is not None:
            raise OutputExistsError(
                "it exists already. Use --overwrite to replace it, or choose another output.", subject=existing
            )

    def _keep_layout(self, root: str | None, paths: Sequence[Path]) -> None:
        """Keep the layout of earlier tables for recordings that are added later."""
        if root is None or not self.is_folder or self.combined:
            return
        outside = next((path for path in paths if not Path(os.path.abspath(path)).is_relative_to(root)), None)
        if outside is not None:
            raise InputError(
                f"it was started with recordings below {root}, and {outside} is elsewhere, so that their "
                f"tables could be taken for each other's. Choose another output.",
                subject=self.path,
            )

    def _continue(self, journal: Journal, key: dict[str, Any], *, resume: bool, overwrite: bool) -> None:
        known = journal.parameters()
        if overwrite or known is None:
            journal.start(key)
            return
        wanted = _as_json(key)
        known = {name: wanted[name] for name in LATER_SETTINGS if name in wanted} | known
        if known != wanted:
            changed = sorted(name for name in known.keys() | wanted if known.get(name) != wanted.get(name))
            raise InputError(
                f"it was started with other settings ({', '.join(changed)} changed). Use the same ones to "
                f"continue it, --overwrite to begin again, or choose another output.",
                subject=self.path,
            )
        if journal.written is not None and not resume and self.path.exists():
            raise OutputExistsError(
                "it holds a finished run. Use --resume to add new recordings to it, --overwrite to replace "
                "it, or choose another output.",
                subject=self.path,
            )

    def _table_paths(self, paths: Sequence[Path]) -> Iterator[Path]:
        """Yield every table of a run with these recordings."""
        if not self.is_folder:
            yield self.path
        elif self.combined:
            yield from (self.path / f"detections{chosen.suffix}" for chosen in self.formats)
        else:
            for out_path in relative_paths(paths).values():
                yield from (self.path / named_after(out_path, chosen.suffix) for chosen in self.formats)

    def write(self, run: Run) -> None:
        """Write the tables from the run's journal, and record their formats in it.

        Raises:
            OutputError: no space, or no permission.
        """
        before, how = run.journal.written, _as_json(self._how(run))
        run.journal.written = None
        if self.is_folder and not self.combined:
            self._write_each(run, all_of_them=before != how)
        else:
            for chosen in self.formats:
                out_path = self.path / f"detections{chosen.suffix}" if self.is_folder else self.path
                with atomic_file(out_path) as stream:
                    chosen.write(stream, run.tables(), run.provenance)
        with atomic_file(self._sibling_path(PARAMETERS_SUFFIX)) as stream:
            text = json.dumps(asdict(run.provenance), indent=2, ensure_ascii=False)
            stream.write(text.encode() + b"\n")
        self._write_failures(run)
        self._write_analyses(run)
        run.journal.written = how

    def _how(self, run: Run) -> dict[str, Any]:
        return {"formats": [chosen.name for chosen in self.formats], "provenance": asdict(run.provenance)}

    def _sibling_path(self, suffix: str) -> Path:
        out_path = self.path / "run" if self.is_folder else self.path
        return out_path.with_name(out_path.name + suffix)

    def _write_failures(self, run: Run) -> None:
        out_path = self._sibling_path(FAILURES_SUFFIX)
        if not run.failures:
            out_path.unlink(missing_ok=True)
            return
        with atomic_file(out_path) as stream, text_stream(stream) as text:
            rows = csv.writer(text, lineterminator="\n")
            rows.writerow(["recording", "reason"])
            rows.writerows([failure.recording, failure.reason] for failure in run.failures)

    def _write_analyses(self, run: Run) -> None:
        """Write the tables of the run's analyses, as Parquet where detections are, else as csv."""
        kinds = dict.fromkeys("parquet" if chosen.name == "parquet" else "csv" for chosen in self.formats)
        for name in run.analyses:
            for kind in kinds:
                for end, pieces in run.iter_analysis(name):
                    with atomic_file(self._analysis_path(name, end, kind)) as stream:
                        WRITERS[kind](stream, pieces)

    def _analysis_path(self, *names: str) -> Path:
        """Return `detections.health.csv` next to `detections.csv`, for the names "health", "" and "csv"."""
        if self.is_folder:
            stem = self.path / "detections"
        else:
            stem = self.path.with_name(self.path.name.removesuffix(self.formats[0].suffix) or self.path.stem)
        return stem.with_name(".".join((stem.name, *filter(None, names))))

    def _write_each(self, run: Run, *, all_of_them: bool) -> None:
        """Write the table of each recording; unless all are asked for, only those that are not there or out of date."""
        relative = relative_paths(run.paths, run.journal.root(run.paths))
        for path in run.paths:
            waiting = [(chosen, self.path / named_after(relative[path], chosen.suffix)) for chosen in self.formats]
            up_to_date = run.journal.is_in_table(path) and all(out_path.exists() for _, out_path in waiting)
            if up_to_date and not all_of_them:
                continue
            table = run.table(path)
            if table is None:
                continue
            for chosen, out_path in waiting:
                try:
                    out_path.parent.mkdir(parents=True, exist_ok=True)
                except OSError as error:
                    raise cannot_write(out_path.parent, error) from error
                with atomic_file(out_path) as stream:
                    chosen.write(stream, [table], run.provenance)
            run.journal.note_in_table(path)


def _as_json(value: dict[str, Any]) -> Any:
    return json.loads(json.dumps(value))
