"""What :meth:`auto_router.route.router.ModelRouter.decide` is given, in one form."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from auto_router.data.images import ImageLike
from auto_router.data.request import Request, read_request, text_request
from auto_router.errors import ConfigError

Images = Sequence[ImageLike] | None
Names = Collection[str] | None


def make_request(
    text: str | None, images: Images, models: Names, operating_point: str | None, session: str | None,
    request: Request | None, body: Mapping[str, Any],
) -> Request:  # fmt: skip
    """Return what :meth:`ModelRouter.decide` was asked, in one form. It raises what that raises."""
    if isinstance(text, Mapping):  # a field of the responses API
        text, body = None, {**body, "text": text}
    if (text is not None) + (request is not None) + bool(body) > 1:
        raise ConfigError("give one of: text, with images; messages= with what else the request has; or request=")
    if body:
        found = read_request(body)
        request = found.without(found.urls)
    elif request is None:
        request = text_request(text)
    given: dict[str, Any] = {
        "images": None if images is None else images_of(images),
        "models": None if models is None else names_of(models),
        "operating_point": operating_point or None,
        "session": session or None,
    }
    changed = {name: value for name, value in given.items() if value is not None}
    return replace(request, **changed) if changed else request


def names_of(models: Collection[str]) -> tuple[str, ...]:
    """Return ``models=`` as a request holds it. Raises ConfigError for one string."""
    if isinstance(models, str):
        raise ConfigError(f"models= takes a list of names, got one string; give [{models!r}]")
    return tuple(models)


def images_of(images: Images) -> Any:
    """Return images as a request holds them; what is no list of them is left for the check to name."""
    if images is None:
        return ()
    return tuple(images) if isinstance(images, Collection) and not isinstance(images, str | bytes) else images
