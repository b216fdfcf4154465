-- Adapts the FHIR R4 API: the search parameters become one parameter, the links of a Bundle become absolute, an error
-- becomes an OperationOutcome, and a resource gets an ETag.
--
-- BASE is the prefix of the paths, CONTENT_TYPE that of responses, REASON the system of reasons, and ISSUES maps a status
-- to the code of an issue. The route has checked the Host header.

local ISSUE = '{"severity":"error","code":"%s","details":{"coding":[{"system":"%s","code":"%s"}],"text":%s}}'

-- Returns the first JSON string after a position, in its quotes.
local function string_at(text, start)
  local last = start + 1
  while true do
    local byte = text:sub(last, last)
    if byte == '"' or byte == "" then return text:sub(start, last) end
    last = last + (byte == "\\" and 2 or 1)
  end
end

-- Returns an error of the API as an OperationOutcome, with an issue for each violation.
local function outcome_of(text, status)
  local code, reason = ISSUES[status] or "invalid", text:match('"reason":"([%u_]+)"') or "INTERNAL"
  local issues = {}
  for start in text:gmatch('"description":()"') do
    issues[#issues + 1] = string.format(ISSUE, code, REASON, reason, string_at(text, start))
  end
  if #issues == 0 then
    local start = text:match('"message":()"')
    issues[1] = string.format(ISSUE, code, REASON, reason, start and string_at(text, start) or '"The request failed."')
  end
  return '{"resourceType":"OperationOutcome","issue":[' .. table.concat(issues, ",") .. "]}"
end

-- Returns a Bundle with absolute links. The services do not know the address of the gateway.
local function with_links(text, base)
  local link = "%1" .. base:gsub("%%", "%%%%")
  return (text:gsub('("url":")Patient', link .. "Patient"):gsub('("fullUrl":")Patient', link .. "Patient"))
end

function envoy_on_request(handle)
  local parameter = handle:filterContext():get("parameter")
  if not parameter then return end
  local headers = handle:headers()
  local scheme, host = headers:get("x-forwarded-proto"), headers:get(":authority")
  handle:streamInfo():dynamicMetadata():set("fhir", "base", string.format("%s://%s%s", scheme, host, BASE))
  local path, query = headers:get(":path"):match("^([^?]*)%?(.*)$")
  if not path then return end
  local encoded = query:gsub("[^%w%-._~]", function(char) return string.format("%%%02X", char:byte()) end)
  headers:replace(":path", path .. (encoded == "" and "" or "?" .. parameter .. "=" .. encoded))
end

function envoy_on_response(handle)
  local status = handle:headers():get(":status")
  local body = handle:body(true)
  local text = body:getBytes(0, body:length())
  local headers = handle:headers() -- not valid before body(), which may suspend the script
  if tonumber(status) < 400 then
    local version = text:match('^{"resourceType":"Patient".-"versionId":"(%d+)"')
    local metadata = handle:streamInfo():dynamicMetadata():get("fhir")
    if version then
      headers:replace("etag", 'W/"' .. version .. '"')
    elseif metadata then
      headers:replace("content-length", tostring(body:setBytes(with_links(text, metadata.base))))
    end
    return
  end
  headers:replace("content-type", CONTENT_TYPE)
  headers:replace("content-length", tostring(body:setBytes(outcome_of(text, status))))
end
