"""Consumes the loop: validates, logs, keeps the best, saves checkpoints and stops."""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from pennyweight.ahead import ahead
from pennyweight.errors import Interrupted, RunError
from pennyweight.model.memory import state_bytes
from pennyweight.signals import stop_requests
from pennyweight.training.agreeing import agreed
from pennyweight.training.checkpoints import Progress, load_checkpoint, save_checkpoint
from pennyweight.training.feeding import Feeder
from pennyweight.training.loop import StepReport, training_steps
from pennyweight.training.objectives import Objective
from pennyweight.training.schedules import ScheduleName, plateau_factor, rate_factor
from pennyweight.training.selection import Selection

CHECKPOINT = "checkpoint.safetensors"
LOG = "log.jsonl"

Scores = Mapping[str, float]
"""Validation scores by name: loss, accuracy, macro_precision, macro_recall, macro_f1; of several labels micro_f1."""


@dataclass(frozen=True)
class Conduct:
    """How a run is conducted, in plain values."""

    schedule: ScheduleName
    warmup: float
    cycles: int
    plateau_patience: int
    gradient_clip: float | None
    selection: Selection
    keep: Literal["best", "last"]
    checkpoint_steps: int


@dataclass(frozen=True)
class Fitted:
    """What a finished run says of itself; the network holds the chosen weights."""

    steps: int
    total_steps: int
    seconds: float
    """Training and validation time, over all sittings."""
    best_step: int | None
    """Steps after which the chosen weights stood, where they were chosen by validation."""
    stopped_early: bool
    optimizer_bytes: int = 0
    """What the optimizers remembered of the parameters."""


