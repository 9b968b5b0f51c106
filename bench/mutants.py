"""`python -m bench.mutants`: small faults planted one at a time, and how many of them `make test` notices.

The faults are cosmic-ray's: another operator, a number one larger or smaller, a condition negated, a loop that does not
run, a missing decorator. A sample of places is drawn from the modules whose errors would spoil results without a word.
At each place one fault is planted in a copy of the project, so that child processes see it as well, and the tests that
reach the line are run, the quickest first. Annotations and the texts of messages are left out.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import queue
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cosmic_ray.plugins
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from coverage import CoverageData

from bench.results import RESULTS, ROOT

PACKAGE = Path("src/dawnchorus")

MODULES = (
    "audio/*.py",
    "data/split.py",
    "metrics/*.py",
    "formats/*.py",
    "inference/*.py",
    "identification/*.py",
    "models/bundle.py",
    "server/state/*.py",
)

ACROSS = ("tests/e2e/test_bad_recordings.py", "tests/e2e/test_channels.py", "tests/e2e/test_speech.py")

MIRRORS = {
    "audio": ("tests/audio", "tests/identification", *ACROSS),
    "inference": ("tests/inference", "tests/identification", *ACROSS),
    "server": ("tests/server/state/test_database.py", "tests/server/state/test_job_queue.py"),
}
"""Tests that reach a package by way of child processes, whose coverage is lost when they are killed."""

MAX_S, MAX_TESTS = 30.0, 80
"""Bounds of the tests for one fault, by the seconds that they took before; the quickest are taken."""

SLOW_TO_IMPORT = (
    "tests/training/",
    "tests/contracts/test_families.py",
    "tests/evaluation/test_data_quality",
    "tests/evaluation/test_quantization",
    "tests/e2e/test_gpu.py",
    "tests/e2e/test_keras_page.py",
    "tests/e2e/test_one_species.py",
    "tests/cli/test_train.py",
    "tests/cli/test_retrain.py",
    "tests/server/http/test_app.py",
)
"""Tests that take seconds before they begin; for faults in the training code, which is not among `MODULES`."""

EQUIVALENT = RESULTS.parent / "equivalent_mutants.txt"
"""One line for each fault that changes no result: `path: line after the change # reason`."""

NODE = re.compile(r"(tests/\S+\.py::.+?)(?: \((?:setup|call|teardown)\)|\|(?:setup|run|teardown))")


@dataclass(frozen=True)
class Mutant:
    """A fault, its place, and its outcome."""

    path: str
    line: int
    operator: str
    occurrence: int
    before: str = ""
    after: str = ""
    outcome: str = ""
    """"killed", "timeout" (which counts as killed), "survived", "untested", "equivalent" or "impossible"."""
    killed_by: str = ""


@dataclass(frozen=True)
class Coverage:
    """Tests by the lines that they reach, and the seconds that each takes."""

    tests: dict[tuple[str, int], frozenset[str]]
    seconds: dict[str, float]
    is_fixed: bool = False
    """The tests of `seconds` are run for every fault."""

    def chosen(self, mutant: Mutant) -> list[str]:
        """Return the tests to run for a fault: the module's own first, then its package's, each the quickest first."""
        if self.is_fixed:
            return list(self.seconds)
        reaching = {
            node for node in self.tests.get((mutant.path, mutant.line), ()) if not node.startswith(SLOW_TO_IMPORT)
        }
        package = Path(mutant.path).relative_to(PACKAGE).parts[0]
        own = f"/test_{Path(mutant.path).name}::"
        mirrors = MIRRORS.get(package, (f"tests/{package}",))
        tests = set(reaching)
        if not reaching or package == "audio":
            tests.update(node for node in self.seconds if node.startswith(mirrors))

        def order(node: str) -> tuple[bool, bool, bool, float]:
            return node not in reaching, own not in node, not node.startswith(mirrors), self.seconds[node]

        chosen: list[str] = []
        total_s = 0.0
        for node in sorted(tests & self.seconds.keys(), key=order):
            total_s += self.seconds[node]
            if chosen and (total_s > MAX_S or len(chosen) == MAX_TESTS):
                break
            chosen.append(node)
        return chosen


def main() -> None:
    """Draw, plant, test and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=150, help="faults to plant")
    parser.add_argument("--seed", type=int, default=1, help="which faults")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--coverage", type=Path, help="a folder with the coverage of an earlier run")
    parser.add_argument("--modules", nargs="*", default=MODULES, help="patterns below src/dawnchorus")
    parser.add_argument("--tests", nargs="*", help="run these instead of those that reach the line")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.coverage or Path(scratch)
        if options.tests:
            coverage = Coverage({}, dict.fromkeys(options.tests, 1.0), is_fixed=True)
        else:
            coverage = read_coverage(folder) if (folder / "coverage.json").exists() else measure_coverage(folder)
        possible = sorted(places(options.modules), key=str)
        mutants = random.Random(options.seed).sample(possible, min(options.n, len(possible)))  # noqa: S311 - a sample
        done = plant_all(mutants, coverage, Path(scratch), options.workers, options.seed)
    report(done, options.seed)


