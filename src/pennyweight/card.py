"""The page that a classifier's folder shows on the Hub."""

from __future__ import annotations

from pathlib import Path

from pennyweight.manifest import Manifest


def model_card(manifest: Manifest) -> str:
    """The Hub's README.md of a classifier: front matter, result, use."""
    from jinja2 import Environment, PackageLoader

    environment = Environment(
        loader=PackageLoader("pennyweight", "."), trim_blocks=True, lstrip_blocks=True, autoescape=False
    )
    return environment.get_template("model_card.md.j2").render(card=manifest, base=_published(manifest))


def _published(manifest: Manifest) -> str | None:
    """The backbone's Hub id; none where it is a folder, whose path means nothing to others."""
    record = manifest.backbone
    return record.hub_id or (None if Path(record.name).is_absolute() else record.name)
