"""Sound whose length was never written is read whole; a file that holds no samples still fails."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tests.fixtures.sounds import tone

from dawnchorus.audio.decode import open_recording, read_clip
from dawnchorus.audio.header_lengths import find_undeclared_audio
from dawnchorus.audio.process import DecoderProcess
from dawnchorus.errors import AudioDecodeError

SOUND = np.rint(tone(seconds=1.0) * 32767).astype("<i2")
ZERO, MAX, LONG = bytes(4), b"\xff" * 4, b"\xff" * 8
Patches = list[tuple[int, bytes]]


def wav(path: Path, *patches: tuple[int, bytes], kind: str = "WAV", rest: bytes = b"") -> Path:
    """Write one second with its header patched, and `rest` behind it."""
    soundfile.write(path, SOUND, 16_000, format=kind, subtype="PCM_16")
    content = bytearray(path.read_bytes())
    for at, patch in patches:
        content[at : at + len(patch)] = patch
    path.write_bytes(bytes(content) + rest)
    return path


def decoded(path: Path) -> tuple[np.ndarray, list[str]]:
    with open_recording(path) as recording:
        samples = np.concatenate(list(recording.blocks()))
    return np.rint(samples * 32768).astype("<i2"), recording.warnings


UNWRITTEN = [
    *(("WAV", [(40, ZERO)]), ("WAV", [(4, ZERO), (40, ZERO)]), ("WAV", [(4, MAX), (40, MAX)])),
    *(("WAV", [(4, struct.pack("<I", 36)), (40, ZERO)]), ("WAV", [(40, b"\xff\xff\xff\x7f")])),
    *(("WAV", [(4, b"\x24\xf0\xff\x7f"), (40, b"\x00\xf0\xff\x7f")]), ("WAV", [(40, b"\xdb\xff\xff\xff")])),
    *(("WAVEX", [(76, ZERO)]), ("RF64", [(20, bytes(24))]), ("RF64", [(20, LONG * 3)])),
    *(("W64", [(96, bytes(8))]), ("W64", [(96, struct.pack("<Q", 24))]), ("W64", [(16, LONG), (96, LONG)])),
    *(("AIFF", [(22, ZERO), (42, struct.pack(">I", 8))]), ("AU", [(8, ZERO)]), ("AU", [(8, MAX)])),
    *(("CAF", [(4084, LONG)]), ("CAF", [(4084, bytes(8))])),
]


@pytest.mark.parametrize(("kind", "patches"), UNWRITTEN)
def test_all_samples_are_read_and_it_is_said(tmp_path: Path, kind: str, patches: Patches) -> None:
    path = wav(tmp_path / "x.wav", *patches, kind=kind)
    samples, warnings = decoded(path)
    np.testing.assert_array_equal(samples, SOUND)
    assert len(warnings) == 1
    assert warnings[0].startswith("length never written: the header says ")


@pytest.mark.parametrize("kind", ["WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF"])
def test_a_written_length_is_believed(tmp_path: Path, kind: str) -> None:
    samples, warnings = decoded(wav(tmp_path / "x.wav", kind=kind))
    np.testing.assert_array_equal(samples, SOUND)
    assert warnings == []


@pytest.mark.parametrize("kind", ["WAV", "RF64", "W64", "AIFF", "AU"])
def test_a_file_without_samples_has_none(tmp_path: Path, kind: str) -> None:
    soundfile.write(tmp_path / "x.wav", np.zeros(0), 16_000, format=kind, subtype="PCM_16")
    assert find_undeclared_audio(tmp_path / "x.wav") is None
    with pytest.raises(AudioDecodeError, match="there are no samples in the file"):
        decoded(tmp_path / "x.wav")


HALF = struct.pack("<I", 16_000)
GUANO = b"guan\x16\0\0\0GUANO|Version: 1.0\nab\n"
LIST = b"LIST\5\0\0\0INFOx"

TOO_SHORT = [
    ("WAV", [(4, struct.pack("<I", 16_036)), (40, HALF)], b""),
    ("WAV", [(40, HALF)], b""),
    ("WAV", [(40, struct.pack("<I", 15_999))], b""),
    ("WAV", [(40, HALF)], GUANO + LIST + b"\0"),
    ("RF64", [(28, struct.pack("<Q", 16_000))], b""),
    ("W64", [(96, struct.pack("<Q", 16_024))], b""),
]
"""Headers that count half of the samples or less."""

BEHIND = [bytes(64_000), b"abcd\x80\x3e\0\0" + b"\7" * 16_000, b"\7" * 500, b"TAG <xml>\r\n" * 800]
"""Zeros, a chunk that nobody knows, padding, text."""


@pytest.mark.parametrize(("kind", "patches", "rest"), TOO_SHORT)
def test_samples_behind_a_length_that_is_too_short_are_read_and_said(
    tmp_path: Path, kind: str, patches: Patches, rest: bytes
) -> None:
    samples, warnings = decoded(wav(tmp_path / "x.wav", *patches, kind=kind, rest=rest))
    np.testing.assert_array_equal(samples, SOUND)
    assert len(warnings) == 1
    assert warnings[0].startswith("length too short: the header says 1")


UNPADDED = b"QLIST\x40\x1f\0\0" + b"INFO\1\2\3\4" * 1_000
"""MediaArea/BWFMetaEdit#155: a byte that is no zero before a chunk."""


@pytest.mark.parametrize("rest", [*BEHIND, UNPADDED, GUANO + LIST + b"\0", LIST + b"\0" + b"\7" * 9_000])
def test_bytes_behind_the_samples_that_are_no_audio_are_ignored(tmp_path: Path, rest: bytes) -> None:
    samples, warnings = decoded(wav(tmp_path / "x.wav", rest=rest))
    np.testing.assert_array_equal(samples, SOUND)
    assert warnings == []


