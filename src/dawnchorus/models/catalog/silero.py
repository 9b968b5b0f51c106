"""Silero VAD's graph, extracted from the wheel of `silero-vad`; the package is not installed since it needs PyTorch."""

from __future__ import annotations

from pathlib import Path

from dawnchorus.models.catalog.weights import SILERO_VAD, fetch_member

SHA256 = "9ccdacc4719d8aa7e45a77536bfabec45a03ba1f2fad5e241ab4060b24238a85"
_MEMBER = "silero_vad/data/silero_vad_16k_sequence.onnx"


def speech_graph(folder: Path, *, wheel: Path | None = None) -> Path:
    """Return the path of the voice-activity model in `folder`; create the file on first use.

    The wheel is downloaded (11 MB) unless `wheel` is the path of a local one.

    Raises:
        ModelNotFoundError: the wheel could not be downloaded, or has another checksum.
        ModelError: `wheel` is not the published wheel.
        OutputError: the downloaded wheel cannot be written.
        OSError: the folder or the file cannot be written.
    """
    out_path = folder / f"silero-vad-{SHA256[:12]}.onnx"
    return fetch_member(SILERO_VAD, _MEMBER, out_path, sha256=SHA256, source=wheel)
