"""What a browser must have before a page shows: by the built files that the page names."""

import gzip
import json
from pathlib import Path

import pytest
from django.conf import settings

FIRST_PAINT_MAX = 110 * 1024
"""Bytes of script, style and typeface, compressed: of 130 KB, 20 are the page's own."""
TYPEFACE_MAX = 100 * 1024
MANIFEST = settings.FRONTEND_DIST / ".vite" / "manifest.json"
MAIN = "src/main.ts"

pytestmark = pytest.mark.skipif(not MANIFEST.is_file(), reason="the front end is not built")


def files_of(entry: str, manifest: dict[str, dict[str, list[str]]]) -> set[str]:
    """An entry's files, with those of everything that it imports."""
    chunk = manifest[entry]
    files = {str(chunk["file"]), *chunk.get("css", []), *chunk.get("assets", [])}
    return files.union(*(files_of(name, manifest) for name in chunk.get("imports", [])))


def sent(name: str) -> int:
    """Bytes of a file on their way; a typeface is compressed in itself."""
    content = (Path(settings.FRONTEND_DIST) / name).read_bytes()
    return len(content if name.endswith(".woff2") else gzip.compress(content))


def test_every_page_paints_out_of_a_hundred_and_thirty_kilobytes() -> None:
    manifest = json.loads(MANIFEST.read_text())
    everywhere = files_of(MAIN, manifest)
    assert {name.rpartition(".")[2] for name in everywhere} == {"js", "css", "woff2"}
    islands = [name for name, chunk in manifest.items() if chunk.get("isEntry")]
    assert MAIN in islands
    assert len(islands) > 1
    for island in islands:
        sizes = {name: sent(name) for name in everywhere | files_of(island, manifest)}
        assert sum(sizes.values()) <= FIRST_PAINT_MAX, sizes


def test_the_typeface_is_one_file_that_pages_ask_for_at_once() -> None:
    manifest = json.loads(MANIFEST.read_text())
    faces = [name for name in files_of(MAIN, manifest) if name.endswith(".woff2")]
    assert len(faces) == 1
    assert sent(faces[0]) <= TYPEFACE_MAX
    base = (Path(settings.BASE_DIR) / "frontend/templates/base.html").read_text()
    [source] = [name for name, chunk in manifest.items() if chunk["file"] == faces[0]]
    assert f'<link rel="preload" href="{{% vite_asset_url "{source}" %}}"' in base
