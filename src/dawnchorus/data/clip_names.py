"""Parsing of clips' file names: archive numbers, recorders' start times, and times or part numbers of clips."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import PurePosixPath

from dawnchorus.audio.discovery import SUFFIXES

_SUFFIX = rf"\.(?:{'|'.join(sorted(suffix[1:] for suffix in SUFFIXES))})(?![^\W_])"
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
        ("Freesound ", r"^[1-5][-_]0*(\d{3,})[-_][A-Z](?:[-_]\d{1,2})?$"),  # ESC-50: fold-number-take-class
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
_UNIX_HEX = re.compile(
    r"^(?P<moment>[0-9A-Fa-f]{8})(?=$|[-_. ])|(?<![^\W_])(?P<inside>(?=\d{0,7}[A-F])[5-7][0-9A-F]{7})(?=$|[-_. ])"
)
_FIRST_UNIX, _LAST_UNIX = 0x52C35A80, 0x7FFFFFFF
"""Unix times of 2014, before the first AudioMoth, and of the last second that four bytes can store."""
_ZONE = re.compile(r"^(?:\.\d+)?[-_ ]?(?:Z|UTC|[+-]\d\d:?(?:\d\d)?)(?![\dA-Za-z])")
_SCORE = re.compile(r"^(?:.*[-_ ])?(?:0\.\d+|1\.0+)[-_](?:\d+[-_])?")
"""Score and number that BirdNET-Analyzer puts before the recording's name in names of segments."""

_DETECTION = re.compile(
    r"(?P<recorder>.+?)[-_ ]"
    r"(?P<moment>(?:19|20)\d\d-?[01]\d-?[0-3]\d[-_T ][0-2]\d[-.:]?[0-5]\d[-.:]?[0-5]\d)\.\d{3}(?!\d)"
)
"""Milliseconds distinguish the time of a detection from the start time of a recording."""

_TAPE_CLIP = re.compile(
    r"(?P<label>[^_]+)_\d+_(?P<year>(?:19|20)\d\d)_(?P<tape>[^_]+)_(?P<start_ms>\d+)_(?P<end_ms>\d+)", re.ASCII
)

_NUMBER = r"\d+(?:[.,]\d+)?"
_DECIMAL = r"\d+[.,]\d+"
_SECONDS = r"(?:s|secs?|seconds?|ms|msec|sek|sekunden?|sekund(?:er)?|secondes?|segundos?|secondi|seconden)"
_WITH_UNIT = rf"{_NUMBER} ?{_SECONDS}(?![a-z])"
_MINUTES = rf"(?:\d+[ _]?h[ _]?)?\d+[ _]?m(?:in)?[ _]?{_NUMBER}[ _]?s?(?:ec)?(?![a-z])"  # 0m06s, 1h02m03.5s, 00m_06s
_OFFSET = r"(?:0?0(?P<a>[-_.:])[0-5]\d(?P=a)[0-5]\d|\d\d?(?P<b>[-_.:])[0-5]\d(?P=b)[0-5]\d[.,]\d+)"
"""A clock time in the first hour, or with fractions of a second: an offset in a recording, no time of day."""
_TO = r"(?: ?[-_~\u2013\u2014]+ ?|[-_ ]*to[-_ ]*| )"
_OPEN, _CLOSE = r"(?:^|[-_ @.,#+=([{]+)", r"[)\]}]?(?![\d:])"
_HMS = r"\d\d?(?P<{}>[-_.:])[0-5]\d(?P={})[0-5]\d(?:[.,]\d+)?|\d+:[0-5]\d"
_CLIP = (
    r"(?:(?:part|pt|chunk|clip|seg|segment(?:ed)?|slice|split|excerpt|window|win|frame|cut|piece|sel|selection|snippet|copy"
    r"|fragment|extract)s?|teil|ausschnitt|abschnitt|schnipsel|st(?:\u00fc|ue)ck|fenster|kopie|parte|partie|extrait|tranche|morceau"
    r"|fen\u00eatre|trozo|extracto|recorte|fragmento|trecho|segmento|ritaglio|spezzone|deel|stuk|fragm)"
)
"""Words for a part of a recording, in English, German, French, Spanish, Portuguese, Italian and Dutch."""
_START = (
    r"(?:start|begin|from|onset|offset|at|beginn|anfang|versatz|ab|von|van|d\u00e9but|debut|depuis|inicio|desde|inizio"
    r"|da)"
)
_END = r"(?:end|stop|to|offset|ende|bis|fin|jusqu|hasta|fine|fim|a|tot|einde)"
_LENGTH = (
    r"(?:dur|duration|len|length|dauer|l\u00e4nge|laenge|dur\u00e9e|duree|duraci\u00f3n|duracion|durata"
    r"|dura\u00e7\u00e3o|duur)"
)
_OF = r"(?:[-_ ]*of[-_ ]*|[-_ ]+(?:von|aus|de|du|di|da|van|av|af|sur|su|z|ze)[-_ ]+)"

