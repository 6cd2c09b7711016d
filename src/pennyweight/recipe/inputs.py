"""Where texts come from, and how they become tokens."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, StrictBool, StrictInt, model_validator

from pennyweight.recipe.fields import (
    AugmentationStep,
    CleaningStep,
    LabelNames,
    Language,
    Name,
    Names,
    NotNegative,
    Positive,
    Probability,
    Problem,
    Section,
    Share,
    ShareAboveZero,
    WindowPooling,
    as_list,
    checked_distinct,
    checked_label_names,
    refuse_dead,
)


class Data(Section):
    """Where texts and labels come from."""

    source: str = "starter"
    """`starter`, `hub:<id>[:config]`, or a CSV, TSV, JSONL or Parquet file, also with .gz or .zst behind. A relative
    path is taken from the current folder."""
    test: str | None = None
    """Source that the finished classifier is judged on; none: the validation split. Its texts never train."""
    text: Names = ("text",)
    """Name(s) of the text column(s); several are joined in this order."""
    task: Problem = "single-label"
    """`single-label`: each text has one class; `multi-label`: any number of labels, none included."""
    label: Name = "label"
    """Name of the label column; it holds label names or integers, of `multi-label` lists of them or a text of names."""
    label_separator: Name = "|"
    """What stands between the labels of an item where they are written as one text, as in CSV; of `multi-label`."""
    labels: Annotated[Literal["auto"] | LabelNames, BeforeValidator(checked_label_names)] = "auto"
    """Label names in index order. `auto`: discovered from the training data, in sorted order."""
    first_label: Annotated[StrictInt, Field(ge=0)] = 0
    """Integer that stands for the first of `labels` in the data (1 where classes are counted from one)."""
    validation: Probability = 0.1
    """Share of the training items held out, stratified, for validation; 0: none, so nothing is picked or calibrated."""
    limit: Positive | None = None
    """Number of items taken from the start of the source; none: all."""
    limit_per_class: Positive | None = None
    """Number of items taken from the start of each class; none: all."""
    groups: Name | None = None
    """Column, such as a language's, for each of whose values the result is also judged by itself; none: not so."""
    on_bad_row: Literal["stop", "skip"] = "stop"
    """What to do with an empty text or a missing label: stop and name the rows, or skip them and say how many."""

    @property
    def first_counted(self) -> int | None:
        """`first_label`, where labels are in an order that the user gave; none where they are discovered."""
        return None if self.labels == "auto" else self.first_label


class Text(Section):
    """From raw text to tokens."""

    cleaning: tuple[CleaningStep, ...] = ()
    """Cleaning steps in order; they are saved with the classifier and run again at prediction."""
    language: Language = "en"
    """Language of the cleaning step `lemmas`, as an ISO 639 code."""
    max_length: Annotated[StrictInt, Field(ge=4, le=8192)] = 128
    """Longest input, in tokens, special tokens included; longer texts are cut."""
    padding: Literal["dynamic", "fixed"] = "dynamic"
    """In training: `dynamic`: pad to the longest of the batch; `fixed`: everything to `max_length`, which is slower."""
    order: Literal["sorted", "shuffled"] = "sorted"
    """`sorted`: batches of items of similar length, in random order; `shuffled`: plain random batches."""
    add_prefix_space: StrictBool = False
    """Tokenise the first word as if a space stood before it (byte-level BPE tokenizers such as RoBERTa's)."""


class Windows(Section):
    """Long texts in several overlapping windows, each as long as `text.max_length` and read by itself."""

    count: Annotated[StrictInt, Field(ge=1, le=256)] = 1
    """Most windows of one text; what lies behind the last is cut off. 1: texts are cut at `text.max_length`."""
    overlap: Annotated[StrictInt, Field(ge=0)] = 32
    """Tokens that neighbouring windows have in common, special tokens not counted; at most half of a window."""
    pooling: WindowPooling = "mean"
    """How windows become one vector: their mean, the largest of each element, or weighted by a learned query."""

    @model_validator(mode="after")
    def _no_dead_options(self) -> Self:
        needs = (self.count > 1, "windows.count above 1")
        refuse_dead(self, "windows", {"pooling": needs, "overlap": needs})
        return self


def most_overlap(max_length: int) -> int:
    """Most tokens that windows of ``max_length`` tokens may share: half of them, up to four special tokens left out."""
    return (max_length - 4) // 2


class Filter(Section):
    """Which training items, and texts without labels, are passed over; validation and test items never are.

    Nothing is deleted: rows and reasons stand in the report. Words are what white space separates, after cleaning.
    """

    shortest: Positive | None = None
    """Fewest words of a training text; none: no limit."""
    longest: Positive | None = None
    """Most words of a training text; none: no limit."""
    languages: Annotated[tuple[Language, ...], BeforeValidator(as_list)] = ()
    """Languages of the training texts, as ISO 639-1 codes; a text surely in another is passed over. Empty: any."""
    certainty: Share = 0.9
    """Probability from which on a text counts as surely of a language."""
    repeats: Literal["keep", "drop"] = "keep"
    """Of training texts that are equal after cleaning: keep all, or drop all but the first."""
    label_noise: Literal["keep", "drop", "relabel"] = "keep"
    """What becomes of items whose label is probably wrong (confident learning, arXiv 1911.00068): learn them as they
    are, leave them out, or learn them as the class that they probably are of."""
    label_noise_folds: Annotated[StrictInt, Field(ge=2)] = 4
    """Parts that the items are dealt into: each is judged by a network that learnt from the others."""
    label_noise_epochs: Positive = 1
    """Passes over the items in each of these short trainings."""
    label_noise_threshold: Probability | None = None
    """Probability from which on another class makes a label doubtful. None: for each class its mean probability among
    the items that bear its label."""
    label_noise_shares: Literal["given", "even"] = "given"
    """How frequent the classes truly are: as the labels have it, or all alike. `even` takes back the preference that
    wrong labels have for some class: probabilities are shifted until their means are equal."""

    @model_validator(mode="after")
    def _some_length_is_left(self) -> Self:
        if self.shortest is not None and self.longest is not None and self.shortest > self.longest:
            raise ValueError(
                f"filter.shortest = {self.shortest} and filter.longest = {self.longest} leave no text: swap them"
            )
        return self


class Augmentation(Section):
    """Altered copies of training texts (EDA, Wei & Zou 2019, arXiv 1901.11196); validation and test items have none.

    Copies are drawn once, from the cleaned texts and the seed, and learnt like items of the item's own class.
    """

    copies: NotNegative = 0
    """Altered copies of each training item; 0: none."""
    balance: StrictBool = False
    """Give smaller classes as many more copies as even the classes out, `copies` being those of the largest class."""
    operations: Annotated[tuple[AugmentationStep, ...], BeforeValidator(checked_distinct), Field(min_length=1)] = (
        "synonyms",
        "insert",
        "swap",
        "delete",
    )
    """What is done to a copy, one of these: put synonyms in place, insert some, swap words, or delete some."""
    strength: ShareAboveZero = 0.1
    """Share of a text's words that is altered in a copy; one word at least."""
    thesaurus: Literal["auto", "wordnet", "embeddings"] = "auto"
    """Where synonyms come from: English `wordnet` through NLTK, or the words whose `embeddings` in the backbone are
    nearest. `auto`: WordNet where NLTK and its data are there, else embeddings."""
