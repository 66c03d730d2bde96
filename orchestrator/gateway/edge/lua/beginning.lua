-- What nginx does once, before it serves: names that the blocks of its configuration know.

local cjson = require "cjson"

local M = {}

function M.of_master(path)
    local file = assert(io.open(path, "r"))
    local told = cjson.decode(file:read("*a"))
    file:close()
    edge_warm = require "warm"
    edge_control = require "control"
    edge_warm.configure(told)
    require("callers").configure(told)
end

function M.of_worker()
    edge_control.begin()
    require("routes").begin()
    require("live").begin()
end

return M
