-- Names the invalid parameters of a query that no route has accepted. The route rejects the request in any case.
--
-- PARAMETERS is generated from the protos. It maps a method to its parameters by JSON and proto name, and a parameter to
-- its field, whether it may be repeated, the sentence for an invalid value, and patterns, of which a valid value matches
-- one.

local MAX_VIOLATIONS = 20

-- Returns whether a value matches one of the patterns. A value with escapes is left to the transcoder.
local function is_valid(value, patterns)
  if value:find("[%%+]") then return true end
  for _, pattern in ipairs(patterns) do
    if value:find(pattern) then return true end
  end
  return false
end

function envoy_on_request(handle)
  local parameters = PARAMETERS[handle:filterContext():get("method")]
  local query = handle:headers():get(":path"):match("%?(.*)") or ""
  local found, seen, has_unknown = {}, {}, false
  for pair in query:gmatch("[^&]+") do
    local name, value = pair:match("^([^=]*)=?(.*)$")
    local parameter = parameters[name]
    if #found == MAX_VIOLATIONS then break end
    if not parameter then
      has_unknown = true
      found[#found + 1] = violation(name, "is not a parameter of this request")
    elseif not pair:find("=", 1, true) or not is_valid(value, parameter.patterns) then
      found[#found + 1] = violation(name, parameter.sentence)
    elseif seen[parameter.field] and not parameter.repeats then
      found[#found + 1] = violation(name, "must not be repeated")
    end
    if parameter then seen[parameter.field] = true end
  end
  if has_unknown then
    respond(handle, "QUERY_PARAMETER_UNKNOWN", "The query contains an unknown parameter.", found)
  elseif #found > 0 then
    respond(handle, "QUERY_PARAMETER_INVALID", "A path or query parameter has an invalid value.", found)
  end
end
