"""The structure of a Patient resource (https://hl7.org/fhir/R4/patient.html): its elements and their types.

The contents of contained resources, and of extensions with other types, are not checked.
"""

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from itertools import islice
from typing import Any, NamedTuple

_MAX_VIOLATIONS = 20
_MAX_DEPTH = 20
_MAX_UNCHECKED_DEPTH = 100
"""The depth of objects and lists in contents that are not checked. The JSON encoder fails at some greater depth."""

_REQUIRED = {"Extension": ("url",), "Patient.communication": ("language",), "Patient.link": ("other", "type")}

_TYPES: Mapping[str, Mapping[str, str]] = {
    name: dict(element.split(":") for element in elements.split())
    for name, elements in {
        "Patient": "meta:Meta implicitRules:uri language:code text:Narrative contained:Resource*"
        " modifierExtension:Extension* identifier:Identifier* active:boolean name:HumanName* telecom:ContactPoint*"
        " gender:male|female|other|unknown birthDate:date deceasedBoolean:boolean deceasedDateTime:dateTime"
        " address:Address* maritalStatus:CodeableConcept multipleBirthBoolean:boolean multipleBirthInteger:integer"
        " photo:Attachment* contact:Patient.contact* communication:Patient.communication*"
        " generalPractitioner:Reference* managingOrganization:Reference link:Patient.link*",
        "Patient.contact": "modifierExtension:Extension* relationship:CodeableConcept* name:HumanName"
        " telecom:ContactPoint* address:Address gender:male|female|other|unknown organization:Reference period:Period",
        "Patient.communication": "modifierExtension:Extension* language:CodeableConcept preferred:boolean",
        "Patient.link": "modifierExtension:Extension* other:Reference type:replaced-by|replaces|refer|seealso",
        "HumanName": "use:usual|official|temp|nickname|anonymous|old|maiden text:string family:string given:string*"
        " prefix:string* suffix:string* period:Period",
        "ContactPoint": "system:phone|fax|email|pager|url|sms|other value:string use:home|work|temp|old|mobile"
        " rank:positiveInt period:Period",
        "Address": "use:home|work|temp|old|billing type:postal|physical|both text:string line:string* city:string"
        " district:string state:string postalCode:string country:string period:Period",
        "Identifier": "use:usual|official|temp|secondary|old type:CodeableConcept system:uri value:string period:Period"
        " assigner:Reference",
        "CodeableConcept": "coding:Coding* text:string",
        "Coding": "system:uri version:string code:code display:string userSelected:boolean",
        "Period": "start:dateTime end:dateTime",
        "Reference": "reference:string type:uri identifier:Identifier display:string",
        "Attachment": "contentType:code language:code data:base64Binary url:uri size:unsignedInt hash:base64Binary"
        " title:string creation:dateTime",
        "Quantity": "value:decimal comparator:<|<=|>=|> unit:string system:uri code:code",
        "Meta": "versionId:id lastUpdated:instant source:uri profile:uri* security:Coding* tag:Coding*",
        "Narrative": "status:generated|extensions|additional|empty div:xhtml",
        "Extension": "url:uri",
        "Element": "",
    }.items()
}
"""The types of elements by the type that contains them. A star marks a list, and bars separate the codes of a set."""

_COMMON = {"id": "string", "extension": "Extension*"}
"""The elements that all types have."""

_DAY = r"[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
_DATE = rf"[0-9]{{4}}(-(0[1-9]|1[0-2]))?|{_DAY}"
_TIME = r"([01][0-9]|2[0-3]):[0-5][0-9]:([0-5][0-9]|60)(\.[0-9]+)?"
_INSTANT = rf"{_DAY}T{_TIME}(Z|[+-](0[0-9]|1[0-4]):[0-5][0-9])"
_TEXTS = {
    name: re.compile(pattern).fullmatch
    for name, pattern in {
        "string": r"(?=\s*\S)[^\x00-\x08\x0b\x0c\x0e-\x1f]+",
        "markdown": r"[^\x00-\x08\x0b\x0c\x0e-\x1f]+",
        "xhtml": r"[^\x00-\x08\x0b\x0c\x0e-\x1f]+",
        "code": r"[^\s]+(\s[^\s]+)*",
        "id": r"[A-Za-z0-9.-]{1,64}",
        **dict.fromkeys(("uri", "url", "canonical", "oid", "uuid"), r"[^\s\x00-\x1f]+"),
        "base64Binary": r"[A-Za-z0-9+/=\s]+",
        "date": _DATE,
        "dateTime": rf"{_DATE}|{_INSTANT}",
        "instant": _INSTANT,
        "time": _TIME,
        **{codes: codes for elements in _TYPES.values() for codes in elements.values() if "|" in codes},
    }.items()
}
"""Match the values of primitive types that are JSON strings, and of sets of codes."""
_INTEGERS = {"integer": -(2**31), "unsignedInt": 0, "positiveInt": 1}
"""The primitive types that are integers, and their least values."""
_MOST = 2**31 - 1
_PRIMITIVES = {*_TEXTS, *_INTEGERS, "boolean", "decimal"}


