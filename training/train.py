"""Train one part: ``python -m training.train fit --config configs/training/autoencoder.yaml``.

Everything a run needs stands in its YAML; any value can be overridden on the command line
(``--trainer.max_epochs 3``). ``--ckpt_path last`` goes on from the newest checkpoint. The same
command runs on a CPU, a GPU and several of them.
"""

from __future__ import annotations

import os

import torch
from lightning.pytorch.cli import LightningCLI


def main() -> None:
    """Seed, data, module, trainer, fit: all from the YAML (Lightning's own command line)."""
    os.environ.setdefault("WANDB_MODE", "offline")
    torch.set_float32_matmul_precision("high")
    LightningCLI(seed_everything_default=0, save_config_kwargs={"overwrite": True})


if __name__ == "__main__":
    main()
