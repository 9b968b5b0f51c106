"""Identification: audio and a bundle in, detections out."""

from dawnchorus.identification.options import Options
from dawnchorus.identification.result import Progress, RecordingFailure, Run
from dawnchorus.identification.run import identify

__all__ = ["Options", "Progress", "RecordingFailure", "Run", "identify"]
