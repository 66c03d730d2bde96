-- Whom a warm request is carried for without asking: whoever the daemon's guard would let in.
--
-- All that decides is in one text, so that it is decided once for all requests that are alike.
-- What is not plain is not refused here: the daemon does that, in its own words.

local cjson = require "cjson"
local routes = require "routes"

local M = {}

local KNOWN_MAX = 4096 -- kinds of callers that are remembered
local PRIORITY_MAX = 1000000

local known, count = {}, 0
local judged_by

local function host_name(host)
    local name, port = string.match(host, "^(%[[%x:.]+%])(.*)$")
    if name == nil then
        name, port = string.match(host, "^([%w_.-]+)(.*)$")
    end
    if name == nil or (port ~= "" and not string.match(port, "^:%d%d?%d?%d?%d?$")) then
        return nil
    end
    return string.lower(name)
end

local function is_ours(host)
    local name = host_name(host)
    if name == nil then
        return false
    end
    for _, allowed in ipairs(routes.admission.hosts or {}) do
        if name == allowed then
            return true
        end
    end
    if string.find(name, "^%[") or string.match(name, "^%d+%.%d+%.%d+%.%d+$") then
        return true
    end
    local last = string.match(name, "([^.]+)$")
    return not string.find(name, "[.-]$") and not string.find(name, "^[.-]")
        and (not string.find(name, ".", 1, true) or last == "local" or last == "localhost")
        and not string.find(name, "..", 1, true) and not string.find(name, "[.-][.-]")
end

local function is_json(content_type)
    local name = string.match(content_type, "^[ \t]*([^;]-)[ \t]*;") or string.match(content_type, "^[ \t]*(.-)[ \t]*$")
    return string.lower(name) == "application/json"
end

local function judged(caller)
    local method, content_type, host, address, path, odd, priority, owner =
        string.match(caller, "^(.-)\n(.-)\n(.-)\n(.-)\n(.-)\n(.-)\n(.-)\n(.*)$")
    local verdict = { address = address, path = path, owner = owner ~= "" and owner or nil }
    verdict.line = cjson.encode(caller)
    verdict.warm = method == "POST" and odd == "" and is_json(content_type) and is_ours(host)
    if priority ~= "" then
        verdict.priority = string.match(priority, "^[ \t]*[+-]?%d+[ \t]*$") and tonumber(priority)
        verdict.warm = verdict.warm and verdict.priority and math.abs(verdict.priority) <= PRIORITY_MAX
    end
    verdict.call = M.calls[path]
    verdict.warm = verdict.warm and verdict.call ~= nil
    return verdict
end

function M.verdict(caller)
    local verdict = known[caller]
    if verdict == nil or not verdict.warm then
        -- By what is published now: this worker may have had no request for long, and of who is not
        -- let in, nobody else would look.
        routes.refresh()
    end
    if verdict ~= nil and judged_by == routes.admission then
        return verdict
    end
    if judged_by ~= routes.admission or count >= KNOWN_MAX then
        known, count, judged_by = {}, 0, routes.admission
    end
    verdict = judged(caller)
    known[caller] = verdict
    count = count + 1
    return verdict
end

function M.configure(told)
    M.calls = told.calls
end

M.host_name, M.is_ours, M.is_json = host_name, is_ours, is_json

return M
