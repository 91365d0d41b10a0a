"""What the maps of an aligned face tell about it, and what they must not tell."""

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from camouflage.annotators import (
    ANNOTATORS,
    annotate,
    coarse_colour,
    draw_maps,
    face_region,
    soft_edge,
    soft_lineart,
)
from camouflage.annotators.colour import COARSENESS, skin_colour
from camouflage.annotators.landmarks import LandmarkNet
from camouflage.errors import SettingError
from camouflage.recipe import Recipe
from camouflage.subjects.crops import EYE_DISTANCE


def disc(side: int, radius: float) -> np.ndarray:
    """(side, side) bool."""
    y, x = np.indices((side, side)) - (side - 1) / 2
    return x**2 + y**2 <= radius**2


def detail(picture: np.ndarray, where: np.ndarray) -> float:
    """Energy of the Laplacian of (H, W, 3) on the pixels of a mask."""
    return float(np.square(cv2.Laplacian(picture.astype(np.float32), cv2.CV_32F)[where]).mean())


def eroded(mask: np.ndarray, px: int) -> np.ndarray:
    return cv2.erode(mask.astype(np.uint8), np.ones((2 * px + 1, 2 * px + 1), np.uint8)) > 0


@settings(max_examples=30)
@given(seed=st.integers(0, 10_000), sigma=st.floats(0.3, 12))
def test_a_soft_edge_lies_outside_its_region(seed, sigma):
    region = np.random.default_rng(seed).random((40, 50)) < 0.005
    soft = soft_edge(region, sigma)
    assert (soft[region] == 1).all(), "inside, the original would show through"
    assert soft.min() >= 0
    assert soft.max() <= 1
    distance = cv2.distanceTransform((~region).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    # 2 sigma of dilation, and OpenCV's kernels end at 4 sigma in float (diagonally 1.4 of it)
    assert (soft[distance > 8 * sigma + 4] == 0).all()


def test_a_soft_edge_of_nothing_is_nothing():
    assert (soft_edge(np.zeros((9, 9), bool), 2.0) == 0).all()


def test_line_art_has_the_strokes_outside_and_nothing_inside(texture):
    crop, region = texture(128), disc(128, 40)
    lines = soft_lineart(crop, region)
    assert lines.shape == crop.shape
    assert lines.dtype == np.uint8
    assert (lines[region] == 0).all()
    assert lines[~disc(128, 52)].mean() > 20
    assert (lines == lines[..., :1]).all(), "colour is the other map's"


def test_line_art_draws_a_dark_line_and_no_flat_area():
    crop = np.full((128, 128, 3), 180, np.uint8)
    crop[:, 20:22] = 60
    lines = soft_lineart(crop, np.zeros((128, 128), bool))
    assert lines[64, 20:22].min() > 80
    assert (lines[:, 40:] == 0).all()


def test_line_art_of_a_face_does_not_tell_its_texture(texture):
    region = disc(128, 40)
    ours, other = texture(128, 1), texture(128, 1)
    inner = eroded(region, 9)
    other[inner] = texture(128, 2)[inner]
    assert np.array_equal(soft_lineart(ours, region), soft_lineart(other, region))


@pytest.mark.parametrize("side", [128, 256])
def test_colour_is_the_crop_itself_outside(texture, side):
    crop, region = texture(side), disc(side, side * 0.3)
    colour = coarse_colour(crop, region)
    untouched = soft_edge(region, side / 128) == 0
    assert untouched.mean() > 0.5
    assert np.array_equal(colour[untouched], crop[untouched])


def test_colour_inside_has_no_detail(texture):
    crop, region = texture(128), disc(128, 40)
    colour = coarse_colour(crop, region)
    assert detail(colour, eroded(region, 2)) < 1e-4 * detail(crop, region)


def test_colour_inside_depends_on_coarse_colours_only(texture):
    """Another texture of the same coarse colours gives the same map; nobody reads a face in it."""
    region = disc(128, 40)
    fine = texture(128, 5).astype(int) // 4 - 32  # mean 0, in [-32, 31]
    ours = np.full((128, 128, 3), (150, 120, 100), np.uint8)
    other = np.where(region[..., None], ours + fine, ours).astype(np.uint8)
    difference = coarse_colour(ours, region).astype(int) - coarse_colour(other, region)
    assert np.abs(difference[region]).max() <= 3
    assert np.abs(ours.astype(int) - other).max() >= 31


def test_features_of_a_face_are_gone_from_its_colour_map(face_points):
    """Dark eyes, brows and a mouth on skin: less than a fifth of their contrast is left, smooth."""
    points = face_points(128)
    region = face_region(points, 128)
    crop = np.full((128, 128, 3), 190, np.uint8)
    for x, y in points[-2:]:
        cv2.circle(crop, (round(x), round(y)), 4, (20, 20, 20), -1)
    inner = eroded(region, 2)
    left = coarse_colour(crop, region)[inner]
    assert left.max() - int(left.min()) < 0.2 * 170


def test_colour_inside_does_not_take_the_hair_in(texture):
    region = disc(128, 40)
    ours, other = texture(128, 1), texture(128, 2)
    other[region] = ours[region]
    assert np.array_equal(coarse_colour(ours, region)[region], coarse_colour(other, region)[region])


def test_colour_keeps_a_flat_colour_and_its_mean(texture):
    region = disc(128, 40)
    flat = np.full((128, 128, 3), (200, 150, 120), np.uint8)
    assert np.array_equal(coarse_colour(flat, region), flat)
    crop = texture(128)
    means = [p[region].mean(0) for p in (coarse_colour(crop, region), crop)]
    assert np.allclose(*means, atol=3)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_regions_without_an_edge(texture, share):
    crop, region = texture(64), np.full((64, 64), bool(share))
    colour, lines = coarse_colour(crop, region), soft_lineart(crop, region)
    assert np.array_equal(colour, crop) == (share == 0)
    assert lines.any() == (share == 0)


def test_a_region_of_one_pixel_is_covered(texture):
    crop, region = texture(128), np.zeros((128, 128), bool)
    region[64, 64] = True
    assert (soft_lineart(crop, region)[region] == 0).all()
    assert coarse_colour(crop, region).shape == crop.shape


@pytest.mark.parametrize("name", sorted(ANNOTATORS))
def test_every_map_is_of_the_crops_size_and_leaves_the_crop_alone(name, face_points, texture):
    for side in (64, 128):
        crop, points = texture(side), face_points(side)
        before = crop.copy()
        crop.flags.writeable = False
        (drawn,) = draw_maps([crop], points[None], [name])[name]
        assert drawn.shape == crop.shape
        assert drawn.dtype == np.uint8
        assert np.array_equal(crop, before)


@pytest.mark.parametrize("name", sorted(ANNOTATORS))
def test_no_map_tells_the_texture_of_the_face(name, face_points, texture):
    """For every annotator, those to come too: nothing fine of the region is in its map."""
    points = face_points(128)
    region = face_region(points, 128)
    skin = np.full((128, 128, 3), (180, 140, 120), np.uint8)
    inner = eroded(region, 9)
    portrait = skin.copy()
    portrait[inner] = (portrait + (texture(128) // 4).astype(int) - 32)[inner]
    maps = [draw_maps([crop], points[None], [name])[name][0] for crop in (skin, portrait)]
    assert np.abs(maps[0].astype(int) - maps[1]).max() <= 3


def test_maps_are_those_asked_for_and_in_order(face_points, texture):
    crops = [texture(64, 1), texture(64, 2)]
    points = np.stack([face_points(64)] * 2)
    maps = draw_maps(crops, points, ["colour", "lineart"])
    assert list(maps) == ["colour", "lineart"]
    assert all(len(m) == 2 for m in maps.values())
    assert np.array_equal(
        maps["colour"][1], draw_maps(crops[1:], points[1:], ["colour"])["colour"][0]
    )
    assert draw_maps(crops, points, []) == {}


def test_what_no_annotator_draws_is_refused(face_points, texture):
    with pytest.raises(SettingError, match="depth"):
        draw_maps([texture(64)], face_points(64)[None], ["landmarks", "depth"])


def test_annotating_needs_a_landmark_network(texture):
    with pytest.raises(SettingError, match="landmark"):
        annotate([texture(64)], ["colour"], None)


def test_annotating_is_predicting_and_drawing(texture):
    torch.manual_seed(0)
    net = LandmarkNet(channels=(8, 8, 8), features=8)
    maps = annotate([texture(128)], ["landmarks", "colour"], net)
    assert {name: m[0].shape for name, m in maps.items()} == {
        "landmarks": (128, 128, 3),
        "colour": (128, 128, 3),
    }


def test_no_map_traces_inside_a_region_that_is_given(face_points, texture):
    crop, points = texture(128), face_points(128)
    region = np.zeros((128, 128), bool)
    region[5:40, 5:120] = True
    other = crop.copy()
    other[region] = crop[region][::-1]
    settings = {"regions": [region], "coarseness": 0.5}
    ours, theirs = (draw_maps([c], points[None], ["lineart"], **settings) for c in (crop, other))
    inner = np.s_[12:33, 12:113]
    assert not ours["lineart"][0][inner].any()
    assert np.array_equal(ours["lineart"][0][inner], theirs["lineart"][0][inner])


def test_coarser_colours_are_coarser(face_points, texture):
    crop, points = texture(128), face_points(128)
    fine, coarse = (
        draw_maps([crop], points[None], ["colour"], coarseness=c)["colour"][0] for c in (0.05, 0.2)
    )
    region = face_region(points, 128)
    assert coarse[region].std(0).mean() < 0.7 * fine[region].std(0).mean()
    assert np.array_equal(coarse[:3], fine[:3]), "outside nothing changes"


def test_the_light_at_the_edge_of_a_face_stays(face_points):
    """Half of the face is dark; at its rim each half is still nearly as it is."""
    points = face_points(128)
    region = face_region(points, 128)
    crop = np.full((128, 128, 3), 200, np.uint8)
    crop[:, :64] = 60
    off = np.abs(coarse_colour(crop, region).astype(int) - crop)[..., 0]
    rim = region & ~eroded(region, 4)
    rim[:, 56:72] = False
    inner = eroded(region, round(0.15 * 128))
    assert off[rim].mean() < 0.5 * off[inner].mean()


def test_the_usual_coarseness_is_the_recipes_and_near_the_eye_distance():
    for name in ("mini", "mini-fast"):
        assert Recipe.load(name).colour_coarseness == COARSENESS
    assert pytest.approx(1.0, abs=0.1) == COARSENESS / EYE_DISTANCE


def test_the_colour_of_skin_is_not_that_of_a_hat_or_of_a_far_side():
    """A face under a red hat, dark hair at its side: the mean knows them, the skin does not."""
    crop = np.full((128, 128, 3), (190, 150, 130), np.uint8)
    crop[:36] = (220, 20, 30)
    crop[:, :30] = (25, 20, 18)
    region = disc(128, 50)
    skin = skin_colour(crop, region)
    plain = coarse_colour(crop, region).astype(float)
    middle = np.s_[40:100, 40:100]
    assert np.abs(skin[middle] - crop[middle]).max() < 14
    assert (
        np.abs(skin[middle] - crop[middle]).mean()
        < 0.3 * np.abs(plain[middle] - crop[middle]).mean()
    )


def test_the_colour_of_skin_follows_the_light():
    shade = np.linspace(1.0, 0.55, 128)[None, :, None]
    crop = np.round(np.full((128, 128, 3), (190, 150, 130)) * shade).astype(np.uint8)
    skin = skin_colour(crop, disc(128, 50))
    assert skin[64, 30, 0] > skin[64, 98, 0] + 20


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000), share=st.sampled_from([0.002, 0.1, 1.0]))
def test_the_colour_of_skin_is_a_colour_in_any_region(seed, share):
    random = np.random.default_rng(seed)
    region = random.random((48, 48)) < share
    region[24, 24] = True
    crop = random.integers(0, 256, (48, 48, 3), dtype=np.uint8)
    skin = skin_colour(crop, region)
    assert (skin.shape, skin.dtype) == (crop.shape, np.float32)
    assert np.isfinite(skin).all()
    assert 0 <= skin.min() <= skin.max() <= 255.01


def test_an_empty_region_has_no_colour_of_skin(texture):
    with pytest.raises(SettingError, match="region with pixels"):
        skin_colour(texture(32), np.zeros((32, 32), dtype=bool))
