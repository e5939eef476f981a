/* SPDX-License-Identifier: Apache-2.0 */
/* The functions that other modules of httpd call: mod_farmsync.h says what they do. */
#ifndef FS_API_H
#define FS_API_H

/* Registers the optional functions of mod_farmsync.h. */
void fs_api_register(void);

#endif
