"""Audio and a bundle in, detections out: the only predict path."""

from dawnchorus.identification.options import Options
from dawnchorus.identification.result import Progress, RecordingFailure, Run
from dawnchorus.identification.run import identify

__all__ = ["Options", "Progress", "RecordingFailure", "Run", "identify"]
