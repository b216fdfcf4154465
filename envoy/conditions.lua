-- Answers a conditional REST request (RFC 9110, section 13): 304 for a GET or HEAD whose If-None-Match has the etag of
-- the response, and 412 for a change that the service rejected because of If-Match.

local PRECONDITION_FAILED = '"reason":"ETAG_MISMATCH"'

-- Returns the values of a header as one list, or nil if it is absent.
local function values_of(headers, name)
  local values = {}
  for index = 0, headers:getNumValues(name) - 1 do values[index + 1] = headers:getAtIndex(name, index) end
  return #values > 0 and table.concat(values, ",") or nil
end

-- Returns whether a list of etags has a strong etag. A weak one in the list matches it too (weak comparison).
local function matches(list, etag)
  if list:find("^%s*%*%s*$") then return true end
  for tag in list:gmatch('"[^"]*"') do
    if tag == etag then return true end
  end
  return false
end

function envoy_on_request(handle)
  local headers = handle:headers()
  local metadata = handle:streamInfo():dynamicMetadata()
  metadata:set("condition", "if-none-match", values_of(headers, "if-none-match") or "")
end

function envoy_on_response(handle)
  local headers = handle:headers()
  local status, etag = headers:get(":status"), headers:get("etag")
  if status == "200" and etag then
    local condition = handle:streamInfo():dynamicMetadata():get("condition") or {}
    if not matches(condition["if-none-match"] or "", etag) then return end
    headers:replace(":status", "304")
    headers:remove("content-type")
    headers:remove("content-length")
    for chunk in handle:bodyChunks() do chunk:setBytes("") end
  elseif status == "409" then
    local body = handle:body()
    if body and body:getBytes(0, body:length()):find(PRECONDITION_FAILED, 1, true) then
      handle:headers():replace(":status", "412") -- `headers` is not valid after body(), which may suspend the script
    end
  end
end
