"""The optimizer's kernel, and the learning rate over a run."""

from __future__ import annotations

import lightning as L
import torch


def may_fuse(trainer: L.Trainer) -> bool:
    """Whether AdamW may be the fused one, the fastest; with mixed precision Lightning refuses to
    clip its gradients.
    """
    return str(trainer.precision) == "32-true"


def adamw(
    module: L.LightningModule,
    *,
    learning_rate: float,
    weight_decay: float = 1e-2,
    betas: tuple[float, float] = (0.9, 0.999),
    warmup: int = 200,
    decay: float = 0.3,
) -> dict:
    """AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101) on what of ``module`` learns, the fused
    one where it may be, with `warmup_stable_decay` over its trainer's steps.

    Returns what ``configure_optimizers`` of Lightning returns.
    """
    optimizer = torch.optim.AdamW(
        [parameter for parameter in module.parameters() if parameter.requires_grad],
        learning_rate,
        betas=betas,
        weight_decay=weight_decay,
        fused=may_fuse(module.trainer),
    )
    steps = int(module.trainer.estimated_stepping_batches)
    return warmup_stable_decay(optimizer, steps, warmup=warmup, decay=decay)


def warmup_stable_decay(
    optimizer: torch.optim.Optimizer, steps: int, *, warmup: int = 200, decay: float = 0.3
) -> dict:
    """Linear warm-up, constant, then linear to a fiftieth in the last ``decay`` of ``steps``.

    A run that is later continued loses nothing but its decay (Hu et al. 2024, arXiv 2404.06395).
    Returns what ``configure_optimizers`` of Lightning returns.
    """

    def factor(step: int) -> float:
        left = (steps - step) / max(decay * steps, 1)
        return min((step + 1) / max(warmup, 1), 1.0, max(left, 0.02))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