_RANGES: tuple[re.Pattern[str], ...] = tuple(
    re.compile(rf"^(?P<before>.*?){_OPEN}(?:{pattern}){_CLOSE}(?P<after>.*)$", re.IGNORECASE)
    for pattern in (
        rf"{_MINUTES}{_TO}{_MINUTES}",  # a_0m06s-0m09s
        rf"{_WITH_UNIT}{_TO}{_NUMBER}(?: ?[a-z]+)?",  # a_6.0s_9.0s, a [6s-9s]
        rf"{_NUMBER}(?: ?[-~\u2013\u2014] ?|[-_ ]*to[-_ ]*){_WITH_UNIT}",  # a_6-9s
        rf"(?P<start>{_HMS.format('a', 'a')}){_TO}(?P<end>{_HMS.format('b', 'b')})",  # a_00-00-03_00-00-06, a_0:03-0:06
        rf"(?P<start>{_DECIMAL}){_TO}(?P<end>{_DECIMAL})",  # a_6.0_9.0
        rf"{_START}[-_ =:]*{_NUMBER}{_SECONDS}?[-_ ,]*(?:{_END}|{_LENGTH})[-_ =:]*{_NUMBER}{_SECONDS}?",
        rf"t[-_=]?{_NUMBER}[-_ ]+t[-_=]?{_NUMBER}",  # a_t0_t3
        rf"{_NUMBER}{_SECONDS}?[-_ ,]+{_LENGTH}[-_ =:]*{_NUMBER}{_SECONDS}?",
    )
)
"""Names with the start and the end of a clip, at the start, in the middle or at the end of the name."""

_LONGEST_CLIP_S = 600
"""Maximum difference of a clip's times; numbers farther apart are a date and a time, or a location."""

