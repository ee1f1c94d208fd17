"""Whatever lies in place of a lock: it is held, or one line says who has it."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from igbench.run import lock
from tests.helpers import fuzz

OWNER = asdict(lock.Owner(7, "elsewhere", "1", "2", "boot", "machine", True))
FIELDS = [f.name for f in fields(lock.Owner)]
owners = st.dictionaries(st.sampled_from([*FIELDS, "more"]), fuzz.values).map(
    lambda changes: fuzz.as_json(OWNER | changes).encode()
)


@fuzz.few(60)
@given(content=st.binary(max_size=60) | owners | fuzz.damaged(json.dumps(OWNER).encode()))
def test_any_lock(tmp_path_factory, content):
    folder = tmp_path_factory.mktemp("run")
    (folder / lock.NAME).write_bytes(content)
    said = ""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "kill", None)  # no process is asked for on another machine's behalf
        try:
            with lock.held(folder):
                assert json.loads((folder / lock.NAME).read_bytes())["pid"] == os.getpid()
        except lock.LockedError as error:
            said = str(error)
    left = [p.name for p in folder.iterdir()]
    assert left == ([lock.NAME] if said else [])
    assert said.isprintable()
    if said:
        assert (folder / lock.NAME).read_bytes() == content
