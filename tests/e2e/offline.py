"""Run where there is no network: the demo, a server that identifies, is taught and retrains. See test_offline."""

from __future__ import annotations

import fcntl
import json
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

from tests.fixtures.machines import Server, serving
from tests.fixtures.waiting import wait_for

SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1


def raise_loopback() -> None:
    """Bring the loopback interface up, which is down in a new network namespace."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sh14x", b"lo", 0)
        (flags,) = struct.unpack("16xh14x", fcntl.ioctl(any_socket, SIOCGIFFLAGS, request))
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | IFF_UP))


def main(folder: Path, labeled_files: Path, models: Path) -> dict[str, object]:
    """Return the outcome of each."""
    command = [
        sys.executable,
        "-m",
        "dawnchorus",
        "demo",
        "--models-folder",
        str(models),
        "--folder",
        str(folder / "demo"),
    ]
    demo = subprocess.run(command, capture_output=True, cwd=folder)
    server = Server(folder / "server", "--models-folder", models)
    with serving(server), server.client() as client:
        files = [("audio", (f"{p.parent.name}/{p.name}", p.read_bytes())) for p in sorted(labeled_files.glob("*/*.*"))]
        accepted = client.post("/api/v1/training-data", files=files, data={"new_class": "yes"}).json()["n_accepted"]
        job = client.post("/api/v1/retrain").json()["id"]
        until = time.monotonic() + 400
        while (row := client.get(f"/api/v1/jobs/{job}").json())["status"] in ("queued", "running"):
            assert time.monotonic() < until, row
            time.sleep(0.5)
        detected = wait_for(lambda: client.post("/api/predict", files={"audio": files[0][1][1]}).json())
    assert isinstance(detected, dict)
    return {
        "demo": demo.returncode,
        "demo_errors": demo.stderr.decode()[-500:],
        "taken": accepted,
        "job": row["status"],
        "error": row["error"],
        "heard": detected.get("predicted_species"),
    }


if __name__ == "__main__":
    if sys.argv[1] == "alone":
        raise_loopback()
    sys.stdout.write(json.dumps(main(*map(Path, sys.argv[2:]))))
