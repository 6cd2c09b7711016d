"""What a run is: one frozen, typed value. Knows nothing of torch.

A recipe has eight sections. Every field's docstring states its unit; the reference page of the documentation is
generated from these docstrings. Reading recipes from TOML, with their errors, is `pennyweight.recipe_files`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, StrictFloat, StrictInt, model_validator

CleaningStep = Literal["html", "newlines", "backslashes", "unicode", "punctuation", "lowercase"]
HeadKind = Literal["stock", "linear", "low-rank"]
Pooling = Literal["cls", "mean"]
Precision = Literal["auto", "fp32", "bf16"]
Attention = Literal["auto", "plain", "packed", "sdpa", "eager"]
OptimizerName = Literal["adamw", "sgd", "rmsprop", "muon"]
ScheduleName = Literal["constant", "linear", "cosine", "cosine-restarts", "plateau"]
MetricName = Literal["accuracy", "macro_f1", "loss"]


def _listed(value: Any) -> Any:
    """A single name where a list is expected stands for a list of one."""
    return value if isinstance(value, list | tuple) else [value]


def _label_names(value: Any) -> Any:
    """Refuses what can be no list of classes; here, because the branches of a union each report on their own."""
    if value == "auto":
        return value
    shown = f"data.labels = {value!r:.60}"
    if not isinstance(value, list | tuple) or len(value) < 2:
        raise ValueError(f'{shown}: give two label names or more in a list, such as ["no", "yes"], or auto')
    if not all(isinstance(name, str) and name.strip() for name in value):
        raise ValueError(f'{shown}: every label name is a text that is not empty; numbers go in quotes: ["0", "1"]')
    names = [name.strip() for name in value]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"{shown}: the label name {twice!r:.60} is given twice; name each class once")
    return value


# Strict: true is no number, "3" is no number and "yes" is no truth value; a whole number is a number, though.
Name = Annotated[str, Field(min_length=1)]
Names = Annotated[tuple[Name, ...], BeforeValidator(_listed), Field(min_length=1)]
LabelNames = Annotated[tuple[Name, ...], Field(min_length=2)]
Positive = Annotated[StrictInt, Field(ge=1)]
AboveZero = Annotated[StrictFloat, Field(gt=0)]
Share = Annotated[StrictFloat, Field(ge=0, le=1)]
Probability = Annotated[StrictFloat, Field(ge=0, lt=1)]


class Section(BaseModel):
    """A frozen table of the recipe; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


class Backbone(Section):
    """The frozen encoder and how it is held in memory."""

    name: str = "minilm"
    """Alias (`minilm`, `roberta-base`, `roberta-large`), Hub id, or folder with config.json and model.safetensors."""
    revision: str | None = None
    """Branch, tag or commit on the Hub; none: the default branch. Of no meaning for a folder."""
    dropout: StrictBool = False
    """Keep the backbone's own dropout on while training. Off is faster and, on a frozen backbone, as accurate."""
    precision: Precision = "auto"
    """Number format of the frozen weights and of the matrix products. `auto`: bf16 where this machine is fast at it."""
    attention: Attention = "auto"
    """How attention is computed: `plain` matmul and softmax, `packed` texts without padding, PyTorch's fused `sdpa`, or
    Transformers' own `eager`. `auto`: plain on bf16 CPUs, packed on CUDA in bf16, sdpa elsewhere."""


class Data(Section):
    """Where texts and labels come from."""

    source: str = "starter"
    """`starter`, `hub:<id>[:config]`, or a CSV, TSV, JSONL or Parquet file, also with .gz or .zst behind."""
    test: str | None = None
    """Source that the finished classifier is judged on; none: the validation split. Its texts never train."""
    text: Names = ("text",)
    """Name(s) of the text column(s); several are joined in this order."""
    label: Name = "label"
    """Name of the label column; it holds label names or integers."""
    labels: Annotated[Literal["auto"] | LabelNames, BeforeValidator(_label_names)] = "auto"
    """Label names in index order. `auto`: discovered from the training data, in sorted order."""
    first_label: Annotated[StrictInt, Field(ge=0)] = 0
    """Integer that stands for the first of `labels` in the data (1 where classes are counted from one)."""
    validation: Probability = 0.1
    """Share of the training items held out, stratified, for validation; 0: none, so nothing is picked or calibrated."""
    limit: Positive | None = None
    """Number of items taken from the start of the source; none: all."""
    limit_per_class: Positive | None = None
    """Number of items taken from the start of each class; none: all."""
    on_bad_row: Literal["stop", "skip"] = "stop"
    """What to do with an empty text or a missing label: stop and name the rows, or skip them and say how many."""


class Text(Section):
    """From raw text to tokens."""

    cleaning: tuple[CleaningStep, ...] = ()
    """Cleaning steps in order; they are saved with the classifier and run again at prediction."""
    max_length: Annotated[StrictInt, Field(ge=4, le=8192)] = 128
    """Longest input, in tokens, special tokens included; longer texts are cut."""
    padding: Literal["dynamic", "fixed"] = "dynamic"
    """In training: `dynamic`: pad to the longest of the batch; `fixed`: everything to `max_length`, which is slower."""
    order: Literal["sorted", "shuffled"] = "sorted"
    """`sorted`: batches of items of similar length, in random order; `shuffled`: plain random batches."""
    add_prefix_space: StrictBool = False
    """Tokenise the first word as if a space stood before it (byte-level BPE tokenizers such as RoBERTa's)."""


