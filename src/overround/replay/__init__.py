"""Recorded frames out of recordings and journals, in order, and the books they give."""

from overround.replay.frames import RecordedFrame
from overround.replay.rebuild import BookSample, OutcomeBook, Rebuilder, Rebuilt, rebuild, sample_books
from overround.replay.recordings import Recording, RecordingFile, open_recording

__all__ = [
    "BookSample",
    "OutcomeBook",
    "Rebuilder",
    "Rebuilt",
    "RecordedFrame",
    "Recording",
    "RecordingFile",
    "open_recording",
    "rebuild",
    "sample_books",
]
