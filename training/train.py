"""Train one part: ``python -m training.train fit --config configs/training/autoencoder.yaml``.

Everything a run needs stands in its YAML; any value can be overridden on the command line
(``--trainer.max_epochs 3``). ``--ckpt_path last`` goes on from the newest checkpoint. The same
command runs on a CPU, a GPU and several of them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.cli import LightningCLI, SaveConfigCallback


class ConfigBesideCheckpoints(SaveConfigCallback):
    """Writes the resolved configuration where the checkpoints go, and nowhere else."""

    def save_config(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        folder = getattr(trainer.checkpoint_callback, "dirpath", None)
        if folder is not None:
            Path(folder).mkdir(parents=True, exist_ok=True)
            path = Path(folder) / self.config_filename
            self.parser.save(self.config, str(path), skip_none=False, overwrite=self.overwrite)


def main(arguments: Sequence[str] | None = None) -> None:
    """Seed, data, module, trainer, fit: all from the YAML (Lightning's own command line).

    ``arguments`` are those of the command line; None takes the process's own.
    """
    os.environ.setdefault("WANDB_MODE", "offline")
    # Too small a cache makes oneDNN compile the many convolutions of a step over and over on a CPU.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "8192")
    torch.set_float32_matmul_precision("high")
    # A backward pass over numbers too small to be normal takes ten times as long on a CPU.
    torch.set_flush_denormal(True)
    try:
        LightningCLI(
            seed_everything_default=0,
            save_config_callback=ConfigBesideCheckpoints,
            save_config_kwargs={"overwrite": True, "save_to_log_dir": False},
            args=None if arguments is None else list(arguments),
        )
    finally:
        torch.set_flush_denormal(False)


if __name__ == "__main__":
    main()
