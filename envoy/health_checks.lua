-- Routes a gRPC health check to the service that it names. A check that names no service asks for all of them: it is
-- routed to one that is not serving, or to the default service if all are serving.
--
-- CLUSTERS maps the services to clusters, DEFAULT is a cluster, ROUTING the header that selects a route, and CHECK the
-- path of a health check.

local REQUEST = {
  [":method"] = "POST", [":path"] = CHECK, [":authority"] = "gateway", ["content-type"] = "application/grpc", te = "trailers",
}
local TIMEOUT_MS = 1000
local EMPTY = ("\0"):rep(5) -- a gRPC frame with an empty message
local SERVING = "\8\1" -- field 1 of HealthCheckResponse

-- Returns the cluster of a service that is not serving, nil if all are serving.
local function find_failed(handle)
  for _, cluster in pairs(CLUSTERS) do
    local _, body = handle:httpCall(cluster, REQUEST, EMPTY, TIMEOUT_MS)
    if not body or body:sub(-2) ~= SERVING then return cluster end
  end
end

function envoy_on_request(handle)
  local body = handle:body()
  local message = body and body:getBytes(0, body:length()) or ""
  -- An uncompressed gRPC frame: a 5-byte header, then field 1 of HealthCheckRequest (tag, length, service name).
  local name = message:byte(1) == 0 and message:byte(6) == 10 and message:sub(8, 7 + message:byte(7))
  local cluster = name and CLUSTERS[name] or not name and find_failed(handle)
  handle:headers():replace(ROUTING, cluster or DEFAULT)
  handle:clearRouteCache()
end
