"""Reads comments from the protos, by the full name of the element that each comment describes."""

import re
from collections.abc import Iterable, Iterator
from typing import Any

from google.protobuf.descriptor_pb2 import FileDescriptorProto

Comments = dict[str, str]
"""Comments in Markdown. Each paragraph and each list item is one line."""

Path = tuple[int, ...]

_PARTS = ("message_type", "enum_type", "service", "field", "nested_type", "value", "method")
"""The descriptor fields whose elements have their own comments."""


def read_comments(files: Iterable[FileDescriptorProto]) -> Comments:
    """Returns the comments of all messages, fields, enums, values, services and methods."""
    comments: Comments = {}
    for file in files:
        by_path = {tuple(location.path): location.leading_comments for location in file.source_code_info.location}
        comments |= {name: _to_markdown(by_path[path]) for path, name in _walk(file, file.package) if by_path.get(path)}
    return comments


def first_sentence(text: str) -> str:
    """Returns the first sentence of a text, without its full stop."""
    return re.split(r"\.(?=\s|$)", text, maxsplit=1)[0]


def _walk(parent: Any, name: str, path: Path = ()) -> Iterator[tuple[Path, str]]:
    """Yields the path and the full name of every element of a descriptor."""
    for part, descriptor in parent.DESCRIPTOR.fields_by_name.items():
        if part in _PARTS:
            for index, child in enumerate(getattr(parent, part)):
                child_path, full_name = (*path, descriptor.number, index), f"{name}.{child.name}"
                yield child_path, full_name
                yield from _walk(child, full_name, child_path)


def _to_markdown(comment: str) -> str:
    """Returns a comment with each paragraph and each list item on one line, without lint directives."""
    comment = re.sub(r"^ *buf:lint:ignore .*$", "", comment, flags=re.MULTILINE)
    paragraphs = re.split(r"\n\s*\n", comment)
    return "\n\n".join(map(_join_lines, paragraphs)).strip()


def _join_lines(paragraph: str) -> str:
    return "\n".join(" ".join(block.split()) for block in re.split(r"\n\s*(?=- )", paragraph))
