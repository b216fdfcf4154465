"""The templates of an environment, for assertions."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aws_cdk.assertions import Annotations, Match, Template

from infrastructure.app import synthesize
from infrastructure.settings import Environment

Properties = dict[str, Any]


class Templates:
    """The seven templates of an environment."""

    def __init__(self, environment: Environment, folder: Path) -> None:
        self.environment = environment
        stacks = synthesize(environment, folder)
        self.files = [folder / stack.template_file for stack in stacks]
        self.warnings = [
            entry.entry.data
            for stack in stacks
            for annotations in [Annotations.from_stack(stack)]
            for find in (annotations.find_warning, annotations.find_error)
            for entry in find("*", Match.any_value())
        ]
        self._stacks = {stack.node.id.lower(): Template.from_stack(stack) for stack in stacks}

    def __getitem__(self, stack: str) -> Template:
        return self._stacks[stack]

    def counts(self, stack: str) -> dict[str, int]:
        """Returns the number of resources of a stack by type."""
        counts: dict[str, int] = {}
        for resource in self[stack].to_json()["Resources"].values():
            counts[resource["Type"]] = counts.get(resource["Type"], 0) + 1
        return dict(sorted(counts.items()))

    def all_counts(self) -> dict[str, dict[str, int]]:
        """Returns the number of resources by type of each stack."""
        return {stack: self.counts(stack) for stack in self._stacks}

    def kinds(self) -> set[str]:
        """Returns the types of the resources of all stacks."""
        return {kind for stack in self._stacks for kind in self.counts(stack)}

    def resources(self, kind: str) -> dict[str, Properties]:
        """Returns the resources of a type in all stacks, by logical id."""
        found = [template.find_resources(kind) for template in self._stacks.values()]
        return {name: dict(resource) for resources in found for name, resource in resources.items()}

    def properties(self, kind: str) -> list[Properties]:
        """Returns the properties of each resource of a type."""
        return [resource["Properties"] for resource in self.resources(kind).values()]

    def containers(self) -> Iterator[Properties]:
        """Yields the containers of all task definitions."""
        for task in self.properties("AWS::ECS::TaskDefinition"):
            yield from task["ContainerDefinitions"]

    def text(self) -> str:
        """Returns all templates as JSON."""
        return json.dumps([template.to_json() for template in self._stacks.values()])
