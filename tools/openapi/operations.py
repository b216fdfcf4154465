"""A REST path of a method, as an operation: its parameters, its body and its answers."""

from collections.abc import Iterator
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from services.common.contract import PATH_VARIABLE, Door, Http, Method
from tools.openapi.comments import Comments, first_sentence
from tools.openapi.errors import Responses
from tools.openapi.rules import Schema, examples, rules_of
from tools.openapi.schemas import Schemas, Use, is_required

JSON = "application/json"

_MASK = "google.protobuf.FieldMask"
_BODY = "google.api.HttpBody"


class Operations:
    """Makes operations, and with them the schemas that they refer to."""

    def __init__(self, schemas: Schemas, comments: Comments) -> None:
        self._schemas = schemas
        self._comments = comments
        self.responses = Responses()
        """The responses that operations share."""

    def operation(self, method: Method, http: Http) -> Schema:
        """Returns the operation of a method at one of its paths."""
        service, name = method.path.strip("/").split("/")
        comment = self._comments.get(f"{service}.{name}", "")
        summary = first_sentence(comment)
        operation: Schema = {
            "tags": [tag(service)],
            "operationId": name,
            "summary": summary,
            "description": "\n\n".join(filter(None, (comment[len(summary) + 1 :].strip(), *_admits(method)))),
        }
        if parameters := [*self._parameters(method, http)]:
            operation["parameters"] = parameters
        if http.body:
            operation["requestBody"] = self._body(method, http)
        operation["responses"] = {"200": self._answer(method), **self.responses.of(method, http, comment)}
        if method.access.door is Door.PUBLIC:
            operation["security"] = []
        return operation

    def _parameters(self, method: Method, http: Http) -> Iterator[Schema]:
        message: Any = method.input.DESCRIPTOR
        bound = _variables(http)
        for path in bound:
            field = _field(message, path)
            yield self._parameter(path.rpartition(".")[2], field, where="path", needed=True)
        if http.body != "*":
            yield from self._query(message, {*bound, http.body})
        if "request_id" in message.fields_by_name:
            header = self._parameter("Idempotency-Key", message.fields_by_name["request_id"], where="header")
            yield header | {"description": "Says what `requestId` says. One of them is enough."}

    def _query(self, message: Descriptor, given: set[str]) -> Iterator[Schema]:
        for field in self._schemas.fields(message, Use.REQUEST):
            if field.name not in given:
                parameter = self._parameter(field.json_name, field, where="query", needed=is_required(field))
                if getattr(field.message_type, "full_name", "") == _MASK:
                    parameter["schema"] |= self._mask(message, given)
                yield parameter

    def _parameter(self, name: str, field: FieldDescriptor, *, where: str, needed: bool = False) -> Schema:
        schema = self._schemas.field(field, Use.REQUEST, needed=needed)
        schema.pop("readOnly", None)
        description = schema.pop("description", "")
        parameter = {"name": name, "in": where, "description": description, "schema": schema}
        return parameter | {"required": True} if needed else parameter

    def _mask(self, message: Any, given: set[str]) -> Schema:
        """Returns the values of a mask of the fields of the body: a list of names with commas between, or a star."""
        [body] = [message.fields_by_name[name] for name in given if name in message.fields_by_name]
        names = [field.json_name for field in self._schemas.fields(body.message_type, Use.CHANGE)]
        one = f"({'|'.join(names)})"
        return {"pattern": rf"^(\*|{one}(,{one})*)?$", "examples": [names[0]]}

    def _body(self, method: Method, http: Http) -> Schema:
        whole: Any = method.input.DESCRIPTOR
        if http.body == "*":
            use, without = Use.REQUEST, frozenset(_variables(http))
        else:
            whole, without = whole.fields_by_name[http.body].message_type, frozenset[str]()
            use = Use.CHANGE if http.verb == "PATCH" else Use.REQUEST
        content: Schema = {"schema": self._schemas.message(whole, use, without)}
        fields = [field for field in self._schemas.fields(whole, use) if field.name not in without]
        if example := dict(_example(fields, use)):
            content["example"] = example
        return {"required": any(map(is_required, fields)), "content": {JSON: content}}

    def _answer(self, method: Method) -> Schema:
        message: Any = method.output.DESCRIPTOR
        description = self._comments.get(message.full_name, "Done.")
        if message.full_name == _BODY:
            return {"description": "As the method says.", "content": {"*/*": {}}}
        schema = self._schemas.message(message, Use.ANSWER)
        if method.streams:  # Envoy says application/json of it
            description = (
                f"A JSON object for each message, each on a line of its own, until either side ends: {description}"
            )
        return {"description": description, "content": {JSON: {"schema": schema}}}


def url(http: Http) -> str:
    """Returns the path as OpenAPI has it: a variable has the name of the field, whatever message that is in.

    Paths that differ only in the names of variables must not be two.
    """
    return PATH_VARIABLE.sub(lambda found: f"{{{found[0].strip('{}').rpartition('.')[2]}}}", http.path)


def tag(service: str) -> str:
    """Returns a service's tag, by its full name."""
    return service.rpartition(".")[2].removesuffix("Service")


def _admits(method: Method) -> list[str]:
    roles = sorted(method.access.roles)
    return [f"Admits {' and '.join(roles)}."] if roles else []


def _variables(http: Http) -> list[str]:
    return [variable.strip("{}") for variable in PATH_VARIABLE.findall(http.path)]


def _field(message: Any, path: str) -> FieldDescriptor:
    *outer, name = path.split(".")
    for step in outer:
        message = message.fields_by_name[step].message_type
    field: FieldDescriptor = message.fields_by_name[name]
    return field


def _example(fields: list[FieldDescriptor], use: Use) -> Iterator[tuple[str, Any]]:
    """Yields the fields of an example: those to which the protos give one; of a change the optional ones."""
    for field in fields:
        if (found := examples(rules_of(field))) and (use is not Use.CHANGE or not is_required(field)):
            yield field.json_name, found[0]