_ENDS: tuple[re.Pattern[str], ...] = tuple(
    re.compile(rf"^(?P<before>.*?){pattern}$", re.IGNORECASE)
    for pattern in (
        rf"{_SUFFIX}.+",  # a.wav_0, a.wav-12
        rf"(?:@{_NUMBER}s?|[-_ ]+{_DECIMAL}|{_OPEN}(?:{_WITH_UNIT}|{_MINUTES}){_CLOSE})",  # a@6, a_6.0, a_6s
        rf"{_OPEN}(?:offset|start|begin|beginn|onset|at|versatz|d\u00e9but|inicio)[-_ =:]*{_NUMBER}{_SECONDS}?{_CLOSE}",
        rf"{_OPEN}(?:{_CLIP}[-_ #.]*\d+(?:{_OF}\d+)?|\d+{_OF}\d+){_CLOSE}",  # a_part2, a 2 of 5
        rf"{_OPEN}\d+(?:\.|st|nd|rd|th)[-_ ]*{_CLIP}{_CLOSE}",  # a 2nd part, a 2. Teil
    )
)
_PART_OF = re.compile(
    rf"^{_CLIP}[-_ #.]*\d+(?:{_OF}\d+)?[-_ ]+(?:of|from|von|aus|de|di|da|van)[-_ ]+(?P<base>.*[^\W\d_].*)$",
    re.IGNORECASE,
)
"""Names with the part before the recording's name: `clip 3 of creek`."""
_DATE = re.compile(r"(?:19|20)\d\d([-_.]?)[01]\d\1[0-3]\d")
_DATE_AT_END = re.compile(rf"(?<!\d){_DATE.pattern}$")
_CLOCK_END = re.compile(rf"^(?P<before>.*?){_OPEN}{_OFFSET}{_CLOSE}$")
_TWO_NUMBERS = re.compile(
    rf"^(?P<before>.*){_OPEN}(?P<start>\d{{1,7}})(?:[-_~\u2013\u2014]|[-_ ]?to[-_ ]?)(?P<end>\d{{1,7}})[)\]}}]?"
    r"(?P<after>[-_ .].*)?$",
    re.IGNORECASE,
)
_SCORE_AT_END = re.compile(r"(?:conf(?:idence)?|score|p)?[-_ =]*(?<!\d)[01]\.\d+(?!\d)", re.IGNORECASE)
_NUMBER_AT_END = re.compile(r"^(?P<base>.*?)(?P<joint>[-_ .#([{+]*)(?<!\d)(?P<number>\d{1,5})[)\]}]?s?$")
_LETTER_AT_END = re.compile(r"^(?P<base>.*?)(?P<joint>[-_ .#([{]+|(?<=\d))(?P<letter>[A-Za-z])[)\]}]?$")
_NUMBER_INSIDE = re.compile(r"^(?P<before>.*?)(?<!\d)(?P<number>\d{1,7})(?P<after>\D+)$")
_NUMBER_AT_START = re.compile(
    rf"^[([{{#]?(?:{_CLIP}[-_ #.]*)?(?!(?:19|20)\d\d)(?P<number>\d{{1,5}})(?:s|sec)?[)\]}}]?[-_ .]+"
    r"(?P<base>.*[^\W\d_].*)$",
    re.IGNORECASE,
)

_TOLERANCE_S = 0.05

_CACHED = 1 << 17
"""Cache size in names, since a split and its report parse each name several times."""


_CLIP_WORD = re.compile(
    rf"(?:{_CLIP}|detection|detektion|event|annotation|call|ruf)\d*|of|from|von|aus|de|di|van", re.IGNORECASE
)
_NUMBER_WORD = re.compile(rf"\d+{_SECONDS}?", re.IGNORECASE)
_RECORDER = re.compile(r"(?=.*[^\W\d_])(?=.*\d).{4,}")
"""Text that must be the name of a recorder, such as a serial number or `s4a01`; other words may be locations."""
_MAX_CLASS_WORDS = 5


@lru_cache(maxsize=_CACHED)
def get_stem(name: str) -> str:
    """Return the last part of a path, without a number such as `#2` at its end and without an audio suffix.

    `creek` is returned for `day/creek.wav#2`, but `notes.txt` for `notes.txt`. The result is in Unicode form NFC.
    Slashes and backslashes both separate the parts of the path.
    """
    name = unicodedata.normalize("NFC", name)
    last = re.sub(r"(?<=.)#\d+$", "", name.replace("\\", "/").rstrip("/").rpartition("/")[2])
    path = PurePosixPath(last)
    return path.stem if path.suffix.lower() in SUFFIXES else last


def is_sound_name(text: str) -> bool:
    """Return True if an audio suffix (in any case) ends a word of the text: in `a.wav` and `a.wav_12`, not `a.wavy`."""
    return re.search(_SUFFIX, text, re.IGNORECASE) is not None


@lru_cache(maxsize=_CACHED)
def archive_number(stem: str) -> str | None:
    """Return a recording's identifier in a sound archive (xeno-canto, Macaulay Library, iNaturalist, ...), or None.

    It is read from the recording's file name without suffix, in any case and without leading zeros: `XC123` from
    `xc-0123_4`, `Freesound 42` from `freesound42`. If a name has the numbers of several archives, only one is returned,
    and xeno-canto has precedence.
    """
    return _first_number(_ARCHIVES, stem)


