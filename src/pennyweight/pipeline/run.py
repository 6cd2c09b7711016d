"""Trains one recipe, from its text to a finished classifier folder."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pennyweight.budget.backbones import read_config
from pennyweight.budget.plan import Plan
from pennyweight.budget.shapes import Architecture, read_architecture
from pennyweight.cache import default_cache
from pennyweight.classifier import Classifier, save_classifier
from pennyweight.console import Speaker
from pennyweight.data.batches import longest_whole
from pennyweight.data.inspection import Inspection, inspect
from pennyweight.errors import InputError
from pennyweight.evaluation.decisions import Decision
from pennyweight.evaluation.report import write_report
from pennyweight.files import write_bytes, write_json
from pennyweight.manifest import Manifest, read_manifest
from pennyweight.model.device import Machine
from pennyweight.model.memory import weight_bytes
from pennyweight.model.network import Network
from pennyweight.pipeline.deploying import deploy
from pennyweight.pipeline.folder import (
    RUN,
    TRAINING,
    check_folder,
    close_run,
    forget_unworked,
    hold_folder,
    is_finished,
    open_run,
)
from pennyweight.pipeline.gathering import collect_all
from pennyweight.pipeline.judging.judgement import judge_run, report_contents
from pennyweight.pipeline.outcome import Outcome, read_outcome
from pennyweight.pipeline.planning import label_names, plan_architecture
from pennyweight.pipeline.prefixing import keep_prefix
from pennyweight.pipeline.preparation import Collected
from pennyweight.pipeline.processes import start_process
from pennyweight.pipeline.stages.allotting import Surroundings, decide_ranks, found_ranks, keep_ranks
from pennyweight.pipeline.stages.augmenting import describe_copies
from pennyweight.pipeline.stages.doubting import doubt_labels
from pennyweight.pipeline.stages.filtering import record_dropped, say_dropped
from pennyweight.pipeline.stages.fitting import train_network
from pennyweight.pipeline.stages.self_training import self_train
from pennyweight.pipeline.stages.teachers import Teacher, teachers_of
from pennyweight.pipeline.stages.teaching import teach
from pennyweight.pipeline.unpacking import cutting_of, describe_run, draft_manifest
from pennyweight.pipeline.workbench import Workbench, machine_for, set_up
from pennyweight.recipe import Recipe
from pennyweight.training.fit import CHECKPOINT, LOG, Fitted


@dataclass
class Run:
    """One recipe on its way to a classifier; `train_recipe` makes and walks it."""

    recipe: Recipe
    out: Path
    plan: Plan
    architecture: Architecture
    accelerator: Any
    speaker: Speaker
    machine: Machine
    resume: bool

    def go(self) -> Outcome:
        """All stages in order."""
        cache = default_cache()
        collected, gathered = collect_all(self.recipe, self.speaker)
        teachers = teachers_of(self.recipe, collected.label_names)
        around = Surroundings(self.architecture, collected, self.accelerator, self.machine, cache, self.speaker)
        self.plan = decide_ranks(self.recipe, self.plan, around, self.out)
        bench = set_up(
            self.recipe,
            collected,
            plan=self.plan,
            architecture=self.architecture,
            accelerator=self.accelerator,
            machine=self.machine,
            cache=cache,
        )
        inspection = self._inspect(bench)
        if gathered is not None:
            self.speaker.say(f"data: {gathered.line()}")
        with self._folder_held(bench, teachers):
            folder = self.out / TRAINING
            keep_prefix(bench, cache, self.speaker)
            self._record_prefix(kept=bench.prefix is not None)
            doubt_labels(bench, folder, self.speaker)
            told = replace(bench.collected, labels=collected.labels)  # the report is about labels as they were given
            taught = teach(bench, teachers, folder=folder, cache=cache, speaker=self.speaker)
            rounds = self_train(bench, teachers, folder=folder, cache=cache, speaker=self.speaker)
            fitted = train_network(bench, folder, self.speaker)
            deployed = bench.deployed()
            learnt_with: dict[str, Any] = {
                **({"teachers": taught} if taught else {}),
                **({"unlabelled": {**asdict(gathered), "rounds": rounds}} if gathered else {}),
            }
            manifest = self._draft(bench, bench.decision(deployed), fitted, learnt_with)
            return self._finish(deploy(bench, manifest, deployed), bench.network, told, inspection, fitted)

    def _draft(self, bench: Workbench, decision: Decision, fitted: Fitted, learnt_with: Mapping[str, Any]) -> Manifest:
        """The manifest of what was trained, its metrics still missing."""
        weights = weight_bytes(bench.network)
        run = describe_run(fitted, self.machine, processes=self.accelerator.num_processes, weights=weights)
        return draft_manifest(
            self.recipe,
            bench.files,
            plan=self.plan,
            architecture=self.architecture,
            labels=bench.collected.label_names,
            decision=decision,
            environment={**run, **learnt_with},
        )

    @contextlib.contextmanager
    def _folder_held(self, bench: Workbench, teachers: Sequence[Teacher]) -> Iterator[None]:
        """The run's folder, opened by the first process alone and kept from other runs until the end."""
        main, begins = self.accelerator.is_main_process, False
        with hold_folder(self.out) if main else contextlib.nullcontext():
            if main:
                inputs = {
                    "training data": bench.collected.digest,
                    "backbone": bench.files.digest,
                    "tokenizer": bench.files.tokenizer_digest,
                    "machine": self.machine.line(),
                    **{f"teacher {teacher.source}": teacher.digest for teacher in teachers},
                }
                begins = open_run(self.out, self.recipe, inputs=inputs, resume=self.resume)
                if self.recipe.adapters.rank == "sensitivity":
                    keep_ranks(self.plan, self.out)
            self.accelerator.wait_for_everyone()
            try:
                yield
            except (InputError, KeyboardInterrupt):
                if begins:
                    forget_unworked(self.out)
                raise
            finally:
                if bench.prefix is not None:
                    bench.prefix.close()

    def _record_prefix(self, *, kept: bool) -> None:
        """Note in the run's folder whether the frozen layers' output is kept; say so where that has changed."""
        if not self.accelerator.is_main_process:
            return
        path = self.out / TRAINING / RUN
        begun = json.loads(path.read_text(encoding="utf-8"))
        before = begun.get("prefix", kept)
        if before != kept and (self.out / TRAINING / CHECKPOINT).exists():
            ways = {True: "read from the cache", False: "computed in every epoch"}
            self.speaker.say(
                f"--resume: the frozen layers, before {ways[before]}, are from here on {ways[kept]}; the result equals "
                f"that of an undisturbed run within rounding"
            )
        write_json(path, {**begun, "prefix": kept})

    def _inspect(self, bench: Workbench) -> Inspection:
        collected, table, own = bench.collected, bench.table, bench.collected.labelled
        windows = table.windows()
        inspection = inspect(
            collected.cleaned[:own],
            collected.labels[:own],
            collected.label_names,
            token_lengths=table.full_lengths[:own],
            max_length=longest_whole(bench.tokenizer, **cutting_of(self.recipe)._asdict()),
            rows=collected.rows[:own].tolist(),
            leaks=collected.leaked,
            windows=None if windows is None else windows[:own],
        )
        for line in inspection.lines():
            self.speaker.say(f"data: {line}")
        if collected.skipped:
            self.speaker.say(f"data: {len(collected.skipped)} rows skipped, the first is row {collected.skipped[0]}")
        if len(collected.leaked):
            self.speaker.say(f"data: {len(collected.leaked)} leaked items dropped from training")
        say_dropped(collected, self.speaker)
        return inspection

    def _finish(
        self, classifier: Classifier, network: Network, collected: Collected, inspection: Inspection, fitted: Fitted
    ) -> Outcome:
        """Judge and save; only the first process writes, the others wait."""
        report = self.out / "report"
        judgement = None
        if self.accelerator.is_main_process:
            judgement = judge_run(classifier, self.recipe, collected, report)
            metrics = judgement.as_dict()
            manifest = classifier.manifest.model_copy(update={"metrics": metrics})
            log = (self.out / TRAINING / LOG).read_bytes()
            contents = report_contents(
                judgement,
                plan=manifest.plan,
                recipe=manifest.recipe,
                environment=manifest.environment,
                history=[json.loads(line) for line in log.splitlines()],
                data={
                    **inspection.as_dict(),
                    **record_dropped(collected, report),
                    **describe_copies(collected),
                },
            )
            write_bytes(report / LOG, log)
            judgement = replace(judgement, report=write_report(report, contents))
            save_classifier(self.out, network, manifest)
            close_run(self.out)
        self.accelerator.wait_for_everyone()
        return Outcome(self.out, self.plan, judgement, fitted)


