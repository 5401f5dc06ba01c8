-- wrk's part of scripts/bench: posts texts of a file in turn, prints one JSON line at the end.
--
--     wrk ... -s predict.lua URL -- TEXTS.txt TEXTS_PER_REQUEST
--
-- The requests are made before the clock starts; each connection takes the next one.
local requests, turn = {}, 0

local function quoted(text)
    local function escape(c) return string.format("\\u%04x", c:byte()) end
    return '"' .. text:gsub('[%c"\\]', escape) .. '"'
end

function init(args)
    local texts, per_request = {}, tonumber(args[2])
    for line in io.lines(args[1]) do texts[#texts + 1] = quoted(line) end
    wrk.method = "POST"
    wrk.headers["Content-Type"] = "application/json"
    for first = 1, #texts - per_request + 1, per_request do
        local part = table.concat(texts, ",", first, first + per_request - 1)
        if per_request > 1 then part = "[" .. part .. "]" end
        requests[#requests + 1] = wrk.format(nil, nil, nil, '{"text":' .. part .. "}")
    end
end

function request()
    turn = turn % #requests + 1
    return requests[turn]
end

function done(summary, latency, _)
    local e = summary.errors
    io.write(string.format('{"requests":%d,"duration_us":%d,"p50_us":%d,"p90_us":%d,' ..
        '"p99_us":%d,"max_us":%d,"errors":%d}\n',
        summary.requests, summary.duration, latency:percentile(50), latency:percentile(90),
        latency:percentile(99), latency.max, e.connect + e.read + e.write + e.status + e.timeout))
end
