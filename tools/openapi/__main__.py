"""Generates openapi.json: `python -m tools.openapi`, a protoc and buf plugin."""

import json
import sys

from google.protobuf.compiler.plugin_pb2 import CodeGeneratorRequest, CodeGeneratorResponse

from services.common.protobuf.contract import ContractError, add_to_pool
from tools.openapi.comments import read_comments
from tools.openapi.document import build_document


def main() -> None:
    """Reads a CodeGeneratorRequest from standard input and writes the response to standard output."""
    request = CodeGeneratorRequest.FromString(sys.stdin.buffer.read())
    response = CodeGeneratorResponse(supported_features=CodeGeneratorResponse.FEATURE_PROTO3_OPTIONAL)
    try:
        document = build_document(add_to_pool(request.proto_file), read_comments(request.proto_file))
        content = json.dumps(document, indent=2, ensure_ascii=False)
        response.file.add(name="openapi.json", content=f"{content}\n")
    except ContractError as error:
        response.error = str(error)
    sys.stdout.buffer.write(response.SerializeToString())


if __name__ == "__main__":
    main()
