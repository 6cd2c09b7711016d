"""What a training run ends with, fresh from the run or read back from a finished folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pennyweight.budget.plan import Plan
from pennyweight.evaluation.groups import Groups
from pennyweight.evaluation.judged import read_metrics
from pennyweight.manifest import read_manifest
from pennyweight.pipeline.folder import close_run, require_same_recipe
from pennyweight.pipeline.judging.judgement import Judgement
from pennyweight.recipe import Recipe
from pennyweight.training.fit import Fitted


@dataclass(frozen=True)
class Outcome:
    """A finished run."""

    folder: Path
    plan: Plan
    judgement: Judgement | None
    """How good the classifier is; none in the processes beside the first, which do not judge."""
    fitted: Fitted

    def as_dict(self) -> dict[str, Any]:
        """What ``train --json`` prints."""
        judgement = self.judgement
        return {
            "folder": str(self.folder),
            "plan": self.plan.as_dict(),
            "metrics": judgement.as_dict() if judgement else None,
            "report": str(judgement.report) if judgement else None,
            "training": vars(self.fitted),
        }


def read_outcome(folder: Path, recipe: Recipe, plan: Plan) -> Outcome:
    """The outcome of a run that is finished already; what such a run left behind of its training is removed.

    The mistakes are not read back: they stand in the report.

    Raises:
        InputError: the classifier was trained by another recipe, or its ``classifier.json`` cannot be read.
    """
    manifest = read_manifest(folder)
    require_same_recipe(manifest.recipe, recipe, folder)
    close_run(folder)
    run = manifest.environment
    judgement = Judgement(
        metrics=read_metrics(manifest.metrics),
        mistakes=(),
        evaluated_on=manifest.metrics["evaluated_on"],
        skipped=manifest.metrics["skipped"],
        report=folder / "report" / "report.html",
        groups=Groups.from_dict(manifest.metrics["groups"]) if "groups" in manifest.metrics else None,
    )
    fitted = Fitted(
        steps=run["steps"],
        total_steps=run["steps_planned"],
        seconds=run["training_seconds"],
        best_step=run["best_step"],
        stopped_early=run["stopped_early"],
        optimizer_bytes=run.get("optimizer_bytes", 0),
    )
    return Outcome(folder, plan, judgement, fitted)
