"""From the numbers and nets of a call to the predictor of its steps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from diffusers.models.controlnets.controlnet import ControlNetModel
from torch import Tensor

from camouflage.adapters.controls import Control, embed, scalar
from camouflage.adapters.fused import fused_condition
from camouflage.denoise import latents as to_latents
from camouflage.denoise.guidance import (
    AnalyticIdentity,
    Branch,
    Correction,
    Guidance,
    LimitedInterval,
    Row,
    RowWeights,
    require_analytic,
)
from camouflage.errors import SettingError
from camouflage.pipelines.arguments import (
    ControlUse,
    Identity,
    Strengths,
    Texts,
    as_texts,
    require_known,
)
from camouflage.pipelines.conditions import Conditions


@dataclass(frozen=True, kw_only=True, eq=False)
class _Parts:
    """What the guidance inside and outside an interval share: contexts of the text and of no text,
    (B, tokens, dim) each, the positive nets and the identity's, None where there is none.
    """

    contexts: tuple[Tensor, Tensor]
    controls: tuple[Control, ...]
    identity: Control | None
    z_0: Tensor
    steps: int


class Guided(Conditions):
    """Of a ``DiffusionPipeline`` with ControlNets and an identity."""

    controlnet: Any
    identity_controlnet: Any
    fused_controlnet: Any
    scheduler: Any

    def _predictor(
        self,
        numbers: Strengths,
        *,
        texts: tuple[Texts, Texts],
        controls: tuple[Control, ...],
        z_0: Tensor,
        identity: Identity,
        steps: int,
    ) -> Guidance | LimitedInterval:
        """What is predicted at each of ``steps`` steps; ``texts`` are the two of text guidance."""
        weights = numbers.weights
        learned = identity == "learned" and weights.identity != 0
        parts = _Parts(
            contexts=self._contexts(texts, weights, len(z_0)),
            controls=controls,
            identity=self._identity_control(z_0) if learned else None,
            z_0=z_0,
            steps=steps,
        )
        inside = self._guidance(numbers, parts)
        start, end, unguided = numbers.guidance_start, numbers.guidance_end, numbers.unguided
        if (start, end) == (0, 1) or unguided.weights == weights:
            return inside
        outside = self._guidance(unguided, parts)
        return LimitedInterval(inside=inside, outside=outside, start=start, end=end)

    def _guidance(self, numbers: Strengths, parts: _Parts) -> Guidance:
        weights, pictures = numbers.weights, len(parts.z_0)
        given = zip((weights.text, weights.no_text), parts.contexts, strict=True)
        rows = tuple(Row(weight=weight, context=one) for weight, one in given if weight != 0)
        steered = (Branch(rows=rows, controls=parts.controls),) if rows else ()
        return Guidance(
            unet=self.unet,
            positive=(*steered, *self._unsteered_branches(weights.unsteered, pictures)),
            identity=self._identity_branches(weights.identity, parts),
            analytic=None if parts.identity else self._analytic(weights.identity, parts.z_0),
            correction=self._correction(numbers),
            steps=parts.steps,
        )

    def _contexts(
        self, texts: tuple[Texts, Texts], weights: RowWeights, pictures: int
    ) -> tuple[Tensor, Tensor]:
        """Of the text, and of no text if a row has it (else of the text again), each once."""
        given = [as_texts("prompt", texts[0], pictures)]
        if weights.no_text != 0:
            given.append(as_texts("negative_prompt", texts[1], pictures))
        found = [
            self.null_text(pictures) if one is None else self.encode_texts(one) for one in given
        ]
        return found[0], found[-1]

    def _controls(
        self, uses: Mapping[str, ControlUse], maps: Mapping[str, list[np.ndarray]], *, fused: bool
    ) -> tuple[Control, ...]:
        """The positive nets at work, or the one that stands for them all."""
        device = self._execution_device
        conditions = {
            name: to_latents.pixels_from_pictures(maps[name], low=0.0).to(device) for name in uses
        }
        if fused:
            return (self._fused_control(uses, conditions),)
        nets = dict(zip(self.config["controls"], self.controlnet.nets, strict=True))
        return tuple(self._control(nets[name], use, conditions[name]) for name, use in uses.items())

    def weights_in_use(self, given: Mapping[str, float] | None = None) -> dict[str, float]:
        """The weight of each control that is computed, in the order of the pipeline's controls.

        ``given`` go in the place of the pipeline's own; one that neither names is 1, and 0 is not
        computed.

        Raises:
            SettingError: a name of another control, or no finite number.
        """
        names = self.config["controls"]
        require_known("control_weights", given or {}, names)
        every = {**dict.fromkeys(names, 1.0), **self.config["default_weights"], **(given or {})}
        for name, weight in every.items():
            if not math.isfinite(weight):
                raise SettingError(
                    f"control_weights of {name!r}: expected a finite number, got {weight}"
                )
        return {name: every[name] for name in names if every[name] != 0}

    def require_fused(self, weights: Mapping[str, float]) -> None:
        """Raise `SettingError` unless there is a fused net that stands for these ``weights``."""
        if self.fused_controlnet is None:
            raise SettingError(
                "fused_controls: this pipeline has no fused ControlNet; train one "
                "(training/README.md), or leave fused_controls out"
            )
        stands_for = self.config["fused_weights"]
        used = {name: weight for name, weight in weights.items() if weight != 0}
        if used != stands_for:
            raise SettingError(
                f"fused_controls: the fused net stands for the weights {stands_for}, got {used}; "
                "take these, or leave fused_controls out"
            )

    def _fused_use(self, uses: Mapping[str, ControlUse]) -> ControlUse:
        """How the fused net is used in the place of ``uses``, or why it cannot be."""
        self.require_fused({name: use.weight for name, use in uses.items()})
        first, *others = (replace(use, weight=1.0) for use in uses.values())
        if any(use != first for use in others):
            raise SettingError(
                "fused_controls: one net has one start and one end; give all controls the same "
                "control_start and control_end, or leave fused_controls out"
            )
        return first

    def _fused_control(
        self, uses: Mapping[str, ControlUse], conditions: Mapping[str, Tensor]
    ) -> Control:
        # In the order of the controls: a file of settings keeps no order of its own.
        known = [name for name in self.config["controls"] if name in self.config["fused_weights"]]
        condition = fused_condition([conditions[name] for name in known])
        return self._control(self.fused_controlnet, self._fused_use(uses), condition)

    def _control(self, net: ControlNetModel, use: ControlUse, condition: Tensor) -> Control:
        return Control(
            net=net,
            embedding=embed(net, condition),
            weight=scalar(use.weight, condition),
            start=use.start,
            end=use.end,
            every=use.every,
        )

    def _unsteered_branches(self, weight: float, pictures: int) -> tuple[Branch, ...]:
        if weight == 0:
            return ()
        return (Branch(rows=(Row(weight=weight, context=self.null_text(pictures)),), controls=()),)

    def _require_identity(self, identity: Identity, weight: float) -> None:
        """Say what is missing before anything is computed."""
        if weight == 0:
            return
        if identity == "analytic":
            require_analytic(self.scheduler, 'identity="analytic"')
        elif self.identity_controlnet is None:
            raise SettingError(
                "identity: this pipeline has no identity ControlNet, which every "
                'anonymization_scale but 1 needs; use identity="analytic", or 1'
            )

    def _identity_control(self, z_0: Tensor) -> Control:
        net = self.identity_controlnet
        return Control(net=net, embedding=embed(net, z_0), weight=scalar(1.0, z_0))

    def _identity_branches(self, weight: float, parts: _Parts) -> tuple[Branch, ...]:
        if weight == 0 or parts.identity is None:
            return ()
        row = Row(weight=weight, context=self.null_text(len(parts.z_0)))
        return (Branch(rows=(row,), controls=(parts.identity,)),)

    def _analytic(self, weight: float, z_0: Tensor) -> AnalyticIdentity | None:
        if weight == 0:
            return None
        return AnalyticIdentity(weight=weight, z_0=z_0, scheduler=self.scheduler)

    def _correction(self, numbers: Strengths) -> Correction | None:
        phi, kappa = numbers.guidance_rescale, numbers.low_frequency_guidance
        if numbers.anonymization_scale <= 1 or (phi == 0 and kappa == 1):
            return None
        setting = "guidance_rescale" if phi > 0 else "low_frequency_guidance"
        require_analytic(self.scheduler, setting)
        return Correction(phi=phi, kappa=kappa, scheduler=self.scheduler)
