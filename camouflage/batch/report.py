"""What became of a run, for machines and for people: counts, exit status, lines of JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from camouflage.batch.manifest import STATES
from camouflage.batch.outcome import Outcome
from camouflage.terminal import shown


@dataclass(frozen=True, kw_only=True)
class Report:
    """The outcomes of a run over ``inputs`` pictures.

    ``error`` and ``message``: type and text of what ended the run early, and ``ended`` its exit
    status; empty and 0 for a run that got to its end.
    """

    outcomes: tuple[Outcome, ...]
    inputs: int
    passed_over: int = 0
    error: str = ""
    message: str = ""
    ended: int = 0

    @property
    def exit_status(self) -> int:
        """0: every input was written or copied. 1: some were not. Else what ended the run."""
        return self.ended or int(any(o.output is None for o in self.outcomes))

    @property
    def counts(self) -> dict[str, int]:
        """How many inputs ended in each state."""
        found = Counter(outcome.state for outcome in self.outcomes)
        return {state: found[state] for state in STATES}

    @property
    def redone(self) -> dict[str, int]:
        """Why inputs were done again that an earlier run had finished, and how many."""
        return dict(Counter("; ".join(o.redone) for o in self.outcomes if o.redone))

    def json(self) -> str:
        """The last line for machines."""
        summary = {
            "inputs": self.inputs,
            "done": len(self.outcomes),
            **self.counts,
            "resumed": sum(outcome.resumed for outcome in self.outcomes),
            "redone": sum(bool(outcome.redone) for outcome in self.outcomes),
            "passed_over": self.passed_over,
            "error": _error(self.error, self.message),
            "exit_status": self.exit_status,
        }
        return json.dumps({"summary": summary})


def outcome_json(outcome: Outcome) -> str:
    """One line for machines, in ASCII: names that are no valid Unicode come through as well."""
    return json.dumps(
        {
            "input": outcome.job.relative,
            "state": outcome.state,
            "output": outcome.output,
            "error": _error(outcome.error, outcome.message),
            "resumed": outcome.resumed,
            "redone": list(outcome.redone),
            "faces": outcome.faces,
            "seconds": round(outcome.seconds, 3),
        }
    )


def people_lines(outcomes: Iterable[Outcome]) -> list[str]:
    """A line for each input that has no result, and why."""
    return [
        f"{o.state:8} {shown(o.job.relative)}: {shown(o.message)}"
        for o in outcomes
        if o.output is None
    ]


def _error(kind: str, message: str) -> dict[str, str] | None:
    return {"type": kind, "message": message} if kind else None
