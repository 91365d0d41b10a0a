"""Each network path against the reference on the same weights.

Tolerance of maps: one level of 255. References truncate to 8 bits where the same float32 sums, in
another order, may lie on either side of a whole number; nothing else differs.
"""

import cv2
import numpy as np
import pytest
import torch

from camouflage.annotators.scene import SceneAnnotators
from camouflage.annotators.scene.keypoints import crop_region, cut, keypoints
from camouflage.annotators.scene.palette import ADE20K
from camouflage.annotators.scene.people import Person

from .conftest import DETECT_PX
from .test_maps import ONE_LEVEL, difference

controlnet_aux = pytest.importorskip("controlnet_aux")


def test_depth_is_the_depth_of_transformers(folder, scene, photo):
    from transformers import DPTForDepthEstimation, DPTImageProcessor

    picture = photo(97, 131)
    processor = DPTImageProcessor.from_pretrained(folder / "annotator-depth")
    model = DPTForDepthEstimation.from_pretrained(folder / "annotator-depth")
    with torch.no_grad():
        output = model(**processor(picture, return_tensors="pt"))
    depth = processor.post_process_depth_estimation(output, target_sizes=[picture.shape[:2]])
    depth = depth[0]["predicted_depth"]
    expected = ((depth - depth.min()) / (depth.max() - depth.min()) * 255).numpy().astype(np.uint8)
    assert difference(scene([picture], ["depth"])["depth"][0][..., 0], expected) <= ONE_LEVEL


@pytest.mark.parametrize("size", [(64, 128), (96, 128), (128, 64), (40, 40)])
def test_normals_are_those_of_controlnet_aux(scene, photo, size):
    picture = photo(*size)
    detector = controlnet_aux.NormalBaeDetector(scene._get("normals").network)
    expected = _reference(detector, picture)
    assert difference(scene([picture], ["normals"])["normals"][0], expected) <= ONE_LEVEL


@pytest.mark.parametrize("lines", ["coarse", "fine"])
@pytest.mark.parametrize("size", [(64, 128), (128, 64), (40, 40)])
def test_line_art_is_that_of_controlnet_aux(folder, scene, photo, size, lines):
    picture = photo(*size)
    fine = SceneAnnotators(folder.joinpath, lineart="fine", detect_px=DETECT_PX)
    nets = {"fine": fine._get("lineart").network, "coarse": scene._get("lineart").network}
    detector = controlnet_aux.LineartDetector(nets["fine"], nets["coarse"])
    expected = _reference(detector, picture, coarse=lines == "coarse")
    ours = (scene if lines == "coarse" else fine)([picture], ["lineart"])["lineart"][0]
    assert difference(ours, expected) <= ONE_LEVEL


def _reference(detector, picture, **how):
    """At the working size, then resized linearly as controlnet_aux itself does at its end."""
    made = detector(
        picture,
        detect_resolution=DETECT_PX,
        image_resolution=DETECT_PX,
        output_type="np",
        **how,
    )
    if "coarse" in how:  # inverted after resizing there: 255 - x commutes but for rounding
        made = 255 - made
    full = cv2.resize(made, picture.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    return 255 - full if "coarse" in how else full


@pytest.mark.parametrize("size", [(64, 96), (128, 192), (97, 131)])
def test_segmentation_is_that_of_transformers(folder, scene, photo, size):
    from transformers import SegformerImageProcessor, UperNetForSemanticSegmentation

    picture, at = photo(*size), folder / "annotator-segmentation"
    working = {(64, 96): (64, 96), (128, 192): (64, 96), (97, 131): (64, 96)}[size]
    processor = SegformerImageProcessor.from_pretrained(
        at, size={"height": working[0], "width": working[1]}
    )
    model = UperNetForSemanticSegmentation.from_pretrained(at).eval()
    with torch.no_grad():
        output = model(**processor(picture, return_tensors="pt"))
    expected = processor.post_process_semantic_segmentation(output, target_sizes=[size])[0].numpy()
    classes = scene._get("segmentation").classes([picture])[0]
    assert len(np.unique(expected)) > 5
    assert np.mean(classes != expected) < 0.001  # the two best scores may be equal to rounding
    np.testing.assert_array_equal(
        scene([picture], ["segmentation"])["segmentation"][0], ADE20K[classes]
    )


def test_people_are_those_of_transformers(folder, scene, photo):
    from transformers import RTDetrForObjectDetection, RTDetrImageProcessor

    picture, at = photo(97, 131), folder / "detector-person"
    processor = RTDetrImageProcessor.from_pretrained(at)
    model = RTDetrForObjectDetection.from_pretrained(at).eval()
    with torch.no_grad():
        output = model(**processor(picture, return_tensors="pt"))
    found = processor.post_process_object_detection(
        output, threshold=0.3, target_sizes=[picture.shape[:2]]
    )[0]
    boxes = found["boxes"][found["labels"] == 0].numpy()
    scores = found["scores"][found["labels"] == 0].numpy()
    people = scene.people([picture])[0]
    assert len(people) == len(boxes) > 1
    for person, box, score in zip(people, boxes, scores, strict=True):
        assert person.score == pytest.approx(score, abs=1e-5)  # float32 sums
        low, high = np.floor(box[:2] + 1e-3), np.ceil(box[2:] - 1e-3)
        expected = np.clip([*low, *high], 0, [131, 97, 131, 97])
        # a box's edge may lie on a whole pixel to rounding
        assert np.abs(np.array(person.box_xyxy) - expected).max() <= 1


PEOPLE = [(10, 5, 70, 90), (60, 20, 130, 97), (0, 0, 131, 97)]


def test_keypoints_are_those_of_transformers_from_the_same_heatmaps():
    """To 0.01 px: the reference smooths and inverts in float32, we invert in float64."""
    from transformers import VitPoseImageProcessor
    from transformers.models.vitpose.modeling_vitpose import VitPoseEstimatorOutput

    draw = np.random.default_rng(3)
    heatmaps = np.zeros((3, 17, 16, 12), np.float32)
    rows, columns = np.mgrid[:16, :12]
    for maps in heatmaps:
        for one in maps:
            x, y, height = draw.uniform(0, 11), draw.uniform(0, 15), draw.uniform(0.3, 1)
            one[:] = height * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 2 / 2**2)
    processor = VitPoseImageProcessor(size={"height": 64, "width": 48})
    boxes = [[[x0, y0, x1 - x0, y1 - y0] for x0, y0, x1, y1 in PEOPLE]]
    output = VitPoseEstimatorOutput(heatmaps=torch.from_numpy(heatmaps.copy()))
    expected = processor.post_process_pose_estimation(output, boxes=boxes)[0]
    regions = np.stack([crop_region(box, (64, 48)) for box in PEOPLE])
    for ours, theirs in zip(keypoints(heatmaps, regions), expected, strict=True):
        np.testing.assert_allclose(ours[:, :2], theirs["keypoints"].numpy(), atol=0.01)
        np.testing.assert_allclose(ours[:, 2], theirs["scores"].numpy(), atol=1e-6)


