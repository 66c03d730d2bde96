-- The ways to models that are ready, as this worker knows them, and the requests that pass on them.
--
-- What the daemon published lies in shared memory with a number that grows. A request counts itself
-- in and looks at that number then: whoever publishes, and reads the counts after that, has either
-- the request in them or knows that it will see what was published.

local cjson = require "cjson.safe"

local shared = ngx.shared.edge_routes
local counts = ngx.shared.edge_counts
local now = ngx.now

local M = {}

-- Both figures of a route and worker in one number, for one look at shared memory: how many have
-- ever passed, above, and how many pass now, below.
local ONE_IN, ONE_OUT = 1048576 + 1, -1
M.PASSED = 1048576
local SHUT_S = 1 -- so long nobody is sent where a server did not answer, unless the daemon says more
local TURNS_MAX = 4 -- of published sets, while one request takes its way

local version = 0
local by_name = {}
local admission = {}
local pid

local function key(instance)
    return pid .. ":" .. instance
end

local function shut_key(route)
    return "shut:" .. route.epoch .. ":" .. route.number
end

local function read()
    version = shared:get("version") or 0
    local published = cjson.decode(shared:get("published") or "") or {}
    local before = by_name
    by_name = {}
    for _, route in ipairs(published.routes or {}) do
        local known = before[route.names[1]]
        if not known or known.number ~= route.number or known.epoch ~= published.epoch then
            known = { epoch = published.epoch, key = key(route.instance) }
        end
        for member, said in pairs(route) do
            known[member] = said
        end
        if known.bytes_max == cjson.null then
            known.bytes_max = nil
        end
        if known.bearer == cjson.null then
            known.bearer = nil
        end
        known.model = route.names[1]
        known.line = cjson.encode(route.instance) .. "," .. cjson.encode(known.model)
        known.shut_s = shared:get(shut_key(known)) or 0
        for _, name in ipairs(route.names) do
            by_name[name] = known
        end
    end
    admission = published.admission or {}
    M.admission = admission
end

M.admission = admission

local function text_in(path)
    local file = io.open(path, "r")
    local text = file and file:read("*a")
    if file then
        file:close()
    end
    return text
end

-- At the start of nginx: what the daemon has kept, unless it has said something already. Of an
-- earlier boot nothing holds: somebody else may have the ports.
function M.recall(path)
    if shared:get("published") then
        return
    end
    local boot, text = string.match(text_in(path) or "", "^([^\n]+)\n(.*)$")
    local published = boot and cjson.decode(text)
    if type(published) ~= "table" or type(published.routes) ~= "table"
        or boot ~= string.match(text_in("/proc/sys/kernel/random/boot_id") or "", "%S+") then
        return
    end
    if shared:safe_add("published", text) then
        shared:incr("version", 1, 0)
    end
end

function M.begin()
    pid = ngx.worker.pid()
    read()
end

-- Whether something was published since the last look; it is known here from then on.
local function refresh()
    if shared:get("version") == version then
        return false
    end
    read()
    return true
end

M.refresh = refresh

function M.find(name)
    local route = by_name[name]
    if route == nil then
        return refresh() and by_name[name] or nil
    end
    return route
end

-- Count a request for a name in: on the way that is open to it now, or nil.
function M.enter(route, name)
    for _ = 1, TURNS_MAX do
        if route.shut_s == 0 or route.shut_s <= now() then
            counts:incr(route.key, ONE_IN, 0)
            if shared:get("version") == version then
                return route
            end
            counts:incr(route.key, ONE_OUT)
            read()
        elseif not refresh() then
            return nil
        end
        route = by_name[name]
        if route == nil then
            return nil
        end
    end
    return nil
end

function M.leave(route)
    counts:incr(route.key, ONE_OUT)
end

-- A server did not answer: its route is closed until the daemon has looked, or a while has passed.
function M.shut(route)
    route.shut_s = now() + SHUT_S
    shared:set(shut_key(route), route.shut_s, SHUT_S)
    local grown = shared:incr("version", 1, 0)
    if grown == version + 1 then
        version = grown
    end
end

return M
