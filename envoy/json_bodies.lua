-- Validates the JSON body of a REST request before the transcoder reads it. The transcoder ignores unknown fields and
-- accepts text that is not JSON (RFC 8259).
--
-- FIELDS is generated from the protos. It maps a message to its fields by JSON and proto name. Each field has its JSON
-- name, its kind ("string", "boolean" or "enum"), the values of an enum, and whether it is output-only.

local MAX_VIOLATIONS = 20
local MAX_DIGITS = 11 -- of a 32-bit number, with its sign

local byte = string.byte
local QUOTE, BACKSLASH, OPEN, CLOSE, OPEN_ARRAY, COLON, COMMA = byte('"\\{}[:,', 1, 7)

-- Returns the position and the byte of the first character that is not white space.
local function skip(text, at)
  while true do
    local char = byte(text, at)
    if char ~= 32 and char ~= 10 and char ~= 13 and char ~= 9 then return at, char end
    at = at + 1
  end
end

-- Returns the position after the JSON string that begins at a quote, or nil if it is not valid.
local function string_end(text, quote)
  local at = quote + 1
  while true do
    local char = byte(text, at)
    if char == QUOTE then return at + 1 end
    if not char or char < 32 then return nil end
    if char ~= BACKSLASH then at = at + 1
    elseif text:find('^["\\/bfnrt]', at + 1) then at = at + 2
    elseif text:find("^u%x%x%x%x", at + 1) then at = at + 6
    else return nil end
  end
end

-- Returns the position after a number, or nil if there is none.
local function number_end(text, at)
  local _, last = text:find("^%-?[1-9]%d*", at)
  if not last then _, last = text:find("^%-?0", at) end
  if not last then return nil end
  local _, fraction = text:find("^%.%d+", last + 1)
  local _, exponent = text:find("^[eE][+-]?%d+", (fraction or last) + 1)
  return (exponent or fraction or last) + 1
end

-- Returns the kind of the value at a position and the position after it. The kind of an array or object is "nested", and
-- no position is returned: no field accepts one. Returns no position for a value that is not valid.
local function scalar(text, at)
  local first = byte(text, at)
  if first == QUOTE then return "string", string_end(text, at) end
  if first == OPEN or first == OPEN_ARRAY then return "nested", nil end
  local literal = text:match("^%l+", at)
  if literal == "true" or literal == "false" then return "boolean", at + #literal end
  if literal == "null" then return "null", at + 4 end
  return "number", number_end(text, at)
end

-- Returns why a field does not accept the value between two positions, or nil if it does.
local function mismatch(field, kind, text, at, stop)
  if kind == "null" or kind == field.kind then return nil end
  if field.kind ~= "enum" then return "must be a " .. field.kind end
  if kind == "number" and stop - at <= MAX_DIGITS and text:sub(at, stop - 1):find("^%-?%d+$") then
    return nil -- the service checks the number
  end
  local value = kind == "string" and text:sub(at + 1, stop - 2)
  if not field.values[value] then return "must be one of " .. field.names end
end

-- Returns the violations of a body by the name in it and as text, the list of JSON names, and the id in it; nil if it is
-- not JSON.
local function violations_of(text, fields, is_patch, has_mask)
  local found, names, seen, id = {}, {}, {}, nil
  local function reject(name, description)
    found[#found + 1] = violation(name, description)
  end
  local at, char = skip(text, 1)
  if char ~= OPEN then return nil end
  at, char = skip(text, at + 1)
  while char ~= CLOSE do
    local after = char == QUOTE and string_end(text, at)
    if not after then return nil end
    local name = text:sub(at + 1, after - 2)
    at, char = skip(text, after)
    if char ~= COLON then return nil end
    at = skip(text, at + 1)
    local kind, stop = scalar(text, at)
    if not stop and kind ~= "nested" then return nil end
    local field = fields[name]
    local why = field and mismatch(field, kind, text, at, stop)
    if name == "id" and kind == "string" then id = text:sub(at + 1, stop - 2) end
    if not field then reject(name, "is not a field of this request")
    elseif seen[field.name] then reject(name, "must not be repeated")
    elseif why then reject(name, why)
    elseif is_patch and field.name == "id" then -- the transcoder compares it with the id in the path
    elseif field.output and not has_mask then reject(name, "must not be set, because the server sets it")
    elseif field.name ~= "etag" then names[#names + 1] = field.name end -- the etag is a condition, not a change
    if field then seen[field.name] = true end
    -- The rest is not read after a nested value, which no field takes.
    if not stop or #found == MAX_VIOLATIONS then return found, names, id end
    at, char = skip(text, stop)
    if char == COMMA then
      at, char = skip(text, at + 1)
      if char ~= QUOTE then return nil end
    elseif char ~= CLOSE then
      return nil
    end
  end
  local _, beyond = skip(text, at + 1)
  return not beyond and found or nil, names, id
end

function envoy_on_request(handle)
  local context = handle:filterContext() -- not valid after body(), which may suspend the script
  local fields, mask = FIELDS[context:get("message")], context:get("mask")
  local roles, scope = context:get("roles"), context:get("scope")
  local body = handle:body()
  local text = body and body:length() > 0 and body:getBytes(0, body:length()) or ""
  local headers = handle:headers()
  local path = headers:get(":path")
  local has_mask = mask and path:find("[?&]update_?[mM]ask=[^&]")
  if text == "" then return end
  local found, names, id = violations_of(text, fields, mask, has_mask)
  if (not found or #found > 0) and not is_permitted(handle, roles, scope) then
    body:setBytes("{}") -- the service rejects the caller, and records the call
    return
  end
  if not found then return respond(handle, "JSON_INVALID", "The request body is not valid JSON (RFC 8259).", {}) end
  if #found > 0 then return respond(handle, "JSON_INVALID", "The request body has invalid fields.", found) end
  local path_id = id and path:match("^[^?]*/(%x[%x-]+)")
  if path_id and id ~= path_id and id:lower() == path_id:lower() then -- the transcoder compares them literally
    path = path:gsub("^([^?]*/)%x[%x-]+", "%1" .. id)
    headers:replace(":path", path)
  end
  if mask and not has_mask and #names > 0 then
    local query = mask .. "=" .. table.concat(names, ",")
    local replaced, count = path:gsub("([?&])update_?[mM]ask=", "%1" .. query, 1)
    headers:replace(":path", count > 0 and replaced or path .. (path:find("?", 1, true) and "&" or "?") .. query)
  end
end
