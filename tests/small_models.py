"""Local folders of the hub's layout with small random weights, for tests that load whole models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

_WORDS = """
a an the man woman people person dog cat street table of in on with and two red green blue
standing sitting holding riding wearing hat shirt car tree
"""


def write_annotators(folder: Path, *, normals: bool = True) -> None:
    """A sub-folder for each entry of the table of weights, but OpenPose and BLIP-2.

    ``normals``: the network of surface normals too, which has no small size (145 MB in float16).
    """
    with torch.random.fork_rng():
        torch.manual_seed(0)
        write_depth(folder / "annotator-depth")
        write_segmentation(folder / "annotator-segmentation")
        write_pose(folder / "annotator-pose")
        write_detector(folder / "detector-person")
        write_lineart(folder / "annotator-lineart")
        write_blip(folder / "captioner-blip")
        if normals:
            write_normals(folder / "annotator-normals")


def write_depth(folder: Path) -> None:
    from transformers import DPTConfig, DPTForDepthEstimation

    config = DPTConfig(
        hidden_size=16,
        num_hidden_layers=4,
        num_attention_heads=2,
        intermediate_size=16,
        backbone_out_indices=[0, 1, 2, 3],
        neck_hidden_sizes=[8, 8, 8, 8],
        fusion_hidden_size=8,
        image_size=64,
        use_auxiliary_head=False,
    )
    model = _lively(DPTForDepthEstimation(config))
    with torch.no_grad():
        model.head.head[-2].bias.fill_(1.0)  # the head ends in a ReLU
    unused = "neck.fusion_stage.layers.0.residual_layer1."
    state = {k: v for k, v in model.state_dict().items() if not k.startswith(unused)}
    model.save_pretrained(folder, state_dict=state)
    _preprocessor(  # as of Intel/dpt-large: an older form, a size that is one number
        folder,
        do_normalize=True,
        do_resize=True,
        ensure_multiple_of=1,
        feature_extractor_type="DPTFeatureExtractor",
        image_mean=[0.5, 0.5, 0.5],
        image_std=[0.5, 0.5, 0.5],
        keep_aspect_ratio=False,
        resample=2,
        size=64,
    )


def write_segmentation(folder: Path, *, side: int = 64) -> None:
    from transformers import ConvNextConfig, UperNetConfig, UperNetForSemanticSegmentation

    backbone = ConvNextConfig(
        hidden_sizes=[8, 8, 16, 16],
        depths=[1, 1, 1, 1],
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    config = UperNetConfig(
        backbone_config=backbone,
        hidden_size=16,
        num_labels=150,
        use_auxiliary_head=True,
        auxiliary_in_channels=16,
        auxiliary_channels=8,
    )
    model = _lively(UperNetForSemanticSegmentation(config))
    with torch.no_grad():  # else one class wins everywhere
        model.decode_head.classifier.weight.mul_(5)
        model.decode_head.classifier.bias.zero_()
    model.save_pretrained(folder)
    _preprocessor(
        folder,
        do_normalize=True,
        do_reduce_labels=True,
        do_rescale=True,
        do_resize=True,
        image_mean=[0.485, 0.456, 0.406],
        image_processor_type="SegformerImageProcessor",
        image_std=[0.229, 0.224, 0.225],
        resample=2,
        rescale_factor=1 / 255,
        size={"height": side, "width": side},
    )


def write_pose(folder: Path, *, experts: int = 1) -> None:
    from transformers import VitPoseBackboneConfig, VitPoseConfig, VitPoseForPoseEstimation

    backbone = VitPoseBackboneConfig(
        image_size=[64, 48],
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        mlp_ratio=2,
        num_experts=experts,
        part_features=8,
        out_indices=[2],
    )
    model = _lively(
        VitPoseForPoseEstimation(VitPoseConfig(backbone_config=backbone, num_labels=17))
    )
    with torch.no_grad():
        model.head.conv.weight.mul_(3)
        model.head.conv.bias.fill_(0.5)
    model.save_pretrained(folder)
    _preprocessor(
        folder,
        do_affine_transform=True,
        do_normalize=True,
        do_rescale=True,
        image_mean=[0.485, 0.456, 0.406],
        image_processor_type="VitPoseImageProcessor",
        image_std=[0.229, 0.224, 0.225],
        normalize_factor=200.0,
        rescale_factor=1 / 255,
        size={"height": 64, "width": 48},
    )


def write_detector(folder: Path) -> None:
    from transformers import RTDetrConfig, RTDetrForObjectDetection, RTDetrResNetConfig

    backbone = RTDetrResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 8, 16, 16],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )
    config = RTDetrConfig(
        backbone_config=backbone,
        encoder_in_channels=[8, 16, 16],
        encoder_hidden_dim=16,
        encoder_ffn_dim=16,
        encoder_attention_heads=2,
        d_model=16,
        num_queries=12,
        decoder_in_channels=[16, 16, 16],
        decoder_ffn_dim=16,
        decoder_layers=2,
        decoder_attention_heads=2,
        decoder_n_points=2,
        id2label={0: "person", 1: "bicycle", 2: "car"},
    )
    model = _lively(RTDetrForObjectDetection(config))
    with torch.no_grad():  # people are found, hardly anything else
        for head in model.model.decoder.class_embed:
            head.bias.copy_(torch.tensor([0.0, -9.0, -9.0]))
    model.save_pretrained(folder)
    _preprocessor(
        folder,
        do_normalize=False,
        do_pad=False,
        do_rescale=True,
        do_resize=True,
        image_mean=[0.485, 0.456, 0.406],
        image_processor_type="RTDetrImageProcessor",
        image_std=[0.229, 0.224, 0.225],
        resample=2,
        rescale_factor=1 / 255,
        size={"height": 64, "width": 64},
    )


def write_lineart(folder: Path) -> None:
    from camouflage.annotators.scene import lineart

    folder.mkdir(parents=True)
    for name in lineart.FILES.values():
        network = lineart.make_network(device="cpu")
        save_file(network.state_dict(), folder / name)


def write_normals(folder: Path) -> None:
    from camouflage.annotators.scene import normals

    folder.mkdir(parents=True)
    network = _lively(normals.make_network(device="cpu")).half()
    save_file(network.state_dict(), folder / "model.safetensors")


def write_blip(folder: Path) -> None:
    from transformers import BertTokenizerFast, BlipConfig, BlipForConditionalGeneration

    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", *_WORDS.split()]
    sizes: dict[str, Any] = {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 16,
    }
    config = BlipConfig(
        vision_config={**sizes, "image_size": 32, "patch_size": 16},
        text_config={
            **sizes,
            "vocab_size": len(vocabulary),
            "encoder_hidden_size": 16,
            "max_position_embeddings": 64,
            "bos_token_id": 5,
            "pad_token_id": 0,
            "eos_token_id": 3,
            "sep_token_id": 3,
        },
        projection_dim=16,
        image_text_hidden_size=16,
    )
    model = _lively(BlipForConditionalGeneration(config))
    model.save_pretrained(folder)
    tokenizer = BertTokenizerFast(vocab={word: i for i, word in enumerate(vocabulary)})
    tokenizer.save_pretrained(folder)
    _clip_preprocessor(folder, side=32)


def write_blip2(folder: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import Blip2Config, Blip2ForConditionalGeneration, PreTrainedTokenizerFast

    vocabulary = ["<s>", "<pad>", "</s>", "<unk>", *_WORDS.split(), "<image>"]
    ids = {word: i for i, word in enumerate(vocabulary)}
    sizes: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = Blip2Config(
        vision_config={**sizes, "intermediate_size": 16, "image_size": 32, "patch_size": 16},
        qformer_config={**sizes, "intermediate_size": 16, "encoder_hidden_size": 16},
        text_config={
            "model_type": "opt",
            **sizes,
            "ffn_dim": 16,
            "word_embed_proj_dim": 16,
            "max_position_embeddings": 64,
            "vocab_size": len(vocabulary),
            "bos_token_id": 2,
            "pad_token_id": 1,
            "eos_token_id": 0,
        },
        num_query_tokens=4,
        image_token_index=ids["<image>"],
    )
    model = _lively(Blip2ForConditionalGeneration(config))
    with torch.no_grad():  # else it may end before it says a word
        model.get_input_embeddings().weight[config.text_config.eos_token_id].zero_()
    model.save_pretrained(folder)
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="</s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        additional_special_tokens=["<image>"],
    )
    fast.save_pretrained(folder)
    _clip_preprocessor(folder, side=32)


def _clip_preprocessor(folder: Path, *, side: int) -> None:
    _preprocessor(
        folder,
        do_convert_rgb=True,
        do_normalize=True,
        do_rescale=True,
        do_resize=True,
        image_mean=[0.48145466, 0.4578275, 0.40821073],
        image_processor_type="BlipImageProcessor",
        image_std=[0.26862954, 0.26130258, 0.27577711],
        resample=3,
        rescale_factor=1 / 255,
        size={"height": side, "width": side},
    )


def _preprocessor(folder: Path, **values: Any) -> None:
    (folder / "preprocessor_config.json").write_text(json.dumps(values), encoding="utf-8")


def _lively(model: Any) -> Any:
    """``model`` with larger weights: what transformers begins with says nearly nothing."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, (2 / parameter[0].numel()) ** 0.5)
    return model
