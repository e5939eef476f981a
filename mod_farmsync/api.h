/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FS_API_H
#define FS_API_H

/* Registers the optional functions of mod_farmsync.h. */
void fs_api_register(void);

#endif
