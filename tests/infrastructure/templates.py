"""The templates of one environment, to be looked at."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aws_cdk.assertions import Annotations, Match, Template

from infrastructure.app import synthesise
from infrastructure.settings import Environment

Properties = dict[str, Any]


class Templates:
    """An environment's five templates."""

    def __init__(self, environment: Environment, folder: Path) -> None:
        self.environment = environment
        stacks = synthesise(environment, folder)
        self.files = [folder / stack.template_file for stack in stacks]
        self.said = [
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
        """Returns how many resources of each type a stack has."""
        counts: dict[str, int] = {}
        for resource in self[stack].to_json()["Resources"].values():
            counts[resource["Type"]] = counts.get(resource["Type"], 0) + 1
        return dict(sorted(counts.items()))

    def resources(self, kind: str) -> dict[str, Properties]:
        """Returns the resources of a type, of all stacks, by their names in the template."""
        found = [template.find_resources(kind) for template in self._stacks.values()]
        return {name: dict(resource) for resources in found for name, resource in resources.items()}

    def properties(self, kind: str) -> list[Properties]:
        """Returns the properties of each resource of a type."""
        return [resource["Properties"] for resource in self.resources(kind).values()]

    def containers(self) -> Iterator[Properties]:
        """Yields every container of every task."""
        for task in self.properties("AWS::ECS::TaskDefinition"):
            yield from task["ContainerDefinitions"]

    def text(self) -> str:
        """Returns all of it as JSON."""
        return json.dumps([template.to_json() for template in self._stacks.values()])
