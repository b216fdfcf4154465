"""What the user is told when everything is up."""

import json
from pathlib import Path

from deploy.settings import HOST, Settings

_TEMPLATE = """
PulseTrack is up after {seconds:.2f} s: {url}

  admin     {email}
  password  {password}

Read and try every call in a browser: {url}/docs/

Or {first}log in, and see what can be called:

{sign_up}  curl -s {url}/v1/auth/login -H 'content-type: application/json' \\
    -d '{login}'
  grpcurl -plaintext {protos}{address} describe pulsetrack.patient.v1.PatientService

{stop}"""
_SIGN_UP = """\
  curl -s {url}/v1/auth/signup -H 'content-type: application/json' \\
    -d '{{"email": "ana@clinic.test", "username": "ana", "password": "correct horse"}}'
"""


def summary(
    settings: Settings,
    password_file: Path,
    *,
    show_password: bool,
    seconds: float,
    host: str = HOST,
    stop: str = "Ctrl-C stops it.",
) -> str:
    """Returns the address, the first admin, and three calls to copy. The password itself only if asked."""
    address = f"{host}:{settings.gateway_port}"
    password = f"in {password_file}"
    if show_password:
        password = f"{password_file.read_text()}  (shown only now; kept {password})"
    url = f"http://{address}"
    login = {"email": "ana@clinic.test", "password": "correct horse"}
    if not settings.open_sign_up:
        login = {"email": settings.admin_email, "password": "..."}
    return _TEMPLATE.format(
        url=url,
        first="sign up, " if settings.open_sign_up else "",
        sign_up=_SIGN_UP.format(url=url) if settings.open_sign_up else "",
        login=json.dumps(login),
        address=address,
        email=settings.admin_email,
        password=password,
        seconds=seconds,
        stop=stop,
        protos="" if settings.reflection else "-protoset gen/descriptors.binpb ",
    )
