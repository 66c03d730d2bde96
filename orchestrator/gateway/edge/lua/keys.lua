-- API keys, as the daemon told them: whose a request is, and whether it is plainly allowed.
--
-- What is not plain is asked of the daemon, which refuses it in its own words; while it is away the
-- code that stands here becomes the refusal. Until somebody has told whether there are keys at all,
-- nobody is let in.

local ffi = require "ffi"
local cjson = require "cjson.safe"

ffi.cdef [[
int SHA256_Init(void *context);
int SHA256_Update(void *context, const void *data, size_t length);
int SHA256_Final(unsigned char *digest, void *context);
int inet_pton(int family, const char *text, void *address);
]]

local C = ffi.C
local shared = ngx.shared.edge_keys
local counts = ngx.shared.edge_key_counts
local var, now = ngx.var, ngx.now
local find, sub, lower, byte, match = string.find, string.sub, string.lower, string.byte, string.match
local floor = math.floor

local M = {}

local KNOWN_MAX = 4096 -- records that a worker has read
local SEES_MAX = 1024 -- answers whether a model is among a key's
local BUCKET_S, BUCKETS = 5, 12 -- a minute; the bucket that began before it counts as a whole
local BUCKET_KEPT_S = BUCKET_S * (BUCKETS + 2)
local SPENT_S = 60 -- so long what the daemon has let in counts: it may be dead by now
local BURIED_S = 3600
local PATH_BYTES_MAX = 120 -- of what a caller sent, quoted back to it
local UNAUTHORIZED, EXPIRED, FORBIDDEN, NETWORK, PRIORITY, RATE =
    "unauthorized", "key_expired", "forbidden", "wrong_network", "priority_too_high", "rate_limited"
local OPEN, CLOSED = "open", "closed"
local STAR, SPACE, TAB = 42, 32, 9

local context = ffi.new("uint64_t[32]") -- larger than a SHA256_CTX
local digest = ffi.new("unsigned char[32]")
local AF_INET, AF_INET6 = 2, 10

local turn, generation, state -- as this worker knows them
local known, known_count = {}, 0
local spent, spent_until = {}, 0
local refusals = {}
local me

-- --- what was told -------------------------------------------------------------------------------

local function refresh()
    local latest = shared:get("turn")
    if latest == turn then
        return
    end
    turn = latest
    spent = cjson.decode(shared:get("spent") or "{}") or {}
    spent_until = now() + SPENT_S
    local name = shared:get("generation")
    if name ~= generation or state == nil then
        generation, state = name, name and shared:get(name .. ":state")
        known, known_count = {}, 0
    end
end

local function forget(kept)
    for _, name in ipairs(shared:get_keys(0)) do
        local of = match(name, "^(g%d+):")
        if of and of ~= kept then
            shared:delete(name)
        end
    end
end

-- Nobody is let in until it is told again.
local function closed_to_all()
    shared:delete("generation")
    shared:incr("turn", 1, 0)
    forget(nil)
end

-- A table as it is told: whether keys are needed, then one line for every secret that is valid.
local function take(text)
    local head, at = match(text, "^([^\n]*)\n()")
    local told = head and cjson.decode(head)
    if type(told) ~= "table" or type(told.closed) ~= "boolean" or type(told.secrets) ~= "number" then
        return "not a table of keys"
    end
    local name = "g" .. shared:incr("tables", 1, 0)
    local count = 0
    for hashed, record in string.gmatch(sub(text, at), "([^ \n]+) ([^\n]+)\n") do
        local fine, problem = shared:safe_set(name .. ":" .. hashed, record)
        if not fine then
            closed_to_all()
            return problem
        end
        count = count + 1
    end
    if count ~= told.secrets then
        closed_to_all()
        return "a table of keys that was cut"
    end
    local fine, problem = shared:safe_set(name .. ":state", told.closed and CLOSED or OPEN)
    if not fine then
        closed_to_all()
        return problem
    end
    shared:set("generation", name)
    shared:incr("turn", 1, 0)
    forget(name)
    return nil
end

M.take = take

