"""The FHIR API (https://hl7.org/fhir/R4/http.html): search parameters, OperationOutcomes and ETags."""

from pathlib import Path

from envoy.extension import Config, extension, to_any
from envoy.names import FHIR
from services.common.protobuf.contract import Method

CONTENT_TYPE = "application/fhir+json"
PARAMETERS = "parameters"
"""The field that takes all parameters of the URL."""

_SCRIPT = Path(__file__).with_suffix(".lua")


def fhir_filter() -> Config:
    """Returns the filter, which is disabled. `fhir_options` enables it for a route."""
    source = {"inline_string": _SCRIPT.read_text(encoding="utf-8")}
    return extension(FHIR, "filters.http.lua.v3.Lua", default_source_code=source) | {"disabled": True}


def fhir_options(method: Method) -> Config:
    """Returns the options of a REST route that enable the filter, if the method is part of the FHIR API."""
    return fhir_errors(**_parameter(method)) if method.is_fhir else {}


def fhir_errors(**context: str) -> Config:
    """Returns the options of a route whose errors are OperationOutcomes."""
    return {FHIR: to_any("filters.http.lua.v3.LuaPerRoute", filter_context=context)}


def takes_any_query(method: Method) -> bool:
    """Returns whether the service reads all parameters of the URL, in one field."""
    return bool(method.is_fhir and _parameter(method))


def _parameter(method: Method) -> dict[str, str]:
    return {"parameter": PARAMETERS} if PARAMETERS in method.input.DESCRIPTOR.fields_by_name else {}
