"""Noise of a face: bound to key, name and attempt."""

import hashlib
import hmac

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from camouflage.denoise.seeds import generator_for


def drawn(key: str, name: str, attempt: int = 0) -> torch.Tensor:
    return torch.randn(16, generator=generator_for(key, name, attempt))


def test_the_same_words_draw_the_same():
    assert torch.equal(drawn("k", "picture:box"), drawn("k", "picture:box"))


@pytest.mark.parametrize(
    "other",
    [("K", "n", 0), ("k", "N", 0), ("k", "n", 1), ("", "n", 0), ("n", "k", 0), ("k", "n#0", 0)],
)
def test_key_name_and_attempt_each_count(other):
    assert not torch.equal(drawn("k", "n", 0), drawn(*other))


def test_a_name_cannot_pass_for_another_attempt():
    assert not torch.equal(drawn("k", "n#1", 0), drawn("k", "n", 1))
    assert not torch.equal(drawn("k", "n", 11), drawn("k", "n#1", 1))


def test_order_and_what_was_drawn_in_between_do_not_matter():
    names = ["a", "b", "c"]
    forward = {name: drawn("k", name) for name in names}
    torch.randn(7)
    backward = {name: drawn("k", name) for name in reversed(names)}
    assert all(torch.equal(forward[name], backward[name]) for name in names)


def test_the_global_generator_is_neither_read_nor_moved():
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = drawn("k", "n")
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert torch.equal(drawn("k", "n"), first)


def test_the_draw_is_that_of_the_documented_digest():
    """Golden: manifests of old runs are resumed with their key."""
    digest = hmac.new(b"key", b"name#2", hashlib.sha256).digest()
    assert generator_for("key", "name", 2).initial_seed() == int.from_bytes(
        digest[:8], "big"
    ) >> 0 & (2**63 - 1)
    assert generator_for("key", "name", 2).device.type == "cpu"


@given(key=st.text(max_size=20), name=st.text(max_size=20), attempt=st.integers(0, 99))
def test_any_text_is_a_key(key, name, attempt):
    assert generator_for(key, name, attempt).initial_seed() >= 0


def test_many_faces_have_different_noise():
    seeds = {generator_for("k", f"picture:{i}").initial_seed() for i in range(2000)}
    assert len(seeds) == 2000
