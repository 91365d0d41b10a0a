"""What makes a run faster and changes its result: each off by default, each what it says."""

import numpy as np
import pytest
import torch

from camouflage.adapters import fused_controlnet
from camouflage.errors import SettingError, WeightsError
from camouflage.pipelines import BasePipeline
from camouflage.pipelines.tiny import CONTROLS, with_noise

STEPS_RUN = 3  # 0.75 of 4
ONES = dict.fromkeys(CONTROLS, 1.0)


@pytest.fixture
def fused_pipe(pipe):
    """The same parts with a fused net of noise."""
    torch.manual_seed(0)
    net = with_noise(fused_controlnet(pipe.controlnet.nets)).eval()
    torch.nn.init.normal_(net.controlnet_cond_embedding.conv_out.weight, std=2.0)
    parts = {**pipe.components, "fused_controlnet": net}
    other = BasePipeline(**parts, controls=pipe.config["controls"], fused_weights=ONES)
    other.set_progress_bar_config(disable=True)
    return other


class TestInterval:
    @pytest.mark.parametrize(
        ("start", "end", "rows"),
        [(0.0, 0.7, [4, 4, 2]), (0.3, 1.0, [2, 4, 4]), (0.3, 0.7, [2, 4, 2])],
    )
    def test_outside_it_one_row_is_computed(self, pipe, redraw, calls, start, end, rows):
        identity, unet = calls(pipe.identity_controlnet), calls(pipe.unet)
        redraw(anonymization_scale=1.25, guidance_start=start, guidance_end=end)
        assert unet == rows
        assert identity == [2] * rows.count(4)

    def test_outside_it_the_run_is_that_of_scale_1(self, redraw):
        seen = {}

        def note(name):
            def keep(pipe, step, t, tensors):
                seen.setdefault(name, []).append(tensors["latents"].clone())
                return tensors

            return keep

        redraw(anonymization_scale=2, guidance_start=0.6, callback_on_step_end=note("late"))
        redraw(anonymization_scale=1, callback_on_step_end=note("one"))
        assert all(torch.equal(seen["late"][i], seen["one"][i]) for i in (0, 1))
        assert not torch.allclose(seen["late"][2], seen["one"][2], atol=1e-3)

    def test_an_interval_without_a_step_is_refused(self, redraw):
        with pytest.raises(SettingError, match="none of 3 steps"):
            redraw(anonymization_scale=1.25, guidance_start=0.4, guidance_end=0.6)

    @pytest.mark.parametrize("scale", [0.5, 1.25])
    def test_what_does_not_change_is_computed_once(self, pipe, redraw, calls, scale):
        nets = [*pipe.controlnet.nets, pipe.identity_controlnet]
        seen = [calls(net.controlnet_cond_embedding) for net in nets]
        redraw(anonymization_scale=scale, guidance_end=0.7)
        assert seen == [[2]] * 4

    def test_it_changes_the_result(self, redraw):
        late = redraw(anonymization_scale=2, guidance_start=0.3)
        assert not torch.allclose(late, redraw(anonymization_scale=2), atol=1e-3)

    @pytest.mark.parametrize("scale", [0, 0.5, 1])
    def test_a_scale_of_1_or_less_stays(self, redraw, scale):
        limited = redraw(anonymization_scale=scale, guidance_end=0.5)
        assert torch.equal(limited, redraw(anonymization_scale=scale))

    def test_the_guidance_by_controls_is_limited_too(self, pipe, redraw, calls):
        unet = calls(pipe.unet)
        redraw(anonymization_scale=1, control_guidance=2.0, guidance_end=0.7)
        assert unet == [4, 4, 2]

    def test_the_closed_form_is_limited_too(self, redraw):
        settings = {"anonymization_scale": 2, "identity": "analytic"}
        limited, whole = redraw(guidance_end=0.4, **settings), redraw(**settings)
        assert not torch.allclose(limited, whole, atol=1e-3)
        assert not torch.allclose(limited, redraw(anonymization_scale=1), atol=1e-3)

    @pytest.mark.parametrize(("start", "end"), [(0.5, 0.5), (0.6, 0.4), (-0.1, 1), (0, 1.1)])
    def test_an_interval_that_cannot_be(self, redraw, start, end):
        with pytest.raises(SettingError, match="guidance_start < guidance_end"):
            redraw(guidance_start=start, guidance_end=end)


class TestControlEvery:
    @pytest.mark.parametrize(("every", "computed"), [(1, 3), (2, 2), (3, 1), (9, 1)])
    def test_nets_are_computed_at_every_nth_step(self, pipe, redraw, calls, every, computed):
        seen = [calls(net) for net in pipe.controlnet.nets]
        identity, unet = calls(pipe.identity_controlnet), calls(pipe.unet)
        redraw(control_every=every)
        assert seen == [[2] * computed] * 3
        assert (identity, unet) == ([2] * STEPS_RUN, [4] * STEPS_RUN)

    def test_what_they_gave_is_used_again(self, redraw):
        """Without them in the other steps it is another picture, as with all of them."""
        again, fresh = redraw(control_every=3), redraw()
        gone = redraw(control_end=dict.fromkeys(CONTROLS, 0.4))
        assert not torch.allclose(again, fresh, atol=1e-4)
        assert not torch.allclose(again, gone, atol=1e-4)

    def test_a_net_that_starts_late_is_computed_when_it_starts(self, pipe, redraw, calls):
        seen = calls(pipe.controlnet.nets[0])
        redraw(control_every=9, control_start={CONTROLS[0]: 0.3})
        assert seen == [2]

    def test_nothing_is_left_for_the_next_call(self, redraw):
        first = redraw(control_every=3)
        redraw(control_every=3, seeds=(5, 6))
        assert torch.equal(first, redraw(control_every=3))

    def test_with_an_interval_both_sides_share_what_was_computed(self, pipe, redraw, calls):
        seen = calls(pipe.controlnet.nets[0])
        redraw(control_every=3, guidance_end=0.7, anonymization_scale=1.25)
        assert seen == [2]

    @pytest.mark.parametrize("every", [0, -1, 1.5])
    def test_a_number_that_cannot_be(self, redraw, every):
        with pytest.raises(SettingError, match="whole number >= 1"):
            redraw(control_every=every)


