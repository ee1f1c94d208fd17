"""Our LIME against the library lime, on its own masks."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from igbench.surrogates.linear import likeness, surrogate

lime_image = pytest.importorskip("lime.lime_image")


def test_the_surrogate_is_that_of_the_library():
    segments = np.arange(64).reshape(8, 8) // 8
    image = np.random.default_rng(1).random((8, 8, 3))
    w = np.random.default_rng(2).normal(size=(8, 8, 3))

    def predict(images: np.ndarray) -> np.ndarray:
        return np.tanh((images * w).sum(axis=(1, 2, 3)))[:, None]

    explainer = lime_image.LimeImageExplainer(
        kernel_width=0.25,
        random_state=np.random.RandomState(5),
    )
    theirs = explainer.explain_instance(
        image,
        predict,
        labels=(0,),
        top_labels=None,
        num_features=8,
        num_samples=200,
        segmentation_fn=lambda _: segments,
        random_seed=0,
    )
    masks = np.random.RandomState(5).randint(0, 2, 200 * 8).reshape(200, 8)
    masks[0] = 1
    means = np.stack([image[segments == s].mean(axis=0) for s in range(8)])[segments]
    rows = np.where(masks[:, segments][..., None] == 1, image, means)
    present = torch.from_numpy(masks).bool()
    fit = surrogate(present, torch.from_numpy(predict(rows)[:, 0]), likeness(present), ridge=1)
    expected = dict(theirs.local_exp[0])
    assert fit.values.tolist() == pytest.approx([expected[s] for s in range(8)], abs=1e-10)
    assert fit.intercept == pytest.approx(theirs.intercept[0], abs=1e-10)
