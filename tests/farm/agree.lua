-- SPDX-License-Identifier: Apache-2.0
-- For wrk: every number behind "stamp": in an answer must be the same. Ends with one line of totals.
local threads = {}

function setup(thread)
    table.insert(threads, thread)
end

function init(args)
    answers, failed, mixed, distinct = 0, 0, 0, 0
    seen = {}
    example = ""
end

function response(status, headers, body)
    answers = answers + 1
    if status ~= 200 then
        failed = failed + 1
        example = status .. ": " .. body
        return
    end
    local first, count = nil, 0
    for stamp in body:gmatch('"stamp":%s*"?(%d+)') do
        first = first or stamp
        count = count + 1
        if stamp ~= first then
            mixed = mixed + 1
            example = body
            return
        end
    end
    if count ~= 6 then
        failed = failed + 1
        example = body
    elseif not seen[first] then
        seen[first] = true
        distinct = distinct + 1
    end
end

function done(summary, latency, requests)
    local total = { answers = 0, failed = 0, mixed = 0, distinct = 0 }
    for _, thread in ipairs(threads) do
        for name, value in pairs(total) do
            local own = thread:get(name)
            total[name] = name == "distinct" and math.max(value, own) or value + own
        end
        local text = thread:get("example")
        if text ~= "" then
            print("for example: " .. text)
        end
    end
    local errors = summary.errors
    print(string.format("answers=%d failed=%d mixed=%d distinct=%d socket=%d", total.answers,
        total.failed, total.mixed, total.distinct,
        errors.connect + errors.read + errors.write + errors.timeout))
end
