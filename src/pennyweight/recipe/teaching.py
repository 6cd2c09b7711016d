"""What else is learnt from besides labels: other classifiers' opinions, and texts that nobody has labelled."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, StrictBool, StrictInt, model_validator

from pennyweight.recipe.fields import (
    AboveZero,
    AugmentationStep,
    Name,
    NeighboursBy,
    Positive,
    Probability,
    Section,
    Share,
    as_list,
    checked_distinct,
    refuse_dead,
)


class Teachers(Section):
    """Distillation: the network also learns what its teachers think of each training item (Hinton et al. 2015).

    The loss of an item is (1 - mixture) times that of its label, plus mixture times T² KL(teachers ‖ network), both
    sides softened by the temperature T; several teachers' softened probabilities are averaged.
    """

    sources: Annotated[tuple[Name, ...], BeforeValidator(as_list)] = ()
    """Teachers: classifier folders of any size, or Parquet files of logits, one column for each label by its name and
    one named `row` (from 1) or `index` (from 0) that says which row of `data.source` they are of. None: no teachers."""
    weights: tuple[AboveZero, ...] = ()
    """Relative weight of each teacher in their mean, in the order of `sources`; none given: all alike."""
    temperature: AboveZero = 2.0
    """What the logits of teachers and network are divided by before they are compared."""
    mixture: Share = 0.7
    """Share of the loss that comes from the teachers; 0: labels alone, 1: teachers alone."""

    @model_validator(mode="after")
    def _no_dead_options(self) -> Self:
        if not self.sources and self != Teachers.model_construct():
            raise ValueError("teachers.weights, temperature and mixture need teachers: name them in teachers.sources")
        if self.weights and len(self.weights) != len(self.sources):
            raise ValueError(
                f"teachers.weights holds {len(self.weights)} numbers for {len(self.sources)} teachers; give one each"
            )
        return self


class Unlabelled(Section):
    """Texts without labels, which networks that were trained before label (self-training).

    The recipe's network is trained on the labels; it labels these texts; where it is sure enough they join the training
    items, and a network is trained anew on all of them.
    """

    source: Name | None = None
    """Source of the texts, as `data.source`, its columns `data.text`; labels in it are ignored. None: no such texts."""
    limit: Positive | None = None
    """Number of texts taken from the start of the source; none: all."""
    contrastive_epochs: Annotated[StrictInt, Field(ge=0)] = 0
    """Passes of a first stage over all texts, with and without labels: each is cut in two, and adapters learn which
    halves belong together, before any label is looked at (arXiv 2006.03659, 2112.09118). All networks begin with them,
    and `meaning` and `mixture` see the texts by them. 0: no such stage."""
    contrastive_temperature: AboveZero = 0.05
    """Divisor of the cosines in that stage; the smaller, the more the nearest texts count."""
    contrastive_learning_rate: AboveZero = 3e-4
    """Peak learning rate of that stage, of 64 texts a step."""
    labeller: Literal["self", "mixture", "teachers"] = "self"
    """Who labels the texts: networks trained as the recipe says on what is labelled; or in the first round a `mixture`
    of Gaussians, one for each class, in what the backbone makes of the texts (Nigam et al. 2000, Machine
    Learning 39), which needs few labels and wants `alignment`; or `teachers.sources`."""
    rounds: Positive = 1
    """How often the texts are labelled; from the second time on by networks that have learnt from them too."""
    labellers: Positive = 1
    """Networks that label the texts in each round, trained alike from different seeds; their probabilities are
    averaged."""
    neighbours: Annotated[StrictInt, Field(ge=0, le=1000)] = 0
    """Texts nearest to a text that have a say in its label, as their own neighbours have in theirs (Zhou et al. 2004,
    Learning with Local and Global Consistency); `confidence` is asked of what comes out, which is less sure than the
    labellers are. 0: each text is labelled by itself. The time to find them grows with the square of the number of
    texts."""
    neighbours_by: Annotated[tuple[NeighboursBy, ...], BeforeValidator(checked_distinct), Field(min_length=1)] = (
        "meaning",
        "words",
    )
    """What makes texts neighbours: `meaning`, what a network that has learnt no label makes of them; `words`, TF-IDF of
    their tokens and pairs of tokens, without those that more than 3 % of the texts hold (of few texts: more than twenty
    of them). Of both each has so many `neighbours`, and half of the say."""
    confidence: Probability = 0.0
    """Least probability of a label that is believed. Classes that are believed less often get a lower threshold, so
    that none starves (Zhang et al. 2021, FlexMatch, arXiv 2110.08263). 0: every text is taken."""
    labels: Literal["soft", "hard"] = "soft"
    """What is learnt of a text: its `soft` probabilities, or the most probable label as if it were given."""
    alignment: StrictBool = False
    """Shift the labellers' probabilities so that classes are as frequent as among the labelled items (Berthelot et al.
    2020, arXiv 1911.09785); for texts drawn from the same mixture of classes."""
    weight: AboveZero = 1.0
    """Weight of a text's loss, that of a labelled item being 1."""
    operations: Annotated[tuple[AugmentationStep, ...], BeforeValidator(checked_distinct), Field(min_length=1)] = (
        "delete",
    )
    """What is done to the copy that is learnt from, one of these, while the label is that of the whole text; as
    `augmentation.operations`."""
    strength: Probability = 0.1
    """Share of a text's words that is altered in its copy, one word at least; 0: the text itself is learnt from."""
    learning_rate: AboveZero | None = None
    """Peak learning rate of what learns from labelled items and texts together, instead of `training.learning_rate`."""
    epochs: Positive | None = None
    """Passes over labelled items and texts together, instead of `training.epochs`, which counts for labels alone
    then."""

    @model_validator(mode="after")
    def _no_dead_options(self) -> Self:
        if self.source is None and self != Unlabelled.model_construct():
            raise ValueError("the keys of [unlabelled] need texts: name them in unlabelled.source")
        if not self.neighbours and self.neighbours_by != Unlabelled.model_construct().neighbours_by:
            raise ValueError("unlabelled.neighbours_by has no meaning without unlabelled.neighbours")
        refuse_dead(
            self,
            "unlabelled",
            {
                f"contrastive_{key}": (bool(self.contrastive_epochs), "unlabelled.contrastive_epochs of 1 or more")
                for key in ("temperature", "learning_rate")
            },
        )
        if self.labeller == "teachers" and (self.rounds, self.labellers) != (1, 1):
            raise ValueError("unlabelled.rounds and labellers have no meaning with unlabelled.labeller = 'teachers'")
        if self.labeller == "mixture" and self.rounds == 1 and self.labellers != 1:
            raise ValueError(
                "unlabelled.labeller = 'mixture' asks no network in the first round: set unlabelled.rounds to 2 or "
                "more for unlabelled.labellers, or leave them out"
            )
        return self
