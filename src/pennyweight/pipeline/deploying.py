"""A trained network as the classifier that its folder will hold."""

from __future__ import annotations

from pennyweight.classifier import Classifier
from pennyweight.manifest import Manifest
from pennyweight.model.network import Network
from pennyweight.pipeline.workbench import Workbench


def deploy(bench: Workbench, manifest: Manifest, network: Network) -> Classifier:
    """Put manifest and folded network together.

    Where texts are judged together with altered copies, temperature and thresholds are fitted anew on the validation
    split, judged that way: averaged probabilities are less sure than those of a single reading.

    Args:
        bench: what the run works with.
        manifest: its temperature and thresholds fitted to texts judged by themselves.
        network: the network as it predicts.
    """
    classifier = Classifier(manifest, network, bench.tokenizer, files=bench.files)
    collected = bench.collected
    if classifier.copies and len(collected.validation):
        fitted = bench.fitted(classifier.logits([collected.texts[item] for item in collected.validation]))
        changes = {"temperature": fitted.temperature, "thresholds": fitted.thresholds}
        classifier.manifest = manifest.model_copy(update=changes)
    return classifier
