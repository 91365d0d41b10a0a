"""The optimizer's kernel, and the learning rate over a run."""

from __future__ import annotations

import lightning as L
import torch


def may_fuse(trainer: L.Trainer) -> bool:
    """Whether AdamW may be the fused one, the fastest; with mixed precision Lightning refuses to
    clip its gradients.
    """
    return str(trainer.precision) == "32-true"


def warmup_stable_decay(
    optimizer: torch.optim.Optimizer, steps: int, *, warmup: int = 200, decay: float = 0.3
) -> dict:
    """Linear warm-up, constant, then linear to a fiftieth in the last ``decay`` of ``steps``.

    A run that is later continued loses nothing but its decay (Hu et al. 2024, arXiv 2404.06395).
    Returns what ``configure_optimizers`` of Lightning returns.
    """

    def factor(step: int) -> float:
        left = (steps - step) / max(decay * steps, 1)
        return min((step + 1) / warmup, 1.0, max(left, 0.02))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
