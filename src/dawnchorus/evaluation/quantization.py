"""Quantization of a bundle, with the loss of accuracy measured for its model card."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx

from dawnchorus.audio.process import DecoderProcess
from dawnchorus.data.recordings import RecordingRow, RecordingsTable
from dawnchorus.errors import AudioError, InputError, ModelError
from dawnchorus.evaluation.evaluation import PAIRED, Evaluation, compare, evaluate
from dawnchorus.evaluation.scoring import score_together
from dawnchorus.metrics.bootstrap import Interval, describe_no_width
from dawnchorus.models.bundle import RANGE_NAME, RECORDINGS_NAME, Bundle, new_bundle
from dawnchorus.models.graphs.onnx_files import load_graph
from dawnchorus.models.graphs.precision import Precision, quantize, to_float16
from dawnchorus.models.runner import milliseconds
from dawnchorus.models.store import ModelStore
from dawnchorus.version import __version__

N_SHOWN, LISTEN_S = 64, 60.0
"""Maximum number of calibration windows, each the loudest in the first `LISTEN_S` seconds of a recording."""


def quantize_bundle(
    bundle: Bundle, folder: Path, precision: Precision, table: RecordingsTable, *, split: str, store: ModelStore
) -> Bundle:
    """Write a smaller copy of a bundle, with float16 weights ("float16") or 8-bit computation ("int8"), and return it.

    Both bundles are evaluated on the recordings of `split`, and the differences are written into the new model card.
    For "int8", ranges of activations are estimated from recordings of the kind "focal" in other splits. The new bundle
    has the name of `bundle` followed by -float16 or -int8, and the same labels, thresholds, calibration, range model
    and table of recordings. A bundle that is in `folder` is replaced.

    Args:
        bundle: the bundle to quantize.
        folder: folder of the new bundle.
        precision: "float16" or "int8".
        table: the data set.
        split: name of the split to evaluate on, such as "test".
        store: store of the built-in models, which has the speech detector for bundles that remove speech.

    Raises:
        InputError: the split has no recordings, none of them can be scored or, for "int8", the other splits have no
            focal recordings that can be read.
        ModelError: the bundle has no ONNX graph, or one that cannot be loaded or run, or scores that are not finite.
        MissingExtraError: the bundle's cleaning needs noisereduce, which is not installed.
        OutputExistsError: there is something else than a bundle at `folder`.
        OutputError: no space, or no permission.
    """
    if bundle.info.graph != "model.onnx":
        raise ModelError(f"expected an ONNX graph, found {bundle.info.graph}.", subject=bundle.folder)
    rows = [row for row in table.rows if row.split == split]
    others = [row for row in table.rows if row.split not in (split, None) and row.kind == "focal"]
    if not rows or (precision == "int8" and not others):
        raise InputError(
            f"expected recordings in the split {split!r} to measure on and, for int8, focal ones in "
            f"another split to take ranges from. Split with `dawnchorus data split`.",
            subject=table.folder,
        )

    description = bundle.info.model_copy(
        update={
            "name": f"{bundle.info.name}-{precision}",
            "source": f"{bundle.info.name} {bundle.id} in {_WORDS[precision]}",
            "made_by": f"dawnchorus {__version__}",
        }
    )
    with new_bundle(folder) as draft:
        if precision == "float16":
            onnx.save(to_float16(load_graph(bundle.graph_path)), draft.folder / "model.onnx")
        else:
            quantize(bundle.graph_path, draft.folder / "model.onnx", _windows(bundle, table, others))
        for name in (RANGE_NAME, RECORDINGS_NAME):
            if (bundle.folder / name).is_file():
                shutil.copyfile(bundle.folder / name, draft.folder / name)
        smaller = draft.describe(description, bundle.labels)
        before, after = score_together([bundle, smaller], table, rows, store=store)
        evaluations = [evaluate(bundle, before), evaluate(smaller, after)]
        difference = compare(after, before).first_minus_other
        return draft.finish(_card(bundle, smaller, precision, evaluations, difference))


_WORDS: dict[Precision, str] = {"float16": "half precision", "int8": "8 bits"}


def _windows(bundle: Bundle, table: RecordingsTable, rows: Sequence[RecordingRow]) -> list[npt.NDArray[np.float32]]:
    """Return the loudest window of each of about `N_SHOWN` recordings, evenly spaced in the data set."""
    loudest, reason = [], ""
    with closing(DecoderProcess()) as decoder:
        for row in rows[:: -(-len(rows) // N_SHOWN)]:
            end_s = min(row.duration_s or LISTEN_S, LISTEN_S)
            try:
                samples = decoder.read_clip(table.file(row), start_s=0, end_s=end_s, rate_hz=bundle.info.sample_rate_hz)
            except AudioError as error:
                reason = str(error)
                continue
            padded = np.pad(samples, (0, -len(samples) % bundle.window_samples))
            windows = padded.reshape(-1, bundle.window_samples)
            if len(windows):
                loudest.append(windows[(windows**2).sum(1).argmax()])
    if not loudest:
        raise InputError(
            f"none of {len(rows)} recordings to take ranges from can be read: {reason}", subject=table.folder
        )
    return loudest


def _card(
    bundle: Bundle,
    made: Bundle,
    precision: Precision,
    evaluations: Sequence[Evaluation],
    difference: dict[str, Interval],
) -> str:
    before, after = evaluations
    rows = "\n".join(
        f"| {name.replace('_', ' ')} | {before.by_recording[name]} | {after.by_recording[name]} | "
        f"{difference[name].value:+.3f} ({difference[name].low:+.3f} to {difference[name].high:+.3f}) |"
        for name in PAIRED
    )
    columns = {
        bundle.info.name: before.by_recording,
        made.info.name: after.by_recording,
        "difference": difference,
    }
    notes = "".join(
        f"{title}: {note}\n\n"
        for title, intervals in columns.items()
        if (note := describe_no_width({name: intervals[name] for name in PAIRED}, after.n_recordings))
    )
    sizes = [each.graph_path.stat().st_size / 1e6 for each in (bundle, made)]
    times = [milliseconds(each) for each in (bundle, made)]
    loss = f"""## What {_WORDS[precision]} costs

Measured on {after.n_recordings} recordings against {bundle.info.name} {bundle.id}; differences with 95 % intervals.

| | {bundle.info.name} | {made.info.name} | difference |
| --- | --- | --- | --- |
{rows}
| MB | {sizes[0]:.1f} | {sizes[1]:.1f} | |
| ms for 5 s on one core | {times[0]:.1f} | {times[1]:.1f} | |

{notes}"""
    card = bundle.folder / "MODEL_CARD.md"
    text = card.read_text(encoding="utf-8") if card.is_file() else f"# {bundle.info.name}\n"
    return f"{text.rstrip()}\n\n{loss}".replace(f"# {bundle.info.name}\n", f"# {made.info.name}\n", 1)
