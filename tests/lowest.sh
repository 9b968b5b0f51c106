#!/usr/bin/env bash
# `make test-lowest`: tests of what needs no training, in an environment with the oldest direct dependencies allowed.
# The extra `train` is left out: torch's older versions have no CPU build on PyPI.
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3}
UV=${UV:-uv}
rm -rf .venv-lowest
"$UV" venv --quiet --python "$PYTHON" .venv-lowest
install=("$UV" pip install --quiet --python .venv-lowest/bin/python)
"${install[@]}" --resolution lowest-direct --editable '.[data,dataframes,litert,postgresql,serve]'
# The tools for testing are today's, as far as they allow those versions.
"$UV" pip freeze --python .venv-lowest/bin/python --exclude-editable >.venv-lowest/versions.txt
"${install[@]}" --constraint .venv-lowest/versions.txt \
  crowsetta httpx2 hypothesis pandas psutil pytest pytest-xdist scikit-learn
# Old versions warn of what their newer ones do otherwise.
.venv-lowest/bin/python -m pytest -q -m 'not ops' -n auto --dist loadgroup -o filterwarnings=default --disable-warnings \
  tests/audio tests/data tests/metrics tests/formats tests/identification tests/models tests/plotting tests/reports tests/tables \
  tests/cli/test_data.py tests/cli/test_identify.py tests/e2e/test_bad_recordings.py tests/e2e/test_channels.py tests/e2e/test_speech.py \
  tests/server/http/test_auth.py tests/server/http/test_error_handlers.py tests/server/http/test_routes.py tests/server/http/test_uploads.py \
  tests/server/http/routes/test_identify.py tests/server/http/routes/test_models.py tests/server/http/routes/test_pages.py \
  tests/server/state tests/test_cores.py tests/test_privacy.py