# ---------------------------------------------------------------------- which tests reach what


def measure_coverage(folder: Path) -> Coverage:
    """Run `make test`'s tests under coverage, and note in `folder` who reaches what."""
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "coveragerc"
    config.write_text(
        f"[run]\nsource_pkgs = dawnchorus\nparallel = true\npatch = subprocess\ndata_file = {folder / 'data'}\n"
        "context = ${PYTEST_CURRENT_TEST-none}\nrelative_files = true\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-m", "not ops", "-n", "auto", "--dist", "loadgroup"]
    command += ["-p", "bench.test_times", "--cov", "dawnchorus", f"--cov-config={config}", "--cov-context=test"]
    environment = {
        **os.environ,
        "TEST_TIMES": str(folder / "times.json"),
        "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]),
    }
    subprocess.run([*command, "--cov-report="], cwd=ROOT, env=environment, check=True)
    write_coverage(folder)
    return read_coverage(folder)


def write_coverage(folder: Path) -> None:
    """Write the tests of every line, from the data of a run, to coverage.json."""
    data = CoverageData(folder / "data")
    data.read()
    tests_by_line: dict[tuple[str, int], set[str]] = defaultdict(set)
    for measured in data.measured_files():
        path = measured[measured.index("src/dawnchorus") :]
        for line, contexts in data.contexts_by_lineno(measured).items():
            for context in contexts:
                tests_by_line[path, line].update(match[1] for match in NODE.finditer(context))
    lines = [[path, line, sorted(nodes)] for (path, line), nodes in tests_by_line.items()]
    seconds = json.loads((folder / "times.json").read_text())
    (folder / "coverage.json").write_text(json.dumps({"lines": lines, "seconds": seconds}))


def read_coverage(folder: Path) -> Coverage:
    """Read what `measure_coverage` wrote."""
    fields = json.loads((folder / "coverage.json").read_text())
    return Coverage({(path, line): frozenset(nodes) for path, line, nodes in fields["lines"]}, fields["seconds"])


# ---------------------------------------------------------------------- where faults can be


def places(modules: Sequence[str] = MODULES) -> Iterator[Mutant]:
    """Yield one possible fault at each place of the modules."""
    names = sorted(cosmic_ray.plugins.operator_names())
    classes = {name: cosmic_ray.plugins.get_operator(name) for name in names}
    operators = {name: each() for name, each in classes.items() if not each.arguments()}
    for pattern in modules:
        for path in sorted((ROOT / PACKAGE).glob(pattern)):
            if path.name != "__init__.py":
                yield from _find_places(path, operators)


def _find_places(path: Path, operators: dict[str, Any]) -> Iterator[Mutant]:
    source = path.read_text(encoding="utf-8")
    tree, skipped = get_ast(source), _without_effect(source)
    here: dict[tuple[int, int], list[Mutant]] = defaultdict(list)
    for name, operator in operators.items():
        spans = (span for node in ast_nodes(tree) for span in operator.mutation_positions(node))
        for occurrence, (start, _end) in enumerate(spans):
            if not any(first <= start < last for first, last in skipped):
                mutant = Mutant(str(path.relative_to(ROOT)), start[0], name, occurrence)
                here[start].append(mutant)
    for position in sorted(here):
        yield random.Random(f"{path.name} {position}").choice(here[position])  # noqa: S311 - one of them, always the same


