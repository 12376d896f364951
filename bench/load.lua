-- What wrk asks: the bodies of a file in turn, a request each. wrk -s load.lua URL -- BODIES [ID]
-- ID: text that is no one else's; each request's first row then carries an id of its own that begins with it.

local OPEN = '{"rows":[{'
local before, after, count, id, asked = {}, {}, 0, nil, 0

function init(args)
  wrk.method = "POST"
  wrk.headers["content-type"] = "application/json"
  id = args[2]
  for body in io.lines(args[1]) do
    count = count + 1
    if id == nil then
      before[count] = wrk.format(nil, nil, nil, body)
    else
      -- the number's place is kept in the body, so that its length is known before the number is
      local marked = OPEN .. '"id":"' .. id .. '\1\1\1\1\1\1\1\1\1",' .. body:sub(#OPEN + 1)
      local whole = wrk.format(nil, nil, nil, marked)
      local first, last = whole:find('\1+')
      before[count], after[count] = whole:sub(1, first - 1), whole:sub(last + 1)
    end
  end
end

function request()
  asked = asked + 1
  local place = (asked - 1) % count + 1
  if id == nil then
    return before[place]
  end
  return before[place] .. string.format("%09d", asked) .. after[place]
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    'told {"answers":%d,"refused":%d,"broken":%d,"duration_us":%d,"p50_us":%d,"p99_us":%d}\n',
    summary.requests, errors.status, errors.connect + errors.read + errors.write + errors.timeout,
    summary.duration, latency:percentile(50), latency:percentile(99)
  ))
end
