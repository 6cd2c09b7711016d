"""Adapters folded into the matrices they stand on: a network for inference, with nothing of PEFT left but a prompt."""

from __future__ import annotations

import copy
from typing import Any

from pennyweight.model.adapters import prompt_of
from pennyweight.model.four_bits import copied_but_for_frozen
from pennyweight.model.network import Network
from pennyweight.model.prepacking import prepack
from pennyweight.model.principal import settle
from pennyweight.model.pruned import settle_ranks


def fold(network: Network) -> Network:
    """A copy of a network in which every W with a LoRA pair has become W + scaling · B A (Hu et al. 2021, 2106.09685).

    So it is with the other kinds; vectors before the text stay what they are. Sums and products are made in fp32 and
    rounded once to the format W is kept in. What was trained beside the adapters (a stock head) is taken over. The
    network given is left as it was; what is frozen and not folded into, such as embeddings, is the same in both.
    Into matrices in 4 bits nothing is folded, as the sum would have to be rounded to 4 bits: the copy has adapters of
    its own beside them.

    Args:
        network: a network with adapters, trained or just opened, in whatever mode it is in.

    Returns:
        A network ready to predict, whose encoder is a plain Transformers model, but for one in 4 bits; nothing in it
        requires a gradient.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    if network.machine.four_bits:
        return _beside(network)
    layers = [module for module in network.encoder.modules() if isinstance(module, BaseTunerLayer)]
    changed = {id(parameter) for layer in layers for parameter in layer.get_base_layer().parameters()}
    kept = {id(one): one for one in network.encoder.parameters() if id(one) not in changed and not one.requires_grad}
    placed = copy.deepcopy(network.encoder, kept)
    settle(placed)
    settle_ranks(placed)
    prompt = prompt_of(placed)
    encoder = _merged(placed)
    if prompt is not None:
        encoder.prompt_encoder = placed.prompt_encoder
    encoder.requires_grad_(False)
    prepack(encoder)
    head, windows = copy.deepcopy(network.head), copy.deepcopy(network.windows)
    folded = Network(encoder, head, shape=network.shape, machine=network.machine, windows=windows)
    return folded.requires_grad_(False).eval()


def _merged(placed: Any) -> Any:
    """The plain Transformers model of a PeftModel; scaling vectors first, since a pair stands beside their product."""
    _merge_vectors(placed)
    if hasattr(placed.peft_config["default"], "lora_alpha"):
        # PEFT adds its fp32 product into W in place, which PyTorch computes in fp32; `safe_merge` would round before.
        return placed.merge_and_unload(safe_merge=False)
    return _without_wrapper(placed.get_base_model())  # PEFT cannot do so for vectors beside a stock head


def _merge_vectors(placed: Any) -> None:
    """Scale the matrices that carry a vector by it, and take the vector away."""
    for path, module in list(placed.named_modules()):
        if "ia3_l" in module._modules:
            module.merge()
            parent, _, name = path.rpartition(".")
            setattr(placed.get_submodule(parent), name, module.get_base_layer())


def _without_wrapper(model: Any) -> Any:
    """A model with its trained stock head in the place of PEFT's wrapper around it."""
    from peft.utils import ModulesToSaveWrapper

    for name, module in list(model.named_children()):
        if isinstance(module, ModulesToSaveWrapper):
            setattr(model, name, module.modules_to_save["default"])
    return model


def _beside(network: Network) -> Network:
    """A copy of a network in 4 bits whose adapters stay beside the matrices."""
    encoder, head = copied_but_for_frozen(network.encoder), copy.deepcopy(network.head)
    windows = copy.deepcopy(network.windows)
    copied = Network(encoder, head, shape=network.shape, machine=network.machine, windows=windows)
    return copied.requires_grad_(False).eval()
