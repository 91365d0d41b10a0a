"""What the trainings of a small module beside frozen networks have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import lightning as L

from training.schedules import adamw


class AdapterModule(L.LightningModule, ABC):
    """A module that learns beside frozen networks; its checkpoints know which these were.

    ``samples`` counts what was learned from, of all processes; ``measured`` are the held-out
    figures of the last validation and the ``step`` they are of. The hyperparameters are to have
    ``learning_rate``, ``weight_decay``, ``warmup_steps`` and ``decay``.
    """

    part: ClassVar[str]
    """The name under which a checkpoint has these facts."""

    def __init__(self) -> None:
        super().__init__()
        self.samples = 0
        self.measured: dict[str, float] = {}

    @property
    @abstractmethod
    def made_with(self) -> dict[str, Any]:
        """By name, what a checkpoint of this part must have been trained beside."""

    def configure_optimizers(self) -> dict:
        settings = self.hparams
        return adamw(
            self,
            learning_rate=settings["learning_rate"],
            weight_decay=settings["weight_decay"],
            warmup=settings["warmup_steps"],
            decay=settings["decay"],
        )

    def on_validation_epoch_end(self) -> None:
        found = self.trainer.callback_metrics
        self.measured = {k: float(v) for k, v in found.items() if k.startswith("val/")}
        self.measured["step"] = self.trainer.global_step

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        facts = {"samples": self.samples, "measured": self.measured}
        checkpoint[self.part] = facts | self.made_with

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Raises ``ValueError`` for a checkpoint that was trained beside something else."""
        facts = checkpoint[self.part]
        for name, ours in self.made_with.items():
            if (theirs := facts[name]) != ours:
                raise ValueError(
                    f"the checkpoint was trained with another {name}: {theirs!s:.60}, not "
                    f"{ours!s:.60}; give what it was trained with"
                )
        self.samples, self.measured = facts["samples"], facts.get("measured", {})
