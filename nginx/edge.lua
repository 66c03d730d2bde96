-- What the edge decides and says by itself: how often a client may change things, whose web pages
-- may talk to the model server, and the one error body where nginx answers instead of an upstream.

local cjson = require("cjson")

local M = {}

local ECHO_CHARS_MAX = 120 -- of what a caller sent, quoted back to it
local UNAVAILABLE_RETRY_S = 5 -- what n8n waits at most between two tries
local READING = { GET = true, HEAD = true, OPTIONS = true }
-- Written with POST, but they change nothing; and work for a model is not a change.
local UNCOUNTED = { ["/models/plan"] = true, ["/models/estimate"] = true }
local RELAYED = { "^/v1/", "^/upstream/" }
local OWN_SITES = { ["same-origin"] = true, ["none"] = true }

-- Figures that no daemon takes over: some 200 000 requests, and how often that is looked at.
local FIGURES_BYTES_MAX, FIGURES_LOOK_S = 67108864, 60

local requests_max, window_s, allowed_origins, figures, questions, acting_gets

local function set_of(list)
    local set = {}
    for _, each in ipairs(list) do
        set[each] = true
    end
    return set
end

local function whole(getenv, name, default)
    local text = getenv(name)
    if text == nil or text == "" then
        return default
    end
    local number = string.match(text, "^%d+$") and tonumber(text)
    if not number then
        error(name .. " must be a whole number, not " .. text)
    end
    return number
end

local function given(getenv, name, default)
    local text = getenv(name)
    return text ~= nil and text ~= "" and text or default
end

-- Read the settings once, at start. An error here keeps nginx from starting. `path` is that of what
-- the daemon's code says about requests.
function M.configure(getenv, path)
    local file = assert(io.open(path, "r"))
    local told = cjson.decode(file:read("*a"))
    file:close()
    questions, acting_gets = {}, set_of(told.acting_gets)
    for method, paths in pairs(told.questions) do
        questions[method] = set_of(paths)
    end
    M.orchestrator = given(getenv, "ORCHESTRATOR_UPSTREAM", "model-orchestrator:8000")
    M.llama = given(getenv, "LLAMA_UPSTREAM", "llama-cpp:8000")
    requests_max = whole(getenv, "RATE_LIMIT_MAX_REQUESTS", 60)
    window_s = whole(getenv, "RATE_LIMIT_WINDOW", 60000) / 1000
    if window_s <= 0 then
        error("RATE_LIMIT_WINDOW must be more than 0 ms")
    end
    figures = given(getenv, "EDGE_SIDE_DIR", "/run/orchestrator-edge") .. "/figures.log"
    allowed_origins = {}
    for origin in string.gmatch(given(getenv, "EDGE_ALLOWED_ORIGINS", ""), "[^,%s]+") do
        allowed_origins[string.lower(origin)] = true
    end
end

-- nginx appends to the file: it goes on at its beginning.
local function bound_figures()
    local file = io.open(figures, "r")
    if file == nil then
        return
    end
    local size = file:seek("end")
    file:close()
    if size > FIGURES_BYTES_MAX then
        ngx.log(ngx.WARN, "figures of requests were dropped: no orchestrator has read them")
        file = io.open(figures, "w")
        if file ~= nil then
            file:close()
        end
    end
end

-- In a worker, at its start.
function M.begin()
    if ngx.worker.id() == 0 then
        ngx.timer.at(0, bound_figures)
        ngx.timer.every(FIGURES_LOOK_S, bound_figures)
    end
end

-- `kind` as in OpenAI's errors. The members are those of the daemon's own error body.
local function refuse(status, code, title, detail, remedy, retry_after_s)
    local path = string.match(ngx.var.request_uri or "", "^[^?]*")
    local kind = status == 429 and "rate_limit_error"
        or (status < 500 and "invalid_request_error" or "server_error")
    local body = {
        type = "urn:vram-orchestrator:" .. code,
        title = title,
        status = status,
        detail = detail,
        instance = string.sub(path, 1, ECHO_CHARS_MAX),
        code = code,
        remedy = remedy,
        retry_after_seconds = retry_after_s,
        error = {
            message = detail .. " " .. remedy,
            type = kind,
            param = cjson.null,
            code = code,
        },
    }
    local accept = string.lower(ngx.var.http_accept or "")
    local problem = string.find(accept, "application/problem+json", 1, true)
    ngx.status = status
    ngx.header["Content-Type"] = problem and "application/problem+json" or "application/json"
    ngx.header["Retry-After"] = retry_after_s
    ngx.print(cjson.encode(body))
    return ngx.exit(ngx.HTTP_OK) -- the body is complete; the status is the one set above
end

local function counts(method, path)
    if READING[method] or UNCOUNTED[path] then
        return false
    end
    for _, pattern in ipairs(RELAYED) do
        if string.find(path, pattern) then
            return false
        end
    end
    return true
end

-- One client is one IPv4 address, or the 64 bits of IPv6 that belong to one home.
local function client()
    return string.sub(ngx.var.binary_remote_addr, 1, 8)
end

