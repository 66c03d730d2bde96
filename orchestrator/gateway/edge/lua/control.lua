-- What the daemon says and asks over the edge's own socket.

local cjson = require "cjson.safe"
local ffi = require "ffi"
local keys = require "keys"
local live = require "live"
local routes = require "routes"

ffi.cdef [[
int kill(int pid, int sig);
]]

local shared = ngx.shared.edge_routes
local counts = ngx.shared.edge_counts

local M = {}

local function answer(status, body)
    ngx.status = status
    ngx.header["Content-Type"] = "application/json"
    ngx.print(type(body) == "string" and body or cjson.encode(body))
    return ngx.exit(ngx.HTTP_OK)
end

-- Made anew whenever shared memory is: whoever reads another one must publish again.
local function epoch()
    return shared:get("epoch")
end

function M.begin()
    shared:safe_add("epoch", string.format("%.3f-%d", ngx.now(), ngx.worker.pid()))
    M.bury()
end

local function lives(pid)
    return ffi.C.kill(pid, 0) == 0
end

-- Counts of workers that are no more: killed, they could not count out what they carried.
function M.bury()
    for _, key in ipairs(counts:get_keys(0)) do
        local pid = tonumber(string.match(key, "^(%d+):"))
        if pid == nil or not lives(pid) then
            counts:delete(key)
        end
    end
    keys.bury(lives)
end

local function counted()
    M.bury()
    local passing, passed = {}, {}
    for _, key in ipairs(counts:get_keys(0)) do
        local instance = string.match(key, "^%d+:(.*)$")
        local count = counts:get(key)
        if count then
            local past = math.floor(count / routes.PASSED)
            passing[instance] = (passing[instance] or 0) + count - past * routes.PASSED
            passed[instance] = (passed[instance] or 0) + past
        end
    end
    return passing, passed
end

-- Counts of models that are gone are forgotten, or they would fill the memory of those that are not.
local function forget(kept)
    for _, key in ipairs(counts:get_keys(0)) do
        local count = counts:get(key)
        if count and count % routes.PASSED == 0 and not kept[string.match(key, "^%d+:(.*)$")] then
            counts:delete(key)
        end
    end
end

function M.publish()
    ngx.req.read_body()
    local text = ngx.req.get_body_data()
    local published = text and cjson.decode(text)
    if type(published) ~= "table" or type(published.routes) ~= "table" then
        return answer(400, { problem = "not a set of routes" })
    end
    local kept = {}
    for _, route in ipairs(published.routes) do
        kept[route.instance] = true
    end
    local fine, problem = shared:safe_set("published", text)
    if not fine then
        return answer(507, { problem = problem })
    end
    shared:incr("version", 1, 0)
    forget(kept)
    return answer(200, { epoch = epoch() })
end

-- The body that must be in memory, as it was told.
local function told()
    ngx.req.read_body()
    return ngx.req.get_body_data() or ""
end

function M.keys()
    local problem = keys.take(told())
    return answer(problem and 507 or 200, { epoch = epoch(), problem = problem })
end

function M.spent()
    keys.spend(told())
    return answer(200, { epoch = epoch() })
end

function M.carried()
    local all = live.all()
    return answer(200, '{"carried":' .. (#all > 0 and cjson.encode(all) or "[]") .. "}")
end

function M.cancel()
    live.cancel(ngx.var.arg_serial or "")
    return answer(200, { epoch = epoch() })
end

function M.counts()
    local passing, passed = counted()
    return answer(200, { epoch = epoch(), passing = passing, passed = passed, keyed = keys.told(), keys = keys.counted() })
end

return M
