"""`python -m tools.openapi`, a plugin of protoc and buf: writes openapi.json."""

import json
import sys

from google.protobuf.compiler.plugin_pb2 import CodeGeneratorRequest, CodeGeneratorResponse

from services.common.contract import ContractError
from tools.openapi.document import document


def main() -> None:
    """Reads the protos from standard input and writes the file's content to standard output, as protoc wants it."""
    request = CodeGeneratorRequest.FromString(sys.stdin.buffer.read())
    response = CodeGeneratorResponse(supported_features=CodeGeneratorResponse.FEATURE_PROTO3_OPTIONAL)
    try:
        content = json.dumps(document(request.proto_file), indent=2, ensure_ascii=False)
        response.file.add(name="openapi.json", content=f"{content}\n")
    except ContractError as error:
        response.error = str(error)
    sys.stdout.buffer.write(response.SerializeToString())


if __name__ == "__main__":
    main()
