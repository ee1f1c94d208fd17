"""A fixture for pytest, `igbench`, that fails a test when explanations get worse than a baseline.

Nothing but pytest and the standard library is imported until a test checks something.  It may be
imported before pytest starts (PYTEST_DONT_REWRITE: that is no reason to warn).
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from igbench.records.compare import Comparison, FailOn

PROPERTY = "igbench"
"""Name of the property of a test that holds the record of a check as JSON."""
BASELINE, UPDATE, RESULTS = "--igbench-baseline", "--igbench-update", "--igbench-results"
FAIL_ON, ACCEPT = "--igbench-fail-on", "--igbench-accept"
COLOURS = {"failed": "red", "refused": "red", "ignored": "yellow"}
FAIL_ON_CHOICES = ("regression", "any-change", "never")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the command line."""
    group = parser.getgroup("igbench", "checks of explanations (fixture igbench)")
    group.addoption(
        BASELINE, metavar="DIR", default="baselines",
        help="folder of the baselines, from the rootdir; baselines by default",
    )  # fmt: skip
    group.addoption(
        UPDATE, action="store_true",
        help="write the baselines of the tests that run, instead of checking against them",
    )  # fmt: skip
    group.addoption(
        FAIL_ON, choices=FAIL_ON_CHOICES, default=None,
        help="what fails a check, in place of what the tests say; regression by default",
    )  # fmt: skip
    group.addoption(
        ACCEPT, metavar="CELL=REASON", action="append", default=[],
        help="accept the change of a method/metric from now on ('*' matches anything), and say "
        "why, in the file NAME.accepted.yaml beside the baseline; may be repeated",
    )  # fmt: skip
    group.addoption(
        RESULTS, metavar="DIR", default=None,
        help="where runs of failed checks are kept, from the rootdir; a temporary folder if none",
    )  # fmt: skip


def pytest_configure(config: pytest.Config) -> None:
    """Refuse what cannot be understood, and collect the checks where results are reported."""
    accepted(config)
    if not hasattr(config, "workerinput"):  # not in a worker of pytest-xdist
        config.pluginmanager.register(Ledger(config), "igbench-ledger")


def accepted(config: pytest.Config) -> dict[str, str]:
    """Patterns of cells to the reasons why they are accepted, from the command line.

    Raises:
        UsageError: One has no reason.
    """
    found = {}
    for word in config.getoption(ACCEPT):
        pattern, _, reason = word.partition("=")
        if not pattern.strip() or not reason.strip():
            raise pytest.UsageError(
                f"{ACCEPT} {shlex.quote(word)} needs a cell and a reason: {ACCEPT} "
                "'ig/completeness=fewer steps on purpose'"
            )
        found[pattern.strip()] = reason.strip()
    return found


@pytest.fixture
def igbench(request: pytest.FixtureRequest) -> Checks:
    """Checks of explanations against baselines: `igbench.check(model, data, baseline="v1")`."""
    return Checks(request)