def train_recipe(
    recipe: Recipe, out: str | Path, *, resume: bool = False, speaker: Speaker | None = None, cpu: bool = False
) -> Outcome:
    """Train a recipe into a classifier folder.

    Args:
        recipe: what to do.
        out: folder for the classifier; new or empty, unless resuming.
        resume: go on with the run that ``out`` holds, or begin one; a finished one is returned as it is.
        speaker: where progress goes; none: stderr.
        cpu: stay on the CPU even where there is an accelerator.

    Raises:
        InputError: anything the user gave that cannot be used; nothing is half-written.
        BudgetError: the plan is over its budget; refused before data or weights are loaded.
        RunError: the machine failed: no network, disk full.
        Interrupted: Ctrl-C or SIGTERM; a checkpoint was saved.
    """
    folder = Path(out)
    if os.environ.get("WORLD_SIZE", "1") == "1" or os.environ.get("RANK") == "0":
        check_folder(folder, resume=resume)  # of several processes, the first may already have begun
    finished = is_finished(folder)
    labels = read_manifest(folder).labels if finished else label_names(recipe)
    architecture = read_architecture(
        read_config(recipe.backbone.name, revision=recipe.backbone.revision), classes=len(labels)
    )
    ranks = found_ranks(read_manifest(folder)) if finished else None
    plan = plan_architecture(recipe, architecture, classes=len(labels), ranks=ranks)
    plan.require_within_budget()
    speaker = speaker or Speaker()
    if finished:
        outcome = read_outcome(folder, recipe, plan)
        speaker.say(f"{folder}: already finished, nothing is left to train")
        return outcome

    accelerator = start_process(cpu=cpu)
    speaker.enabled = speaker.enabled and accelerator.is_main_process
    machine = machine_for(recipe, architecture, accelerator.device)
    return Run(recipe, folder, plan, architecture, accelerator, speaker, machine, resume).go()
