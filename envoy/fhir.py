"""The FHIR API (https://hl7.org/fhir/R4/http.html): search parameters, OperationOutcomes and ETags."""

from pathlib import Path

from envoy.extension import Config, extension, to_any
from envoy.names import COMPRESSOR, FHIR
from services.common.protobuf import contract
from services.common.protobuf.contract import Http, Method

PARAMETERS = "parameters"
"""The field that takes all parameters of the URL."""

LENIENT = "lenient"
"""The field that ignores unsupported parameters, as the preference `handling=lenient` asks for."""

HOST = r"(?:[A-Za-z0-9._~-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?"
"""Allowed values of the Host header, which the links of a Bundle contain."""

ISSUES = {
    401: "login",
    403: "forbidden",
    404: "not-found",
    405: "not-supported",
    409: "conflict",
    412: "conflict",
    413: "too-long",
    415: "not-supported",
    422: "business-rule",
    429: "throttled",
    500: "exception",
    503: "transient",
    504: "timeout",
}
"""The code of an issue (https://hl7.org/fhir/R4/valueset-issue-type.html) by HTTP status: `invalid` by default."""

STATUSES = {"ETAG_MISMATCH": 412, "RESOURCE_UNPROCESSABLE": 422}
"""The HTTP status of a reason, if the FHIR API has another one than that of the gRPC code."""

SUCCESSES = {"CreateFhirPatient": 201, "DeleteFhirPatient": 204, "StartFhirExport": 202, "DeleteFhirExport": 202}
"""The HTTP status of a response without an error, if it is not 200."""

_SCRIPT = Path(__file__).with_suffix(".lua")


def fhir_filter() -> Config:
    """Returns the filter, which is disabled. `fhir_options` enables it for a route."""
    issues = "".join(f'["{status}"] = "{code}",' for status, code in ISSUES.items())
    statuses = "".join(f'{reason} = "{status}",' for reason, status in STATUSES.items())
    names = "BASE, CONTENT_TYPE, REASON, ISSUES, STATUSES"
    texts = f'"{contract.FHIR}", "{contract.FHIR_CONTENT}", "{contract.FHIR_REASON}"'
    script = _SCRIPT.read_text(encoding="utf-8")
    source = {"inline_string": f"local {names} = {texts}, {{{issues}}}, {{{statuses}}}\n{script}"}
    return extension(FHIR, "filters.http.lua.v3.Lua", default_source_code=source) | {"disabled": True}


def fhir_options(method: Method, http: Http) -> Config:
    """Returns the options of a REST route that enable the filter, if the method is part of the FHIR API.

    The response to a deletion has no body. Compression would add one, because it has no content type either.
    """
    if not method.is_fhir:
        return {}
    plain = {COMPRESSOR: to_any("envoy.config.route.v3.FilterConfig", disabled=True)} if http.verb == "DELETE" else {}
    return fhir_errors(verb=http.verb, **_context(method)) | plain


def fhir_errors(**context: str) -> Config:
    """Returns the options of a route whose errors are OperationOutcomes."""
    return {FHIR: to_any("filters.http.lua.v3.LuaPerRoute", filter_context=context)}


def takes_any_query(method: Method) -> bool:
    """Returns whether the service reads all parameters of the URL, in one field."""
    return method.is_fhir and PARAMETERS in method.input.DESCRIPTOR.fields_by_name


def _context(method: Method) -> dict[str, str]:
    """Returns the context of a route, which only has the names that apply."""
    fields = method.input.DESCRIPTOR.fields_by_name
    return {
        **({"parameter": PARAMETERS} if PARAMETERS in fields else {}),
        **({"lenient": LENIENT} if LENIENT in fields else {}),
        **({"success": str(SUCCESSES[method.name])} if method.name in SUCCESSES else {}),
        **({"streams": "true"} if method.streams else {}),
    }
