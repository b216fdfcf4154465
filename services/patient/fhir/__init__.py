"""The FHIR R4 API of patients."""
