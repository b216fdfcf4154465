"""`make localstack`, without a license: what it starts and what it says."""

import re
from typing import TYPE_CHECKING

import pytest

from tests.infrastructure.resource_table import DOCUMENT, read_table

if TYPE_CHECKING:
    from tests.infrastructure.templates import Templates


def test_without_a_token_the_needed_editions_are_named() -> None:
    from infrastructure.errors import DeployError
    from infrastructure.localstack import engine

    with pytest.raises(DeployError, match=r"LOCALSTACK_AUTH_TOKEN.* edition Base, .* edition Ultimate"):
        engine.start({})


def test_token_is_not_in_the_command_line() -> None:
    from infrastructure.localstack import engine

    assert "secret" not in " ".join(engine.localstack_options({"LOCALSTACK_AUTH_TOKEN": "secret"}))


def test_ports_are_published_on_the_loopback_address_only() -> None:
    from infrastructure.localstack import engine

    options = engine.localstack_options({})
    ports = [options[index + 1] for index, option in enumerate(options) if option == "--publish"]
    assert ports == ["127.0.0.1:4566:4566", "127.0.0.1:4510-4559:4510-4559"]


def test_every_needed_service_has_an_edition() -> None:
    from infrastructure.localstack import editions

    everything = {"services": dict.fromkeys(editions.NEEDED, "available"), "version": "4.14.0"}
    assert editions.describe_missing(everything) == ""
    del everything["services"]["servicediscovery"]  # type: ignore[attr-defined]
    assert editions.describe_missing(everything).endswith("lacks servicediscovery (edition Ultimate).")


def test_document_lists_the_resources_of_the_templates(localstack: "Templates") -> None:
    counts: dict[str, int] = {}
    for of_stack in localstack.all_counts().values():
        for kind, count in of_stack.items():
            counts[kind] = counts.get(kind, 0) + count
    assert {kind: row.number for kind, row in read_table().items()} == counts


def test_document_lists_the_number_of_resources_of_each_stack(templates: "Templates") -> None:
    column = ("localstack", "staging", "production").index(templates.environment.name)
    section = DOCUMENT.read_text(encoding="utf-8").partition("## Resources by stack")[2]
    rows = re.findall(r"^\| (\w+) \| (\d+) \| (\d+) \| (\d+) \|", section, re.MULTILINE)
    documented = {stack: int(counts[column]) for stack, *counts in rows}
    assert documented == {stack: sum(counts.values()) for stack, counts in templates.all_counts().items()}
