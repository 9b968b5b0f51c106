"""Names of sound files: numbers of archives, recorders' start times, and the marks of clips cut from a recording."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePosixPath

from dawnchorus.audio.find import SUFFIXES

_TYPE = "|".join(sorted(suffix[1:] for suffix in SUFFIXES))
_NO_DATE = r"(?!(?:19|20)\d\d[01]\d[0-3]\d[-_T ]\d{4})"
_BEFORE, _AFTER = r"(?<![A-Za-z0-9])", r"(?!\d)"
_JOINT = r"[-_ #.]*"

_ARCHIVES: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (archive, re.compile(pattern, re.IGNORECASE))
    for archive, pattern in (
        ("XC", rf"{_BEFORE}(?:xc|xeno[-_ ]?canto){_JOINT}{_NO_DATE}0*(\d{{1,7}}){_AFTER}"),
        ("ML", rf"{_BEFORE}(?:ml|macaulay(?:[-_ ]?library)?){_JOINT}{_NO_DATE}0*(\d{{5,9}}){_AFTER}"),
        ("iNat observation ", rf"{_BEFORE}inat(?:uralist)?{_JOINT}obs(?:ervation)?s?{_JOINT}0*(\d{{3,}}){_AFTER}"),
        ("iNat", rf"{_BEFORE}inat(?:uralist)?{_JOINT}{_NO_DATE}0*(\d{{3,}}){_AFTER}"),
        ("CSA", rf"{_BEFORE}csa{_JOINT}{_NO_DATE}0*(\d{{3,}}){_AFTER}"),
        ("WA", rf"{_BEFORE}(?:wa|wikiaves){_JOINT}{_NO_DATE}0*(\d{{5,}}){_AFTER}"),
        ("Freesound ", rf"{_BEFORE}freesound{_JOINT}0*(\d{{2,}}){_AFTER}"),
        ("Freesound ", r"^0*(\d{2,})__[^_].*?__"),  # as downloaded: number__user__title
        ("Freesound ", r"^[1-5]-0*(\d{3,})-[A-Z]-\d{1,2}$"),  # ESC-50: fold-number-take-class
        ("Freesound ", r"^(?!(?:19|20)\d\d-)0*(\d{4,})-\d-\d+-\d+$"),  # UrbanSound8K: number-class-event-slice
    )
)

_PAGES: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (archive, re.compile(pattern, re.IGNORECASE))
    for archive, pattern in (
        ("XC", r"xeno-canto\.org/(?:\w+/)*?(?:XC)?0*(\d+)(?:[/?#]|$)"),
        ("ML", r"macaulaylibrary\.org/(?:\w+/)*?(?:ML)?0*(\d+)(?:[/?#]|$)"),
        ("iNat observation ", r"inaturalist\.org/observations/0*(\d+)"),
        ("iNat", r"inaturalist\.org/sounds/0*(\d+)"),
        ("Freesound ", r"freesound\.org/(?:people/[^/]+/sounds|s)/0*(\d+)"),
    )
)

_MOMENT = re.compile(
    r"(?<!\d)(?:"
    r"(?:19|20)\d\d[01]\d[0-3]\d[-_T ]?[0-2]\d[0-5]\d[0-5]\d(?!\d)"  # 20240501_060000
    r"|(?:19|20)\d\d[01]\d[0-3]\d[-_T ][0-2]\d[0-5]\d(?!\d)"  # 20240501_0600
    r"|\d\d[01]\d[0-3]\d[-_T][0-2]\d[0-5]\d[0-5]\d(?!\d)"  # 240501_060000
    r"|(?:19|20)\d\d([-_.])[01]\d\1[0-3]\d[-_T ]+[0-2]\d([-_:.h])[0-5]\d(?:\2[0-5]\d)?(?!\d)"  # 2024-05-01_06-00-00
    r")"
)
_UNIX_HEX = re.compile(r"(?P<moment>[0-9A-Fa-f]{8})(?=$|[-_. ])")
_FIRST_UNIX, _LAST_UNIX = 0x52C35A80, 0x7FFFFFFF
"""2014, before the first AudioMoth, and the last moment that four bytes hold."""
_ZONE = re.compile(r"^(?:\.\d+)?[-_ ]?(?:Z|UTC|[+-]\d\d:?(?:\d\d)?)(?![\dA-Za-z])")
_SCORE = re.compile(r"^(?:.*[-_ ])?[01]\.\d+[-_](?:\d+[-_])?")
"""Before the name of the recording: score and number of BirdNET-Analyzer's segments."""

