"""The summary that is printed when the system is up."""

import json
from pathlib import Path

from deploy.settings import HOST, Settings

_TEMPLATE = """
PulseTrack is up after {seconds:.2f} s: {url}

  admin     {email}
  password  {password}

The web console is at {url}/console/
The API reference, where every call can be tried, is at {url}/docs/

To {first}log in and list the methods of a service:

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
    stop: str = "Press Ctrl-C to stop.",
) -> str:
    """Returns the URL, the first admin and example commands. Contains the password only if `show_password` is set."""
    address = f"{host}:{settings.gateway_port}"
    password = f"in {password_file}"
    if show_password:
        password = f"{password_file.read_text()}  (shown once; stored {password})"
    url = f"http://{address}"
    login = {"email": "ana@clinic.test", "password": "correct horse"}
    is_open = settings.sign_up == "open"
    if not is_open:
        login = {"email": settings.admin_email, "password": "..."}
    return _TEMPLATE.format(
        url=url,
        first="sign up, " if is_open else "",
        sign_up=_SIGN_UP.format(url=url) if is_open else "",
        login=json.dumps(login),
        address=address,
        email=settings.admin_email,
        password=password,
        seconds=seconds,
        stop=stop,
        protos="" if settings.reflection else "-protoset gen/descriptors.binpb ",
    )