-- What the daemon itself has let in and has under way, by key.
function M.spend(text)
    shared:set("spent", text, SPENT_S)
    shared:incr("turn", 1, 0)
end

-- At the start of nginx: the table that lies beside the sockets, unless memory has one.
function M.read(path)
    if path == nil or shared:get("generation") then
        return
    end
    local file = io.open(path, "r")
    if file ~= nil then
        local problem = take(file:read("*a") or "")
        file:close()
        if problem then
            ngx.log(ngx.ERR, path, ": ", problem, "; no request for a model is carried until the daemon tells of keys")
        end
    end
end

-- --- whose it is ---------------------------------------------------------------------------------

local function hashed(secret)
    C.SHA256_Init(context)
    C.SHA256_Update(context, secret, #secret)
    C.SHA256_Final(digest, context)
    return ffi.string(digest, 32)
end

-- The record of a secret's digest; false: there is none.
local function record_of(raw)
    local record = known[raw]
    if record == nil then
        local text = shared:get(generation .. ":" .. ngx.encode_base64(raw))
        record = text and cjson.decode(text)
        if not record then
            return false
        end
        if known_count >= KNOWN_MAX then
            known, known_count = {}, 0
        end
        for name, said in pairs(record) do
            if said == cjson.null then
                record[name] = nil
            end
        end
        record.raw, record.sees, record.sees_count = raw, {}, 0
        record.in_flight_name = "in:" .. record.id
        record.chain = { record }
        for _, maker in ipairs(record.makers or {}) do
            record.chain[#record.chain + 1] = maker
            if maker.burst == cjson.null then
                maker.burst = nil
            end
        end
        record.own_name = me .. ":" .. record.id
        known[raw], known_count = record, known_count + 1
    end
    return record
end

-- Without the blanks round it. No pattern: LuaJIT compiles none.
local function stripped(text, from)
    local to = #text
    while from <= to and (byte(text, from) == SPACE or byte(text, from) == TAB) do
        from = from + 1
    end
    while to >= from and (byte(text, to) == SPACE or byte(text, to) == TAB) do
        to = to - 1
    end
    return sub(text, from, to)
end

-- As the daemon reads it: of two headers the first that is there counts, whatever it holds.
local function secret_of()
    local said = var.http_authorization
    if said ~= nil then
        local at = find(said, " ", 1, true)
        if at == nil or lower(sub(said, 1, at - 1)) ~= "bearer" then
            return nil
        end
        return stripped(said, at + 1)
    end
    said = var.http_x_api_key
    return said and stripped(said, 1)
end

local function bytes_of(text)
    local address = ffi.new("unsigned char[16]")
    if C.inet_pton(AF_INET, text, address) == 1 then
        return address, 32
    elseif C.inet_pton(AF_INET6, text, address) ~= 1 then
        return nil
    end
    for at = 0, 9 do
        if address[at] ~= 0 then
            return address, 128
        end
    end
    if address[10] == 255 and address[11] == 255 then -- IPv4 in IPv6's clothes
        return address + 12, 32, address
    end
    return address, 128
end

local function is_in(address, bits, network)
    local base, prefix = match(network, "^(.+)/(%d+)$")
    local begin, wide, _kept = bytes_of(base or "")
    prefix = tonumber(prefix)
    if begin == nil or wide ~= bits then
        return false
    end
    for at = 0, bits / 8 - 1 do
        local compared = prefix - 8 * at
        if compared <= 0 then
            return true
        end
        local step = compared >= 8 and 1 or 2 ^ (8 - compared)
        if floor(address[at] / step) ~= floor(begin[at] / step) then
            return false
        end
    end
    return true
end

local function comes_from(text, networks)
    local address, bits, _kept = bytes_of(text)
    if address == nil then
        return false
    end
    for _, network in ipairs(networks) do
        if is_in(address, bits, network) then
            return true
        end
    end
    return false
end

-- Its record, or why it is not let in. Neither: keys are not needed.
local function judged(record, caller)
    if not record then
        return nil, UNAUTHORIZED
    elseif record.ends_s and record.ends_s <= now() then
        return nil, EXPIRED
    elseif record.networks and not comes_from(caller.address, record.networks) then
        return nil, NETWORK
    elseif not record.use then
        return nil, FORBIDDEN
    elseif caller.priority and record.max_priority and caller.priority > record.max_priority then
        return nil, PRIORITY
    end
    return record
end

-- Before a body is read. Its record; or nothing, and that no key is needed; or nothing and false:
-- the daemon is asked.
function M.caller(caller)
    refresh()
    if state == OPEN then
        return nil, true
    elseif state ~= CLOSED then
        return nil, false
    end
    local secret = secret_of()
    local record = secret and record_of(hashed(secret))
    if record and record.asks then
        return nil, false -- its bound of tokens is the daemon's to write into what it asks
    end
    local key, refused = judged(record, caller)
    if refused then
        var.edge_refused = refused .. " " .. (record and record.id or "")
        return nil, false
    end
    return key, true
end

-- --- what it may ---------------------------------------------------------------------------------

-- A * stands for any characters. Linear: a longest match is never tried twice.
local function is_like(name, glob)
    local n, g, star, mark = 1, 1, nil, nil
    while n <= #name do
        if byte(glob, g) == STAR then
            star, mark = g, n
            g = g + 1
        elseif byte(glob, g) == byte(name, n) then
            n, g = n + 1, g + 1
        elseif star then
            mark = mark + 1
            n, g = mark, star + 1
        else
            return false
        end
    end
    while byte(glob, g) == STAR do
        g = g + 1
    end
    return g > #glob
end

M.is_like, M.comes_from = is_like, comes_from

local function sees(record, model)
    if record.models == nil then
        return true
    end
    local is = record.sees[model]
    if is == nil then
        is = false
        for _, glob in ipairs(record.models) do
            is = is or is_like(model, glob)
        end
        if record.sees_count >= SEES_MAX then
            record.sees, record.sees_count = {}, 0
        end
        record.sees[model], record.sees_count = is, record.sees_count + 1
    end
    return is
end

-- What nginx has let in within the minute before this bucket. It changes with the bucket only.
local function before(record, bucket)
    if record.bucket ~= bucket then
        local sum = 0
        for at = bucket - BUCKETS, bucket - 1 do
            sum = sum + (counts:get("m:" .. record.id .. ":" .. at) or 0)
        end
        record.bucket, record.before = bucket, sum
        record.bucket_name = "m:" .. record.id .. ":" .. bucket
    end
    return record.before
end

local function spent_by(record)
    local both = now() < spent_until and spent[record.id]
    if not both then
        return 0, 0
    end
    return both[1], both[2]
end

-- Of a key, or of one that it was made with: one more request within its minute and its burst.
local function count_in(one, at)
    local past = before(one, floor(at / BUCKET_S))
    local asked = spent_by(one)
    if (counts:incr(one.bucket_name, 1, 0, BUCKET_KEPT_S) or math.huge) + past + asked > one.per_minute then
        counts:incr(one.bucket_name, -1)
        return false
    end
    if one.burst then
        local second = floor(at)
        local name = "s:" .. one.id .. ":"
        local last = counts:get(name .. second - 1) or 0
        if (counts:incr(name .. second, 1, 0, 3) or math.huge) + last > one.burst then
            counts:incr(name .. second, -1)
            counts:incr(one.bucket_name, -1)
            return false
        end
    end
    return true
end

local function count_out(one, at)
    counts:incr(one.bucket_name, -1)
    if one.burst then
        counts:incr("s:" .. one.id .. ":" .. floor(at), -1)
    end
end

-- One more request within the limits, counted where it is one. It counts for the keys that this one
-- was made with as well: making keys makes no more room.
local function is_within(record)
    local at = now()
    local _, under_way = spent_by(record)
    local most = record.in_flight - under_way
    if (counts:incr(record.in_flight_name, 1, 0) or most + 1) > most then
        counts:incr(record.in_flight_name, -1)
        return false
    end
    local chain = record.chain
    for here = 1, #chain do
        if not count_in(chain[here], at) then
            for earlier = 1, here - 1 do
                count_out(chain[earlier], at)
            end
            counts:incr(record.in_flight_name, -1)
            return false
        end
    end
    counts:incr(record.own_name, 1, 0)
    for here = 1, #chain do
        counts:incr("t:" .. chain[here].id, 1, 0)
    end
    return true
end

-- Count a request for a model in. Whether it is, and its record, which may be another by now.
function M.enter(record, caller, model)
    refresh()
    if record == nil then
        return state == OPEN
    end
    local refused
    if known[record.raw] ~= record then -- told anew while its body came
        local id = record.id
        if state == CLOSED then
            record, refused = judged(record_of(record.raw), caller)
        else
            return false
        end
        if refused then
            var.edge_refused = refused .. " " .. id
            return false
        end
    end
    if not sees(record, model) then
        refused = FORBIDDEN
    elseif not is_within(record) then
        refused = RATE
    end
    if refused then
        var.edge_refused = refused .. " " .. record.id
        return false
    end
    return true, record
end

function M.leave(record)
    if record == nil then
        return
    end
    counts:incr(record.in_flight_name, -1)
    counts:incr(record.own_name, -1)
end

-- Whether a key that is carried for has ended since.
function M.over(record)
    refresh()
    if known[record.raw] == record then
        return record.ends_s ~= nil and record.ends_s <= now()
    end
    local again = state == CLOSED and record_of(record.raw)
    return not again or (again.ends_s ~= nil and again.ends_s <= now())
end

-- --- what is told --------------------------------------------------------------------------------

-- Of workers that are no more: killed, they could not count out what they carried.
function M.bury(lives)
    for _, name in ipairs(counts:get_keys(0)) do
        local worker, pid, id = match(name, "^((%d+)%-[%d.]+):(.*)$")
        if worker and (not lives(tonumber(pid)) or shared:get("me:" .. pid) ~= worker) then
            -- Of two that bury at once one alone takes it out of the sum.
            if counts:add("buried:" .. name, true, BURIED_S) then
                local left = counts:get(name) or 0
                counts:delete(name)
                if left > 0 then
                    counts:incr("in:" .. id, -left)
                end
            end
        end
    end
end

-- Whether anybody has told of keys.
function M.told()
    return shared:get("generation") ~= nil
end

-- By key: how many it has had carried since this memory began, and has now.
function M.counted()
    local carried = {}
    for _, name in ipairs(counts:get_keys(0)) do
        local id = match(name, "^t:(.*)$")
        if id then
            carried[id] = { counts:get(name) or 0, counts:get("in:" .. id) or 0 }
        end
    end
    return carried
end

function M.begin()
    me = string.format("%d-%.3f", ngx.worker.pid(), now())
    shared:safe_set("me:" .. ngx.worker.pid(), me)
    refresh()
end

-- --- while the daemon is away --------------------------------------------------------------------

-- The daemon did not answer, and a key was not plainly good: say so in words that it wrote before.
-- False: it was about no key.
function M.refuse()
    local said = var.edge_refused
    if said == nil or said == "" then
        return false
    end
    local why, id = match(said, "^(%S+) (.*)$")
    local one = refusals[M.protocol_of(var.uri)][why]
    local path = string.gsub(sub(var.uri, 1, PATH_BYTES_MAX), '[%c"\\]', "?")
    local text = string.gsub(one.text, "@(%l+)@", { path = path, key = id })
    ngx.status = one.status
    ngx.header["Content-Type"] = "application/json"
    ngx.header["Content-Length"] = #text
    if one.status == 401 then
        ngx.header["WWW-Authenticate"] = "Bearer"
    elseif one.status == 429 then
        ngx.header["Retry-After"] = tostring(BUCKET_S)
    end
    ngx.print(text)
    ngx.exit(ngx.HTTP_OK)
    return true
end

function M.configure(told)
    refusals = told.refusals
    M.protocol_of = function(path)
        local call = told.calls[path]
        return call and call.protocol or "openai"
    end
end

return M
