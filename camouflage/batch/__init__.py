"""Many pictures: which they are, what became of each, and going on after an interruption."""

from camouflage.batch.folder import run_folder
from camouflage.batch.jobs import Job, Jobs, find_jobs
from camouflage.batch.manifest import STATES, Entry, Manifest
from camouflage.batch.outcome import Outcome
from camouflage.batch.report import Report, outcome_json

__all__ = [
    "STATES",
    "Entry",
    "Job",
    "Jobs",
    "Manifest",
    "Outcome",
    "Report",
    "find_jobs",
    "outcome_json",
    "run_folder",
]
