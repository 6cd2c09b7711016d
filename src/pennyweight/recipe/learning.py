"""How the trainable parameters learn, and how the result is judged."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, StrictBool, StrictFloat, StrictInt, model_validator

from pennyweight.recipe.fields import (
    AboveZero,
    LossName,
    MetricName,
    NotNegative,
    OptimizerName,
    Positive,
    Probability,
    SamplerName,
    ScheduleName,
    Section,
    Share,
    ShareAboveZero,
    TestTimeStep,
    Thresholds,
    Weights,
    checked_distinct,
    refuse_dead,
)


class Objective(Section):
    """What training minimises. `training.label_smoothing` goes with each loss; validation is by plain log loss."""

    loss: LossName = "cross-entropy"
    """`focal` makes less of items that are learnt already (arXiv 1708.02002); `gce`, generalised cross-entropy, makes
    less of labels that the network finds incredible (arXiv 1805.07836)."""
    gamma: Annotated[StrictFloat, Field(ge=0)] = 2.0
    """Exponent of the focal loss; 0: cross-entropy."""
    q: Annotated[StrictFloat, Field(gt=0, le=1)] = 0.7
    """Exponent of `gce`: towards 0 it is cross-entropy, at 1 one minus the label's probability."""
    class_weights: Literal["balanced"] | Weights | None = None
    """Factor on the loss of each class: `balanced`: n / (classes · items of the class); or one number per class, in the
    order of the labels; none: 1. With several labels per text it is on what a label that applies costs, and `balanced`
    is items without it by items with it."""
    r_drop: Annotated[StrictFloat, Field(ge=0)] = 0.0
    """Weight of the divergence between two dropout passes of each batch (arXiv 2106.14448); 0: one pass. Takes twice
    the time."""
    contrastive_epochs: Annotated[StrictInt, Field(ge=0)] = 0
    """Passes of a first stage that draws texts of one class together, before the head learns (arXiv 2004.11362); for
    few labels. 0: no such stage."""
    contrastive_temperature: AboveZero = 0.1
    """Divisor of the cosines in that stage; the smaller, the more the nearest texts count."""
    contrastive_learning_rate: AboveZero | None = None
    """Peak learning rate of that stage; none: `training.learning_rate`."""

    @model_validator(mode="after")
    def _no_dead_options(self) -> Self:
        needs = {
            "gamma": (self.loss == "focal", "objective.loss = 'focal'"),
            "q": (self.loss == "gce", "objective.loss = 'gce'"),
        }
        refuse_dead(self, "objective", needs)
        return self


class Training(Section):
    """How the trainable parameters learn."""

    epochs: Positive = 3
    """Passes over the training items."""
    batch_size: Positive = 32
    """Items per forward pass, over all processes together."""
    accumulation: Positive = 1
    """Batches whose gradients are added up before one optimizer step."""
    forward_tokens: Positive = 16_384
    """Most tokens of one forward pass, padding included; a larger batch is computed in parts. The step is the
    same, but for dropout's draws."""
    gradient_checkpointing: StrictBool = False
    """Recompute each layer's activations in the backward pass instead of keeping them: less memory, a third slower."""
    prefix_cache: StrictBool = True
    """Compute the frozen layers below the lowest adapter once per text and keep their output on disk, in the cache."""
    optimizer: OptimizerName = "adamw"
    """`muon` applies to matrices; what is not a matrix goes to AdamW. `adamw-8bit` keeps AdamW's moments in 8 bits and
    takes the extra `4bit`."""
    learning_rate: AboveZero = 1e-3
    """Peak learning rate, per optimizer step."""
    betas: tuple[Probability, Probability] = (0.9, 0.999)
    """AdamW's decay rates of the first and second moment; the first is also the momentum of SGD, RMSprop and Muon."""
    epsilon: AboveZero = 1e-8
    """Term added to the denominator of AdamW and RMSprop."""
    lora_plus: AboveZero = 1.0
    """Learning rate of the adapters' B matrices, in multiples of `learning_rate` (LoRA+, arXiv 2402.12354)."""
    weight_decay: Annotated[StrictFloat, Field(ge=0)] = 0.0
    """Decoupled weight decay of the matrices (for SGD and RMSprop: L2); biases have none."""
    schedule: ScheduleName = "cosine"
    """Course of the learning rate after warm-up. `plateau` halves it when the metric has not improved."""
    warmup: Share = 0.06
    """Share of all optimizer steps over which the learning rate rises from zero."""
    cycles: Positive = 1
    """Number of cosine cycles of `cosine-restarts`."""
    plateau_patience: Positive = 1
    """Validations without gain before `plateau` halves the learning rate."""
    label_smoothing: Probability = 0.0
    """Share of each target spread evenly over all classes (Szegedy et al. 2016, arXiv 1512.00567)."""
    gradient_clip: AboveZero | None = 1.0
    """Largest L2 norm of the gradient; none: not clipped."""
    metric: MetricName = "accuracy"
    """Validation metric that picks the best weights, stops early and moves `plateau`; of `loss`, lower is better. With
    several labels per text, `accuracy` is the share of texts whose labels are all right, and `micro_f1` counts each
    label of each text alike."""
    keep: Literal["best", "last"] = "best"
    """Which weights end up in the classifier: those of the best validation, or the last."""
    sampler: SamplerName = "uniform"
    """`uniform`: every training item once per epoch; `balanced`: every class equally often, in as many steps."""
    patience: Positive | None = None
    """Validations without gain before training stops; none: never early."""
    validations_per_epoch: Positive = 1
    """Validations per epoch, evenly spaced; the last is at the epoch's end."""
    checkpoint_steps: Positive = 200
    """Optimizer steps between checkpoints; one is also written after each validation."""
    seed: Annotated[StrictInt, Field(ge=0, lt=2**31)] = 0
    """Seed of everything random: split, initial weights, order, dropout."""

    @model_validator(mode="after")
    def _no_dead_options(self) -> Self:
        needs = {
            "cycles": (self.schedule == "cosine-restarts", "training.schedule = 'cosine-restarts'"),
            "plateau_patience": (self.schedule == "plateau", "training.schedule = 'plateau'"),
        }
        refuse_dead(self, "training", needs)
        return self


class Evaluation(Section):
    """How the result is judged."""

    batch_size: Positive = 64
    """Items per forward pass when nothing is learnt."""
    temperature_scaling: StrictBool = True
    """Fit one temperature on the validation split so that probabilities mean what they say (Guo et al. 2017)."""
    thresholds: Thresholds = "tuned"
    """Of `multi-label`: the probability from which on a label is given: `tuned`: for each label the one of the best F1
    on the validation split; `half`: 0.5 for all."""
    bootstrap: Annotated[StrictInt, Field(ge=100)] = 1000
    """Resamples behind the 95 % intervals of F1."""
    augmented_copies: NotNegative = 0
    """Altered copies of a text over which its probabilities are averaged, with itself; saved with the classifier."""
    augmented_operations: Annotated[
        tuple[TestTimeStep, ...], BeforeValidator(checked_distinct), Field(min_length=1)
    ] = ("swap", "delete")
    """What is done to these copies; `synonyms` are taken from the backbone's embeddings."""
    augmented_strength: ShareAboveZero = 0.1
    """Share of a text's words that is altered in such a copy; one word at least."""
