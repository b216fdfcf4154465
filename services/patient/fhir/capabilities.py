"""The CapabilityStatement (https://hl7.org/fhir/R4/capabilitystatement.html): what the FHIR API supports."""

from datetime import datetime

from services.patient.fhir.mapping import Resource
from services.patient.fhir.searches import PARAMETERS

_INTERACTIONS = ("read", "vread", "create", "update", "delete", "history-instance", "search-type")
_BULK_DATA = "http://hl7.org/fhir/uv/bulkdata"


def build_capabilities(time: datetime) -> Resource:
    """Returns the CapabilityStatement of a server that was started at a time."""
    return {
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": time.isoformat(timespec="seconds"),
        "kind": "instance",
        "instantiates": [f"{_BULK_DATA}/CapabilityStatement/bulk-data"],
        "software": {"name": "PulseTrack"},
        "implementation": {"description": "Patients of PulseTrack"},
        "fhirVersion": "4.0.1",
        "format": ["json"],
        "rest": [
            {
                "mode": "server",
                "security": {"description": "An access token in the header Authorization: Bearer"},
                "resource": [
                    {
                        "type": "Patient",
                        "interaction": [{"code": code} for code in _INTERACTIONS],
                        "versioning": "versioned",
                        "readHistory": True,
                        "updateCreate": False,
                        "conditionalCreate": False,
                        "conditionalUpdate": False,
                        "conditionalDelete": "not-supported",
                        "operation": [
                            {"name": "export", "definition": f"{_BULK_DATA}/OperationDefinition/patient-export"}
                        ],
                        "searchParam": [{"name": name, "type": kind} for name, kind in PARAMETERS],
                    }
                ],
            }
        ],
    }
