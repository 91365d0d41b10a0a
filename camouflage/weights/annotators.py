"""The part of the table for what reads pictures: annotators, the detector and captioners."""

from __future__ import annotations

from camouflage.weights.entry import Entry, File

_ANNOTATORS = "lllyasviel/Annotators"
_ANNOTATORS_REVISION = "982e7edaec38759d914a963c48c4726685de7d96"

_CONFIGS = (File(name="config.json"), File(name="preprocessor_config.json"))

_TEXT = (
    File(name="config.json"),
    File(name="preprocessor_config.json", required=False),
    File(name="tokenizer.json", required=False),
    File(name="tokenizer_config.json", required=False),
    File(name="special_tokens_map.json", required=False),
    File(name="vocab.txt", required=False),
    File(name="vocab.json", required=False),
    File(name="merges.txt", required=False),
    File(name="processor_config.json", required=False),
    File(name="generation_config.json", required=False),
)

_TRANSFORMERS = (
    Entry(
        name="annotator-depth",
        role="annotator",
        what="depth by DPT-Large (MiDaS), transformers",
        repository="Intel/dpt-large",
        revision="bc15f29aa3a80d532f2ed650b5e16ac48d8958f9",
        files=(*_CONFIGS, File(name="model.safetensors", size_bytes=1_367_456_044)),
        licence="Apache-2.0",
        use="any",
        commercial=True,
        size_bytes=1_367_466_000,
        dtype="float32",
        needs="dpt",
    ),
    Entry(
        name="annotator-segmentation",
        role="annotator",
        what="150 classes of ADE20K by UPerNet, transformers",
        repository="openmmlab/upernet-convnext-small",
        revision="550b68d291f9a7e4874065c6eec0676b2ba821e6",
        files=(
            *_CONFIGS,
            File(
                name="pytorch_model.bin",
                sha256="76c163aa531ab7edfb3a77bbcc039e340645aa0ffe2b0ffcfc68755f550c76ea",
                size_bytes=327_701_893,
                becomes="model.safetensors",
            ),
        ),
        licence="MIT",
        use="any; ADE20K, its training data, is for research",
        commercial=True,
        size_bytes=327_705_000,
        dtype="float32",
        needs="upernet",
    ),
    Entry(
        name="annotator-pose",
        role="annotator",
        what="17 points of a body by ViTPose, transformers",
        repository="usyd-community/vitpose-base-simple",
        revision="a93ac0c67e0b7e2c55287d21d4c460c8f3c54d45",
        files=(
            *_CONFIGS,
            File(
                name="model.safetensors",
                sha256="85375373893ddd3641f3912821073e53f5435f9e966e1dca59d004454bfe4fdf",
            ),
        ),
        licence="Apache-2.0",
        use="any",
        commercial=True,
        size_bytes=344_000_000,
        dtype="float32",
        needs="vitpose",
    ),
    Entry(
        name="detector-person",
        role="detector",
        what="people for annotator-pose by RT-DETR, transformers",
        repository="PekingU/rtdetr_r50vd_coco_o365",
        revision="457857cec8ac28ddede40ecee9eed2beca321af8",
        files=(*_CONFIGS, File(name="model.safetensors")),
        licence="Apache-2.0",
        use="any",
        commercial=True,
        size_bytes=172_000_000,
        dtype="float32",
        needs="rt_detr",
    ),
    Entry(
        name="captioner-blip",
        role="captioner",
        what="a sentence for a picture by BLIP large, transformers",
        repository="Salesforce/blip-image-captioning-large",
        revision="353689b859fcf0523410b1806dace5fb46ecdf41",
        files=(*_TEXT, File(name="model.safetensors", size_bytes=1_879_014_680)),
        licence="BSD-3-Clause",
        use="any",
        commercial=True,
        size_bytes=1_880_000_000,
        dtype="float32",
        needs="blip",
    ),
    Entry(
        name="captioner-blip2",
        role="captioner",
        what="a sentence for a picture by BLIP-2 with OPT 2.7B, transformers",
        repository="Salesforce/blip2-opt-2.7b",
        revision="59a1ef6c1e5117b3f65523d1c6066825bcf315e3",
        files=(
            *_TEXT,
            File(
                name="model-00001-of-00002.safetensors",
                sha256="b81228c9ac1b3dee1731ee71d51fe3b2c34f915019c44c25a793b51300ae24fc",
                size_bytes=9_996_328_120,
                required=False,
            ),
            File(
                name="model-00002-of-00002.safetensors",
                sha256="536bd73b8f1de7d94f503b23fea2eaa4f7f3ea5f74f8f874fcb21d6df1555a19",
                size_bytes=4_982_879_016,
                required=False,
            ),
            File(name="model.safetensors"),
        ),
        licence="MIT; the language model in it, OPT, has Meta's licence for research",
        use="research, not commercial, as long as OPT's licence is not cleared up",
        commercial=False,
        size_bytes=14_985_000_000,
        dtype="float32",
        needs="blip-2",
    ),
)

