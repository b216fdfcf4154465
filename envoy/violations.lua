-- Responses to requests with invalid fields, in the format of the services' errors.

local JWT_METADATA, CLAIMS, ISSUER = "envoy.filters.http.jwt_authn", "token", "pulsetrack-auth"
local REJECTED = '{"code":3,"message":"%s","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo",'
  .. '"reason":"%s","domain":"pulsetrack","metadata":{}}%s]}'
local BAD_REQUEST = ',{"@type":"type.googleapis.com/google.rpc.BadRequest","fieldViolations":[%s]}'

-- Returns a violation as JSON. The name is the client's.
local function violation(name, description)
  local shown = #name <= 64 and not name:find("[^%w_%-. ]") and name or "(unreadable name)"
  return string.format('{"field":"%s","description":"%s","reason":""}', shown, description)
end

-- Sends an error response.
local function respond(handle, reason, message, violations)
  local details = #violations > 0 and string.format(BAD_REQUEST, table.concat(violations, ",")) or ""
  local body = string.format(REJECTED, message, reason, details)
  handle:respond({ [":status"] = "400", ["content-type"] = "application/json" }, body)
end

-- Returns whether the caller has a role or the scope of the method. Every caller is permitted if it has no roles.
local function is_permitted(handle, roles, scope)
  if not roles then return true end
  local metadata = handle:streamInfo():dynamicMetadata():get(JWT_METADATA)
  local claims = metadata and metadata[CLAIMS]
  if not claims then return false end
  if claims.iss ~= ISSUER then return roles:find("|USER|", 1, true) ~= nil end -- the service finds the role
  if type(claims.role) ~= "string" then return false end
  if roles:find("|" .. claims.role .. "|", 1, true) then return true end
  local scopes = " " .. tostring(claims.scope) .. " "
  return claims.role == "CLIENT" and scope ~= "" and scopes:find(" " .. scope .. " ", 1, true) ~= nil
end