def test_no_samples_before_a_chunk_or_padding_are_none(tmp_path: Path) -> None:
    header = wav(tmp_path / "x.wav", (40, ZERO)).read_bytes()[:44]
    for rest in (b"LIST\4\0\0\0INFO", b"LIST\5\0\0\0INFOx", bytes(468)):
        (tmp_path / "x.wav").write_bytes(header + rest)
        with pytest.raises(AudioDecodeError, match="there are no samples"):
            decoded(tmp_path / "x.wav")


def test_samples_that_look_like_a_chunk_are_samples(tmp_path: Path) -> None:
    """agfline/wavfix#12: a repair tool was fooled by them."""
    header = wav(tmp_path / "x.wav", (40, ZERO)).read_bytes()[:44]
    (tmp_path / "x.wav").write_bytes(header + b"abcd\2\0\0\0" + SOUND.tobytes())
    assert len(decoded(tmp_path / "x.wav")[0]) == len(SOUND) + 4


def test_chunks_behind_the_samples_are_no_audio(tmp_path: Path) -> None:
    """agfline/wavfix#12: a recorder may write others before it fails to write the length."""
    guano = b"guan\x16\0\0\0GUANO|Version: 1.0\nab\n"
    samples, _ = decoded(wav(tmp_path / "x.wav", (40, ZERO), rest=guano + b"LIST\4\0\0\0INFO"))
    np.testing.assert_array_equal(samples, SOUND)


def test_a_header_cut_before_its_data_is_read_and_said(tmp_path: Path) -> None:
    content = wav(tmp_path / "x.wav").read_bytes()
    (tmp_path / "x.wav").write_bytes(content[:36] + content[44:])
    samples, warnings = decoded(tmp_path / "x.wav")
    np.testing.assert_array_equal(samples, SOUND)
    assert "cut short" in warnings[0]


def test_zeros_that_were_set_aside_are_left_out_and_counted(tmp_path: Path) -> None:
    samples, warnings = decoded(wav(tmp_path / "x.wav", (40, ZERO), rest=bytes(3_000_000)))
    assert len(samples) == pytest.approx(len(SOUND), abs=16)
    assert warnings[0].endswith("93.750 s of zeros at the end are left out")


def test_zeros_at_the_end_of_a_written_length_are_kept_and_said(tmp_path: Path) -> None:
    signal = np.concatenate([tone(seconds=1.0)[:-1], np.zeros(32_000, np.float32)])
    soundfile.write(tmp_path / "x.wav", signal, 16_000)
    samples, warnings = decoded(tmp_path / "x.wav")
    assert len(samples) == len(signal)
    assert warnings == ["zeros at the end: the last 2.000 s are exactly zero, as space that a recorder set aside"]
    soundfile.write(tmp_path / "x.flac", signal, 16_000)
    soundfile.write(tmp_path / "y.wav", signal[:-16_500], 16_000)
    assert [decoded(tmp_path / name)[1] for name in ("x.flac", "y.wav")] == [[], []]


def test_codecs_of_dependent_samples_are_left_to_ffmpeg(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", tone(seconds=1.0), 16_000, subtype="IMA_ADPCM")
    content = bytearray((tmp_path / "x.wav").read_bytes())
    at = content.index(b"data") + 4
    content[at : at + 4] = ZERO
    (tmp_path / "x.wav").write_bytes(content)
    samples, warnings = decoded(tmp_path / "x.wav")
    assert len(samples) == pytest.approx(16_000, abs=1_100)
    assert warnings[0].startswith("length never written")


@pytest.mark.parametrize("content", [b"RIFF", b"FORM", b".snd", b"caff", b"riff", b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0"])
@pytest.mark.parametrize("rest", [b"", bytes(40), b"\xff" * 40, b"data" * 12, b"COMM" + b"\xff" * 40])
def test_damaged_headers_yield_no_unwritten_audio(tmp_path: Path, content: bytes, rest: bytes) -> None:
    (tmp_path / "x.wav").write_bytes(content + rest)
    assert find_undeclared_audio(tmp_path / "x.wav") is None


def test_clips_and_probes_know_the_length_as_well(tmp_path: Path) -> None:
    path = wav(tmp_path / "x.wav", (40, ZERO))
    clip = read_clip(path, start_s=0.5, end_s=0.75, rate_hz=16_000)
    np.testing.assert_array_equal(np.rint(clip * 32768), SOUND[8_000:12_000])
    decoder = DecoderProcess()
    try:
        opened = decoder.probe(path)
    finally:
        decoder.close()
    assert opened.info.n_frames == 16_000
    assert opened.warnings[0].startswith("length never written")


def test_the_file_is_closed(tmp_path: Path) -> None:
    path = wav(tmp_path / "x.wav", (40, ZERO))
    decoded(path)
    assert not [link for link in Path("/proc/self/fd").iterdir() if link.resolve() == path]


def test_64_channels_and_1_khz_are_read(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", np.full((70_000, 64), 0.25, np.float32), 48_000)
    samples, warnings = decoded(tmp_path / "x.wav")
    assert (len(samples), set(samples.tolist()), warnings) == (70_000, {8192}, [])
    soundfile.write(tmp_path / "y.wav", tone(100, rate_hz=1_000, seconds=2.0), 1_000)
    assert decoded(tmp_path / "y.wav")[1] == ["low rate: 1000 Hz hold no sound above 500 Hz"]
