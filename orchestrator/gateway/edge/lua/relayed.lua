-- Streams that the daemon answers, to their end: if it dies in the middle, the client hears so as the
-- last event, in its own protocol, and the answer ends as answers do.

local sub, byte, find, gsub = string.sub, string.byte, string.find, string.gsub
local var, arg = ngx.var, ngx.arg

local M = {}

local PATH_BYTES_MAX = 120 -- of what a caller sent, quoted back to it
local NEWLINE = 10
local EVENTS, LINES = "text/event-stream", "application/x-ndjson"

local last_events, beside -- by path; of what a model's server is asked itself

local function is_of(kind, wanted)
    return kind ~= nil and find(kind, wanted, 1, true) == 1
end

-- What is said where the daemon does not go on; nil: nothing, for it is no stream of a model's.
local function last_event(ctx)
    local kind = ngx.header["Content-Type"]
    local text = last_events[var.uri]
    if is_of(kind, EVENTS) then
        return text or (find(var.uri, "^/upstream/") and beside) or nil
    end
    -- Within a line there is nothing to be said: what follows would be no line.
    return is_of(kind, LINES) and ctx.ends_line and text or nil
end

function M.body()
    local piece = arg[1]
    local ctx = ngx.ctx
    if piece ~= "" then
        ctx.begun, ctx.ends_line = true, byte(piece, -1) == NEWLINE
    elseif ctx.begun and not arg[2] then -- nothing, and no end: it has gone
        local text = last_event(ctx)
        if text ~= nil then
            local path = gsub(sub(var.uri, 1, PATH_BYTES_MAX), '[%c"\\]', "?")
            arg[1] = gsub(text, "@path@", (gsub(path, "%%", "%%%%")))
            arg[2] = true
        end
    end
end

function M.configure(told)
    last_events, beside = told.last_events, told.last_event_beside
end

return M
