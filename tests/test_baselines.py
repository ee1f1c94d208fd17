import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor

from igbench import baselines as b
from igbench.core.dataset import Data
from igbench.errors import InputError
from tests.helpers.toy import same_rng

IDS = ("a", "b", "c", "d")


def pool() -> Tensor:
    return torch.randn(6, 3, 5, 4, generator=torch.Generator().manual_seed(1))


DATA = Data(
    name="made",
    kind="image",
    shape=(3, 5, 4),
    sample_ids=IDS,
    labels=(0, 1, 2, 0),
    load=lambda i: torch.zeros(3, 5, 4),
    features="pixel",
    display=None,
    black=(-1.0, -2.0, -3.0),
    reference=pool,
    source="made up",
    white=(4.0, 5.0, 6.0),
    reference_labels=lambda: (0, 1, 2, 0, 1, None),
)
TABLE = replace(
    DATA,
    kind="table",
    shape=(2,),
    black=(0.0,),
    white=(),
    reference_labels=lambda: (0, 0, 1, 2),
    reference=lambda: torch.tensor([[0.0, 10.0], [1.0, 30.0], [2.0, 20.0], [7.0, 25.0]]),
)
EVERY: list[b.Baseline] = [
    b.Zero(),
    b.Black(),
    b.Constant(0.5),
    b.ChannelMean(),
    b.Blur(1.5),
    b.UniformNoise(),
    b.GaussianNoise(),
    b.FeatureMean(),
    b.FeatureMedian(),
    b.FeatureMode(),
    b.White(),
    b.MaximumDistance(),
    b.DataDistribution(2),
    b.Counterfactual(),
]


