"""One trained classifier in the shapes that the contenders of `benchmarks.inference` take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.items import LABELS, MAX_LENGTH
from benchmarks.peers import quieten
from pennyweight.recipe import Recipe


def trained(recipe: Recipe, folder: Path) -> Path:
    """Train a recipe into ``folder``, or find it trained there."""
    from pennyweight.console import Speaker
    from pennyweight.pipeline.run import train_recipe

    train_recipe(recipe, folder, resume=True, speaker=Speaker())
    return folder


def merged(classifier: Path, backbone: Path, folder: Path) -> Path:
    """A plain Transformers folder: the adapters merged in fp32 by PEFT, as ``pipeline`` loads it."""
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    quieten()
    names = dict(enumerate(LABELS))
    model = AutoModelForSequenceClassification.from_pretrained(
        backbone, num_labels=len(LABELS), id2label=names, label2id={name: index for index, name in names.items()}
    )
    PeftModel.from_pretrained(model, str(classifier)).merge_and_unload().save_pretrained(folder)
    AutoTokenizer.from_pretrained(backbone, model_max_length=MAX_LENGTH).save_pretrained(folder)
    return folder


def onnx_int8(model_folder: Path, folder: Path) -> Path:
    """The merged model as ONNX with int8 weights, quantised per channel, and dynamic activations.

    What Optimum does, by the libraries below it: its ONNX package refuses Transformers 5. Fusing attention, norms and
    GELU by ``onnxruntime.transformers.optimizer`` first was tried: 10 to 17 % slower at every batch size.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic  # type: ignore[import-untyped]

    folder.mkdir(parents=True, exist_ok=True)
    plain, quantised = folder / "fp32.onnx", folder / "int8.onnx"
    _export(model_folder, plain)
    quantize_dynamic(plain, quantised, per_channel=True, weight_type=QuantType.QInt8, op_types_to_quantize=["MatMul"])
    return quantised


def _export(model_folder: Path, path: Path) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(model_folder, attn_implementation="eager").eval()

    class Logits(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            return self.model(input_ids=input_ids, attention_mask=attention_mask).logits

    ids = torch.randint(5, 99, (2, 16))
    mask = torch.ones_like(ids)
    mask[1, 9:] = 0
    axes = {0: "texts", 1: "length"}
    torch.onnx.export(
        Logits().eval(),
        (ids, mask),
        str(path),
        input_names=["input_ids", "attention_mask"],
        output_names=["logits"],
        dynamic_axes={"input_ids": axes, "attention_mask": axes, "logits": {0: "texts"}},
        opset_version=17,
        dynamo=False,
    )
