"""The conditions that texts are put in, synonyms among them where there is a thesaurus."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NamedTuple

from pennyweight.classifier import Classifier
from pennyweight.data.augmentation import Synonyms, replace_words
from pennyweight.data.wordnet import open_wordnet
from pennyweight.ensemble import Ensemble
from pennyweight.errors import InputError
from pennyweight.evaluation.perturbations import PERTURBATIONS, Perturbation
from pennyweight.predictor import Predictor

SYNONYMS = "synonyms"
CONDITIONS = (*PERTURBATIONS, SYNONYMS)
"""All names, in the order in which they are reported."""


class Conditions(NamedTuple):
    """What the texts are put through."""

    perturbations: tuple[Perturbation, ...]
    not_measured: dict[str, str]
    """Conditions that nobody asked for by name and that cannot be had here, and why."""


def check_conditions(names: Sequence[str] | None) -> None:
    """Raises InputError at a condition that there is none of, or that is named twice."""
    for name in names or ():
        if name not in CONDITIONS:
            raise InputError(f"--conditions: there is no condition {name!r}; there are {', '.join(CONDITIONS)}")
    if names is not None and len(set(names)) < len(names):
        raise InputError(f"--conditions {','.join(names)}: name each condition once")


def conditions_for(names: Sequence[str] | None, predictors: Sequence[Predictor]) -> Conditions:
    """Conditions by name, all where none is named.

    Synonyms come from WordNet where it is installed, else from the input embedding of the first classifier's backbone;
    all classifiers meet the same texts.

    Args:
        names: of the conditions, which `check_conditions` has let pass.
        predictors: what is to be asked; where there is none, synonyms come from WordNet alone.

    Raises:
        InputError: synonyms are asked for by name, and there is no thesaurus.
    """
    wanted = CONDITIONS if names is None else names
    found: list[Perturbation] = []
    not_measured: dict[str, str] = {}
    for name in wanted:
        if name != SYNONYMS:
            found.append(PERTURBATIONS[name])
            continue
        try:
            found.append(paraphrase(*_thesaurus(predictors)))
        except InputError as error:
            if names is not None:
                raise
            not_measured[SYNONYMS] = str(error)
    return Conditions(tuple(found), not_measured)


def paraphrase(synonyms: Synonyms, source: str) -> Perturbation:
    """A tenth of the words, one at least, in other words; what has no synonym stays.

    Args:
        synonyms: from a word in small letters to words that may stand for it.
        source: where they come from, for the report.
    """

    def replaced(text: str, generator: random.Random) -> str:
        words = text.split()
        made = replace_words(words, max(1, round(0.1 * len(words))), generator, synonyms)
        return text if made == words else " ".join(made)

    return Perturbation(SYNONYMS, f"synonyms for a tenth of the words, from {source}", replaced)


def _thesaurus(predictors: Sequence[Predictor]) -> tuple[Synonyms, str]:
    """Synonyms, and where they come from; raises InputError where there are none."""
    try:
        return open_wordnet(), "WordNet"
    except InputError:
        if not predictors:
            raise
    for one in predictors:
        for own in one.members if isinstance(one, Ensemble) else (one,):
            if isinstance(own, Classifier) and own.files is not None:
                from pennyweight.model.neighbours import open_neighbours

                synonyms = open_neighbours(own.files, add_prefix_space=own.manifest.text.add_prefix_space)
                return synonyms, f"the embeddings of {own.files.name}"
    raise InputError("synonyms need WordNet, or a classifier with a backbone of its own to take them from")
