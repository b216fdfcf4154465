"""What the protos' comments say, by the full name of what they stand above."""

import re
from collections.abc import Iterable, Iterator
from typing import Any

from google.protobuf.descriptor_pb2 import FileDescriptorProto

Comments = dict[str, str]
"""Comments in Markdown, a line for each paragraph."""

Path = tuple[int, ...]

_PARTS = ("message_type", "enum_type", "service", "field", "nested_type", "value", "method")
"""The fields of descriptors that hold what has a comment of its own."""


def comments(files: Iterable[FileDescriptorProto]) -> Comments:
    """Returns the comments of all messages, fields, enums, values, services and methods."""
    found: Comments = {}
    for file in files:
        said = {tuple(place.path): place.leading_comments for place in file.source_code_info.location}
        found |= {name: _paragraphs(said[path]) for path, name in _named(file, file.package) if said.get(path)}
    return found


def first_sentence(text: str) -> str:
    """Returns the first sentence, without its full stop."""
    return re.split(r"\.(?=\s|$)", text, maxsplit=1)[0]


def _named(holder: Any, name: str, path: Path = ()) -> Iterator[tuple[Path, str]]:
    """Yields the place and the full name of everything below a descriptor."""
    for part, numbered in holder.DESCRIPTOR.fields_by_name.items():
        if part in _PARTS:
            for index, child in enumerate(getattr(holder, part)):
                at, full_name = (*path, numbered.number, index), f"{name}.{child.name}"
                yield at, full_name
                yield from _named(child, full_name, at)


def _paragraphs(comment: str) -> str:
    comment = re.sub(r"^ *buf:lint:ignore .*$", "", comment, flags=re.MULTILINE)
    paragraphs = re.split(r"\n\s*\n", comment)
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs).strip()
