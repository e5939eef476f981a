-- SPDX-License-Identifier: Apache-2.0
-- Counts the visits of a visitor in his session: /visits?user=NAME logs in, /visits counts on.
-- SessionEnv shows the session to any language as HTTP_SESSION, SessionHeader takes it back.

function handle(r)
    local session = r.subprocess_env["HTTP_SESSION"] or ""
    local visits = (tonumber(session:match("visits=(%d+)")) or 0) + 1
    local user = session:match("user=(%w+)") or (r.args or ""):match("user=(%w+)") or "nobody"
    r.content_type = "text/plain"
    r.headers_out["Cache-Control"] = "no-store"
    r.headers_out["X-Replace-Session"] = "user=" .. user .. "&visits=" .. visits
    local alternate = r.subprocess_env["FARMSYNC_ALTERNATE"] -- who would go on with it
    if alternate then r.headers_out["X-Alternate"] = alternate end
    r:puts(string.format("@SERVER@: %s, visit %d\n", user, visits))
    return apache2.OK
end