class _Element(NamedTuple):
    """An element of a type."""

    kind: str
    is_list: bool
    matches: Callable[[str], object] | None
    """Returns whether a string is a value, unless the values are not strings."""


def _declare(kind: str, declared: Mapping[str, str]) -> dict[str, _Element]:
    """Returns the elements of a type by their names, with the extensions of primitive values."""
    types = {**_COMMON, **declared}
    if kind == "Extension":
        types |= {f"value{name[0].upper()}{name[1:]}": name for name in _PRIMITIVES if "|" not in name}
    for name, each in [*types.items()]:
        if each.removesuffix("*") in _PRIMITIVES:
            types[f"_{name}"] = "Element*" if each.endswith("*") else "Element"
    return {
        name: _Element(each.removesuffix("*"), each.endswith("*"), _TEXTS.get(each)) for name, each in types.items()
    }


_ELEMENTS = {kind: _declare(kind, declared) for kind, declared in _TYPES.items()}

Violations = dict[str, str]
"""What is wrong with elements, by their paths, such as `name[0].family`."""


def find_violations(resource: Mapping[str, Any]) -> Violations:
    """Returns why an object is not a Patient resource, by the path of the element."""
    elements = {name: value for name, value in resource.items() if name != "resourceType"}
    found: Violations = {}
    _check_elements("Patient", elements, "", 0, found)
    return dict(islice(found.items(), _MAX_VIOLATIONS))


def _check(kind: str, value: Any, path: str, depth: int, found: Violations) -> None:
    """Adds the violations of a value that is not a list."""
    if depth > _MAX_DEPTH:
        found[path] = "is nested too deeply"
    elif kind in _PRIMITIVES:
        if violation := _check_primitive(kind, value):
            found[path] = violation
    elif not isinstance(value, dict):
        found[path] = "must be an object"
    elif not value:
        found[path] = "must not be empty"
    elif kind == "Resource" and not isinstance(value.get("resourceType"), str):
        found[path] = "must have a resourceType"
    elif kind in _ELEMENTS:
        _check_elements(kind, value, f"{path}.", depth, found)
    elif _is_deep(value):
        found[path] = "is nested too deeply"


def _is_deep(value: Any, depth: int = 0) -> bool:
    """Returns whether a value whose contents are not checked is nested too deeply."""
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return depth > _MAX_UNCHECKED_DEPTH or any(_is_deep(each, depth + 1) for each in children)


def _check_elements(kind: str, value: Mapping[str, Any], prefix: str, depth: int, found: Violations) -> None:
    for name in _REQUIRED.get(kind, ()):
        if name not in value:
            found[f"{prefix}{name}"] = "must be set"
    elements = _ELEMENTS[kind]
    for name, each in value.items():
        element = elements.get(name) or _find_value(kind, name)
        if element and element.matches and isinstance(each, str) and element.matches(each) and depth < _MAX_DEPTH:
            continue  # most values, without the calls below
        if len(found) >= _MAX_VIOLATIONS:
            return
        if element is None:
            found[f"{prefix}{name[:64]}"] = f"is not an element of {kind}"
        elif not element.is_list:
            _check(element.kind, each, f"{prefix}{name}", depth + 1, found)
        elif not isinstance(each, list) or not each:
            found[f"{prefix}{name}"] = "must be a list that is not empty"
        else:
            _check_list(element.kind, each, f"{prefix}{name}", depth + 1, found)


def _find_value(kind: str, name: str) -> _Element | None:
    """Returns the element if it is the value of an extension, of a type that is not primitive."""
    is_value = kind == "Extension" and re.fullmatch("value[A-Z][A-Za-z0-9]*", name)
    return _Element(name.removeprefix("value"), is_list=False, matches=None) if is_value else None


def _check_list(kind: str, values: list[Any], path: str, depth: int, found: Violations) -> None:
    """Adds the violations of a list. Those of primitive types may have null for a value that only has extensions."""
    for index, value in enumerate(values):
        if len(found) < _MAX_VIOLATIONS and (value is not None or kind not in {*_PRIMITIVES, "Element"}):
            _check(kind, value, f"{path}[{index}]", depth, found)


def _check_primitive(kind: str, value: Any) -> str | None:
    if kind == "boolean":
        return None if isinstance(value, bool) else "must be true or false"
    if kind == "decimal":
        return None if isinstance(value, int | float | Decimal) and not isinstance(value, bool) else "must be a number"
    if (least := _INTEGERS.get(kind)) is not None:
        is_integer = isinstance(value, int) and not isinstance(value, bool)
        return None if is_integer and least <= value <= _MOST else f"must be an integer from {least} to {_MOST}"
    if not isinstance(value, str):
        return "must be a string"
    if _TEXTS[kind](value):
        return None
    return f"must be one of {', '.join(kind.split('|'))}" if "|" in kind else f"must be a valid {kind}"
