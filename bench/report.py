"""docs/BENCHMARKS.md, from the measurements that were kept last."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.reading import BATCH
from bench.recordings import N_FILES
from bench.results import ROOT, load

HEAD = """# Benchmarks

This page has the measurements of speed, memory and accuracy. `make bench` writes it (`python -m bench [NAME...]` for
single measurements). Speed is always a ratio to something measured in the same minutes on the same machine; "x" is
seconds of audio per second. "In turn" means that the compared programs run in alternation.
"""


def write_report() -> Path:
    """Write the page and return its path; sections without a result here stay as they are."""
    path = ROOT / "docs" / "BENCHMARKS.md"
    page = _split(path.read_text(encoding="utf-8")) if path.is_file() else {}
    for name, section in _SECTIONS.items():
        result = load(name)
        if result is not None:
            page |= _split(section(result) + f"\nMeasured on {result['date']}: {result['machine']}.\n")
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join([HEAD, *page.values()]), encoding="utf-8")
    return path


def _split(text: str) -> dict[str, str]:
    """Return the sections of a page by their titles."""
    sections = ["## " + part.strip() + "\n" for part in re.split(r"^## ", text, flags=re.MULTILINE)[1:]]
    return {section.partition("\n")[0]: section for section in sections}


def _ablation(result: dict[str, Any]) -> str:
    rows = "\n".join(
        f"| {row['trained']} | {row['scored']} | {row['top_1']} | {row['macro_roc_auc']} |" for row in result["rows"]
    )
    return (
        "## Effect of cleaning\n\n"
        f"The recipe `birdclef-yamnet` (YAMNet embeddings), measured on the {result['n_test']} test recordings of "
        "../shared/audio's set focal. It was trained with each cleaning step on and off, and scored with the same "
        "cleaning and without any; one seed.\n\n"
        "| trained with | scored with | top 1 | macro ROC AUC |\n"
        "| --- | --- | --- | --- |\n" + rows + "\n"
    )


def _noise(result: dict[str, Any]) -> str:
    kinds = ("white", "pink", "brown", "wind", "rain", "real rain")
    lines = [
        "## Synthetic noise in training\n",
        f"Synthetic species and background (wind, insects), {result['n_train']} recordings of each for training, all "
        f"defaults but `data.noise_share`; mel_cnn is small (8, 16, 32 channels; 48 bands). The columns of noise have "
        f"the highest score of any species, over {result['n_seeds']} seeds, in noise of other generators than in "
        f"training, and in ESC-10's rain. *own score* is the mean score of the species in their test recordings, "
        f"*recall* the share of these in which it is 0.5 or more.\n",
        f"| species | model | noise_share | {' | '.join(kinds)} | own score | recall |",
        f"| ---: | --- | ---: | {' | '.join(['---:'] * len(kinds))} | ---: | ---: |",
    ]
    for row in result["rows"]:
        scores = " | ".join(f"{row[kind]:.3f}" if kind in row else "" for kind in kinds)
        lines.append(
            f"| {row['n_species']} | {row['family']} | {row['noise_share']:g} | {scores} | {row['own']:.3f} | "
            f"{row['recall']:.2f} |"
        )
    return "\n".join(lines) + "\n"


def _peers(result: dict[str, Any]) -> str:
    lines = [
        "## BirdNET in other programs\n",
        f"{N_FILES} WAV files, {result['hours']:.1f} hours of synthetic dawn chorus. Whole processes from start to "
        f"table, all cores, min. score 0.25; in turn, medians of {result['n_rounds']} rounds after a warm-up. The "
        "last columns have the rows (file, window, species) that both programs have, and the largest difference of "
        "a score among these.\n",
        "| system | x real time | Dawn Chorus is faster by | its rows | common with ours | largest difference |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
        f"| **dawnchorus** | **{result['x']:.0f}** | | {result['n_rows']} | | |",
    ]
    lines += [
        f"| {peer['versions']} | {peer['x']:.0f} | **{peer['ratio']:.1f}x** | {peer['n_rows']} | {peer['n_common']} | "
        f"{peer['largest_difference']:.4f} |"
        for peer in result["peers"].values()
    ]
    return "\n".join(lines) + "\n"


def _overhead(result: dict[str, Any]) -> str:
    each = ", ".join(f"{100 * value:.0f}" for value in result["overhead_each"])
    return (
        "## Overhead of the pipeline\n\n"
        f"`identify` (decoding, windows, selection, journal) takes **{100 * result['overhead']:.0f} %** longer than "
        f"bare ONNX sessions on windows that are already in memory ({result['identify_x']:.0f}x against "
        f"{result['bare_x']:.0f}x; {result['hours']:.1f} hours; rounds: {each} %).\n"
    )


def _engine(result: dict[str, Any]) -> str:
    lines = [
        "## One inference engine\n",
        f"This checkout is compared with an older one: whole processes in turn, {result['n_pairs']} pairs, "
        f"{result['minutes']} minutes of audio each, on a machine with a load of {result['load']:.0f} at the end. The "
        "table has processor seconds of all processes, and the ratios old / new of wall and processor time with 90 % "
        "bootstrap intervals of the median. Above 1, the new checkout is faster.\n",
        "| what | old, s | new, s | wall | processor |",
        "| --- | ---: | ---: | --- | --- |",
    ]
    for name, each in result["ratios"].items():
        wall, cpu = (f"{median:.3f} ({low:.3f} to {high:.3f})" for median, low, high in (each["wall"], each["cpu"]))
        lines.append(f"| {name} | {each['old_cpu_s']:.3f} | {each['new_cpu_s']:.3f} | {wall} | {cpu} |")
    return "\n".join(lines) + "\n"


def _analyses(result: dict[str, Any]) -> str:
    each = ", ".join(f"{100 * value:.1f}" for value in result["cost_each"])
    return (
        "## Recorder health and acoustic indices\n\n"
        f"`identify --analyses health,indices` takes **{100 * result['cost']:.1f} %** more processor time than without "
        f"them, in all processes together (BirdNET, {result['hours']:.1f} hours; rounds: {each} %; the load of the "
        f"machine was {result['load']:.0f} at the end).\n"
    )


def _agreement(result: dict[str, Any]) -> str:
    lines = [
        "## Real recordings\n",
        f"{result['n_recordings']} recordings of many kinds, {result['hours']:.1f} hours, {result['n_failed']} failed, "
        f"{result['identify_x']:.0f}x. Of {result['n_rows']} rows, "
        f"**{result['n_rows'] - result['n_far']} are within {result['tolerance']:g}** of LiteRT's score for the "
        f"published file. The largest difference is {result['largest_difference']:.4f}; rows that LiteRT has and we do "
        f"not: {result['n_missing']}. The other {result['n_far']} rows were computed a third time, in double "
        f"precision up to the backbone: in **{result['n_nearer']}** of them our score is nearer to the result than "
        f"LiteRT's (median distance {result['ours_off']:.5f} against {result['litert_off']:.5f}). "
        "`bench/float64_reference.py` explains why.\n",
        "| set | best-scoring species is the labeled one | of those with any detection | of all |",
        "| --- | ---: | ---: | ---: |",
    ]
    for name, count in result["focal"].items():
        # Measurements of before 2026-11-28 have "heard".
        right, detected, total = count["right"], count.get("detected", count.get("heard")), count["all"]
        lines.append(
            f"| {name} | {right} | {100 * right / detected:.0f} % of {detected} "
            f"| {100 * right / total:.0f} % of {total} |"
        )
    return "\n".join(lines) + "\n"


def _memory(result: dict[str, Any]) -> str:
    return (
        "## One recording of 24 hours\n\n"
        f"{result['hours']:.0f} hours in one FLAC file: peak memory **{result['peak_mb']:.0f} MB**, "
        f"{result['identify_x']:.0f}x, {result['n_detections']} detections; torch or TensorFlow imported: "
        f"{'yes' if result['torch_or_tensorflow'] else 'no'}.\n"
    )


def _archive(result: dict[str, Any]) -> str:
    sizes = result["sizes"]
    before, after = sizes["before"], sizes["after"]

    def cell(row: dict[str, Any], when: str) -> str:
        return f"{100 * row[when]['n_bytes'] / sizes[when]['n_bytes']:.2f} % ({row[when]['s']:.2f} s)"

    rows = "\n".join(
        f"| {name} | {row['after']['n_rows']:,} | {cell(row, 'before')} | {cell(row, 'after')} |"
        for name, row in result["rows"].items()
    )
    return (
        "## Queries of an archive\n\n"
        f"{result['n_rows']:,} synthetic detections of 300 species at 10 sites in 12 months, written in "
        f"{result['n_units']} units ({before['n_files']} files, {before['n_bytes'] / 1e6:.0f} MB, in "
        f"{result['written_s']:.0f} s) and then compacted ({after['n_files']} files, {after['n_bytes'] / 1e6:.0f} MB, "
        f"in {result['compacted_s']:.0f} s). The table has the bytes that a query reads, including the log and the "
        f"recordings, as a share of the table of detections, and seconds by the clock, at a load average of "
        f"{result['load_average']:.0f}.\n\n"
        "| query | rows | before | compacted |\n| --- | ---: | ---: | ---: |\n" + rows + "\n"
    )


def _dry_run(result: dict[str, Any]) -> str:
    rows = "\n".join(
        f"| {row['name']} | {key} | {value['estimated']:.3g} | {value['real']:.3g} | "
        f"{100 * (value['estimated'] / value['real'] - 1):+.0f} % |"
        for row in result["rows"]
        for key, value in row["values"].items()
    )
    return (
        "## Cost before a run\n\n"
        f"The estimate of `identify --dry-run` with BirdNET on {result['n_workers']} cores, and the real values of the "
        f"run after it, at load averages of up to {result['load_average']:.0f}. It measures for "
        f"{max(row['estimate_s'] for row in result['rows']):.0f} seconds at most.\n\n"
        "| run | | estimated | real | difference |\n| --- | --- | ---: | ---: | ---: |\n" + rows + "\n"
    )


def _search(result: dict[str, Any]) -> str:
    def row(name: str, times: dict[str, Any]) -> str:
        return (
            f"| {name} ({times['n_files']} files) | {times['first_s']:.0f} s | {times['cold_s']:.2f} s | "
            f"{times['warm_s']:.2f} s ({times['slowest_s']:.2f} s, {times['warm_cpu_s']:.2f} s) | "
            f"{times['exact_s']:.1f} s | "
            f"{times['data_bytes'] / 1e9:.2f} GB | {times['derived_bytes'] / 1e9:.2f} GB |"
        )

    rows = "\n".join((row("as written", result["as_written"]), row("compacted", result["compacted"])))
    return (
        "## Searches of an archive\n\n"
        f"Of {result['n_real']:,} distinct BirdNET embeddings of real recordings (a window every 0.1 s), a search for "
        f"the 100 nearest finds {100 * result['recall']:.2f} % of those that `--exact` finds, and "
        f"{100 * result['worst_recall']:.0f} % in the worst of {result['n_queries']} searches. The table is of "
        f"{result['n_rows']:,} embeddings of 1,024 numbers (mixtures of two real ones), by the clock, at a load "
        f"average of {result['load_average']:.0f}. *first* is the first search, which derives files; *cold* one whose "
        "files are not in memory; *warm* later ones (the median; in parentheses the slowest, and the processor time "
        "of both cores); `--exact` one that compares all. Sizes are those of the table and of the derived files.\n\n"
        "| archive | first | cold | warm | `--exact` | table | derived |\n"
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |\n" + rows + "\n"
    )


def _search_peer(result: dict[str, Any]) -> str:
    def row(name: str, numbers: dict[str, float]) -> str:
        return (
            f"| {name} | {numbers['stored_s']:.0f} s | {1000 * numbers['search_s']:.1f} ms | "
            f"{100 * numbers['recall']:.1f} % | {numbers['n_bytes'] / 1e6:,.0f} MB |"
        )

    return (
        "## Searches beside Perch-Hoplite\n\n"
        f"{result['n_rows']:,} embeddings of 1,024 numbers (mixtures of two real ones, of length 1) in an archive and "
        "in a database of perch-hoplite 1.0.2 with its default settings, one after the other at a load average of "
        f"{result['load_average']:.0f}. *Stored* is all until a search can begin: here with `compact` and the first "
        "search, there inserts without the check for duplicates, and the commit. Searches are for the 100 nearest, in "
        "a process that has searched before (medians): perch-hoplite's index is a graph, of which a search reads a "
        "part; an archive has none to build, and compares all. *Found* is the share of the true nearest. The disk has "
        "the table and derived files of an archive, or all files of a database.\n\n"
        "| | stored | search | found | on the disk |\n| --- | ---: | ---: | ---: | ---: |\n"
        + "\n".join([row("dawnchorus", result["archive"]), row("perch-hoplite", result["hoplite"])])
        + "\n"
    )


def _ray_overhead(result: dict[str, Any]) -> str:
    rows = "\n".join(
        f"| {each['alone']['elapsed_s']:.0f} s, {each['alone']['cpu_s']:.0f} s | "
        f"{each['plain']['elapsed_s']:.0f} s, {each['plain']['cpu_s']:.0f} s | "
        f"{each['ray']['elapsed_s']:.0f} s, {each['ray']['cpu_s']:.0f} s | "
        f"{100 * (each['ray']['elapsed_s'] / each['plain']['elapsed_s'] - 1):+.1f} % | "
        f"{100 * (each['ray']['cpu_s'] / each['plain']['cpu_s'] - 1):+.1f} % |"
        for each in result["rounds"]
    )
    return (
        "## A Ray cluster and plain shards\n\n"
        f"{result['audio_s'] / 3600:.1f} hours of recordings of six minutes with BirdNET into an archive: "
        f"{result['n_nodes']} plain shards, and {result['n_nodes']} nodes of a Ray cluster on the same machine, of one "
        f"core each, in turn. The start of the commands is included, that of the cluster is not. Numbers of rows are "
        f"{'equal' if all(each['are_equal'] for each in result['rounds']) else 'different'}; the load average was "
        f"{result['load_average']:.0f} at the end. One shard without the other took {result['efficiency']:.2f} of the "
        "time of both at once.\n\n"
        "| one shard alone: time, CPU | both shards | Ray | Ray, difference of time | of CPU |\n"
        "| ---: | ---: | ---: | ---: | ---: |\n" + rows + "\n"
    )


def _scale(result: dict[str, Any]) -> str:
    rates, store, writers = result["rates"], result["rates"]["store"], result["writers"]
    log = "\n".join(
        f"| {each['n_commits']:,} | {1000 * each['cpu_s']:.0f} | {1000 * each['checkpoint_s']:,.0f} | "
        f"{1000 * each['look_s']:.0f} | {1000 * each['refresh_s']:.2f} | {1000 * each['open_s']:.0f} |"
        for each in rates["log"]
    )
    runs = "\n".join(
        f"| {each['n_workers']} | {'waiting' if each['is_waiting'] else 'BirdNET'} | {each['elapsed_s']:.0f} | "
        f"{each['simulated_s']:.0f} | {100 * each['error']:+.0f} % | {each['n_others']:.1f} | "
        f"{each['load_average']:.1f} |"
        for each in result["runs"]
    )
    rows = "\n".join(
        f"| {each['source']} | {each['n_workers']:,} | {_conditions(each)} | {each['n_units']:,} | "
        f"{each['wall_s'] / 3600:,.2f} | {each['core_h']:,.0f} | {each['efficiency']:.3f} | "
        f"{each['n_conflicts']:.1f} | {each['n_given_up']:,} | {each['bottleneck']} |"
        for each in result["projections"]
    )
    return (
        "## Scale\n\n"
        f"A simulation of workers on one archive ([what follows from it](SCALE.md)), from rates measured here, at load "
        f"averages of {result['load_before']:.1f} to {result['load_average']:.1f}, in processor time: listing of a "
        f"recording {1e6 * rates['list_s']:.0f} us, BirdNET {1000 * rates['infer_s']:.1f} ms a window, decoding "
        f"{3600 * rates['decode_s']:.2f} s an hour of sound"
        + (
            f" ({3600 * result['decoding']['ranges']:.2f} s by ranges from nginx)"
            if "ranges" in result["decoding"]
            else ""
        )
        + f", all else {1000 * rates['handle_s']:.0f} ms a recording of six minutes, start of a process "
        f"{rates['start_s'] + rates['session_s']:.1f} s. Processes that share cores, four to a core, take "
        f"{rates['crowding']:.2f} times as much. A unit's commits (6,000 detections, two tables) wait for "
        f"{store['unit_trips']:.0f} requests to a store, one after the other ({store['later_trips']:.0f} if a "
        f"checkpoint has to be read), and {store['other_trips']:.1f} for each unit that another process has committed "
        "since the last one.\n\n"
        "Commits by the number of commits that each table has, in ms: both of a unit; a checkpoint of one table, which "
        "each hundredth commit writes; reading a new commit, and each further one; opening a table.\n\n"
        "| commits | unit | checkpoint | new commit | each further | opening |\n"
        "| ---: | ---: | ---: | ---: | ---: | ---: |\n" + log + "\n\n"
        f"Compared with real runs on {result['n_cores']} cores: processes of one thread each, with units of three "
        "recordings of six minutes, on a disk. Inference is real, or waits for its measured time, while listing, "
        "decoding and commits are real. Threads of other programs that ran beside them are in the simulation.\n\n"
        "| workers | inference | real, s | simulated, s | difference | others' threads | load |\n"
        "| ---: | --- | ---: | ---: | ---: | ---: | ---: |\n" + runs + "\n\n"
        f"{store['n_writers']} processes that only commit ({store['n_units']} units), to a server of the S3 protocol "
        f"on which each request takes {store['delay_s']:.1f} s: {store['elapsed_s']:.0f} s, simulated "
        f"{writers['simulated_s']:.0f} s ({100 * writers['error']:+.0f} %).\n\n"
        "Clusters of nodes with four cores, with recordings of six minutes at 48 kHz, in a store on which each request "
        f"takes {store['delay_s']:.1f} s (assumed). Efficiency is that to one worker; conflicts are versions of a log "
        "that a commit lost to others, in the mean; commits that were refused 30 times fail, and the next start does "
        "their units.\n\n"
        "| source | workers | | units | hours | core-hours | efficiency | conflicts | failed | bottleneck |\n"
        "| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |\n" + rows + "\n"
    )


def _conditions(row: dict[str, Any]) -> str:
    """Return the conditions of a simulated run, apart from the usual ones."""
    conditions = ["units of 1 GB"] if row["has_small_units"] else []
    if row["network"] != "no limit":
        conditions.append(f"store of {row['network']}")
    if row["losses_per_h"]:
        conditions.append(f"{100 * row['losses_per_h']:.0f} % of the nodes lost an hour, {row['n_lost']} times")
    return ", ".join(conditions)


def _rescoring(result: dict[str, Any]) -> str:
    return (
        "## Scores from kept embeddings\n\n"
        f"A head of {result['n_classes']} classes on BirdNET, on {result['audio_s'] / 3600:.0f} hours of recordings of "
        f"six minutes ({result['n_windows']:,} windows): {result['heard_s']:.0f} s from the audio; from kept "
        f"embeddings (`dawnchorus archive rescore`) {result['compacted_s']:.2f} s after `dawnchorus archive compact` "
        f"(**{result['heard_s'] / result['compacted_s']:.0f} times** faster), and {result['rescored_s']:.2f} s before "
        f"it, from {result['n_files']} small files ({result['heard_s'] / result['rescored_s']:.0f} times), on the same "
        f"cores in one run at a load average of {result['load_average']:.0f}. Of "
        f"{result['n_detections']:,} detections from score 0.05 on, {result['n_only_one']} are in one of the two "
        f"results only; the largest difference of a score is {result['largest_difference']:.6f}, the 99.9th "
        f"percentile {result['p999_difference']:.6f}. Embeddings in 8 bits (`--keep "
        f"embeddings:int8`) change scores of BirdNET itself from 0.05 on by {result['int8_largest']:.4f} at most, "
        f"{result['int8_p999']:.4f} at the 99.9th percentile; of {result['int8_n_detections']:,} detections from "
        f"0.25 on, {result['int8_n_changed']} are in one of the two results only.\n"
    )


def _lists(result: dict[str, Any]) -> str:
    def cell(value: dict[str, float]) -> str:
        return f"{value['cpu_ms']:.0f} ({value['ms']:.0f})"

    rows = "\n".join(
        f"| {row['list']} | {row['total']:,} | {cell(row['0'])} | {cell(row['half'])} | {cell(row['end'])} |"
        for row in result["rows"]
    )
    pages = "\n".join(
        f"| `{row['page']}` | {row['cpu_ms']:.0f} ({row['ms']:.0f}) | {row['kb']:.0f} |" for row in result["pages"]
    )
    return (
        "## Lists\n\n"
        f"A page of 50 rows is read with its count, out of {result['n_recordings']:,} recordings and "
        f"{result['n_detections']:,} detections in SQLite. The table has milliseconds of processor time (and by the "
        f"clock, at a load average of {result['load_average']:.0f}), medians of {result['n_runs']} runs, at the start, "
        "in the middle and at the end of the list. Totals count to 10,000.\n\n"
        "| list | rows | start | middle | end |\n| --- | --- | --- | --- | --- |\n" + rows + "\n\n"
        "The overview of the same collection as a page, from a server in the process that measures:\n\n"
        "| page | ms of processor time (by the clock) | kB |\n| --- | --- | --- |\n" + pages + "\n"
    )


def _uploads(result: dict[str, Any]) -> str:
    rows = "\n".join(
        f"| {row['n_finished']:,} | {row['server_mb']:.0f} | {row['heap_mb']:.1f} | {row['n_elements']} |"
        for row in result["rows"]
    )
    states = result["states"]
    return (
        "## Many files at once\n\n"
        f"{result['n_files']:,} files of five seconds, of which one in twenty is no audio file, are chosen at once on "
        f"the page Identify in chromium, with a model that takes microseconds. It takes {result['wall_s']:.0f} s at a "
        f"load average of {result['load_average']:.0f}; then {states['detections']} identified and "
        f"{states['failed']} failed recordings are listed.\n\n"
        "| files finished | server, MB | page's scripts, MB | elements of the page |\n"
        "| ---: | ---: | ---: | ---: |\n" + rows + "\n"
    )


def _startup(result: dict[str, Any]) -> str:
    rows = [f"| `{name}` | {1000 * seconds:.0f} ms |" for name, seconds in result["median_s"].items()]
    head = f"## Start\n\nMedians of {result['n_runs']} processes each, in turn.\n\n| | |\n| --- | ---: |\n"
    return head + "\n".join(rows) + "\n"


def _migrations(result: dict[str, Any]) -> str:
    return (
        "## Migrating a large database\n\n"
        f"The first start of a version that counts detections (revision 0012), with {result['n_recordings']:,} "
        f"recordings and {result['n_detections']:,} detections from before it, {result['mb']:,.0f} MB in SQLite, which "
        f"are copied first: **{result['wall_s']:.0f} s**, {result['cpu_s']:.0f} s of them processor time, "
        f"{result['peak_mb']:.0f} MB at most, for {result['n_counts']:,} rows of counts. If it is killed half way and "
        f"started again, it takes {result['after_kill_s']:.0f} s and counts "
        f"{'the same' if result['is_same_after_kill'] else 'otherwise'}. The load of the machine was "
        f"{result['load']:.0f}.\n"
    )


def _speech(result: dict[str, Any]) -> str:
    rows = [f"| {r['level_db']:g} dB | {100 * r['cut']:.1f} % | {100 * r['lost']:.1f} % |" for r in result["levels"]]
    voices = f"{result['speech']} ({result['n_voices']} pieces of 5 s)"
    return (
        "## Cutting out speech\n\n"
        f"{result['n_mixtures']} mixtures of {voices} into {result['birds']} of 30 s at known times; "
        f"{result['speed_x']:.0f}x on one core.\n\n"
        "| level of the speech, relative to the birds | speech seconds cut | bird seconds lost |\n"
        "| ---: | ---: | ---: |\n" + "\n".join(rows) + "\n"
    )


def _preparing(result: dict[str, Any]) -> str:
    rows = [f"| {name} | {speed:.0f} |" for name, speed in result["x"].items()]
    peaks = [f"{peak['peak_mb']:.0f} MB for {n} recordings" for n, peak in result["memory"].items()]
    return (
        "## Preparing clips\n\n"
        f"Recordings of three minutes at 48 kHz, {result['hours']:.1f} hours, are cut into clips on disk, on "
        f"{result['n_cores']} cores. Peak memory of the main process: {', '.join(peaks) or 'not measured'}.\n\n"
        "| recordings and recipe | x real time |\n| --- | ---: |\n" + "\n".join(rows) + "\n"
    )


def _reading(result: dict[str, Any]) -> str:
    own = result["containers"][0]["clips_per_s"]
    rows = [
        f"| {r['name']} | {r['clips_per_s']:,.0f} | {r['clips_per_s'] / own:.2f} | {r['kb_per_clip']:.0f} |"
        for r in result["containers"]
    ]
    return (
        "## Reading clips for training\n\n"
        f"{result['n_clips']} clips of 5 s at 32 kHz, read as float32 in batches of {BATCH} random ones (the tar: in "
        f"order) by one thread; medians of {result['n_rounds']} rounds in turn, from the page cache. Shards need no "
        "decoding and no library but NumPy, and any clip can be read alone; they are the largest on disk.\n\n"
        "| container | clips/s | of ours | kB per clip |\n| --- | ---: | ---: | ---: |\n" + "\n".join(rows) + "\n"
    )


def _storage(result: dict[str, Any]) -> str:
    rows = [
        f"| {title} | {r['local_cpu_s']:.2f} | {r['remote_cpu_s']:.2f} | **{100 * r['excess']:+.1f} %** "
        f"({', '.join(f'{100 * each:+.1f}' for each in r['excess_each'])}) "
        f"| {r['local_x']:,.0f} | {r['remote_x']:,.0f} |"
        for title, r in (("decoding alone", result["decode"]), ("`identify` with BirdNET", result["identify"]))
    ]
    return (
        "## Reading from a store\n\n"
        f"{result['hours']:.1f} hours of WAV (48 kHz, 16 bit, mono) by URL from nginx on the same machine, compared "
        "with the same files on the disk: seconds of CPU of our processes per hour of audio, medians of "
        f"{result['n_rounds']} rounds in turn (load of the machine at the start: {result['load']:.1f}). With one "
        f"thread, a reader by ranges, which decoders use, reads {result['ranges_mb_s']:,.0f} MB/s from nginx; the "
        f"library requests, with one request for each whole file, {result['whole_mb_s']:,.0f} MB/s.\n\n"
        "| | disk | store | difference (rounds) | disk, x | store, x |\n| --- | ---: | ---: | ---: | ---: | ---: |\n"
        + "\n".join(rows)
        + "\n"
    )


def _distant_storage(result: dict[str, Any]) -> str:
    rows = "\n".join(
        f"| {row['delay_s']:g} | {row['spare']:.0f} | {row['x']:,.0f} | {row['cpu_s']:.1f} |" for row in result["rows"]
    )
    return (
        "## Reading from a distant store\n\n"
        f"`identify` with BirdNET and two workers, recordings of {result['file_s'] / 60:.0f} minutes by URL; each "
        "request is delayed. Spare recordings are those that are decoded at the same time in addition to one for "
        f"each worker. Medians of {result['n_rounds']} rounds in turn, the start of all processes included (load of "
        f"the machine at the start: {result['load']:.1f}).\n\n"
        "| seconds a request | spare recordings | x real time | CPU-s an hour |\n| ---: | ---: | ---: | ---: |\n"
        f"{rows}\n"
    )


def _pages(result: dict[str, Any]) -> str:
    columns = (
        *("recording", "first view s", "server CPU s", "requests", "kB", "elements"),
        *("zoom out s", "longest", "zoom in again s", "longest", "JavaScript MB", "server MB"),
    )
    rows = [
        f"| {r['name']} | {r['first_s']:.1f} | {r['first_cpu_s']:.1f} | {r['n_requests']} | {r['kb']:.0f} "
        f"| {r['n_elements']} | {r['zoom_out_s']:.1f} | {r['zoom_out_max_s']:.1f} | {r['zoom_in_s']:.1f} "
        f"| {r['zoom_in_max_s']:.1f} | {r['heap_mb']:.0f} | {r['server_mb']:.0f} |"
        for r in result["rows"]
    ]
    return (
        "## The page of a recording\n\n"
        f"In chromium, 1,280 pixels wide, {result.get('suffix', 'flac').upper()} at 24 kHz with a detection every 7 s. "
        "The table has the time to the first view of 20 s, and to each zoom step: out to the whole recording, which "
        "the server has not decoded before, and in again (medians, and the longest step; 0.05 s of each are waiting). "
        "The server's CPU excludes its decoders; its memory is the highest until then. The load of the machine was "
        f"{result['load']:.0f}.\n\n"
        f"| {' | '.join(columns)} |\n| --- {'| ---: ' * (len(columns) - 1)}|\n" + "\n".join(rows) + "\n"
    )


def _reviewing(result: dict[str, Any]) -> str:
    return (
        "## The page Review\n\n"
        f"In chromium, {result['n_clips']} clips by falling score, out of a FLAC and an MP3 of "
        f"{result['duration_h']:.0f} h each. The user listens to each clip for {result['listen_s']:.0f} s and then "
        "answers or skips it. The time from the key to the frame in which the next clip has its spectrogram and can be "
        f"played is **{result['p95_s']:.3f} s at the 95th percentile**, {result['median_s']:.3f} s in the median, "
        f"{result['max_s']:.3f} s at most. The load of the machine was {result['load']:.0f}.\n"
    )


def _acoustic(result: dict[str, Any]) -> str:
    worst = sorted(result["differences"].items(), key=lambda item: -item[1])
    rows = [f"| {name} | {value:.1e} |" for name, value in worst]
    return (
        "## 95 acoustic features\n\n"
        f"{result['n_clips']} clips of 5 s on one core, in turn: the graph takes {result['ours_ms']:.1f} ms, librosa "
        f"{result['librosa']} with its defaults **{result['ratio']:.1f}x** as long, and "
        f"{result['ratio_at_pitch']:.1f}x with chroma at concert pitch, as in the graph. The list has the largest "
        "difference of each feature from the latter, relative to its size (or to 1, if its size is smaller):\n\n"
        "<details><summary>all 95</summary>\n\n| feature | largest difference |\n| --- | ---: |\n"
        + "\n".join(rows)
        + f"\n\n</details>\n\nThe largest of all: {worst[0][1]:.1e} ({worst[0][0]}).\n"
    )


def _heads(result: dict[str, Any]) -> str:
    rows = []
    for row in result["rows"]:
        cells = [
            f"{m['ours']:.3f} | {m['theirs']:.3f} | {m['low']:+.3f} to {m['high']:+.3f}"
            for m in (row["top_1"], row["macro_roc_auc"])
        ]
        rows.append(f"| {row['shots']} | {' | '.join(cells)} | {row['fit_s']:.1f} s | {row['their_s']:.0f} s |")
    return (
        "## Few recordings: heads on BirdNET's embeddings\n\n"
        f"14 species of ../shared/audio, {result['n_test']} test recordings, the same {result['n_draws']} draws of "
        "recordings for both programs (one draw for all). BirdNET-Analyzer 2.4.0 has the settings that were best for "
        "it: learning rate 1e-3, all segments. Its time is that of its whole training, ours that of the fit (features "
        "are computed at the speed of `identify`). Differences have 95 % intervals, paired by test recording.\n\n"
        "| recordings each | top 1 | theirs | difference | macro ROC AUC | theirs | difference | fit | theirs |\n"
        "| --- | ---: | ---: | --- | ---: | ---: | --- | ---: | ---: |\n" + "\n".join(rows) + "\n"
    )


def _leaderboard(result: dict[str, Any]) -> str:
    def line(entry: dict[str, Any]) -> str:
        top, auc = (
            f"{m['value']:.3f} ({m['low']:.3f} to {m['high']:.3f})"
            for m in (entry["by_recording"]["top_1"], entry["by_recording"]["macro_roc_auc"])
        )
        bias = (
            f"{entry['random_split_accuracy']:.2f} for {entry['grouped_split_accuracy']:.2f}"
            if entry["random_split_accuracy"] is not None
            else ""
        )
        seeds = ", ".join(f"{each['top_1']:.3f}" for each in entry.get("by_seed", ()))
        return (
            f"| {entry['recipe']} | {top} | {seeds} | {auc} | {entry['n_trainable_parameters']:,} | "
            f"{entry['bundle_mb']:.1f} | {entry['fit_s']:.0f} | {entry['ms_per_5_s']:.1f} | "
            f"{entry['open_set_auroc']:.3f} | {bias} |"
        )

    return (
        "## Recipes on one split\n\n"
        "../shared/audio, set focal: 184 training recordings of 14 species and 51 test recordings, split by recording. "
        "Each recipe was trained and timed on one core.\n\n"
        "- BirdNET was very likely trained on these recordings, so `birdnet-head` cannot be compared with the other "
        "recipes.\n"
        "- *Open set*: how often a recording of a known species has a higher best score than one of a species "
        "without training recordings.\n"
        "- *Random split bias*: the share of clips that are right if clips are split at random, for that of whole "
        "held-out recordings.\n"
        "- Some recipes have other settings than their defaults (`bench/leaderboard.py`): `acoustic-95`, "
        "`birdclef-yamnet` and `efficientnet-pcen` have no validation split; `birdclef-2024` has 10 epochs instead of "
        "30; `autobird` is small and randomly initialized, as no weights are available here.\n"
        "- If there are three seeds, each is measured, and top 1 and ROC AUC are those of their average.\n"
        "- An interval of ROC AUC without width has no meaning: every draw of the recordings gives the same value.\n\n"
        "| recipe | top 1 | of each seed | macro ROC AUC | trainable | MB | fit s | ms per 5 s | open set | "
        "random split bias |\n"
        "| --- | --- | --- | --- | ---: | ---: | ---: | ---: | ---: | --- |\n"
        + "\n".join(line(entry) for entry in result["entries"])
        + "\n\n"
        + _scenes(result["scenes"])
    )


def _scenes(scenes: dict[str, dict[str, dict[str, float]]]) -> str:
    rows = [
        f"| {recipe} | {threshold} | {c['precision']:.2f} of {c['n_predicted']} | "
        f"{c['recall']:.2f} of {c['n_annotated']} |"
        for recipe, counts in scenes.items()
        for threshold, c in counts.items()
        if c["n_predicted"]
    ]
    return (
        "Events in the composite soundscapes (real excerpts of test recordings mixed into real background; birds in "
        "the background are not labeled). An event is a run of windows of one species at or above the score.\n\n"
        "| recipe | from score | precision | recall |\n| --- | ---: | ---: | ---: |\n" + "\n".join(rows) + "\n"
    )


def _serving(result: dict[str, Any]) -> str:
    rows = [
        f"| {name} | {r['per_s']:.1f} | {r['p50_ms']:.0f} | {r['p99_ms']:.0f} | {r['n_failed']:.0f} |"
        for name, r in (
            ("`dawnchorus serve`, BirdNET", result["birdnet"]),
            ("`dawnchorus serve`, a small `mel_cnn`", result["small"]),
            ("a handler with librosa's features in the event loop", result["seed"]),
        )
    ]
    birdnet, small, seed = (result[name]["per_s"] for name in ("birdnet", "small", "seed"))
    bare = result["bare_per_s"]["birdnet"]
    return (
        "## Over HTTP\n\n"
        f"{result['n_clients']} clients on the same cores send a clip of 5 s repeatedly; medians of rounds in turn. "
        f"With BirdNET, the server answers **{birdnet / seed:.1f}x** as many requests as the handler, which is "
        f"{100 * birdnet / bare:.0f} % of what bare sessions on windows in memory process in the same minute "
        f"({bare:.0f} clips/s); with a small model **{small / seed:.1f}x**.\n\n"
        "| | requests/s | p50 ms | p99 ms | failed |\n| --- | ---: | ---: | ---: | ---: |\n" + "\n".join(rows) + "\n"
    )


def _retrain_latency(result: dict[str, Any]) -> str:
    idle, busy = result["idle"], result["training"]
    return (
        "## While it retrains\n\n"
        f"{result['n_clients']} clients send requests for BirdNET repeatedly, without and during a retraining, on "
        f"the same two cores: p99 {idle['p99_ms']:.0f} and {busy['p99_ms']:.0f} ms "
        f"(**{busy['p99_ms'] / idle['p99_ms']:.1f}x**), p50 {idle['p50_ms']:.0f} and {busy['p50_ms']:.0f} ms, "
        f"{idle['per_s']:.0f} and {busy['per_s']:.0f} requests/s, {result['n_failed']:.0f} failed.\n"
    )


def _load(result: dict[str, Any]) -> str:
    rows = "\n".join(
        f"| {n} | {r['per_s']:.1f} | {r['p50_ms']:.0f} | {r['p99_ms']:.0f} | {r['n_failed']:.0f} of {r['n']:.0f} |"
        for n, r in result.items()
        if isinstance(r, dict)
    )
    return (
        "## Several servers\n\nLocust's 16 users send requests to servers that share PostgreSQL behind nginx. All run "
        "BirdNET on the same two cores, which Locust, nginx and PostgreSQL use as well (`make load`).\n\n"
        f"| servers | requests/s | p50 ms | p99 ms | failed |\n| ---: | ---: | ---: | ---: | ---: |\n{rows}\n"
    )


def _few_shot(result: dict[str, Any]) -> str:
    rows = "\n".join(
        f"| {name} | {r['recall']:.2f} of {r['held_out']} | "
        f"{100 * r['false_window_share']:.1f} % of {r['windows']:,} | "
        f"{100 * r['false_recording_share']:.1f} % of {r['others']} |"
        for name, r in ((name, r) for name, r in result.items() if isinstance(r, dict))
    )
    return (
        "## Few-shot training\n\nFour species of ../shared/audio are trained under new names, as birds that BirdNET "
        "does not know, on five recordings each (and one for the comparison); three draws. Recall is measured on "
        "held-out recordings, false alarms on recordings of other species, all from a score of 0.5. *Cautious* is the "
        "training of `retrain`; *plain* is a head trained in the usual way. BirdNET was probably trained on these "
        "species, so results may be worse for birds that are new to its embedding.\n\n"
        f"| | recall | false windows | false recordings |\n| --- | ---: | ---: | ---: |\n{rows}\n"
    )


def _swaps(result: dict[str, Any]) -> str:
    n = sum(count for name, count in result.items() if name.startswith(("from", "mixed", "status")))
    wrong = n - sum(count for name, count in result.items() if name.startswith("from"))
    return (
        "## Hot swaps\n\n"
        f"{result['swaps']:,} swaps between two models during {n:,} requests, in {result['seconds']:.0f} s: "
        f"**{wrong}** replies failed or mixed the models.\n"
    )


def _training(result: dict[str, Any]) -> str:
    small, large = result["small"], result["large"]
    return (
        "## Training on ten times as much\n\n"
        f"Peak memory of a process that trains `mel_cnn` for the same number of steps on {small['n_clips']:,} and on "
        f"{large['n_clips']:,} clips: its own **{small['own_mb']:.0f} and {large['own_mb']:.0f} MB**; including pages "
        f"of mapped files, which the system reclaims when it needs them, {small['peak_mb']:.0f} and "
        f"{large['peak_mb']:.0f} MB.\n"
    )


def _gpu(result: dict[str, Any]) -> str:
    lines = [
        "## Training on a GPU\n",
        f"Clips of 5 s per second, with batches of 32 and `augment=light`: in the third epoch on one {result['gpu']} "
        "in mixed precision, and in the first epoch on the processors of the same machine (`python -m bench gpu`):\n",
        "| network | GPU | processors | ratio | memory of the GPU |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for name, at in result["networks"].items():
        gpu, cpu = at["gpu"], at["cpu"]
        lines.append(
            f"| `{name}` | {gpu['clips_per_s']:,.0f} | {cpu['clips_per_s']:,.0f} | "
            f"**{gpu['clips_per_s'] / cpu['clips_per_s']:.0f}** | {gpu['peak_gpu_memory_mb']:,.0f} MB |"
        )
    return "\n".join(lines) + "\n"


def _stereo(result: dict[str, Any]) -> str:
    return (
        "## Two channels\n\n"
        f"Averaging two channels as (left + right) * 0.5 is **{result['mixing']:.0f}x** as fast as NumPy's mean over "
        f"the channels, and equal to the last bit. Decoding stereo WAV with it is **{result['decoding']:.1f}x** as "
        f"fast (medians of {result['n_rounds']} rounds in turn).\n"
    )


def _soundscapes(result: dict[str, Any]) -> str:
    lines = [
        "## A submission of 4,400 minutes\n",
        f"BirdCLEF 2024 had 1,100 soundscapes of 4 minutes. The table has the time from {result['n_recordings']} such "
        f"recordings (Ogg Vorbis at 32 kHz, synthetic) with {result['n_classes']} classes to a `submission.csv`, "
        "decoding and start of the process included, and ten times that in hours for all.\n",
        "| model | minutes for a tenth | hours for 4,400 minutes |",
        "| --- | ---: | ---: |",
    ]
    lines += [
        f"| {name} | {seconds / 60:.1f} | **{10 * seconds / 3600:.2f}** |"
        for name, seconds in result["seconds"].items()
    ]
    return "\n".join(lines) + "\n"


_SECTIONS: dict[str, Callable[[dict[str, Any]], str]] = {
    "peers": _peers,
    "overhead": _overhead,
    "engine": _engine,
    "analyses": _analyses,
    "archive": _archive,
    "dry_run": _dry_run,
    "search": _search,
    "search_peer": _search_peer,
    "rescoring": _rescoring,
    "scale": _scale,
    "ray_overhead": _ray_overhead,
    "stereo": _stereo,
    "agreement": _agreement,
    "memory": _memory,
    "preparing": _preparing,
    "reading": _reading,
    "storage": _storage,
    "distant_storage": _distant_storage,
    "pages": _pages,
    "reviewing": _reviewing,
    "speech": _speech,
    "heads": _heads,
    "leaderboard": _leaderboard,
    "noise": _noise,
    "soundscapes": _soundscapes,
    "serving": _serving,
    "retrain_latency": _retrain_latency,
    "load": _load,
    "few_shot": _few_shot,
    "swaps": _swaps,
    "training": _training,
    "gpu": _gpu,
    "acoustic": _acoustic,
    "ablation": _ablation,
    "startup": _startup,
    "lists": _lists,
    "migrations": _migrations,
    "uploads": _uploads,
}
