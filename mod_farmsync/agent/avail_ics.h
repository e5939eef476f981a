/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Planned windows as an iCalendar (RFC 5545), for calendars that subscribe to the farm. Each is a
 * VEVENT whose UID is the notice's key; weekly ones recur in their own time zone, which is written
 * out as VTIMEZONE. Everything else that the notice says stands as JSON in X-FARMSYNC-NOTICE, so
 * that `farmsyncctl notices import` of it gives the same notice again. Any thread.
 */
#ifndef FS_AVAIL_ICS_H
#define FS_AVAIL_ICS_H

#include <stdio.h>

#include "avail/fs_notice.h"

void fs_ics_begin(FILE *out, const char *name);
/* Nothing is written of a notice that has no end and isn't weekly: it isn't planned. */
void fs_ics_notice(FILE *out, const fs_notice_t *notice);
void fs_ics_end(FILE *out);

#endif
