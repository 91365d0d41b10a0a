"""Learning the small attribute network of mini-light."""

from __future__ import annotations

import lightning as L
from torch import Tensor
from torch.nn import functional as F

from camouflage.annotators.attributes import CELEBA_ATTRIBUTES
from camouflage.mini.attributes import SmallAttributeNet
from training.label_attributes import LIVE
from training.schedules import adamw

KNOWN = [CELEBA_ATTRIBUTES.index(name) for name in LIVE]


class AttributeModule(L.LightningModule):
    """The loss is the mean cross-entropy with the soft labels that are known."""

    def __init__(self, learning_rate: float = 1e-3) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.net = SmallAttributeNet(live=list(LIVE))

    def loss(self, batch: dict[str, Tensor]) -> Tensor:
        said = self.net(batch["pixels"] / 2 + 0.5)[:, KNOWN].clamp(1e-6, 1 - 1e-6)
        return F.binary_cross_entropy(said, batch["attributes"][:, KNOWN])

    def training_step(self, batch: dict[str, Tensor], index: int) -> Tensor:
        loss = self.loss(batch)
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch: dict[str, Tensor], index: int) -> None:
        """The loss, and for each label the share of faces on whose side of 0.5 both agree."""
        rows = len(batch["pixels"])
        said = self.net(batch["pixels"] / 2 + 0.5)[:, KNOWN]
        agree = ((said > 0.5) == (batch["attributes"][:, KNOWN] > 0.5)).float().mean(0)
        self.log("val/loss", self.loss(batch), prog_bar=True, batch_size=rows)
        for name, share in zip(LIVE, agree, strict=True):
            self.log(f"val/{name}", share, batch_size=rows)

    def configure_optimizers(self) -> dict:
        return adamw(self, learning_rate=self.hparams["learning_rate"], weight_decay=0.05)