class Budget(Section):
    """What the classifier may weigh."""

    parameters: Positive = 1_000_000
    """Most trainable parameters, head included; a plan above it is refused."""


class Adapters(Section):
    """Low-rank adapters (LoRA, Hu et al. 2021, arXiv 2106.09685).

    A selector is a module's full name or the end of it, with `*` for any run of characters inside one dotted part,
    and optionally `@` with layer numbers: `query`, `layer.*.output.dense`, `query@0,1,-2`, `value@6:`.
    """

    targets: Annotated[Literal["all-linear"] | Names, Field(union_mode="left_to_right")] = ("query", "value")
    """Selectors of the matrices that get an adapter, or `all-linear` for every one in the encoder."""
    rank: Positive | Literal["fill"] = 8
    """Rank r of each pair of factors; `fill`: the largest uniform rank that fits the budget."""
    alpha: AboveZero | None = None
    """Scaling numerator: the update is alpha / r times B A. None: twice each matrix's rank."""
    dropout: Probability = 0.0
    """Probability of dropping an input element on the adapter path."""
    rank_pattern: dict[str, Positive] = {}
    """Rank for the matrices that a selector picks, instead of `rank`; later entries win."""
    alpha_pattern: dict[str, AboveZero] = {}
    """Alpha for the matrices that a selector picks, instead of `alpha`; later entries win."""


class Head(Section):
    """From the encoder's output to one logit per class; counted in the budget."""

    kind: HeadKind = "linear"
    """`stock`: the architecture's own; `linear`: one matrix; `low-rank`: two thin ones."""
    pooling: Pooling | None = None
    """Vector that stands for the text: first token's, or mean over tokens. None: `mean`; a stock head has its own."""
    rank: Positive | None = None
    """Inner width of a low-rank head."""
    dropout: Probability | None = None
    """Probability of dropping an element in the head. None: 0, or a stock head's own where `backbone.dropout` is on."""

    @model_validator(mode="after")
    def _no_dead_options(self) -> Self:
        if self.kind == "stock" and self.pooling is not None:
            raise ValueError("head.pooling has no meaning with head.kind = 'stock': leave it out")
        if (self.kind == "low-rank") != (self.rank is not None):
            raise ValueError("head.rank goes with head.kind = 'low-rank', and only with it")
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
    """Most tokens of one forward pass, padding included; a larger batch is computed in parts, its step the same."""
    gradient_checkpointing: StrictBool = False
    """Recompute each layer's activations in the backward pass instead of keeping them: less memory, a third slower."""
    prefix_cache: StrictBool = True
    """Compute the frozen layers below the lowest adapter once per text and keep their output on disk, in the cache."""
    optimizer: OptimizerName = "adamw"
    """`muon` applies to matrices; what is not a matrix goes to AdamW."""
    learning_rate: AboveZero = 1e-3
    """Peak learning rate, per optimizer step."""
    betas: tuple[Probability, Probability] = (0.9, 0.999)
    """AdamW's decay rates of the first and second moment; the first is also the momentum of SGD, RMSprop and Muon."""
    epsilon: AboveZero = 1e-8
    """Term added to the denominator of AdamW and RMSprop."""
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
    """Validation metric that picks the best weights, stops early and moves `plateau`; of `loss`, lower is better."""
    keep: Literal["best", "last"] = "best"
    """Which weights end up in the classifier: those of the best validation, or the last."""
    patience: Positive | None = None
    """Validations without gain before training stops; none: never early."""
    validations_per_epoch: Positive = 1
    """Validations per epoch, evenly spaced; the last is at the epoch's end."""
    checkpoint_steps: Positive = 200
    """Optimizer steps between checkpoints; one is also written after each validation."""
    seed: Annotated[StrictInt, Field(ge=0, lt=2**31)] = 0
    """Seed of everything random: split, initial weights, order, dropout."""


class Evaluation(Section):
    """How the result is judged."""

    batch_size: Positive = 64
    """Items per forward pass when nothing is learnt."""
    temperature_scaling: StrictBool = True
    """Fit one temperature on the validation split so that probabilities mean what they say (Guo et al. 2017)."""
    bootstrap: Annotated[StrictInt, Field(ge=100)] = 1000
    """Resamples behind the 95 % intervals of F1."""


class Recipe(Section):
    """One run, whole. Sections that are left out take their defaults."""

    backbone: Backbone = Backbone()
    data: Data = Data()
    text: Text = Text()
    budget: Budget = Budget()
    adapters: Adapters = Adapters()
    head: Head = Head()
    training: Training = Training()
    evaluation: Evaluation = Evaluation()

    @model_validator(mode="after")
    def _needs_validation(self) -> Self:
        training = self.training
        if self.data.validation == 0 and (training.patience is not None or training.schedule == "plateau"):
            raise ValueError(
                "data.validation = 0 leaves nothing for training.patience or the plateau schedule to watch"
            )
        return self


CLEANING_STEPS: tuple[CleaningStep, ...] = get_args(CleaningStep)
