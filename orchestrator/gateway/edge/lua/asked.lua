-- A request that the daemon is asked about: nothing of it is decided here.

local var, exec = ngx.var, ngx.exec
local read_body = ngx.req.read_body
local body_data, body_file = ngx.req.get_body_data, ngx.req.get_body_file

local M = {}

-- Read before the daemon is asked: most bodies are smaller, and 10 000 of them are little.
local BODY_BYTES_MAX = 16384

-- The daemon may refuse by the head alone, and nginx closes a connection whose body it has not read by
-- then, under the next request of its client. So it has read it, or says that it will close.
function M.rewrite()
    local n = tonumber(var.http_content_length or "")
    if n ~= nil and n <= BODY_BYTES_MAX then
        if n > 0 then
            read_body()
        end
    elseif (n ~= nil or var.http_transfer_encoding ~= nil) and not (body_data() or body_file()) then
        return exec("@daemon_once")
    end
end

return M
