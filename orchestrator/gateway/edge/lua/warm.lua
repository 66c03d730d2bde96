-- A request for a model that is ready, from its head to its log line. Nothing else is done for it:
-- what is cheap is done by nginx itself, what is rare by the daemon.

local ffi = require "ffi"
local base = require "resty.core.base"
local balancer = require "ngx.balancer"
local bodies = require "bodies"
local callers = require "callers"
local keys = require "keys"
local routes = require "routes"

local get_request = base.get_request
local read_body = ngx.req.read_body
local exec = ngx.exec
local var, arg = ngx.var, ngx.arg
local C = ffi.C
local set_current_peer = balancer.set_current_peer
local find, sub, byte, char = string.find, string.sub, string.byte, string.char
local gsub = string.gsub
local min, max = math.min, math.max
local model_of, may_show, may_fetch = bodies.model, bodies.may_show, bodies.may_fetch
local verdict_of = callers.verdict
local key_of, enter_key, leave_key = keys.caller, keys.enter, keys.leave
local find_route, enter, leave = routes.find, routes.enter, routes.leave
local cast = ffi.cast
local address_type = ffi.typeof("uintptr_t")
local bytes_type = ffi.typeof("const uint8_t *")
local chars_type = ffi.typeof("const char *")

ffi.cdef [[
size_t strcspn(const char *s, const char *reject);
]]

local M = {}

local TAIL_BYTES = 4096 -- in which servers say what an answer took
local HEAD_BYTES = 1024
local PATH_BYTES_MAX = 120 -- of what a caller sent, quoted back to it
local OBJECT_BYTES_MAX = 1024
local SPACE, QUOTE, COLON, LIST, BACKSLASH, OPEN, CLOSE = 32, 34, 58, 91, 92, 123, 125

-- What no object of plain figures has in it: a list, and signs that cannot stand in a line.
local ODD = "["
for sign = 1, SPACE - 1 do
    ODD = ODD .. char(sign)
end

local unavailable_text

-- The requests that this worker carries, by where nginx keeps them.
local carried = {}
M.carried = carried

-- No tail call: LuaJIT would not compile it.
local function id()
    local address = tonumber(cast(address_type, get_request()))
    return address
end

-- Whether the route is one for this request, as far as is known of its model.
local function fits(route, caller, body, n)
    local call = caller.call
    if caller.priority and caller.priority > route.priority then
        return false
    end
    if call.embeds and not route.embeds or call.talks and not route.talks then
        return false
    end
    if route.bytes_max == nil then
        return true
    elseif call.talks and (body == nil or n > route.bytes_max or not route.pictures and may_show(body)) then
        return false
    end
    return not route.pictures or body ~= nil and not may_fetch(body)
end

function M.access()
    local caller = verdict_of(var.edge_caller)
    if not caller.warm then
        return exec("@daemon")
    end
    local key, may_go_on = key_of(caller)
    if not may_go_on then
        return exec("@daemon")
    end
    read_body()
    local name, n, body = model_of()
    local route = name and find_route(name)
    if not route or n > (routes.admission.body_bytes_max or n) or not fits(route, caller, body, n) then
        return exec("@daemon")
    end
    may_go_on, key = enter_key(key, caller, route.model)
    if not may_go_on then
        return exec("@daemon")
    end
    local entered = enter(route, name)
    if entered == nil then
        leave_key(key)
        return exec("@daemon")
    elseif entered ~= route then -- published meanwhile
        route = entered
        if not fits(route, caller, body, n) then
            leave(route)
            leave_key(key)
            return exec("@daemon")
        end
    end
    carried[id()] = {
        route = route,
        caller = caller,
        key = key,
        asked = name ~= route.model and name or nil,
        began_s = tonumber(C.ngx_http_lua_ffi_now()),
        first = false, -- piece of its answer; the table has room for what follows
    }
    var.edge_model = route.model
    var.edge_authority = route.authority
    var.edge_bearer = route.bearer or ""
end

