"""What a run is: one frozen, typed value. Knows nothing of torch.

Every field's docstring states its unit; the reference page of the documentation is generated from these docstrings.
Reading recipes from TOML, with their errors, is `pennyweight.recipe_files`.
"""

from __future__ import annotations

from typing import Self

from pydantic import model_validator

from pennyweight.recipe.adapters import Adapters
from pennyweight.recipe.fields import (
    AdapterKind,
    Attention,
    AugmentationStep,
    CleaningStep,
    HeadKind,
    Language,
    LossName,
    MetricName,
    OptimizerName,
    Pooling,
    Precision,
    Problem,
    ScheduleName,
    Section,
    TestTimeStep,
    Thresholds,
    WindowPooling,
)
from pennyweight.recipe.inputs import Augmentation, Data, Filter, Text, Windows, most_overlap
from pennyweight.recipe.learning import Evaluation, Objective, Training
from pennyweight.recipe.network import Backbone, Budget, Head
from pennyweight.recipe.tasks import require_task_fits
from pennyweight.recipe.teaching import Teachers, Unlabelled

__all__ = [
    "AdapterKind",
    "Adapters",
    "Attention",
    "Augmentation",
    "AugmentationStep",
    "Backbone",
    "Budget",
    "CleaningStep",
    "Data",
    "Evaluation",
    "Filter",
    "Head",
    "HeadKind",
    "Language",
    "LossName",
    "MetricName",
    "Objective",
    "OptimizerName",
    "Pooling",
    "Precision",
    "Problem",
    "Recipe",
    "ScheduleName",
    "Section",
    "Teachers",
    "TestTimeStep",
    "Text",
    "Thresholds",
    "Training",
    "Unlabelled",
    "WindowPooling",
    "Windows",
    "most_overlap",
]


class Recipe(Section):
    """One run, whole. Sections that are left out take their defaults."""

    backbone: Backbone = Backbone()
    data: Data = Data()
    text: Text = Text()
    windows: Windows = Windows()
    filter: Filter = Filter()
    augmentation: Augmentation = Augmentation()
    budget: Budget = Budget()
    adapters: Adapters = Adapters()
    head: Head = Head()
    objective: Objective = Objective()
    training: Training = Training()
    teachers: Teachers = Teachers()
    unlabelled: Unlabelled = Unlabelled()
    evaluation: Evaluation = Evaluation()

    @model_validator(mode="after")
    def _four_bits_under_plain_pairs(self) -> Self:
        adapters = self.adapters
        if self.backbone.precision != "nf4":
            return self
        for key, plain in (("kind", "lora"), ("init", "default")):
            if getattr(adapters, key) != plain:
                raise ValueError(f"backbone.precision = 'nf4' goes with adapters.{key} = {plain!r} alone: set it so")
        if adapters.rank == "sensitivity":
            raise ValueError("adapters.rank = 'sensitivity' needs matrices that are not in 4 bits: give a rank")
        return self

    @model_validator(mode="after")
    def _windows_advance(self) -> Self:
        most = most_overlap(self.text.max_length)
        if self.windows.count > 1 and self.windows.overlap > most:
            raise ValueError(
                f"windows.overlap = {self.windows.overlap}: windows of text.max_length = {self.text.max_length} tokens "
                f"may share {most} at most"
            )
        return self

    @model_validator(mode="after")
    def _needs_validation(self) -> Self:
        training = self.training
        if self.data.validation == 0 and (training.patience is not None or training.schedule == "plateau"):
            raise ValueError(
                "data.validation = 0 leaves nothing for training.patience or the plateau schedule to watch"
            )
        return self

    @model_validator(mode="after")
    def _needs_teachers(self) -> Self:
        if self.unlabelled.labeller == "teachers" and not self.teachers.sources:
            raise ValueError("unlabelled.labeller = 'teachers' needs teachers: name them in teachers.sources")
        return self

    @model_validator(mode="after")
    def _labels_that_are_learnt(self) -> Self:
        """Refuse ways to learn from labels where all items are learnt from their teachers alone."""
        if not self.teachers.sources or self.teachers.mixture < 1:
            return self
        hard = self.unlabelled.source is not None and self.unlabelled.labels == "hard"
        if hard or self.filter.label_noise != "keep" or self.adapters.rank == "sensitivity":
            return self
        ways = {
            "objective.loss": self.objective.loss != "cross-entropy",
            "objective.class_weights": self.objective.class_weights is not None,
            "training.label_smoothing": self.training.label_smoothing > 0,
        }
        for key, chosen in ways.items():
            if chosen:
                raise ValueError(
                    f"{key} is of the loss against labels, which teachers.mixture = 1 leaves out: lower the mixture, "
                    f"or leave {key} out"
                )
        return self

    @model_validator(mode="after")
    def _r_drop_needs_dropout(self) -> Self:
        if self.objective.r_drop and not (self.adapters.dropout or self.head.dropout or self.backbone.dropout):
            raise ValueError(
                "objective.r_drop compares two dropout passes, and nothing here is dropped: set adapters.dropout "
                "(0.1, say), head.dropout or backbone.dropout"
            )
        return self

    @model_validator(mode="after")
    def _balanced_once(self) -> Self:
        if self.training.sampler == "balanced" and self.objective.class_weights == "balanced":
            raise ValueError(
                "training.sampler = 'balanced' shows all classes equally often; objective.class_weights = 'balanced' "
                "besides would turn the imbalance round: leave one of them out"
            )
        return self

    @model_validator(mode="after")
    def _lora_plus_needs_factors(self) -> Self:
        if self.training.lora_plus != 1 and self.adapters.pairs is None:
            raise ValueError(
                f"training.lora_plus needs pairs of factors; adapters.kind = {self.adapters.kind!r} has none"
            )
        return self

    @model_validator(mode="after")
    def _contrasting_needs_pairs(self) -> Self:
        if self.objective.contrastive_epochs and self.training.batch_size < 4:
            raise ValueError(
                "objective.contrastive_epochs compares texts of a batch, which takes two classes of two: set "
                "training.batch_size to 4 or more"
            )
        return self

    @model_validator(mode="after")
    def _begun_adapters_that_can_be_handed_on(self) -> Self:
        if self.unlabelled.contrastive_epochs and self.adapters.init == "pissa":
            raise ValueError(
                "unlabelled.contrastive_epochs hands its adapters on to other networks, and those of adapters.init = "
                "'pissa' fit the one that they were taken out of alone: leave one of them out"
            )
        return self

    @model_validator(mode="after")
    def _fits_the_task(self) -> Self:
        sections = {name: getattr(self, name) for name in type(self).model_fields}
        require_task_fits(sections, self.data.task, self.training.metric)
        if self.data.groups in (*self.data.text, self.data.label):
            raise ValueError(f"data.groups = {self.data.groups!r:.60} is a text or label column: name another one")
        return self
