/* SPDX-License-Identifier: Apache-2.0 */
/* In which form and in which words a visitor is told: what his request says about that. */
#ifndef FS_AVAIL_ACCEPT_H
#define FS_AVAIL_ACCEPT_H

typedef enum fs_avail_form_t {
    FS_AVAIL_TEXT, /* who wants anything, such as curl, or an image */
    FS_AVAIL_HTML, /* who names HTML, as browsers do */
    FS_AVAIL_JSON  /* who names JSON, or sent JSON and wants anything */
} fs_avail_form_t;

/* By the headers Accept and Content-Type, either may be NULL. */
fs_avail_form_t fs_avail_form(const char *accept, const char *content_type);

/* The sentences of a refusal in one language. */
typedef struct fs_avail_words_t {
    const char *language;
    const char *title;   /* "Temporarily unavailable" */
    const char *planned; /* when nobody wrote a message: by the reason */
    const char *unplanned;
    const char *not_processed; /* "Your request was not processed. ..." */
    const char *again;         /* "Expected to be available again" */
    const char *more;          /* "More about this" */
} fs_avail_words_t;

/* By Accept-Language, then `preset`, then English; either may be NULL. */
const fs_avail_words_t *fs_avail_words(const char *accept_language, const char *preset);

#endif
