"""What a browser must have before the catalog shows: by the built files that the page names."""

import gzip
import json

import pytest
from django.conf import settings

FIRST_PAINT_MAX = 100 * 1024
"""Bytes of script and style, compressed."""
MANIFEST = settings.FRONTEND_DIST / ".vite" / "manifest.json"


def files_of(entry: str, manifest: dict[str, dict[str, list[str]]]) -> set[str]:
    """An entry's script and styles, with those of everything that it imports."""
    chunk = manifest[entry]
    files = {str(chunk["file"]), *chunk.get("css", [])}
    return files.union(*(files_of(name, manifest) for name in chunk.get("imports", [])))


@pytest.mark.skipif(not MANIFEST.is_file(), reason="the front end is not built")
def test_the_catalog_paints_out_of_a_hundred_kilobytes() -> None:
    files = files_of("src/main.ts", json.loads(MANIFEST.read_text()))
    assert {name.rpartition(".")[2] for name in files} == {"js", "css"}
    built = settings.FRONTEND_DIST
    sizes = {name: len(gzip.compress((built / name).read_bytes())) for name in files}
    assert sum(sizes.values()) <= FIRST_PAINT_MAX, sizes
