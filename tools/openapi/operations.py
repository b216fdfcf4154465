"""Builds the operation of a REST path: its parameters, request body and responses."""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from envoy.fhir import takes_any_query
from envoy.oauth import FORM_CONTENT
from services.common.protobuf.contract import FHIR_CONTENT, LINES, PATH_VARIABLE, RAW_BODY, AccessKind, Http, Method
from tools.openapi.comments import Comments, first_sentence
from tools.openapi.conditions import condition_parameters, etag_headers, not_modified
from tools.openapi.errors import Responses
from tools.openapi.fhir import fhir_body, fhir_success, lines_body
from tools.openapi.rules import Schema, examples, rules_of
from tools.openapi.schemas import Schemas, Use, is_required
from tools.openapi.security import BEARER, OAUTH

JSON = "application/json"

_MASK = "google.protobuf.FieldMask"


class Operations:
    """Builds operations and the schemas to which they refer."""

    def __init__(self, schemas: Schemas, comments: Comments) -> None:
        self._schemas = schemas
        self._comments = comments
        self.responses = Responses()
        """The error responses that operations share."""

    def build(self, method: Method, http: Http) -> Schema:
        """Returns the operation of one REST binding of a method."""
        service, name = method.path.strip("/").split("/")
        comment = self._comments.get(f"{service}.{name}", "")
        summary = first_sentence(comment)
        operation: Schema = {
            "tags": [tag_name(service)],
            "operationId": name,
            "summary": summary,
            "description": "\n\n".join(filter(None, (comment[len(summary) + 1 :].strip(), _describe_roles(method)))),
        }
        if parameters := [*self._parameters(method, http)]:
            operation["parameters"] = parameters
        if http.body:
            operation["requestBody"] = self._body(method, http)
        success = fhir_success(method, http) or {"200": self._success(method) | etag_headers(method)}
        success |= not_modified(method, http)
        operation["responses"] = {**success, **self.responses.build(method, http, comment)}
        if method.access.kind is AccessKind.PUBLIC:
            operation["security"] = []
        elif scope := method.access.scope:
            operation["security"] = [{BEARER: []}, {OAUTH: [scope]}]
        return operation

    def _parameters(self, method: Method, http: Http) -> Iterator[Schema]:
        message: Any = method.input.DESCRIPTOR
        bound = _path_variables(http)
        for path in bound:
            field = _find_field(message, path)
            yield self._parameter(path.rpartition(".")[2], field, location="path", required=True)
        if http.body != "*" and not takes_any_query(method):
            yield from self._query(message, {*bound, http.body})
        if "request_id" in message.fields_by_name:
            header = self._parameter("Idempotency-Key", message.fields_by_name["request_id"], location="header")
            yield header | {"description": "Equivalent to the parameter `requestId`. Set one of them."}
        yield from condition_parameters(method, http)

    def _query(self, message: Descriptor, bound: set[str]) -> Iterator[Schema]:
        for field in self._schemas.fields(message, Use.REQUEST):
            if field.name not in bound:
                parameter = self._parameter(field.json_name, field, location="query", required=is_required(field))
                if getattr(field.message_type, "full_name", "") == _MASK:
                    parameter = parameter | {"schema": parameter["schema"] | self._mask(message, bound)}
                yield parameter

    def _parameter(self, name: str, field: FieldDescriptor, *, location: str, required: bool = False) -> Schema:
        keywords = self._schemas.field(field, Use.REQUEST, required=required)
        schema = {keyword: value for keyword, value in keywords.items() if keyword not in {"readOnly", "description"}}
        parameter = {"name": name, "in": location, "description": keywords["description"], "schema": schema}
        return parameter | {"required": True} if required else parameter

    def _mask(self, message: Any, bound: set[str]) -> Schema:
        """Returns the schema of a field mask for the request body: a comma-separated list of fields, or `*`."""
        [body] = [message.fields_by_name[name] for name in bound if name in message.fields_by_name]
        names = [field.json_name for field in self._schemas.fields(body.message_type, Use.UPDATE)]
        field = f"({'|'.join(names)})"
        return {"pattern": rf"^(\*|{field}(,{field})*)?$", "examples": [names[0]]}

    def _body(self, method: Method, http: Http) -> Schema:
        if method.takes_raw_body(http):
            return fhir_body() if method.is_fhir else lines_body()
        message: Any = method.input.DESCRIPTOR
        if http.body == "*":
            use, without = Use.REQUEST, frozenset(_path_variables(http))
        else:
            message, without = message.fields_by_name[http.body].message_type, frozenset[str]()
            use = Use.UPDATE if http.verb == "PATCH" else Use.REQUEST
        content: Schema = {"schema": self._schemas.message(message, use, without)}
        fields = [field for field in self._schemas.fields(message, use) if field.name not in without]
        if example := dict(_example_values(fields, use)):
            content["example"] = example
        types = [FORM_CONTENT, JSON] if method.is_oauth_endpoint else [JSON]
        return {"required": any(map(is_required, fields)), "content": {kind: deepcopy(content) for kind in types}}

    def _success(self, method: Method) -> Schema:
        message: Any = method.output.DESCRIPTOR
        description = f"{first_sentence(self._comments.get(message.full_name, 'The response is empty'))}."
        if message.full_name == RAW_BODY:
            kind = FHIR_CONTENT if method.streams else JSON
            return {"description": "A JSON object.", "content": {kind: {"schema": {"type": "object"}}}}
        schema = self._schemas.message(message, Use.RESPONSE)
        if method.streams:
            description += " The response is a stream of newline-delimited JSON objects, one for each message."
        return {"description": description, "content": {LINES if method.streams else JSON: {"schema": schema}}}


def template_path(http: Http) -> str:
    """Returns the OpenAPI path template of a binding: "/v1/users/{user.id}" becomes "/v1/users/{id}".

    OpenAPI treats paths that differ only in variable names as identical.
    """
    return PATH_VARIABLE.sub(lambda match: f"{{{match[0].strip('{}').rpartition('.')[2]}}}", http.path)


def tag_name(service: str) -> str:
    """Returns the tag of a service, given by its full name."""
    return service.rpartition(".")[2].removesuffix("Service")


def _describe_roles(method: Method) -> str:
    roles, scope = sorted(method.access.roles), method.access.scope
    client = f", or a machine client with the scope `{scope}`" if scope else ""
    return f"Required role: {' or '.join(roles)}{client}." if roles else ""


def _path_variables(http: Http) -> list[str]:
    return [variable.strip("{}") for variable in PATH_VARIABLE.findall(http.path)]


def _find_field(message: Any, path: str) -> FieldDescriptor:
    *outer, name = path.split(".")
    for step in outer:
        message = message.fields_by_name[step].message_type
    field: FieldDescriptor = message.fields_by_name[name]
    return field


def _example_values(fields: list[FieldDescriptor], use: Use) -> Iterator[tuple[str, Any]]:
    """Yields the name and the example value of each field that has one. Examples of updates omit required fields."""
    for field in fields:
        if (values := examples(rules_of(field))) and (use is not Use.UPDATE or not is_required(field)):
            yield field.json_name, values[0]
