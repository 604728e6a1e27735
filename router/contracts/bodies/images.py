"""Generated images, as workers give them: the part that the router reads."""

import msgspec
from msgspec import Struct

from router.contracts.bodies.media import first_bytes, is_image


class _Image(Struct, frozen=True, gc=False):
    b64_json: str | None = None
    url: str | None = None


class ImageUsage(Struct, frozen=True, gc=False):
    """The tokens of the prompt, from servers that count them."""

    input_tokens: int | None = None


class Images(Struct, frozen=True, gc=False):
    """Each image is there itself or has an address."""

    data: list[_Image]
    usage: ImageUsage | None = None


decode_images = msgspec.json.Decoder(Images).decode


def check_images(images: Images, asked: int) -> None:
    """Raises ``msgspec.DecodeError`` for none, for more than were asked for, and for no images."""
    if not 1 <= len(images.data) <= asked:
        raise msgspec.DecodeError(f"{len(images.data)} images, where {asked} were asked for")
    for number, image in enumerate(images.data):
        if image.b64_json is None:
            if not image.url:
                raise msgspec.DecodeError(f"data[{number}] has neither b64_json nor url")
            continue
        try:
            begin = first_bytes(image.b64_json)
        except ValueError as error:
            raise msgspec.DecodeError(f"data[{number}].b64_json: {error}") from error
        if not is_image(begin):
            raise msgspec.DecodeError(f"data[{number}].b64_json is no image")
