"""AIC and SIC: interpolation and areas by hand, a model that looks at one corner, file sizes."""

from __future__ import annotations

import io
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.interpolate import griddata
from torch import Tensor

from igbench import metrics
from igbench.core.batch import Attribution, Batch, Measurement
from igbench.core.dataset import Data
from igbench.core.score import Score
from igbench.data.digits import digits
from igbench.errors import InputError
from igbench.metrics.faithfulness.images import Levels, filled, levels_of, size
from igbench.metrics.faithfulness.information import Aic, Sic, polyline
from igbench.metrics.faithfulness.revealing import PROBABILITY, TargetReadings
from igbench.schema import MethodSpec
from tests.helpers import closed_form as cf
from tests.helpers.toy import toy_model

GLOBAL = MethodSpec("global", "", "global", signed=True)
SIDE = 24


def data(channels: int = 3) -> Data:
    plain = digits(toy_model(tuple("0123456789"), None), limit=1)
    return replace(plain, black=(0.0,) * channels, white=(1.0,) * channels)


def corner(x: Tensor) -> Tensor:
    """Two classes; the first wins where neighbours in the square at the top left differ.

    Noise has a mean difference of 1/3, interpolated noise little.
    """
    contrast = x[:, :, 4:12, 4:12].diff(dim=3).abs().flatten(1).mean(dim=1)
    return torch.stack([60 * (contrast - 0.22), 0 * contrast], dim=1)


def noise(n: int = 2) -> Batch:
    g = torch.Generator().manual_seed(4)
    x = torch.rand(n, 3, SIDE, SIDE, generator=g, dtype=torch.float64)
    ids = tuple("abcd"[:n])
    return Batch(Score(corner), x, 0 * x, torch.zeros(n, dtype=torch.long), ids, "pixel", 2)


def maps(batch: Batch) -> dict[str, Attribution]:
    right = torch.zeros_like(batch.x)
    right[:, :, 4:12, 4:12] = 1
    ramp = 1e-3 * torch.arange(SIDE, dtype=batch.x.dtype)  # no ties of whole rows
    right = right + ramp
    wrong = 2 - right
    return {"right": Attribution(right, GLOBAL), "wrong": Attribution(wrong, GLOBAL)}


def scored(metric: Sic | Aic, batch: Batch) -> dict[str, Measurement]:
    return metric.measure(batch, maps(batch), metric.observe(batch))


class TestPictures:
    def test_levels_there_and_back(self):
        levels = Levels((-2.0, 0.0, 1.0), (2.0, 1.0, 0.0))
        image = np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype(np.uint8)
        x = levels.to_input(image, torch.zeros(1, dtype=torch.float64))
        assert x.shape == (3, 5, 7)
        assert np.array_equal(levels.to_bytes(x), image)
        assert float(x[0, 0, 0]) == pytest.approx(-2 + 4 * float(image[0, 0, 0]) / 255)
        assert np.array_equal(levels.to_bytes(x + 0.4 / 255)[..., 1], image[..., 1])
        assert not np.array_equal(levels.to_bytes(x + 0.6 / 255)[..., 1], image[..., 1])

    def test_ramps_come_back_and_the_known_stays(self):
        y, x = np.mgrid[0:9, 0:12]
        image = np.stack([10 * y + 3 * x, 200 - 20 * y, 0 * x + 77], axis=2).astype(np.uint8)
        assert np.array_equal(filled(image, np.zeros((9, 12), bool)), image)
        rough = np.random.default_rng(1).integers(0, 256, (9, 12, 3)).astype(np.uint8)
        known = np.random.default_rng(2).random((9, 12)) < 0.4
        found = filled(rough, known)
        assert np.array_equal(found[known], rough[known])
        assert np.array_equal(
            found[[0, 0, -1, -1], [0, -1, 0, -1]], rough[[0, 0, -1, -1], [0, -1, 0, -1]]
        )
        assert not np.array_equal(found, rough)
        assert filled(rough, np.ones((9, 12), bool)) is rough

    def test_is_scipys_linear_interpolation(self):
        rough = np.random.default_rng(3).integers(0, 256, (10, 10, 3)).astype(np.uint8)
        known = np.random.default_rng(4).random((10, 10)) < 0.3
        known[[0, 0, -1, -1], [0, -1, 0, -1]] = True
        found = filled(rough, known)
        for c in range(3):
            own = griddata(
                np.argwhere(known), rough[..., c][known].astype(float), np.argwhere(~known)
            )
            # Both round to 8 bits; halves may fall either way.
            assert np.abs(found[..., c][~known] - own).max() <= 0.5 + 1e-6

    def test_size_is_that_of_a_lossless_file(self):
        g = np.random.default_rng(5)
        for channels in (1, 3):
            image = g.integers(0, 256, (16, 20, channels)).astype(np.uint8)
            buffer = io.BytesIO()
            Image.fromarray(image.squeeze()).save(buffer, "webp", lossless=True, quality=100)
            assert size(image) == buffer.tell()
            back = np.asarray(Image.open(io.BytesIO(buffer.getvalue())).convert("RGB"))
            assert np.array_equal(back[..., :channels], image)
            assert size(np.zeros_like(image)) < size(image) / 4

    def test_what_has_no_levels_is_refused(self):
        with pytest.raises(InputError, match="black and white must be known"):
            levels_of(None, (3, 8, 8))
        with pytest.raises(InputError, match="1 or 3 channels"):
            levels_of(data(), (2, 8, 8))
        with pytest.raises(InputError, match="it defines no white"):
            levels_of(replace(data(), white=()), (3, 8, 8))
        assert levels_of(data(1), (3, 8, 8)).white == (1.0, 1.0, 1.0)