class TestFused:
    def test_of_one_net_it_is_that_net(self, pipe, redraw):
        """At weight 0 for the others; the condition is the one map."""
        name = CONTROLS[1]
        weights = {**dict.fromkeys(CONTROLS, 0.0), name: 1.0}
        net = fused_controlnet([pipe.controlnet.nets[1]]).eval()
        parts = {**pipe.components, "fused_controlnet": net}
        other = BasePipeline(**parts, controls=pipe.config["controls"], fused_weights={name: 1.0})
        other.set_progress_bar_config(disable=True)
        fused = redraw(pipe=other, control_weights=weights, fused_controls=True)
        torch.testing.assert_close(fused, redraw(control_weights=weights), atol=1e-4, rtol=1e-4)

    def test_it_is_computed_in_their_place(self, fused_pipe, redraw, calls):
        others = [calls(net) for net in fused_pipe.controlnet.nets]
        seen = calls(fused_pipe.fused_controlnet)
        plain, fused = redraw(pipe=fused_pipe), redraw(pipe=fused_pipe, fused_controls=True)
        assert (seen, others) == ([2] * STEPS_RUN, [[2] * STEPS_RUN] * 3)
        assert not torch.allclose(plain, fused, atol=1e-3)

    def test_it_reads_every_map(self, fused_pipe, redraw, maps):
        before = redraw(pipe=fused_pipe, fused_controls=True)
        for name in CONTROLS:
            changed = {**maps, name: [255 - one for one in maps[name]]}
            after = redraw(pipe=fused_pipe, fused_controls=True, control_images=changed)
            assert (before - after).abs().max() > 1e-4, name

    def test_it_does_not_stand_for_other_weights(self, fused_pipe, redraw):
        with pytest.raises(SettingError, match="stands for the weights"):
            redraw(pipe=fused_pipe, fused_controls=True, control_weights={CONTROLS[0]: 0.5})

    def test_it_has_one_end(self, fused_pipe, redraw, calls):
        with pytest.raises(SettingError, match="one start and one end"):
            redraw(pipe=fused_pipe, fused_controls=True, control_end={CONTROLS[0]: 0.5})
        seen = calls(fused_pipe.fused_controlnet)
        end = dict.fromkeys(CONTROLS, 0.7)
        redraw(pipe=fused_pipe, fused_controls=True, control_end=end, control_every=2)
        assert seen == [2]

    def test_a_pipeline_without_it_says_so(self, redraw):
        with pytest.raises(SettingError, match="has no fused ControlNet"):
            redraw(fused_controls=True)

    def test_at_scale_0_it_is_not_computed(self, fused_pipe, redraw, calls):
        seen = calls(fused_pipe.fused_controlnet)
        redraw(pipe=fused_pipe, fused_controls=True, anonymization_scale=0, control_images={})
        assert seen == []

    @pytest.mark.parametrize("weights", [None, {"landmarks": 1.0}, {**ONES, "depth": 1.0}])
    def test_it_must_say_what_it_stands_for(self, pipe, weights):
        parts = {**pipe.components, "fused_controlnet": fused_controlnet(pipe.controlnet.nets)}
        with pytest.raises(WeightsError, match="9 channels of maps"):
            BasePipeline(**parts, controls=pipe.config["controls"], fused_weights=weights)

    def test_after_saving_it_reads_the_maps_in_their_order(
        self, fused_pipe, redraw, maps, tmp_path
    ):
        """The file of settings is sorted by name: the controls' own order must count."""
        assert sorted(CONTROLS) != list(CONTROLS)
        fused_pipe.save_pretrained(tmp_path)
        loaded = BasePipeline.from_pretrained(tmp_path)
        loaded.set_progress_bar_config(disable=True)
        seen = []
        loaded.fused_controlnet.controlnet_cond_embedding.register_forward_hook(
            lambda module, args, output: seen.append(args[0])
        )
        redraw(pipe=loaded, fused_controls=True)
        expected = [torch.from_numpy(np.stack(maps[name])).permute(0, 3, 1, 2) for name in CONTROLS]
        torch.testing.assert_close(seen[0], torch.cat(expected, 1) / 255, atol=1e-6, rtol=0)

    def test_it_is_saved_and_loaded(self, fused_pipe, redraw, tmp_path):
        fused_pipe.save_pretrained(tmp_path)
        loaded = BasePipeline.from_pretrained(tmp_path)
        loaded.set_progress_bar_config(disable=True)
        assert loaded.config["fused_weights"] == ONES
        expected = redraw(pipe=fused_pipe, fused_controls=True)
        # 1e-3: weights from a file lie elsewhere in memory, and sums are blocked by that
        torch.testing.assert_close(
            redraw(pipe=loaded, fused_controls=True), expected, atol=1e-3, rtol=1e-3
        )
        saved = fused_pipe.fused_controlnet.state_dict()
        found = loaded.fused_controlnet.state_dict()
        assert all(torch.equal(saved[name], found[name]) for name in saved)
