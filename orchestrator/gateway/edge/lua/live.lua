-- What is under way for longer than a moment: shown to the daemon, and ended when it says so.
--
-- Each worker writes down what it carries, because only it knows. A request that is over before is
-- never looked at.

local cjson = require "cjson.safe"
local keys = require "keys"
local warm = require "warm"

local dict = ngx.shared.edge_live

local M = {}

local EVERY_S = 0.25
local SHOWN_AFTER_S = 0.5
local SHOWN_MAX = 256 -- of one worker
local KEPT_S = 2 -- what a worker says that is killed
local CANCEL_S = 60 -- so long an end that was asked for waits for the next piece of its answer

local serials = 0
local showed = false
local cancelled

local function serial_of(one)
    if one.serial == nil then
        serials = serials + 1
        one.serial = ngx.worker.pid() .. "-" .. serials
    end
    return one.serial
end

local function show(premature)
    if premature then
        return
    end
    local asked_for = dict:get("cancelled")
    local now = ngx.now()
    local shown = {}
    for _, one in pairs(warm.carried) do
        if one.key and not one.ended and keys.over(one.key) then
            one.ended = true
        end
        if now - one.began_s >= SHOWN_AFTER_S and #shown < SHOWN_MAX then
            local caller = one.caller
            shown[#shown + 1] = {
                serial = serial_of(one),
                instance = one.route.instance,
                model = one.route.model,
                asked = one.asked or one.route.model,
                client = caller.address,
                path = caller.path,
                owner = caller.owner,
                key = one.key and one.key.id,
                priority = caller.priority,
                began_s = one.began_s,
                begun = one.first ~= false,
            }
            if asked_for ~= cancelled and dict:get("cancel:" .. one.serial) then
                one.ended = true
            end
        end
    end
    cancelled = asked_for
    if #shown > 0 or showed then
        showed = #shown > 0
        dict:set("live:" .. ngx.worker.pid(), showed and cjson.encode(shown) or "[]", KEPT_S)
    end
end

function M.begin()
    ngx.timer.every(EVERY_S, show)
end

function M.all()
    local all = {}
    for _, key in ipairs(dict:get_keys(0)) do
        if string.find(key, "live:", 1, true) == 1 then
            for _, one in ipairs(cjson.decode(dict:get(key) or "[]") or {}) do
                all[#all + 1] = one
            end
        end
    end
    return all
end

function M.cancel(serial)
    dict:set("cancel:" .. serial, true, CANCEL_S)
    dict:incr("cancelled", 1, 0)
end

return M
