/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The dashboard as a page without anything from elsewhere: plain HTML that any browser and any curl
 * can read. A few lines of script fetch it again each second and let the countdown run in farm
 * time, whatever the clock of the browser says; without script it refreshes itself. Every text that
 * isn't ours is escaped, and the policy header forbids all but the page's own script.
 */
#ifndef FS_DATASRV_HTML_H
#define FS_DATASRV_HTML_H

#include "base/fs_time.h"

/* For Content-Security-Policy. */
#define FS_HTML_POLICY                                                                             \
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src "      \
    "'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"

struct evbuffer;

/* What stands before and behind the page's content, which was written at that farm time. */
void fs_html_begin(struct evbuffer *out, fs_usec_t farm);
void fs_html_end(struct evbuffer *out);

/* Text, escaped. NULL is fine. */
void fs_html_text(struct evbuffer *out, const char *text);
/* A cell of a table with that text. */
void fs_html_cell(struct evbuffer *out, const char *class, const char *text);

#endif