@lru_cache(maxsize=_CACHED)
def page_number(url: str) -> str | None:
    """Return a recording's identifier, such as `XC123`, from the URL of its page; None for other URLs.

    The pages are those of xeno-canto, Macaulay Library, iNaturalist and Freesound.
    """
    return _first_number(_PAGES, url)


def _first_number(patterns: tuple[tuple[str, re.Pattern[str]], ...], text: str) -> str | None:
    for archive, pattern in patterns:
        if match := pattern.search(text):
            return f"{archive}{match[1]}"
    return None


@dataclass(frozen=True)
class RecorderName:
    """Recorder and start time in a file name."""

    recorder: str
    """Text before the time, in lower case, or ""."""
    start: str
    """The 12 or 14 digits of date and time, or a Unix time of eight hexadecimal digits in lower case.

    Twelve digits are a date and time without seconds, or with a year of two digits.
    """
    is_clip: bool
    """True if the name is of a clip, not a whole recording: it has text after the time, or words of a clip, a class or
    a score before the recorder."""


@lru_cache(maxsize=_CACHED)
def recorder_name(stem: str, classes: frozenset[str] = frozenset()) -> RecorderName | None:
    """Parse recorder and start time from a file name without suffix; None if it has no time.

    Args:
        stem: the file name without suffix.
        classes: names of the data set's classes, in lower case with single spaces. A class, a number, words such as
            `clip0 of` and a score before the recorder's name are dropped, unless nothing would remain.
    """
    if match := _MOMENT.search(stem):
        start = re.sub(r"\D", "", match[0])
        before, rest = stem[: match.start()], _ZONE.sub("", stem[match.end() :]).strip("-_ ")
    else:
        name = _SCORE.sub("", stem)
        match = _UNIX_HEX.search(name)
        start = (match["moment"] or match["inside"]).casefold() if match else ""
        if match is None or not _FIRST_UNIX <= int(start, 16) <= _LAST_UNIX or not re.search(r"\d", start):
            return None
        before, rest = stem[: len(stem) - len(name) + match.start()], name[match.end() :]
    given = re.sub(r"[\W_]+", " ", _SCORE.sub("", before)).strip().casefold()
    is_clip = bool(rest) or _SCORE.match(before) is not None
    recorder = _without_clip(given, classes, is_clip=is_clip)
    return RecorderName(recorder, start, is_clip or recorder != given)


def _without_clip(given: str, classes: frozenset[str], *, is_clip: bool) -> str:
    """Return the words before the time without the words of a clip; all words if none would remain.

    A number is dropped only before a recorder's name, `1 s4a01`: otherwise it may belong to a location, `1 forest`.
    """
    words = given.split()
    n_before, has_clip_word = 0, is_clip
    while n_before < len(words):
        n_class = _class_words(words[n_before:], classes)
        if n_class:
            n_before, has_clip_word = n_before + n_class, True
        elif _CLIP_WORD.fullmatch(words[n_before]):
            n_before, has_clip_word = n_before + 1, True
        elif _NUMBER_WORD.fullmatch(words[n_before]):
            n_before += 1
        else:
            break
    left = words[n_before:]
    while len(left) > 1 and re.fullmatch(rf"{_CLIP}\d+", left[-1]):
        left.pop()
        has_clip_word = True
    recorder = " ".join(left)
    return recorder if recorder and (has_clip_word or _RECORDER.fullmatch(recorder)) else given


def _class_words(words: Sequence[str], classes: frozenset[str]) -> int:
    """Return the number of first words that are the name of a class; a single word must be followed by a number."""
    for n in range(min(len(words) - 1, _MAX_CLASS_WORDS), 0, -1):
        if " ".join(words[:n]) in classes and (n > 1 or _NUMBER_WORD.fullmatch(words[n])):
            return n
    return 0