_PICKLES = (
    Entry(
        name="annotator-normals",
        role="annotator",
        what="surface normals by NormalBae (ScanNet)",
        repository=_ANNOTATORS,
        revision=_ANNOTATORS_REVISION,
        files=(
            File(
                name="scannet.pt",
                sha256="03dbf1600c51ee3d45c29f77b77bf1a3b7a24c3452dba62a4ae658f37330c209",
                becomes="model.safetensors",
                holds=("encoder.original_model.conv_stem.weight",),
            ),
        ),
        licence="not stated in the repository; the network's code is MIT (Bae et al. 2021)",
        use="ScanNet, its training data, is for research that is not commercial",
        commercial=None,
        size_bytes=291_000_000,
        dtype="float32",
        needs="files",
    ),
    Entry(
        name="annotator-lineart",
        role="annotator",
        what="line art, fine (sk_model) and coarse (sk_model2)",
        repository=_ANNOTATORS,
        revision=_ANNOTATORS_REVISION,
        files=(
            File(
                name="sk_model.pth",
                sha256="c686ced2a666b4850b4bb6ccf0748031c3eda9f822de73a34b8979970d90f0c6",
                size_bytes=17_173_511,
                becomes="sk_model.safetensors",
                holds=("model0.1.weight",),
            ),
            File(
                name="sk_model2.pth",
                sha256="30a534781061f34e83bb9406b4335da4ff2616c95d22a585c1245aa8363e74e0",
                size_bytes=17_173_511,
                becomes="sk_model2.safetensors",
                holds=("model0.1.weight",),
            ),
        ),
        licence="MIT (Informative Drawings, Chan et al. 2022)",
        use="any",
        commercial=True,
        size_bytes=34_347_022,
        dtype="float32",
        needs="files",
    ),
    Entry(
        name="annotator-openpose",
        role="annotator",
        what="OpenPose, body, hands and face: the paper's likely annotator",
        repository=_ANNOTATORS,
        revision=_ANNOTATORS_REVISION,
        files=(
            File(
                name="body_pose_model.pth",
                sha256="25a948c16078b0f08e236bda51a385d855ef4c153598947c28c0d47ed94bb746",
                size_bytes=209_267_595,
                becomes="body_pose_model.safetensors",
                holds=("conv1_1.weight",),
            ),
            File(
                name="hand_pose_model.pth",
                sha256="b76b00d1750901abd07b9f9d8c98cc3385b8fe834a26d4b4f0aad439e75fc600",
                size_bytes=147_341_049,
                becomes="hand_pose_model.safetensors",
                holds=("conv1_1.weight",),
            ),
            File(
                name="facenet.pth",
                sha256="8beb52e548624ffcc4aed12af7aee7dcbfaeea420c75609fee999fe7add79d43",
                size_bytes=153_718_792,
                becomes="face_pose_model.safetensors",
                holds=("conv1_1.weight",),
            ),
        ),
        licence="CMU's OpenPose licence: code and weights for non-commercial research",
        use="NON-COMMERCIAL: academic or non-profit research only",
        commercial=False,
        size_bytes=510_327_436,
        dtype="float32",
        needs="files",
    ),
)

ANNOTATORS = (*_TRANSFORMERS, *_PICKLES)