_SECONDS = r"\d+(?:\.\d+)?"
_ENDS: tuple[re.Pattern[str], ...] = tuple(
    re.compile(rf"^(?P<base>.*?){pattern}$", re.IGNORECASE)
    for pattern in (
        rf"\.(?:{_TYPE})\b.+",  # a.wav_0, a.wav-12
        rf"[-_ @([]+{_SECONDS}(?:s|sec|ms)[-_ to~]+{_SECONDS}(?:s|sec|ms)?[)\]]?",  # a_6.0s_9.0s, a [6s-9s]
        r"[-_ @([]+\d+\.\d+(?:[-_~]| to )+\d+\.\d+[)\]]?",  # a_6.0_9.0
        r"[-_ @([]+\d+[:m]\d\d(?:\.\d+)?s?[-_~]+\d+[:m]\d\d(?:\.\d+)?s?[)\]]?",  # a_0m06s-0m09s
        rf"(?:@{_SECONDS}s?|[-_ ]+\d+\.\d+(?:s(?:ec)?)?)",  # a@6, a_6.0s, a-6.00
        rf"(?:[-_ .([]+|^)(?:start|begin)[-_ ]?{_SECONDS}s?[-_ ]*(?:end|stop)[-_ ]?{_SECONDS}s?[)\]]?",
        (
            r"(?:[-_ .([]+|^)(?:part|pt|chunk|clip|seg|segment|slice|split|excerpt|window|win|frame|cut|piece|sel"
            r"|selection|snippet)s?[-_ #.]*\d+(?:[-_ ]*of[-_ ]*\d+)?[)\]]?"
        ),  # a_part2, a selection 12
    )
)
_TWO_NUMBERS = re.compile(r"^(?P<base>.*?)[-_ ]+(?P<start>\d+)[-_](?P<end>\d+)$")
_RUNNING = re.compile(r"^(?P<base>.*?)(?P<joint>[-_ .#([]*)(?<!\d)(?P<number>\d{1,5})[)\]]?s?$")

_TOLERANCE_S = 0.05

_CACHED = 1 << 17
"""Names that are remembered: a split and its report ask several times."""


@lru_cache(maxsize=_CACHED)
def stem_of(name: str) -> str:
    """Return the last part of a path of any system, without a sound file's suffix and the `#2` of an import."""
    last = re.sub(r"(?<=.)#\d+$", "", name.replace("\\", "/").rstrip("/").rpartition("/")[2])
    path = PurePosixPath(last)
    return path.stem if path.suffix.lower() in SUFFIXES else last


def is_sound_name(text: str) -> bool:
    """Return True if the text names a sound file, or a clip of one."""
    return re.search(rf"\.(?:{_TYPE})\b", text, re.IGNORECASE) is not None


@lru_cache(maxsize=_CACHED)
def archive_number(stem: str) -> str | None:
    """Return the archive and number in a name, as `XC123` of `xc-0123_4`; None if there is none."""
    return _first_number(_ARCHIVES, stem)


@lru_cache(maxsize=_CACHED)
def page_number(url: str) -> str | None:
    """Return the archive and number in the URL of a recording's page."""
    return _first_number(_PAGES, url)


def _first_number(patterns: tuple[tuple[str, re.Pattern[str]], ...], text: str) -> str | None:
    for archive, pattern in patterns:
        if match := pattern.search(text):
            return f"{archive}{match[1]}"
    return None


@dataclass(frozen=True)
class RecorderName:
    """Recorder and start time that a name has in it."""

    recorder: str
    """Text before the time, in lower case; empty if there is none."""
    start: str
    """Digits of date and time, or eight hexadecimal ones."""
    is_clip: bool
    """Text other than a time zone follows, or a clip's score stands before."""


@lru_cache(maxsize=_CACHED)
def recorder_name(stem: str) -> RecorderName | None:
    """Return recorder and start time that a name has in it; None if there is no time."""
    if match := _MOMENT.search(stem):
        before = _SCORE.sub("", stem[: match.start()])
        rest = _ZONE.sub("", stem[match.end() :]).strip("-_ ")
        recorder = re.sub(r"[\W_]+", " ", before).strip().casefold()
        return RecorderName(recorder, re.sub(r"\D", "", match[0]), bool(rest) or _SCORE.match(stem) is not None)
    match = _UNIX_HEX.match(_SCORE.sub("", stem))
    if match and _FIRST_UNIX <= int(match["moment"], 16) <= _LAST_UNIX and re.search(r"\d", match["moment"]):
        return RecorderName("", match["moment"].casefold(), match["moment"] != stem)
    return None


@lru_cache(maxsize=_CACHED)
def cut_from(stem: str, duration_s: float | None) -> str | None:
    """Return the name of the recording that a clip's name says it is cut from; None if it says nothing of the kind.

    Times, words such as "part 2", or another file's name inside say so. Two whole numbers at the end are times only if
    they are as far apart as the clip is long.
    """
    for pattern in _ENDS:
        if match := pattern.match(stem):
            return _trimmed(_SCORE.sub("", match["base"]))
    match = _TWO_NUMBERS.match(stem)
    if match and duration_s:
        step = int(match["end"]) - int(match["start"])
        if any(abs(step / per_second - duration_s) <= _TOLERANCE_S for per_second in (1, 1000)):
            return _trimmed(match["base"])
    return None


@dataclass(frozen=True)
class RunningNumber:
    """A name that ends in a number."""

    base: str
    number: int
    is_set_off: bool
    """Something other than a digit or letter stands before the number, as in `a_2`."""


def running_number(stem: str) -> RunningNumber | None:
    """Return a name's end in a number; None if it has none."""
    match = _RUNNING.match(stem)
    if match is None or not match["base"]:
        return None
    return RunningNumber(_trimmed(match["base"]), int(match["number"]), bool(match["joint"]))


def _trimmed(base: str) -> str:
    return base.strip("-_ .#([").casefold()
