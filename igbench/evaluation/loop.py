"""The evaluation loop: load samples, attribute, observe, score, and return rows.

Whatever fails becomes a row with a reason; whatever else is in the batch goes on.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from igbench.core.batch import Attribution, Batch, Measurement, Method, Metric
from igbench.core.inference import full_precision
from igbench.core.score import Score, frozen
from igbench.errors import SampleError, check_baseline_differs
from igbench.evaluation import isolation, kept
from igbench.evaluation.experiment import (
    CURVES,
    LOADING,
    Advance,
    Experiment,
    method_stage,
    metric_stage,
    observation_groups,
)
from igbench.evaluation.guard import Guard
from igbench.evaluation.results import Results, add_owners
from igbench.integration.convergence import gap_by_steps
from igbench.schema import Point, Row, Status, curve_name

log = logging.getLogger(__name__)


def run(
    experiment: Experiment,
    run_id: str = "",
    advance: Advance = lambda stage, samples: None,
    only: Sequence[int] | None = None,
    score: Score | None = None,
) -> Results:
    """Run an experiment, or some of its batches.

    Args:
        experiment: What to run.
        run_id: Identifier for the rows.
        advance: Called after each step of a batch.
        only: Numbers of the batches to run; all by default.
        score: The scalar with its counters; made from the experiment by default.
    """
    results = Results()
    score = score or experiment.score()
    batches = experiment.batches()
    numbers = range(len(batches)) if only is None else only
    positions = [i for number in numbers for i in batches[number]]
    exact = full_precision(experiment.device)
    with experiment.loaded(positions) as ready, frozen(score.model), exact:
        guard = Guard(score, [*ready.methods.values(), *ready.metrics.values()])
        for number in numbers:
            results.extend(_Loop(ready, score, run_id, advance, guard).batch(batches[number]))
    ids = experiment.data.sample_ids
    order = {ids[i]: i for i in positions}
    results.rows.sort(key=lambda r: order[r.sample_id])
    return results


@dataclass(frozen=True)
class _Loop:
    """One batch through all stages."""

    experiment: Experiment
    score: Score
    run_id: str
    advance: Advance
    guard: Guard

    def batch(self, positions: range) -> Results:
        results = Results()
        steps = self.experiment.progress_steps(positions)
        with self.guard.learning():
            batch, results.samples = self._admit(positions)
        self.advance(LOADING, steps.pop(LOADING))
        for sample in results.samples:
            if sample["status"] != "ok":
                results.rows += self._failed_sample(sample)
        if batch is None:
            for stage, samples in steps.items():
                self.advance(stage, samples)
            return results
        attributions: dict[str, Attribution] = {}
        bad: dict[str, list[isolation.Reason]] = {}
        for name, method in self.experiment.methods.items():
            values, bad[name] = self._attribute(batch, name, method, results)
            again = method if getattr(method, "explains_again", True) else None
            attributions[name] = Attribution(values, method.spec, explain=again)
            self.advance(method_stage(name), len(positions))
        for group in observation_groups(self.experiment.metrics):
            self._score(batch, group, attributions, bad, results)
            self.advance(metric_stage(group), len(positions))
        self._keep(batch, positions, attributions, results)
        if CURVES in steps:
            self.advance(CURVES, steps[CURVES])
        if self.score.batch_size < self.experiment.batch_size:
            for sample in results.samples:
                sample["rows_in_a_call"] = self.score.batch_size
        return results

    # -- loading ---------------------------------------------------------------------------

    def _admit(self, positions: range) -> tuple[Batch | None, list[dict[str, Any]]]:
        """Load samples, fix their targets, and keep those that can be explained."""
        e, samples, loaded = self.experiment, [], []
        for i in positions:
            sample: dict[str, Any] = {
                "sample_id": e.data.sample_ids[i],
                "label": e.data.labels[i],
                "status": "ok",
                "reason": "",
            }
            samples.append(sample)
            try:
                active = self._active(i)
                loaded.append((sample, active, *self._load(i, sample, active)))
            except isolation.CAUGHT as error:
                sample |= {"status": "failed", "reason": str(isolation.describe(error))}
                sample_id = sample["sample_id"]
                log.warning("%s: %s", sample_id, error, extra={"sample": sample_id})
        if not loaded:
            return None, samples
        single = loaded[0][0]["prediction"] is None
        places = [i for i, s in zip(positions, samples, strict=True) if s["status"] == "ok"]
        targets = torch.tensor([s["target"] for s, *_ in loaded], device=e.device)
        return Batch(
            self.score,
            torch.cat([x for *_, x, _ in loaded]),
            torch.cat([b for *_, b in loaded]),
            None if single else targets,
            tuple(s["sample_id"] for s, *_ in loaded),
            _stacked([e.data.features_of(i) for i in places], e),
            e.seed,
            active=None
            if loaded[0][1] is None
            else torch.stack([active for _, active, *_ in loaded if active is not None]),
            replacements={
                name: torch.stack([fill(x[0].clone()) for _, _, x, _ in loaded])
                for name, fill in e.data.replacements.items()
            },
            still=None if e.data.still is None else e.data.still.to(e.device),
        ), samples

    def _active(self, i: int) -> Tensor | None:
        """Elements of one sample that take part, (*F)."""
        e = self.experiment
        active = e.data.active_of(i)
        if active is None:
            return None
        if tuple(active.shape) != e.data.shape or active.dtype != torch.bool:
            raise SampleError(
                f"active has shape {tuple(active.shape)} and type {active.dtype}, expected "
                f"booleans of shape {e.data.shape}"
            )
        return active.to(e.device)

    def _load(self, i: int, sample: dict[str, Any], active: Tensor | None) -> tuple[Tensor, Tensor]:
        """Input and baseline of one sample, (1, *F) each; fills in target and outputs."""
        e = self.experiment
        x = e.data.load(i)[None]
        # Towards a GPU only: the other way, a copy could be read before it is there.
        x = x.to(e.device, e.dtype, non_blocking=e.device.type == "cuda")
        if tuple(x.shape[1:]) != e.data.shape:
            raise SampleError(f"has shape {tuple(x.shape[1:])}, expected {e.data.shape}")
        if not bool(torch.isfinite(x).all()):
            raise SampleError("the sample holds NaN or infinite values")
        with torch.no_grad():
            outputs = self.score.outputs(x)
        if not bool(torch.isfinite(outputs).all()):
            raise SampleError("the model returned NaN or infinite outputs")
        if outputs.dim() > 2:
            raise SampleError(
                f"the model returns outputs of shape {tuple(outputs.shape[1:])} for a sample; wrap "
                "it to return (N, K)"
            )
        outputs = outputs.reshape(1, -1)
        single = outputs.shape[1] == 1
        target = 0 if single else self._target(i, outputs)
        names = e.model.class_names
        sample |= {
            "target": target,
            "target_name": names[target] if target < len(names) else str(target),
            "score": float(outputs[0, target]),
            "probability": None if single else self.score.probability(outputs, target),
            "prediction": None if single else int(outputs.argmax()),
        }
        if self.score.fold.module is not None:
            sample["folded_score"] = self._folded(x, target)
        baseline = e.baseline(x.clone(), [sample["sample_id"]], e.data, e.seed)
        if active is not None:
            baseline = torch.where(active, baseline, x)
        if e.data.still is not None:
            baseline = torch.where(e.data.still.to(e.device), x, baseline)
        check_baseline_differs(x, baseline, [sample["sample_id"]])
        if i < e.keep_maps and (features := kept.described(e.data, i, x[0], active)):
            sample["features"] = features
        return x, baseline

    def _folded(self, x: Tensor, target: int) -> float:
        """The output of the folded copy for a sample (1, *F), beside that of the model."""
        with self.score.folding(True), torch.no_grad():
            return float(self.score.outputs(x).reshape(-1)[target])

    def _target(self, i: int, outputs: Tensor) -> int:
        """The class that is explained of one sample, for its outputs (1, K)."""
        wanted = self.experiment.target
        if wanted == "prediction":
            return int(outputs.argmax())
        if wanted == "label":
            chosen = self.experiment.data.labels[i]
        else:
            chosen = wanted[i] if isinstance(wanted, tuple) else wanted
        if chosen is None or not 0 <= chosen < outputs.shape[1]:
            what = "label" if wanted == "label" else "target"
            raise SampleError(f"{what} {chosen} is not one of {outputs.shape[1]} classes")
        return chosen

    def _failed_sample(self, sample: dict[str, Any]) -> list[Row]:
        return [
            self._row(method, metric, sample["sample_id"], math.nan, "failed", sample["reason"])
            for method in self.experiment.methods
            for metric in self.experiment.metrics
        ]

    # -- attributing -----------------------------------------------------------------------

    def _attribute(
        self, batch: Batch, name: str, method: Method, results: Results
    ) -> tuple[Tensor, list[isolation.Reason]]:
        """The map of one method, NaN where it failed, and the reason for each sample."""
        with isolation.measured(self.score, peak=True) as spent:
            values, reasons = isolation.attribute(batch, method, self.guard, name)
        results.stages[method_stage(name)] = _stage(spent)
        for i, sample_id in enumerate(batch.sample_ids):
            if reasons[i]:
                extra = {"sample": sample_id}
                log.warning("%s on %s: %s", name, sample_id, reasons[i], extra=extra)
            share = {
                "forward_rows": spent.forward / len(batch),
                "backward_rows": spent.backward / len(batch),
                "seconds": spent.seconds / len(batch),
                "peak_memory": spent.peak,
            }
            for cost, value in share.items():
                results.rows.append(self._row(name, cost, sample_id, value))
        return values, reasons

    # -- scoring ---------------------------------------------------------------------------

    def _score(
        self,
        batch: Batch,
        group: Mapping[str, Metric],
        attributions: Mapping[str, Attribution],
        bad: Mapping[str, list[isolation.Reason]],
        results: Results,
    ) -> None:
        """Observe once, then score every fitting method with every metric of the group.

        Methods that interfered with others are left out, as if they had not been chosen.
        """
        out = {m for m in attributions if all(r.interference for r in bad[m])}
        fit = {m: a for m, a in attributions.items() if m not in out}
        cells = isolation.failed(batch, group, out, isolation.Reason())
        with isolation.measured(self.score) as spent:
            cells |= isolation.measure(batch, group, fit, self.guard) if fit else {}
        results.stages[metric_stage(group)] = _stage(spent)
        for (metric, method), cell in cells.items():
            for i, sample_id in enumerate(batch.sample_ids):
                value = float(cell.measurement.value[i])
                error = cell.measurement.std_error
                status: Status = "ok"
                reason = cell.reasons[i]
                if bad[method][i]:
                    reason = bad[method][i]
                    value, status = math.nan, reason.status
                elif reason:
                    value, status = math.nan, reason.status
                elif not math.isfinite(value):
                    value, status = math.nan, "undefined"
                    reason = isolation.Reason(cell.measurement.reason or "the value is not finite")
                row = self._row(method, metric, sample_id, value, status, str(reason))
                results.rows.append(
                    row._replace(
                        std_error=math.nan if error is None or status != "ok" else float(error[i]),
                        n_forward=round(cell.spent.forward / len(batch)),
                        n_backward=round(cell.spent.backward / len(batch)),
                        seconds=cell.spent.seconds / len(batch),
                    )
                )
            sound = [i for i in range(len(batch)) if not bad[method][i]]
            self._points(batch, sound, metric, method, cell.measurement, results)

    def _points(
        self,
        batch: Batch,
        sound: Sequence[int],
        metric: str,
        method: str,
        measurement: Measurement,
        results: Results,
    ) -> None:
        own = getattr(self.experiment.metrics[metric], "entry_name", "")
        for plain, (xs, ys) in measurement.curves.items():
            curve = curve_name(metric, own, plain)
            add_owners(results.curves, {curve: [metric]})
            for i in sound:
                for x, y in zip(xs, ys[i].tolist(), strict=True):
                    if math.isfinite(y):
                        results.points.append(self._point(method, curve, batch.sample_ids[i], x, y))

    # -- what the report shows -------------------------------------------------------------

    def _keep(
        self,
        batch: Batch,
        positions: range,
        attributions: Mapping[str, Attribution],
        results: Results,
    ) -> None:
        """Maps of the first samples, and convergence curves."""
        e = self.experiment
        place = {e.data.sample_ids[i]: i for i in positions}
        for i, sample_id in enumerate(batch.sample_ids):
            if place[sample_id] >= e.keep_maps:
                continue
            if e.data.display is not None:
                inputs = results.maps.setdefault("inputs", {})
                inputs[sample_id] = e.data.display(batch.x[i].float().cpu().clone())
            if kept.shows(e.data):
                for name, a in attributions.items():
                    shown = kept.shown_map(e.data, a, batch, i)
                    results.maps.setdefault(name, {})[sample_id] = shown
        curved = [i for i, s in enumerate(batch.sample_ids) if place[s] < e.convergence]
        if curved:
            with isolation.measured(self.score) as spent:
                curves = gap_by_steps(
                    self.score,
                    batch.x[curved],
                    batch.baseline[curved],
                    None if batch.target is None else batch.target[curved],
                )
            results.stages[CURVES] = _stage(spent)
            for rule, (steps, gaps) in curves.items():
                for row, i in zip(gaps.tolist(), curved, strict=True):
                    for n, gap in zip(steps, row, strict=True):
                        results.points.append(
                            self._point(rule, "convergence_gap", batch.sample_ids[i], n, gap)
                        )

    def _row(
        self,
        method: str,
        metric: str,
        sample_id: str,
        value: float,
        status: Status = "ok",
        reason: str = "",
    ) -> Row:
        e = self.experiment
        return Row(
            self.run_id, e.name, e.model.name, method, metric, sample_id, value, status, reason
        )

    def _point(self, method: str, curve: str, sample_id: str, x: float, y: float) -> Point:
        e = self.experiment
        return Point(self.run_id, e.name, e.model.name, method, curve, sample_id, x, y)


def _stage(spent: isolation.Spent) -> dict[str, float]:
    return {
        "forward": float(spent.forward),
        "backward": float(spent.backward),
        "seconds": spent.seconds,
    }


def _stacked(features: Sequence[str | Tensor], experiment: Experiment) -> str | Tensor:
    """Features of a batch: what all samples share, or the numbers of each, (N, *F)."""
    first = features[0]
    if isinstance(first, str) or isinstance(experiment.data.groups, Tensor):
        return first if isinstance(first, str) else first.to(experiment.device)
    numbers = [own for own in features if isinstance(own, Tensor)]
    return torch.stack(numbers).to(experiment.device)
