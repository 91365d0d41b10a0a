"""The part of the table for CAMOUFLaGE-Light: the image encoder, the network of attributes."""

from __future__ import annotations

from camouflage.weights.entry import Entry, File

LIGHT = (
    Entry(
        name="farl",
        role="image encoder",
        what="FaRL-Base, a CLIP ViT-B/16 of faces, transformers",
        repository="Green-Sky/FaRL-Base-Patch16-LAIONFace20M-ep64",
        revision="01160d648e798f6522f7359e92c89165b7f92ae7",  # which added the safetensors
        files=(File(name="config.json"), File(name="model.safetensors")),
        licence="MIT (Zheng et al. 2021)",
        use="any; LAION-Face, its training data, is photographs of people from the web",
        commercial=True,
        size_bytes=600_000_000,
        dtype="float32",
        needs="farl",
        otherwise=(
            File(
                name="FaRL-Base-Patch16-LAIONFace20M-ep64.pth",
                becomes="model.safetensors",
                layout="farl",
                address="https://github.com/FacePerceiver/FaRL/releases/tag/pretrained_weights",
            ),
        ),
    ),
    Entry(
        name="attributes-facer",
        role="annotator",
        what="40 attributes of a face by FACER (FaRL, CelebA)",
        repository="FacePerceiver/facer",
        revision=None,
        files=(
            File(name="config.json"),
            File(
                name="face_attribute.farl.celeba.pt",
                becomes="diffusion_pytorch_model.safetensors",
                holds=("trunk.pre_layrnorm.weight", "head.final_fc.weight"),
                layout="facer",
                address="https://github.com/FacePerceiver/facer/releases/tag/models-v1",
            ),
        ),
        licence="not stated for the weights; facer's code is MIT",
        use="CelebA, its training data, is for research that is not commercial",
        commercial=None,
        size_bytes=344_000_000,
        dtype="float32",
        needs="attributes",
    ),
)
