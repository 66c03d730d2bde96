-- Decides about every call that reaches the guard, and rewrites the ones that pass.
--
-- Rule: what is forwarded is made here, from what was checked. The path is put together from its
-- checked parts, arguments are encoded anew, a container is named by the id that was looked up,
-- and a body is written by its shape. The caller's own bytes never reach the engine.

local calls = require("docker_guard.calls")
local create = require("docker_guard.create")
local json = require("docker_guard.json")
local key = require("docker_guard.key")

local M = {}

local ARGS_MAX = 12
local LABEL = "vram-orchestrator.identity"
local EVENTS = { die = true, oom = true, destroy = true, start = true }

local settings, create_shape, network_shape

local function refuse(why, status)
    -- What is not there is an answer, and no attempt at anything.
    ngx.log(status == 404 and ngx.INFO or ngx.WARN, "refused ", ngx.req.get_method(), " ", ngx.var.request_uri, ": ", why)
    ngx.status = status or 403
    ngx.header["Content-Type"] = "application/json"
    ngx.say('{"message":' .. json.quote("docker-guard: " .. why) .. "}")
    return ngx.exit(ngx.HTTP_OK)
end

local function words(text)
    local list = {}
    for part in string.gmatch(text or "", "[^,]+") do
        local word = string.match(part, "^%s*(.-)%s*$")
        if word ~= "" then
            list[#list + 1] = word
        end
    end
    return list
end

-- A setting that makes no sense keeps nginx from starting, with one sentence.
local function wrong(sentence)
    io.stderr:write("docker-guard: ", sentence, "\n")
    os.exit(1)
end

local function set_of(list)
    local set = {}
    for _, each in ipairs(list) do
        set[each] = true
    end
    return set
end

-- Read the settings once, at start.
function M.configure(getenv)
    local identity = getenv("GUARD_IDENTITY") or ""
    if not string.find(identity, "^[A-Za-z0-9][A-Za-z0-9._-]*$") then
        wrong("GUARD_IDENTITY must name the orchestrator whose containers these are")
    end
    local models = {}
    for _, word in ipairs(words(getenv("GUARD_MODELS"))) do
        local path, source = string.match(word, "^(/[^=]+)=?(.*)$")
        if path == nil then
            wrong("GUARD_MODELS: not an absolute path: " .. word)
        end
        models[#models + 1] = { path = path, source = source ~= "" and source or path }
    end
    local networks = words(getenv("GUARD_NETWORK"))
    for _, network in ipairs(networks) do
        if network == "host" or string.find(network, "^container:") then
            wrong("GUARD_NETWORK must not share the network of the host or of a container")
        end
    end
    settings = {
        identity = identity,
        models = models,
        networks = networks,
        direct = getenv("GUARD_DIRECT") == "yes",
        images = set_of(words(getenv("GUARD_IMAGES"))),
        watched = set_of(words(getenv("GUARD_CONTAINERS"))),
    }
    create_shape = create.shape(settings)
    network_shape = create.network_shape(settings)
end

-- Filters of a list or of the event stream, as name → list of strings; nil if they are anything else.
local function filters_of(text)
    local filters = text and json.decode(text)
    if type(filters) ~= "table" then
        return nil
    end
    for name, values in pairs(filters) do
        if type(name) ~= "string" or type(values) ~= "table" or #values == 0 then
            return nil
        end
        for key, value in pairs(values) do
            if type(key) ~= "number" or type(value) ~= "string" then
                return nil
            end
        end
    end
    return filters
end

local function written(filters)
    local parts = {}
    for name, values in pairs(filters) do
        local quoted = {}
        for i, value in ipairs(values) do
            quoted[i] = json.quote(value)
        end
        parts[#parts + 1] = json.quote(name) .. ":[" .. table.concat(quoted, ",") .. "]"
    end
    return "{" .. table.concat(parts, ",") .. "}"
end

local function only(filters, names)
    for name in pairs(filters) do
        if not names[name] then
            return false
        end
    end
    return true
end

local function all_in(values, set)
    for _, value in ipairs(values or {}) do
        if not set[value] then
            return false
        end
    end
    return true
end

local function names_us(filters)
    -- The engine wants every label of the list, so one that is ours limits the answer to ours.
    return set_of(filters.label or {})[LABEL .. "=" .. settings.identity]
end

local function checked_list(args)
    local filters = filters_of(args.filters)
    if filters == nil or not only(filters, { label = true, status = true }) or not names_us(filters) then
        return refuse("a list must be filtered by the label " .. LABEL .. "=" .. settings.identity)
    end
    args.filters = written(filters)
end

local function checked_events(args)
    local filters = filters_of(args.filters)
    local fine = filters ~= nil
        and only(filters, { type = true, event = true, label = true, container = true })
        and filters.type ~= nil and all_in(filters.type, { container = true })
        and filters.event ~= nil and all_in(filters.event, EVENTS)
        and (names_us(filters)
            or (filters.container ~= nil and all_in(filters.container, settings.watched)))
    if not fine then
        return refuse("events must be filtered by type, event, and a label or a container of ours")
    end
    args.filters = written(filters)
end

-- Only what the operator has named may come from a registry: never "any image", nor all tags of one.
local function checked_pull(args)
    local name, tag = args.fromImage, args.tag
    local image = name and tag and name .. (string.find(tag, ":", 1, true) and "@" or ":") .. tag
    if image == nil or not settings.images[image] then
        return refuse("only an image that GUARD_IMAGES names may be pulled")
    end
end

local function checked_args(allowed)
    local args, truncated = ngx.req.get_uri_args(ARGS_MAX)
    if truncated then
        return refuse("too many arguments")
    end
    for name, value in pairs(args) do
        if allowed[name] == nil or type(value) ~= "string" or not allowed[name](value) then
            return refuse("the argument " .. name .. " is not allowed")
        end
    end
    return args
end

local function body_of()
    ngx.req.read_body()
    local text = ngx.req.get_body_data()
    if text == nil then
        return refuse("this call needs a body that fits the buffer")
    end
    return text
end

local function checked_body(shape)
    local body, broken = json.decode(body_of())
    if body == nil then
        return refuse("body: " .. broken, 400)
    end
    local checked, why = shape(body, "body")
    if checked == nil then
        return refuse(why)
    end
    ngx.req.set_body_data(checked)
end

local function checked_key()
    local archive, why = key.archive(body_of())
    if archive == nil then
        return refuse(why)
    end
    ngx.req.set_body_data(archive)
end

-- The id of the container that `ref` means, if the caller may do `about` with it.
local function resolved(version, ref, about)
    if ngx.shared.guard_ours:get(ref) then
        return ref
    end
    local uri = version .. "/containers/" .. ref .. "/json"
    local answer = ngx.location.capture("/guard-inspect", { ctx = { inspect_uri = uri } })
    if answer.status == 404 then
        return refuse("No such container: " .. ref, 404)
    end
    local seen = answer.status == 200 and not answer.truncated and json.decode(answer.body)
    if not seen then
        return refuse("the engine does not answer", 502)
    end
    local labels = seen.Config.Labels
    if type(labels) == "table" and labels[LABEL] == settings.identity then
        ngx.shared.guard_ours:set(seen.Id, true)
        return seen.Id
    end
    if about == "watched" and settings.watched[string.sub(seen.Name, 2)] then
        return seen.Id
    end
    return refuse("the container " .. ref .. " is not this orchestrator's")
end

local function has_body()
    -- As nginx has read them: a list of the headers would end with the hundredth.
    local length = ngx.var.http_content_length
    return ngx.var.http_transfer_encoding ~= nil or (length ~= nil and length ~= "0")
end

-- Runs in the access phase: either ends the request, or leaves what to forward in $engine_uri.
function M.decide()
    local raw = string.match(ngx.var.request_uri, "^[^?#]*")
    local version, path = calls.split(raw)
    if version == nil then
        return refuse(path)
    end
    local call = calls.find(ngx.req.get_method(), path)
    if call == nil then
        return refuse("this call is not one that an orchestrator makes")
    end
    local args = checked_args(call.args)
    if call.about == "create" then
        if args.name == nil then
            return refuse("a container needs a name")
        end
        checked_body(create_shape)
    elseif call.about == "network_create" then
        if network_shape == nil then
            return refuse("containers join the networks that GUARD_NETWORK names")
        end
        checked_body(network_shape)
    elseif call.about == "key" then
        checked_key()
        path = "/containers/" .. resolved(version, call.ref, "ours") .. "/archive"
    elseif has_body() then
        return refuse("this call has no body")
    elseif call.about == "pull" then
        checked_pull(args)
    elseif call.about == "image" then
        if next(settings.images) and not settings.images[call.ref] then
            return refuse("the image " .. call.ref .. " is not one that GUARD_IMAGES names")
        end
    elseif call.about == "network" then
        if call.ref ~= create.closed_network(settings.identity) then
            return refuse("the network " .. call.ref .. " is not this orchestrator's")
        end
    elseif call.about == "list" then
        checked_list(args)
    elseif call.about == "events" then
        checked_events(args)
    elseif call.about == "ours" or call.about == "watched" then
        local id = resolved(version, call.ref, call.about)
        path = "/containers/" .. id .. string.sub(path, #"/containers/" + #call.ref + 1)
    end
    local query = ngx.encode_args(args)
    ngx.var.engine_uri = version .. path .. (query ~= "" and "?" .. query or "")
end

function M.too_large()
    return refuse("the body is larger than any honest one", 413)
end

return M