def test_the_crop_of_a_person_is_that_of_transformers(photo):
    """To two levels inside: OpenCV interpolates in steps of 1/32 px, SciPy exactly."""
    from transformers import VitPoseImageProcessor

    picture = photo(97, 131)
    processor = VitPoseImageProcessor(size={"height": 64, "width": 48}, do_normalize=False)
    for box in PEOPLE:
        xywh = [box[0], box[1], box[2] - box[0], box[3] - box[1]]
        theirs = processor(picture, boxes=[[xywh]], return_tensors="np")["pixel_values"][0]
        ours = cut(picture, crop_region(box, (64, 48)), (64, 48))
        apart = np.abs(ours - theirs.transpose(1, 2, 0) * 255).max(2)
        # at the picture's own edge the two blend with black differently
        assert np.quantile(apart, 0.95) <= 2
        assert np.median(apart) <= 0.5


def test_pose_is_that_of_transformers_end_to_end(folder, scene, photo):
    """Nearly all points to 0.1 px: of a smooth picture, away from its edges, the crops are alike.

    Where a random network's heatmap has two equal peaks, a level of difference chooses.
    """
    from transformers import VitPoseForPoseEstimation, VitPoseImageProcessor

    picture, at = cv2.GaussianBlur(photo(300, 300), (0, 0), 8), folder / "annotator-pose"
    people = [(100, 80, 170, 190), (90, 60, 200, 210), (120, 120, 160, 160)]
    processor = VitPoseImageProcessor.from_pretrained(at)
    model = VitPoseForPoseEstimation.from_pretrained(at).eval()
    boxes = [[[x0, y0, x1 - x0, y1 - y0] for x0, y0, x1, y1 in people]]
    with torch.no_grad():
        output = model(**processor(picture, boxes=boxes, return_tensors="pt"))
    expected = processor.post_process_pose_estimation(output, boxes=boxes)[0]
    theirs = np.stack([one["keypoints"].numpy() for one in expected])
    found = [Person(box_xyxy=box, score=1.0) for box in people]
    ours = scene._get("pose").keypoints([picture], [found])[0]
    apart = np.linalg.norm(ours[..., :2] - theirs, axis=-1)
    assert np.mean(apart < 0.1) > 0.9


@pytest.mark.parametrize("kind", ["blip", "blip2"])
def test_raw_captions_are_those_of_transformers(folder, photo, kind):
    """The same words: beam search draws nothing at random."""
    from transformers import (
        AutoTokenizer,
        Blip2ForConditionalGeneration,
        Blip2Processor,
        BlipForConditionalGeneration,
        BlipImageProcessor,
        BlipProcessor,
    )

    at = folder / f"captioner-{kind}"
    images, tokenizer = BlipImageProcessor.from_pretrained(at), AutoTokenizer.from_pretrained(at)
    if kind == "blip":
        model = BlipForConditionalGeneration.from_pretrained(at).eval()
        processor = BlipProcessor(images, tokenizer)
    else:
        model = Blip2ForConditionalGeneration.from_pretrained(at).eval()
        processor = Blip2Processor(images, tokenizer, num_query_tokens=4)
    pictures = [photo(50, 70), photo(50, 70, 60)]
    inputs = processor(images=pictures, return_tensors="pt")
    tokens = model.generate(**inputs, num_beams=3, max_new_tokens=30, do_sample=False)
    expected = [text.strip() for text in processor.batch_decode(tokens, skip_special_tokens=True)]
    captioner = SceneAnnotators(folder.joinpath, captioner=kind)._get("caption")
    assert captioner.raw(pictures) == expected
    assert all(expected)
    assert [captioner.raw([picture])[0] for picture in pictures] == expected
