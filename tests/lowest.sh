#!/usr/bin/env bash
# `make test-lowest`: tests of what needs no training, in an environment with the oldest direct dependencies allowed.
# torch stays at the pinned version: older ones have no CPU build on PyPI.
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3}
UV=${UV:-uv}
rm -rf .venv-lowest
"$UV" venv --quiet --python "$PYTHON" .venv-lowest
"$UV" pip install --quiet --python .venv-lowest/bin/python --resolution lowest-direct --editable '.[data,litert,serve]' \
  httpx hypothesis pandas psutil pytest pytest-xdist scikit-learn
.venv-lowest/bin/python -m pytest -q -m 'not ops' -n auto --dist loadgroup tests/audio tests/formats tests/identify \
  tests/models tests/data tests/pictures tests/test_cores.py tests/test_privacy.py