class Checks:
    """Checks of one test, see `Checks.check`."""

    def __init__(self, request: pytest.FixtureRequest) -> None:
        self._request = request
        self._config = request.config

    def check(
        self,
        model: Any,
        data: Any,
        *,
        baseline: str,
        fail_on: FailOn = "regression",
        accept: Mapping[str, str] | None = None,
        **options: Any,
    ) -> Comparison:
        """Fail the test if explanations of a model are worse than those of a baseline.

        Args:
            model: As for `igbench.evaluate`.
            data: As for `igbench.evaluate`.
            baseline: Name of the baseline.
            fail_on: What fails: a "regression", "any-change" or "never"; the option
                --igbench-fail-on comes before it.
            accept: Cells ("method/metric") to the reason why they do not fail.
            **options: All others of `igbench.check` and `igbench.evaluate`: methods, metrics, ...

        Returns:
            The verdicts.

        Raises:
            AssertionError: The check fails, or there is no such baseline; the message says what
                happened and what to do.
            InputError: Something cannot be used.
        """
        __tracebackhide__ = True
        from igbench.errors import InputError

        fault = None
        try:
            text, comparison = self._judged(model, data, baseline, fail_on, accept or {}, options)
        except InputError as error:
            self._note(baseline, "refused", f"baseline {baseline}: {error}")
            fault = InputError(error)
        if fault is not None:
            raise fault
        if text:
            raise AssertionError(text)
        return comparison

    def _judged(
        self,
        model: Any,
        data: Any,
        baseline: str,
        fail_on: FailOn,
        accept: Mapping[str, str],
        options: Mapping[str, Any],
    ) -> tuple[str, Any]:
        """Why the check fails ("" if it does not), and the verdicts."""
        from igbench import gate
        from igbench.records import baselines

        root, update = self._folder(BASELINE), self._config.getoption(UPDATE)
        if not update and baseline not in baselines.names(root):
            text = self._missing(baseline, root, baselines.names(root))
            self._note(baseline, "failed", f"no baseline {baseline}")
            return text, None
        own = accepted(self._config)
        given: dict[str, Any] = {"progress": False, "results_dir": self._results(), **options}
        found = gate.checked(
            model, data, baseline=baseline, baselines_dir=root, update=update,
            fail_on=self._config.getoption(FAIL_ON) or fail_on, accept=accept, accept_now=own,
            **given,
        )  # fmt: skip
        self._note(baseline, gate.state(found), gate.verdict(found), found.used)
        text = ""
        if found.failed:
            cell = gate.worst(found)
            text = gate.message(found, self._command(ACCEPT, f"{cell}=WHY"), self._command(UPDATE))
        return text, found.comparison

    def _note(self, baseline: str, state: str, verdict: str, used: Sequence[str] = ()) -> None:
        entry = {"baseline": baseline, "state": state, "verdict": verdict, "accepted": [*used]}
        self._request.node.user_properties.append((PROPERTY, json.dumps(entry)))

    def _folder(self, option: str) -> Path:
        return self._config.rootpath / self._config.getoption(option)

    def _results(self) -> Path:
        if self._config.getoption(RESULTS):
            return self._folder(RESULTS)
        factory = self._request.getfixturevalue("tmp_path_factory")
        return Path(factory.getbasetemp()) / "igbench"

    def _command(self, *words: str) -> str:
        """A command that runs this test alone."""
        test = str(self._config.cwd_relative_nodeid(self._request.node.nodeid))
        root = self._config.getoption(BASELINE)
        where = [] if root == "baselines" else [BASELINE, root]
        return shlex.join(["pytest", test, *where, *words])

    def _missing(self, baseline: str, root: Path, known: list[str]) -> str:
        have = f"baselines there: {', '.join(known)}" if known else "there are no baselines"
        return (
            f"no baseline {baseline!r} in {root} ({have}).\n"
            "Write it with a version that is right, and commit it:\n"
            f"  {self._command(UPDATE)}"
        )


class Ledger:
    """The checks of a session, from the reports of its tests, wherever they ran."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.found: list[tuple[str, dict[str, Any]]] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Collect the checks of a test when it is over."""
        if report.when == "teardown":
            for name, value in report.user_properties:
                if name == PROPERTY:
                    self.found.append((report.nodeid, json.loads(str(value))))

    def faults(self) -> Iterator[str]:
        """What is wrong with the session as a whole."""
        used = {pattern for _, entry in self.found for pattern in entry["accepted"]}
        for pattern in accepted(self.config):
            if self.found and pattern not in used:
                yield f"{ACCEPT} {pattern!r} matches no cell that has changed, in any check"
        written = [e["baseline"] for _, e in self.found if e["state"] in ("written", "replaced")]
        for name in sorted({name for name in written if written.count(name) > 1}):
            yield (
                f"baseline {name!r} was written {written.count(name)} times, and the last one "
                "remains; give each check a baseline of its own"
            )

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail a session that would pass although an option was not understood."""
        if session.exitstatus == pytest.ExitCode.OK and any(self.faults()):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """List all checks, one line each."""
        if not self.found:
            return
        terminalreporter.section("igbench")
        for nodeid, entry in self.found:
            line = f"{entry['state']:8} {entry['verdict']} [{nodeid}]"
            terminalreporter.write_line(line, **{COLOURS.get(entry["state"], "green"): True})
        for text in self.faults():
            terminalreporter.write_line(f"ERROR    {text}", red=True)
