"""From token batches to logits."""

from pennyweight.startup import import_bitsandbytes

import_bitsandbytes()  # before PEFT does, which would let it fetch code
