"""API route for tiles of the spectrograms of stored recordings (see `plotting.tiles`)."""

from __future__ import annotations

import time
from functools import partial
from typing import Annotated, BinaryIO

import numpy as np
from fastapi import APIRouter, Path, Request, Response
from starlette.concurrency import run_in_threadpool

from dawnchorus.errors import NotFoundError, OverloadedError
from dawnchorus.plotting.tiles import (
    STRETCH_COLUMNS,
    STRETCH_LEVEL,
    TILE_BINS,
    TILE_COLUMNS,
    TOPS_KHZ,
    ColumnRange,
    GrayArray,
    Tile,
    compute_columns,
    count_tiles,
    cut_from_stretch,
    encode_tile,
    find_top_khz,
    stretch,
)
from dawnchorus.server.http.auth import require_role
from dawnchorus.server.http.dependencies import ServiceDependency
from dawnchorus.server.http.responses import RenderedResponse, while_connected
from dawnchorus.server.http.routes.replies import JsonRoute, Sha256, error_responses
from dawnchorus.server.service import Service
from dawnchorus.server.settings import Role
from dawnchorus.server.state.tables import Recording

MAX_WAIT_S = 15.0
"""Maximum time of a request for a coarse tile; then it gets status 503, and a later request uses the stretches that are
finished."""

RENDERING = 1
"""Version of the computation of tiles, a part of the ETag: after a change, browsers load new tiles."""

CACHE_CONTROL = "private, max-age=86400"

TopKhz = Annotated[
    int, Path(ge=1, le=TOPS_KHZ[-1], description="Upper end of the frequency axis in kHz: 12, 24, 48, 96 or 192.")
]
Level = Annotated[
    int, Path(ge=0, le=30, description="Zoom level: 0 has 93.75 columns per second, each further level half as many.")
]
Index = Annotated[int, Path(ge=0, le=2**31 - 1, description="Number of the tile, from the start of the recording.")]

router = APIRouter(prefix="/api/v1", tags=["recordings"], route_class=JsonRoute)


@router.get(
    "/recordings/{sha256}/spectrogram/{top_khz}/{level}/{index}",
    dependencies=[require_role(Role.IDENTIFY)],
    response_class=Response,
    responses={
        200: {"content": {"image/png": {}}},
        304: {"description": "the client has it"},
        **error_responses(404, 503),
    },
)
async def spectrogram_tile(
    request: Request, service: ServiceDependency, sha256: Sha256, top_khz: TopKhz, level: Level, index: Index
) -> Response:
    """Return a tile of a recording's spectrogram as a gray PNG of 512 columns and 256 frequencies.

    Black is a level of -115 dB, and each of the 255 steps of gray is 0.6 dB. Frequencies go from 0 to `top_khz` (12,
    24, 48, 96 or 192 kHz). The zoom level 0 has 93.75 columns per second, each further level half as many; `index`
    counts the tiles of a level from 0. 404 if the recording has no tile of this number at the zoom level, or if
    `top_khz` is above the first of its values that reaches half of the sample rate; 503 if a coarse tile is not
    computed within 15 s, or too many requests wait.
    """
    row = await run_in_threadpool(service.detections.get_recording, sha256)
    tile = Tile(level, index)
    _check_tile(row, top_khz, tile)
    tag = f'"{sha256[:16]}-{RENDERING}-{top_khz}-{level}-{index}"'
    headers = {"Cache-Control": CACHE_CONTROL, "ETag": tag}
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    render = _render_coarse if tile.is_coarse else _render_fine
    file = await while_connected(request, render(service, row, top_khz, tile))
    return RenderedResponse(file, media_type="image/png", headers=headers)


def _check_tile(row: Recording, top_khz: int, tile: Tile) -> None:
    tops = TOPS_KHZ[: TOPS_KHZ.index(find_top_khz(row.rate_hz or 0)) + 1]
    n_tiles = count_tiles(row.duration_s or 0.0, tile.level)
    if top_khz not in tops:
        raise NotFoundError(
            f"expected tiles up to {', '.join(map(str, tops))} kHz of this recording, got {top_khz} kHz."
        )
    if tile.index >= n_tiles:
        raise NotFoundError(
            f"there is no tile {tile.index} of level {tile.level}: {row.duration_s or 0:.1f} s have {n_tiles} of them."
        )


async def _render_fine(service: Service, row: Recording, top_khz: int, tile: Tile) -> BinaryIO:
    """Return the open file of a tile that is computed from the audio."""
    write = partial(_write_tile, service, row.sha256, top_khz, tile)
    return await service.renderer.get_or_render(row.sha256, ("tile", top_khz, tile), write)


async def _render_coarse(service: Service, row: Recording, top_khz: int, tile: Tile) -> BinaryIO:
    """Return the open file of a tile that is pooled from stretches.

    Raises:
        OverloadedError: the computation of the stretches takes longer than `MAX_WAIT_S`.
    """
    n_tiles = count_tiles(row.duration_s or 0.0, STRETCH_LEVEL)
    numbers = [k for k in tile.stretches if k * STRETCH_COLUMNS < n_tiles * TILE_COLUMNS]
    parts: list[GrayArray] = []
    start_s = time.monotonic()
    for number in numbers:
        if time.monotonic() - start_s > MAX_WAIT_S:
            raise OverloadedError(
                f"the spectrogram is being computed: {len(parts)} of {len(numbers)} parts are ready.", retry_after_s=1.0
            )
        write = partial(_write_stretch, service, row.sha256, top_khz, number)
        file = await service.renderer.get_or_render(row.sha256, ("stretch", top_khz, number), write)
        parts.append(await run_in_threadpool(_read_part, tile, number, file))
    return await service.renderer.render_once(partial(_write_parts, parts))


def _write_tile(service: Service, sha256: str, top_khz: int, tile: Tile, file: BinaryIO) -> None:
    file.write(encode_tile([_compute(service, sha256, top_khz, tile.columns)]))


def _write_stretch(service: Service, sha256: str, top_khz: int, number: int, file: BinaryIO) -> None:
    file.write(_compute(service, sha256, top_khz, stretch(number)).tobytes())


def _write_parts(parts: list[GrayArray], file: BinaryIO) -> None:
    file.write(encode_tile(parts))


def _read_part(tile: Tile, number: int, file: BinaryIO) -> GrayArray:
    with file:
        columns = np.frombuffer(file.read(), np.uint8).reshape(STRETCH_COLUMNS, TILE_BINS)
    return cut_from_stretch(tile, number, columns)


def _compute(service: Service, sha256: str, top_khz: int, columns: ColumnRange) -> GrayArray:
    path = service.files.local(sha256)
    with (
        service.pool.decoder() as decoder,
        decoder.open_clip(path, start_s=columns.start_s, end_s=columns.end_s, rate_hz=2000 * top_khz) as clip,
    ):
        return compute_columns(clip.blocks(), columns, top_khz=top_khz)