-- Let so many changes of one client through in a window that begins with the first of them.
function M.limit()
    if requests_max == 0 or not counts(ngx.req.get_method(), ngx.var.uri) then
        return
    end
    local limits = ngx.shared.edge_limits
    local key = client()
    local count, problem = limits:incr(key, 1, 0, window_s)
    if not count then
        -- Counting is a courtesy to others, not a lock: without it the request goes on.
        ngx.log(ngx.ERR, "cannot count requests: ", problem)
        return
    end
    if count <= requests_max then
        return
    end
    local left_s = math.max(1, math.ceil(limits:ttl(key) or window_s))
    return refuse(
        429,
        "rate_limited",
        "Too many requests",
        string.format("More than %d changes in %g s from one client.", requests_max, window_s),
        "Send fewer, wait as long as Retry-After says, or raise RATE_LIMIT_MAX_REQUESTS.",
        left_s
    )
end

-- llama-server answers every web page that asks: the edge answers its own, and those allowed.
function M.only_our_pages()
    local origin = ngx.var.http_origin
    local site = ngx.var.http_sec_fetch_site
    local own = origin == nil or string.lower(origin) == "https://" .. ngx.var.host
    if origin ~= nil and allowed_origins[string.lower(origin)] then
        return
    end
    local moves = site == nil or OWN_SITES[string.lower(site)] or READING[ngx.req.get_method()]
    if own and moves then
        return
    end
    return refuse(
        403,
        "bad_origin",
        "Origin not allowed",
        "A page of " .. string.sub(origin or site, 1, ECHO_CHARS_MAX) .. " may not talk to this server.",
        "If it is yours, add its origin to EDGE_ALLOWED_ORIGINS."
    )
end

-- Whether a llama-server that is asked so is changed for everybody who asks it.
local function is_order(method, path)
    if string.find(path, "%", 1, true) then -- the server may read more out of it than nginx
        return true
    elseif READING[method] then
        return acting_gets[path]
    end
    return not (questions[method] and questions[method][path])
end

-- Nobody is asked here who he is: what is an admin's is not to be had.
function M.only_questions()
    M.only_our_pages()
    if not is_order(ngx.req.get_method(), ngx.var.uri) then
        return
    end
    return refuse(
        403,
        "forbidden",
        "Not allowed",
        "This changes the model server for everybody who asks it, and llama.lan asks nobody who he is.",
        "Adapters: POST /models/load with lora_scales. All else: https://orchestrator.lan/upstream/MODEL/…, as an admin."
    )
end

function M.bad_host()
    local host = string.sub(ngx.var.host, 1, ECHO_CHARS_MAX)
    return refuse(
        421,
        "bad_host",
        "Host not allowed",
        "The Host header is '" .. host .. "', and this server does not answer to that name.",
        "Use https://orchestrator.lan or https://llama.lan."
    )
end

function M.too_large(limit)
    return refuse(
        413,
        "too_large",
        "Body too large",
        "The body is larger than " .. limit .. ".",
        "Send less: smaller pictures, or fewer of them."
    )
end

-- What nginx could not or would not read: by its own status, what is said and as what.
local UNREADABLE = {
    [404] = { 404, "not_found", "Not found", "There is no such address." },
    [405] = { 405, "method_not_allowed", "Method not allowed", "This method is not one that is served here." },
    [411] = { 411, "bad_request", "Length required", "The request has a body and does not say how long it is." },
    [414] = { 414, "target_too_long", "Address too long", "The address of the request is longer than 8 KB." },
    [494] = { 431, "head_too_large", "Headers too large", "A header of the request is longer than 8 KB, or all are longer than 32 KB." },
    [497] = { 400, "bad_request", "Plain HTTP at the port of HTTPS", "This port speaks HTTPS only." },
    [501] = { 501, "bad_request", "Not implemented", "The request asks for a transfer encoding that is not served here." },
    [505] = { 505, "bad_request", "HTTP version not supported", "Only HTTP/1 and HTTP/2 are spoken here." },
}
local MALFORMED = { 400, "bad_request", "Bad request", "This is not a request that HTTP knows." }

function M.unreadable()
    local status, code, title, detail = unpack(UNREADABLE[tonumber(string.match(ngx.var.uri, "%d+$"))] or MALFORMED)
    return refuse(status, code, title, detail, "Look at what the client sends: method, address and headers.")
end

-- The disk for large bodies is full, say.
function M.broken()
    return refuse(
        500,
        "internal",
        "Internal error",
        "The edge could not pass the request on.",
        "Its log says why: `docker compose logs nginx`."
    )
end

-- Whether what did not get an answer may be asked again.
local function asked_twice(method, path)
    if READING[method] or UNCOUNTED[path] then
        return "Asking again is safe."
    elseif method == "POST" and path == "/vram/leases" then
        return "The lease may have been made all the same: look at GET /vram/leases before you ask again."
    elseif method == "POST" and path == "/models/load" then
        return "Asking again is safe: a load that is under way is joined."
    end
    return "It may have been done all the same: look before you ask again."
end

-- The upstream did not answer, or not to the end. Nothing is known of what became of the request.
function M.unavailable(who)
    if require("keys").refuse() then
        return
    end
    return refuse(
        503,
        "unavailable",
        "Unavailable",
        who .. " did not answer.",
        "Is it running? `docker compose ps` shows it. " .. asked_twice(ngx.req.get_method(), ngx.var.uri),
        UNAVAILABLE_RETRY_S
    )
end

return M