@dataclass
class Fit:
    """One run, from its first step or from its last checkpoint to the chosen weights."""

    network: nn.Module
    """As prepared by the accelerator."""
    optimizers: Sequence[Optimizer]
    objective: Objective
    feeder: Feeder
    conduct: Conduct
    accelerator: Any
    folder: Path
    """Where checkpoint and log live until the run is done."""
    validate: Callable[[], Scores] | None
    """Computes validation scores of the network as it stands; none where there is no validation split."""

    def run(self, listen: Callable[[StepReport | Scores, Progress], None]) -> Fitted:
        """Train to the end.

        Args:
            listen: called after each step with its report, and after each validation with its scores.

        Raises:
            Interrupted: SIGINT or SIGTERM came; a checkpoint was saved.
            RunError: training diverged, a checkpoint could not be written, or the one found is damaged.
        """
        self._parameters = self._trainable()
        progress, best = self._resume()
        course, started = self.feeder.course, time.perf_counter() - progress.seconds
        stopped_early = self.conduct.selection.should_stop(progress.validations)
        coming = iter(()) if stopped_early else self.feeder.steps(progress.next_step)
        with stop_requests() as requested, self._log(progress.log_lines) as log, ahead(coming) as steps:
            for report in training_steps(
                self.network,
                self.optimizers,
                self.objective,
                steps,
                accelerator=self.accelerator,
                factor=lambda step: self._factor(step, progress),
                gradient_clip=self.conduct.gradient_clip,
                seed=course.seed,
            ):
                _require_finite(report)
                progress.next_step = report.step + 1
                progress.seconds = time.perf_counter() - started
                log(self._step_record(report), progress)
                listen(report, progress)
                validated = self.validate is not None and course.validates_after(progress.next_step)
                if validated:
                    best = self._validate(progress, best, log, listen)
                progress.seconds = time.perf_counter() - started
                # All must leave the loop after the same step.
                stop = agreed(self.accelerator, bool(requested)) > 0
                done = progress.next_step == course.total_steps
                if validated or stop or done or progress.next_step % self.conduct.checkpoint_steps == 0:
                    self._save(progress, best)
                if stop and not done:
                    where = f"stopped after step {progress.next_step} of {course.total_steps}"
                    raise Interrupted(f"{where}; a checkpoint is saved: the same command with --resume goes on")
                if self.conduct.selection.should_stop(progress.validations):
                    stopped_early = not done
                    break
        return self._finish(progress, best, stopped_early)

    def _trainable(self) -> dict[str, nn.Parameter]:
        network = self.accelerator.unwrap_model(self.network)
        return {name: parameter for name, parameter in network.named_parameters() if parameter.requires_grad}

    def _resume(self) -> tuple[Progress, dict[str, Tensor]]:
        if not (self.folder / CHECKPOINT).exists():
            return Progress(), {}
        return load_checkpoint(self.folder / CHECKPOINT, parameters=self._parameters, optimizers=self.optimizers)

    def _factor(self, step: int, progress: Progress) -> float:
        conduct = self.conduct
        factor = rate_factor(
            step,
            total=self.feeder.course.total_steps,
            warmup=conduct.warmup,
            schedule=conduct.schedule,
            cycles=conduct.cycles,
        )
        if conduct.schedule != "plateau":
            return factor
        return factor * plateau_factor(
            progress.validations[conduct.selection.skipped :],
            higher_is_better=conduct.selection.higher_is_better,
            patience=conduct.plateau_patience,
        )

    def _validate(self, progress: Progress, best: dict[str, Tensor], log: Any, listen: Any) -> dict[str, Tensor]:
        assert self.validate is not None
        scores = self.validate()
        self.network.train()
        progress.validations = (*progress.validations, scores[self.conduct.selection.metric])
        epoch = self.feeder.course.epochs_after(progress.next_step)
        log({"event": "validation", "step": progress.next_step, "epoch": epoch, **scores}, progress)
        listen(scores, progress)
        if not self.conduct.selection.is_new_best(progress.validations):
            return best
        progress.best_step = progress.next_step
        return {name: parameter.detach().clone() for name, parameter in self._parameters.items()}

    def _finish(self, progress: Progress, best: dict[str, Tensor], stopped_early: bool) -> Fitted:
        chosen = best if self.conduct.keep == "best" else {}
        with torch.no_grad():
            for name, tensor in chosen.items():
                self._parameters[name].copy_(tensor)
        return Fitted(
            steps=progress.next_step,
            total_steps=self.feeder.course.total_steps,
            seconds=progress.seconds,
            best_step=progress.best_step if chosen else None,
            stopped_early=stopped_early,
            optimizer_bytes=state_bytes(self.optimizers),
        )

    def _save(self, progress: Progress, best: Mapping[str, Tensor]) -> None:
        if self.accelerator.is_main_process:
            save_checkpoint(
                self.folder / CHECKPOINT,
                parameters=self._parameters,
                best=best,
                optimizers=self.optimizers,
                progress=progress,
            )
        self.accelerator.wait_for_everyone()

    def _step_record(self, report: StepReport) -> dict[str, Any]:
        return {
            "event": "step",
            "step": report.step + 1,
            "epoch": self.feeder.course.epochs_after(report.step + 1),
            "loss": report.loss,
            "learning_rate": report.learning_rate,
            "gradient_norm": report.gradient_norm,
            "examples_per_second": report.items / report.seconds,
        }

    @contextlib.contextmanager
    def _log(self, lines: int) -> Iterator[Callable[[Mapping[str, Any], Progress], None]]:
        """The run's log, cut back to the lines that belong to the checkpoint; only the main process writes."""
        if not self.accelerator.is_main_process:
            yield lambda _record, _progress: None
            return
        path = self.folder / LOG
        kept = path.read_text(encoding="utf-8").splitlines(keepends=True)[:lines] if path.exists() else []
        with path.open("w", encoding="utf-8") as file:
            file.writelines(kept)

            def write(record: Mapping[str, Any], progress: Progress) -> None:
                file.write(json.dumps(record) + "\n")
                file.flush()
                progress.log_lines += 1

            yield write


def _require_finite(report: StepReport) -> None:
    """Raises RunError where training has diverged: going on would only waste the user's time."""
    if not math.isfinite(report.loss):
        raise RunError(
            f"the loss became {report.loss} at step {report.step + 1}: training diverged; lower the learning rate "
            f"(--set training.learning_rate=…) or lengthen the warm-up, and begin anew in another folder"
        )
