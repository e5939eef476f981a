/* SPDX-License-Identifier: Apache-2.0 */
/* The files of StateDir/views; internal to lib/control. */
#ifndef FS_VIEW_FILE_H
#define FS_VIEW_FILE_H

#include "control/fs_control.h"

/*
 * The text of a view file:
 *
 *   farmsync-view 1
 *   group GROUP
 *   version 42
 *   dataset DIGEST NAME        one line each, ordered by name; a name goes on to the end of its
 * line end DIGEST                 SHA-256 of all bytes before this line
 */
#define FS_VIEW_FILE_LIMIT (256 * 1024)

#endif