@lru_cache(maxsize=_CACHED)
def recorder_night(stem: str) -> str | None:
    """Return a key of recorder and night for the name of a clip of a detection; None for other names.

    Such names have a time with milliseconds, as those of the software Vesper:
    `station_microphone_detector_2020-03-04_21.36.23.456_Z_class`.
    Clips of one recorder have the same key from noon to noon of the clock in the name. The recorder is the text before
    the time, without its last part (the detector) if it has more than two parts.
    """
    match = _DETECTION.match(stem)
    if match is None:
        return None
    parts = match["recorder"].split("_")
    without_detector = parts[:-1] if len(parts) > 2 else parts
    recorder = " ".join(without_detector).strip("-_ ").casefold()
    with suppress(ValueError):
        moment = datetime.strptime(re.sub(r"\D", "", match["moment"]), "%Y%m%d%H%M%S").replace(tzinfo=UTC)
        return f"{recorder}|{moment - timedelta(hours=12):%Y-%m-%d}"
    return None


@dataclass(frozen=True)
class TapeClip:
    """A clip's name in the form of ANIMAL-SPOT: `class-information_id_year_tape_start_end`, times in milliseconds."""

    class_name: str
    """Text before the first hyphen, or before the id if there is no hyphen."""
    tape: str
    """Year and tape, which together identify the recording."""


@lru_cache(maxsize=_CACHED)
def tape_clip(stem: str) -> TapeClip | None:
    """Parse a name in ANIMAL-SPOT's form; None for other names."""
    match = _TAPE_CLIP.fullmatch(stem)
    if match is None:
        return None
    return TapeClip(match["label"].partition("-")[0].strip(), f"{match['year']} {match['tape'].casefold()}")


@dataclass(frozen=True)
class ClipName:
    """The name of a clip that was cut from a recording, without the clip's times or part number."""

    recording_names: tuple[str, ...]
    """Up to two candidates for the recording's name, the likeliest first: the texts before and after the times or part
    number, in lower case and without signs around them. Empty texts are left out, so the tuple may be ()."""
    is_range: bool
    """True if the name has a start and an end time; False if it has only one time or a part number, which may be the
    running number of a whole recording."""


@lru_cache(maxsize=_CACHED)
def parse_clip_name(stem: str, duration_s: float | None) -> ClipName | None:
    """Return candidates for the name of the recording that a clip was cut from; None if the name shows no cut.

    Times, words such as "part 2", and a file name inside the name (`a.wav-12`) show a cut. ANIMAL-SPOT's form
    (`tape_clip`) has precedence, then a start and an end time, then one time or part, then two integers. Two integers
    are times only if their difference, in seconds or milliseconds, is the clip's length `duration_s` in seconds; if
    that is None (not known), two integers are no times.
    """
    if clip := tape_clip(stem):
        return ClipName((clip.tape,), is_range=True)
    moment = _MOMENT.search(stem)
    after_moment = moment.end() if moment else 0
    for pattern in _RANGES:
        match = pattern.match(stem)
        if match and match.end("before") >= after_moment and _are_times(match):
            return _build_clip_name(match["before"], match["after"])
    base = _get_part_base(stem, after_moment)
    if base is not None:
        return ClipName(_find_recording_names(base), is_range=False)
    two = two_numbers(stem)
    if two and duration_s:
        step = two.end - two.start
        if any(abs(step / per_second - duration_s) <= _TOLERANCE_S for per_second in (1, 1000)):
            return two.clip_name
    return None


def _get_part_base(stem: str, after_moment: int) -> str | None:
    """Return the text next to the words or the offset of a part, as in `creek part 2`; None if there are none."""
    if match := _PART_OF.match(stem):
        return match["base"]
    match = _CLOCK_END.match(stem)
    if match and not _DATE.search(match["before"]):  # after a date it is a time of day
        return match["before"]
    matches = filter(None, (pattern.match(stem) for pattern in _ENDS))
    return next((match["before"] for match in matches if match.end("before") >= after_moment), None)


@dataclass(frozen=True)
class TwoNumbers:
    """A clip's name with two adjacent integers that may be its start and end (in an unknown unit)."""

    clip_name: ClipName
    """The name without the two integers."""
    start: int
    """The first integer."""
    end: int
    """The second integer."""