class TestCurve:
    grid = np.arange(1001) / 1000

    def area(self, metric: Sic, points: list[tuple[float, float]], *ends: float) -> float:
        start, image = (0.0, ends[0]), (100.0, ends[1])
        y = metric.curve(np.array(points), np.array([start, image]), PROBABILITY, self.grid)
        return float(np.trapezoid(y, self.grid))

    def test_area_by_hand(self):
        # (.2, .5), (.6, 1) after scaling by .1 .. .9: .05 + .3 + .4.
        found = self.area(Sic(least=0), [(20, 0.5), (60, 0.9)], 0.1, 0.9)
        assert found == pytest.approx(0.75, abs=1e-12)

    def test_running_maximum_and_clipping(self):
        # Outputs .9, .2 (held at .9), sizes beyond both ends.
        found = self.area(Sic(least=0), [(-5, 0.9), (50, 0.2), (120, 0.2)], 0.1, 0.9)
        assert found == pytest.approx(1, abs=1e-12)
        plain = self.area(Sic(least=0, normalise=False), [(50, 0.4), (60, 0.2)], 0.2, 0.8)
        # (0, .2), (.5, .4), (.6, .4), (1, .8): .15 + .04 + .24.
        assert plain == pytest.approx(0.43, abs=1e-12)

    @pytest.mark.parametrize(("size", "expected"), [(120, 0.25), (-20, 0.75)])
    def test_sizes_beyond_the_ends_are_at_the_ends(self, size, expected):
        # (1, .5): a line to there, then a step; (0, .5): a step, then a line.
        found = self.area(Sic(least=0), [(size, 0.5)], 0.0, 1.0)
        assert found == pytest.approx(expected, abs=1e-3)  # the step falls on one cell of 1000

    def test_more_than_at_the_image_is_cut_off(self):
        # Above the image's 0.7 at (50, 0.9), cut to 1: .25 + .5.
        found = self.area(Sic(least=0), [(50, 0.9)], 0.1, 0.7)
        assert found == pytest.approx(0.75, abs=1e-12)

    def test_undefined(self):
        points = [(20, 0.5)]
        assert math.isnan(self.area(Sic(), points, 0.1, 0.79))
        assert not math.isnan(self.area(Sic(), points, 0.1, 0.81))
        assert math.isnan(self.area(Sic(), points, 0.95, 0.9))
        assert not math.isnan(self.area(Sic(normalise=False), points, 0.95, 0.9))

    def test_polyline_sorts(self):
        x, y = np.array([0, 0.5, 0.25, 1]), np.array([0, 1, 0.0, 1])
        assert polyline(x, y, np.array([0.25, 0.375, 0.75])).tolist() == [0, 0.5, 1]