def images(dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(4, 3, 5, 4, generator=torch.Generator().manual_seed(0)).to(dtype)


def make(
    baseline: b.Baseline, x: Tensor | None = None, ids: Sequence[str] = IDS, seed: int = 0
) -> Tensor:
    return baseline(images() if x is None else x, ids, DATA, seed)


@pytest.mark.parametrize("baseline", EVERY, ids=lambda v: type(v).__name__)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_contract(baseline: b.Baseline, dtype: torch.dtype) -> None:
    x = images(dtype)
    before = x.clone()
    with same_rng():
        out = make(baseline, x)
    assert torch.equal(x, before)
    assert (out.shape, out.dtype) == (x.shape, dtype)
    assert out.isfinite().all()
    parts = [make(baseline, x[[i]], [IDS[i]]) for i in range(4)]
    assert torch.equal(torch.cat(parts), out)
    turned = make(baseline, x[[3, 1, 0, 2]].contiguous(memory_format=torch.channels_last), "dbac")
    assert torch.equal(turned, out[[3, 1, 0, 2]])
    assert torch.equal(make(baseline, x), out)
    out.zero_()  # its own memory, even between samples
    assert torch.equal(x, before)


@pytest.mark.parametrize("baseline", EVERY, ids=lambda v: type(v).__name__)
def test_samples_do_not_share_memory(baseline: b.Baseline) -> None:
    out = make(baseline)
    rest = out[1:].clone()
    out[0].fill_(99.0)
    assert torch.equal(out[1:], rest)


def test_constants() -> None:
    assert (make(b.Zero()) == 0).all()
    assert (make(b.Constant(0.5)) == 0.5).all()
    black = make(b.Black())
    assert all((black[:, c] == value).all() for c, value in enumerate((-1.0, -2.0, -3.0)))


def test_one_black_serves_all_channels() -> None:
    assert (b.Black()(torch.ones(2, 5), "ab", TABLE, 0) == 0).all()


def test_channel_mean_keeps_the_mean_colour() -> None:
    x = images(torch.float64)
    out = make(b.ChannelMean(), x)
    expected = x.numpy().mean(axis=(2, 3))
    assert np.allclose(out.numpy(), expected[:, :, None, None] + np.zeros((5, 4)))


def test_blur_is_the_gaussian_kernel() -> None:
    """A point far from the edges becomes the normalised Gaussian, on its own channel."""
    sigma, side = 1.3, 41
    x = torch.zeros(1, 2, side, side, dtype=torch.float64)
    x[0, 1, 20, 20] = 1.0
    out = b.Blur(sigma)(x, "a", DATA, 0)[0]
    offsets = np.arange(-20, 21)
    line = np.where(
        np.abs(offsets) <= int(4 * sigma + 0.5), np.exp(-(offsets**2) / 2 / sigma**2), 0
    )
    line /= line.sum()
    assert np.allclose(out[1].numpy(), np.outer(line, line), atol=1e-12)
    assert (out[0] == 0).all()


def test_blur_keeps_constants_and_flattens_with_sigma() -> None:
    x = torch.full((1, 3, 8, 8), 2.5)
    torch.testing.assert_close(b.Blur(3.0)(x, "a", DATA, 0), x)
    y = images()
    assert make(b.Blur(10.0), y).std(dim=(2, 3)).max() < 0.2 * y.std(dim=(2, 3)).min()


def test_uniform_noise_fills_the_range_of_each_channel() -> None:
    x = torch.zeros(2, 2, 100, 100, dtype=torch.float64)
    x[0, 0, 0, 0], x[0, 0, 1, 1] = -4.0, 6.0
    x[1, 1, 0, 0] = 1.0
    out = b.UniformNoise()(x, "ab", DATA, 0)
    u = (out[0, 0].flatten() + 4) / 10
    assert 0 <= u.min() < 0.01
    assert 0.99 < u.max() < 1
    # Mean and variance of 10,000 uniform draws, within five standard errors.
    assert abs(float(u.mean()) - 0.5) < 5 * math.sqrt(1 / 12 / 10_000)
    assert abs(float(u.var()) - 1 / 12) < 5 * math.sqrt(1 / 180 / 10_000)
    assert (out[0, 1] == 0).all()
    assert 0 <= out[1, 1].min() < out[1, 1].max() < 1
    part = b.UniformNoise(low=0.25, high=0.5)(x, "ab", DATA, 0)
    torch.testing.assert_close(part[0, 0], -4 + 10 * (0.25 + 0.25 * (out[0, 0] + 4) / 10))


def test_uniform_noise_of_tables_fills_the_range_of_each_feature() -> None:
    ids = [f"s{i}" for i in range(400)]
    out = b.UniformNoise()(torch.zeros(400, 2), ids, TABLE, 0)
    assert 0 <= out[:, 0].min() < 0.2
    assert 6.8 < out[:, 0].max() < 7
    assert 10 <= out[:, 1].min() < 10.5
    assert 29.5 < out[:, 1].max() < 30


def test_gaussian_noise_is_around_the_input() -> None:
    x = torch.full((1, 1, 100, 100), 3.0, dtype=torch.float64)
    e = b.GaussianNoise(sigma=0.5)(x, "a", DATA, 0) - x
    # Mean and variance of 10,000 normal draws, within five standard errors.
    assert abs(float(e.mean())) < 5 * 0.5 / 100
    assert abs(float(e.var()) - 0.25) < 5 * 0.25 * math.sqrt(2 / 10_000)
    torch.testing.assert_close(b.GaussianNoise(sigma=1.0)(x, "a", DATA, 0) - x, 2 * e)


@pytest.mark.parametrize("baseline", [b.UniformNoise(), b.GaussianNoise()])
def test_noise_hangs_on_seed_and_sample(baseline: b.Baseline) -> None:
    x = images()[:1].expand(2, -1, -1, -1)
    out = make(baseline, x, ["a", "b"])
    assert not torch.equal(out[0], out[1])
    assert not torch.equal(out, make(baseline, x, ["a", "b"], seed=1))
    assert torch.equal(make(baseline, x, ["a", "a"])[1], out[0])


def test_feature_mean_and_median() -> None:
    x = torch.zeros(3, 2)
    mean = b.FeatureMean()(x, "abc", TABLE, 0)
    median = b.FeatureMedian()(x, "abc", TABLE, 0)
    assert mean.tolist() == [[2.5, 21.25]] * 3
    assert median.tolist() == [[1.5, 22.5]] * 3
    odd = replace(TABLE, reference=lambda: torch.tensor([[5.0, 1.0], [9.0, 3.0], [7.0, 2.0]]))
    assert b.FeatureMedian()(x, "abc", odd, 0).tolist() == [[7.0, 2.0]] * 3


def test_white_is_that_of_the_data() -> None:
    out = make(b.White())
    assert all((out[:, c] == value).all() for c, value in enumerate((4.0, 5.0, 6.0)))
    with pytest.raises(InputError, match="data 'made' does not define white"):
        b.White()(torch.zeros(2, 2), "ab", TABLE, 0)


def test_maximum_distance_is_the_far_corner() -> None:
    x = torch.tensor([-0.9, 1.4, 1.5, 1.6, 9.0]).view(1, 1, 5, 1).expand(1, 3, 5, 4)
    out = b.MaximumDistance()(x, "a", DATA, 0)
    assert out[0, 0, :, 0].tolist() == [4, 4, -1, -1, -1]  # from -1 to 4; the middle goes down
    assert out[0, 2, :, 0].tolist() == [6, 6, -3, -3, -3]  # from -3 to 6
    # No input in the range is farther than the far corner.
    other = -1 + 5 * torch.rand(100, 5, 4, generator=torch.Generator().manual_seed(2))
    inside = x[0, 0].clamp(-1, 4)
    far = b.MaximumDistance()(inside.expand(1, 3, 5, 4), "a", DATA, 0)[0, 0]
    assert float((other - inside).abs().sum((1, 2)).max()) < float((far - inside).abs().sum())


def test_maximum_distance_of_tables_is_in_the_range_of_each_feature() -> None:
    x = torch.tensor([[1.0, 29.0], [6.0, 10.0], [3.5, 20.0]])
    out = b.MaximumDistance()(x, "abc", TABLE, 0)
    assert out.tolist() == [[7, 10], [0, 30], [0, 10]]
    with pytest.raises(InputError, match="baseline=maximum_distance needs"):
        b.MaximumDistance()(x, "abc", replace(TABLE, reference=None), 0)


def test_data_distribution_is_a_mean_of_other_samples() -> None:
    x, ids = torch.zeros(300, 2), [f"s{i}" for i in range(300)]
    rows = TABLE.reference().double() if TABLE.reference else torch.zeros(0)
    single = b.DataDistribution(1)(x.double(), ids, TABLE, 0)
    which = (single[:, None] == rows).all(dim=2).double()
    assert (which.sum(dim=1) == 1).all()
    # Each of four rows 75 times on average, sd 7.5: within five of them.
    assert (which.sum(dim=0) - 75).abs().max() < 37.5
    pairs = {tuple(p) for p in b.DataDistribution(2)(x.double(), ids, TABLE, 0).tolist()}
    expected = {
        tuple(((rows[i] + rows[j]) / 2).tolist()) for i in range(4) for j in range(i)
    }  # without replacement: six pairs, no row with itself
    assert pairs == expected
    torch.testing.assert_close(
        b.DataDistribution(9)(x[:2], "ab", TABLE, 0), rows.mean(0).float().expand(2, 2)
    )
    assert not torch.equal(b.DataDistribution(1)(x.double(), ids, TABLE, 1), single)


def test_counterfactual_is_the_nearest_of_another_class() -> None:
    data = replace(TABLE, labels=(0, 1, 2, None))
    x = torch.tensor([[0.0, 10.0], [2.0, 20.0], [6.0, 25.0]])
    out = b.Counterfactual()(x, "abc", data, 0)
    # Classes of the rows: 0, 0, 1, 2.  The sample's own class is left out, however near.
    assert out.tolist() == [[2, 20], [7, 25], [2, 20]]
    with pytest.raises(InputError, match="class None"):
        b.Counterfactual()(x[:1], "d", data, 0)


def test_counterfactual_needs_labels() -> None:
    x = torch.zeros(1, 2)
    alike = replace(TABLE, reference_labels=lambda: (0, 0, None, 0))
    for data in (alike, replace(TABLE, reference_labels=None)):
        with pytest.raises(
            InputError, match=r"another class than 'a' \(class 0\), and data 'made'"
        ):
            b.Counterfactual()(x, "a", data, 0)


def test_names_of_baselines() -> None:
    assert b.named("blur") == b.Blur()
    with pytest.raises(InputError, match=r"unknown baseline 'blurr'.*'blur'"):
        b.named("blurr")


def test_a_missing_pool_is_explained() -> None:
    bare = replace(DATA, reference=None)
    for baseline, name in (
        (b.FeatureMean(), "feature_mean"),
        (b.FeatureMedian(), "feature_median"),
        (b.DataDistribution(), "data_distribution"),
        (b.Counterfactual(), "counterfactual"),
    ):
        with pytest.raises(InputError, match=rf"baseline={name} needs .*'made' keeps none"):
            baseline(images(), IDS, bare, 0)
    with pytest.raises(InputError, match="baseline=uniform_noise needs"):
        b.UniformNoise()(torch.zeros(2, 2), "ab", replace(TABLE, reference=None), 0)
    assert b.UniformNoise()(images(), IDS, bare, 0).shape == (4, 3, 5, 4)


def test_bad_arguments_are_named() -> None:
    with pytest.raises(InputError, match=r"baseline\.sigma is 0; it must be above zero"):
        b.Blur(0)
    with pytest.raises(InputError, match=r"baseline\.sigma is -1"):
        b.GaussianNoise(-1)
    with pytest.raises(InputError, match=r"low is 1\.0, baseline\.high 0\.5; low must be below"):
        b.UniformNoise(low=1.0, high=0.5)
    with pytest.raises(InputError, match=r"defines black for 3 channels, the samples have 1"):
        b.Black()(torch.zeros(2, 1, 8, 8), "ab", DATA, 0)
    for baseline in (b.Blur(), b.ChannelMean()):
        with pytest.raises(InputError, match=r"needs samples with pixels, these have shape \(2,\)"):
            baseline(torch.zeros(1, 2), "a", TABLE, 0)
    for noise in (b.UniformNoise(), b.GaussianNoise()):
        with pytest.raises(InputError, match="there are 3 sample ids for 4 samples"):
            make(noise, ids="abc")


def test_configurations_name_every_argument() -> None:
    folder = Path(__file__).parents[1] / "conf" / "baseline"
    names = {"zero", "black", "channel_mean", "blur", "uniform_noise", "gaussian_noise"}
    names |= {"feature_mean", "feature_median", "white", "maximum_distance"}
    names |= {"data_distribution", "counterfactual", "feature_mode"}
    names |= {"mask", "pad", "unk", "mean_token"}
    files = {f.stem: yaml.safe_load(f.read_text()) for f in folder.glob("*.yaml")}
    assert names <= set(files)
    assert names == set(b.NAMED)
    for name in names:
        arguments = dict(files[name])
        target = arguments.pop("_target_")
        made = getattr(b, target.removeprefix("igbench.baselines."))(**arguments)
        assert target.startswith("igbench.baselines.")
        assert made == type(made)() == b.named(name)
        own = set() if isinstance(made, b.Replacement) else set(vars(made))
        assert set(arguments) == own


COLUMNS = replace(
    TABLE,
    shape=(5,),
    groups=torch.tensor([0, 1, 1, 1, 2]),
    reference=lambda: torch.tensor(
        [
            [3.0, 1.0, 0.0, 0.0, 1.0],
            [1.0, 0.0, 1.0, 0.0, 0.0],
            [9.0, 0.0, 0.0, 1.0, 1.0],
            [1.0, 0.0, 1.0, 0.0, 0.0],
            [4.0, 1.0, 0.0, 0.0, 1.0],
        ]
    ),
    reference_labels=lambda: (0, 0, 1, 1, 1),
)
"""A number, a category of three and a binary number: a twice (first), b twice, c once."""


@pytest.mark.parametrize(
    ("baseline", "expected"),
    [
        (b.FeatureMode(), [1, 1, 0, 0, 1]),  # 1 twice; the first of two; 1 three times
        (b.FeatureMedian(), [3, 1, 0, 0, 1]),  # medians of the elements would be no category
        (b.FeatureMean(), [3.6, 0.4, 0.4, 0.2, 0.6]),  # shares of the categories
        (b.Counterfactual(), [1, 0, 1, 0, 0]),  # the nearest row of class 1, a real one
    ],
)
def test_columns_of_several_elements(baseline, expected) -> None:
    x = torch.tensor([[1.0, 0.0, 1.0, 0.0, 0.0]])
    assert baseline(x, ["a"], COLUMNS, 0)[0].tolist() == pytest.approx(expected)


def test_one_drawn_row_is_a_whole_row() -> None:
    rows = COLUMNS.reference().tolist()
    for i in range(8):
        ids = [f"row {i}"]
        assert b.DataDistribution(1)(torch.zeros(1, 5), ids, COLUMNS, 0)[0].tolist() in rows


def test_numbers_that_only_look_like_a_group_keep_their_medians() -> None:
    pool = torch.tensor([[1.0, 5.0], [2.0, 7.0], [3.0, 9.0]])
    data = replace(TABLE, groups=torch.zeros(2, dtype=torch.long), reference=lambda: pool)
    assert b.FeatureMedian()(torch.zeros(1, 2), ["a"], data, 0).tolist() == [[2, 7]]
    assert b.FeatureMode()(torch.zeros(1, 2), ["a"], data, 0).tolist() == [[1, 5]]


def test_the_mode_of_images_is_that_of_each_pixel() -> None:
    images = torch.tensor([[[[1.0, 5.0]]], [[[1.0, 6.0]]], [[[2.0, 6.0]]]])
    data = replace(DATA, shape=(1, 1, 2), reference=lambda: images)
    found = b.FeatureMode()(torch.zeros(2, 1, 1, 2), ["a", "b"], data, 0)
    assert found.flatten(1).tolist() == [[1, 6], [1, 6]]
