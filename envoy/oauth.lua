-- Converts a form-encoded request to JSON before its check, and adds the members of RFC 6749, section 5.2 to an error.
--
-- ERRORS maps the reason of an error to the value of `error`.

local FORM = "application/x-www-form-urlencoded"

-- Returns a name or a value of a form as text.
local function decode(encoded)
  return (encoded:gsub("+", " "):gsub("%%(%x%x)", function(digits) return string.char(tonumber(digits, 16)) end))
end

-- Returns text as a JSON string.
local function quote(text)
  return '"' .. text:gsub('[%c"\\]', function(char) return string.format("\\u%04x", char:byte()) end) .. '"'
end

-- Returns a form as a JSON object. Unknown parameters and those without a value are omitted, as OAuth requires.
local function form_to_json(form, fields)
  local members = {}
  for pair in form:gmatch("[^&]+") do
    local name, value = pair:match("^([^=]*)=(.+)$")
    name = name and decode(name) or ""
    if name:find("^[%w_]+$") and fields:find("|" .. name .. "|", 1, true) then
      members[#members + 1] = quote(name) .. ":" .. quote(decode(value))
    end
  end
  return "{" .. table.concat(members, ",") .. "}"
end

function envoy_on_request(handle)
  local fields = handle:filterContext():get("fields") -- not valid after body(), which may suspend the script
  local headers = handle:headers()
  local content_type = (headers:get("content-type") or ""):lower():match("^[^;%s]*")
  if content_type ~= FORM then return end
  local body = handle:body(true)
  body:setBytes(form_to_json(body:getBytes(0, body:length()), fields))
  headers:replace("content-type", "application/json")
end

function envoy_on_response(handle)
  local headers = handle:headers()
  local status = tonumber(headers:get(":status"))
  if status < 400 then return end
  if status == 401 then headers:add("www-authenticate", 'Basic realm="pulsetrack"') end
  local body = handle:body(true)
  local text = body:getBytes(0, body:length())
  if text:sub(1, 1) ~= "{" then return end
  local error = ERRORS[text:match('"reason":"([%u_]+)"') or ""] or INVALID_REQUEST
  local description = text:match('"message":"([^"\\]*)"') or ""
  local members = string.format('{"error":"%s","error_description":"%s",', error, description)
  headers:replace("content-length", tostring(body:setBytes(members .. text:sub(2))))
end
