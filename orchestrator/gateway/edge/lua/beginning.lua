-- What nginx does once, before it serves: names that the blocks of its configuration know.

local cjson = require "cjson"

local M = {}

local folder

-- `beside` is where the daemon keeps API keys and routes for an nginx that starts without it.
function M.of_master(path, beside)
    folder = beside
    local file = assert(io.open(path, "r"))
    local told = cjson.decode(file:read("*a"))
    file:close()
    edge_asked = require "asked"
    edge_warm = require "warm"
    edge_control = require "control"
    edge_warm.configure(told)
    require("relayed").configure(told)
    require("callers").configure(told)
    require("keys").configure(told)
    require("keys").read(beside .. "/keys")
end

function M.of_worker()
    require("keys").begin()
    edge_control.begin()
    -- Not earlier: from here on what the daemon says arrives, and comes after it.
    require("routes").recall(folder .. "/routes")
    require("routes").begin()
    require("live").begin()
end

return M
