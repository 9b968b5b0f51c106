"""`python -m fuzz [TARGET...] [--seconds N] [--files N]`: fuzz the readers; `--reproduce FILE`: run one finding."""

from __future__ import annotations

import argparse
import faulthandler
import hashlib
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from fuzz import decoders
from fuzz.contract import Target
from fuzz.regressions import REGRESSIONS
from fuzz.targets import TARGETS

WORK = Path(__file__).parent / "work"
FINDINGS = WORK / "findings"

_MEMORY = Path("/dev/shm")  # noqa: S108 - files there are memory

TIMEOUT_S = 5
"""An input may take so long."""

MEMORY_MB = 2048
"""Bound on a target's process; most of it is Arrow and Python."""


def _write_seeds(target: Target, corpus: Path) -> None:
    corpus.mkdir(parents=True, exist_ok=True)
    known = [target.input_for(reader, content) for name, reader, content in REGRESSIONS if name == target.name]
    for data in (*target.seeds(), *known):
        (corpus / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)


def _fuzz_target(target: Target, seconds: int) -> bool:
    """Fuzz one target in a process of its own, and return True if nothing was found."""
    corpus, log = WORK / "corpus" / target.name, WORK / f"{target.name}.log"
    _write_seeds(target, corpus)
    before = set(FINDINGS.iterdir())
    options = {
        "max_total_time": seconds,
        "timeout": TIMEOUT_S,
        "rss_limit_mb": MEMORY_MB,
        "artifact_prefix": f"{FINDINGS}/{target.name}-",
        "print_final_stats": 1,
    }
    command = [sys.executable, "-m", "fuzz.engine", target.name, str(corpus)]
    command += [f"-{name}={value}" for name, value in options.items()]
    # libFuzzer ends its process without cleaning up, so its folder for temporary files is made and removed here.
    memory = _MEMORY if _MEMORY.is_dir() else None
    with log.open("wb") as output, tempfile.TemporaryDirectory(prefix="dawnchorus-fuzz-", dir=memory) as scratch:
        environment = {**os.environ, "TMPDIR": scratch}
        run = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, env=environment, check=False)
    is_clean = run.returncode == 0
    runs = re.search(r"number_of_executed_units: (\d+)", log.read_text(encoding="utf-8", errors="replace"))
    n_runs = runs[1] if runs else "unknown"
    print(f"{target.name}: {'clean' if is_clean else 'FOUND'}, {n_runs} inputs in {seconds} s ({log})", flush=True)
    for finding in sorted(set(FINDINGS.iterdir()) - before):
        print(f"  python -m fuzz --reproduce {finding}", flush=True)
    return is_clean


def _fuzz_decoders(n_files: int, seed: int) -> bool:
    """Decode damaged files, and return True if no decoder ended or hung."""
    outcomes = decoders.fuzz_decoders(n_files, seed, FINDINGS)
    crashes = [outcome for outcome in outcomes if decoders.is_crash(outcome)]
    print(f"{decoders.NAME}: {'FOUND' if crashes else 'clean'}, {n_files} files (seed {seed})", flush=True)
    for outcome, count in outcomes.most_common():
        print(f"  {count} {outcome}", flush=True)
    if crashes:
        print(f"  python -m fuzz --reproduce {FINDINGS}/{decoders.NAME}-{seed}-NUMBER-FORMAT", flush=True)
    return not crashes


def _reproduce(path: Path) -> None:
    """Run a finding in this process, so that its exception or its stack is shown."""
    faulthandler.enable()
    name = path.name.partition("-")[0]
    if name == decoders.NAME:
        decoders.decode_here(path)
    else:
        TARGETS[name].run(path.read_bytes())


def _arguments(arguments: Sequence[str]) -> argparse.Namespace:
    names = [*TARGETS, decoders.NAME]
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"any of {', '.join(names)} (default: all)")
    parser.add_argument("--seconds", type=int, default=3600, help="in total, shared by the targets (default: 3600)")
    parser.add_argument("--files", type=int, default=2000, help="damaged sound files (default: 2000)")
    parser.add_argument("--seed", type=int, default=1, help="of the damage (default: 1)")
    parser.add_argument("--reproduce", type=Path, metavar="FILE", help="run one finding")
    parsed = parser.parse_args(arguments)
    unknown = set(parsed.targets) - set(names)
    if unknown:
        parser.error(f"expected any of {', '.join(names)}, got {', '.join(sorted(unknown))}")
    parsed.targets = parsed.targets or names
    return parsed


def main() -> None:
    """Fuzz or reproduce; the exit status is 1 if something was found."""
    options = _arguments(sys.argv[1:])
    if options.reproduce:
        _reproduce(options.reproduce)
        return
    FINDINGS.mkdir(parents=True, exist_ok=True)
    fuzzed = [target for name, target in TARGETS.items() if name in options.targets]
    clean = [_fuzz_target(target, max(options.seconds // len(fuzzed), 1)) for target in fuzzed]
    if decoders.NAME in options.targets:
        clean.append(_fuzz_decoders(options.files, options.seed))
    sys.exit(0 if all(clean) else 1)


if __name__ == "__main__":
    main()
