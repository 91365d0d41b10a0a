"""What is said of an input that failed."""

from pathlib import Path

from camouflage.batch.jobs import Job
from camouflage.batch.outcome import described
from camouflage.errors import PictureError


def test_a_name_is_said_once() -> None:
    """It stands before the message wherever the message is shown."""
    job = Job(source=Path("album/deep/b.jpg"), relative="deep/b.jpg")
    found = described(PictureError("b.jpg: damaged or truncated"), job)
    assert found == {"type": "PictureError", "message": "damaged or truncated"}
    other = described(PictureError("the mask b.jpg: damaged"), job)
    assert other["message"] == "the mask b.jpg: damaged"
