"""Adapters folded into the matrices they stand on: a network for inference, with nothing of PEFT left in it."""

from __future__ import annotations

import copy

from pennyweight.model.network import Network
from pennyweight.model.prepacking import prepack


def fold(network: Network) -> Network:
    """A copy of a network in which every W with a LoRA pair has become W + scaling · B A (Hu et al. 2021, 2106.09685).

    The sum is made in fp32 and rounded once to the format W is kept in. What was trained beside the adapters (a stock
    head) is taken over. The network given is left as it was; what is frozen and not folded into, such as embeddings, is
    one and the same in both.

    Args:
        network: a network with adapters, trained or just opened, in whatever mode it is in.

    Returns:
        A network ready to predict, whose encoder is a plain Transformers model; nothing in it requires a gradient.
    """
    from peft.tuners.lora import LoraLayer

    layers = [module for module in network.encoder.modules() if isinstance(module, LoraLayer)]
    changed = {id(parameter) for layer in layers for parameter in layer.get_base_layer().parameters()}
    kept = {id(one): one for one in network.encoder.parameters() if id(one) not in changed and not one.requires_grad}
    encoder = copy.deepcopy(network.encoder, kept)
    # PEFT adds its fp32 product into W in place, which PyTorch computes in fp32; `safe_merge` would round it before.
    encoder = encoder.merge_and_unload(safe_merge=False)
    encoder.requires_grad_(False)
    prepack(encoder)
    head, windows = copy.deepcopy(network.head), copy.deepcopy(network.windows)
    folded = Network(encoder, head, shape=network.shape, machine=network.machine, windows=windows)
    return folded.requires_grad_(False).eval()