function M.balance()
    local route = carried[id()].route
    local fine, problem = set_current_peer(route.host, route.port)
    if not fine then
        ngx.log(ngx.ERR, "no way to ", route.instance, ": ", problem)
        return ngx.exit(502)
    end
end

-- Its server did not answer, and no byte of an answer has gone out: the daemon is asked.
function M.again()
    local at = id()
    local one = carried[at]
    if one ~= nil then
        carried[at] = nil
        routes.shut(one.route)
        leave(one.route)
        leave_key(one.key)
        var.edge_model = ""
    end
end

-- Where an object ends that begins at `at` and holds figures alone; and whether a sign stands in it
-- that cannot stand in a line. A loop over bytes: LuaJIT compiles no pattern.
local function figures_end(p, at, n)
    local depth, odd, behind_colon = 0, false, false
    local stop = min(n, at + OBJECT_BYTES_MAX)
    while at < stop do
        local sign = p[at]
        if sign == OPEN then
            depth = depth + 1
            behind_colon = false
        elseif sign == CLOSE then
            depth = depth - 1
            if depth == 0 then
                return at + 1, odd
            end
        elseif sign == COLON then
            behind_colon = true
        elseif behind_colon and (sign == QUOTE or sign == LIST) then
            return nil
        elseif sign < SPACE then
            odd = true
        elseif sign ~= SPACE then
            behind_colon = false
        end
        at = at + 1
    end
    return nil
end

local function after_space(p, at, n)
    while at < n and p[at] <= SPACE do
        at = at + 1
    end
    return at
end

-- What the last `"key"` of a text from `from` on holds, if that is an object of figures alone: no
-- text is ever kept.
local function held_in_any(text, key, from)
    local _, ends = find(text, key, from, true)
    if ends == nil then
        return nil
    end
    local _, later = find(text, key, ends, true)
    while later ~= nil do
        ends = later
        _, later = find(text, key, ends, true)
    end
    local p, n = cast(bytes_type, text), #text
    local before = ends - #key - 1
    if before >= 0 and p[before] == BACKSLASH then
        return nil
    end
    local at = after_space(p, ends, n)
    if at >= n or p[at] ~= COLON then
        return nil
    end
    at = after_space(p, at + 1, n)
    if at >= n or p[at] ~= OPEN then
        return nil
    end
    local stop, odd = figures_end(p, at, n)
    if stop == nil then
        return nil
    end
    local object = sub(text, at + 1, stop)
    return odd and gsub(object, "%c", " ") or object
end

-- The same of an object as servers write it, with another one in it at most. It has no loop: LuaJIT
-- compiles it with all that calls it; `memmem`, because quotes, at which `string.find` stops, are
-- everywhere. Whatever could be a text, or is not plain, is looked at sign by sign.
local function held(text, key, from)
    local p, n, length = cast(bytes_type, text), #text, #key
    local found = C.memmem(p + from, n - from, key, length)
    if found == nil then
        return nil
    end
    local ends = tonumber(cast(bytes_type, found) - p) + length
    local at = ends + 1
    if p[ends] == COLON and p[at] == SPACE then
        at = at + 1
    end
    found = C.memchr(p + ends, CLOSE, n - ends)
    if found == nil or p[ends] ~= COLON or p[at] ~= OPEN or ends == length
        or p[ends - length - 1] == BACKSLASH or C.memmem(p + ends, n - ends, key, length) ~= nil then
        return held_in_any(text, key, from + 1)
    end
    local last = tonumber(cast(bytes_type, found) - p)
    found = C.memchr(p + at + 1, OPEN, last - at - 1)
    if found ~= nil then -- another one in it
        local inner = tonumber(cast(bytes_type, found) - p)
        found = C.memchr(p + last + 1, CLOSE, n - last - 1)
        if found == nil then
            return nil
        end
        last = tonumber(cast(bytes_type, found) - p)
        if C.memchr(p + inner + 1, OPEN, last - inner - 1) ~= nil then
            return held_in_any(text, key, from + 1)
        end
    end
    length = last + 1 - at
    if length > OBJECT_BYTES_MAX or C.strcspn(cast(chars_type, p + at), ODD) < length
        or C.memmem(p + at, length, ':"', 2) ~= nil
        or C.memchr(p + at, SPACE, length) ~= nil
            and (C.memmem(p + at, length, ': "', 3) ~= nil or C.memmem(p + at, length, "  ", 2) ~= nil) then
        return held_in_any(text, key, from + 1)
    end
    return sub(text, at + 1, last + 1)
