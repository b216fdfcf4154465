"""The names of the filters that more than one part of the configuration mentions."""

BUFFER = "envoy.filters.http.buffer"
CORS = "envoy.filters.http.cors"
JWT = "envoy.filters.http.jwt_authn"
TRANSCODER = "envoy.filters.http.grpc_json_transcoder"