class TestModel:
    @pytest.mark.parametrize("cls", [Sic, Aic])
    def test_the_map_of_what_the_model_sees_wins(self, cls):
        batch = noise()
        found = scored(cls(data=data()), batch)
        # The square is 64 of 576 pixels, revealed at t = .13 with y = 1; by then the file has less
        # than half of its growth (.42 at most over 25 seeds), as most of the image is smooth.
        assert float(found["right"].value.min()) > 0.5
        assert float(found["wrong"].value.max()) < float(found["right"].value.min()) - 0.3
        xs, y = found["right"].curves[cls.__name__.lower()]
        assert len(xs) == y.shape[1] == 51
        assert float(y.min()) == 0
        assert float(y.max()) == 1
        assert y[:, 0].tolist() == [0, 0]
        assert y[:, -1].tolist() == [1, 1]

    def test_both_share_one_pass(self):
        batch, own = noise(), maps(noise())
        sic, aic = Sic(data=data()), Aic(data=data())
        assert sic.sharing_key == aic.sharing_key
        assert sic.sharing_key != Sic(start=0.1).sharing_key
        seen = sic.observe(batch)
        before = batch.score.cost.snapshot()
        first = sic.measure(batch, own, seen)
        spent = batch.score.cost.since(before).forward
        second = aic.measure(batch, own, seen)
        assert spent == 2 * 2 * 2 * 13, "repeats, samples, maps, thresholds"
        assert batch.score.cost.since(before).forward == spent
        assert not torch.equal(first["right"].value, second["right"].value)
        assert torch.equal(second["right"].value, scored(aic, batch)["right"].value)

    def test_target_readings(self):
        x = cf.images(5)
        score = Score(cf.small_net())
        target = torch.tensor([0, 1, 2, 3, 1])
        p_of_target, right = TargetReadings(score).evaluate(x, target).numpy().T
        logits = cf.small_net()(x).detach()
        hits = (logits.argmax(dim=1) == target).double().numpy()
        assert 0 < hits.sum() < 5
        assert np.array_equal(right, hits)
        p = logits.softmax(dim=1)[torch.arange(5), target].numpy()
        np.testing.assert_allclose(p_of_target, p, rtol=1e-12)
        single = TargetReadings(Score(lambda z: z[:, 0])).evaluate(cf.row(2, 0), None)
        np.testing.assert_allclose(single, [[1 / (1 + math.exp(-2)), 1]], rtol=1e-12)

    def test_pixels_known_from_the_start_are_keyed(self):
        batch = noise()
        metric = Sic(data=data(), start=0.1)
        seen, again = metric.observe(batch)
        assert [int(k.sum()) for k in seen.known] == [57, 57]
        swapped, _ = metric.observe(replace(batch, x=batch.x.flip(0), sample_ids=("b", "a")))
        assert not np.array_equal(seen.known[0], again.known[0])
        assert np.array_equal(seen.known[0], swapped.known[1])
        assert not np.array_equal(seen.known[0], seen.known[1])

    def test_flat_maps_and_low_outputs(self):
        batch = noise()
        metric = Sic(data=data())
        flat = {"m": Attribution(torch.ones_like(batch.x), GLOBAL)}
        assert metric.measure(batch, flat, metric.observe(batch))["m"].value.isnan().all()
        other = replace(batch, target=torch.tensor([0, 1]))
        found = scored(metric, other)["right"]
        assert found.value.isnan().tolist() == [False, True]
        assert found.reason

    def test_magnitudes_or_signs(self):
        batch = noise()
        signed = {"m": Attribution(-maps(batch)["right"].values, GLOBAL)}
        values = [
            float(m.measure(batch, signed, m.observe(batch))["m"].value[0])
            for m in (Sic(data=data()), Sic(data=data(), absolute=False))
        ]
        assert values[0] == float(scored(Sic(data=data()), batch)["right"].value[0])
        assert values[1] < values[0] - 0.3


def test_bad_arguments():
    for bad in ((), (0.2, 0.1), (0.0, 0.5), (0.5, 1.0)):
        with pytest.raises(InputError, match="thresholds"):
            Sic(thresholds=bad)
    with pytest.raises(InputError, match="start is 1"):
        Aic(start=1)


def test_functional_forms():
    batch = noise()
    own = {k: a.values for k, a in maps(batch).items()}
    for name, metric in (("sic", Sic(data=data())), ("aic", Aic(data=data()))):
        found = getattr(metrics, name)(
            corner, batch.x, own, target=0, data=data(), seed=2, sample_ids=("a", "b")
        )
        expected = scored(metric, batch)
        for key, value in found.items():
            assert torch.equal(value, expected[key].value)
