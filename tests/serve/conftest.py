"""Endpoints of three vendors for the tests of one file, and what the one command needs to serve them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.serve.vendors import Vendor

# Imported late: not every environment has what servers need.


@pytest.fixture(scope="module")
def made_artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.serve.made import save_made

    return save_made(tmp_path_factory.mktemp("artifact") / "nn_router.pth")


@pytest.fixture(scope="module")
def vendors() -> Iterator[dict[str, Vendor]]:
    from tests.serve.endpoints import serving
    from tests.serve.vendors import Vendor

    with serving("math", "poet", "eyes", "extra", kind=Vendor) as found:
        yield {vendor.name: vendor for vendor in found}


@pytest.fixture(scope="module")
def pool(vendors: dict[str, Vendor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.serve.gateways import write_pool

    return write_pool(tmp_path_factory.mktemp("pool"), vendors)


@pytest.fixture(scope="module")
def environment(made_artifact: Path, vendors: dict[str, Vendor]) -> dict[str, str]:
    from tests.serve.gateways import vendor_environment

    return vendor_environment(made_artifact, vendors)
