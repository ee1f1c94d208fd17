"""A table from a file: columns, labels, order, pool, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from igbench.core.model import Model
from igbench.data.table_file import table_file
from igbench.errors import InputError

TEXT = "name,b,a,kind\nx,1,2.5,no\ny,3,4,yes\nz,5,6,\nw,7,8e-20,no\n"


def model(columns: tuple[str, ...] = (), **more: object) -> Model:
    found = {"class_names": ("yes",), "label_names": ("no", "yes")} | more
    return Model("m", nn.Linear(2, 1), cam_layer="", weights_hash="", source="", columns=columns,
                 **found)  # fmt: skip


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "table.csv"
    path.write_text(TEXT)
    return path


def test_columns_are_taken_by_the_names_of_the_model(file):
    chosen = {"path": str(file), "label": "kind", "id": "name"}
    data = table_file(model(("a", "b")), limit=None, **chosen)
    rows = {i: data.load(k).tolist() for k, i in enumerate(data.sample_ids)}
    assert rows == {"x": [2.5, 1], "y": [4, 3], "z": [6, 5], "w": [8e-20, 7]}
    assert data.load(0).dtype == torch.float64
    labels = dict(zip(data.sample_ids, data.labels, strict=True))
    assert labels == {"x": 0, "y": 1, "z": None, "w": 0}
    assert data.feature_names(0) == ("a", "b")
    assert data.feature_values(0) == tuple(rows[data.sample_ids[0]])
    assert data.groups.tolist() == [0, 1]
    assert data.reference is None
    assert data.files(0) == (file,)
    plain = table_file(model(), limit=None, **chosen)
    assert plain.feature_names(0) == ("b", "a")


def test_what_is_not_evaluated_is_the_pool(file):
    whole = table_file(model(("a",)), limit=None, path=str(file))
    data = table_file(model(("a",)), limit=1, path=str(file))
    assert data.sample_ids == whole.sample_ids[:1]
    rest = torch.stack([whole.load(i) for i in range(1, 4)])
    assert torch.equal(data.reference(), rest)
    assert data.reference_labels() == [None] * 3
    assert set(whole.sample_ids) == {"row-1", "row-2", "row-3", "row-4"}


def test_labels_are_names_or_numbers_of_classes(file):
    file.write_text("a,k\n1,0\n2,1\n")
    data = table_file(model(label_names=(), class_names=("0",)), limit=None, path=str(file),
                      label="k")  # fmt: skip
    assert sorted(data.labels) == [0, 1]
    with pytest.raises(InputError, match=r"the label '0' in row 1, .* 'no', 'yes'"):
        table_file(model(), limit=None, path=str(file), label="k")


@pytest.mark.parametrize(
    ("text", "settings", "message"),
    [
        (TEXT, {"columns": ["a", "c"]}, "has no column 'c'; it has 'name', 'b', 'a', 'kind'"),
        (TEXT, {"label": "kin"}, r"has no column 'kin'; .* Did you mean 'kind'"),
        (TEXT, {}, "has 'x' in row 1, column 'name', which is no finite number"),
        ("a\n\n1\nnan\n", {}, "has 'nan' in row 2, column 'a'"),
        ("a,b\n1,\n", {}, "has nothing in row 1, column 'b'"),
        ("a,b\n1,2,3\n", {}, "has 3 cells in row 1, and 2 names"),
        ("a,a\n1,2\n", {}, "has the column 'a' twice"),
        ("a,b\n", {}, "has no rows"),
        ("a\n\0\n", {}, "holds NUL characters"),
        ('a\n"1', {}, "cannot be read as a table"),
        ("a,i\n1,u\n2,u\n", {"id": "i"}, "names two rows alike"),
        ("k\n1\n", {"label": "k"}, "has no column besides"),
    ],
)
def test_refused(file, text, settings, message):
    file.write_text(text)
    with pytest.raises(InputError, match=message):
        table_file(model(), limit=None, path=str(file), **settings)


def test_columns_of_another_model_are_refused(file):
    known = model(("a", "b"))
    with pytest.raises(InputError, match=r"data\.columns has another order"):
        table_file(known, limit=None, path=str(file), columns=["b", "a"])
    with pytest.raises(InputError, match=r"data\.columns has 1 names"):
        table_file(known, limit=None, path=str(file), columns=["a"])
    with pytest.raises(InputError, match="has 'kind', which it does not know"):
        table_file(known, limit=None, path=str(file), columns=["a", "kind"])
    with pytest.raises(InputError, match="there is no table"):
        table_file(known, limit=None, path=str(file.with_name("none.csv")))
    with pytest.raises(InputError, match=r"needs a table; set data\.path"):
        table_file(known, limit=None)
    with pytest.raises(InputError, match="it is a folder"):
        table_file(known, limit=None, path=str(file.parent))