@lru_cache(maxsize=_CACHED)
def two_numbers(stem: str) -> TwoNumbers | None:
    """Return the last two adjacent integers in a name; None if there are none, or the name has a date and time.

    They have up to seven digits each, and `-`, `_`, `~` or `to` between them, as in `creek_3-6`.
    """
    match = _TWO_NUMBERS.match(stem)
    if match is None or _MOMENT.search(stem):
        return None
    return TwoNumbers(_build_clip_name(match["before"], match["after"] or ""), int(match["start"]), int(match["end"]))


def _are_times(match: re.Match[str]) -> bool:
    """Return False if two times are not increasing, or farther apart than `_LONGEST_CLIP_S`."""
    given = match.groupdict()
    return "start" not in given or 0 < _clock_s(given["end"]) - _clock_s(given["start"]) <= _LONGEST_CLIP_S


def _clock_s(text: str) -> float:
    """Convert h-m-s, m:s or a number of seconds to seconds."""
    if re.fullmatch(_DECIMAL, text):
        return float(text.replace(",", "."))
    numbers = re.findall(r"\d+", text)[:3]
    return sum((float(number) * 60**power for power, number in enumerate(reversed(numbers))), 0.0)


def _build_clip_name(before: str, after: str) -> ClipName:
    rest = _SCORE_AT_END.sub("", after)
    return ClipName(_find_recording_names(before, rest if re.search(r"[^\W\d_]", rest) else ""), is_range=True)


def _find_recording_names(before: str, rest: str = "") -> tuple[str, ...]:
    return tuple(base for text in (_SCORE.sub("", before), rest) if (base := _trim(text)))


@dataclass(frozen=True)
class RunningNumber:
    """A name with a running number or letter, as in `creek_2` or `creek b`."""

    base: str
    """The rest of the name, in lower case and without signs around it; in results of `number_inside`, `*` replaces the
    number."""
    number: int
    """The number; for a letter its place in the alphabet, from a = 1."""
    has_separator: bool = True
    """True if a separator is between base and number, as in `a_2`, or a letter follows a digit, as in `12b`."""


def number_at_end(stem: str) -> RunningNumber | None:
    """Parse the number of up to five digits at the end of a name: `creek_2`, `creek2`, `creek (2)`.

    None if there is no such number or no other text, or if the name ends with a date.
    """
    match = _NUMBER_AT_END.match(stem)
    if match is None or _DATE_AT_END.search(stem):
        return None
    return _running(match["base"], int(match["number"]), has_separator=bool(match["joint"]))


def letter_at_end(stem: str) -> RunningNumber | None:
    """Parse a letter (A to Z, any case) at the end of a name after a separator or digit: `creek_b`, `12b`.

    None without such a letter (`creekb`), or without other text.
    """
    match = _LETTER_AT_END.match(stem)
    return _running(match["base"], ord(match["letter"].lower()) - ord("a") + 1) if match else None


def number_at_start(stem: str) -> RunningNumber | None:
    """Parse the number of up to five digits at the start of a name: `3_creek`, `part 3 - creek`.

    None without such a number, without a separator and letters after it, or if it begins like a year (19.., 20..).
    """
    match = _NUMBER_AT_START.match(stem)
    return _running(match["base"], int(match["number"])) if match else None


def number_inside(stem: str) -> RunningNumber | None:
    """Parse the last number of a name, if text without digits follows it, as in `a_3000_ms`.

    None if there is none, or if it is part of a date or before one. The number has up to seven digits.
    """
    match = _NUMBER_INSIDE.match(stem)
    if match is None or any(date.end() >= match.end("number") for date in _DATE.finditer(stem)):
        return None
    return _running(f"{match['before']}*{match['after']}", int(match["number"]))


def _running(base: str, number: int, *, has_separator: bool = True) -> RunningNumber | None:
    trimmed = _trim(base)
    return RunningNumber(trimmed, number, has_separator) if trimmed else None


def _trim(base: str) -> str:
    return base.strip("-_ .,+=@#()[]{}").casefold()
