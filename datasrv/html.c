/* SPDX-License-Identifier: Apache-2.0 */
#include "html.h"

#include <event2/buffer.h>
#include <inttypes.h>
#include <string.h>

static const char page_head[] =
    "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
    "<meta name=\"viewport\" content=\"width=device-width\">\n"
    "<noscript><meta http-equiv=\"refresh\" content=\"3\"></noscript>\n"
    "<title>farmsync</title>\n<style>\n"
    ":root{color-scheme:light "
    "dark;--line:#8884;--soft:#888;--good:#2a8a3e;--bad:#c62828;--warn:#b26a00}\n"
    "body{font:15px/1.45 system-ui,sans-serif;margin:1.5rem auto;max-width:72rem;padding:0 1rem}\n"
    "h1{font-size:1.4rem;margin:0}h2{font-size:1.1rem;margin:2rem 0 .4rem}\n"
    "p{margin:.3rem 0}small,.soft{color:var(--soft)}\n"
    "table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}\n"
    "th{text-align:left;font-weight:600;color:var(--soft);font-size:.85rem}\n"
    "td,th{padding:.25rem .8rem .25rem 0;border-bottom:1px solid var(--line);vertical-align:top}\n"
    "td.n,th.n{text-align:right}.good{color:var(--good)}.bad{color:var(--bad)}.warn{color:var(--"
    "warn)}\n"
    ".count{font-size:1.6rem;font-variant-numeric:tabular-nums}code{font-size:.85em}\n"
    "</style></head>\n";

/* The countdown: farm time at the fetch plus what performance.now(), a monotonic clock, has gone on
 * since. */
static const char page_script[] =
    "<script>\n"
    "var base=0,at=0;\n"
    "function sync(){base=+document.body.dataset.farm;at=performance.now()}\n"
    "function two(n){return(n<10?'0':'')+n}\n"
    "function tick(){if(!base)return;var now=base+(performance.now()-at)*1000;\n"
    "document.querySelectorAll('[data-until]').forEach(function(e){\n"
    "var s=(+e.dataset.until-now)/1e6,d=s<0;s=Math.abs(s);var t=s<60?s.toFixed(1)+' s':\n"
    "(s>=3600?Math.floor(s/3600)+':'+two(Math.floor(s/60)%60):Math.floor(s/"
    "60))+':'+two(Math.floor(s%60));\n"
    "e.textContent=d?t+' ago':'in '+t})}\n"
    "function load(){fetch('/',{cache:'no-store'}).then(function(r){return "
    "r.text()}).then(function(t){\n"
    "var b=new DOMParser().parseFromString(t,'text/html').body;\n"
    "document.getElementById('all').replaceWith(b.querySelector('#all'));\n"
    "document.body.dataset.farm=b.dataset.farm;sync();tick()}).catch(function(){\n"
    "document.getElementById('state').textContent='this data server does not answer'})}\n"
    "sync();tick();setInterval(tick,100);setInterval(load,1000);\n"
    "</script>\n";

void fs_html_begin(struct evbuffer *out, fs_usec_t farm)
{
    evbuffer_add(out, page_head, sizeof(page_head) - 1);
    evbuffer_add_printf(out, "<body data-farm=\"%" PRId64 "\"><div id=\"all\">\n", farm);
}

void fs_html_end(struct evbuffer *out)
{
    evbuffer_add_printf(out, "</div>\n");
    evbuffer_add(out, page_script, sizeof(page_script) - 1);
    evbuffer_add_printf(out, "</body></html>\n");
}

void fs_html_text(struct evbuffer *out, const char *text)
{
    for (; text && *text; text++) {
        size_t plain = strcspn(text, "&<>\"'");

        evbuffer_add(out, text, plain);
        text += plain;
        if (!*text)
            return;
        evbuffer_add_printf(out, "&#%d;", *text);
    }
}

void fs_html_cell(struct evbuffer *out, const char *class, const char *text)
{
    evbuffer_add_printf(out, "<td class=\"%s\">", class);
    fs_html_text(out, text);
    evbuffer_add_printf(out, "</td>");
}
