"""Trains one recipe, from its text to a finished classifier folder."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pennyweight.budget.backbones import read_config
from pennyweight.budget.plan import Plan
from pennyweight.budget.shapes import Architecture, read_architecture
from pennyweight.classifier import Classifier, save_classifier
from pennyweight.console import Speaker
from pennyweight.data.batches import TokenTable, tokenise
from pennyweight.data.inspection import Inspection, inspect
from pennyweight.evaluation.calibration import fit_temperature
from pennyweight.evaluation.metrics import StreamingMetrics
from pennyweight.evaluation.report import write_report
from pennyweight.files import write_bytes
from pennyweight.manifest import read_manifest
from pennyweight.model.adapters import require_planned_count
from pennyweight.model.backbone import BackboneFiles, find_backbone, load_tokenizer
from pennyweight.model.device import Machine, best_device, choose_machine
from pennyweight.model.inference import compute_logits
from pennyweight.model.network import Network, build_network
from pennyweight.pipeline.folder import TRAINING, check_folder, close_run, hold_folder, is_finished, open_run
from pennyweight.pipeline.judging import judge_run, report_contents
from pennyweight.pipeline.outcome import Outcome, read_outcome
from pennyweight.pipeline.planning import label_names, plan_architecture
from pennyweight.pipeline.preparation import Collected, collect
from pennyweight.pipeline.unpacking import conduct_of, course_of, describe_run, draft_manifest, head_of
from pennyweight.recipe import Recipe
from pennyweight.training.feeding import Feeder
from pennyweight.training.fit import LOG, Fit, Fitted
from pennyweight.training.objectives import cross_entropy
from pennyweight.training.optimizers import make_optimizers


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
        collected = collect(self.recipe)
        files = find_backbone(self.recipe.backbone.name, revision=self.recipe.backbone.revision)
        tokenizer = load_tokenizer(files, add_prefix_space=self.recipe.text.add_prefix_space)
        table = tokenise(collected.cleaned, tokenizer, max_length=self.recipe.text.max_length)
        inspection = self._inspect(collected, table)
        network = self._build(files, classes=len(collected.label_names))
        with self._folder_held(collected, files):
            fitted = self._train(self._fit(network, collected, table, tokenizer.pad_token_id))
            temperature = self._temperature(network, collected, table, tokenizer.pad_token_id)
            manifest = draft_manifest(
                self.recipe,
                files,
                plan=self.plan,
                architecture=self.architecture,
                labels=collected.label_names,
                temperature=temperature,
                environment=describe_run(fitted, self.machine, processes=self.accelerator.num_processes),
            )
            classifier = Classifier(manifest, network.requires_grad_(False).eval(), tokenizer)
            return self._finish(classifier, network, collected, inspection, fitted)

    @contextlib.contextmanager
    def _folder_held(self, collected: Collected, files: BackboneFiles) -> Iterator[None]:
        """The run's folder, opened by the first process alone and kept from other runs until the end."""
        main = self.accelerator.is_main_process
        with hold_folder(self.out) if main else contextlib.nullcontext():
            if main:
                inputs = {
                    "training data": collected.digest,
                    "backbone": files.digest,
                    "tokenizer": files.tokenizer_digest,
                    "machine": self.machine.line(),
                }
                open_run(self.out, self.recipe, inputs=inputs, resume=self.resume)
            self.accelerator.wait_for_everyone()
            yield

    def _inspect(self, collected: Collected, table: TokenTable) -> Inspection:
        inspection = inspect(
            collected.cleaned,
            collected.labels,
            collected.label_names,
            token_lengths=table.full_lengths,
            max_length=self.recipe.text.max_length,
            rows=collected.rows.tolist(),
            leaks=collected.leaked,
        )
        for line in inspection.lines():
            self.speaker.say(f"data: {line}")
        if collected.skipped:
            self.speaker.say(f"data: {len(collected.skipped)} rows skipped, the first is row {collected.skipped[0]}")
        if len(collected.leaked):
            self.speaker.say(f"data: {len(collected.leaked)} leaked items dropped from training")
        return inspection

    def _build(self, files: BackboneFiles, *, classes: int) -> Network:
        import torch

        recipe = self.recipe
        torch.manual_seed(recipe.training.seed)
        network = build_network(
            files,
            self.machine,
            architecture=self.architecture,
            planned=self.plan.matrices,
            head=head_of(recipe, classes=classes),
            adapter_dropout=recipe.adapters.dropout,
            keep_dropout=recipe.backbone.dropout,
        )
        require_planned_count(network, self.plan.trainable)
        return network

    def _fit(self, network: Network, collected: Collected, table: TokenTable, pad_id: int) -> Fit:
        training = self.recipe.training
        accelerator = self.accelerator
        optimizers = make_optimizers(
            training.optimizer,
            network.trainable(),
            learning_rate=training.learning_rate,
            betas=training.betas,
            epsilon=training.epsilon,
            weight_decay=training.weight_decay,
        )
        prepared, *optimizers = accelerator.prepare(network, *optimizers)
        feeder = Feeder(
            course=course_of(self.recipe, items=len(collected.training)),
            table=table.take(collected.training),
            labels=collected.labels[collected.training],
            pad_id=pad_id,
            length=self.recipe.text.max_length if self.recipe.text.padding == "fixed" else None,
            device=accelerator.device,
            process=accelerator.process_index,
            processes=accelerator.num_processes,
        )
        return Fit(
            network=prepared,
            optimizers=optimizers,
            objective=cross_entropy(label_smoothing=training.label_smoothing),
            feeder=feeder,
            conduct=conduct_of(self.recipe),
            accelerator=accelerator,
            folder=self.out / TRAINING,
            validate=self._validator(network, collected, table, pad_id) if len(collected.validation) else None,
        )

    def _train(self, fit: Fit) -> Fitted:
        course = fit.feeder.course
        self.speaker.say(
            f"training: {course.items:,} items, {course.total_steps:,} steps, {self.plan.trainable:,} of "
            f"{self.plan.budget:,} parameters, {self.machine.line()}"
        )
        with self.speaker.bar("training", course.total_steps) as bar:

            def listen(event: Any, progress: Any) -> None:
                if isinstance(event, Mapping):
                    epoch = course.epochs_after(progress.next_step)
                    bar.say(
                        f"epoch {epoch:.2f}: validation loss {event['loss']:.4f}, "
                        f"accuracy {100 * event['accuracy']:.2f} %, macro F1 {100 * event['macro_f1']:.2f} %"
                    )
                    return
                bar.update(progress.next_step, f"loss {event.loss:.3f}, {event.items / event.seconds:.0f} examples/s")

            return fit.run(listen)

    def _validator(self, network: Network, collected: Collected, table: TokenTable, pad_id: int) -> Any:
        held_out = table.take(collected.validation)
        truth = collected.labels[collected.validation]

        def validate() -> dict[str, float]:
            metrics = StreamingMetrics(collected.label_names)
            metrics.update(self._logits(network, held_out, pad_id), truth)
            result = metrics.result(resamples=100)
            return {
                "loss": result.log_loss,
                "accuracy": result.accuracy.value,
                "macro_precision": result.macro_precision,
                "macro_recall": result.macro_recall,
                "macro_f1": result.macro_f1.value,
            }

        return validate

    def _logits(self, network: Network, table: TokenTable, pad_id: int) -> np.ndarray:
        """Logits of a table, the batches shared out among the processes."""
        import torch

        part = compute_logits(
            network,
            table,
            batch_size=self.recipe.evaluation.batch_size,
            pad_id=pad_id,
            part=self.accelerator.process_index,
            parts=self.accelerator.num_processes,
        )
        if self.accelerator.num_processes == 1:
            return part
        whole = self.accelerator.reduce(torch.from_numpy(part).to(self.accelerator.device), reduction="sum")
        return np.asarray(whole.cpu().numpy())

    def _temperature(self, network: Network, collected: Collected, table: TokenTable, pad_id: int) -> float:
        if not (self.recipe.evaluation.temperature_scaling and len(collected.validation)):
            return 1.0
        logits = self._logits(network, table.take(collected.validation), pad_id)
        return fit_temperature(logits, collected.labels[collected.validation])

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
                data=inspection.as_dict(),
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
    plan = plan_architecture(recipe, architecture, classes=len(labels))
    plan.require_within_budget()
    speaker = speaker or Speaker()
    if finished:
        speaker.say(f"{folder}: already finished, nothing is left to train")
        return read_outcome(folder, recipe, plan)

    from accelerate import Accelerator

    accelerator = Accelerator(
        cpu=cpu or best_device().type == "cpu",  # unless told so, processes on CPUs would not find each other
        mixed_precision="no",  # the network mixes precision itself, at prediction too
    )
    speaker.enabled = speaker.enabled and accelerator.is_main_process
    machine = choose_machine(
        precision=recipe.backbone.precision, attention=recipe.backbone.attention, device=accelerator.device
    )
    return Run(recipe, folder, plan, architecture, accelerator, speaker, machine, resume).go()