end

local function last_held(one, key)
    local piece = one.last or one.first
    local object = held(piece, key, max(0, #piece - TAIL_BYTES))
    if object == nil and one.before ~= nil then
        piece = one.before
        object = held(piece, key, max(0, #piece - TAIL_BYTES))
    end
    return object
end

-- Whether an answer that begins so is a stream of events.
local function is_stream(first)
    local sign = byte(first)
    return sign == 100 or sign == 101 or sign == 58 -- data: event: or a comment
end

-- For the line of figures: whose it was, how the answer came, and what its server said that it took.
local function told(one)
    local first = one.first
    local rare, begun = "", ""
    local usage_key, usage, timings_key, timings = "", "", "", ""
    if one.asked or one.key or one.serial or one.died or one.ended then
        rare = (one.key and ',"key":"' .. one.key.id .. '"' or "")
            .. (one.asked and ',"asked":"' .. one.asked .. '"' or "")
            .. (one.serial and ',"serial":"' .. one.serial .. '"' or "")
            .. (one.died and ',"died":true' or "") .. (one.ended and ',"ended":true' or "")
    end
    if first and one.caller.call.counts then
        if one.last ~= nil or #first > TAIL_BYTES then
            local object = held(sub(first, 1, HEAD_BYTES), '"usage"', 0)
            begun = object and ',"begun":{"usage":' .. object .. "}" or ""
        end
        local object = last_held(one, '"usage"')
        if object then
            usage_key, usage = ',"usage":', object
        end
        object = last_held(one, '"timings"')
        if object then
            timings_key, timings = ',"timings":', object
        end
    end
    local stream = first and is_stream(first) and "true" or "false"
    return one.caller.line .. "," .. one.route.line .. ',{"stream":' .. stream
        .. rare .. begun .. usage_key .. usage .. timings_key .. timings .. "}"
end

-- Words that the daemon has written before, about this request.
local function filled(text, model)
    local path = gsub(sub(var.uri, 1, PATH_BYTES_MAX), '[%c"\\\\]', "?")
    return (gsub(text, "@(%l+)@", { path = path, model = model }))
end

-- Its server has gone, or an operator ends it: a stream says so as its last event.
local function say_last(one, kind)
    if is_stream(one.first) then
        arg[1] = filled(one.caller.call[kind], one.route.model)
        arg[2] = kind == "broken"
    end
end

function M.body()
    local one = carried[id()]
    if one == nil then
        return
    end
    local piece = arg[1]
    if piece ~= "" and not one.ended then
        if not one.first then
            one.first = piece
        else
            one.before, one.last = one.last, piece
        end
    elseif arg[2] then -- nginx says the end apart, with nothing in it
        return
    elseif one.ended then
        if one.said_last or not (one.first and is_stream(one.first)) then
            return ngx.ERROR -- cut: its server hears that nobody wants it
        end
        one.said_last = true
        say_last(one, "ended")
    elseif one.first then -- nothing, and no end: its server has gone
        one.died = true
        say_last(one, "broken")
    end
end

function M.log()
    local at = id()
    local one = carried[at]
    if one == nil then
        return
    end
    carried[at] = nil
    leave(one.route)
    leave_key(one.key)
    var.edge_told = told(one)
end

function M.configure(told)
    unavailable_text = told.unavailable
end

function M.unavailable()
    if keys.refuse() then
        return
    end
    local text = filled(unavailable_text)
    ngx.status = 503
    ngx.header["Content-Type"] = "application/json"
    ngx.header["Retry-After"] = "5"
    ngx.header["Content-Length"] = #text
    ngx.print(text)
    return ngx.exit(ngx.HTTP_OK)
end

return M
