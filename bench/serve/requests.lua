-- What wrk sends: the bodies of a file, one a line, over and over; and what it says of the answers, as JSON.

local bodies, path = {}, os.getenv("SERVE_PATH")
for line in io.lines(os.getenv("SERVE_BODIES")) do bodies[#bodies + 1] = line end

local threads = {}

function setup(thread)
   thread:set("first", #threads * 97)
   threads[#threads + 1] = thread
end

function init(args)
   sent = first
   counts = {}
end

function request()
   sent = sent + 1
   return wrk.format("POST", path, {["Content-Type"] = "application/json"}, bodies[sent % #bodies + 1])
end

function response(status, headers, body)
   local key = "s" .. status
   counts[key] = (counts[key] or 0) + 1
   counted = key
   _G["n_" .. key] = counts[key]
end

function done(summary, latency, requests)
   local statuses = {}
   for _, status in ipairs({200, 400, 404, 413, 422, 429, 499, 500, 502, 503, 504}) do
      local total = 0
      for _, thread in ipairs(threads) do total = total + (thread:get("n_s" .. status) or 0) end
      if total > 0 then statuses[#statuses + 1] = string.format('"%d": %d', status, total) end
   end
   local errors = summary.errors
   io.write(string.format(
      'JSON {"requests": %d, "seconds": %.3f, "statuses": {%s}, "p50_ms": %.3f, "p95_ms": %.3f, ' ..
      '"p99_ms": %.3f, "max_ms": %.3f, "socket_errors": %d}\n',
      summary.requests, summary.duration / 1e6, table.concat(statuses, ", "),
      latency:percentile(50) / 1e3, latency:percentile(95) / 1e3, latency:percentile(99) / 1e3,
      latency.max / 1e3, errors.connect + errors.read + errors.write + errors.timeout))
end
