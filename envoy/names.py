"""Names of HTTP filters that several modules refer to."""

BUFFER = "envoy.filters.http.buffer"
CORS = "envoy.filters.http.cors"
HEADER_SIZE = "header_size"
JWT = "envoy.filters.http.jwt_authn"
MESSAGE = "message_present"
PUBLIC_BODY = "envoy.filters.http.body_size_limit"
TRANSCODER = "envoy.filters.http.grpc_json_transcoder"
