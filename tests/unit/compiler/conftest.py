"""What all graphs of the tests are compiled against, read once."""

from __future__ import annotations

import pytest

from tests.graphs.catalogue import GRAPHS, graph_catalogue
from vertebra.compiler import Catalogue, Project, read_project


@pytest.fixture(scope="session")
def project() -> Project:
    return read_project(GRAPHS / "project")


@pytest.fixture(scope="session")
def catalogue() -> Catalogue:
    return graph_catalogue()
