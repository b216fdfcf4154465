-- Adapts the FHIR R4 API: the search parameters become one parameter, links become absolute, an error becomes an
-- OperationOutcome, a resource gets an ETag, a created one a Location, and a started export a Content-Location.
--
-- BASE is the prefix of the paths, CONTENT_TYPE that of responses, REASON the system of reasons, ISSUES maps a status to the
-- code of an issue, and STATUSES a reason to its status if it differs. The route has checked the Host header.

local ISSUE = '{"severity":"%s","code":"%s","details":{%s"text":%s}%s}'
local CODING = '"coding":[{"system":"%s","code":"%s"}],'
local OUTCOME = '{"resourceType":"OperationOutcome","issue":[%s]}'

-- Returns the first JSON string after a position, in its quotes.
local function string_at(text, start)
  local last = start + 1
  while true do
    local byte = text:sub(last, last)
    if byte == '"' or byte == "" then return text:sub(start, last) end
    last = last + (byte == "\\" and 2 or 1)
  end
end

-- Returns the member of an issue that names the element of a field, in its quotes, of a resource in the request.
local function expression_of(field)
  local path = field == '"resource"' and '"Patient"' or '"Patient.' .. field:sub(2)
  return ',"expression":[' .. path .. "]"
end

-- Returns an error of the API as an OperationOutcome, with an issue for each violation.
local function outcome_of(text, reason, status, has_resource)
  local code, coding = ISSUES[status] or "invalid", string.format(CODING, REASON, reason)
  local issues = {}
  for start in text:gmatch('{"field":()"') do
    local field = string_at(text, start)
    local description = string_at(text, text:match('^,"description":()', start + #field))
    local expression = has_resource and expression_of(field) or ""
    issues[#issues + 1] = string.format(ISSUE, "error", code, coding, description, expression)
  end
  if #issues == 0 then
    local start = text:match('"message":()"')
    local message = start and string_at(text, start) or '"The request failed."'
    issues[1] = string.format(ISSUE, "error", code, coding, message, "")
  end
  return string.format(OUTCOME, table.concat(issues, ","))
end

-- Returns a Bundle or a manifest with absolute links. The services do not know the address of the gateway.
local function with_links(text, base)
  local link = "%1" .. base:gsub("%%", "%%%%")
  if text:find('^{"transactionTime":') then
    return (text:gsub('("request":")Patient', link .. "Patient"):gsub('("url":")exports', link .. "exports"))
  end
  link = link .. "Patient"
  return (text:gsub('({"relation":"%l+","url":")Patient', link):gsub('({"fullUrl":")Patient', link))
end

-- Returns the value of a preference in the header Prefer, or an empty string.
local function preference_of(headers, name)
  for index = 0, headers:getNumValues("prefer") - 1 do
    local value = headers:getAtIndex("prefer", index):match(name .. "=(%a+)")
    if value then return value end
  end
  return ""
end

-- Returns the body of a response to a change, as the header Prefer asks for.
local function preferred(text, prefer)
  if prefer == "minimal" then return "" end
  if prefer ~= "OperationOutcome" then return text end
  return string.format(OUTCOME, string.format(ISSUE, "information", "informational", "", '"The patient is stored."', ""))
end

-- Converts a response without an error.
local function convert(handle, body, verb, success)
  local text = body:getBytes(0, body:length())
  local headers, metadata = handle:headers(), handle:streamInfo():dynamicMetadata():get("fhir")
  local id, version = text:match('^{"resourceType":"Patient","id":"([%x-]+)","meta":{"versionId":"(%d+)"')
  if version then headers:replace("etag", 'W/"' .. version .. '"') end
  if success then headers:replace(":status", success) end
  if verb == "GET" then
    if version then return end
    text = with_links(text, metadata.base)
    local export = text:match('^{"resourceType":"OperationOutcome","id":"([%x-]+)"')
    if export then headers:replace("content-location", metadata.base .. "exports/" .. export) end
    local expires = text:match('^{"transactionTime":.*"extension":{"expires":"([^"]*)"}}$')
    if expires then headers:replace("expires", expires) end
  elseif verb == "DELETE" then
    text = ""
  else
    if verb == "POST" then
      headers:replace("location", string.format("%sPatient/%s/_history/%s", metadata.base, id, version))
    end
    text = preferred(text, metadata.prefer)
  end
  local length = body:setBytes(text)
  headers:remove("content-length")
  if length == 0 then headers:remove("content-type") end
  if verb ~= "DELETE" then headers:replace("content-length", tostring(length)) end
end

function envoy_on_request(handle)
  local context, verb = handle:filterContext(), handle:filterContext():get("verb")
  if not verb then return end
  local headers, metadata = handle:headers(), handle:streamInfo():dynamicMetadata()
  local scheme, host = headers:get("x-forwarded-proto"), headers:get(":authority")
  metadata:set("fhir", "base", string.format("%s://%s%s", scheme, host, BASE))
  metadata:set("fhir", "prefer", preference_of(headers, "return"))
  local etag = (headers:get("if-match") or ""):match('^W/("[^"]*")$')
  if etag then headers:replace("if-match", etag) end -- the etags of FHIR are weak in form only
  local parameter = context:get("parameter")
  if not parameter then return end
  local path, query = headers:get(":path"):match("^([^?]*)%??(.*)$")
  local encoded = query:gsub("[^%w%-._~]", function(char) return string.format("%%%02X", char:byte()) end)
  local fields = encoded == "" and {} or {parameter .. "=" .. encoded}
  local lenient = context:get("lenient")
  if lenient and preference_of(headers, "handling") == "lenient" then fields[#fields + 1] = lenient .. "=true" end
  headers:replace(":path", path .. (#fields == 0 and "" or "?" .. table.concat(fields, "&")))
end

function envoy_on_response(handle)
  local context, status = handle:filterContext(), handle:headers():get(":status")
  local verb, success, is_error = context:get("verb"), context:get("success"), tonumber(status) >= 400
  if context:get("streams") and not is_error then return end -- a stream is not buffered
  local body = handle:body(not is_error)
  if not is_error then return convert(handle, body, verb, success) end
  local headers = handle:headers() -- not valid before body(), which may suspend the script
  headers:replace("content-type", CONTENT_TYPE)
  if not body then return headers:remove("content-length") end -- the gateway's own response to HEAD
  local text = body:getBytes(0, body:length())
  local reason = text:match('"reason":"([%u_]+)"') or "INTERNAL"
  status = STATUSES[reason] or status
  headers:replace(":status", status)
  local outcome = outcome_of(text, reason, status, verb == "POST" or verb == "PUT")
  headers:replace("content-length", tostring(body:setBytes(outcome)))
end
