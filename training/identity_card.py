"""The model card of an exported identity ControlNet: what its checkpoint knows, nothing else."""

from __future__ import annotations

from typing import Any

CARD = """# Model card: identity ControlNet of `{base}`

A `ControlNetModel` of diffusers that takes the latent of a picture and makes the frozen UNet of its
base predict that picture. In CAMOUFLaGE (Piano et al., arXiv 2403.14790) it is the identity that
anonymization guidance moves away from. Made by `python -m training.export identity`.

| | |
|---|---|
{facts}

## Use

```python
from diffusers import ControlNetModel

net = ControlNetModel.from_pretrained("THIS_FOLDER")  # identity_controlnet= of BasePipeline
```

Its condition is `vae.encode(x).latent_dist.mode() * scaling_factor` of the autoencoder named above,
its context the encoding of the empty text. It belongs to one UNet: with another, what it adds is
not what it learned to add.

Intended: the identity row of anonymization guidance, behind the audit of `camouflage`.

Not intended: hiding anybody by itself. Alone, at `anonymization_scale` 0, it gives the original
back, and it was trained to. A picture between 0 and 1 is a picture of the same person.

## Known failures

{failures}
"""


def card(
    base: str,
    checkpoint: dict[str, Any],
    report: dict[str, Any] | None,
    *,
    dtype: str,
    parameters: int,
) -> str:
    """The text of README.md, from the facts in ``checkpoint`` and in a ``report.json``, if any."""
    rows = {**base_facts(base, checkpoint), **training_facts(checkpoint), **data_facts(checkpoint)}
    rows["reconstruction from strong noise"] = reconstruction(report)
    rows["weights"] = f"{parameters:,} parameters, {dtype}"
    lines = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    return CARD.format(base=base, facts=lines, failures=failures(checkpoint))


def base_facts(base: str, checkpoint: dict[str, Any]) -> dict[str, str]:
    """Which UNet and which autoencoder."""
    prepared = checkpoint.get("LatentData", {}).get("prepared", {})
    return {
        "base": f"`{base}`",
        "its UNet's weights": f"sha256 {checkpoint['identity']['unet_sha256'][:16]}...",
        "its autoencoder's weights": f"sha256 {prepared.get('vae_sha256', 'unknown')[:16]}...",
        "scaling factor": prepared.get("scaling_factor", "unknown"),
    }


def training_facts(checkpoint: dict[str, Any]) -> dict[str, str]:
    """Steps, samples, settings and the losses last measured."""
    settings, facts = checkpoint["hyper_parameters"], checkpoint["identity"]
    measured = facts["measured"]
    gamma = settings["min_snr_gamma"]
    average = "averaged weights" if "current_model_state" in checkpoint else "the last weights"
    return {
        "steps": f"{checkpoint['global_step']:,} ({average})",
        "samples seen": f"{facts['samples']:,}",
        "learning rate": f"{settings['learning_rate']:g}",
        "weight decay": f"{settings['weight_decay']:g} (AdamW)",
        "loss": "mean squared error" if gamma is None else f"min-SNR, gamma {gamma:g}",
        "the held-out figures are of step": f"{measured['step']:,}" if measured else "none",
        "held-out loss": number(measured, "val/loss"),
        "held-out loss of the untrained start": number(measured, "val/untrained"),
        "held-out signal to error from noise, one step": number(
            measured, "val/from_noise_db", "dB"
        ),
    }


def data_facts(checkpoint: dict[str, Any]) -> dict[str, str]:
    """How many pictures of which size; their consent and licence are for whoever trained to add."""
    prepared = checkpoint.get("LatentData", {}).get("prepared")
    if prepared is None:
        return {"data": "unknown"}
    pictures, samples = prepared["pictures"], prepared["samples"]
    return {
        "pictures": f"{pictures['train']:,} for training, {pictures['heldout']:,} held out",
        "squares": f"{samples['train']:,} and {samples['heldout']:,}, {prepared['side_px']} px"
        + (", with mirror images" if prepared["mirror"] else ""),
        "source and consent of the pictures": "not recorded: name them here before publishing",
    }


def reconstruction(report: dict[str, Any] | None) -> str:
    """What `training.report_identity` found."""
    if report is None:
        return "not measured"
    found = [f"{report[name]['psnr_db']:.2f} dB" for name in ("trained", "untrained")]
    return (
        f"PSNR {found[0]} against the autoencoder's own (untrained: {found[1]}), "
        f"{report['pictures']} held-out pictures, {report['steps']} steps"
    )


def number(measured: dict[str, float], name: str, unit: str = "") -> str:
    """The figure, or that there is none."""
    return f"{measured[name]:.4f} {unit}".rstrip() if name in measured else "not measured"


def failures(checkpoint: dict[str, Any]) -> str:
    """What follows from the figures and the design."""
    measured = checkpoint["identity"]["measured"]
    lines = [
        "* What the autoencoder loses (small faces, letters, fine texture) is lost here too.",
        "* A model can give back what it saw in training; it also reads from its condition.",
        "* Figures by group of people do not exist.",
    ]
    loss, start = measured.get("val/loss"), measured.get("val/untrained")
    if loss is None or start is None:
        lines.insert(0, "* **No held-out figure was measured: nothing shows that it learned.**")
    elif loss > 0.5 * start:
        lines.insert(0, "* **The held-out loss is above half that of the start: under-trained.**")
    return "\n".join(lines)
