-- The calls that pass: method, path, and a check for every query argument.
--
-- `about` says what a call needs beyond that: "ours" acts on a container of the orchestrator's, and
-- so does "key", which has a body; "network" is about the one that leads nowhere;
-- "watched" also on one that GUARD_CONTAINERS names; "pull" brings one that GUARD_IMAGES names;
-- "create", "list" and "events" have bodies or filters of their own.

local key = require("docker_guard.key")

local M = {}

local REF = "([A-Za-z0-9][A-Za-z0-9_.-]*)"

local function like(pattern)
    return function(value)
        return string.find(value, "^" .. pattern .. "$") ~= nil
    end
end

local number = like("%d+")
local switch = like("[01]")
local boolean = like("[TtFf][a-z]+")
local instant = like("%d+%.?%d*")

local LIST = { all = switch, size = like("0"), trunc_cmd = switch, limit = like("%-1"), filters = like(".+") }
local INTO = { path = like((string.gsub(key.FOLDER, "%-", "%%-"))) }
local LOGS = {
    stdout = switch, stderr = switch, timestamps = switch, follow = switch,
    tail = like("[a-z0-9]+"), since = instant, ["until"] = instant,
}
local REMOVE = { v = boolean, force = boolean, link = like("False") }

M.calls = {
    { "GET", "^/version$", "free", {} },
    { "GET", "^/images/([a-z0-9][A-Za-z0-9._:/-]*)/json$", "image", {} },
    { "POST", "^/images/create$", "pull", { fromImage = like("[a-z0-9][a-z0-9._:/-]*"), tag = like("[A-Za-z0-9][A-Za-z0-9._:-]*") } },
    { "POST", "^/containers/create$", "create", { name = like("vram%-[a-z0-9-]+") } },
    { "PUT", "^/containers/" .. REF .. "/archive$", "key", INTO },
    { "GET", "^/networks/" .. REF .. "$", "network", {} },
    { "POST", "^/networks/create$", "network_create", {} },
    { "GET", "^/containers/json$", "list", LIST },
    { "GET", "^/events$", "events", { filters = like(".+"), since = instant, ["until"] = instant } },
    { "GET", "^/containers/" .. REF .. "/json$", "watched", {} },
    { "GET", "^/containers/" .. REF .. "/logs$", "watched", LOGS },
    { "GET", "^/containers/" .. REF .. "/top$", "watched", {} },
    { "POST", "^/containers/" .. REF .. "/start$", "watched", {} },
    { "POST", "^/containers/" .. REF .. "/stop$", "watched", { t = number } },
    { "POST", "^/containers/" .. REF .. "/kill$", "watched", { signal = like("[A-Z0-9]+") } },
    { "POST", "^/containers/" .. REF .. "/wait$", "watched", { condition = like("[a-z-]+") } },
    { "DELETE", "^/containers/" .. REF .. "$", "ours", REMOVE },
}

-- Before this version a start took a host configuration, unchecked.
local VERSION_MINOR_MIN = 40

-- Splits a raw path. Returns version prefix and path, or nil and why it does not pass.
function M.split(raw)
    if string.find(raw, "[^A-Za-z0-9._:/-]") or string.find(raw, "//", 1, true)
        or string.find(raw, "..", 1, true) or string.find(raw, "/./", 1, true) then
        return nil, "the path is escaped or not plain"
    end
    if raw == "/version" then
        return "", raw -- how a client learns which version to name
    end
    local minor, path = string.match(raw, "^/v1%.(%d%d)(/.*)$")
    if minor == nil or tonumber(minor) < VERSION_MINOR_MIN then
        return nil, "the path names no version of the API from 1." .. VERSION_MINOR_MIN
    end
    return "/v1." .. minor, path
end

-- The call that this is, and what its path refers to; nil if it does not pass.
function M.find(method, path)
    for _, call in ipairs(M.calls) do
        if call[1] == method then
            local found, _, ref = string.find(path, call[2])
            if found then
                return { about = call[3], args = call[4], ref = ref }
            end
        end
    end
end

return M