def _without_effect(source: str) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Return the spans of annotations and of texts in `raise`, warnings and formatted messages."""
    spans = []
    for node in ast.walk(ast.parse(source)):
        parts: list[ast.expr | None] = []
        if isinstance(node, ast.AnnAssign | ast.arg):
            parts = [node.annotation]
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            parts = [node.returns]
        elif isinstance(node, ast.JoinedStr):
            parts = [node]
        elif isinstance(node, ast.keyword) and node.arg == "strict":  # of zip(): lengths are equal by construction
            parts = [node.value]
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id[0].isupper():
            parts = [node.value] if isinstance(node.value, ast.BinOp | ast.Subscript) and _is_alias(node.value) else []
        for part in parts:
            if part is not None:
                end = (part.end_lineno or part.lineno, part.end_col_offset or 0)
                spans.append(((part.lineno, part.col_offset), end))
    return spans


def _is_alias(value: ast.expr) -> bool:
    """Return True for the name of a type, such as `FileVersion = tuple[int | None, int | None]`."""
    names = [node for node in ast.walk(value) if isinstance(node, ast.Name)]
    return any(node.id in ("Callable", "Literal", "NDArray", "tuple", "dict", "list") for node in names)


# ---------------------------------------------------------------------- planting


def plant_all(mutants: list[Mutant], coverage: Coverage, scratch: Path, n_workers: int, seed: int) -> list[Mutant]:
    """Plant each fault in a copy of the project, and run its tests."""
    copies: queue.SimpleQueue[Path] = queue.SimpleQueue()
    for k in range(n_workers):
        copies.put(_copy_project(scratch / f"copy{k}"))
    done: list[Mutant] = []
    path = RESULTS / f"mutants-{seed}.json"
    RESULTS.mkdir(exist_ok=True)

    def plant(mutant: Mutant) -> Mutant:
        copy = copies.get()
        try:
            return _plant(mutant, coverage, copy)
        finally:
            copies.put(copy)

    with ThreadPoolExecutor(n_workers) as pool:
        for mutant in pool.map(plant, mutants):
            done.append(mutant)
            print(f"{len(done):4d} {mutant.outcome:10} {mutant.path}:{mutant.line} {mutant.after}", flush=True)
            path.write_text(json.dumps([asdict(each) for each in done], indent=1))
    return done


def _copy_project(folder: Path) -> Path:
    names = [
        "src",
        "tests",
        "docs",
        "bench",
        "deploy",
        "pyproject.toml",
        "README.md",
        "ARCHITECTURE.md",
        "CHANGELOG.md",
    ]
    folder.mkdir()
    for name in names:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__", "results"))
        elif source.exists():
            shutil.copy(source, folder / name)
    shared = ROOT.parent / "shared"
    if shared.is_dir() and not (folder.parent / "shared").exists():
        (folder.parent / "shared").symlink_to(shared)
    return folder


def _plant(mutant: Mutant, coverage: Coverage, copy: Path) -> Mutant:
    path = copy / mutant.path
    source = path.read_text(encoding="utf-8")
    operator = cosmic_ray.plugins.get_operator(mutant.operator)()
    try:
        mutated = mutate_code(source, operator, mutant.occurrence)
    except AttributeError:  # cosmic-ray replaces no `module.Name` among several exceptions
        return Mutant(**{**asdict(mutant), "outcome": "impossible"})
    before, after = _changed_line(source, mutated)
    fields = {**asdict(mutant), "before": before, "after": after}
    if f"{mutant.path}: {after}" in _equivalent():
        return Mutant(**{**fields, "outcome": "equivalent"})
    chosen = coverage.chosen(mutant)
    if not chosen:
        return Mutant(**{**fields, "outcome": "untested"})
    expected_s = sum(coverage.seconds[node] for node in chosen)
    path.write_text(mutated, encoding="utf-8")
    try:
        outcome, killer = _test(copy, chosen, expected_s)
    finally:
        path.write_text(source, encoding="utf-8")
    return Mutant(**{**fields, "outcome": outcome, "killed_by": killer})


def _test(copy: Path, chosen: list[str], expected_s: float) -> tuple[str, str]:
    command = [sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "--tb=no", "-p", "no:cacheprovider", *chosen]
    environment = {**os.environ, "PYTHONPATH": str(copy / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    process = subprocess.Popen(
        command,
        cwd=copy,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=40 + 4 * expected_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        process.communicate()
        return "timeout", ""
    failed = re.search(r"^(?:FAILED|ERROR) (\S+)", output, re.MULTILINE)
    return ("survived", "") if process.returncode == 0 else ("killed", failed[1] if failed else output[-200:])


def _changed_line(source: str, mutated: str) -> tuple[str, str]:
    pairs = zip(source.splitlines(), mutated.splitlines(), strict=False)
    return next(((a.strip(), b.strip()) for a, b in pairs if a != b), ("", ""))


def _equivalent() -> set[str]:
    if not EQUIVALENT.exists():
        return set()
    return {line.rpartition(" # ")[0].strip() for line in EQUIVALENT.read_text(encoding="utf-8").splitlines()}


def report(done: list[Mutant], seed: int) -> None:
    """Print the share of faults that were noticed, and those that were not."""
    counts: dict[str, int] = defaultdict(int)
    for mutant in done:
        counts[mutant.outcome] += 1
    n = len(done) - counts["equivalent"] - counts["impossible"]
    n_killed = counts["killed"] + counts["timeout"]
    for mutant in done:
        if mutant.outcome in ("survived", "untested"):
            print(f"{mutant.path}:{mutant.line} ({mutant.operator})\n  - {mutant.before}\n  + {mutant.after}")
    print(f"seed {seed}: {n_killed} of {n} noticed ({n_killed / n:.0%}); {dict(counts)}")


if __name__ == "__main__":
    main()
