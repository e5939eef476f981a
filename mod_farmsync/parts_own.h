/* SPDX-License-Identifier: Apache-2.0 */
/* Only for mod_farmsync itself. */
#ifndef FS_PARTS_OWN_H
#define FS_PARTS_OWN_H

#include "parts.h"
#include "text.h"

void fs_parts_register(void);
/* Adds what the other modules have to say, `before` standing before each. */
void fs_parts_tell(fs_text_t *text, server_rec *main_server, farmsync_form_t form,
                   const char *before);

#endif
